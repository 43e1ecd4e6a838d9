"""Manipulation, indexing, searching, sorting and sets."""

from __future__ import annotations

from typing import Any, NamedTuple

import minigrad as mg
from minigrad.array_api._dtypes import Array, result_type


def broadcast_arrays(*arrays: Array) -> tuple[Array, ...]:
    """All arrays in their common shape."""
    return tuple(mg.broadcast_tensors(*arrays)) if arrays else ()


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that all of them broadcast to."""
    return tuple(mg.broadcast_shapes(*shapes))


def broadcast_to(x: Array, /, shape: tuple[int, ...]) -> Array:
    """x expanded to a shape."""
    return mg.broadcast_to(x, tuple(shape))


def _common(arrays: Any) -> list[Array]:
    arrays = list(arrays)
    if not arrays:
        raise ValueError("concat/stack: no arrays given, expected at least one.")
    d = result_type(*arrays)
    return [a.to(d) for a in arrays]


def concat(arrays: Any, /, *, axis: int | None = 0) -> Array:
    """Arrays one after the other along an axis; axis=None flattens them first."""
    joined = _common(arrays)
    return mg.cat([a.reshape(-1) for a in joined], 0) if axis is None else mg.cat(joined, axis)


def stack(arrays: Any, /, *, axis: int = 0) -> Array:
    """Arrays along a new axis."""
    return mg.stack(_common(arrays), axis)


def unstack(x: Array, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The slices along an axis."""
    return tuple(mg.unbind(x, axis))


def expand_dims(x: Array, /, axis: int) -> Array:
    """A new axis of size one."""
    if not isinstance(axis, int):
        raise TypeError(f"expand_dims: axis is not an integer: got {type(axis).__name__}.")
    return mg.unsqueeze(x, axis)


def squeeze(x: Array, /, axis: Any) -> Array:
    """Without the given axes, which must have size one.

    Raises:
        ValueError for an axis of another size.
    """
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for a in axes:
        if not -x.dim() <= a < x.dim():
            raise IndexError(f"squeeze: axis out of range: got {a}, expected [-{x.dim()}, {x.dim()}).")
        if x.shape[a] != 1:
            raise ValueError(f"squeeze: axis {a} has size {x.shape[a]}, expected 1.")
    gone = {a % x.dim() for a in axes}
    return x.reshape([n for k, n in enumerate(x.shape) if k not in gone]) if gone else x


def flip(x: Array, /, *, axis: Any = None) -> Array:
    """Reversed along axes; None means all."""
    axes = range(x.dim()) if axis is None else (axis,) if isinstance(axis, int) else axis
    return mg.flip(x, tuple(axes)) if x.dim() else x.clone()


def moveaxis(x: Array, source: Any, destination: Any, /) -> Array:
    """Axes moved to other places."""
    return mg.movedim(x, source, destination)


def permute_dims(x: Array, /, axes: tuple[int, ...]) -> Array:
    """Axes in another order."""
    return mg.permute(x, tuple(axes))


def matrix_transpose(x: Array, /) -> Array:
    """The last two axes swapped."""
    if x.dim() < 2:
        raise ValueError(f"matrix_transpose: too few dimensions: got {x.dim()}, expected at least 2.")
    return mg.transpose(x, -2, -1)


def repeat(x: Array, repeats: Any, /, *, axis: int | None = None) -> Array:
    """Each element (or slice along an axis) repeated."""
    if axis is None:
        x, axis = x.reshape(-1), 0
    return mg.repeat_interleave(x, repeats, axis)


