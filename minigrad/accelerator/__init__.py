"""torch.accelerator: the accelerator in use; there is none in this build."""

from __future__ import annotations

import contextlib
from typing import Any

from minigrad._no_device import device_count, empty_cache, is_available, refusing

__all__ = [
    "current_accelerator", "current_device_idx", "current_device_index", "current_stream", "device_count", "device_index", "empty_cache",
    "empty_host_cache", "get_device_capability", "get_memory_info", "is_available", "max_memory_allocated", "max_memory_reserved",
    "memory_allocated", "memory_reserved", "memory_stats", "reset_accumulated_memory_stats", "reset_peak_memory_stats", "set_device_idx",
    "set_device_index", "set_stream", "synchronize",
]  # fmt: skip

_MESSAGE = "Cannot access accelerator device when none is available."
_OWN = ("device_count", "empty_cache", "is_available", "device_index", "current_accelerator")
for _name in __all__:
    if _name not in _OWN:
        globals()[_name] = refusing(_name, _MESSAGE, RuntimeError)


def current_accelerator(check_available: bool = False) -> None:
    """None: this build has none."""


@contextlib.contextmanager
def device_index(device: Any, /) -> Any:
    """`with device_index(None):` changes nothing.

    Raises:
        RuntimeError: for a device number.
    """
    if device is not None:
        raise RuntimeError(_MESSAGE)
    yield
