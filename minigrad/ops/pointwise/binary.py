"""Pointwise arithmetic of two operands (and three, in `ternary.py`). Kernels: csrc/scalar.h.

Formulas follow PyTorch where the maths leaves a choice; each such choice is in the op's Gradient line.
"""

from __future__ import annotations

import cmath
import math
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, namespaces, op
from minigrad.ops.shared import expr as m
from minigrad.ops.shared.check import expect_tensors, into
from minigrad.ops.shared.doc import doc


def _zero(g: Any) -> Any:
    return mg.zeros_like(g)


# --- sums and products ------------------------------------------------------------------------------------------------
op("add(input: operand, other: operand, *, alpha: scalar = 1) -> out", meta="binary",
   expr=lambda input, other, alpha: input + alpha * other, attrs={"alpha": (1, 2)},
   dinput=lambda g: g, dother=lambda g, alpha: g if alpha == 1 else g * alpha,
   doc=doc("binary", "input + alpha * other.", "mg.add(mg.tensor([1., 2.]), 10, alpha=2) -> tensor([21., 22.])",
           args="alpha: number; an integer when the result is one."))

op("sub(input: operand, other: operand, *, alpha: scalar = 1) -> out", meta="binary_no_bool", aliases=("subtract",),
   expr=lambda input, other, alpha: input - alpha * other, attrs={"alpha": (1, 2)},
   dinput=lambda g: g, dother=lambda g, alpha: -g if alpha == 1 else g * -alpha,
   doc=doc("binary_no_bool", "input - alpha * other.", "mg.sub(mg.tensor([1., 2.]), 10) -> tensor([-9., -8.])",
           args="alpha: number; an integer when the result is one."))

op("mul(input: operand, other: operand) -> out", meta="binary", aliases=("multiply",),
   expr=lambda input, other: input * other,
   dinput=lambda g, other: g * other, dother=lambda g, input: g * input,
   doc=doc("binary", "input * other.", "mg.mul(mg.tensor([1., 2.]), 10) -> tensor([10., 20.])"))


@composite(samples="binary", attrs={"alpha": (1, 2)}, ref=lambda input, other, alpha=1: other - alpha * input)
def rsub(input: mg.Tensor, other: mg.Tensor | float, *, alpha: float = 1) -> mg.Tensor:
    """other - alpha * input: subtraction with the operands swapped.

    Args:
        input: any shape, any dtype but bool.
        other: tensor or number.
        alpha: number; an integer when the result is one.
    Returns:
        the broadcast shape in the promoted dtype.
    Raises:
        RuntimeError for bool tensors.
    Example:
        >>> mg.rsub(mg.tensor([1., 2.]), 10)
        tensor([9., 8.])
    """
    expect_tensors("rsub", input=input)
    return mg.sub(other, input, alpha=alpha)


# --- quotients --------------------------------------------------------------------------------------------------------
op("true_divide(input: operand, other: operand) -> out", meta="binary_float",
   expr=lambda input, other: input / other, domain={"other": (0.4, 3.0)},
   dinput=lambda g, other: g / other, dother=lambda g, input, other: -g * (input / other) / other,
   doc=doc("binary_float", "input / other; inf or NaN where other is 0.",
           "mg.true_divide(mg.tensor([1, 2]), 4) -> tensor([0.2500, 0.5000])"))

op("floor_divide(input: operand, other: operand) -> out", meta="binary_num", expr=m.floor_divide, can_fail=True,
   domain={"other": (0.6, 4.0)},
   dinput=_zero, dother=_zero,
   doc=doc("binary_num", "floor(input / other), as Python's `//`.",
   "mg.floor_divide(mg.tensor([7, -7]), 2) -> tensor([ 3, -4])",
           grad="0 everywhere.", args="other: RuntimeError where an integer divisor is 0."))

