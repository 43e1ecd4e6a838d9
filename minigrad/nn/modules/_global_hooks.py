"""Hooks on every module at once (debugging and profiling aids)."""

from __future__ import annotations

from minigrad.utils.hooks import Hook, RemovableHandle

from . import _hooks
from .module import Module


def _register(table: dict[int, Hook], hook: Hook, flags: list[dict[int, bool]] | None = None) -> RemovableHandle:
    handle = RemovableHandle(table, extra=flags or [])
    table[handle.id] = hook
    for flag in flags or []:
        flag[handle.id] = True
    Module._has_hooks = True
    return handle


def register_module_forward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(module, args)` before the forward of every module."""
    return _register(_hooks.global_forward_pre, hook)


def register_module_forward_hook(
    hook: Hook, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(module, args, output)` after the forward of every module."""
    flags = [_hooks.global_forward_with_kwargs] if with_kwargs else []
    if always_call:
        flags.append(_hooks.global_forward_always)
    return _register(_hooks.global_forward, hook, flags)


def register_module_full_backward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(module, grad_output)` before the backward of every module."""
    return _register(_hooks.global_backward_pre, hook)


def register_module_full_backward_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` after the backward of every module."""
    return _register(_hooks.global_backward, hook)


register_module_backward_hook = register_module_full_backward_hook
