"""The Array API standard (2024.12) over minigrad tensors: what `Tensor.__array_namespace__()` returns.

    xp = x.__array_namespace__()
    xp.sum(x, axis=(0, 1), keepdims=True)

The functions are the library's own under the standard's names and signatures; the promotion of 0-d arrays is the standard's.
What cannot follow the standard without breaking PyTorch's interface, or is not there yet, is in docs/array_api.md.
"""

from __future__ import annotations

import minigrad as _mg
from minigrad.array_api import linalg
from minigrad.array_api._creation import (
    arange, asarray, empty, empty_like, eye, from_dlpack, full, full_like, linspace, meshgrid, ones, ones_like, tril, triu,
    zeros, zeros_like,
)  # fmt: skip
from minigrad.array_api._dtypes import (
    STANDARD as _STANDARD,
)
from minigrad.array_api._dtypes import (
    __array_namespace_info__, astype, can_cast, finfo, iinfo, isdtype, result_type,
)  # fmt: skip
from minigrad.array_api._elementwise import (
    abs, acos, acosh, add, asin, asinh, atan, atan2, atanh, bitwise_and, bitwise_invert, bitwise_left_shift, bitwise_or,
    bitwise_right_shift, bitwise_xor, ceil, clip, conj, copysign, cos, cosh, divide, equal, exp, expm1, floor, floor_divide,
    greater, greater_equal, hypot, imag, isfinite, isinf, isnan, less, less_equal, log, log1p, log2, log10, logaddexp,
    logical_and, logical_not, logical_or, logical_xor, maximum, minimum, multiply, negative, nextafter, not_equal, positive,
    pow, real, reciprocal, remainder, round, sign, signbit, sin, sinh, sqrt, square, subtract, tan, tanh, trunc, where,
)  # fmt: skip
from minigrad.array_api._reductions import (
    all, any, argmax, argmin, count_nonzero, cumulative_prod, cumulative_sum, diff, max, mean, min, prod, std, sum, var,
)  # fmt: skip
from minigrad.array_api._shaping import (
    argsort, broadcast_arrays, broadcast_shapes, broadcast_to, concat, expand_dims, flip, isin, matrix_transpose, moveaxis,
    nonzero, permute_dims, repeat, reshape, roll, searchsorted, sort, squeeze, stack, take, take_along_axis, tile,
    unique_all, unique_counts, unique_inverse, unique_values, unstack,
)  # fmt: skip
from minigrad.array_api.linalg import matmul, tensordot, vecdot

__array_api_version__ = "2024.12"
e, inf, nan, newaxis, pi = _mg.e, _mg.inf, _mg.nan, None, _mg.pi
globals().update(_STANDARD)
Device, Array = _mg.device, _mg.Tensor
del _STANDARD


def __getattr__(name: str):
    if name == "fft":  # an optional extension
        import importlib

        try:
            return importlib.import_module("minigrad.array_api.fft")
        except ImportError as error:
            raise AttributeError("minigrad.array_api has no fft extension: minigrad.fft is missing") from error
    raise AttributeError(f"module 'minigrad.array_api' has no attribute '{name}'")


__all__ = sorted(n for n in globals() if not n.startswith("_") and n not in ("annotations", "Array")) + [
    "__array_api_version__", "__array_namespace_info__",
]  # fmt: skip