op("trunc_divide(input: operand, other: operand) -> out", meta="binary_num", can_fail=True, namespace=None,
   expr=lambda input, other: m.trunc(input / other), dinput=_zero, dother=_zero, domain={"other": (0.6, 4.0)},
   doc=doc("binary_num", "input / other rounded towards 0, as C's `/`; the kernel of `div` with \"trunc\".",
           'mg.div(mg.tensor([7, -7]), 2, rounding_mode="trunc") -> tensor([ 3, -3])', grad="0 everywhere.",
           args="other: RuntimeError where an integer divisor is 0."))

op("remainder(input: operand, other: operand) -> out", meta="binary_num", expr=m.remainder, can_fail=True,
   domain={"other": (0.6, 4.0)},
   dinput=lambda g: g, dother=lambda g, input, other: -g * mg.floor_divide(input, other),
   doc=doc("binary_num", "Remainder with the sign of other, as Python's `%`.",
           "mg.remainder(mg.tensor([7, -7]), 3) -> tensor([1, 2])",
           grad="1 for input, -floor(input / other) for other.",
           args="other: RuntimeError where an integer divisor is 0."))

op("fmod(input, other: operand) -> out", meta="binary_num", expr=m.fmod, can_fail=True, domain={"other": (0.6, 4.0)},
   dinput=lambda g: g, dother=lambda g, input, other: -g * mg.div(input, other, rounding_mode="trunc"),
   doc=doc("binary_num", "Remainder with the sign of input, as C's fmod.",
           "mg.fmod(mg.tensor([7, -7]), 3) -> tensor([ 1, -1])", grad="1 for input, -trunc(input / other) for other.",
           args="other: RuntimeError where an integer divisor is 0."))


@composite(
    inplace=True, aliases=("divide",), samples="binary", ref="div", domain={"other": (0.6, 4.0)},
    # bools divide, but not with a rounding mode
    dtypes=("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"),
    attrs={"rounding_mode": (None, "floor", "trunc")},
)  # fmt: skip
def div(input: mg.Tensor, other: mg.Tensor | float, *, rounding_mode: str | None = None,
        out: mg.Tensor | None = None) -> mg.Tensor:
    """input / other, optionally rounded.

    Args:
        input: tensor or number.
        other: tensor or number.
        rounding_mode: None (true division), "trunc" (towards zero, C's integer division) or "floor" (Python's `//`).
        out: tensor that receives the result.
    Returns:
        the broadcast shape; floating for None, else in the promoted dtype.
    Raises:
        RuntimeError for another rounding_mode, and for an integer division by 0.
    Gradient:
        that of true_divide for None; 0 for the rounded forms.
    Example:
        >>> mg.div(mg.tensor([7, -7]), 2, rounding_mode="trunc")
        tensor([ 3, -3])
    """
    if out is not None:
        return into("div", div(input, other, rounding_mode=rounding_mode), out)
    if rounding_mode is None:
        return mg.true_divide(input, other)
    if rounding_mode == "floor":
        return mg.floor_divide(input, other)
    if rounding_mode != "trunc":
        raise RuntimeError(
            f"div: unknown rounding_mode: got {rounding_mode!r}, expected None, 'trunc' or 'floor'. Try "
            "rounding_mode='floor'."
        )
    if mg.result_type(input, other).is_floating_point:
        return mg.trunc(mg.true_divide(input, other))
    return functions["trunc_divide"](input, other)



def _div_inplace(input: mg.Tensor, other: mg.Tensor | float, *, rounding_mode: str | None = None) -> mg.Tensor:
    """In-place form of `div`: one kernel without a rounding mode, the derived twin of the composite with one."""
    if rounding_mode is None:
        return mg.true_divide_(input, other)
    return _div_rounded_inplace(input, other, rounding_mode=rounding_mode)


_div_rounded_inplace = namespaces[""]["div_"]
mg.Tensor.div_ = mg.Tensor.divide_ = namespaces[""]["div_"] = namespaces[""]["divide_"] = _div_inplace

