"""Combinations and positions: combinations, unravel_index, nonzero_static; sum_to_size. All are composites."""

from __future__ import annotations

import itertools
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions
from minigrad.ops.shared.check import expect_tensors
from minigrad.ops.shared.struct_doc import numpy

_MOST, _LARGEST_R = 1 << 40, 512  # numbers in a result of combinations; its work grows with r squared


def _choose(n: int, r: int) -> int:
    """n over r, or something beyond _MOST as soon as it is clear that it is that large."""
    total = 1 if r <= n else 0
    for k in range(min(r, n - r)):
        total = total * (n - k) // (k + 1)
        if total > _MOST:
            break
    return total


@composite(
    samples=lambda s: [s(s.t(4)), s(s.t(4), 3), s(s.t(3), 2, True), s(s.t(3), 1), s(s.t(2), 3), s(s.t(3), 0), s(s.t(0), 2)],
    ref=lambda input, r=2, with_replacement=False: numpy().array(
        list((itertools.combinations_with_replacement if with_replacement else itertools.combinations)(input, r))
    ).reshape((-1, r) if r else (0,)),
)
def combinations(input: mg.Tensor, r: int = 2, with_replacement: bool = False) -> mg.Tensor:
    """All ways to choose r elements of a vector, in the order of itertools.combinations.

    Args:
        input: 1-d tensor.
        r: how many to choose.
        with_replacement: whether an element may be chosen several times.
    Returns:
        (number of combinations, r) matrix; of r == 0 an empty vector.
    Raises:
        RuntimeError for another number of dimensions or a negative r.
    Example:
        >>> mg.combinations(mg.tensor([1, 2, 3])).tolist()
        [[1, 2], [1, 3], [2, 3]]
    """
    if input.dim() != 1:
        raise RuntimeError(f"combinations: expected a 1-d vector: got shape {tuple(input.shape)}")
    if r < 0:
        raise RuntimeError(f"combinations: expected a non-negative number of elements: got {r}")
    if r == 0:
        return mg.empty(0, dtype=input.dtype, device=input.device)
    n = input.shape[0]
    total = _choose(n + r - 1 if with_replacement and n else n, r)
    if total * r > _MOST or (total and r > _LARGEST_R):
        raise RuntimeError(f"combinations: too many numbers: got {n} elements taken {r} at a time. Try a smaller r.")
    if total == 0:
        return functions["narrow"](input, 0, 0, 0).unsqueeze(1).expand(0, r)  # empty, with the input's history
    columns = [mg.arange(n, device=input.device)]
    for _ in range(r - 1):  # every row grows by each of the elements that may follow its last one
        first = columns[-1] if with_replacement else columns[-1] + 1
        counts = n - first
        columns = [functions["repeat_interleave"](c, counts) for c in columns]
        ends = counts.cumsum(0)
        step = mg.arange(len(columns[0]), device=input.device) - functions["repeat_interleave"](ends - counts, counts)
        columns.append(functions["repeat_interleave"](first, counts) + step)
    return functions["stack"]([functions["index_select"](input, 0, c) for c in columns], 1)


@composite(method=False, no_grad_reason="integers", samples=lambda s: [s(s.index(5, high=12), (3, 4)), s(s.index(2, 2, high=7), 7)],
           ref=lambda indices, shape: numpy().unravel_index(indices, shape))  # fmt: skip
def unravel_index(indices: mg.Tensor, shape: Any) -> tuple[mg.Tensor, ...]:
    """Coordinates of flat positions in a tensor of a shape.

    Args:
        indices: integer tensor.
        shape: int or sequence of ints.
    Returns:
        one tensor of the shape of indices per dimension.
    Raises:
        TypeError for indices that are no tensor or a shape that is no int or sequence of ints; ValueError for non-integer indices, negative sizes or
        positions outside.
    Example:
        >>> mg.unravel_index(mg.tensor([4, 7]), (3, 3))
        (tensor([1, 2]), tensor([1, 1]))
    """
    expect_tensors("unravel_index", indices=indices)
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == mg.bool:
        raise ValueError(f"unravel_index: expected indices to be an integer tensor: got {indices.dtype}")
    sizes = (shape,) if isinstance(shape, int) else shape
    if not isinstance(sizes, (tuple, list)) or not all(isinstance(n, int) and not isinstance(n, bool) for n in sizes):
        raise TypeError(f"unravel_index: expected shape to be an int or a sequence of ints: got {shape!r}")
    if any(n < 0 for n in sizes):
        raise ValueError(f"unravel_index: shape cannot have negative values: got {tuple(sizes)}")
    coordinates, left = [], indices.to(mg.int64)
    for n in reversed(sizes):
        coordinates.append(left % n if n else left)
        left = mg.div(left, n, rounding_mode="floor") if n else left
    return tuple(reversed(coordinates))


@composite(no_grad_reason="integers", samples=lambda s: [s(s.mask(3, 4), size=5), s(s.mask(7), size=9, fill_value=-7), s(s.mask(), size=2)],
           no_ref_reason="nonzero has the reference")  # fmt: skip
def nonzero_static(input: mg.Tensor, *, size: int, fill_value: int = -1, out: mg.Tensor | None = None) -> mg.Tensor:
    """`nonzero` with a fixed number of rows: cut off, or filled up.

    Args:
        input: any tensor.
        size: number of rows, 0 or more.
        fill_value: what rows without an element hold.
        out: int64 tensor to write into.
    Returns:
        (size, input.dim()) int64 tensor.
    Raises:
        RuntimeError for a negative size.
    Example:
        >>> mg.nonzero_static(mg.tensor([0, 5, 6]), size=3).tolist()
        [[1], [2], [-1]]
    """
    if size < 0:
        raise RuntimeError(f"nonzero_static: size must be non-negative: got {size}")
    found = functions["_nonzero"](input)[:size]
    fill = mg.full((size - found.shape[0], input.dim()), fill_value, dtype=mg.int64, device=input.device)
    found = functions["cat"]([found, fill], 0)
    return found if out is None else out.resize_(found.shape).copy_(found)


@composite(namespace=(), method=True, samples=lambda s: [s(s.t(3, 4), (1, 4)), s(s.t(2, 3, 4), (3, 1)), s(s.t(3), (3,)), s(s.t(3), ())],
           no_ref_reason="sum has the reference")  # fmt: skip
def sum_to_size(input: mg.Tensor, *size: Any) -> mg.Tensor:
    """Sums the dims along which a tensor of that size would have been broadcast to the input's shape.

    Args:
        input: any tensor.
        size: sizes, as numbers or one sequence.
    Returns:
        a tensor of that size (bools and integers in int64 where something is summed).
    Raises:
        RuntimeError when it does not broadcast to the input's shape.
    Example:
        >>> mg.ones(2, 3).sum_to_size(1, 3).tolist()
        [[2.0, 2.0, 2.0]]
    """
    shape = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else size
    lead = input.dim() - len(shape)
    if lead < 0 or any(n not in (1, m) for n, m in zip(shape, input.shape[lead:])):
        raise RuntimeError(f"sum_to_size: size {tuple(shape)} is not expandable to size {tuple(input.shape)}")
    if not shape:
        return input.sum()
    dims = [d for d in range(input.dim()) if d < lead or (shape[d - lead] == 1 and input.shape[d] != 1)]
    summed = input.sum(dims, True) if dims else input
    return summed.reshape(shape) if lead else summed
