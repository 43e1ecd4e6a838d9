"""The globals that the user vouched for (`torch.serialization.add_safe_globals` and its relatives)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

_lock = threading.Lock()
_registered: list[Any] = []


def _full_name(entry: Any) -> str:
    if isinstance(entry, tuple):
        if len(entry) != 2 or not isinstance(entry[1], str):
            raise ValueError(f"add_safe_globals: expected (object, 'module.name'), got {entry!r}")
        return entry[1]
    if not hasattr(entry, "__module__") or not hasattr(entry, "__qualname__"):
        raise TypeError(f"add_safe_globals: expected classes, functions or (object, 'module.name') pairs, got {entry!r}")
    return f"{entry.__module__}.{entry.__qualname__}"


def add_safe_globals(safe_globals: list[Callable | tuple[Callable, str]]) -> None:
    """Allow classes and functions in files loaded with `weights_only=True`.

    Args:
        safe_globals: classes or functions, or pairs (object, "module.name") where the file uses another name.
            They will be called with what stands in the file: register only what is harmless for any argument.
    """
    for entry in safe_globals:
        _full_name(entry)
    with _lock:
        _registered.extend(entry for entry in safe_globals if entry not in _registered)


def get_safe_globals() -> list[Any]:
    """What `add_safe_globals` registered."""
    with _lock:
        return list(_registered)


def clear_safe_globals() -> None:
    """Forget all registrations."""
    with _lock:
        _registered.clear()


def registered_by_name() -> dict[str, Any]:
    """module.name -> object, as files spell them."""
    with _lock:
        return {_full_name(entry): entry[0] if isinstance(entry, tuple) else entry for entry in _registered}


class safe_globals:
    """`with safe_globals([MyClass]): load(…)`: registrations that end with the block."""

    def __init__(self, safe_globals: list[Callable | tuple[Callable, str]]) -> None:
        self.entries = safe_globals

    def __enter__(self) -> None:
        self.before = get_safe_globals()
        add_safe_globals(self.entries)

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        with _lock:
            _registered[:] = self.before
