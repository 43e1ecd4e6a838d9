"""searchsorted and bucketize. Kernels: csrc/cpu/sort.cpp."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions


def _values(input: Any, like: mg.Tensor) -> mg.Tensor:
    return input if isinstance(input, mg.Tensor) else mg.tensor(input, device=like.device)


@composite(out=True, no_samples_reason="needs sorted sequences; tested in tests/test_reduce.py")
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


@composite(out=True, no_samples_reason="needs sorted boundaries; tested in tests/test_reduce.py")
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