def reshape(x: Array, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Array:
    """x in another shape.

    Args:
        copy: True always copies; False raises ValueError where a copy would be needed.
    """
    if copy:
        return x.clone().reshape(tuple(shape))
    if copy is False:
        try:
            return x.view(tuple(shape))
        except RuntimeError as error:
            raise ValueError(f"reshape: needs a copy, and copy=False was given ({error}).") from error
    return mg.reshape(x, tuple(shape))


def roll(x: Array, /, shift: Any, *, axis: Any = None) -> Array:
    """Elements moved around cyclically; axis=None rolls the flattened array."""
    if axis is None:
        return mg.roll(x, shift) if isinstance(shift, int) else mg.roll(x, tuple(shift))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    shifts = (shift,) * len(axes) if isinstance(shift, int) else tuple(shift)
    return mg.roll(x, shifts, axes)


def tile(x: Array, repetitions: tuple[int, ...], /) -> Array:
    """Copies of x laid side by side."""
    return mg.tile(x, tuple(repetitions))


def take(x: Array, indices: Array, /, *, axis: int | None = None) -> Array:
    """Slices along an axis chosen by a 1-d index array (negative indices count from the end)."""
    if axis is None:
        if x.dim() != 1:
            raise ValueError(f"take: axis may be left out for 1-d arrays only: got {x.dim()} dimensions.")
        axis = 0
    n = x.shape[axis]
    flat = indices.to(mg.int64)
    flat = mg.where(flat < 0, flat + n, flat)
    if indices.dim() == 1:
        return mg.index_select(x, axis, flat)
    out = mg.index_select(x, axis, flat.reshape(-1))
    axis %= x.dim()
    return out.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def take_along_axis(x: Array, indices: Array, /, *, axis: int = -1) -> Array:
    """One element per index along an axis; the other axes broadcast."""
    axis %= x.dim()
    n = x.shape[axis]
    flat = indices.to(mg.int64)
    flat = mg.where(flat < 0, flat + n, flat)
    one = lambda s: (*s[:axis], 1, *s[axis + 1 :])
    common = mg.broadcast_shapes(one(tuple(x.shape)), one(tuple(flat.shape)))
    at = lambda size: (*common[:axis], size, *common[axis + 1 :])
    return mg.gather(mg.broadcast_to(x, at(n)), axis, mg.broadcast_to(flat, at(flat.shape[axis])))


# --- searching and sorting ---------------------------------------------------------------------------------------------
def nonzero(x: Array, /) -> tuple[Array, ...]:
    """Coordinates of the elements that are not zero."""
    if x.dim() == 0:
        raise ValueError("nonzero: a 0-d array has no coordinates.")
    return tuple(mg.nonzero(x, as_tuple=True))


def searchsorted(x1: Array, x2: Any, /, *, side: str = "left", sorter: Array | None = None) -> Array:
    """Where the elements of x2 belong in the sorted x1."""
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side is unknown: got {side!r}, expected 'left' or 'right'.")
    if sorter is not None:
        x1 = take(x1, sorter)
    if isinstance(x2, Array) and x2.dtype != x1.dtype:
        d = result_type(x1, x2)
        x1, x2 = x1.to(d), x2.to(d)
    return mg.searchsorted(x1, x2, right=side == "right")


def argsort(x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Indices that sort x along an axis."""
    return mg.sort(x, dim=axis, descending=descending, stable=stable)[1]


def sort(x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """x sorted along an axis."""
    return mg.sort(x, dim=axis, descending=descending, stable=stable)[0]


# --- sets --------------------------------------------------------------------------------------------------------------
class UniqueAll(NamedTuple):
    """Result of unique_all."""

    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class UniqueCounts(NamedTuple):
    """Result of unique_counts."""

    values: Array
    counts: Array


class UniqueInverse(NamedTuple):
    """Result of unique_inverse."""

    values: Array
    inverse_indices: Array


def unique_all(x: Array, /) -> UniqueAll:
    """Distinct values, where each occurs first, which one every element is, and how often; every NaN is distinct."""
    flat = x.reshape(-1)
    n = flat.shape[0]
    if n == 0:
        none = mg.empty(0, dtype=mg.int64)
        return UniqueAll(flat.clone(), none, none.reshape(x.shape).clone(), none.clone())
    ordered, order = mg.sort(flat, stable=True)
    new = mg.cat([mg.ones(1, dtype=mg.bool), mg.ne(ordered[1:], ordered[:-1])])
    group = mg.cumsum(new.to(mg.int64), 0) - 1
    inverse = mg.empty(n, dtype=mg.int64).scatter_(0, order, group)
    starts = mg.nonzero(new)[:, 0]
    ends = mg.cat([starts[1:], mg.tensor([n])])
    return UniqueAll(ordered[starts], order[starts], inverse.reshape(x.shape), ends - starts)


def unique_counts(x: Array, /) -> UniqueCounts:
    """Distinct values and how often they occur."""
    u = unique_all(x)
    return UniqueCounts(u.values, u.counts)


def unique_inverse(x: Array, /) -> UniqueInverse:
    """Distinct values and which one every element is."""
    u = unique_all(x)
    return UniqueInverse(u.values, u.inverse_indices)


def unique_values(x: Array, /) -> Array:
    """Distinct values."""
    return unique_all(x).values


def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> Array:
    """Whether each element of x1 occurs in x2 (2025.12)."""
    if not isinstance(x1, Array):
        x1 = mg.tensor(x1, dtype=x2.dtype)
    flat = x2.reshape(-1) if isinstance(x2, Array) else mg.tensor([x2], dtype=x1.dtype)
    found = mg.zeros(x1.shape, dtype=mg.bool) if flat.shape[0] == 0 else mg.eq(x1.unsqueeze(-1), flat).any(-1)
    return mg.logical_not(found) if invert else found
