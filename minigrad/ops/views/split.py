"""Cutting a tensor into views: split, chunk, tensor_split, hsplit, unbind. All are composites."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import minigrad as mg
from minigrad.op import composite, functions
from minigrad.ops.views.shape import _wrap


def _pieces(input: mg.Tensor, sizes: Sequence[int], dim: int) -> tuple[mg.Tensor, ...]:
    narrow, start, out = functions["narrow"], 0, []
    for size in sizes:
        out.append(narrow(input, dim, start, size))
        start += size
    return tuple(out)


@composite(method=False, samples=lambda s: [s(s.t(5, 2), 2), s(s.t(5, 2), (1, 4)), s(s.t(2, 5), 3, dim=-1), s(s.t(4), 9)])
def split(tensor: mg.Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[mg.Tensor, ...]:
    """Cuts a dimension into pieces of a given size, or of given sizes.

    Args:
        tensor: at least 1 dimension.
        split_size_or_sections: size of each piece (the last may be smaller), or the list of sizes.
        dim: the dimension.
    Returns:
        tuple of views.
    Raises:
        RuntimeError when the sizes do not add up or are negative.
    Example:
        >>> [p.tolist() for p in mg.arange(5).split(2)]
        [[0, 1], [2, 3], [4]]
    """
    if tensor.dim() == 0:
        raise RuntimeError("split: expects at least a 1-dimensional tensor")
    d = _wrap(dim, tensor.dim(), "split")
    total = tensor.shape[d]
    if isinstance(split_size_or_sections, (list, tuple)):
        if sum(split_size_or_sections) != total or any(n < 0 for n in split_size_or_sections):
            raise RuntimeError(
                f"split: split sizes must be non-negative and sum to {total} (size of dimension {d}): got "
                f"{tuple(split_size_or_sections)}"
            )
        return _pieces(tensor, split_size_or_sections, d)
    step = int(split_size_or_sections)
    if step < 0 or (step == 0 and total != 0):
        raise RuntimeError(f"split: split_size must be positive, or 0 for a dimension of size 0: got {step} for size "
        f"{total}")
    if total == 0:
        return (functions["narrow"](tensor, d, 0, 0),)
    return _pieces(tensor, [min(step, total - start) for start in range(0, total, step)], d)


@composite(samples=lambda s: [s(s.t(5, 2), [2, 3]), s(s.t(2, 5), [0, 4, 1], 1)])
def split_with_sizes(input: mg.Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[mg.Tensor, ...]:
    """`split` with a list of sizes.

    Args:
        input: at least 1 dimension.
        split_sizes: sizes of the pieces.
        dim: the dimension.
    Returns:
        tuple of views.
    Raises:
        RuntimeError when the sizes do not add up.
    Example:
        >>> [p.tolist() for p in mg.arange(3).split_with_sizes([1, 2])]
        [[0], [1, 2]]
    """
    return split(input, list(split_sizes), dim)


@composite(samples=lambda s: [s(s.t(5, 2), 2), s(s.t(2, 6), 4, -1), s(s.t(3), 5)])
def chunk(input: mg.Tensor, chunks: int, dim: int = 0) -> tuple[mg.Tensor, ...]:
    """Cuts a dimension into at most `chunks` pieces of equal size (the last may be smaller).

    Args:
        input: at least 1 dimension.
        chunks: at least 1; fewer pieces come out when the size does not suffice.
        dim: the dimension.
    Returns:
        tuple of views.
    Raises:
        RuntimeError for chunks < 1.
    Example:
        >>> [p.tolist() for p in mg.arange(5).chunk(2)]
        [[0, 1, 2], [3, 4]]
    """
    if input.dim() == 0:
        raise RuntimeError("chunk: expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk: expects `chunks` to be greater than 0, got: {chunks}")
    d = _wrap(dim, input.dim(), "chunk")
    total = input.shape[d]
    if total == 0:
        if chunks > 1 << 24:
            raise RuntimeError(f"chunk: too many sections for a dimension of size 0: got {chunks}")
        return _pieces(input, [0] * chunks, d)
    return split(input, -(-total // chunks), d)


@composite(samples=lambda s: [s(s.t(5, 2), 3), s(s.t(5, 2), (1, 3)), s(s.t(2, 5), 2, dim=1)])
def tensor_split(
    input: mg.Tensor, indices_or_sections: int | Sequence[int] | mg.Tensor, dim: int = 0, *,
    sections: int | None = None, indices: Sequence[int] | None = None,
) -> tuple[mg.Tensor, ...]:  # fmt: skip
    """Cuts a dimension into n pieces of nearly equal size, or at given positions (NumPy's array_split).

    Args:
        input: at least 1 dimension.
        indices_or_sections: number of pieces, or the positions of the cuts.
        dim: the dimension.
        sections, indices: the same, by name.
    Returns:
        tuple of views.
    Raises:
        RuntimeError for fewer than 1 piece.
    Example:
        >>> [p.tolist() for p in mg.arange(5).tensor_split(3)]
        [[0, 1], [2, 3], [4]]
    """
    cuts = indices_or_sections
    if isinstance(cuts, mg.Tensor):
        cuts = cuts.tolist()
    if input.dim() == 0:
        raise RuntimeError("tensor_split: expected at least a 1-dimensional tensor, got a 0-d one")
    d = _wrap(dim, input.dim(), "tensor_split")
    total = input.shape[d]
    if isinstance(cuts, int):
        if cuts <= 0:
            raise RuntimeError(f"tensor_split: number of sections must be larger than 0, got {cuts}")
        if cuts > total + (1 << 24):
            raise RuntimeError(f"tensor_split: too many sections for a dimension of size {total}: got {cuts}")
        small, larger = divmod(total, cuts)
        return _pieces(input, [small + (k < larger) for k in range(cuts)], d)
    bounds = [0, *map(operator.index, cuts), total]
    take = functions["_slice"]
    return tuple(take(input, d, a, b if k + 2 < len(bounds) else None) for k,
                 (a, b) in enumerate(zip(bounds, bounds[1:])))


_AXIS_DOC = """`tensor_split` into equal parts along {where}.

    Args:
        input: at least {least} dimension(s).
        indices_or_sections: number of equal pieces, or positions of the cuts.
    Returns:
        tuple of views.
    Raises:
        RuntimeError when the size is not divisible.
    Example:
        >>> [p.shape for p in mg.zeros(4, 4, 4).{name}(2)]
        [minigrad.Size([{shape}]), minigrad.Size([{shape}])]
    """


def _declare_axis_split(name: str, where: str, dim: int, least: int, shape: str) -> None:
    def axis_split(input: mg.Tensor, indices_or_sections: int | Sequence[int]) -> tuple[mg.Tensor, ...]:
        if input.dim() < least:
            raise RuntimeError(f"{name}: requires a tensor with at least {least} dimension, got a tensor with {input.dim()} "
                               "dimensions")  # fmt: skip
        d = min(dim, input.dim() - 1)  # hsplit cuts vectors along their only dimension
        size = input.shape[d]
        if isinstance(indices_or_sections, int) and (indices_or_sections <= 0 or size % indices_or_sections):
            raise RuntimeError(f"{name}: attempted to split along dimension {d} of size {size} into {indices_or_sections} "
                               "equal pieces")  # fmt: skip
        return tensor_split(input, indices_or_sections, d)

    axis_split.__name__ = axis_split.__qualname__ = name
    axis_split.__doc__ = _AXIS_DOC.format(name=name, where=where, least=least, shape=shape)
    composite(samples=lambda s: [s(s.t(4, 4, 4), 2), s(s.t(4, 4, 4), (1,))])(axis_split)


_declare_axis_split("hsplit", "columns (dimension 1; 0 of a 1-d tensor)", 1, 1, "4, 2, 4")
_declare_axis_split("vsplit", "rows", 0, 2, "2, 4, 4")
_declare_axis_split("dsplit", "dimension 2", 2, 3, "4, 4, 2")


@composite(samples=lambda s: [s(s.t(3, 2)), s(s.t(3, 2), -1), s(s.t(2, 0), 1)])
def unbind(input: mg.Tensor, dim: int = 0) -> tuple[mg.Tensor, ...]:
    """All slices along a dimension, which goes away.

    Args:
        input: at least 1 dimension.
        dim: the dimension.
    Returns:
        tuple of views.
    Raises:
        IndexError for dim or a 0-d tensor.
    Example:
        >>> [row.tolist() for row in mg.tensor([[1, 2], [3, 4]]).unbind()]
        [[1, 2], [3, 4]]
    """
    if input.dim() == 0:
        raise IndexError("unbind: dimension specified as 0 but tensor has no dimensions")
    d = _wrap(dim, input.dim(), "unbind")
    pick = functions["select"]
    return tuple(pick(input, d, k) for k in range(input.shape[d]))