# --- powers -----------------------------------------------------------------------------------------------------------
def _pow_input(g: Any, input: Any, exponent: Any) -> Any:
    if not isinstance(exponent, mg.Tensor):
        return mg.zeros_like(g) if exponent == 0 else g * (exponent * mg.pow(input, exponent - 1))
    return mg.where(mg.eq(exponent, 0), 0.0, g * (exponent * mg.pow(input, exponent - 1)))


def _not_negative(exponent: Any) -> Any:
    if not exponent.is_complex():
        return mg.ge(exponent, 0)
    return mg.logical_and(mg.ge(mg.real(exponent), 0), mg.eq(mg.imag(exponent), 0))


def _pow_exponent(g: Any, out: Any, input: Any, exponent: Any) -> Any:
    if not isinstance(input, mg.Tensor):
        if input == 0:
            return mg.where(_not_negative(exponent), 0.0, g * out * -math.inf)
        if out.is_complex():
            return g * out * cmath.log(input)
        return g * out * (math.log(input) if input > 0 else math.nan)
    # 0 ** exponent is constant in an exponent >= 0; the inner where keeps log(0) out of the second derivative.
    flat = mg.logical_and(mg.eq(input, 0), _not_negative(exponent))
    base = mg.where(flat, 1.0, input)
    return mg.where(flat, 0.0, g * out * mg.log(base.to(out.dtype) if out.is_complex() else base))


op("pow(input: operand, exponent: operand) -> out", meta="binary_num", expr=m.pow, can_fail=True,
   domain={"input": (0.2, 3.0), "exponent": (0.0, 2.5)},
   dinput=_pow_input, dexponent=_pow_exponent,
   doc=doc("binary_num", "input ** exponent.", "mg.pow(mg.tensor([2., 3.]), 2) -> tensor([4., 9.])",
           args="exponent: RuntimeError for a negative integer number on an integer tensor.",
           grad="for input 0 where exponent is 0; for exponent 0 where input is 0 and exponent >= 0."))


@composite(out=True, inplace=True, samples="binary", domain={"other": (-3.0, 3.0)}, ref=lambda input, other: input * 2.0**other)
def ldexp(input: mg.Tensor, other: mg.Tensor) -> mg.Tensor:
    """input * 2 ** other.

    Args:
        input: any shape and dtype.
        other: exponents; any dtype, broadcasts with input.
    Returns:
        the broadcast shape; floating.
    Example:
        >>> mg.ldexp(mg.tensor([1., 3.]), mg.tensor([2, -1]))
        tensor([4.0000, 1.5000])
    """
    expect_tensors("ldexp", input=input, other=other)
    return mg.mul(input, mg.exp2(other))


@composite(out=True, samples="binary", domain={"input": (0.2, 3.0), "other": (-2.0, 2.0)},
           ref=lambda input, exponent: (input * 1.0) ** exponent)
def float_power(input: mg.Tensor | float, exponent: mg.Tensor | float) -> mg.Tensor:
    """input ** exponent, computed in float64 whatever the dtypes.

    Args:
        input: tensor or number.
        exponent: tensor or number; one of the two is a tensor.
    Returns:
        a float64 (complex128 if either is complex) tensor of the broadcast shape.
    Example:
        >>> mg.float_power(mg.tensor([2, 3]), -1)
        tensor([0.5000, 0.3333], dtype=minigrad.float64)
    """
    for name, value in (("input", input), ("exponent", exponent)):
        if not isinstance(value, (mg.Tensor, int, float, complex)):
            raise TypeError(f"float_power: {name} must be a Tensor or a number: got {type(value).__name__}")
    wide = mg.complex128 if mg.result_type(input, exponent).is_complex else mg.float64
    number = complex if wide is mg.complex128 else float
    base, power = (v.to(wide) if isinstance(v, mg.Tensor) else number(v) for v in (input, exponent))
    return mg.pow(base, power)


def _float_power_inplace(input: mg.Tensor, exponent: mg.Tensor | float) -> mg.Tensor:
    """In-place form of `float_power`: only a float64 tensor can hold its result."""
    if input.dtype not in (mg.float64, mg.complex128):
        raise RuntimeError(
            f"float_power_: the base has dtype {input.dtype}, but the result is {mg.float64}. Try float_power()."
        )
    return input.pow_(exponent.to(mg.float64) if isinstance(exponent, mg.Tensor) else float(exponent))


