"""The gradient of a kernel (KernelOp.backward) as a node of the autograd graph."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.autograd import Function
from minigrad.autograd.function import once_differentiable


class _Call(Function):
    @staticmethod
    def forward(ctx: Any, op: Any, names: list[str], values: dict[str, Any], *tensors: Any) -> Any:
        values = {**values, **dict(zip(names, tensors))}
        results = op.compute(values)
        if op.mutates:
            ctx.mark_dirty(*(values[n] for n in op.mutates))
        hidden = results[op.visible :]
        wanted = set(op.saved) if op.backward is not None else set()
        keep = {**{n: t for n, t in zip(names, tensors) if n in wanted}, **{n: r for n, r in zip(op.outputs, results) if n in wanted}}
        ctx.op, ctx.names, ctx.kept = op, names, list(keep)
        ctx.values = {k: v for k, v in values.items() if k not in names}
        ctx.save_for_backward(*keep.values())
        ctx.mark_non_differentiable(*(r for r in results[: op.visible] if not r.is_floating_point()))
        ctx.hidden = hidden
        visible = results[: op.visible]
        return visible[0] if op.visible == 1 else tuple(visible)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple:
        op = ctx.op
        if op.backward is None:
            raise RuntimeError(f"{op.name}: this kernel has no backward. Give op() one, or call it under no_grad()")
        kept = dict(zip(ctx.kept, ctx.saved_tensors))
        values = {**dict.fromkeys(op.params), **ctx.values, **{k: v for k, v in kept.items() if k in op.params}}
        results = tuple(kept.get(o) for o in op.outputs)
        found = op.gradients(grads, values, results)
        return (None, None, None, *(found.get(n) if ctx.needs_input_grad[k + 3] else None for k, n in enumerate(ctx.names)))


def apply(op: Any, values: dict[str, Any]) -> tuple:
    """The visible results, recorded for backward."""
    names = [k for k, v in values.items() if isinstance(v, mg.Tensor)]
    visible = _Call.apply(op, names, {k: v for k, v in values.items() if k not in names}, *(values[n] for n in names))
    return visible if isinstance(visible, tuple) else (visible,)
