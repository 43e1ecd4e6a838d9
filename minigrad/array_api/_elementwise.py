"""Element-wise functions: the library's ops under the standard's names, with the standard's promotion of 0-d arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad.array_api._dtypes import Array, promoted


def _unary(name: str, of: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def function(x: Array, /) -> Array:
        return of(x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Element-wise `{name}` of the Array API standard."
    return function


def _binary(name: str, of: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def function(x1: Any, x2: Any, /) -> Array:
        x1, x2 = promoted(name, x1, x2)
        if not isinstance(x1, Array):  # a number on the left joins the array's kind
            x1 = mg.tensor(x1, dtype=_dtype_of_number(x1, x2), device=x2.device)
        return of(x1, x2)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Element-wise `{name}` of the Array API standard; one operand may be a Python number."
    return function


def _dtype_of_number(number: Any, other: Array) -> Any:
    from minigrad.array_api._dtypes import result_type

    return result_type(other, number)


def _same_for_integers(of: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: of(x) if x.is_floating_point() else x.clone()


def _by_parts(of: Callable[[Any], Any], x: Array) -> Array:
    """A real function of the real and the imaginary part."""
    return mg.complex(of(mg.real(x)), of(mg.imag(x)))


def _round(x: Array) -> Array:
    return _by_parts(mg.round, x) if x.is_complex() else mg.round(x) if x.is_floating_point() else x.clone()


def _log_base(of: Callable[[Any], Any], scale: float) -> Callable[[Any], Any]:
    """Complex logarithms scaled by parts: the product of complex numbers would make log2(0) -inf + nan i."""
    return lambda x: _by_parts(lambda part: part * scale, mg.log(x)) if x.is_complex() else of(x)


def _sign(x: Array) -> Array:
    """PyTorch gives 0 for NaN, the standard NaN."""
    if x.is_complex():
        return mg.sgn(x)
    out = mg.sign(x)
    return mg.where(mg.isnan(x), x, out) if x.is_floating_point() else out


def _false(x: Array) -> Array:
    return mg.zeros_like(x, dtype=mg.bool)


def _isfinite(x: Array) -> Array:
    return mg.isfinite(x) if x.is_floating_point() or x.is_complex() else mg.ones_like(x, dtype=mg.bool)


def _floor_divide(x1: Any, x2: Any) -> Array:
    """floor(x1 / x2); for x1 infinite or x2 zero the quotient decides, as the standard's table says."""
    return mg.floor_divide(x1, x2)


abs = _unary("abs", lambda x: mg.abs(x))
acos = _unary("acos", lambda x: mg.acos(x))
acosh = _unary("acosh", lambda x: mg.acosh(x))
asin = _unary("asin", lambda x: mg.asin(x))
asinh = _unary("asinh", lambda x: mg.asinh(x))
atan = _unary("atan", lambda x: mg.atan(x))
atanh = _unary("atanh", lambda x: mg.atanh(x))
bitwise_invert = _unary("bitwise_invert", lambda x: mg.bitwise_not(x))
ceil = _unary("ceil", _same_for_integers(lambda x: mg.ceil(x)))
conj = _unary("conj", lambda x: mg.conj(x).resolve_conj() if x.is_complex() else x)
cos = _unary("cos", lambda x: mg.cos(x))
cosh = _unary("cosh", lambda x: mg.cosh(x))
exp = _unary("exp", lambda x: mg.exp(x))
expm1 = _unary("expm1", lambda x: mg.expm1(x))
floor = _unary("floor", _same_for_integers(lambda x: mg.floor(x)))
imag = _unary("imag", lambda x: mg.imag(x))
isfinite = _unary("isfinite", _isfinite)
isinf = _unary("isinf", lambda x: mg.isinf(x) if x.is_floating_point() or x.is_complex() else _false(x))
isnan = _unary("isnan", lambda x: mg.isnan(x) if x.is_floating_point() or x.is_complex() else _false(x))
log = _unary("log", lambda x: mg.log(x))
log1p = _unary("log1p", lambda x: mg.log1p(x))
log2 = _unary("log2", _log_base(lambda x: mg.log2(x), 1 / math.log(2)))
log10 = _unary("log10", _log_base(lambda x: mg.log10(x), 1 / math.log(10)))
logical_not = _unary("logical_not", lambda x: mg.logical_not(x))
negative = _unary("negative", lambda x: mg.neg(x))
positive = _unary("positive", lambda x: x.clone())
real = _unary("real", lambda x: mg.real(x) if x.is_complex() else x)
reciprocal = _unary("reciprocal", lambda x: mg.reciprocal(x))
round = _unary("round", _round)
sign = _unary("sign", _sign)
signbit = _unary("signbit", lambda x: mg.signbit(x))
sin = _unary("sin", lambda x: mg.sin(x))
sinh = _unary("sinh", lambda x: mg.sinh(x))
sqrt = _unary("sqrt", lambda x: mg.sqrt(x))
square = _unary("square", lambda x: mg.square(x))
tan = _unary("tan", lambda x: mg.tan(x))
tanh = _unary("tanh", lambda x: mg.tanh(x))
trunc = _unary("trunc", _same_for_integers(lambda x: mg.trunc(x)))