mg.Tensor.float_power_ = _float_power_inplace
mg.Tensor.__rdiv__ = mg.Tensor.__rtruediv__  # PyTorch keeps Python 2's name

# --- extremes ---------------------------------------------------------------------------------------------------------
def _extreme_grad(worse: Any, a: Any, b: Any, g: Any) -> Any:
    """g where a wins, g / 2 on ties, 0 where it loses; everything where either is NaN."""
    return mg.where(worse(a, b), 0.0, mg.where(mg.eq(a, b), g / 2, g))


op("maximum(input, other) -> out", meta="binary", expr=m.maximum, inplace=False,
   dinput=lambda g, input, other: _extreme_grad(mg.lt, input, other, g),
   dother=lambda g, input, other: _extreme_grad(mg.lt, other, input, g),
   doc=doc("binary", "The larger of two elements; NaN if either is.",
           "mg.maximum(mg.tensor([1, 5]), mg.tensor([3, 2])) -> tensor([3, 5])", grad="ties give half to each side."))

op("minimum(input, other) -> out", meta="binary", expr=m.minimum, inplace=False,
   dinput=lambda g, input, other: _extreme_grad(mg.gt, input, other, g),
   dother=lambda g, input, other: _extreme_grad(mg.gt, other, input, g),
   doc=doc("binary", "The smaller of two elements; NaN if either is.",
           "mg.minimum(mg.tensor([1, 5]), mg.tensor([3, 2])) -> tensor([1, 2])", grad="ties give half to each side."))

op("fmax(input, other) -> out", meta="binary", expr=m.fmax, inplace=False,
   dinput=lambda g, input, other: mg.where(mg.logical_or(mg.ge(input, other), mg.isnan(other)), g, 0.0),
   dother=lambda g, input, other: mg.where(mg.logical_or(mg.ge(input, other), mg.isnan(other)), 0.0, g),
   doc=doc("binary", "The larger of two elements; a NaN loses to a number.",
           "mg.fmax(mg.tensor([1., float('nan')]), mg.tensor([3., 2.])) -> tensor([3., 2.])",
           grad="ties give all to input."))

op("fmin(input, other) -> out", meta="binary", expr=m.fmin, inplace=False,
   dinput=lambda g, input, other: mg.where(mg.logical_or(mg.le(input, other), mg.isnan(other)), g, 0.0),
   dother=lambda g, input, other: mg.where(mg.logical_or(mg.le(input, other), mg.isnan(other)), 0.0, g),
   doc=doc("binary", "The smaller of two elements; a NaN loses to a number.",
           "mg.fmin(mg.tensor([1., float('nan')]), mg.tensor([3., 2.])) -> tensor([1., 2.])",
           grad="ties give all to input."))


# --- geometry ---------------------------------------------------------------------------------------------------------
def _atan2_slope(a: Any, input: Any, other: Any) -> Any:
    """a / (input**2 + other**2), and 0 at the origin."""
    square = input * input + other * other
    origin = mg.eq(square, 0)
    return mg.where(origin, 0.0, a / mg.where(origin, 1.0, square))


op("atan2(input, other) -> out", meta="binary_float", expr=m.atan2, aliases=("arctan2",), domain={"other": (0.3, 3.0)},
   dinput=lambda g, input, other: g * _atan2_slope(other, input, other),
   dother=lambda g, input, other: g * _atan2_slope(-input, input, other),
   doc=doc("binary_float", "Angle of the point (other, input), in (-pi, pi].",
           "mg.atan2(mg.tensor([1., 0.]), mg.tensor([1., -1.])) -> tensor([0.7854, 3.1416])", grad="0 at the origin."))

