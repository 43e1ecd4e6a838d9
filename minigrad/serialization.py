"""Names of `torch.serialization`: saving, loading, and what may be loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO, Any, Optional, Union

from minigrad.io._safe_globals import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals
from minigrad.io._settings import (
    LoadEndianness,
    get_crc32_options,
    get_default_load_endianness,
    get_default_mmap_options,
    set_crc32_options,
    set_default_load_endianness,
    set_default_mmap_options,
)  # fmt: skip
from minigrad.io.serialization import DEFAULT_PROTOCOL, get_unsafe_globals_in_checkpoint, load, save

FILE_LIKE = Union[str, os.PathLike, IO[bytes]]  # noqa: UP007  for annotations
MAP_LOCATION = Optional[Union[Callable, Any, str, dict]]  # noqa: UP007, UP045  for annotations

__all__ = [
    "DEFAULT_PROTOCOL", "LoadEndianness", "add_safe_globals", "clear_safe_globals", "get_crc32_options", "get_default_load_endianness",
    "get_default_mmap_options", "get_safe_globals", "get_unsafe_globals_in_checkpoint", "load", "safe_globals", "save",
    "set_crc32_options", "set_default_load_endianness", "set_default_mmap_options",
]  # fmt: skip
