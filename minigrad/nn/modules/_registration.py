"""Hooks that see every buffer, parameter or child module as it is registered, in all modules."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from minigrad.utils.hooks import Hook, RemovableHandle

hooks: dict[str, dict[int, Hook]] = {"buffer": OrderedDict(), "parameter": OrderedDict(), "module": OrderedDict()}


def add(kind: str, hook: Hook) -> RemovableHandle:
    """Add a hook for one kind."""
    handle = RemovableHandle(hooks[kind])
    hooks[kind][handle.id] = hook
    return handle


def seen(kind: str, module: Any, name: str, value: Any) -> Any:
    """What is to be registered after all hooks of `kind` have seen `value`."""
    for hook in list(hooks[kind].values()):
        returned = hook(module, name, value)
        if returned is not None:
            value = returned
    return value
