"""Array creation with the standard's signatures."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.array_api._dtypes import Array


def _shape(shape: Any) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Array:
    """An array from an array, a buffer, a number or nested sequences.

    Args:
        copy: True always copies, False raises ValueError where a copy would be needed, None copies where needed.
    """
    if isinstance(obj, Array):
        out = obj.to(dtype=dtype, device=device)
        if copy is False and out is not obj:
            raise ValueError("asarray: the conversion needs a copy, and copy=False was given.")
        return out.clone() if copy and out is obj else out
    if copy is False and isinstance(obj, (bool, int, float, complex, list, tuple)):
        raise ValueError("asarray: Python numbers cannot be used without a copy, and copy=False was given.")
    return mg.asarray(obj, dtype=dtype, device=device, copy=copy)


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Array:
    """Numbers from start (0 when only one number is given) to stop, stop excluded."""
    if stop is None:
        start, stop = 0, start
    if step == 0:
        raise ValueError("arange: step is zero: expected any other number.")
    if dtype is None and all(isinstance(v, int) for v in (start, stop, step)):
        dtype = mg.int64
    if (stop - start) / step <= 0:  # the standard allows an interval that runs the other way; PyTorch does not
        return mg.empty(0, dtype=dtype or mg.get_default_dtype(), device=device)
    return mg.arange(start, stop, step, dtype=dtype, device=device)


def empty(shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """An array with arbitrary contents."""
    return mg.empty(_shape(shape), dtype=dtype, device=device)


def empty_like(x: Array, /, *, dtype: Any = None, device: Any = None) -> Array:
    """An array of x's shape with arbitrary contents."""
    return mg.empty_like(x, dtype=dtype, device=device)


def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """An array of zeros."""
    return mg.zeros(_shape(shape), dtype=dtype, device=device)


def zeros_like(x: Array, /, *, dtype: Any = None, device: Any = None) -> Array:
    """Zeros of x's shape."""
    return mg.zeros_like(x, dtype=dtype, device=device)


def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """An array of ones."""
    return mg.ones(_shape(shape), dtype=dtype, device=device)


def ones_like(x: Array, /, *, dtype: Any = None, device: Any = None) -> Array:
    """Ones of x's shape."""
    return mg.ones_like(x, dtype=dtype, device=device)


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """An array of one value; its dtype follows the value's kind."""
    return mg.full(_shape(shape), fill_value, dtype=dtype, device=device)


def full_like(x: Array, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """One value in x's shape (and dtype)."""
    return mg.full(tuple(x.shape), fill_value, dtype=dtype or x.dtype, device=device or x.device)


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Array:
    """Ones on the k-th diagonal, zeros elsewhere."""
    n_cols = n_rows if n_cols is None else n_cols
    out = mg.zeros((n_rows, n_cols), dtype=dtype, device=device)
    if -n_rows < k < n_cols:
        out.diagonal(k).fill_(1)
    return out


def linspace(
    start: Any, stop: Any, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True
) -> Array:
    """`num` evenly spaced numbers; without `endpoint` stop is left out."""
    if endpoint:
        return mg.linspace(start, stop, num, dtype=dtype, device=device)
    return mg.linspace(start, stop, num + 1, dtype=dtype, device=device)[:-1]


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Array:
    """An array sharing memory with any DLPack exporter."""
    return mg.from_dlpack(x, device=device, copy=copy)


def meshgrid(*arrays: Array, indexing: str = "xy") -> tuple[Array, ...]:
    """Coordinate matrices of 1-d arrays; "xy" swaps the first two dimensions."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing is unknown: got {indexing!r}, expected 'xy' or 'ij'.")
    return tuple(mg.meshgrid(*arrays, indexing=indexing)) if arrays else ()


def tril(x: Array, /, *, k: int = 0) -> Array:
    """Lower triangle of the last two dimensions."""
    return mg.tril(x, k)


def triu(x: Array, /, *, k: int = 0) -> Array:
    """Upper triangle of the last two dimensions."""
    return mg.triu(x, k)
