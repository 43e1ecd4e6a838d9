"""Files: written whole or not at all, read through one small interface whether they are paths, open files or bytes."""

from __future__ import annotations

import contextlib
import io
import mmap as _mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import minigrad as mg

PathLike = str | os.PathLike


def is_path(f: Any) -> bool:
    """Whether `f` names a file (rather than being one)."""
    return isinstance(f, (str, os.PathLike))


@contextlib.contextmanager
def atomic_file(path: PathLike) -> Iterator[BinaryIO]:
    """A file to write; it takes the place of `path` when the block ends well, and vanishes when it does not.

    A crash, an exception or a full disk leaves the old file as it was: the bytes go to a temporary file in the same
    folder, are synced, and renamed.
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()
    if path.exists() and not path.is_file():  # /dev/null, a pipe: nothing to replace
        with open(path, "wb") as file:
            yield file
        return
    if not path.parent.is_dir():
        raise RuntimeError(f"Parent directory {path.parent} does not exist.")
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    with contextlib.suppress(OSError):  # make the rename itself durable, where folders can be synced
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_atomic(path: PathLike, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a part."""
    with atomic_file(path) as file:
        file.write(data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def output(f: Any) -> Iterator[BinaryIO]:
    """A seekable file whose content ends up in `f`: a path (atomically) or an open file."""
    if is_path(f):
        with atomic_file(f) as file:
            yield file
        return
    if not hasattr(f, "write"):
        raise AttributeError(f"expected 'f' to be string, path, or a file-like object with a 'write' attribute, got {type(f)}")
    # Containers note positions from their own start, and go back to write headers: straight only into files that can do both
    # (a GzipFile calls itself seekable, and is not when it writes).
    if isinstance(f, (io.BufferedWriter, io.BufferedRandom, io.BytesIO)) and f.seekable() and f.tell() == 0:
        yield f
        return
    buffer = io.BytesIO()
    yield buffer
    f.write(buffer.getvalue())


class Source:
    """A readable file: `read_at` for small parts, `tensor_at` for the bytes of a storage.

    Args:
        f: path, or an open binary file (read from its current position on).
        mmap: map the file (paths only); parts of it are then read when they are touched, and writes stay private.
    """

    def __init__(self, f: Any, mmap: bool = False) -> None:
        self.name = os.fspath(f) if is_path(f) else str(getattr(f, "name", "<file object>"))
        self._own = is_path(f)
        self._map: Any = None
        self._whole: Any = None  # the mapping as one uint8 tensor
        if is_path(f):
            self.file: Any = open(f, "rb")  # noqa: SIM115  closed by close()
        elif hasattr(f, "seek") and hasattr(f, "tell") and _seekable(f):
            self.file = f
        else:
            self.file = io.BytesIO(f.read())
        self.start = 0 if is_path(f) else self.file.tell()
        self.size = self.file.seek(0, os.SEEK_END) - self.start
        if mmap:
            if not is_path(f):
                raise ValueError("f must be a file path in order to use the mmap argument")
            if self.size:
                self._map = _mmap.mmap(self.file.fileno(), 0, access=_mmap.ACCESS_COPY)
        self.file.seek(self.start)

    def close(self) -> None:
        """Close what was opened here; mapped tensors keep their mapping."""
        if self._own:
            self.file.close()
        else:
            with contextlib.suppress(OSError, ValueError):
                self.file.seek(self.start + self.size)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()

    def read_at(self, position: int, count: int) -> bytes:
        """`count` bytes; RuntimeError when the file ends before."""
        if position < 0 or count < 0 or position + count > self.size:
            raise RuntimeError(f"{self.name}: truncated: {count} bytes wanted at byte {position}, the file has {self.size}")
        if self._map is not None:
            return self._map[position : position + count]
        self.file.seek(self.start + position)
        data = self.file.read(count)
        if len(data) != count:
            raise RuntimeError(f"{self.name}: truncated: {count} bytes wanted at byte {position}, got {len(data)}")
        return data

    def head(self, count: int = 16) -> bytes:
        """The first bytes, fewer when the file is shorter."""
        return self.read_at(0, min(count, self.size))

    def tensor_at(self, position: int, count: int) -> mg.Tensor:
        """A uint8 tensor of these bytes: a private mapping of the file, or a copy."""
        if position < 0 or count < 0 or position + count > self.size:
            raise RuntimeError(f"{self.name}: truncated: {count} bytes wanted at byte {position}, the file has {self.size}")
        if self._map is not None and count:
            import numpy as np

            return mg.from_numpy(np.frombuffer(self._map, dtype=np.uint8, count=count, offset=position))
        out = mg.empty(count, dtype=mg.uint8, device="cpu")  # whatever the default device
        self.file.seek(self.start + position)
        view = memoryview(out.numpy()).cast("B") if count else memoryview(bytearray())
        if hasattr(self.file, "readinto"):
            done = 0
            while done < count:
                got = self.file.readinto(view[done : done + (1 << 30)])
                if not got:
                    raise RuntimeError(f"{self.name}: truncated: {count} bytes wanted at byte {position}, got {done}")
                done += got
        else:
            view[:] = self.read_at(position, count)
        return out


def _seekable(f: Any) -> bool:
    try:
        f.seek(f.tell())
    except (OSError, AttributeError, io.UnsupportedOperation):
        return False
    return True


def byte_view(data: mg.Tensor) -> memoryview:
    """The bytes of a contiguous CPU tensor, shared."""
    from minigrad import _core

    flat = _core.storage_tensor(_core.storage_bytes(data), mg.uint8, (data.numel() * data.element_size(),), (1,),
                                data.storage_offset() * data.element_size())  # fmt: skip
    return memoryview(flat.numpy()).cast("B") if flat.numel() else memoryview(b"")
