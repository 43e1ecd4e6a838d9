"""float64 references in NumPy and pure Python: the second opinion every kernel is tested against.

Two callers: the primitives of `_expr` find their NumPy meaning through `primitive(name)`,
   and an op declared with `ref="name"` is
checked against the function of that name here. Clarity first: nothing in this file is fast,
   and numpy is imported only on use.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

# Where NumPy's name, or its behaviour, differs from the expression language.
_NUMPY_NAMES = {
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "asinh": "arcsinh",
    "acosh": "arccosh",
    "atanh": "arctanh",
    "atan2": "arctan2",
    "round": "rint",
    "bit_and": "bitwise_and",
    "bit_or": "bitwise_or",
    "bit_xor": "bitwise_xor",
    "bit_not": "invert",
}


def primitive(name: str) -> Callable[..., Any]:
    """NumPy function for a primitive of the expression language, silent about overflow and invalid values."""
    import numpy as np

    function = globals().get(name) or getattr(np, _NUMPY_NAMES.get(name, name))

    def quiet(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args)

    return quiet


def _elementwise(function: Callable[[float], float], x: Any) -> Any:
    import numpy as np

    x = np.asarray(x, dtype=np.float64)
    return np.array([function(float(v)) for v in x.reshape(-1)], dtype=np.float64).reshape(x.shape)


def sign(x: Any) -> Any:
    """-1, 0 or 1; PyTorch's sign of NaN is 0."""
    import numpy as np

    return np.where(x > 0, 1, np.where(x < 0, -1, 0))


def truth(x: Any) -> Any:
    """x != 0 (NaN is true)."""
    return x != 0


def shift_left(x: Any, n: Any) -> Any:
    """x << n, with 0 for a negative or too large n, as PyTorch defines it."""
    import numpy as np

    bad = (n < 0) | (n >= 64)
    return np.where(bad, 0, np.left_shift(x, np.where(bad, 0, n)))


def shift_right(x: Any, n: Any) -> Any:
    """x >> n, with the sign for a negative or too large n, as PyTorch defines it."""
    import numpy as np

    bad = (n < 0) | (n >= 64)
    return np.where(bad, np.where(x < 0, -1, 0), np.right_shift(x, np.where(bad, 0, n)))


def pow(x: Any, y: Any) -> Any:
    """Power; integers to negative integers truncate toward zero (only 1 and -1 survive)."""
    import numpy as np

    x, y = np.asarray(x), np.asarray(y)
    if x.dtype.kind in "iub" and y.dtype.kind in "iub":
        x, y = x.astype(np.int64), y.astype(np.int64)
        ones = np.where(x == 1, 1, np.where(x == -1, np.where(y % 2 == 0, 1, -1), 0))
        return np.where(y >= 0, np.power(x, np.maximum(y, 0)), ones)
    return np.power(x, y)


def erf(x: Any) -> Any:
    """Error function, by the C library through `math`."""
    return _elementwise(math.erf, x)


def erfc(x: Any) -> Any:
    """Complementary error function."""
    return _elementwise(math.erfc, x)


def _erfinv(y: float) -> float:
    if math.isnan(y) or abs(y) > 1:
        return math.nan
    if abs(y) == 1:
        return math.copysign(math.inf, y)
    a = abs(y)
    # Start: Winitzki's formula (2008, "A handy approximation for the error function and its inverse"); then Newton, on
    # erfc in the tail.
    u = math.log1p(-a * a)
    t = 2 / (math.pi * 0.147) + u / 2
    x = math.sqrt(max(math.sqrt(t * t - u / 0.147) - t, 0.0))
    for _ in range(60):
        error = math.erf(x) - a if a < 0.5 else (1 - a) - math.erfc(x)
        step = error * math.sqrt(math.pi) / 2 * math.exp(x * x)
        x -= step
        if abs(step) <= 1e-17 * abs(x):
            break
    return math.copysign(x, y)


