"""PyTorchFileReader and PyTorchFileWriter: the records of a `.pt` archive, for libraries that read them one by one.

The archive is a zip file of uncompressed records below one folder; minigrad.io reads and writes whole checkpoints.
"""

from __future__ import annotations

import zipfile
from typing import Any

from minigrad import _core

__all__ = ["PyTorchFileReader", "PyTorchFileWriter"]


class PyTorchFileReader:
    """The records of an archive.

    Args:
        name_or_buffer: path or binary file.

    Raises:
        RuntimeError: it is no such archive.
    """

    def __init__(self, name_or_buffer: Any) -> None:
        try:
            self._zip = zipfile.ZipFile(name_or_buffer)
            self._folder = self._zip.namelist()[0].split("/")[0]
        except (zipfile.BadZipFile, IndexError) as error:
            raise RuntimeError("PytorchStreamReader failed reading zip archive: not a ZIP archive") from error

    def get_all_records(self) -> list[str]:
        """Names of the records."""
        return [name.split("/", 1)[1] for name in self._zip.namelist() if "/" in name]

    def has_record(self, name: str) -> bool:
        """Whether there is a record of that name."""
        return f"{self._folder}/{name}" in self._zip.NameToInfo

    def get_record(self, name: str) -> bytes:
        """The bytes of a record; RuntimeError if there is none."""
        if not self.has_record(name):
            raise RuntimeError(f"PytorchStreamReader failed locating file {name}: file not found")
        return self._zip.read(f"{self._folder}/{name}")

    def get_storage_from_record(self, name: str, numel: int, dtype: Any) -> _core.Tensor:
        """The first `numel` elements of a record as a vector."""
        data = self.get_record(name)
        if len(data) < numel * dtype.itemsize:
            raise RuntimeError(f"PytorchStreamReader: record {name} has {len(data)} bytes, {numel} elements of {dtype} were asked for")
        return _core.from_bytes(data[: numel * dtype.itemsize], dtype, (numel,))

    def version(self) -> int:
        """The format's version."""
        return int(self.get_record("version")) if self.has_record("version") else 0


class PyTorchFileWriter:
    """Writes an archive, record by record.

    Args:
        name_or_buffer: path or binary file.
    """

    def __init__(self, name_or_buffer: Any, *options: Any) -> None:
        self._zip = zipfile.ZipFile(name_or_buffer, "w", zipfile.ZIP_STORED)

    def write_record(self, name: str, data: bytes | memoryview, size: int | None = None) -> None:
        """Add a record of the first `size` bytes."""
        self._zip.writestr(f"archive/{name}", bytes(data)[:size])

    def write_end_of_file(self) -> None:
        """Write the directory; the archive is complete then."""
        self._zip.close()
