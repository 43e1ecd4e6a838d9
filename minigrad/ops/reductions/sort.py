"""Sorting, selection and binary search. Kernels: csrc/cpu/sort.cpp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops.reductions.reduce import _np, _select_grad
from minigrad.ops.shared.reduce_doc import returned

sort_result = returned("sort", "values", "indices")
topk_result = returned("topk", "values", "indices")
kthvalue_result = returned("kthvalue", "values", "indices")
median_result = returned("median", "values", "indices")
nanmedian_result = returned("nanmedian", "values", "indices")
mode_result = returned("mode", "values", "indices")


def _place(g: Any, input_shape: tuple[int, ...], indices: Any, dim: int) -> Any:
    """Gradient of a selection that keeps its dim."""
    return _select_grad(g, input_shape, indices, dim, True)


def _np_sort(input: Any, dim: int, descending: bool = False) -> tuple[Any, Any]:
    np = _np()
    if not input.ndim:
        return input, np.zeros((), np.int64)
    if descending:  # stable in both directions
        order = np.flip(input.shape[dim] - 1 - np.argsort(np.flip(input, dim), dim, kind="stable"), dim)
    else:
        order = np.argsort(input, dim, kind="stable")
    return np.take_along_axis(input, order, dim), order


def _np_pick(input: Any, dim: int, keepdim: bool, k: int) -> tuple[Any, Any]:
    values, order = _np_sort(input, dim)
    if not input.ndim:
        return values, order
    np = _np()
    pair = tuple(np.take(a, [k - 1], dim) for a in (values, order))
    return pair if keepdim else tuple(a.squeeze(dim) for a in pair)


def _samples(s: Any) -> list[Any]:
    return [s(s.t(5, distinct=True), 0), s(s.t(3, 4, distinct=True), 1), s(s.t(2, 3, 4, distinct=True), 1), s(s.t(), 0),
            s(s.t(4, 3, layout="transposed", distinct=True), 0)]  # fmt: skip


op(
    "_sort(input, dim: int, descending: bool = False) -> values, indices",
    meta="scan_select",
    namespace=None,
    nondiff=("indices",),
    dinput=lambda g, input_shape, indices, dim: _place(g, input_shape, indices, dim),
    ref=_np_sort,
    samples=lambda s: [*_samples(s), s(s.t(3, 4, distinct=True), 1, True), s(s.t(0, 3), 1)],
    doc="Stable sort; the kernel of `sort`, `argsort` and `msort`.",
)
op(
    "_topk(input, k: int, dim: int, largest: bool, sorted: bool) -> values, indices",
    meta="topk",
    namespace=None,
    nondiff=("indices",),
    dinput=lambda g, input_shape, indices, dim: _place(g, input_shape, indices, dim),
    samples=lambda s: [
        s(s.t(7, distinct=True), 3, 0, True, True),
        s(s.t(3, 5, distinct=True), 2, 1, False, True),
        s(s.t(4, 3, distinct=True), 4, 0, True, True),
        s(s.t(), 1, 0, True, True),
    ],
    ref=lambda input, k, dim, largest, sorted: tuple(_np().take(a, range(k), dim) if a.ndim else a for a in _np_sort(input, dim, largest)),
    doc="The k largest or smallest elements, in order; the kernel of `topk`.",
)


def _rank_op(schema: str, rank: Callable[..., int], samples: Callable, text: str, **more: Any) -> None:
    """Picks one element of a dim by its rank (1 is the smallest)."""
    op(
        schema,
        meta="reduce_rank",
        namespace=None,
        nondiff=("indices",),
        dinput=lambda g, input_shape, indices, dim, keepdim: _select_grad(g, input_shape, indices, dim, keepdim),
        samples=samples,
        ref=lambda input, dim, keepdim, *k: _np_pick(input, dim, keepdim, rank(input, dim, *k)),
        doc=text,
        **more,
    )


def _along(s: Any) -> list[Any]:
    return [s(s.t(7, distinct=True), 0, False), s(s.t(3, 4, distinct=True), 1, True), s(s.t(), 0, False)]


def _middle(input: Any, dim: int) -> int:
    return (input.shape[dim] + 1) // 2 if input.ndim else 1


_rank_op(
    "_kth(input, dim: int, keepdim: bool, k: int) -> values, indices",
    lambda input, dim, k: k,
    lambda s: [s(s.t(7, distinct=True), 0, False, 3), s(s.t(3, 5, distinct=True), 1, True, 5), s(s.t(), 0, False, 1)],
    "The k-th smallest element; the kernel of `kthvalue`.",
)
_rank_op("_median(input, dim: int, keepdim: bool) -> values, indices", _middle, _along, "The lower median; the kernel of `median`.")
_rank_op(
    "_nanmedian(input, dim: int, keepdim: bool) -> values, indices", _middle, _along, "The lower median of what is not NaN; the kernel of `nanmedian`."
)
_rank_op(
    "_mode(input, dim: int, keepdim: bool) -> values, indices",
    lambda input, dim: 1,  # the samples' elements are distinct: the smallest one
    _along,
    "The most frequent element; the kernel of `mode`.",
    dtypes=("float64", "float32", "int64"),  # few distinct values in the others: which of equal elements is named is free
)
op(
    "_searchsorted(sorted_sequence, input, sorter?, out_int32: bool, right: bool) -> out",
    meta="searchsorted",
    namespace=None,
    samples=lambda s: [s(mg_sorted(s), s.t(7), None, False, False), s(mg_sorted(s), s.t(2, 3), None, False, True)],
    ref=lambda sorted_sequence, input, sorter, out_int32, right: _np().searchsorted(sorted_sequence, input, "right" if right else "left"),
    doc="Binary search; the kernel of `searchsorted` and `bucketize`.",
)


def mg_sorted(s: Any) -> Any:
    """A sorted sequence with repeated elements that every dtype can hold."""
    return s.of([0, 0, 1, 1, 1])


_SORTED = dict(
    samples=lambda s: [s(s.t(5, distinct=True)), s(s.t(3, 4, distinct=True), 0)],
    no_ref_reason="the kernel of the same family has the reference",
)


@composite(out=True, **_SORTED)
def sort(input: mg.Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Any:
    """Elements in order along a dim, with the positions they came from.

    Args:
        input: tensor of any shape and dtype.
        dim: int in [-ndim, ndim).
        descending: largest first.
        stable: accepted for PyTorch's sake; the order of equal elements is always kept.
    Returns:
        named tuple (values, indices) of the input's shape. NaN counts as largest.
    Gradient:
        each element's gradient goes back to where it came from.
    Example:
        >>> mg.sort(mg.tensor([3., 1., 2.])).indices
        tensor([1, 2, 0])
    """
    return sort_result(*functions["_sort"](input, dim, descending))


@composite(**_SORTED)
def argsort(input: mg.Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> mg.Tensor:
    """Positions that sort the tensor along a dim; equal elements keep their order.

    Args:
        input: tensor of any shape and dtype.
        dim: int in [-ndim, ndim).
        descending: largest first.
        stable: accepted for PyTorch's sake; always stable.
    Returns:
        int64 tensor of the input's shape.
    Example:
        >>> mg.argsort(mg.tensor([3., 1., 2.]))
        tensor([1, 2, 0])
    """
    return functions["_sort"](input, dim, descending)[1]


@composite(out=True, samples=lambda s: [s(s.t(5, distinct=True)), s(s.t(4, 3, distinct=True))], no_ref_reason="_sort has the reference")
def msort(input: mg.Tensor) -> mg.Tensor:
    """Elements in ascending order along the first dim.

    Args:
        input: tensor of any shape and dtype.
    Returns:
        tensor of the input's shape.
    Example:
        >>> mg.msort(mg.tensor([3., 1., 2.]))
        tensor([1., 2., 3.])
    """
    return functions["_sort"](input, 0, False)[0]


@composite(
    out=True,
    samples=lambda s: [s(s.t(5, distinct=True), 2), s(s.t(3, 4, distinct=True), 3, 0, False)],
    no_ref_reason="_topk has the reference",
)
def topk(input: mg.Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest (or smallest) elements along a dim and their positions.

    Args:
        input: tensor of any shape and dtype.
        k: how many, 0 to the size of the dim.
        dim: int in [-ndim, ndim).
        largest: False takes the smallest.
        sorted: the result is always in order, whatever is asked.
    Returns:
        named tuple (values, indices).
    Raises:
        RuntimeError for a k out of range.
    Gradient:
        flows to the chosen elements.
    Example:
        >>> mg.topk(mg.tensor([3., 1., 2.]), 2).values
        tensor([3., 2.])
    """
    return topk_result(*functions["_topk"](input, k, dim, largest, sorted))