def erfinv(x: Any) -> Any:
    """Inverse error function: +-inf at +-1, NaN outside."""
    return _elementwise(_erfinv, x)


def _lgamma(x: float) -> float:
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):  # a pole, or beyond the range of float64
        return math.inf


def lgamma(x: Any) -> Any:
    """log|gamma(x)|; +inf at 0 and the negative integers."""
    return _elementwise(_lgamma, x)


def _digamma(x: float) -> float:
    if x == 0:
        return math.copysign(math.inf, -x)
    if math.isnan(x) or x == -math.inf or (x < 0 and x == math.floor(x)):
        return math.nan
    if x == math.inf:
        return x
    if x < 0:  # reflection; the reduced argument keeps tan accurate for large |x|
        return _digamma(1 - x) - math.pi / math.tan(math.pi * math.fmod(x, 1.0))
    shift = 0.0
    while x < 16:
        shift -= 1 / x
        x += 1
    # Asymptotic series with Bernoulli numbers, DLMF 5.11.2.
    w = 1 / (x * x)
    tail = w * (1 / 12 - w * (1 / 120 - w * (1 / 252 - w * (1 / 240 - w * (1 / 132 - w * (691 / 32760 - w / 12))))))
    return shift + math.log(x) - 0.5 / x - tail


def digamma(x: Any) -> Any:
    """Derivative of lgamma; -inf at +0, NaN at the negative integers, as PyTorch defines it."""
    return _elementwise(_digamma, x)


# --- composites: the same function, written directly in NumPy ---------------------------------------------------------
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """Quotient, rounded as asked; integers stay integers when it is."""
    import numpy as np

    quotient = np.true_divide(input, other)
    if rounding_mode is None:
        return quotient
    exact = np.floor_divide(input, other)
    if rounding_mode == "floor":
        return exact
    return np.trunc(quotient)


def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    """Clip to [min, max]; max wins where they cross."""
    import numpy as np

    low = input if min is None else np.maximum(input, min)
    return low if max is None else np.minimum(low, max)


def logit(input: Any, eps: float | None = None) -> Any:
    """log(p) - log1p(-p), of the clamped input."""
    import numpy as np

    p = input if eps is None else np.clip(input, eps, 1 - eps)
    return np.log(p) - np.log1p(-p)


def polygamma(n: int, input: Any) -> Any:
    """digamma for n = 0; else (-1)**(n+1) n! sum over k of 1 / (input + k)**(n+1), with an integral for the far end."""
    import numpy as np

    if n == 0:
        return digamma(input)
    k = np.arange(4000, dtype=np.float64)
    x = np.asarray(input, dtype=np.float64)[..., None]
    head = ((x + k) ** -(n + 1)).sum(-1)
    end = x[..., 0] + 4000
    tail = end**-n / n + 0.5 * end ** -(n + 1) + (n + 1) / 12 * end ** -(n + 2)
    return (-1) ** (n + 1) * math.factorial(n) * (head + tail)


def gelu(input: Any, approximate: str = "none") -> Any:
    """x times the normal distribution function, or its tanh approximation."""
    import numpy as np

    if approximate == "none":
        return 0.5 * input * erfc(-input * math.sqrt(0.5))
    return 0.5 * input * (1 + np.tanh(math.sqrt(2 / math.pi) * (input + 0.044715 * input**3)))


def prelu(input: Any, weight: Any) -> Any:
    """x above 0, weight * x below, weight per channel."""
    import numpy as np

    channel = weight.size > 1
    shape = (1, -1) + (1,) * (input.ndim - 2) if channel else (1,) * input.ndim
    return np.where(input > 0, input, weight.reshape(shape) * input)


def nan_to_num(input: Any, nan: float | None = None, posinf: float | None = None, neginf: float | None = None) -> Any:
    """Samples hold no NaN and no infinity, where the result depends on the dtype's limits."""
    return input + 0
