"""minigrad's own format (.mg): a zip archive that holds no code, only data and a description of how it nests.

    minigrad.json       {"format": "minigrad.state", "version": 1, "tree": …}
    tensors.safetensors each storage once, under the name of the first tensor that looks at it
    info.json           versions, seed, git commit, the user's metadata

A node of the tree is a JSON scalar (str, bool, int, None) or a list [kind, …]; see `_Writer.node`. Tensors are
["tensor", storage, dtype, size, stride, offset, requires_grad]: shared storages stay shared, and views views.
Reading builds only the kinds that `_Reader` lists.
"""

from __future__ import annotations

import base64
import json
from collections import Counter, OrderedDict, defaultdict
from typing import Any, BinaryIO

import minigrad as mg
from minigrad import _core

from ..nn.parameter import Parameter
from ..storage import UntypedStorage
from . import _info, _numpy_rules, safetensors
from ._rebuild import LoadedStorage
from ._torch_zip import Restore
from ._unpickle import UnpicklingError, check_key
from ._zip import ZipReader, ZipWriter

TREE, TENSORS, INFO = "minigrad.json", "tensors.safetensors", "info.json"
FORMAT, VERSION = "minigrad.state", 1
_MAX_DEPTH = 200  # of the nesting; below what Python's own recursion allows


class _Writer:
    def __init__(self) -> None:
        self.tensors: dict[str, mg.Tensor] = {}
        self.names: dict[int, str] = {}
        self.alive: list[UntypedStorage] = []
        self.open: set[int] = set()

    def storage(self, value: mg.Tensor, where: str) -> str:
        storage = UntypedStorage.of(value)
        name = self.names.get(storage._cdata)
        if name is None:
            name = base = where.removeprefix("obj").lstrip(".") or "tensor"
            while name in self.tensors or name == "__metadata__":
                name = f"{base}#{len(self.tensors)}"
            self.names[storage._cdata] = name
            self.alive.append(storage)
            whole = value.detach()
            size = storage.nbytes() // whole.element_size()
            if whole.numel() != size or not whole.is_contiguous() or size * whole.element_size() != storage.nbytes():
                whole = storage.tensor(mg.uint8, (storage.nbytes(),), (1,))
            elif whole.is_complex():  # the format has no complex128; the tree knows the dtype
                whole = mg.view_as_real(whole)
            self.tensors[name] = whole
        return name

    def tensor(self, value: mg.Tensor, where: str) -> list[Any]:
        if value.layout is not mg.strided:
            raise TypeError(f"save: sparse tensor at {where}. Try x.to_dense(), or a file named .pt.")
        if type(value) not in (mg.Tensor, Parameter):
            raise TypeError(_wrong_kind(value, where))
        name = self.storage(value, where)
        dtype = str(value.dtype).rpartition(".")[2]
        geometry = [list(value.shape), list(value.stride()), value.storage_offset()]
        return ["parameter" if type(value) is Parameter else "tensor", name, dtype, *geometry, bool(value.requires_grad)]

    def node(self, value: Any, where: str) -> Any:
        kind = type(value)
        if value is None or kind in (str, bool, int):
            return value
        if kind is float:
            return ["float", value.hex()]
        if isinstance(value, mg.Tensor):
            return self.tensor(value, where)
        if kind in (bytes, bytearray):
            return [kind.__name__, base64.b64encode(value).decode()]
        if kind is complex:
            return ["complex", value.real.hex(), value.imag.hex()]
        if isinstance(value, mg.dtype):
            return ["dtype", str(value).rpartition(".")[2]]
        if isinstance(value, mg.device):
            return ["device", str(value)]
        if isinstance(value, mg.layout):
            return ["layout", str(value)]
        if kind is mg.Size:
            return ["size", list(value)]
        if kind in (slice, range):
            return [kind.__name__, *(self.node(part, where) for part in (value.start, value.stop, value.step))]
        if kind.__module__.partition(".")[0] == "numpy":
            return self.array(value, where)
        return self.container(value, where)

    def array(self, value: Any, where: str) -> Any:
        import numpy as np

        if isinstance(value, np.dtype) and value.kind in "biufcSU":
            return ["numpy.dtype", value.str]
        if not isinstance(value, (np.ndarray, np.generic)) or value.dtype.kind not in "biufcSU":
            raise TypeError(_wrong_kind(value, where))
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return ["numpy.array" if type(value) is np.ndarray else "numpy.scalar", value.dtype.str, list(value.shape), data]

    def container(self, value: Any, where: str) -> Any:
        if id(value) in self.open:
            raise ValueError(f"save: {where} contains itself. Try to remove the cycle.")
        if len(self.open) >= _MAX_DEPTH:
            raise ValueError(f"save: {where[:80]}… is nested more than {_MAX_DEPTH} levels deep")
        self.open.add(id(value))
        kind = type(value)
        try:
            if kind in _DICT_KINDS:
                return self.mapping(value, where)
            if kind in (list, tuple, set, frozenset):
                return [kind.__name__, [self.node(v, f"{where}.{i}") for i, v in enumerate(value)]]
        finally:
            self.open.discard(id(value))
        raise TypeError(_wrong_kind(value, where))

    def mapping(self, value: Any, where: str) -> list[Any]:
        name = _DICT_KINDS[type(value)]
        if type(value) is defaultdict:
            factories = {made: text for text, made in _FACTORIES.items()}
            if value.default_factory not in factories:
                raise TypeError(f"save: the factory of the defaultdict at {where} cannot be saved. Try dict(x).")
            name += ":" + factories[value.default_factory]
        pairs = [[self.node(k, f"{where}.key"), self.node(v, f"{where}.{k}")] for k, v in value.items()]
        metadata = getattr(value, "_metadata", None)
        return [name, pairs] if metadata is None else [name, pairs, self.node(metadata, where + "._metadata")]


