"""The one table of tolerances (CONVENTIONS 11). Loosening a number needs a written reason beside it.

A result `y` of dtype D passes against the float64 reference `r` when |y - round_D(r)| <= rtol * |r| + atol. The kernels
compute
float16 and bfloat16 in float and round once,
   so they get two roundings' worth (twice the naive same-precision form's error) and no more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
SMALLEST = {"float64": 2.0**-1074, "float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133}

# Multiples of eps allowed for one pointwise op: 2 ulp promised by the vector maths, doubled for compositions of two.
_POINTWISE_ULPS = {"float64": 32, "float32": 8, "float16": 1, "bfloat16": 1}


@dataclass(frozen=True)
class Tolerance:
    """rtol * |expected| + atol, per element."""

    rtol: float
    atol: float


def tolerance(dtype: str, length: int = 1, scale: float = 1.0) -> Tolerance:
    """Tolerance of a value.

    Args:
        dtype: name of the result's dtype; integers and bools must be exact.
        length: how many terms were summed for one element; blocked sums err like sqrt(length).
        scale: magnitude of those terms; cancellation makes their error absolute.
    Returns:
        the Tolerance.
    """
    dtype = {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)
    if dtype not in EPS:
        return Tolerance(0.0, 0.0)
    rtol = _POINTWISE_ULPS[dtype] * EPS[dtype]
    # Sums of half types run in float32: their own rounding is the `rtol` above, the summation error is float32's.
    accumulate = EPS["float64"] if dtype == "float64" else EPS["float32"]
    spread = math.sqrt(max(length, 1))
    atol = 4 * accumulate * scale * spread + SMALLEST[dtype]
    return Tolerance(rtol + (4 * accumulate * spread if length > 1 else 0.0), atol)


# Gradients and double gradients against PyTorch: two implementations of a chain of a few ops in float64.
GRAD_F64 = Tolerance(1e-9, 1e-9)
GRADGRAD_F64 = Tolerance(1e-8, 1e-8)
# Finite differences in float64: the step 1e-6 leaves about 1e-9 of rounding and as much of curvature on values near 1.
NUMERIC = Tolerance(1e-4, 1e-5)