op("hypot(input, other) -> out", meta="binary_float_only", expr=m.hypot, domain={"other": (0.3, 3.0)},
   dinput=lambda g, input, out: g * (input / out), dother=lambda g, other, out: g * (other / out),
   doc=doc("binary_float_only", "sqrt(input**2 + other**2) without overflow.",
           "mg.hypot(mg.tensor([3.]), mg.tensor([4.])) -> tensor([5.])", grad="NaN at the origin."))

op("copysign(input, other: operand) -> out", meta="binary_float", expr=m.copysign,
   dinput=lambda g, input, out: g * mg.sign(out) * mg.sign(input), dother=_zero,
   doc=doc("binary_float", "The magnitude of input with the sign of other (the sign of -0.0 counts).",
           "mg.copysign(mg.tensor([1., 2.]), -1) -> tensor([-1., -2.])", grad="0 where input is 0, and for other."))

# --- logarithmic ------------------------------------------------------------------------------------------------------
op("logaddexp(input, other) -> out", meta="binary_float_only", expr=m.logaddexp, inplace=False,
   dinput=lambda g, input, other: g * mg.sigmoid(input - other), dother=lambda g, input,
   other: g * mg.sigmoid(other - input),
   doc=doc("binary_float_only", "log(exp(input) + exp(other)) without overflow.",
           "mg.logaddexp(mg.tensor([0.]), mg.tensor([0.])) -> tensor([0.6931])"))

op("logaddexp2(input, other) -> out", meta="binary_float_only", expr=m.logaddexp2, inplace=False,
   dinput=lambda g, input, other: g * mg.sigmoid((input - other) * m.ln2),
   dother=lambda g, input, other: g * mg.sigmoid((other - input) * m.ln2),
   doc=doc("binary_float_only", "log2(2**input + 2**other) without overflow.",
           "mg.logaddexp2(mg.tensor([1.]), mg.tensor([1.])) -> tensor([2.])"))


def _xlogy_input(g: Any, input: Any, other: Any) -> Any:
    if not isinstance(other, mg.Tensor):
        return mg.where(mg.eq(input, 0), 0.0, mg.xlogy(g, other)) if other <= 0 else mg.xlogy(g, other)
    flat = mg.logical_and(mg.eq(input, 0), mg.le(other, 0))
    return mg.where(flat, 0.0, mg.xlogy(g, mg.where(flat, 1.0, other)))


op("xlogy(input: operand, other: operand) -> out", meta="binary_float", namespace=("", "special"),
   domain={"other": (0.3, 3.0)},
   expr=lambda input, other: m.where(m.isnan(other), m.nan, m.where(input == 0, 0.0, input * m.log(other))),
   dinput=_xlogy_input, dother=lambda g, input, other: g * input / other,
   doc=doc("binary_float", "input * log(other); 0 where input is 0, unless other is NaN.",
           "mg.xlogy(mg.tensor([0., 2.]), mg.tensor([0., 1.])) -> tensor([0., 0.])",
           grad="for input 0 where input is 0 and other <= 0."))

# --- steps ------------------------------------------------------------------------------------------------------------
op("nextafter(input, other) -> out", meta="binary_float_only", expr=m.nextafter,
   no_ref_reason="the float64 reference steps by float64's spacing; checked against PyTorch instead",
   dinput=lambda g, input, other: mg.where(mg.eq(input, other), 0.0, g), dother=_zero,
   doc=doc("binary_float_only", "The next representable number after input towards other.",
           "mg.nextafter(mg.tensor([1.]), mg.tensor([2.])) > 1 -> tensor([True])"))

op("heaviside(input, values) -> out", meta="binary",
   expr=lambda input, values: m.where(m.isnan(input), input, m.where(input == 0, values, m.where(input > 0, 1, 0))),
   no_grad_reason="a step function; PyTorch defines no derivative either",
   doc=doc("binary", "0 below 0, 1 above, `values` at 0.",
           "mg.heaviside(mg.tensor([-1., 0., 2.]), mg.tensor([0.5])) -> tensor([0.0000, 0.5000, 1.0000])"))
