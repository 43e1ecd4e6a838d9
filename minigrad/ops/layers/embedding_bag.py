"""embedding_bag: sums, means or maxima of the rows that a bag of indices picks from a table.

`_bag_sum` adds up the rows without copying them first; `_bag_argmax` finds which row is largest per column (both in
csrc/cpu/embedding_bag.cpp). Legend: B bags, n indices in all, D width of a row.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops.shared.struct_doc import numpy


def _np_bag_argmax(weight: Any, indices: Any, starts: Any, padding_idx: int) -> Any:
    np = numpy()
    out = np.full((len(starts) - 1, weight.shape[1]), -1)
    for b in range(len(out)):
        rows = [i for i in indices[starts[b] : starts[b + 1]] if i != padding_idx]
        if rows:
            out[b] = np.array(rows)[weight[rows].argmax(0)]
    return out


def _starts(s: Any, values: list[int]) -> Any:
    from dataclasses import replace

    return replace(s.index(len(values), high=1), values=numpy().array(values))


def _bag_of(indices: Any, starts: Any) -> Any:
    """(n): the bag of each position, found without looking at a value, so that it works inside vmap."""
    places = mg.arange(indices.shape[0], device=starts.device)
    return mg.searchsorted(starts[1:].contiguous(), places, right=True).clamp(max=starts.shape[0] - 2)


def _bag_sum_grads(g: Any, weight: Any, indices: Any, starts: Any, scale: Any, padding_idx: int, needs: tuple[bool, ...]) -> tuple:
    """Each picked row gets its bag's gradient times its factor; each factor the product of its row and that gradient."""
    places = mg.arange(indices.shape[0], device=starts.device)
    unused = (indices == padding_idx) | (places < starts[0]) | (places >= starts[-1])
    rows = g.index_select(0, _bag_of(indices, starts)).masked_fill(unused.unsqueeze(1), 0)
    by_weight = by_scale = None
    if needs[0]:
        scaled = rows if scale is None else rows * scale.unsqueeze(1)
        by_weight = mg.zeros_like(weight).index_add(0, indices, scaled)
    if scale is not None and needs[3]:
        by_scale = (rows * weight.index_select(0, indices)).sum(1)
    return by_weight, None, None, by_scale


def _np_bag_sum(weight: Any, indices: Any, starts: Any, scale: Any, padding_idx: int) -> Any:
    np = numpy()
    out = np.zeros((len(starts) - 1, weight.shape[1]))
    for b in range(len(out)):
        for i in range(starts[b], starts[b + 1]):
            if indices[i] != padding_idx:
                out[b] += weight[indices[i]] * (1 if scale is None else scale[i])
    return out


op(
    "_bag_sum(weight, indices, starts, scale?, padding_idx: int) -> out",
    meta="bag_sum",
    namespace=None,
    method=False,
    grads=_bag_sum_grads,
    ref=_np_bag_sum,
    samples=lambda s: [
        s(s.t(5, 3), s.index(6, high=4), _starts(s, [0, 2, 2, 6]), None, -1),
        s(s.t(5, 3), s.index(6, high=4), _starts(s, [0, 6]), s.t(6), 2),
    ],
    doc="For every bag b the sum of the rows of weight picked by indices[starts[b]:starts[b + 1]], each times its factor"
    " in scale (n), if given, without padding_idx; zeros for an empty bag.",
)

op(
    "_bag_argmax(weight, indices, starts, padding_idx: int) -> out",
    meta="bag_argmax",
    namespace=None,
    method=False,
    no_grad_reason="integers",
    dtypes=("float64", "float32"),
    ref=_np_bag_argmax,
    samples=lambda s: [
        s(s.t(5, 3, distinct=True), s.index(6, high=4), _starts(s, [0, 2, 2, 6]), -1),
        s(s.t(5, 3, distinct=True), s.index(6, high=4), _starts(s, [0, 6]), 2),
    ],
    doc="For every bag b and column the row of weight that is largest among indices[starts[b]:starts[b + 1]], without"
    " padding_idx; -1 for an empty bag.",
)


def _np_embedding_bag(input: Any, weight: Any, offsets: Any = None, **named: Any) -> Any:
    np = numpy()
    if input.ndim == 2:
        offsets, input = np.arange(input.shape[0]) * input.shape[1], input.reshape(-1)
    ends = [*offsets[1:], len(input)]
    reduce = {"sum": lambda x: x.sum(0), "mean": lambda x: x.mean(0), "max": lambda x: x.max(0)}[named.get("mode", "mean")]
    bags = [weight[input[a:b]] for a, b in zip(offsets, ends, strict=True)]
    return np.stack([reduce(b) if len(b) else np.zeros(weight.shape[1]) for b in bags])


