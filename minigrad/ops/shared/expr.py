"""The scalar expression language of `expr=`: what a pointwise op computes for one element, written once.

An expression is an ordinary Python function of the op's arguments, built from Python operators and the primitives
below:

    op("sigmoid(input) -> out", meta="unary_float", expr=lambda input: 1 / (1 + m.exp(-input)), ...)

Called with NumPy arrays it *is* the op's float64 reference (the tests do that); called with the compiler's symbolic
values it yields
LLVM or Triton code, because a class that defines `__mg_expr__(name, args)` takes over every primitive it meets. `&`,
`|`, `~` are the
logical connectives. Nothing here imports numpy: a primitive looks up its NumPy meaning in `_reference` when it is first
evaluated.
"""

from __future__ import annotations

from typing import Any

inf = float("inf")
nan = float("nan")
pi = 3.141592653589793
ln2 = 0.6931471805599453


class Primitive:
    """A named scalar function; evaluates on NumPy arrays unless an argument's class defines `__mg_expr__`."""

    __slots__ = ("__name__", "_numpy")

    def __init__(self, name: str) -> None:
        self.__name__ = name
        self._numpy: Any = None

    def __call__(self, *args: Any) -> Any:
        for arg in args:
            handler = getattr(type(arg), "__mg_expr__", None)
            if handler is not None:
                return handler(self.__name__, args)
        if self._numpy is None:
            from minigrad.ops.shared import reference as _reference

            self._numpy = _reference.primitive(self.__name__)
        return self._numpy(*args)

    def __repr__(self) -> str:
        return f"<expr primitive {self.__name__}>"


def _p(name: str) -> Primitive:
    return Primitive(name)


# Rounding, sign, roots.
abs, sign, floor, ceil, trunc, round, sqrt = map(_p, ("abs", "sign", "floor", "ceil", "trunc", "round", "sqrt"))
# Exponentials, logarithms.
exp, exp2, expm1, log, log2, log10, log1p = map(_p, ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p"))
# Trigonometric, hyperbolic and their inverses.
sin, cos, tan, asin, acos, atan = map(_p, ("sin", "cos", "tan", "asin", "acos", "atan"))
sinh, cosh, tanh, asinh, acosh, atanh = map(_p, ("sinh", "cosh", "tanh", "asinh", "acosh", "atanh"))
# Special functions.
erf, erfc, erfinv, lgamma, digamma = map(_p, ("erf", "erfc", "erfinv", "lgamma", "digamma"))
# Two arguments. minimum and maximum propagate NaN, fmin and fmax ignore it; remainder and floor_divide follow Python's
# sign rule.
minimum, maximum, fmin, fmax, atan2, hypot = map(_p, ("minimum", "maximum", "fmin", "fmax", "atan2", "hypot"))
pow, fmod, remainder, floor_divide = map(_p, ("pow", "fmod", "remainder", "floor_divide"))
gcd, lcm = map(_p, ("gcd", "lcm"))
copysign, nextafter, logaddexp, logaddexp2 = map(_p, ("copysign", "nextafter", "logaddexp", "logaddexp2"))
# Choice and predicates; `truth(x)` is x != 0 as a boolean.
where, isnan, isinf, isfinite, signbit, truth = map(_p, ("where", "isnan", "isinf", "isfinite", "signbit", "truth"))
# Bits of integers (on booleans: the logical connectives).
bit_and, bit_or, bit_xor, bit_not, shift_left, shift_right = map(
    _p, ("bit_and", "bit_or", "bit_xor", "bit_not", "shift_left", "shift_right")
)


def sigmoid(x: Any) -> Any:
    """Logistic function without overflow: exp is only taken of a number that is <= 0."""
    small = exp(-abs(x))
    return where(x >= 0, 1.0, small) / (1.0 + small)


def softplus(x: Any) -> Any:
    """log(1 + exp(x)) without overflow."""
    return maximum(x, 0.0) + log1p(exp(-abs(x)))
