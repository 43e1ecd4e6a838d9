"""Hooks on every module at once (debugging and profiling aids)."""

from __future__ import annotations

from typing import Any

from minigrad.utils.hooks import Hook, RemovableHandle

from . import _hooks, _registration
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


def register_module_buffer_registration_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(module, name, buffer)` when any module registers a buffer; a returned tensor takes its place."""
    return _registration.add("buffer", hook)


def register_module_parameter_registration_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(module, name, parameter)` when any module registers a parameter; a returned one takes its place."""
    return _registration.add("parameter", hook)


def register_module_module_registration_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(module, name, child)` when any module registers a child; a returned module takes its place."""
    return _registration.add("module", hook)


def export(module: Any) -> None:
    """Put the registrations into `modules.module`, from where programs import them."""
    for name, function in list(globals().items()):
        if name.startswith("register_module_"):
            setattr(module, name, function)
