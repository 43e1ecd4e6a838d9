"""save and load: nested state as one safetensors file.

The leaves that are tensors are stored under "0", "1", …; the header's metadata holds a JSON tree of how they nest.
Loading builds only the kinds listed here, so a file cannot run code. Tied tensors (the same object, or the same memory
seen with the same shape) are stored once and come back tied.

A node of the tree is a JSON scalar (str, bool, int, None) or a list [kind, …]; see `_Writer.node`.
"""

from __future__ import annotations

import base64
import json
import os
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import minigrad as mg

from ..nn.parameter import Parameter
from .safetensors import deserialize, serialize, write_atomic

FORMAT = "minigrad.state.v1"


class _Writer:
    def __init__(self) -> None:
        self.tensors: dict[str, mg.Tensor] = {}
        self.names: dict[Any, str] = {}
        self.open: set[int] = set()

    def tensor(self, value: mg.Tensor) -> str:
        key = (value.data_ptr(), tuple(value.shape), tuple(value.stride()), str(value.dtype), str(value.device))
        if value.numel() == 0:
            key = id(value)
        name = self.names.get(key)
        if name is None:
            name = self.names[key] = str(len(self.tensors))
            # The format has no complex128: its parts are stored, and the tree says so.
            self.tensors[name] = mg.view_as_real(value.detach()) if value.dtype == mg.complex128 else value
        return name

    def node(self, value: Any, where: str) -> Any:
        if value is None or type(value) in (str, bool, int):
            return value
        if type(value) is float:
            return ["float", value.hex()]
        if isinstance(value, mg.Tensor):
            kind = "parameter" if isinstance(value, Parameter) else "tensor"
            parts = ["complex128"] if value.dtype == mg.complex128 else []
            return [kind, self.tensor(value), bool(value.requires_grad), *parts]
        if type(value) is bytes:
            return ["bytes", base64.b64encode(value).decode()]
        if type(value) is complex:
            return ["complex", value.real.hex(), value.imag.hex()]
        if isinstance(value, mg.dtype):
            return ["dtype", str(value).rpartition(".")[2]]
        if isinstance(value, mg.device):
            return ["device", str(value)]
        if type(value) is type(mg.Size((1,))):
            return ["size", list(value)]
        return self.container(value, where)

    def container(self, value: Any, where: str) -> Any:
        if id(value) in self.open:
            raise ValueError(f"save: {where} contains itself. Try to remove the cycle.")
        self.open.add(id(value))
        kind = type(value)
        try:
            if kind in (dict, OrderedDict) or isinstance(value, defaultdict):
                name = "odict" if kind is OrderedDict else "dict"
                pairs = [
                    [self.node(k, f"{where} key {k!r}"), self.node(v, f"{where}[{k!r}]")] for k, v in value.items()
                ]
                metadata = getattr(value, "_metadata", None)
                return [name, pairs] if metadata is None else [name, pairs, self.node(metadata, where + "._metadata")]
            if kind in (list, tuple, set, frozenset):
                return [kind.__name__, [self.node(v, f"{where}[{i}]") for i, v in enumerate(value)]]
        finally:
            self.open.discard(id(value))
        scalar = getattr(value, "item", None)
        if type(value).__module__ == "numpy" and callable(scalar) and getattr(value, "ndim", 1) == 0:
            return self.node(value.item(), where)
        raise TypeError(
            f"save: wrong kind of value at {where}: got {kind.__module__}.{kind.__qualname__}, expected tensors, "
            "numbers, str, bytes, None, dict, list, tuple, set. Try its state_dict()."
        )


