"""PyTorch's zip checkpoints, both ways, without torch.

An archive `<name>/…` holds: data.pkl (the structure, as a pickle whose persistent ids name storages), data/<key> (the
bytes of each storage), byteorder, version. minigrad adds .minigrad/info.json, which torch ignores.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import minigrad as mg

from . import _info
from ._files import byte_view
from ._pickler import TorchPickler, storage_type
from ._rebuild import LoadedStorage
from ._unpickle import Rules, SafeUnpickler, UnpicklingError
from ._zip import ZipReader, ZipWriter

INFO = ".minigrad/info.json"
Restore = Callable[[mg.Tensor, str], mg.Tensor]  # bytes of a storage, its place in the file -> the bytes in their new place
Unpickle = Callable[[Any, int, Callable[[Any], Any]], tuple[Any, int]]  # data, position, persistent_load -> object, end


def root_of(archive: ZipReader) -> str | None:
    """The folder that everything is in, with its slash; None when this is no PyTorch checkpoint."""
    roots = [name[: -len("data.pkl")] for name in archive.entries if name == "data.pkl" or name.endswith("/data.pkl")]
    return min(roots, key=len) if roots else None


def storage_dtype(kind: Any) -> Any:
    """The dtype of a storage class from a persistent id; None for UntypedStorage."""
    if kind is mg.storage.UntypedStorage:
        return None
    if isinstance(kind, type) and issubclass(kind, mg.storage.TypedStorage) and kind.dtype is not None:
        return kind.dtype
    raise UnpicklingError("unknown kind of storage")


def swap_bytes(data: mg.Tensor, dtype: Any) -> mg.Tensor:
    """Storage bytes of the other endianness, turned round (each part of a complex number by itself)."""
    width = dtype.itemsize // (2 if dtype.is_complex else 1)
    if width == 1 or data.numel() % width:
        return data
    return data.reshape(-1, width).flip(1).reshape(-1).contiguous()


class TorchZipReader:
    """Reads one archive.

    Args:
        archive: the entries.
        restore: puts the bytes of a storage where `map_location` wants them, given the place in the file.
        unpickle: reads the pickle, by its rules.
    """

    def __init__(self, archive: ZipReader, restore: Restore, unpickle: Unpickle) -> None:
        root = root_of(archive)
        if root is None:
            raise RuntimeError(f"{archive.source.name}: a zip archive, but no checkpoint: it has no data.pkl")
        self.archive, self.root, self.restore, self.unpickle = archive, root, restore, unpickle
        self.storages: dict[str, LoadedStorage] = {}
        self.other_order = self._byte_order() != sys.byteorder

    def _byte_order(self) -> str:
        if self.root + "byteorder" not in self.archive:
            from ._settings import get_default_load_endianness

            order = get_default_load_endianness()
            return "little" if order is None or order.name == "LITTLE" else "big" if order.name == "BIG" else sys.byteorder
        order = self.archive.read(self.root + "byteorder").strip()
        if order not in (b"little", b"big"):
            raise RuntimeError(f"{self.archive.source.name}: unknown byteorder {order[:20]!r}")
        return order.decode()

    def persistent_load(self, saved_id: Any) -> LoadedStorage:
        """The storage behind ("storage", kind, key, location, count of elements)."""
        if type(saved_id) is not tuple or len(saved_id) != 5 or saved_id[0] != "storage":
            raise UnpicklingError("unknown persistent id")
        _, kind, key, location, count = saved_id
        if type(key) is not str or type(location) is not str or type(count) is not int or count < 0:
            raise UnpicklingError("malformed persistent id of a storage")
        dtype = storage_dtype(kind)
        if key not in self.storages:
            self.storages[key] = self._read(key, dtype, location, count)
        found = self.storages[key]
        if found.dtype is None or dtype is None or found.dtype is dtype:
            return found
        return LoadedStorage(found.bytes, dtype)

    def _read(self, key: str, dtype: Any, location: str, count: int) -> LoadedStorage:
        name = f"{self.root}data/{key}"
        if name not in self.archive:
            raise UnpicklingError(f"the entry {name!r} is missing")
        wanted = count * (dtype.itemsize if dtype else 1)
        if self.archive.size(name) != wanted:
            raise UnpicklingError(f"the entry {name!r} has {self.archive.size(name)} bytes, the storage needs {wanted}")
        data = self.archive.tensor(name)
        if dtype is not None and self.other_order:
            data = swap_bytes(data, dtype)
        return LoadedStorage(self.restore(data, location), dtype)

    def load(self) -> Any:
        """The saved object."""
        return self.unpickle(self.archive.read(self.root + "data.pkl"), 0, self.persistent_load)[0]

    def info(self) -> dict[str, Any]:
        """What minigrad wrote about the file, if it did."""
        name = self.root + INFO
        return _info.parse(self.archive.read(name)) if name in self.archive else {}


def safe_unpickle(rules: Rules, encoding: str = "utf-8") -> Unpickle:
    """Unpickling by our own machine (minigrad/io/_unpickle.py)."""

    def unpickle(data: Any, position: int, persistent_load: Callable[[Any], Any]) -> tuple[Any, int]:
        machine = SafeUnpickler(data, rules, persistent_load, position=position, encoding=encoding)
        return machine.load(), machine.position

    return unpickle


def write_torch_zip(obj: Any, file: BinaryIO, name: str, protocol: int, metadata: dict[str, Any] | None) -> None:
    """Write `obj` as PyTorch does.

    Args:
        file: seekable.
        name: of the folder inside the archive: the file's stem.
    """

    def describe(key: str, storage: Any, dtype: Any) -> tuple:
        count = storage.nbytes() // (dtype.itemsize if dtype else 1)
        return ("storage", storage_type(dtype), key, str(storage.device), count)

    buffer = io.BytesIO()
    pickler = TorchPickler(buffer, protocol, describe)
    pickler.dump(obj)
    info = _info.collect(metadata)
    identity = hashlib.sha1(buffer.getvalue())
    with ZipWriter(file) as archive:
        archive.add(f"{name}/data.pkl", buffer.getbuffer())
        archive.add(f"{name}/.format_version", b"1")
        archive.add(f"{name}/.storage_alignment", b"64")
        archive.add(f"{name}/byteorder", sys.byteorder.encode())
        for key, storage in pickler.storages.items():
            archive.add(f"{name}/data/{key}", byte_view(storage._bytes.to("cpu")))
        archive.add(f"{name}/{INFO}", info)
        archive.add(f"{name}/version", b"3\n")
        archive.add(f"{name}/.data/serialization_id", str(int(identity.hexdigest(), 16) % 10**40).zfill(40).encode())


def archive_name(f: Any) -> str:
    """The folder inside an archive for a destination."""
    from ._files import is_path

    return (os.path.splitext(os.path.basename(os.fspath(f)))[0] or "archive") if is_path(f) else "archive"