@composite(
    out=True,
    separate_out=True,
    samples=lambda s: [s(s.t(5, distinct=True), 2), s(s.t(3, 4, distinct=True), 3, 0)],
    no_ref_reason="_kth has the reference",
)
def kthvalue(input: mg.Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest element along a dim (counted from 1) and its position.

    Args:
        input: tensor of any shape and dtype.
        k: 1 to the size of the dim.
        dim: int in [-ndim, ndim).
        keepdim: keep the reduced dim with size 1.
    Returns:
        named tuple (values, indices).
    Raises:
        RuntimeError for a k out of range; IndexError for an empty dim.
    Example:
        >>> mg.kthvalue(mg.tensor([3., 1., 2.]), 2).values
        tensor(2.)
    """
    return kthvalue_result(*functions["_kth"](input, dim, keepdim, k))


def _median_of(name: str, result: Any, input: mg.Tensor, dim: int | None, keepdim: bool) -> Any:
    kernel = functions["_" + name]
    if dim is not None:
        return result(*kernel(input, dim, keepdim))
    if input.numel() == 0:
        return mg.full((), mg.nan, dtype=input.dtype, device=input.device)
    return kernel(input.reshape(-1), 0, False)[0]


_MEDIAN = dict(out=True, samples=lambda s: [s(s.t(5, distinct=True)), s(s.t(3, 4, distinct=True), 1, True)],
               no_ref_reason="the kernel of the same name has the reference")  # fmt: skip


@composite(**_MEDIAN)
def median(input: mg.Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Median; of an even number of elements the lower one. NaN if there is one.

    Args:
        input: tensor of any shape and dtype.
        dim: None for the whole tensor, or an int.
        keepdim: keep the reduced dim with size 1.
    Returns:
        a 0-d tensor, or a named tuple (values, indices) when dim is given.
    Raises:
        IndexError for an empty dim.
    Example:
        >>> mg.median(mg.tensor([3., 1., 2.]))
        tensor(2.)
    """
    return _median_of("median", median_result, input, dim, keepdim)


@composite(**_MEDIAN)
def nanmedian(input: mg.Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Median of what is not NaN; of an even number of elements the lower one.

    Args:
        input: tensor of any shape and dtype.
        dim: None for the whole tensor, or an int.
        keepdim: keep the reduced dim with size 1.
    Returns:
        a 0-d tensor, or a named tuple (values, indices) when dim is given; NaN where there is nothing else.
    Raises:
        IndexError for an empty dim.
    Example:
        >>> mg.nanmedian(mg.tensor([3., mg.nan, 2.]))
        tensor(2.)
    """
    return _median_of("nanmedian", nanmedian_result, input, dim, keepdim)


@composite(
    out=True,
    samples=lambda s: [s(s.t(5, distinct=True)), s(s.t(3, 4, distinct=True), 1, True)],
    no_ref_reason="_mode has the reference",
)
def mode(input: mg.Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """The most frequent element along a dim (the smallest of several) and its last position.

    Args:
        input: tensor of any shape and dtype.
        dim: int in [-ndim, ndim).
        keepdim: keep the reduced dim with size 1.
    Returns:
        named tuple (values, indices).
    Raises:
        IndexError for an empty dim.
    Example:
        >>> mg.mode(mg.tensor([2., 1., 2.])).values
        tensor(2.)
    """
    return mode_result(*functions["_mode"](input, dim, keepdim))
