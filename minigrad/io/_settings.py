"""Process-wide settings of loading, under PyTorch's names."""

from __future__ import annotations

import mmap
from enum import Enum
from typing import Any


class LoadEndianness(Enum):
    """Byte order of checkpoints that do not say theirs."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3


_state: dict[str, Any] = {"endianness": None, "mmap": mmap.MAP_PRIVATE, "crc32": True}


def get_default_load_endianness() -> LoadEndianness | None:
    """The byte order assumed for files without one; None means little endian."""
    return _state["endianness"]


def set_default_load_endianness(endianness: LoadEndianness | None) -> None:
    """Set the byte order assumed for files without one."""
    if not isinstance(endianness, LoadEndianness) and endianness is not None:
        raise TypeError("Invalid argument type in function set_default_load_endianness")
    _state["endianness"] = endianness


def get_default_mmap_options() -> int:
    """The flags of memory mapping: always private, writes never reach the file."""
    return _state["mmap"]


class set_default_mmap_options:
    """Accepts mmap.MAP_PRIVATE, which is what minigrad does; a function and a context manager."""

    def __init__(self, flags: int) -> None:
        if flags != mmap.MAP_PRIVATE:
            raise NotImplementedError("set_default_mmap_options: only MAP_PRIVATE is supported: checkpoints are never written through")

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: Any) -> None:
        return None


def get_crc32_options() -> bool:
    """Whether files are written with checksums: always."""
    return _state["crc32"]


def set_crc32_options(compute_crc32: bool) -> None:
    """Accepted; minigrad writes checksums in any case, and reads files without them."""
