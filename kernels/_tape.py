"""The gradient of a kernel (KernelOp.backward) as a node of the autograd graph.

A backward made of differentiable calls (minigrad's ops, other kernels declared with `op`) can be differentiated again. One that launches
a kernel itself, or uses a result that only the forward knows, cannot: whoever asks for it is told.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.autograd import Function
from minigrad.kernels._launch import watching


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
    def backward(ctx: Any, *grads: Any) -> tuple:
        op = ctx.op
        if op.backward is None:
            raise RuntimeError(f"{op.name}: this kernel has no backward. Give op() one, or call it under no_grad()")
        kept = dict(zip(ctx.kept, ctx.saved_tensors))
        values = {**dict.fromkeys(op.params), **ctx.values, **{k: v for k, v in kept.items() if k in op.params}}
        results = tuple(kept.get(o) for o in op.outputs)
        again = mg.is_grad_enabled()  # create_graph=True
        with watching() as launched:
            found = op.gradients(grads, values, results)
        unknown = [o for o in op.outputs[op.visible :] if o in kept]
        if again and (launched or unknown):
            because = f"launches {launched[0].__name__}" if launched else f"uses {unknown[0]}"
            anchors = [t for t in (*grads, *kept.values()) if isinstance(t, mg.Tensor) and t.requires_grad]
            found = {n: t if t is None else _Constant.apply(op.name, because, t, *anchors) for n, t in found.items()}
        return (None, None, None, *(found.get(n) if ctx.needs_input_grad[k + 3] else None for k, n in enumerate(ctx.names)))


class _Constant(Function):
    """Passes a gradient on that nobody can differentiate."""

    @staticmethod
    def forward(ctx: Any, name: str, because: str, t: Any, *anchors: Any) -> Any:
        ctx.name, ctx.because = name, because
        return t.view_as(t)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple:
        raise NotImplementedError(
            f"{ctx.name}: second derivative: its backward {ctx.because}, which has none. Try a backward made of minigrad's ops and of "
            "kernels declared with kernels.op"
        )


def apply(op: Any, values: dict[str, Any]) -> tuple:
    """The visible results, recorded for backward."""
    names = [k for k, v in values.items() if isinstance(v, mg.Tensor)]
    visible = _Call.apply(op, names, {k: v for k, v in values.items() if k not in names}, *(values[n] for n in names))
    return visible if isinstance(visible, tuple) else (visible,)
