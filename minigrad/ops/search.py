"""searchsorted, bucketize and unique. Kernels: csrc/cpu/sort.cpp."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions


def _values(input: Any, like: mg.Tensor) -> mg.Tensor:
    return input if isinstance(input, mg.Tensor) else mg.tensor(input, device=like.device)


@composite(no_samples_reason="needs sorted sequences; tested in tests/test_reduce.py")
def searchsorted(
    sorted_sequence: mg.Tensor, input: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None,
    sorter: mg.Tensor | None = None,
) -> mg.Tensor:  # fmt: skip
    """Positions at which values would have to be inserted into a sorted sequence to keep it sorted.

    Args:
        sorted_sequence: ascending along its last dim; 1-d, or of the input's shape but for the last dim.
        input: tensor or number.
        out_int32: int32 instead of int64 positions.
        right: after equal elements instead of before them.
        side: "left" or "right", the same as `right`.
        sorter: int64 positions that sort the sequence, when it is not sorted itself.
    Returns:
        integer tensor of the input's shape.
    Raises:
        RuntimeError for shapes that do not fit or a contradictory side.
    Example:
        >>> mg.searchsorted(mg.tensor([1., 3., 5.]), mg.tensor([0., 3., 9.]))
        tensor([0, 1, 3])
    """
    if side not in (None, "left", "right"):
        raise RuntimeError(f"searchsorted: side must be 'left' or 'right': got '{side}'")
    if side == "left" and right:
        raise RuntimeError("searchsorted: side and right contradict: got side='left' and right=True. Try one of them alone.")
    return functions["_searchsorted"](sorted_sequence, _values(input, sorted_sequence), sorter, out_int32, right or side == "right")


@composite(no_samples_reason="needs sorted boundaries; tested in tests/test_reduce.py")
def bucketize(input: Any, boundaries: mg.Tensor, *, out_int32: bool = False, right: bool = False) -> mg.Tensor:
    """Number of the bucket each value falls into.

    Args:
        input: tensor or number.
        boundaries: 1-d, ascending.
        out_int32: int32 instead of int64.
        right: boundaries belong to the upper bucket (boundaries[i-1] <= x < boundaries[i]).
    Returns:
        integer tensor of the input's shape.
    Raises:
        RuntimeError when boundaries is not 1-d.
    Example:
        >>> mg.bucketize(mg.tensor([0., 3., 9.]), mg.tensor([1., 3., 5.]))
        tensor([0, 1, 3])
    """
    if boundaries.dim() != 1:
        raise RuntimeError(f"bucketize: boundaries must be 1-d: got shape {tuple(boundaries.shape)}. Try minigrad.searchsorted.")
    return functions["_searchsorted"](boundaries, _values(input, boundaries), None, out_int32, right)


def _run_starts(values: mg.Tensor) -> mg.Tensor:
    """True where a row of a sorted 1-d or 2-d tensor differs from the one before."""
    changed = values[1:] != values[:-1]
    if changed.dim() > 1:
        changed = changed.any(1)
    return mg.cat([mg.ones((min(len(values), 1),), dtype=mg.bool, device=values.device), changed])


@composite(
    no_ref_reason="compared with torch.unique in the tests",
    no_grad_reason="PyTorch defines no gradient of unique either",
    samples=lambda s: [s(s.t(5, distinct=True))],
)
def unique(
    input: mg.Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements, in ascending order.

    Args:
        input: tensor of any shape and dtype.
        sorted: accepted for PyTorch's sake; the result is always sorted.
        return_inverse: also return, for every element, its position in the result.
        return_counts: also return how often each occurs.
        dim: None for elements, or a dim whose slices are compared.
    Returns:
        the distinct elements, or a tuple with inverse and counts as asked. No gradient.
    Example:
        >>> mg.unique(mg.tensor([3, 1, 3]))
        tensor([1, 3])
    """
    rows = input.detach()
    rows = rows.reshape(-1) if dim is None else rows.movedim(dim, 0)
    shape = rows.shape
    keys = rows if rows.dim() == 1 else rows.reshape(shape[0], -1)
    order = mg.arange(len(keys), device=input.device)
    for column in [keys] if keys.dim() == 1 else reversed(keys.unbind(1)):  # least significant column first, each sort stable
        order = order[functions["_sort"](column[order], 0, False)[1]]
    keys = keys[order]
    start = _run_starts(keys)
    result = keys[start]
    if dim is not None:
        result = result.reshape(-1, *shape[1:]).movedim(0, dim)
    extra: list[Any] = []
    if return_inverse:
        inverse = mg.empty_like(order)
        inverse[order] = mg.cumsum(start, 0) - 1
        extra.append(inverse.reshape(input.shape) if dim is None else inverse)
    if return_counts:
        first = start.nonzero().reshape(-1)
        extra.append(mg.cat([first[1:], mg.tensor([len(keys)], device=input.device)]) - first if len(keys) else first)
    return (result, *extra) if extra else result
