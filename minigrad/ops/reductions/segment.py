"""Reductions into targets: index_reduce, segment_reduce; masked indexing; as_strided_scatter. Composites of _index_reduce, scatter_reduce,
index_put and views.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions
from minigrad.ops.shared.check import expect_tensors
from minigrad.ops.views.shape import _wrap


# --- index_reduce -----------------------------------------------------------------------------------------------------
def _check_index_reduce(name: str, reduce: str, **tensors: Any) -> None:
    expect_tensors(name, **tensors)
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"{name}: reduce must be one of 'prod', 'mean', 'amax', 'amin': got '{reduce}'")


@composite(
    samples=lambda s: [s(s.t(3, 4, distinct=True), 0, s.index(5, high=3), s.t(5, 4, distinct=True, high=1.87), how, include_self=own)
                       for how in ("prod", "mean", "amax", "amin") for own in (True, False)],
    no_ref_reason="scatter_reduce is checked against PyTorch",
)  # fmt: skip
def index_reduce(
    input: mg.Tensor, dim: int, index: mg.Tensor, source: mg.Tensor, reduce: str, *, include_self: bool = True,
    out: mg.Tensor | None = None,
) -> mg.Tensor:  # fmt: skip
    """Combines source into the slices that an index names, by a reduction.

    Args:
        input: any tensor.
        dim: the dimension.
        index: 1-d int64 or int32 tensor, not negative.
        source: input's shape with len(index) in `dim`, and input's dtype.
        reduce: "prod", "mean", "amax" or "amin".
        include_self: whether input's own slice takes part where something is written.
        out: tensor to write into.
    Returns:
        a tensor of input's shape.
    Raises:
        IndexError for an index out of range, RuntimeError for shapes, dtypes or another reduce.
    Gradient:
        ties of amax and amin share it evenly.
    Example:
        >>> mg.zeros(2).index_reduce(0, mg.tensor([1, 1]), mg.tensor([3., 4.]), "amax")
        tensor([0., 4.])
    """
    _check_index_reduce("index_reduce", reduce, input=input, index=index, source=source)
    if out is None:
        return functions["_index_reduce"](input, dim, index, source, reduce, include_self)
    return functions["_index_reduce"](input, dim, index, source, reduce, include_self, out=out)


@composite(namespace=(), method=True, no_samples_reason="writes in place; the form without underscore has them")
def index_reduce_(
    input: mg.Tensor, dim: int, index: mg.Tensor, source: mg.Tensor, reduce: str, *, include_self: bool = True
) -> mg.Tensor:
    """In-place form of `index_reduce`.

    Args:
        input: overwritten.
        dim, index, source, reduce, include_self: as for index_reduce.
    Returns:
        input.
    Raises:
        as index_reduce, before anything is written.
    Example:
        >>> mg.zeros(2).index_reduce_(0, mg.tensor([1]), mg.tensor([3.]), "amax")
        tensor([0., 3.])
    """
    _check_index_reduce("index_reduce_", reduce, input=input, index=index, source=source)
    return functions["_index_reduce_"](input, dim, index, source, reduce, include_self)


# --- segment_reduce ---------------------------------------------------------------------------------------------------
_START = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": -mg.inf, "min": mg.inf}


def _segment_lengths(data: mg.Tensor, lengths: Any, offsets: Any, axis: int, unsafe: bool) -> mg.Tensor:
    if lengths is None and offsets is None:
        raise RuntimeError("segment_reduce: either lengths or offsets must be given")
    given = lengths if lengths is not None else offsets
    if given.dtype not in (mg.int64, mg.int32):
        raise RuntimeError(f"segment_reduce: lengths and offsets must be int64 or int32: got {given.dtype}")
    if given.dim() == 0 or given.dim() != axis + 1 or tuple(given.shape[:axis]) != tuple(data.shape[:axis]):
        raise RuntimeError(f"segment_reduce: lengths (offsets) must have data's sizes before axis {axis} and one dim more: "
                           f"got {tuple(given.shape)} for data of shape {tuple(data.shape)}")  # fmt: skip
    given = given.to(mg.int64)
    counts = given if lengths is not None else given[..., 1:] - given[..., :-1]
    if not unsafe:
        if bool(mg.op.all_values(counts < 0).any()):
            raise RuntimeError("segment_reduce: lengths contain negative values")
        if counts.numel() and lengths is not None and bool(mg.op.all_values(counts.sum(-1) != data.shape[axis]).any()):
            raise RuntimeError(f"segment_reduce: the lengths of a row must add up to data's size along axis {axis}, "
                               f"{data.shape[axis]}")  # fmt: skip
    return counts


def _long_runs(data: mg.Tensor, reduce: str, d: int, begin: int, counts: list[int], initial: float | None) -> mg.Tensor:
    """Few long runs: an ordinary reduction of each slice, many times faster than scattering every element."""
    how = {"sum": "sum", "mean": "mean", "prod": "prod", "max": "amax", "min": "amin"}[reduce]
    join = {"sum": mg.add, "prod": mg.mul, "max": mg.maximum, "min": mg.minimum}.get(reduce)
    start = _START[reduce] if initial is None else initial
    rows = []
    for n in counts:
        run = functions["narrow"](data, d, begin, n)
        begin += n
        if n == 0:
            empty = mg.nan if reduce == "mean" and initial is None else start
            rows.append(mg.full((*data.shape[:d], *data.shape[d + 1 :]), empty, dtype=data.dtype, device=data.device))
            continue
        row = getattr(run, how)(d) if how != "mean" or initial is None else (run.sum(d) + initial) / n
        rows.append(row if join is None or initial is None else join(row, mg.tensor(start, dtype=data.dtype)))
    return mg.stack(rows, d)


@composite(
    method=False, aliases=("_segment_reduce",), no_ref_reason="checked against PyTorch",
    samples=lambda s: [s(s.f(6, 2, distinct=True), how, lengths=s.of([2, 1, 3], dtype="int64"))
                       for how in ("sum", "mean", "prod", "max", "min")]
    + [s(s.f(6, distinct=True), "sum", offsets=s.of([0, 2, 2, 6], dtype="int64"))],
)  # fmt: skip
def segment_reduce(
    data: mg.Tensor, reduce: str, *, lengths: mg.Tensor | None = None, indices: mg.Tensor | None = None,
    offsets: mg.Tensor | None = None, axis: int = 0, unsafe: bool = False, initial: float | None = None,
) -> mg.Tensor:  # fmt: skip
    """Reduces runs of neighbouring elements along an axis.

    Args:
        data: floating tensor.
        reduce: "sum", "mean", "prod", "max" or "min".
        lengths: int64 lengths of the runs, with data's sizes before `axis`.
        indices: not supported, as in PyTorch.
        offsets: where the runs begin, and the end of the last, instead of lengths.
        axis: the axis.
        unsafe: skip the checks of the lengths.
        initial: start value of every run; an empty run gives it, or 0 (sum), nan (mean), 1, -inf (max), inf (min).
    Returns:
        data's shape with the number of runs at `axis`.
    Raises:
        RuntimeError for lengths that do not fit or an unknown reduce.
    Gradient:
        ties of max and min share it evenly.
    Example:
        >>> mg.segment_reduce(mg.tensor([1., 2., 3.]), "sum", lengths=mg.tensor([2, 1]))
        tensor([3., 3.])
    """
    if reduce not in _START:
        raise RuntimeError(f"segment_reduce: reduce must be one of {tuple(_START)}: got '{reduce}'")
    if indices is not None:
        raise RuntimeError("segment_reduce: indices are not supported. Try lengths or offsets.")
    if not data.is_floating_point():
        raise RuntimeError(f"segment_reduce: needs a floating tensor: got {data.dtype}. Try x.float().")
    d = _wrap(axis, data.dim(), "segment_reduce")
    counts = _segment_lengths(data, lengths, offsets, d, unsafe)
    runs = counts.shape[-1]
    flat = counts.reshape(-1, runs)
    if len(flat) == 1 and 0 < runs << 10 <= data.shape[d] and not mg.op.is_dataless(data) and not mg.op.is_dataless(counts):
        begin = 0 if offsets is None else int(offsets.reshape(-1)[0])
        if begin >= 0 and begin + int(counts.sum()) <= data.shape[d] and bool((counts >= 0).all()):
            return _long_runs(data, reduce, d, begin, flat[0].tolist(), initial)
    first = data.new_zeros(len(flat), dtype=mg.int64) if offsets is None else offsets.to(mg.int64).reshape(-1, runs + 1)[:, 0]
    ends = flat.cumsum(1) + first.unsqueeze(1)
    # Run of each position: the number of ends at or before it; positions outside all runs go to one more run at the end.
    if len(flat) == 1 and not unsafe and lengths is not None:
        run = functions["_repeat_index"](flat[0])
    else:
        places = mg.arange(data.shape[d], device=data.device).expand(len(flat), data.shape[d]).contiguous()
        run = functions["_searchsorted"](ends, places, None, False, True).masked_fill(places < first.unsqueeze(1), runs)
    index = run.reshape(*data.shape[:d], -1, *(1,) * (data.dim() - d - 1)).expand(data.shape)
    shape = (*data.shape[:d], runs + 1, *data.shape[d + 1 :])
    start = _START[reduce] if initial is None else initial
    how = {"max": "amax", "min": "amin", "mean": "sum"}.get(reduce, reduce)
    result = mg.full(shape, start, dtype=data.dtype, device=data.device).scatter_reduce(d, index, data, how)
    result = functions["narrow"](result, d, 0, runs)
    if reduce == "mean":
        sizes = counts.reshape(*data.shape[:d], runs, *(1,) * (data.dim() - d - 1))
        empty = sizes == 0
        result = result / sizes.masked_fill(empty, 1)
        result = result.masked_fill(empty.expand(result.shape), mg.nan if initial is None else initial)
    return result.contiguous()


# --- masked indexing --------------------------------------------------------------------------------------------------
def _clamped(input: mg.Tensor, indices: Any) -> list[Any]:
    return [None if i is None else i.clamp(-input.shape[d], input.shape[d] - 1) for d, i in enumerate(indices)]


@composite(method=False, samples=lambda s: [s(s.t(4, 3), s.mask(5, 1), [s.index(5, high=9)], 1.0)], no_ref_reason="index is checked")
def _unsafe_masked_index(input: mg.Tensor, mask: mg.Tensor, indices: Any, fill: float) -> mg.Tensor:
    """x[indices] where a mask is True, else `fill`; indices under the mask's False may be out of range.

    Args:
        input: any tensor.
        mask: bool tensor that broadcasts with the result.
        indices: one int64 tensor or None per dimension.
        fill: value of the others.
    Returns:
        a tensor of the shape of x[indices].
    Raises:
        IndexError for other indices.
    Example:
        >>> mg._unsafe_masked_index(mg.tensor([1, 2]), mg.tensor([True, False]), [mg.tensor([1, 9])], 0)
        tensor([2, 0])
    """
    if input.numel() == 0:
        return functions["index"](input, indices).masked_fill(mask.logical_not(), fill)
    return functions["index"](input, _clamped(input, indices)).masked_fill(mask.logical_not(), fill)


@composite(method=False, samples=lambda s: [s(s.t(4, 3), s.mask(5, 1), [s.index(5, high=9)], s.t(5, 3))],
           no_ref_reason="index_put is checked")  # fmt: skip
def _unsafe_masked_index_put_accumulate(input: mg.Tensor, mask: mg.Tensor, indices: Any, values: mg.Tensor) -> mg.Tensor:
    """Adds values at x[indices] where a mask is True; indices under the mask's False may be out of range.

    Args:
        input: any tensor.
        mask: bool tensor that broadcasts with values.
        indices: one int64 tensor or None per dimension.
        values: what to add.
    Returns:
        a tensor of input's shape.
    Raises:
        IndexError for other indices.
    Example:
        >>> mg._unsafe_masked_index_put_accumulate(mg.tensor([1, 2]), mg.tensor([True, False]), [mg.tensor([1, 9])], mg.tensor([5, 5]))
        tensor([1, 7])
    """
    if input.numel() == 0:
        return input.clone()
    return functions["index_put"](input, _clamped(input, indices), values.masked_fill(mask.logical_not(), 0), True)


# --- any geometry -----------------------------------------------------------------------------------------------------
@composite(samples=lambda s: [s(s.t(2, 3), s.t(2, 2), (2, 2), (1, 2)), s(s.t(6), s.t(2), (2,), (2,), 1)],
           no_layouts_reason="reads the storage, whatever its layout", no_ref_reason="checked against PyTorch",
           no_torch_reason="PyTorch's gradient keeps what is replaced and drops the rest")  # fmt: skip
def as_strided_scatter(input: mg.Tensor, src: mg.Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> mg.Tensor:
    """A copy of input with the elements that `as_strided` shows replaced by those of src.

    Args:
        input: any tensor.
        src: new values, of shape `size`.
        size, stride, storage_offset: as for as_strided.
    Returns:
        a tensor of input's shape.
    Raises:
        RuntimeError when the geometry leaves the storage or src does not fit.
    Gradient:
        zero for what is replaced; src gets its elements.
    Example:
        >>> mg.zeros(4).as_strided_scatter(mg.ones(2), (2,), (2,))
        tensor([1., 0., 1., 0.])
    """
    if tuple(src.shape) != tuple(size):
        raise RuntimeError(f"as_strided_scatter: expected src to have shape {tuple(size)}: got {tuple(src.shape)}")
    functions["as_strided"](input.detach(), size, stride, storage_offset)  # the checks, before anything is copied
    if input.is_contiguous() and input.storage_offset() == 0:
        base = mg.op.batched_as(input.clone(), src)
    else:  # a copy of all that the geometry may reach, seen as the input sees its storage
        reach = 1 + sum((n - 1) * step for n, step in zip(input.shape, input.stride()))
        own, given = input.storage_offset(), storage_offset or 0
        reach = max(own + reach, 1 + given + sum((n - 1) * step for n, step in zip(size, stride)))
        whole = mg.op.batched_as(functions["as_strided"](input, (reach,), (1,), 0).clone(), src)
        base = functions["as_strided"](whole, input.shape, input.stride(), own)
    functions["as_strided"](base, size, stride, storage_offset).copy_(src)
    return base
