"""torch.cpu: the device module of the CPU; there is one, and its work is done when a call returns."""

from __future__ import annotations

import contextlib
from typing import Any

from minigrad._settings import Stream as _Stream

__all__ = ["Stream", "StreamContext", "current_device", "current_stream", "device_count", "is_available", "is_initialized", "set_device",
           "stream", "synchronize"]  # fmt: skip


class Stream(_Stream):
    """The CPU's stream."""

    def __init__(self, priority: int = -1) -> None:
        super().__init__("cpu", priority=priority)


def is_available() -> bool:
    """True."""
    return True


def is_initialized() -> bool:
    """True."""
    return True


def synchronize(device: Any = None) -> None:
    """Nothing is pending."""


def current_stream(device: Any = None) -> Stream:
    """The CPU's stream."""
    return Stream()


def stream(stream: Any) -> Any:
    """A context manager that changes nothing."""
    return contextlib.nullcontext()


StreamContext = stream


def device_count() -> int:
    """1."""
    return 1


def set_device(device: Any) -> None:
    """Nothing to choose."""


def current_device() -> str:
    """'cpu'."""
    return "cpu"
