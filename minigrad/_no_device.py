"""The functions that the modules of absent devices (cuda, mps, xpu, mtia) share: nothing is there.

And asking for more raises torch's error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def is_available() -> bool:
    """False: this build has no such device."""
    return False


def device_count() -> int:
    """0."""
    return 0


def is_initialized() -> bool:
    """False."""
    return False


def manual_seed(seed: int) -> None:
    """Nothing to seed; kept silent as in PyTorch."""


def manual_seed_all(seed: int) -> None:
    """Nothing to seed; kept silent as in PyTorch."""


def empty_cache() -> None:
    """Nothing is cached."""


def nothing(name: str, value: Any = None) -> Callable[..., Any]:
    """A function that accepts anything and returns `value`."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return value

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{name}: {value!r}, for there is no such device."
    return call


def refusing(name: str, message: str, error: type[Exception] = AssertionError) -> Callable[..., Any]:
    """A function that raises torch's error for a device that was not compiled in."""

    def call(*args: Any, **kwargs: Any) -> Any:
        raise error(message)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{name}. Raises {error.__name__}: {message}"
    return call
