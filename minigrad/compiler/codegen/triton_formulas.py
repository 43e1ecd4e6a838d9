"""The lines of csrc/scalar.h as formulas of symbols, with the functions they call (csrc/scalar_math.h, scalar_activation.h) written in the
primitives of minigrad/ops/shared/expr.py. Those that compute in float64 or in a loop have no form here: their ops are not fused on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from minigrad.ops.shared import expr as m

from .fused import Unsupported
from .rows import lines

fma, bits, shl, shr = (m.Primitive(n) for n in ("fma", "bits", "shl", "shr"))
_NEAR, _FAR = 0.7, 14.7


def _ndtr(x: Any) -> Any:
    return 0.5 * m.erfc(x * -0.7071067811865475)


def _sigmoid(x: Any) -> Any:
    e = m.exp(-m.abs(x))
    return m.where(x < 0, e, 1.0) / (1.0 + e)


def _mish(x: Any) -> Any:
    e = m.exp(m.minimum(x, 40.0))
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


def _polynomial(t: Any, *coefficients: float) -> Any:
    value: Any = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        value = c + t * value
    return value


def _gelu(x: Any) -> Any:  # of float32
    z, size = x * x, m.abs(x)
    near = 0.5 * x + z * _polynomial(z, 0.39894228037, -0.06649037679, 0.0099735017629, -0.0011869857402, 0.00011446822997,
                                     -8.1689944825e-6)  # fmt: skip
    v = m.minimum(size, _FAR)
    h = 0.5 * v
    s = v * h
    p, half = m.exp(-s), 0.5 * x
    t = (v - 1.5) / (v + 1.5)
    g = 0.30867100053 + t * _polynomial(t, 0.21112122956, -0.12629750504, -0.019797816714, 0.01776877139, 0.010785981911, 0.00078697588453,
                                        -0.0023679886346, -0.0020801012568, -0.00089670375516, 0.0012524147417)  # fmt: skip
    tail = g * (p - p * fma(v, h, -s))
    return m.where(size < _NEAR, near, (half + m.abs(half)) - tail)


def _gelu_slope(x: Any) -> Any:
    y = m.maximum(m.minimum(x, 40.0), -40.0)  # inf * 0 is none
    return _ndtr(x) + y * m.exp(-0.5 * y * y) * 0.3989422804014327


def _gelu_tanh(x: Any) -> Any:  # of float32: the argument of exp in two parts
    k, y = float.fromhex("0x1.6e4e26p-5"), m.minimum(m.abs(x), 30.0)
    z = y * y
    w = fma(k, z, 1.0)
    d, u = w - 1.0, y * w
    low = fma(k, z, -d) + k * fma(y, y, -z) + float.fromhex("0x1.a9003ep-30") * z
    error = fma(y, w, -u) + y * low
    k = float.fromhex("0x1.988454p+0")
    v = k * u
    rest = fma(k, u, -v) + k * error - float.fromhex("0x1.857936p-25") * u
    p = m.exp(-v)
    e = p - p * rest
    return m.where(x < 0, x * e, x) / (1.0 + e)


def _gelu_tanh_argument(x: Any) -> Any:
    return x * (1.5957691216057308 + 0.07135481627260025 * x * x)


def _gelu_tanh_slope(x: Any) -> Any:
    y = m.maximum(m.minimum(x, 40.0), -40.0)
    s = _sigmoid(_gelu_tanh_argument(y))
    return s + y * s * (1.0 - s) * (1.5957691216057308 + 0.21406444881780075 * y * y)


def _remainder(x: Any, y: Any) -> Any:
    r = m.fmod(x, y)
    return m.where((r != 0) & ((r < 0) ^ (y < 0)), r + y, r)


def _floor_divide(x: Any, y: Any) -> Any:
    r = m.fmod(x, y)
    q = (x - r) / y
    d = m.where((r != 0) & ((r < 0) ^ (y < 0)), q - 1.0, q)
    f = m.floor(d)
    whole = m.where(d - f > 0.5, f + 1.0, f)
    return m.where(y == 0, x / y, m.where(d == 0, m.copysign(0.0, x / y), whole))


def _shift_left(x: Any, n: Any) -> Any:
    return m.where((n < 0) | (n >= bits(n)), 0, shl(x, n))


def _shift_right(x: Any, n: Any) -> Any:
    return m.where((n < 0) | (n >= bits(n)), m.where(x < 0, -1, 0), shr(x, n))


_SAME = ("abs", "maximum", "minimum", "isnan", "isinf", "isfinite", "signbit", "sqrt", "floor", "ceil", "trunc", "exp", "exp2", "expm1",
         "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
         "erf", "erfc", "fmod", "pow", "atan2", "hypot", "copysign", "nextafter")  # fmt: skip
_ALL = {
    **{name: getattr(m, name) for name in _SAME}, "T": lambda x: x, "select": m.where, "rint": m.round, "__builtin_inf": lambda: math.inf,
    "sigmoid": _sigmoid, "ndtr": _ndtr, "silu": lambda x: x * _sigmoid(x), "mish": _mish, "shift_left": _shift_left,
    "shift_right": _shift_right,
    "gelu_slope": _gelu_slope, "gelu_tanh_slope": _gelu_tanh_slope,
    "silu_slope": lambda x, s: s * (1.0 + x * (1.0 - s)),
    "remainder": _remainder, "floor_divide": _floor_divide, "trunc_divide": lambda x, y: m.trunc(x / y),
}  # fmt: skip
_BY_TYPE = {
    "float32": {"gelu": _gelu, "gelu_tanh": _gelu_tanh},
    "float64": {"gelu": lambda x: x * _ndtr(x), "gelu_tanh": lambda x: x * _sigmoid(_gelu_tanh_argument(x)), "erfinv": m.erfinv,
                "lgamma": m.lgamma},
}  # fmt: skip


def arity_of(row: str) -> int:
    """How many operands the line takes; what an op has beyond them it does without."""
    line = lines().get(row)
    if line is None:
        raise Unsupported(f"{row} has no formula")
    return len(line.parameters)


def formula_of(row: str, compute: str) -> Callable[..., Any]:
    """The line's expression as a function of its operands.

    Raises:
        Unsupported: it calls something that is not written here.
    """
    line = lines()[row]
    known = {**_ALL, **_BY_TYPE.get(compute, {})}
    missing = [n for n in line.code.co_names if n not in known and n not in line.parameters]
    if missing or (line.divides and compute not in ("float32", "float64")):
        raise Unsupported(f"{row} of {compute}: {', '.join(missing) or 'may fail'}")

    def formula(*args: Any) -> Any:
        return eval(line.code, {"__builtins__": {}, **known}, dict(zip(line.parameters, args)))

    return formula
