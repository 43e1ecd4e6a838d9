"""Statistics and other reductions: axis may be None, an int or a tuple; `keepdims`; integer sums in the default integer."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.array_api._dtypes import Array


def _axes(x: Array, axis: Any) -> list[int]:
    """Axes as a list of non-negative ints, checked."""
    if axis is None:
        return list(range(x.dim()))
    axes = [axis] if isinstance(axis, int) else list(axis)
    for a in axes:
        if not -x.dim() <= a < x.dim():
            raise IndexError(f"axis out of range: got {a}, expected [-{x.dim()}, {x.dim()}).")
    out = [a % x.dim() for a in axes]
    if len(set(out)) < len(out):
        raise ValueError(f"an axis appears twice: got {axis}.")
    return out


def _last(x: Array, axis: Any) -> tuple[Array, list[int]]:
    """x with the reduced axes gathered into one last axis, for ops that reduce a single one."""
    axes = _axes(x, axis)
    rest = [k for k in range(x.dim()) if k not in axes]
    moved = x.permute(rest + axes) if x.dim() else x
    size = 1
    for a in axes:
        size *= x.shape[a]
    return moved.reshape([*(x.shape[k] for k in rest), size]), axes


def _kept(out: Array, x: Array, axes: list[int], keepdims: bool) -> Array:
    return out.reshape([1 if k in axes else n for k, n in enumerate(x.shape)]) if keepdims else out


def _sum_dtype(x: Array, dtype: Any) -> Any:
    if dtype is not None or x.is_floating_point() or x.is_complex():
        return dtype
    unsigned = str(x.dtype).startswith("minigrad.uint")
    return getattr(mg, "uint64", mg.int64) if unsigned and isinstance(getattr(mg, "uint64", None), mg.dtype) else mg.int64


def sum(x: Array, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Array:
    """Sum; small integers are summed in the default integer dtype."""
    axes = _axes(x, axis)
    dtype = _sum_dtype(x, dtype)
    if not axes:  # axis=() reduces nothing
        return x.to(dtype) if dtype is not None else x.clone()
    return mg.sum(x, axes, keepdims, dtype=dtype)


def prod(x: Array, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Array:
    """Product."""
    dtype = _sum_dtype(x, dtype)
    x = x if dtype is None else x.to(dtype)
    flat, axes = _last(x, axis)
    return _kept(mg.prod(flat, -1), x, axes, keepdims)


def mean(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array:
    """Arithmetic mean."""
    axes = _axes(x, axis)
    return mg.mean(x, axes, keepdims) if axes else x.clone()


def var(x: Array, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Variance, divided by n - correction."""
    flat, axes = _last(x, axis)
    n = flat.shape[-1]
    centred = flat - flat.mean(-1, True)
    total = (centred * centred).sum(-1)
    left = n - correction
    return _kept(total / left if left > 0 else total * mg.nan, x, axes, keepdims)


def std(x: Array, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Standard deviation."""
    return mg.sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims))


def max(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array:
    """Largest element; NaN wins."""
    axes = _axes(x, axis)
    return mg.amax(x, axes, keepdims) if axes else x.clone()


def min(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array:
    """Smallest element; NaN wins."""
    axes = _axes(x, axis)
    return mg.amin(x, axes, keepdims) if axes else x.clone()


def all(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array:
    """Whether no element is zero."""
    flat, axes = _last(x, axis)
    return _kept(mg.all(flat != 0, -1), x, axes, keepdims)


def any(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array:
    """Whether some element is not zero."""
    flat, axes = _last(x, axis)
    return _kept(mg.any(flat != 0, -1), x, axes, keepdims)


def count_nonzero(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array:
    """How many elements are not zero."""
    flat, axes = _last(x, axis)
    return _kept((flat != 0).to(mg.int64).sum(-1), x, axes, keepdims)


def _arg(of: Any, x: Array, axis: int | None, keepdims: bool) -> Array:
    if axis is None:
        out = of(x.reshape(-1), 0)
        return out.reshape([1] * x.dim()) if keepdims else out
    return of(x, axis, keepdims)


def argmax(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Index of the largest element, the first of equals."""
    return _arg(mg.argmax, x, axis, keepdims)


def argmin(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Index of the smallest element, the first of equals."""
    return _arg(mg.argmin, x, axis, keepdims)


def _cumulative(name: str, of: Any, first: int, x: Array, axis: int | None, dtype: Any, include_initial: bool) -> Array:
    if axis is None:
        if x.dim() != 1:
            raise ValueError(f"{name}: axis may be left out for 1-d arrays only: got {x.dim()} dimensions.")
        axis = 0
    dtype = _sum_dtype(x, dtype)
    x = x if dtype is None else x.to(dtype)
    out = of(x, axis)
    if not include_initial:
        return out
    shape = list(x.shape)
    shape[axis] = 1
    return mg.cat([mg.full(shape, first, dtype=out.dtype, device=x.device), out], axis)


def cumulative_sum(x: Array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Array:
    """Running sums; include_initial puts the empty sum first."""
    return _cumulative("cumulative_sum", mg.cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(x: Array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Array:
    """Running products; include_initial puts the empty product first."""
    return _cumulative("cumulative_prod", mg.cumprod, 1, x, axis, dtype, include_initial)


def diff(x: Array, /, *, axis: int = -1, n: int = 1, prepend: Array | None = None, append: Array | None = None) -> Array:
    """n-th differences of neighbours along an axis."""
    if n < 0:
        raise ValueError(f"diff: n is negative: got {n}, expected n >= 0.")
    parts = [p for p in (prepend, x, append) if p is not None]
    out = mg.cat(parts, axis) if len(parts) > 1 else x
    for _ in range(n):
        size = out.shape[axis]
        if size == 0:
            break
        right, left = out.narrow(axis, 1, size - 1), out.narrow(axis, 0, size - 1)
        out = mg.logical_xor(right, left) if out.dtype == mg.bool else right - left
    return out.clone() if out is x else out