def _wrong_kind(value: Any, where: str) -> str:
    kind = type(value)
    return (
        f"save: wrong kind of value at {where}: got {kind.__module__}.{kind.__qualname__}, expected tensors, numbers, str, bytes, "
        "None, dict, list, tuple, set. Try its state_dict(), or a file named .pt, which can hold any object."
    )


_DICT_KINDS = {dict: "dict", OrderedDict: "odict", Counter: "counter", defaultdict: "defaultdict"}
_FACTORIES = {"none": None, "list": list, "dict": dict, "set": set, "int": int, "float": float, "str": str}
_SEQUENCES = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


class _Reader:
    def __init__(self, payload: safetensors.safe_open, restore: Restore) -> None:
        self.payload, self.restore = payload, restore
        self.storages: dict[str, LoadedStorage] = {}
        self.tensors: dict[str, mg.Tensor] = {}

    def tensor(self, node: list[Any]) -> mg.Tensor:
        kind, name, dtype_name, size, stride, offset, requires_grad = node
        key = json.dumps(node)
        if key in self.tensors:  # the same tensor twice comes back as one object
            return self.tensors[key]
        if name not in self.storages:
            raw = _core.storage_bytes(self.payload.get_tensor(name))
            self.storages[name] = LoadedStorage(self.restore(raw, "cpu"), None)
        try:
            made = self.storages[name].tensor(_dtype(dtype_name), tuple(size), tuple(stride), offset)
            if kind == "parameter":
                made = Parameter(made, bool(requires_grad))
            elif requires_grad:
                made.requires_grad_()
        except RuntimeError as error:
            raise UnpicklingError(str(error)) from error
        self.tensors[key] = made
        return made

    def node(self, node: Any, depth: int = 0) -> Any:
        if node is None or isinstance(node, (str, bool, int)):
            return node
        if depth > 2 * _MAX_DEPTH:
            raise ValueError("nested too deeply")
        kind, *rest = node
        if kind in ("tensor", "parameter"):
            return self.tensor(node)
        name, _, factory = kind.partition(":")
        if name in _EMPTY_DICTS:
            result = _EMPTY_DICTS[name]()
            if factory:
                result.default_factory = _FACTORIES[factory]
            for key, value in rest[0]:
                result[check_key(self.node(key, depth + 1))] = self.node(value, depth + 1)
            if len(rest) > 1 and name == "odict":
                result._metadata = self.node(rest[1], depth + 1)
            return result
        if kind in _SEQUENCES:
            items = [self.node(item, depth + 1) for item in rest[0]]
            return _SEQUENCES[kind](items if kind in ("list", "tuple") else map(check_key, items))
        return _SCALARS[kind](*rest)


_EMPTY_DICTS = {name: kind for kind, name in _DICT_KINDS.items()}


def _dtype(name: str) -> Any:
    found = getattr(_core, name, None) if type(name) is str else None
    if not isinstance(found, mg.dtype):
        raise ValueError(f"unknown dtype {name!r:.40}")
    return found


