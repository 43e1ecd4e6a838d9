"""torch.accelerator: the accelerator in use, which is CUDA where there is one; else everything but the questions raises PyTorch's error."""

from __future__ import annotations

import contextlib
from typing import Any

from minigrad import _core
from minigrad._no_device import refusing
from minigrad.cuda._door import backend as _backend

__all__ = [
    "current_accelerator", "current_device_idx", "current_device_index", "current_stream", "device_count", "device_index", "empty_cache",
    "empty_host_cache", "get_device_capability", "get_memory_info", "is_available", "max_memory_allocated", "max_memory_reserved",
    "memory_allocated", "memory_reserved", "memory_stats", "reset_accumulated_memory_stats", "reset_peak_memory_stats", "set_device_idx",
    "set_device_index", "set_stream", "synchronize",
]  # fmt: skip

_MESSAGE = "Cannot access accelerator device when none is available."
_OWN = ("device_index", "current_accelerator", "empty_host_cache")
_RENAMED = {
    "current_device_idx": "current_device", "current_device_index": "current_device", "set_device_idx": "set_device",
    "set_device_index": "set_device", "get_memory_info": "mem_get_info",
}  # fmt: skip
_QUESTIONS = ("device_count", "empty_cache", "is_available")  # answered without a device, too


def _of_cuda(name: str) -> Any:
    from minigrad import cuda

    return getattr(cuda, _RENAMED.get(name, name))


for _name in __all__:
    if _name in _QUESTIONS or (_backend is not None and _name not in _OWN):
        globals()[_name] = _of_cuda(_name)
    elif _name not in _OWN:
        globals()[_name] = refusing(_name, _MESSAGE, RuntimeError)


def empty_host_cache() -> None:
    """Pinned memory is kept.

    Raises:
        RuntimeError: there is no accelerator.
    """
    if _backend is None:
        raise RuntimeError(_MESSAGE)


def current_accelerator(check_available: bool = False) -> Any:
    """device(type='cuda'), or None without one."""
    return None if _backend is None else _core.device("cuda")


@contextlib.contextmanager
def device_index(device: Any, /) -> Any:
    """`with device_index(1):` the current device inside; None changes nothing.

    Raises:
        RuntimeError: for a device number, without an accelerator.
    """
    if device is None:
        yield
        return
    if _backend is None:
        raise RuntimeError(_MESSAGE)
    with _of_cuda("device")(device):
        yield
