"""Custom differentiable functions, PyTorch's `autograd.Function` contract.

    class Exp(mg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, grad):
            (y,) = ctx.saved_tensors
            return grad * y

    Exp.apply(x)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad import _core

Tensor = _core.Tensor


class FunctionCtx:
    """What `forward` and `backward` share; `ctx` in their signatures. Any attribute may be set on it."""

    needs_input_grad: tuple[bool, ...] = ()
    materialize_grads: bool = True
    _saved: Any = ()
    _to_save: tuple = ()
    _non_differentiable: tuple = ()
    _dirty: tuple = ()
    _released: bool = False
    _node: Any = None

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors (inputs, outputs or None) for backward, version-checked; call it once."""
        self._to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Accepted for PyTorch's sake; forward-mode derivatives are not implemented."""

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Outputs that carry no gradient."""
        self._non_differentiable = tensors

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Inputs that forward changed in place and returns."""
        self._dirty = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """False: backward gets None instead of zeros for outputs that were not used."""
        self.materialize_grads = value

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What save_for_backward kept; raises RuntimeError after the graph was freed or on a stale version."""
        if self._released:
            raise RuntimeError(
                f"{type(self).__name__}: Trying to backward through the graph a second time (or directly access saved tensors "
                "after they have already been freed). Try retain_graph=True in the first call."
            )
        return tuple(_core.unpack_variable(s, self._node) for s in self._saved)

    # --- called by the engine (csrc/python/bind_autograd.cpp) ---
    def _apply_backward(self, node: Any, grads: list) -> list:
        if self.materialize_grads:
            grads = [self._zeros(k) if g is None else g for k, g in enumerate(grads)]
        self._node = node
        try:
            result = self._cls._backward(self, *grads)
        finally:
            self._node = None
        result = list(result) if isinstance(result, (tuple, list)) else [result]
        if len(result) > self._n_inputs and all(r is None for r in result[self._n_inputs :]):
            del result[self._n_inputs :]
        return result

    def _zeros(self, k: int) -> Tensor | None:
        import minigrad

        spec = self._outputs[k]
        return None if spec is None else minigrad.zeros(spec[0], dtype=spec[1], device=spec[2])

    def _release(self) -> None:
        self._saved = ()
        self._released = bool(self._to_save)


class Function:
    """Base class: write `forward` (and `setup_context` if you like) and `backward` as static methods, call `apply`."""

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the outputs; `forward(ctx, *args)`, or `forward(*args)` together with `setup_context`."""
        raise NotImplementedError("Function: implement the static method `forward`")

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: Any) -> Any:
        """Fill ctx from inputs and output; only needed when forward takes no ctx."""
        raise NotImplementedError("Function: implement the static method `setup_context`")

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Any:
        """One gradient (or None) per argument of forward, from one gradient per output."""
        raise NotImplementedError("Function: implement the static method `backward` (or `vjp`) to differentiate through it")

    vjp = backward

    @classmethod
    def _backward(cls, ctx: FunctionCtx, *grads: Any) -> Any:
        fn = cls.vjp if cls.backward is Function.backward and cls.vjp is not Function.vjp else cls.backward
        return fn(ctx, *grads)

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run forward and record backward."""
        ctx = type(cls.__name__ + "Backward", (FunctionCtx,), {})()
        ctx._cls = cls
        ctx._n_inputs = len(args)
        needs = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        ctx.needs_input_grad = needs
        recording = any(needs) and _core.is_grad_enabled()
        if _core.is_grad_enabled() and any(_core.is_dataless(a) for a in args):
            here, below = _levels(args)
            if here and below:
                raise RuntimeError(
                    f"{cls.__name__}: a custom Function inside vmap cannot be differentiated both inside and outside of that vmap. "
                    "Try writing the function with ordinary ops, or detaching what is not differentiated by."
                )
            if below:
                from minigrad.func._function import apply_below

                return apply_below(cls, args, kwargs)
        before = _core.set_grad_enabled(False)
        try:
            if cls.setup_context is Function.setup_context:
                out = cls.forward(ctx, *args, **kwargs)
            else:
                out = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, out)
        finally:
            _core.set_grad_enabled(before)
        if not recording:
            return out
        single = not isinstance(out, (tuple, list))
        outputs = [out] if single else list(out)
        for o in outputs:
            if single and not isinstance(o, Tensor):
                raise TypeError(f"{cls.__name__}.forward: expected a Tensor or a tuple of them as output, got {type(o).__name__}")
        ctx._outputs = [(o.shape, o.dtype, o.device) if isinstance(o, Tensor) else None for o in outputs]
        differentiable = [not any(o is t for t in ctx._non_differentiable) for o in outputs]
        dirty = [any(o is t for t in ctx._dirty) for o in outputs]
        label = cls.__name__ + "Backward"
        index = {id(o): k for k, o in enumerate(outputs) if isinstance(o, Tensor) and (dirty[k] or not any(o is a for a in args))}
        ctx._saved = [_core.save_variable(t, index.get(id(t), -1), label) for t in ctx._to_save]
        ctx._to_save = bool(ctx._to_save)
        ctx._dirty = ctx._non_differentiable = ()  # results, which keep ctx
        wrapped = _core.attach_function(ctx, label, list(args), outputs, differentiable, dirty)
        return wrapped[0] if single else tuple(wrapped)


def _levels(args: tuple) -> tuple[bool, bool]:
    """Inside vmap: is a gradient wanted at the innermost level, and at one outside of it?"""
    tensors = [a for a in args if isinstance(a, Tensor)]
    levels = [_core.standin(a)[0] if _core.is_dataless(a) else 0 for a in tensors]
    here = any(a.requires_grad and n == max(levels) for a, n in zip(tensors, levels))
    return here, any(_core.inner_needs_grad(a) or (a.requires_grad and n < max(levels)) for a, n in zip(tensors, levels))


def once_differentiable(backward: Callable) -> Callable:
    """Decorator for `backward`: its result is a constant for higher derivatives; asking for them raises RuntimeError."""
    import functools

    @functools.wraps(backward)
    def wrapper(ctx: FunctionCtx, *grads: Any) -> Any:
        recording = _core.is_grad_enabled() and any(isinstance(g, Tensor) and g.requires_grad for g in grads)
        before = _core.set_grad_enabled(False)
        try:
            out = backward(ctx, *grads)
        finally:
            _core.set_grad_enabled(before)
        if not recording:
            return out
        items = list(out) if isinstance(out, (tuple, list)) else [out]
        anchor = next(g for g in grads if isinstance(g, Tensor) and g.requires_grad)
        items = [_Once.apply(t, anchor) if isinstance(t, Tensor) else t for t in items]
        return tuple(items) if isinstance(out, (tuple, list)) else items[0]

    return wrapper


class _Once(Function):
    """Passes its input on; its own backward raises."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor, anchor: Tensor) -> Tensor:
        return value.detach()

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Any:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")
