"""PyTorch's formats before 1.6: a row of pickles followed by raw storages, and the older tar archive.

    magic number | protocol version | system info | the object | keys of the storages | for each: count (8 bytes), elements

Tensors are described before their bytes come: storages are made with the declared size (never more than the file has),
tensors are built over them, and the values are read in at the end.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
import tarfile
from typing import Any, BinaryIO

import minigrad as mg
from minigrad import _core

from ._files import Source, byte_view
from ._globals import TorchRules
from ._pickler import TorchPickler, storage_type
from ._rebuild import LoadedStorage
from ._torch_zip import Restore, Unpickle, storage_dtype, swap_bytes
from ._unpickle import SafeUnpickler, UnpicklingError

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


def looks_legacy(head: bytes) -> bool:
    """Whether a file begins like the legacy format: a pickle of the magic number."""
    return head[:1] == b"\x80" and MAGIC.to_bytes(10, "little") in head


def _no_ids(saved_id: Any) -> Any:
    raise UnpicklingError("unexpected persistent id")


class _LegacyReader:
    def __init__(self, source: Source, restore: Restore, unpickle: Unpickle) -> None:
        self.source, self.restore, self.unpickle = source, restore, unpickle
        self.data = source.read_at(0, source.size)
        self.storages: dict[str, LoadedStorage] = {}
        self.declared = 0

    def persistent_load(self, saved_id: Any) -> Any:
        """An unfilled storage, or a class whose source text the file carries."""
        if type(saved_id) is not tuple or len(saved_id) < 2:
            raise UnpicklingError("unknown persistent id")
        tag = _text(saved_id[0])
        if tag == "module":
            return saved_id[1]
        if tag != "storage" or len(saved_id) not in (5, 6):
            raise UnpicklingError("unknown persistent id")
        kind, key, location, count = saved_id[1:5]
        key, location, dtype = _text(key), _text(location), storage_dtype(kind)
        if type(count) is not int or count < 0:
            raise UnpicklingError("malformed persistent id of a storage")
        if key not in self.storages:
            size = count * (dtype.itemsize if dtype else 1)
            self.declared += size
            if self.declared > self.source.size:
                raise UnpicklingError(f"storages of {self.declared} bytes are declared in a file of {self.source.size}")
            self.storages[key] = LoadedStorage(self.restore(mg.zeros(size, dtype=mg.uint8), location), dtype)
        root = self.storages[key]
        if root.dtype is not dtype:
            raise UnpicklingError("a storage is declared with two dtypes")
        view = saved_id[5] if len(saved_id) == 6 else None
        return root if view is None else _part_of(root, view)

    def fill(self, position: int, swap: bool) -> None:
        """Read the keys and the values that follow the object."""
        keys, position = self.unpickle(self.data, position, _no_ids)
        if type(keys) is not list or sorted(map(_text, keys)) != sorted(self.storages):
            raise UnpicklingError("the list of storages does not fit the object")
        for key in map(_text, keys):
            storage = self.storages[key]
            size = storage.bytes.numel()
            stored = struct.unpack("<q", self.source.read_at(position, 8))[0]
            if stored * (storage.dtype.itemsize if storage.dtype else 1) != size:
                raise UnpicklingError(f"a storage has {stored} elements, but {size} bytes are declared")
            data = self.source.tensor_at(position + 8, size)
            position += 8 + size
            if storage.dtype is mg.bool:
                data = (data != 0).to(mg.uint8)
            storage.bytes.copy_(swap_bytes(data, storage.dtype) if swap and storage.dtype else data)


def _part_of(root: LoadedStorage, view: Any) -> LoadedStorage:
    """A storage that is a part of another one, of PyTorch before 0.4: (key, offset, count)."""
    if type(view) is not tuple or len(view) != 3 or not all(type(n) is int and n >= 0 for n in view[1:]):
        raise UnpicklingError("malformed view of a storage")
    return _PartOf(root, view[1])


class _PartOf(LoadedStorage):
    """A storage inside another one."""

    __slots__ = ("root", "first")

    def __init__(self, root: LoadedStorage, first: int) -> None:
        super().__init__(root.bytes, root.dtype)
        self.root, self.first = root, first

    def tensor(self, dtype: Any, size: Any, stride: Any, offset: Any) -> mg.Tensor:
        """A tensor over the part."""
        if type(offset) is not int or offset < 0:
            raise UnpicklingError("malformed storage offset")
        return self.root.tensor(dtype, size, stride, offset + self.first)


def _text(key: Any) -> str:
    if type(key) is bytes:
        return key.decode("ascii")
    if type(key) is not str:
        raise UnpicklingError("the key of a storage must be text")
    return key


def read_legacy(source: Source, restore: Restore, unpickle: Unpickle) -> Any:
    """The object in a file of PyTorch before 1.6 (or of `_use_new_zipfile_serialization=False`)."""
    reader = _LegacyReader(source, restore, unpickle)
    magic, position = unpickle(reader.data, 0, _no_ids)
    if type(magic) is not int or magic != MAGIC:
        raise UnpicklingError("Invalid magic number; corrupt file?")
    protocol, position = unpickle(reader.data, position, _no_ids)
    if type(protocol) is not int or protocol != PROTOCOL:
        raise UnpicklingError(f"Invalid protocol version: {str(protocol):.40}")
    system, position = unpickle(reader.data, position, _no_ids)
    little = bool(system.get("little_endian", True)) if type(system) is dict else True
    result, position = unpickle(reader.data, position, reader.persistent_load)
    try:
        reader.fill(position, little != (sys.byteorder == "little"))
    except (ValueError, TypeError, struct.error, OverflowError) as error:
        raise UnpicklingError(f"{source.name}: damaged storages: {error!r:.200}") from error
    return result


def write_legacy(obj: Any, file: BinaryIO, protocol: int) -> None:
    """Write the format of PyTorch before 1.6 (`_use_new_zipfile_serialization=False`)."""

    def describe(key: str, storage: Any, dtype: Any) -> tuple:
        count = storage.nbytes() // (dtype.itemsize if dtype else 1)
        return ("storage", storage_type(dtype), key, str(storage.device), count, None)

    sizes = {"protocol_version": PROTOCOL, "little_endian": sys.byteorder == "little", "type_sizes": {"short": 2, "int": 4, "long": 4}}
    for header in (MAGIC, PROTOCOL, sizes):
        pickle.dump(header, file, protocol)
    buffer = io.BytesIO()
    pickler = TorchPickler(buffer, protocol, describe)
    pickler.dump(obj)
    file.write(buffer.getbuffer())
    keys = sorted(pickler.storages)
    pickle.dump(keys, file, protocol)
    for key in keys:
        data, dtype = pickler.storages[key], pickler.dtypes[pickler.storages[key]._cdata]
        file.write(struct.pack("<q", data.nbytes() // (dtype.itemsize if dtype else 1)))
        file.write(byte_view(data._bytes.to("cpu")))


# --- the tar archive of PyTorch before 0.1.10 ------------------------------------------------------------------------
def looks_tar(source: Source) -> bool:
    """Whether the file is a tar archive."""
    return source.size >= 512 and source.read_at(257, 5) == b"ustar"


class _TarReader:
    def __init__(self, source: Source, restore: Restore, encoding: str) -> None:
        self.restore, self.encoding, self.rules = restore, encoding, TorchRules()
        self.objects: dict[int, Any] = {}
        self.members: dict[str, bytes] = {}
        try:
            with tarfile.open(fileobj=io.BytesIO(source.read_at(0, source.size)), mode="r:") as archive:
                for name in ("sys_info", "storages", "tensors", "pickle"):
                    member = archive.getmember(name)
                    file = archive.extractfile(member) if member.isreg() and member.size <= source.size else None
                    if file is None:
                        raise KeyError(name)
                    self.members[name] = file.read()
        except (tarfile.TarError, KeyError, OSError, ValueError, EOFError, AttributeError, TypeError) as error:
            raise RuntimeError(f"{source.name}: a tar archive, but no (undamaged) PyTorch checkpoint: {error}") from error

    def pickle_at(self, data: bytes, position: int, persistent_load: Any = _no_ids) -> tuple[Any, int]:
        machine = SafeUnpickler(data, self.rules, persistent_load, position=position, encoding=self.encoding)
        return machine.load(), machine.position

    def read_storages(self) -> None:
        data = self.members["storages"]
        count, position = self.pickle_at(data, 0)
        for _ in range(_count(count, data)):
            (key, location, kind), position = self.pickle_at(data, position)
            dtype = storage_dtype(kind)
            elements = struct.unpack_from("<q", data, position)[0]
            size = elements * dtype.itemsize
            if elements < 0 or position + 8 + size > len(data):
                raise UnpicklingError("a storage is truncated")
            raw = data[position + 8 : position + 8 + size]
            position += 8 + size
            values = _core.from_bytes(raw, mg.uint8, (len(raw),))
            self.objects[_int(key)] = LoadedStorage(self.restore(values, location), dtype)
        views, _ = self.pickle_at(data, position)
        for target, root, first, _elements in views:
            base = self.objects[_int(root)]
            self.objects[_int(target)] = _PartOf(base, _int(first))

    def read_tensors(self) -> None:
        data = self.members["tensors"]
        count, position = self.pickle_at(data, 0)
        for _ in range(_count(count, data)):
            (key, storage, _kind), position = self.pickle_at(data, position)
            dims = struct.unpack_from("<i", data, position)[0]
            if not 0 <= dims <= 64:
                raise UnpicklingError(f"a tensor of {dims} dimensions")
            size = struct.unpack_from(f"<{dims}q", data, position + 8)
            stride = struct.unpack_from(f"<{dims}q", data, position + 8 + 8 * dims)
            offset = struct.unpack_from("<q", data, position + 8 + 16 * dims)[0]
            position += 16 + 16 * dims
            found = self.objects[_int(storage)]
            self.objects[_int(key)] = found.tensor(found.dtype, size, stride, offset)

    def persistent_load(self, saved_id: Any) -> Any:
        if type(saved_id) is tuple and saved_id:
            return saved_id[0]  # a container and its source text
        return self.objects[int(saved_id) if type(saved_id) in (str, bytes) else _int(saved_id)]


def _int(value: Any) -> int:
    if type(value) is not int:
        raise UnpicklingError("expected a number")
    return value


def _count(value: Any, data: bytes) -> int:
    if not 0 <= _int(value) <= len(data):
        raise UnpicklingError("a count is larger than the file")
    return value


class _TarRules(TorchRules):
    """The tar format names tensor classes beside the tensors."""

    def find_global(self, module: str, name: str) -> Any:
        """torch.FloatTensor and its like are plain tensors."""
        if module.partition(".")[0] == "torch" and name.endswith("Tensor"):
            return mg.Tensor
        return super().find_global(module, name)


def read_tar(source: Source, restore: Restore, *, encoding: str = "utf-8") -> Any:
    """The object in a tar checkpoint (PyTorch before 0.1.10)."""
    reader = _TarReader(source, restore, encoding)
    reader.rules = _TarRules()
    try:
        reader.read_storages()
        reader.read_tensors()
        return reader.pickle_at(reader.members["pickle"], 0, reader.persistent_load)[0]
    except (struct.error, KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise UnpicklingError(f"{source.name}: damaged tar checkpoint: {error!r:.300}") from error
