"""Comparisons, logical and bitwise ops, and tests of closeness. No gradients: the results are not real numbers."""

from __future__ import annotations

import minigrad as mg
from minigrad.op import composite, op
from minigrad.ops.shared import expr as m
from minigrad.ops.shared.check import expect_tensors
from minigrad.ops.shared.doc import doc

_BOOL = "the result is boolean: no gradient"
_INT = "integers only: no gradient"

# --- comparisons: NaN compares false with everything, and differs from everything -------------------------------------
op("eq(input, other: operand) -> out", meta="compare", expr=lambda input, other: input == other, no_grad_reason=_BOOL,
   doc=doc("compare", "input == other, by element.", "mg.eq(mg.tensor([1, 2]), 2) -> tensor([False,  True])"))

op("ne(input, other: operand) -> out", meta="compare", expr=lambda input, other: input != other, no_grad_reason=_BOOL,
   aliases=("not_equal",),
   doc=doc("compare", "input != other, by element.", "mg.ne(mg.tensor([1, 2]), 2) -> tensor([ True, False])"))

op("lt(input, other: operand) -> out", meta="compare", expr=lambda input, other: input < other, no_grad_reason=_BOOL,
   aliases=("less",),
   doc=doc("compare", "input < other, by element.", "mg.lt(mg.tensor([1, 2]), 2) -> tensor([ True, False])"))

op("le(input, other: operand) -> out", meta="compare", expr=lambda input, other: input <= other, no_grad_reason=_BOOL,
   aliases=("less_equal",),
   doc=doc("compare", "input <= other, by element.", "mg.le(mg.tensor([1, 3]), 2) -> tensor([ True, False])"))

op("gt(input, other: operand) -> out", meta="compare", expr=lambda input, other: input > other, no_grad_reason=_BOOL,
   aliases=("greater",),
   doc=doc("compare", "input > other, by element.", "mg.gt(mg.tensor([1, 3]), 2) -> tensor([False,  True])"))

op("ge(input, other: operand) -> out", meta="compare", expr=lambda input, other: input >= other, no_grad_reason=_BOOL,
   aliases=("greater_equal",),
   doc=doc("compare", "input >= other, by element.", "mg.ge(mg.tensor([1, 2]), 2) -> tensor([False,  True])"))

# --- logical ----------------------------------------------------------------------------------------------------------
op("logical_and(input, other) -> out", meta="logical", expr=lambda input, other: m.truth(input) & m.truth(other),
   no_grad_reason=_BOOL, inplace=True,
   doc=doc("logical", "Whether both elements are nonzero.",
           "mg.logical_and(mg.tensor([0, 2]), mg.tensor([1, 1])) -> tensor([False,  True])"))

op("logical_or(input, other) -> out", meta="logical", expr=lambda input, other: m.truth(input) | m.truth(other),
   no_grad_reason=_BOOL, inplace=True,
   doc=doc("logical", "Whether either element is nonzero.",
           "mg.logical_or(mg.tensor([0, 2]), mg.tensor([0, 0])) -> tensor([False,  True])"))

op("logical_xor(input, other) -> out", meta="logical", expr=lambda input, other: m.truth(input) ^ m.truth(other),
   no_grad_reason=_BOOL, inplace=True,
   doc=doc("logical", "Whether exactly one element is nonzero.",
           "mg.logical_xor(mg.tensor([0, 2]), mg.tensor([1, 1])) -> tensor([ True, False])"))

# --- bits -------------------------------------------------------------------------------------------------------------
op("bitwise_and(input: operand, other: operand) -> out", meta="bitwise", expr=m.bit_and, no_grad_reason=_INT,
   doc=doc("bitwise", "Bits set in both; logical and for bools.",
   "mg.bitwise_and(mg.tensor([6, 3]), 2) -> tensor([2, 2])"))

op("bitwise_or(input: operand, other: operand) -> out", meta="bitwise", expr=m.bit_or, no_grad_reason=_INT,
   doc=doc("bitwise", "Bits set in either; logical or for bools.",
   "mg.bitwise_or(mg.tensor([4, 3]), 2) -> tensor([6, 3])"))

op("bitwise_xor(input: operand, other: operand) -> out", meta="bitwise", expr=m.bit_xor, no_grad_reason=_INT,
   doc=doc("bitwise", "Bits set in exactly one; logical xor for bools.",
           "mg.bitwise_xor(mg.tensor([6, 3]), 2) -> tensor([4, 1])"))

op("bitwise_left_shift(input: operand, other: operand) -> out", meta="shift", expr=m.shift_left, no_grad_reason=_INT,
   doc=doc("shift", "input << other; 0 where other is negative or not below the width of the type.",
           "mg.bitwise_left_shift(mg.tensor([1, 3]), 2) -> tensor([ 4, 12])"))

