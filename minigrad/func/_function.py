"""A custom autograd.Function inside vmap, differentiated from outside of that vmap: the Function is moved one level down.

`_Below` is itself a Function, of the inner tensors. Its forward runs the user's forward under a vmap level of its own, its backward the
user's backward likewise, so the custom gradient is the one that counts, to any order.
"""

from __future__ import annotations

from typing import Any

from minigrad import _core
from minigrad.autograd.function import Function, FunctionCtx
from minigrad.func._batch import full
from minigrad.func._vmap import Level

Tensor = _core.Tensor


class _Ctx(FunctionCtx):
    """The user's ctx; in backward `saved` holds what save_for_backward kept, wrapped for the new level."""

    saved: tuple | None = None

    @property
    def saved_tensors(self) -> tuple:
        """What forward saved."""
        return FunctionCtx.saved_tensors.fget(self) if self.saved is None else self.saved


def apply_below(cls: type[Function], args: tuple, kwargs: dict) -> Any:
    """cls.apply(*args) for arguments of which some are batched at the current level, with history at the level below."""
    number = max(_core.standin(a)[0] for a in args if isinstance(a, Tensor) and _core.is_dataless(a))
    owner = next(a for a in args if isinstance(a, Tensor) and _core.is_dataless(a) and _core.standin(a)[0] == number)
    inner, flags, size = [], [], None
    for a in args:
        found = _core.standin(a) if isinstance(a, Tensor) else None
        mine = found is not None and found[0] == number
        inner.append(found[1] if mine else a)
        flags.append(mine and found[2])
        size = found[1].shape[0] if flags[-1] else size
    if size is None:  # nothing is batched: the same for all slices
        return cls.apply(*inner, **kwargs)
    note: dict[str, Any] = {}
    outs = _core.vmap_below(owner, lambda: _Below.apply((cls, size, flags, kwargs, note), *inner))
    wrapped = tuple(_core.vmap_like(owner, o) for o in (outs if isinstance(outs, tuple) else (outs,)))
    return wrapped[0] if note["single"] else wrapped


class _Below(Function):
    @staticmethod
    def forward(ctx: Any, call: tuple, *inner: Any) -> Any:
        cls, size, flags, kwargs, note = call
        user = _Ctx()
        user._cls, user._n_inputs = cls, len(inner)
        user.needs_input_grad = ctx.needs_input_grad[1:]
        with Level(size, "error") as level:
            given = [level.wrap(x, 0) if flag else x for x, flag in zip(inner, flags)]
            if cls.setup_context is Function.setup_context:
                out = cls.forward(user, *given, **kwargs)
            else:
                out = cls.forward(*given, **kwargs)
                cls.setup_context(user, tuple(given), out)
            note["single"] = isinstance(out, Tensor)
            outs = (out,) if note["single"] else tuple(out)
            if user._dirty:
                raise RuntimeError(f"{cls.__name__}: mark_dirty is not supported inside vmap. Try an out-of-place forward.")
            results = {id(o): full(*level.unwrap(o), size) for o in outs}
            ctx.mark_non_differentiable(*(results[id(o)] for o in user._non_differentiable))
            saved = [None if t is None else (results[id(t)], True) if id(t) in results else level.unwrap(t) for t in user._to_save]
        ctx.save_for_backward(*(None if s is None else s[0] for s in saved))
        ctx.user, ctx.saved_flags = user, [s is not None and s[1] for s in saved]
        ctx.size, ctx.flags = size, flags
        user._to_save = ()
        return tuple(results[id(o)] for o in outs)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple:
        user, size = ctx.user, ctx.size
        with Level(size, "error") as level:
            user.saved = tuple(level.wrap(t, 0) if flag else t for t, flag in zip(ctx.saved_tensors, ctx.saved_flags))
            try:
                result = user._cls._backward(user, *(level.wrap(g, 0) for g in grads))
            finally:
                user.saved = ()
            result = list(result) if isinstance(result, (tuple, list)) else [result]
            out: list = [None]
            for g, flag in zip(result, ctx.flags):
                if not isinstance(g, Tensor):
                    out.append(None)
                    continue
                value = full(*level.unwrap(g), size)
                out.append(value if flag else value.sum(0))
        return tuple(out)