add = _binary("add", lambda a, b: mg.add(a, b))
atan2 = _binary("atan2", lambda a, b: mg.atan2(a, _array(b, a)))
bitwise_and = _binary("bitwise_and", lambda a, b: mg.bitwise_and(a, b))
bitwise_left_shift = _binary("bitwise_left_shift", lambda a, b: mg.bitwise_left_shift(a, b))
bitwise_or = _binary("bitwise_or", lambda a, b: mg.bitwise_or(a, b))
bitwise_right_shift = _binary("bitwise_right_shift", lambda a, b: mg.bitwise_right_shift(a, b))
bitwise_xor = _binary("bitwise_xor", lambda a, b: mg.bitwise_xor(a, b))
copysign = _binary("copysign", lambda a, b: mg.copysign(a, b))
divide = _binary("divide", lambda a, b: mg.div(a, b))
equal = _binary("equal", lambda a, b: mg.eq(a, b))
floor_divide = _binary("floor_divide", _floor_divide)
greater = _binary("greater", lambda a, b: mg.gt(a, b))
greater_equal = _binary("greater_equal", lambda a, b: mg.ge(a, b))
hypot = _binary("hypot", lambda a, b: mg.hypot(a, _array(b, a)))
less = _binary("less", lambda a, b: mg.lt(a, b))
less_equal = _binary("less_equal", lambda a, b: mg.le(a, b))
logaddexp = _binary("logaddexp", lambda a, b: mg.logaddexp(a, _array(b, a)))
logical_and = _binary("logical_and", lambda a, b: mg.logical_and(a, _array(b, a)))
logical_or = _binary("logical_or", lambda a, b: mg.logical_or(a, _array(b, a)))
logical_xor = _binary("logical_xor", lambda a, b: mg.logical_xor(a, _array(b, a)))
maximum = _binary("maximum", lambda a, b: mg.maximum(a, _array(b, a)))
minimum = _binary("minimum", lambda a, b: mg.minimum(a, _array(b, a)))
multiply = _binary("multiply", lambda a, b: mg.mul(a, b))
nextafter = _binary("nextafter", lambda a, b: mg.nextafter(a, _array(b, a)))
not_equal = _binary("not_equal", lambda a, b: mg.ne(a, b))
pow = _binary("pow", lambda a, b: mg.pow(a, b))
remainder = _binary("remainder", lambda a, b: mg.remainder(a, b))
subtract = _binary("subtract", lambda a, b: mg.sub(a, b))


def _array(value: Any, like: Array) -> Array:
    """A number as an array of the other operand's kind, for ops that take arrays only."""
    if isinstance(value, Array):
        return value
    return mg.tensor(value, dtype=_dtype_of_number(value, like), device=like.device)


def clip(x: Array, /, min: Any = None, max: Any = None) -> Array:
    """x limited to [min, max], in x's dtype; None leaves a side open."""
    if min is None and max is None:
        return x.clone()
    out = x
    if min is not None:
        low = min.to(x.dtype) if isinstance(min, Array) else min
        out = mg.maximum(out, low if isinstance(low, Array) else mg.tensor(low, dtype=x.dtype, device=x.device))
    if max is not None:
        high = max.to(x.dtype) if isinstance(max, Array) else max
        out = mg.minimum(out, high if isinstance(high, Array) else mg.tensor(high, dtype=x.dtype, device=x.device))
    return out


def where(condition: Array, x1: Any, x2: Any, /) -> Array:
    """x1 where the condition holds, x2 elsewhere; numbers take the other's dtype."""
    if not isinstance(x1, Array) and not isinstance(x2, Array):
        raise TypeError("where: neither choice is an array. Try asarray() on one of them.")
    x1, x2 = promoted("where", x1, x2)
    if not isinstance(x1, Array):
        x1 = _array(x1, x2)
    if not isinstance(x2, Array):
        x2 = _array(x2, x1)
    return mg.where(condition, x1, x2)
