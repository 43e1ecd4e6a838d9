"""Pointwise ops of three operands: choice, clamping, interpolation, fused multiply-add. Kernels: csrc/scalar.h."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, namespaces, op
from minigrad.ops.shared import expr as m
from minigrad.ops.shared.doc import doc

# --- choice -----------------------------------------------------------------------------------------------------------
op("where(condition, input: operand, other: operand) -> out", meta="where", method=False,
   expr=lambda condition, input, other: m.where(m.truth(condition), input, other),
   dinput=lambda g, condition: mg.where(condition, g, 0), dother=lambda g, condition: mg.where(condition, 0, g),
   doc="""input where condition is true, other elsewhere.

Args:
    condition: bool tensor; broadcasts with the other two.
    input, other: tensor or number; any dtype.
Returns:
    the broadcast shape in the promoted dtype of input and other.
Raises:
    RuntimeError when condition is not bool.
Gradient:
    passes to the chosen side only; a NaN or inf in the other side does not leak into it.
Example:
    >>> mg.where(mg.tensor([True, False]), mg.tensor([1, 2]), 0)
    tensor([1, 0])
""")


_select = functions["where"]


def _where(condition: mg.Tensor, input: Any = None, other: Any = None, *, out: Any = None) -> Any:
    if input is None and other is None:
        return mg.nonzero(condition, as_tuple=True)
    return _select(condition, input, other) if out is None else _select(condition, input, other, out=out)


def _where_method(self: mg.Tensor, condition: mg.Tensor, other: Any) -> mg.Tensor:
    return _select(condition, self, other)


# The public faces differ from the schema: `mg.where(mask)` lists the true positions, `x.where(mask, y)` puts the tensor
# first.
_where.__doc__ = _where_method.__doc__ = functions["where"].__doc__
_where.__name__ = _where_method.__name__ = "where"
namespaces[""]["where"] = _where
mg.Tensor.where = _where_method

# --- clamping ---------------------------------------------------------------------------------------------------------
op("clamp_min(input, min: operand) -> out", meta="binary",
   expr=lambda input, min: m.maximum(input, min),
   dinput=lambda g, input, min: mg.where(mg.ge(input, min), g, 0.0),
   dmin=lambda g, input, min: mg.where(mg.lt(input, min), g, 0.0),
   doc=doc("binary", "Each element, but at least min.", "mg.clamp_min(mg.tensor([-1., 2.]), 0) -> tensor([0., 2.])",
           grad="1 for input where input >= min (the bound included), else it goes to min."))

op("clamp_max(input, max: operand) -> out", meta="binary",
   expr=lambda input, max: m.minimum(input, max),
   dinput=lambda g, input, max: mg.where(mg.le(input, max), g, 0.0),
   dmax=lambda g, input, max: mg.where(mg.gt(input, max), g, 0.0),
   doc=doc("binary", "Each element, but at most max.", "mg.clamp_max(mg.tensor([-1., 2.]), 1) -> tensor([-1.,  1.])",
           grad="1 for input where input <= max (the bound included), else it goes to max."))

op("clamp_both(input, min: operand, max: operand) -> out", meta="ternary", namespace=None, domain={"min": (-2.0, -0.5),
   "max": (0.5, 2.0)},
   expr=lambda input, min, max: m.minimum(m.maximum(input, min), max),
   dinput=lambda g, input, min, max: mg.where(mg.logical_and(mg.ge(input, min), mg.le(input, max)), g, 0.0),
   dmin=lambda g, input, min, max: mg.where(_below(input, min, max), g, 0.0),
   dmax=lambda g, input, min, max: mg.where(mg.logical_or(mg.gt(input, max), _empty(input, min, max)), g, 0.0),
   doc=doc("ternary", "Each element moved into [min, max]; the kernel of `clamp` with two bounds.",
           "mg.clamp(mg.tensor([-1., 0.5, 2.]), 0, 1) -> tensor([0.0000, 0.5000, 1.0000])",
           grad="1 for input inside and at the bounds; where min > max the result is max and all goes to max."))


def _empty(input: Any, min: Any, max: Any) -> Any:
    """Where the interval is empty (max < min), as a mask that broadcasts with input, even when both bounds are
    numbers.
    """
    return mg.lt(max, min) if isinstance(max, mg.Tensor) else mg.gt(min, max) if isinstance(min, mg.Tensor) else (
        mg.full_like(input, bool(max < min), dtype=mg.bool)
    )


def _below(input: Any, min: Any, max: Any) -> Any:
    inside = mg.lt(min, max) if isinstance(min, mg.Tensor) else mg.gt(max, min) if isinstance(max, mg.Tensor) else (
        mg.full_like(input, bool(min < max), dtype=mg.bool)
    )
    return mg.logical_and(mg.lt(input, min), inside)


_SMALL_INTEGERS = (mg.int8, mg.int16, mg.int32, mg.uint8)


@composite(inplace=True, aliases=("clip",), samples="unary", ref="clamp",
           # a negative bound wraps in uint8, as in PyTorch
           dtypes=("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "bool"),
           attrs={"min": (-1, None, 0), "max": (1, 1, None)})
def clamp(
    input: mg.Tensor, min: mg.Tensor | float | None = None, max: mg.Tensor | float | None = None, *,
    out: mg.Tensor | None = None,
) -> mg.Tensor:  # fmt: skip
    """Each element moved into [min, max].

    Args:
        input: any shape and dtype.
        min: tensor or number, or None for no lower bound.
        max: tensor or number, or None for no upper bound; wins where min > max.
        out: tensor that receives the result.
    Returns:
        the broadcast shape in the promoted dtype.
    Raises:
        RuntimeError when both bounds are None.
    Gradient:
        1 inside and at the bounds, 0 outside; tensor bounds receive the gradient where they cut.
    Example:
        >>> mg.clamp(mg.tensor([-1., 0.5, 2.]), 0, 1)
        tensor([0.0000, 0.5000, 1.0000])
    """
    if min is None and max is None:
        raise RuntimeError(
            "clamp: no bound given: got min=None and max=None, expected at least one. Try clamp(x, "
            "min=0)."
        )
    if input.dtype in _SMALL_INTEGERS:
        for bound in (min, max):
            if type(bound) is int:
                functions["_full"]((), bound, input.dtype)  # raises for what does not fit: it would wrap
    target = {} if out is None else {"out": out}
    if max is None:
        return mg.clamp_min(input, min, **target)
    if min is None:
        return mg.clamp_max(input, max, **target)
    return functions["clamp_both"](input, min, max, **target)


# --- interpolation and fused products ---------------------------------------------------------------------------------
op("lerp(input, end, weight: operand) -> out", meta="ternary_float_only",
   expr=lambda input, end, weight: m.where(
       m.abs(weight) < 0.5, input + weight * (end - input), end - (end - input) * (1 - weight)),
   dinput=lambda g, weight: g * (1 - weight), dend=lambda g, weight: g * weight,
   dweight=lambda g, input, end: g * (end - input),
   doc=doc("ternary_float_only", "Linear interpolation input + weight * (end - input), exact at weight 0 and 1.",
           "mg.lerp(mg.tensor([0.]), mg.tensor([10.]), 0.25) -> tensor([2.5000])"))

op("addcmul(input, tensor1, tensor2, *, value: scalar = 1) -> out", meta="ternary_num", attrs={"value": (1, 2)},
   expr=lambda input, tensor1, tensor2, value: input + value * tensor1 * tensor2,
   special_skip=(1e30, -1e30),  # their product leaves the range of float32 (and only without FMA), not that of the reference
   dinput=lambda g: g, dtensor1=lambda g, tensor2, value: g * tensor2 * value,
   dtensor2=lambda g, tensor1, value: g * tensor1 * value,
   doc=doc("ternary_num", "input + value * tensor1 * tensor2.",
           "mg.addcmul(mg.tensor([1.]), mg.tensor([2.]), mg.tensor([3.]), value=10) -> tensor([61.])",
           args="value: number; an integer when the result is one."))

op("addcdiv(input, tensor1, tensor2, *, value: scalar = 1) -> out", meta="ternary_float_only",
   expr=lambda input, tensor1, tensor2, value: input + value * tensor1 / tensor2, domain={"tensor2": (0.4, 3.0)},
   special_skip=(1e-30,),  # 1e30 / 1e-30 leaves the range of float32, not that of the reference
   attrs={"value": (1, 0.5)},
   dinput=lambda g: g, dtensor1=lambda g, tensor2, value: g * value / tensor2,
   dtensor2=lambda g, tensor1, tensor2, value: -g * value * tensor1 / (tensor2 * tensor2),
   doc=doc("ternary_float_only", "input + value * tensor1 / tensor2.",
           "mg.addcdiv(mg.tensor([1.]), mg.tensor([6.]), mg.tensor([3.]), value=10) -> tensor([21.])",
           args="value: number."))