def _numpy_array(dtype: str, shape: list[int], data: str) -> Any:
    raw = base64.b64decode(data, validate=True)
    kind = _numpy_rules.make_dtype(dtype)
    if kind.itemsize == 0 or not raw:
        import numpy as np

        return np.zeros(_numpy_rules._checked_shape(tuple(shape)), dtype=kind) if 0 in shape else kind.type()
    return _numpy_rules.make_from_buffer(raw, kind, tuple(shape))


def _device(text: Any) -> mg.device:
    try:
        return mg.device(str(text))
    except RuntimeError as error:
        raise UnpicklingError(f"unknown device {text!r:.40}") from error


def _int_or_none(value: Any) -> Any:
    if value is not None and type(value) is not int:
        raise ValueError("expected an int or None")
    return value


_SCALARS = {
    "float": float.fromhex,
    "bytes": lambda text: base64.b64decode(text, validate=True),
    "bytearray": lambda text: bytearray(base64.b64decode(text, validate=True)),
    "complex": lambda real, imag: complex(float.fromhex(real), float.fromhex(imag)),
    "dtype": _dtype,
    "device": _device,
    "layout": lambda text: __import__("minigrad.io._rebuild", fromlist=["get_layout"]).get_layout(text),
    "size": lambda sizes: mg.Size([int(size) for size in sizes]),
    "slice": lambda *parts: slice(*map(_int_or_none, parts)),
    "range": lambda *parts: range(*map(_int_or_none, parts)),
    "numpy.dtype": _numpy_rules.make_dtype,
    "numpy.array": _numpy_array,
    "numpy.scalar": lambda *parts: _numpy_array(*parts)[()],
}


def write_state(obj: Any, file: BinaryIO, metadata: dict[str, Any] | None) -> None:
    """Write nested state to a seekable file.

    Raises:
        TypeError: something is of a kind the format does not hold; the message says where. ValueError: a cycle.
    """
    writer = _Writer()
    tree = {"format": FORMAT, "version": VERSION, "tree": writer.node(obj, "obj")}
    text = json.dumps(tree, separators=(",", ":")).encode()
    info = _info.collect(metadata)
    with ZipWriter(file) as archive:
        archive.add(TREE, text)
        archive.add(TENSORS, *safetensors.write_parts(writer.tensors))
        archive.add(INFO, info)



def payload_of(archive: ZipReader) -> safetensors.safe_open:
    """The tensors of an archive, opened."""
    return safetensors.safe_open(_EntrySource(archive, TENSORS))


class _EntrySource:
    """The Source of an entry: the same interface, positions counted from the entry's start; its checksum was verified."""

    def __init__(self, archive: ZipReader, name: str) -> None:
        self.outer = archive.source
        self.name = f"{archive.source.name}:{name}"
        self.start, self.size, crc = archive._entry(name)
        if self.outer._map is None:
            whole = archive.tensor(name)  # verifies the checksum; parts below share this memory
            self.whole: Any = whole
        else:
            self.whole = None

    def read_at(self, position: int, count: int) -> bytes:
        """See Source."""
        self._check(position, count)
        return self.outer.read_at(self.start + position, count)

    def tensor_at(self, position: int, count: int) -> mg.Tensor:
        """See Source."""
        self._check(position, count)
        if self.whole is None or count == 0:
            return self.outer.tensor_at(self.start + position, count)
        return self.whole[position : position + count].clone()

    def _check(self, position: int, count: int) -> None:
        if position < 0 or count < 0 or position + count > self.size:
            raise RuntimeError(f"{self.name}: truncated: {count} bytes wanted at byte {position}, the entry has {self.size}")

    def close(self) -> None:
        """Nothing: the archive's file belongs to the caller."""


def read_state(archive: ZipReader, restore: Restore) -> Any:
    """The object in an archive of minigrad's own format.

    Raises:
        UnpicklingError: the description of the nesting is damaged.
    """
    name = archive.source.name
    try:
        tree = json.loads(archive.read(TREE).decode("utf-8"))
        if tree["format"] != FORMAT or tree["version"] != VERSION:
            raise ValueError(f"format {tree['format']!r:.40} version {tree['version']!r:.40}, expected {FORMAT!r} {VERSION}")
        return _Reader(payload_of(archive), restore).node(tree["tree"])
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError, MemoryError, UnpicklingError) as error:
        raise UnpicklingError(f"{name}: the description of the nesting is corrupt: {error!r:.300}") from error