op("bitwise_right_shift(input: operand, other: operand) -> out", meta="shift", expr=m.shift_right, no_grad_reason=_INT,
   doc=doc("shift", "input >> other with the sign kept; only the sign remains where other is negative or too large.",
           "mg.bitwise_right_shift(mg.tensor([8, -8]), 2) -> tensor([ 2, -2])"))

op("gcd(input, other) -> out", meta="shift", expr=m.gcd, no_grad_reason=_INT,
   doc=doc("shift", "Greatest common divisor of the magnitudes; gcd(0, 0) is 0.",
           "mg.gcd(mg.tensor([12, -8]), mg.tensor([18, 0])) -> tensor([6, 8])"))

op("lcm(input, other) -> out", meta="shift", expr=m.lcm, no_grad_reason=_INT,
   doc=doc("shift", "Least common multiple of the magnitudes; 0 where one of them is 0. It wraps on overflow.",
           "mg.lcm(mg.tensor([4, -6]), mg.tensor([6, 4])) -> tensor([12, 12])"))


# --- closeness --------------------------------------------------------------------------------------------------------
def _same_dtype(name: str, input: mg.Tensor, other: mg.Tensor) -> None:
    if input.dtype != other.dtype:
        raise RuntimeError(
            f"{name}: dtypes differ: got {input.dtype} and {other.dtype}, expected the same. Try other.to(input.dtype)."
        )


@composite(samples="binary", no_grad_reason=_BOOL,
           ref=lambda input, other: abs(1.0 * input - other) <= 1e-8 + 1e-5 * abs(1.0 * other))
def isclose(
    input: mg.Tensor, other: mg.Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> mg.Tensor:
    """Whether |input - other| <= atol + rtol * |other|, by element; equal infinities are close.

    Args:
        input: any shape and dtype.
        other: the same dtype; broadcasts with input.
        rtol: relative tolerance, at least 0.
        atol: absolute tolerance, at least 0.
        equal_nan: whether two NaNs are close.
    Returns:
        a bool tensor of the broadcast shape.
    Raises:
        RuntimeError when the dtypes differ or a tolerance is negative.
    Example:
        >>> mg.isclose(mg.tensor([1., 2.]), mg.tensor([1. + 1e-7, 2.1]))
        tensor([ True, False])
    """
    expect_tensors("isclose", input=input, other=other)
    _same_dtype("isclose", input, other)
    if rtol < 0 or atol < 0:
        raise RuntimeError(
            f"isclose: negative tolerance: got rtol={rtol}, atol={atol}, expected both >= 0. Try "
            "rtol=0."
        )
    close = mg.eq(input, other)
    if equal_nan:
        close = mg.logical_or(close, mg.logical_and(mg.isnan(input), mg.isnan(other)))
    if rtol == 0 and atol == 0:
        return close
    if not (input.is_floating_point() or input.is_complex()):
        input, other = input.to(mg.float64), other.to(mg.float64)
    error = mg.abs(mg.sub(input, other))
    within = mg.le(error, mg.add(mg.abs(mg.mul(other, rtol)), atol))
    return mg.logical_or(close, mg.logical_and(mg.isfinite(error), within))


@composite(samples="binary", no_grad_reason=_BOOL)
def allclose(
    input: mg.Tensor, other: mg.Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether isclose holds for every element.

    Args:
        input: any shape and dtype.
        other: the same dtype; broadcasts with input.
        rtol: relative tolerance, at least 0.
        atol: absolute tolerance, at least 0.
        equal_nan: whether two NaNs are close.
    Returns:
        a Python bool.
    Raises:
        RuntimeError when the dtypes differ or a tolerance is negative.
    Example:
        >>> mg.allclose(mg.tensor([1., 2.]), mg.tensor([1. + 1e-7, 2.]))
        True
    """
    expect_tensors("allclose", input=input, other=other)
    return bool(mg.all(mg.isclose(input, other, rtol, atol, equal_nan)).item())


@composite(samples="binary", no_grad_reason=_BOOL)
def equal(input: mg.Tensor, other: mg.Tensor) -> bool:
    """Whether two tensors have the same size and the same elements (NaN differs from NaN).

    Args:
        input: any shape and dtype.
        other: any dtype.
    Returns:
        a Python bool; False when the shapes differ.
    Example:
        >>> mg.equal(mg.tensor([1, 2]), mg.tensor([1, 2]))
        True
    """
    expect_tensors("equal", input=input, other=other)
    if tuple(input.shape) != tuple(other.shape):
        return False
    if input.numel() > 1 << 16 and input.is_contiguous() and other.is_contiguous():  # most unequal tensors show it early
        a, b = input.reshape(-1), other.reshape(-1)
        if not mg.all(mg.eq(a[:4096], b[:4096])).item():
            return False
    return bool(mg.all(mg.eq(input, other)).item())
