"""Pointwise ops of one tensor: sign, rounding, roots and reciprocals, predicates. Kernels: csrc/scalar.h."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops.shared import expr as m
from minigrad.ops.shared.check import expect_tensors, into
from minigrad.ops.shared.doc import doc
from minigrad.ops.shared.reduce_doc import returned
from minigrad.ops.shared.struct_doc import numpy


def _zero(g: Any) -> Any:
    """Gradient of a step function: zero wherever it is defined, and by convention (PyTorch's) at the steps too."""
    return mg.zeros_like(g)


# --- sign -------------------------------------------------------------------------------------------------------------
op("neg(input) -> out", meta="unary_no_bool", expr=lambda input: -input, dinput=lambda g: -g, aliases=("negative",),
   doc=doc("unary_no_bool", "Minus each element.", "mg.neg(mg.tensor([1., -2.])) -> tensor([-1.,  2.])"))

@composite(samples="unary", ref=lambda input: input,
           dtypes=("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"))
def positive(input: mg.Tensor) -> mg.Tensor:
    """The input itself (unary plus).

    Args:
        input: any shape, any dtype but bool.
    Returns:
        input, not a copy.
    Raises:
        RuntimeError for bool.
    Example:
        >>> mg.positive(mg.tensor([1, -2]))
        tensor([ 1, -2])
    """
    expect_tensors("positive", input=input)
    if input.dtype == mg.bool:
        raise RuntimeError("positive: not supported for bool tensors. Try x.int().")
    return input


op("abs(input) -> out", meta="unary_modulus", expr=m.abs, dinput=lambda g, input: g * mg.sgn(input),
   aliases=("absolute",),
   doc=doc("unary_no_bool", "Absolute value of each element; the (real) modulus of complex ones.",
           "mg.abs(mg.tensor([-1, 2])) -> tensor([1, 2])", grad="sgn(input); 0 at 0."))

op("sign(input) -> out", meta="unary", expr=m.sign, dinput=_zero,
   doc=doc("unary", "-1, 0 or 1 by the sign of each element; 0 for NaN.",
           "mg.sign(mg.tensor([-3., 0., 5.])) -> tensor([-1.,  0.,  1.])", grad="0 everywhere."))

# --- rounding ---------------------------------------------------------------------------------------------------------
op("floor(input) -> out", meta="unary_no_bool", expr=m.floor, dinput=_zero,
   doc=doc("unary_no_bool", "Largest integer not above each element.",
           "mg.floor(mg.tensor([1.7, -1.2])) -> tensor([ 1., -2.])", grad="0 everywhere."))

op("ceil(input) -> out", meta="unary_no_bool", expr=m.ceil, dinput=_zero,
   doc=doc("unary_no_bool", "Smallest integer not below each element.",
           "mg.ceil(mg.tensor([1.2, -1.7])) -> tensor([ 2., -1.])", grad="0 everywhere."))

op("trunc(input) -> out", meta="unary_no_bool", expr=m.trunc, dinput=_zero, aliases=("fix",),
   doc=doc("unary_no_bool", "Integer part of each element, towards zero.",
           "mg.trunc(mg.tensor([1.7, -1.7])) -> tensor([ 1., -1.])", grad="0 everywhere."))

op("frac(input) -> out", meta="unary_float_only", expr=lambda input: input - m.trunc(input), dinput=lambda g: g,
   doc=doc("unary_float_only", "Fractional part of each element, with its sign: input - trunc(input).",
           "mg.frac(mg.tensor([1.5, -1.25])) -> tensor([ 0.5000, -0.2500])", grad="1 everywhere."))

op("round_even(input) -> out", meta="unary_no_bool", expr=m.round, dinput=_zero, namespace=None,
   doc=doc("unary_no_bool", "Nearest integer of each element, halves to even; the kernel of `round`.",
           "mg.round(mg.tensor([0.5, 1.5])) -> tensor([0., 2.])", grad="0 everywhere."))


@composite(inplace=True, samples="unary", attrs={"decimals": (0,)},
           ref=lambda input, decimals: m.round(input))
def round(input: mg.Tensor, *, decimals: int = 0, out: mg.Tensor | None = None) -> mg.Tensor:
    """Nearest integer (or multiple of 10**-decimals) of each element; halves go to the even neighbour.

    Args:
        input: any shape, any dtype but bool.
        decimals: digits kept after the point; negative ones round to tens, hundreds …; floating input only.
        out: tensor that receives the result.
    Returns:
        a tensor of the same shape and dtype.
    Raises:
        RuntimeError for bool, and for integers when decimals is not 0.
    Gradient:
        0 everywhere.
    Example:
        >>> mg.round(mg.tensor([0.5, 1.5, 2.25]), decimals=1)
        tensor([0.5000, 1.5000, 2.2000])
    """
    if out is not None:
        return into("round", round(input, decimals=decimals), out)
    round_even = functions["round_even"]
    if decimals == 0:
        return round_even(input)
    if not input.is_floating_point():
        raise RuntimeError(
            f"round: decimals needs a floating tensor: got {input.dtype} and decimals={decimals}, expected decimals=0. "
            "Try input.float()."
        )
    # The power of ten that is exact multiplies; its inverse would not be. Beyond the floats it is infinite and the result NaN, as in PyTorch.
    power = 10.0 ** abs(decimals) if abs(decimals) <= 308 else math.inf
    if decimals > 0:
        return round_even(input * power) / power
    return round_even(input / power) * power


op("_frexp(input) -> mantissa, exponent", meta="frexp", nondiff=("exponent",), namespace=None, grad_name="Frexp",
   dinput=lambda g_mantissa, exponent: g_mantissa / mg.exp2(exponent.to(g_mantissa.dtype)),
   ref=lambda input: numpy().frexp(input), dtypes=("float32", "float64", "float16", "bfloat16"),
   samples=lambda s: [s(s.t(3, 4)), s(s.t()), s(s.t(0, 2)), s(s.t(4, 3, layout="transposed")), s(s.t(7, low=3, high=900))],
   doc="Kernel of frexp.")
_frexp_result = returned("frexp", "mantissa", "exponent")


@composite(samples=lambda s: [s(s.t(3, 4)), s(s.t())], dtypes=("float32", "float64"), no_ref_reason="_frexp has the reference")
def frexp(input: mg.Tensor, *, out: Any = None) -> Any:
    """Mantissa and exponent of each element: input == mantissa * 2 ** exponent, 0.5 <= |mantissa| < 1.

    Args:
        input: floating tensor.
        out: two tensors to write to.
    Returns:
        (mantissa, exponent as int32), a named tuple; exponent 0 for 0, infinities and NaN.
    Raises:
        RuntimeError for integers.
    Gradient:
        g / 2 ** exponent for the mantissa.
    Example:
        >>> mg.frexp(mg.tensor([3.])).mantissa
        tensor([0.7500])
    """
    kernel = functions["_frexp"]
    return _frexp_result(*(kernel(input) if out is None else kernel(input, out=out)))


# --- roots and reciprocals --------------------------------------------------------------------------------------------
op("sqrt(input) -> out", meta="unary_float", domain=(0.1, 4.0), expr=m.sqrt, dinput=lambda g, out: g / (2 * out),
   doc=doc("unary_float", "Square root of each element; NaN below 0.",
   "mg.sqrt(mg.tensor([4., 9.])) -> tensor([2., 3.])",
           grad="1 / (2 sqrt(input)); inf at 0."))

op("rsqrt(input) -> out", meta="unary_float", domain=(0.1, 4.0), expr=lambda input: 1.0 / m.sqrt(input),
   dinput=lambda g, out: -0.5 * g * out * out * out,
   doc=doc("unary_float", "One over the square root of each element; inf at 0, NaN below.",
           "mg.rsqrt(mg.tensor([4., 16.])) -> tensor([0.5000, 0.2500])"))

op("square(input) -> out", meta="unary_square", expr=lambda input: input * input, dinput=lambda g, input: 2 * g * input,
   doc=doc("unary", "Each element times itself (bools become int64).",
   "mg.square(mg.tensor([2., -3.])) -> tensor([4., 9.])"))

op("reciprocal(input) -> out", meta="unary_float", domain=(0.3, 4.0), expr=lambda input: 1.0 / input, dinput=lambda g,
   out: -g * out * out,
   doc=doc("unary_float", "One over each element; inf at 0.",
           "mg.reciprocal(mg.tensor([2., 4.])) -> tensor([0.5000, 0.2500])"))

# --- predicates -------------------------------------------------------------------------------------------------------
_STEP = "the result is boolean: no gradient"
op("isnan(input) -> out", meta="unary_bool", expr=m.isnan, no_grad_reason=_STEP,
   doc=doc("unary_bool", "Whether each element is NaN.",
   "mg.isnan(mg.tensor([1., float('nan')])) -> tensor([False,  True])"))

op("isinf(input) -> out", meta="unary_bool", expr=m.isinf, no_grad_reason=_STEP,
   doc=doc("unary_bool", "Whether each element is +inf or -inf.",
           "mg.isinf(mg.tensor([1., -float('inf')])) -> tensor([False,  True])"))

op("isfinite(input) -> out", meta="unary_bool", expr=m.isfinite, no_grad_reason=_STEP,
   doc=doc("unary_bool", "Whether each element is neither infinite nor NaN.",
           "mg.isfinite(mg.tensor([1., float('nan')])) -> tensor([ True, False])"))

op("signbit(input) -> out", meta="unary_bool", expr=m.signbit, no_grad_reason=_STEP,
   doc=doc("unary_bool", "Whether the sign bit of each element is set; true for -0.0.",
           "mg.signbit(mg.tensor([1., -0.])) -> tensor([False,  True])"))

op("logical_not(input) -> out", meta="unary_bool", expr=lambda input: ~m.truth(input), no_grad_reason=_STEP,
   inplace=True,
   doc=doc("unary_bool", "Whether each element is zero.",
   "mg.logical_not(mg.tensor([0, 2])) -> tensor([ True, False])"))

op("bitwise_not(input) -> out", meta="bitwise", expr=m.bit_not, no_grad_reason="integers only", inplace=True,
   doc=doc("unary", "Every bit of each integer flipped; logical not for bools.",
           "mg.bitwise_not(mg.tensor([0, 5])) -> tensor([-1, -6])"))


@composite(out=True, samples="unary", no_grad_reason=_STEP, ref=lambda input: input == m.inf)
def isposinf(input: mg.Tensor) -> mg.Tensor:
    """Whether each element is +inf.

    Args:
        input: any shape and dtype.
    Returns:
        a bool tensor of the same shape.
    Example:
        >>> mg.isposinf(mg.tensor([float('inf'), -float('inf')]))
        tensor([ True, False])
    """
    return mg.logical_and(mg.isinf(input), mg.gt(input, 0))


@composite(out=True, samples="unary", no_grad_reason=_STEP, ref=lambda input: input == -m.inf)
def isneginf(input: mg.Tensor) -> mg.Tensor:
    """Whether each element is -inf.

    Args:
        input: any shape and dtype.
    Returns:
        a bool tensor of the same shape.
    Example:
        >>> mg.isneginf(mg.tensor([float('inf'), -float('inf')]))
        tensor([False,  True])
    """
    return mg.logical_and(mg.isinf(input), mg.lt(input, 0))


op("replace_nonfinite(input, nan: scalar, posinf: scalar, neginf: scalar) -> out", meta="unary_float", namespace=None, method=False,
   attrs={"nan": (0.0, 1.5), "posinf": (9.0, 2.0), "neginf": (-9.0, -2.0)},
   expr=lambda input, nan, posinf, neginf: m.where(input != input, nan, m.where(input == m.inf, posinf, m.where(input == -m.inf, neginf, input))),
   dinput=lambda g, input: mg.where(mg.isfinite(input), g, 0.0),
   doc=doc("unary_float", "NaN and the infinities replaced by numbers; the kernel of `nan_to_num`.",
           "mg.nan_to_num(mg.tensor([float('inf'), 1.]), posinf=9.) -> tensor([9., 1.])",
           args="nan: number.;;posinf: number.;;neginf: number."))


@composite(out=True, inplace=True, samples="unary", ref="nan_to_num")
def nan_to_num(
    input: mg.Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> mg.Tensor:
    """Replaces NaN by a number and infinities by finite values.

    Args:
        input: any shape and dtype; integers are returned as a copy.
        nan: what NaN becomes (0 when None).
        posinf: what +inf becomes (the dtype's largest value when None).
        neginf: what -inf becomes (the dtype's smallest value when None).
    Returns:
        a tensor of the same shape and dtype.
    Gradient:
        1 where the element is kept, 0 where it is replaced.
    Example:
        >>> mg.nan_to_num(mg.tensor([float('nan'), 1., float('inf')]), posinf=9.)
        tensor([0., 1., 9.])
    """
    expect_tensors("nan_to_num", input=input)
    if input.is_complex():
        raise NotImplementedError(f"nan_to_num: not implemented for {input.dtype}. Try it on mg.view_as_real(x).")
    if not input.is_floating_point():
        return mg.clone(input)
    limits = mg.finfo(input.dtype)
    high, low = limits.max if posinf is None else posinf, limits.min if neginf is None else neginf
    return functions["replace_nonfinite"](input, 0.0 if nan is None else nan, high, low)


# --- angles -----------------------------------------------------------------------------------------------------------
op("deg2rad(input) -> out", meta="unary_float", expr=lambda input: input * (m.pi / 180),
   dinput=lambda g: g * (m.pi / 180),
   doc=doc("unary_float", "Degrees to radians.", "mg.deg2rad(mg.tensor([180., 90.])) -> tensor([3.1416, 1.5708])"))

op("rad2deg(input) -> out", meta="unary_float", expr=lambda input: input * (180 / m.pi),
   dinput=lambda g: g * (180 / m.pi),
   doc=doc("unary_float", "Radians to degrees.", "mg.rad2deg(mg.tensor([0., 3.14159265])) -> tensor([  0., 180.])"))