def _check(input: Any, weight: Any, offsets: Any, mode: str, per_sample_weights: Any) -> None:
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"embedding_bag: mode has to be one of sum, mean or max: got {mode!r}.")
    if weight.dtype == mg.int64 and input.is_floating_point():
        raise RuntimeError(
            "embedding_bag: the order of the arguments is (input, weight): got a floating input and an int64 weight."
        )
    if input.dtype not in (mg.int32, mg.int64):
        raise RuntimeError(f"embedding_bag: input must hold int64 or int32 indices: got {input.dtype}.")
    if weight.dim() != 2:
        raise RuntimeError(f"embedding_bag: weight must be 2-D: got {tuple(weight.shape)}.")
    if input.dim() not in (1, 2):
        raise ValueError(f"embedding_bag: input has to be 1D or 2D: got {input.dim()}D.")
    if input.dim() == 2 and offsets is not None:
        raise ValueError("embedding_bag: a 2D input is a batch of bags of one length, offsets must be None.")
    if input.dim() == 1 and (offsets is None or offsets.dim() != 1):
        raise ValueError("embedding_bag: a 1D input needs 1D offsets that say where each bag begins.")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(f"embedding_bag: per_sample_weights need mode='sum': got mode {mode!r}.")
    if per_sample_weights is not None and per_sample_weights.shape != input.shape:
        raise ValueError(
            f"embedding_bag: per_sample_weights must have the input's shape {tuple(input.shape)}: got"
            f" {tuple(per_sample_weights.shape)}."
        )
    if per_sample_weights is not None and per_sample_weights.dtype != weight.dtype:
        raise RuntimeError(
            f"embedding_bag: per_sample_weights must have weight's dtype {weight.dtype}: got {per_sample_weights.dtype}."
        )


def _bag_starts(input: Any, offsets: Any, include_last_offset: bool) -> Any:
    """(B + 1): where each bag begins, and the end of the last."""
    n = input.numel()
    if input.dim() == 2:
        return mg.arange(input.shape[0] + 1, device=input.device) * input.shape[1]
    offsets = offsets.to(mg.int64)
    if include_last_offset and offsets.numel() == 0:
        raise RuntimeError("embedding_bag: include_last_offset needs at least one offset.")
    given = mg.op.all_values(offsets)  # inside vmap: of all slices
    if offsets.numel() and bool((given[..., 0] != 0).any()):
        raise RuntimeError(f"embedding_bag: offsets[0] has to be 0: got {given[..., 0].tolist()}.")
    if offsets.numel() and int(given.max()) > n:
        raise RuntimeError(f"embedding_bag: offsets must not exceed the length {n} of input: got {int(given.max())}.")
    if include_last_offset:
        return mg.cat([offsets[:-1], offsets.new_full((1,), n)])
    return mg.cat([offsets, offsets.new_full((1,), n)])


def _largest(weight: Any, indices: Any, starts: Any, padding_idx: int) -> Any:
    best = functions["_bag_argmax"](weight.detach(), indices, starts, padding_idx)
    picked = weight.gather(0, best.clamp(min=0))
    return mg.where(best >= 0, picked, mg.zeros_like(picked))


@composite(
    "nn.functional",
    ref=_np_embedding_bag,
    dtypes=("float64", "float32"),
    samples=lambda s: [
        s(s.index(2, 3, high=5), s.t(5, 2)),
        s(s.index(6, high=5), s.t(5, 2), _starts(s, [0, 2, 2]), mode="sum"),
        s(s.index(2, 3, high=5), s.t(5, 2, distinct=True), mode="max"),
    ],
)
def embedding_bag(
    input: mg.Tensor,
    weight: mg.Tensor,
    offsets: mg.Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: mg.Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> mg.Tensor:
    """Sum, mean or maximum of the rows that each bag of indices picks from a table.

    Args:
        input: (B, n) bags of one length, or (n) with `offsets`; int64 or int32.
        weight: (rows, D).
        offsets: (B) where each bag begins in a 1-D input; bags may be empty.
        max_norm: rows used are first scaled (in place) to at most this norm.
        norm_type: which norm `max_norm` means.
        scale_grad_by_freq: divide a row's gradient by how often it was picked.
        mode: "sum", "mean" or "max".
        sparse: give `weight` a sparse COO gradient of the rows that were used ("sum" and "mean").
        per_sample_weights: factor of each picked row, only for "sum".
        include_last_offset: offsets has one more entry, the end of the last bag.
        padding_idx: row that counts in no bag and gets no gradient.
    Returns:
        (B, D), zeros for an empty bag.
    Raises:
        ValueError and RuntimeError for arguments that do not fit; IndexError for an index out of range.
    Example:
        >>> table = mg.tensor([[1., 2.], [3., 4.]])
        >>> mg.nn.functional.embedding_bag(mg.tensor([[0, 1], [1, 1]]), table)
        tensor([[2., 3.],
                [3., 4.]])
    """
    _check(input, weight, offsets, mode, per_sample_weights)
    rows = weight.shape[0]
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise RuntimeError(f"embedding_bag: padding_idx must be within the number of rows {rows}: got {padding_idx}.")
        padding_idx %= rows
    starts = _bag_starts(input, offsets, include_last_offset)
    indices = input.reshape(-1).to(mg.int64)
    if max_norm is not None:
        mg.nn.functional.embedding(indices, weight, None, max_norm, norm_type)  # scales the rows in place
    if mode == "max":
        return _largest(weight, indices, starts, -1 if padding_idx is None else padding_idx)
    padding = -1 if padding_idx is None else padding_idx
    factors = None if per_sample_weights is None else per_sample_weights.reshape(-1)
    if scale_grad_by_freq or sparse:  # embedding knows how to divide the gradient of a row by how often it was picked, and to make it sparse
        picked = mg.nn.functional.embedding(indices, weight, padding_idx, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)
        picked = picked.masked_fill((indices == padding).unsqueeze(1), 0)
        total = functions["_bag_sum"](picked, mg.arange(len(indices), device=indices.device), starts, factors, -1)
    else:
        total = functions["_bag_sum"](weight, indices, starts, factors, padding)
    if mode == "sum":
        return total
    counts = starts[1:] - starts[:-1]
    if padding_idx is not None:
        counts = mg.zeros_like(counts).index_add(0, _bag_of(indices, starts), (indices != padding_idx).to(mg.int64))
    return total / counts.clamp(min=1).unsqueeze(1).to(total.dtype)