class _Reader:
    def __init__(self, tensors: dict[str, mg.Tensor], device: Any) -> None:
        self.device = device
        self.stored = tensors
        self.made: dict[tuple[str, str], mg.Tensor] = {}

    def tensor(self, kind: str, name: str, requires_grad: bool, parts: str = "") -> mg.Tensor:
        made = self.made.get((kind, name))
        if made is None:
            made = mg.view_as_complex(self.stored[name]) if parts == "complex128" else self.stored[name]
            if self.device is not None:
                made = made.to(self.device)
            made = Parameter(made, requires_grad) if kind == "parameter" else made.requires_grad_(requires_grad)
            self.made[(kind, name)] = made
        return made

    def node(self, node: Any) -> Any:
        if node is None or isinstance(node, (str, bool, int)):
            return node
        kind, *rest = node
        if kind in ("tensor", "parameter"):
            return self.tensor(kind, rest[0], bool(rest[1]), *rest[2:])
        if kind in ("dict", "odict"):
            result: Any = OrderedDict() if kind == "odict" else {}
            for key, value in rest[0]:
                result[self.node(key)] = self.node(value)
            if len(rest) > 1:
                result._metadata = self.node(rest[1])
            return result
        if kind in _SEQUENCES:
            return _SEQUENCES[kind](self.node(item) for item in rest[0])
        return _SCALARS[kind](*rest)


_SEQUENCES = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_DTYPES = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64",
    "complex64", "complex128",
)  # fmt: skip


def _dtype(name: str) -> Any:
    if name not in _DTYPES:
        raise ValueError(f"unknown dtype {name!r}")
    return getattr(mg, name)


_SCALARS = {
    "float": float.fromhex,
    "bytes": lambda text: base64.b64decode(text, validate=True),
    "complex": lambda real, imag: complex(float.fromhex(real), float.fromhex(imag)),
    "dtype": _dtype,
    "device": lambda text: mg.device(text),
    "size": lambda sizes: mg.Size([int(size) for size in sizes]),
}


def save(obj: Any, f: Any) -> None:
    """Write nested state (tensors, numbers, text, dicts, lists, tuples, sets) to a file.

    Args:
        obj: what to save, e.g. `{"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}`.
        f: path (written atomically) or a file object opened for binary writing.

    Raises:
        TypeError: something in `obj` is of another kind; the message says where.
        ValueError: `obj` contains itself.
    """
    writer = _Writer()
    tree = writer.node(obj, "obj")
    data = serialize(writer.tensors, {"format": FORMAT, "tree": json.dumps(tree, separators=(",", ":"))})
    if hasattr(f, "write"):
        f.write(data)
    else:
        write_atomic(f, data)


def load(f: Any, map_location: Any = None, *, weights_only: bool = True, mmap: bool = False) -> Any:
    """Read what `save` wrote. Never executes code from the file.

    Args:
        f: path, or a file object opened for binary reading.
        map_location: device to put all tensors on; where they were not kept, so the CPU by default.
        weights_only: accepted; loading is always safe.
        mmap: accepted; the file is read whole.

    Raises:
        FileNotFoundError: there is no such file.
        RuntimeError: the file is truncated, corrupt, or of another format; the message names it.
    """
    if hasattr(f, "read"):
        data, source = f.read(), str(getattr(f, "name", "<file object>"))
    else:
        data, source = Path(f).read_bytes(), os.fspath(f)
    _refuse_foreign(data, source)
    tensors, metadata = deserialize(data, str(source))
    if metadata.get("format") != FORMAT or "tree" not in metadata:
        raise RuntimeError(
            f"{source}: a safetensors file, but not one written by minigrad.save (format "
            f"{metadata.get('format')!r}, expected {FORMAT!r}). Try minigrad.io.safetensors.load_file."
        )
    try:
        return _Reader(tensors, map_location).node(json.loads(metadata["tree"]))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise RuntimeError(f"{source}: the description of the nesting is corrupt: {error!r}") from error


def _refuse_foreign(data: bytes, source: Any) -> None:
    if len(data) == 0:
        raise RuntimeError(f"{source}: the file is empty, expected one written by minigrad.save")
    if data[:4] == b"PK\x03\x04":
        raise RuntimeError(
            f"{source}: a zip archive (a PyTorch checkpoint?), expected a file written by minigrad.save. "
            "Reading PyTorch files is not implemented yet."
        )
    if data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05":
        raise RuntimeError(f"{source}: a pickle, which may run code; expected a file written by minigrad.save")
