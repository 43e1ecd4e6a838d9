"""Zip archives as checkpoints use them: entries stored as they are, their data at multiples of 64 bytes, checksums verified.

Nothing here inflates: a compressed entry is refused, which also rules out zip bombs. Entries may not overlap, so that
all of them together are never more than the file.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import Any, BinaryIO

import minigrad as mg

from ._files import Source

ALIGNMENT = 64
_LOCAL_HEADER = 30
_CHUNK = 1 << 24


class _Window:
    """A file from `start` on, for zipfile (archives may begin in the middle of an open file)."""

    def __init__(self, source: Source) -> None:
        self.source, self.position = source, 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self.position, self.source.size)[whence]
        if base + offset < 0:
            raise OSError("seek before the start of the file")
        self.position = base + offset
        return self.position

    def read(self, count: int = -1) -> bytes:
        left = max(self.source.size - self.position, 0)
        count = left if count is None or count < 0 else min(count, left)
        data = self.source.read_at(self.position, count) if count else b""
        self.position += count
        return data

    def close(self) -> None:
        pass


class ZipReader:
    """The entries of an archive by name.

    Raises:
        RuntimeError: the archive is damaged, or has entries that are compressed, encrypted or overlapping.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        try:
            with zipfile.ZipFile(_Window(source)) as archive:  # type: ignore[arg-type]
                infos = archive.infolist()
        except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, OSError, EOFError, RuntimeError, OverflowError, struct.error,
                NotImplementedError, LookupError, MemoryError) as error:  # fmt: skip
            raise RuntimeError(f"{source.name}: failed reading zip archive: {error or type(error).__name__}") from error
        self.entries: dict[str, tuple[int, int, int]] = {}
        # Archives written with checksums off (torch.serialization.set_crc32_options) have zeros everywhere.
        self.has_checksums = any(info.CRC for info in infos)
        for info in infos:
            self._add(info)
        reached = 0
        for name, (start, size, _) in sorted(self.entries.items(), key=lambda item: item[1]):
            if start < reached and size:
                raise RuntimeError(f"{source.name}: damaged zip archive: the entry {name!r} overlaps another")
            reached = max(reached, start + size)

    def _add(self, info: zipfile.ZipInfo) -> None:
        where = f"{self.source.name}: zip entry {info.filename!r}"
        if info.filename in self.entries:
            raise RuntimeError(f"{where} is there twice")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise RuntimeError(f"{where} is compressed; checkpoints are stored as they are. Try to unzip and zip again with `zip -0`.")
        if info.flag_bits & 0x1:
            raise RuntimeError(f"{where} is encrypted")
        header = self.source.read_at(info.header_offset, _LOCAL_HEADER)
        signature, name_size, extra_size = header[:4], *struct.unpack("<HH", header[26:30])
        raw_name = self.source.read_at(info.header_offset + _LOCAL_HEADER, name_size)
        if signature != b"PK\x03\x04" or raw_name.decode("utf-8", "replace") != info.orig_filename:
            raise RuntimeError(f"{where}: its local header is damaged")
        start = info.header_offset + _LOCAL_HEADER + name_size + extra_size
        if start + info.file_size > self.source.size:
            raise RuntimeError(f"{where}: truncated")
        self.entries[info.filename] = (start, info.file_size, info.CRC)

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def _entry(self, name: str) -> tuple[int, int, int]:
        if name not in self.entries:
            raise RuntimeError(f"{self.source.name}: failed finding the entry {name!r} in the zip archive: file not found")
        return self.entries[name]

    def _verify(self, name: str, data: Any, expected: int) -> None:
        if self.has_checksums and zlib.crc32(data) != expected:
            raise RuntimeError(f"{self.source.name}: damaged: the checksum of the entry {name!r} is wrong")

    def read(self, name: str) -> bytes:
        """The bytes of a small entry."""
        start, size, crc = self._entry(name)
        data = self.source.read_at(start, size)
        self._verify(name, data, crc)
        return data

    def size(self, name: str) -> int:
        """How many bytes an entry has."""
        return self._entry(name)[1]

    def tensor(self, name: str) -> mg.Tensor:
        """The bytes of an entry as a uint8 tensor. Mapped entries are read on use, so their checksum is not verified."""
        start, size, crc = self._entry(name)
        out = self.source.tensor_at(start, size)
        if self.source._map is None and size:
            self._verify(name, memoryview(out.numpy()), crc)
        return out


class ZipWriter:
    """Writes an archive entry by entry."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.archive = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True)

    def add(self, name: str, *parts: Any) -> None:
        """Store the parts (bytes or memoryviews), one behind the other, as one aligned entry."""
        info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # the same state gives the same file
        info.compress_type = zipfile.ZIP_STORED
        info.external_attr = 0o644 << 16
        info.file_size = sum(memoryview(part).nbytes for part in parts)
        big = info.file_size * 1.05 > zipfile.ZIP64_LIMIT
        header = self.file.tell() + _LOCAL_HEADER + len(name.encode()) + (20 if big else 0) + 4
        padding = -header % ALIGNMENT
        info.extra = struct.pack("<HH", 0x4246, padding) + b"Z" * padding
        with self.archive.open(info, "w", force_zip64=big) as entry:
            for part in parts:
                view = memoryview(part).cast("B")
                for k in range(0, len(view), _CHUNK):
                    entry.write(view[k : k + _CHUNK])

    def __enter__(self) -> ZipWriter:
        return self

    def __exit__(self, kind: Any, *exc: Any) -> None:
        if kind is None:
            self.archive.close()  # writes the directory
        else:
            self.archive.fp = None  # or it would write to a file that is given up
