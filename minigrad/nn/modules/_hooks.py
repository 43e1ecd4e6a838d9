"""Hooks of a Module: forward, forward-pre, full backward, backward-pre; per module and global.

`_has_hooks` is the only thing the call path looks at. It is a class attribute (False) that a registration on one
instance shadows, and that a global registration turns on for every module; removing hooks leaves it on, which costs
one Python call per forward and nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad.autograd import Function
from minigrad.utils.hooks import RemovableHandle

Hook = Callable[..., Any]


global_forward_pre: dict[int, Hook] = OrderedDict()
global_forward: dict[int, Hook] = OrderedDict()
global_forward_always: dict[int, bool] = OrderedDict()
global_forward_with_kwargs: dict[int, bool] = OrderedDict()
global_backward_pre: dict[int, Hook] = OrderedDict()
global_backward: dict[int, Hook] = OrderedDict()


class HookMixin:
    """Registration and running of hooks; mixed into Module."""

    _has_hooks = False

    def _add_hook(
        self, table: dict[int, Hook], hook: Hook, prepend: bool, flags: list[dict[int, bool]]
    ) -> RemovableHandle:
        handle = RemovableHandle(table, extra=flags)
        table[handle.id] = hook
        for flag in flags:
            flag[handle.id] = True
        if prepend:
            table.move_to_end(handle.id, last=False)
        self.__dict__["_has_hooks"] = True
        return handle

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args[, kwargs])` before `forward`; it may return new inputs."""
        flags = [self._forward_pre_hooks_with_kwargs] if with_kwargs else []
        return self._add_hook(self._forward_pre_hooks, hook, prepend, flags)

    def register_forward_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args[, kwargs], output)` after `forward`; a returned value replaces the output."""
        flags = [self._forward_hooks_with_kwargs] if with_kwargs else []
        if always_call:
            flags.append(self._forward_hooks_always_called)
        return self._add_hook(self._forward_hooks, hook, prepend, flags)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` before the module's backward; it may return new grad_output."""
        return self._add_hook(self._backward_pre_hooks, hook, prepend, [])

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the input gradients are known; may return new ones."""
        if self._is_full_backward_hook is False:
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module. "
                "Please use only one of them."
            )
        self._is_full_backward_hook = True
        return self._add_hook(self._backward_hooks, hook, prepend, [])

    def register_backward_hook(self, hook: Hook) -> RemovableHandle:
        """Deprecated twin of `register_full_backward_hook`, with the same behaviour here."""
        return self.register_full_backward_hook(hook)

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        """`__call__` when hooks may exist: pre-hooks, forward, hooks; `always_call` hooks run on errors too."""
        called: set[int] = set()
        try:
            return self._call_with_hooks(args, kwargs, called)
        except Exception:
            self._run_always_called(args, kwargs, called)
            raise

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any], called: set[int]) -> Any:
        args, kwargs = self._run_forward_pre(args, kwargs)
        backward = None
        if self._backward_hooks or self._backward_pre_hooks or global_backward or global_backward_pre:
            backward = _BackwardHooks(self)
            args = backward.on_inputs(args)
        result = self.forward(*args, **kwargs)
        for table, with_kwargs in (
            (global_forward, global_forward_with_kwargs),
            (self._forward_hooks, self._forward_hooks_with_kwargs),
        ):
            for key, hook in list(table.items()):
                called.add(key)
                returned = hook(self, args, kwargs, result) if key in with_kwargs else hook(self, args, result)
                if returned is not None:
                    result = returned
        if backward is not None:
            result = backward.on_outputs(result)
        return result

    def _run_forward_pre(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        for hook in list(global_forward_pre.values()):
            returned = hook(self, args)
            if returned is not None:
                args = returned if isinstance(returned, tuple) else (returned,)
        for key, hook in list(self._forward_pre_hooks.items()):
            if key in self._forward_pre_hooks_with_kwargs:
                returned = hook(self, args, kwargs)
                if returned is None:
                    continue
                if not (isinstance(returned, tuple) and len(returned) == 2):
                    raise RuntimeError(
                        f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {returned}."
                    )
                args, kwargs = returned
            else:
                returned = hook(self, args)
                if returned is not None:
                    args = returned if isinstance(returned, tuple) else (returned,)
        return args, kwargs

    def _run_always_called(self, args: tuple[Any, ...], kwargs: dict[str, Any], called: set[int]) -> None:
        for table, always, with_kwargs in (
            (global_forward, global_forward_always, global_forward_with_kwargs),
            (self._forward_hooks, self._forward_hooks_always_called, self._forward_hooks_with_kwargs),
        ):
            for key, hook in list(table.items()):
                if key in always and key not in called:
                    _ = hook(self, args, kwargs, None) if key in with_kwargs else hook(self, args, None)


class _Tap(Function):
    """Identity on its tensors whose backward hands the gradients to `observer(grads)` and passes on what it returns."""

    @staticmethod
    def forward(ctx: Any, observer: Hook, *tensors: mg.Tensor) -> tuple[mg.Tensor, ...]:
        ctx.observer = observer
        ctx.set_materialize_grads(False)
        outputs = tuple(tensor.view_as(tensor) for tensor in tensors)
        ctx.mark_non_differentiable(*(o for o, t in zip(outputs, tensors, strict=True) if not t.requires_grad))
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: mg.Tensor | None) -> tuple[Any, ...]:
        return (None, *ctx.observer(grads))


class _BackwardHooks:
    """Wraps one call of a module: a tap on its outputs sees grad_output, a tap on its inputs grad_input."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.hooks = [*global_backward.values(), *module._backward_hooks.values()]
        self.pre_hooks = [*global_backward_pre.values(), *module._backward_pre_hooks.values()]
        self.grad_outputs: tuple[Any, ...] | None = None
        self.input_places: list[int] = []
        self.arity = 0
        self.has_input_tap = False

    def on_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.arity = len(args)
        if not self.hooks:
            return args
        self.input_places = [i for i, a in enumerate(args) if isinstance(a, mg.Tensor)]
        if not mg.is_grad_enabled() or not any(args[i].requires_grad for i in self.input_places):
            return args
        self.has_input_tap = True
        tapped = _Tap.apply(self._see_grad_inputs, *(args[i] for i in self.input_places))
        new_args = list(args)
        for i, tensor in zip(self.input_places, tapped, strict=True):
            new_args[i] = tensor
        return tuple(new_args)

    def on_outputs(self, result: Any) -> Any:
        is_tuple = isinstance(result, tuple)
        items = list(result) if is_tuple else [result]
        places = [i for i, r in enumerate(items) if isinstance(r, mg.Tensor)]
        if not mg.is_grad_enabled() or not any(items[i].requires_grad for i in places):
            return result
        self.output_places, self.output_arity = places, len(items)
        tapped = _Tap.apply(self._see_grad_outputs, *(items[i] for i in places))
        for i, tensor in zip(places, tapped, strict=True):
            items[i] = tensor
        if not is_tuple:
            return items[0]
        return type(result)(*items) if hasattr(result, "_fields") else tuple(items)

    def _see_grad_outputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        full: list[Any] = [None] * self.output_arity
        for i, grad in zip(self.output_places, grads, strict=True):
            full[i] = grad
        current = tuple(full)
        for hook in self.pre_hooks:
            returned = hook(self.module, current)
            if returned is not None:
                current = _checked(returned, len(current), "Backward pre hook", "grad_output")
        self.grad_outputs = current
        if self.hooks and not self.has_input_tap:
            for hook in self.hooks:
                returned = hook(self.module, (None,) * self.arity, current)
                if returned is not None and not all(g is None for g in _as_tuple(returned)):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return None "
                        "or None for all gradients."
                    )
            self.grad_outputs = None
        return tuple(current[i] for i in self.output_places)

    def _see_grad_inputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.grad_outputs is None:
            raise RuntimeError(
                "Module backward hook for grad_input is called before the grad_output one. This happens because the "
                "gradient in your nn.Module flows to the Module's input without passing through the Module's output."
            )
        full: list[Any] = [None] * self.arity
        for i, grad in zip(self.input_places, grads, strict=True):
            full[i] = grad
        current = tuple(full)
        for hook in self.hooks:
            returned = hook(self.module, current, self.grad_outputs)
            if returned is not None:
                current = _checked(returned, len(current), "Backward hook", "grad_input")
        self.grad_outputs = None
        return tuple(current[i] for i in self.input_places)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _checked(value: Any, expected: int, who: str, what: str) -> tuple[Any, ...]:
    value = _as_tuple(value)
    if len(value) != expected:
        raise RuntimeError(f"{who} returned an invalid number of {what}, got {len(value)}, but expected {expected}")
    return value
