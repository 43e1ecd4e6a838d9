"""Joining tensors: cat, stack and their relatives, meshgrid. Kernels: csrc/cpu/join.cpp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops.shared.struct_doc import card, numpy


def _cat_grad(g: mg.Tensor, tensors_shape: list[tuple[int, ...]], dim: int) -> list[mg.Tensor | None]:
    narrow, start, grads = functions["narrow"], 0, []
    for shape in tensors_shape:
        if len(shape) == 1 and shape[0] == 0:  # skipped by cat, whatever the others' shape
            grads.append(None)
            continue
        grads.append(narrow(g, dim, start, shape[dim]))
        start += shape[dim]
    return grads


op("cat(tensors: tensors, dim: int = 0) -> out", meta="cat", dtensors=_cat_grad, method=False,
   aliases=("concat", "concatenate"),
   ref=lambda tensors, dim=0: numpy().concatenate([t for t in tensors if t.shape != (0,)] or [numpy().zeros(0)], dim),
   samples=lambda s: [s([s.t(2, 3), s.t(1, 3)]), s([s.t(2, 3), s.t(2, 2)], 1), s([s.t(2, 3), s.t(2, 1), s.t(2, 4)], -1),
                      s([s.t(0), s.t(3)]),
                      s([s.t(0), s.t(2, 3)]), s([s.t(3, 2, layout="transposed"), s.t(3, 2)], 1), s([s.t(4)])],
   doc=card("Joins tensors along a dimension that they have.",
            "mg.cat([mg.tensor([1]), mg.tensor([2, 3])]) -> tensor([1, 2, 3])",
            tensors="at least one; equal sizes but in `dim`. 1-d tensors of size 0 are skipped.", dim="the dimension.",
            returns="a tensor of the promoted dtype.",
            raises="RuntimeError when sizes or numbers of dimensions differ, IndexError for dim.",
            grad="Each input gets its part."))

op("stack(tensors: tensors, dim: int = 0) -> out", meta="stack", method=False,
   dtensors=lambda g, dim: list(g.unbind(dim)),
   ref=lambda tensors, dim=0: numpy().stack(tensors, dim),
   samples=lambda s: [s([s.t(2, 3), s.t(2, 3)]), s([s.t(2), s.t(2), s.t(2)], 1), s([s.t(2, 3), s.t(2, 3)], -1),
                      s([s.t(), s.t()]), s([s.t(0)])],
   doc=card("Joins tensors of one shape along a new dimension.",
            "mg.stack([mg.tensor([1, 2]), mg.tensor([3, 4])]).tolist() -> [[1, 2], [3, 4]]",
            tensors="at least one, all of one shape.", dim="position of the new dimension.",
            returns="a tensor of the promoted dtype.",
            raises="RuntimeError when shapes differ, IndexError for dim.", grad="Each input gets its slice."))


@composite(out=True, method=False, samples=lambda s: [s([s.t(2), s.t(3)]), s([s.t(2, 1), s.t(2, 3)])])
def hstack(tensors: Sequence[mg.Tensor]) -> mg.Tensor:
    """Joins along columns: dimension 1, or 0 of 1-d tensors.

    Args:
        tensors: at least one; 0-d ones count as 1-d.
    Returns:
        a tensor of the promoted dtype.
    Raises:
        RuntimeError when sizes differ.
    Example:
        >>> mg.hstack([mg.tensor([1]), mg.tensor([2, 3])])
        tensor([1, 2, 3])
    """
    parts = [functions["atleast_1d"](t) for t in tensors]
    return functions["cat"](parts, 0 if not parts or parts[0].dim() == 1 else 1)


@composite(out=True, method=False, aliases=("row_stack",), samples=lambda s: [s([s.t(2), s.t(2)]), s([s.t(1, 3), s.t(2, 3)])])
def vstack(tensors: Sequence[mg.Tensor]) -> mg.Tensor:
    """Joins along rows; 1-d tensors are rows.

    Args:
        tensors: at least one.
    Returns:
        a tensor of the promoted dtype.
    Raises:
        RuntimeError when sizes differ.
    Example:
        >>> mg.vstack([mg.tensor([1, 2]), mg.tensor([3, 4])]).tolist()
        [[1, 2], [3, 4]]
    """
    return functions["cat"]([functions["atleast_2d"](t) for t in tensors], 0)


@composite(out=True, method=False, samples=lambda s: [s([s.t(2), s.t(2)]), s([s.t(2, 3), s.t(2, 3)])])
def dstack(tensors: Sequence[mg.Tensor]) -> mg.Tensor:
    """Joins along dimension 2; smaller tensors get dimensions as in atleast_3d.

    Args:
        tensors: at least one.
    Returns:
        a tensor of the promoted dtype.
    Raises:
        RuntimeError when sizes differ.
    Example:
        >>> mg.dstack([mg.tensor([1, 2]), mg.tensor([3, 4])]).tolist()
        [[[1, 3], [2, 4]]]
    """
    return functions["cat"]([functions["atleast_3d"](t) for t in tensors], 2)


@composite(out=True, method=False, samples=lambda s: [s([s.t(2), s.t(2, 3)])])
def column_stack(tensors: Sequence[mg.Tensor]) -> mg.Tensor:
    """Joins along columns; 0-d and 1-d tensors are columns.

    Args:
        tensors: at least one.
    Returns:
        a tensor of the promoted dtype.
    Raises:
        RuntimeError when sizes differ.
    Example:
        >>> mg.column_stack([mg.tensor([1, 2]), mg.tensor([3, 4])]).tolist()
        [[1, 3], [2, 4]]
    """
    return functions["cat"]([t.reshape(t.numel(), 1) if t.dim() <= 1 else t for t in tensors], 1)


@composite(method=False, samples=lambda s: [s(s.t(2, 2), s.t(3)), s(s.t())])
def block_diag(*tensors: mg.Tensor) -> mg.Tensor:
    """A matrix with the inputs as blocks on its diagonal.

    Args:
        tensors: at most 2 dimensions each; vectors count as rows.
    Returns:
        a matrix of the promoted dtype.
    Raises:
        RuntimeError above 2 dimensions.
    Example:
        >>> mg.block_diag(mg.tensor([[1]]), mg.tensor([[2, 3]])).tolist()
        [[1, 0, 0], [0, 2, 3]]
    """
    if not tensors:
        return mg.empty(1, 0)
    for k, t in enumerate(tensors):
        if t.dim() > 2:
            raise RuntimeError(f"block_diag: input tensors must have 2 or fewer dimensions: input {k} has {t.dim()}")
    blocks = [functions["atleast_2d"](t) for t in tensors]
    width, rows, left = sum(b.shape[1] for b in blocks), [], 0
    for b in blocks:
        right = width - left - b.shape[1]
        rows.append(functions["cat"]([b.new_zeros(b.shape[0], left), b, b.new_zeros(b.shape[0], right)], 1))
        left += b.shape[1]
    return functions["cat"](rows, 0)


@composite(method=False, samples=lambda s: [s(s.t(2), s.t(3), indexing="ij"), s(s.t(2), s.t(3), indexing="xy")])
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[mg.Tensor, ...]:
    """Coordinates of the grid that 1-d tensors span.

    Args:
        tensors: 0-d or 1-d tensors, or one sequence of them.
        indexing: "ij" (default): the first tensor runs along dimension 0; "xy": along dimension 1, as for pictures.
    Returns:
        one expanded view per input, of shape (len of each).
    Raises:
        RuntimeError for higher dimensions, differing dtypes or another `indexing`.
    Example:
        >>> [t.tolist() for t in mg.meshgrid(mg.tensor([1, 2]), mg.tensor([3, 4]), indexing="ij")]
        [[[1, 1], [2, 2]], [[3, 4], [3, 4]]]
    """
    if len(tensors) == 1 and not isinstance(tensors[0], mg.Tensor):
        tensors = tuple(tensors[0])
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(f'meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    if not tensors:
        raise RuntimeError("meshgrid: expects a non-empty list of tensors")
    for t in tensors:
        if t.dim() > 1:
            raise RuntimeError(f"meshgrid: expected scalar or 1D tensors, but got: {tuple(t.shape)}")
        if t.dtype != tensors[0].dtype:
            raise RuntimeError("meshgrid: expects all tensors to have the same dtype")
    swap = indexing == "xy" and len(tensors) >= 2
    if swap:
        tensors = (tensors[1], tensors[0], *tensors[2:])
    shape = tuple(t.numel() for t in tensors)
    grids = [
        functions["expand"](t.reshape((1,) * k + (-1,) + (1,) * (len(shape) - k - 1)), shape) for k,
        t in enumerate(tensors)
    ]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@composite(method=False, samples=lambda s: [s(s.t(2), s.t(3)), s(s.t(2))])
def cartesian_prod(*tensors: mg.Tensor) -> mg.Tensor:
    """All combinations of one element from each tensor (itertools.product).

    Args:
        tensors: 1-d tensors.
    Returns:
        a (product of lengths, number of tensors) matrix; of one tensor, that tensor.
    Raises:
        RuntimeError for other dimensions.
    Example:
        >>> mg.cartesian_prod(mg.tensor([1, 2]), mg.tensor([3])).tolist()
        [[1, 3], [2, 3]]
    """
    for t in tensors:
        if t.dim() != 1:
            raise RuntimeError(f"cartesian_prod: expect a 1D vector, but got shape {tuple(t.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    return functions["stack"]([g.reshape(-1) for g in meshgrid(*tensors, indexing="ij")], 1)


# --- a copy with one region replaced ----------------------------------------------------------------------------------
op("select_scatter(input, src, dim: int, index: int) -> out", meta="region_scatter",
   dinput=lambda g, src_shape, dim, index: functions["select_scatter"](g, g.new_zeros(src_shape), dim,
                                                                       index),
   dsrc=lambda g, dim, index: g.select(dim, index),
   ref=lambda input, src, dim, index: _with(input, src, lambda x: x.swapaxes(0, dim)[index]),
   samples=lambda s: [s(s.t(2, 3), s.t(3), 0, 1), s(s.t(2, 3), s.t(2), 1, -1)],
   doc=card("A copy of input with one slice replaced.",
            "mg.zeros(2).select_scatter(mg.tensor(5.), 0, 1) -> tensor([0., 5.])", input="any tensor.",
            src="new values, of the shape of input.select(dim, index).", dim="the dimension.", index="the position.",
            returns="a copy.",
            raises="RuntimeError when src does not fit, IndexError out of range.",
            grad="Zero for what is replaced; src gets its slice."))

op("slice_scatter(input, src, dim: int = 0, start: int? = None, end: int? = None, step: int = 1) -> out",
   meta="region_scatter",
   dinput=lambda g, src_shape, dim, start, end, step: functions["slice_scatter"](g, g.new_zeros(src_shape),
       dim, start, end, step),
   dsrc=lambda g, dim, start, end, step: functions["_slice"](g, dim, start, end, step),
   ref=lambda input, src, dim=0, start=None, end=None, step=1: _with(input, src.swapaxes(0, dim),
                                                                     lambda x: x.swapaxes(0, dim)[start:end:step]),
   samples=lambda s: [s(s.t(4, 2), s.t(2, 2), 0, 1, 3), s(s.t(2, 5), s.t(2, 2), 1, 0, 4, 2)],
   doc=card("A copy of input with x[start:end:step] replaced.",
            "mg.zeros(3).slice_scatter(mg.ones(1), 0, 1, 2) -> tensor([0., 1., 0.])",
            input="any tensor.", src="new values, of the slice's shape.", dim="the dimension.", start="first position.",
            end="end, excluded.",
            step="at least 1.", returns="a copy.", raises="RuntimeError when src does not fit.",
            grad="Zero for what is replaced; src gets its slice."))

op("diagonal_scatter(input, src, offset: int = 0, dim1: int = 0, dim2: int = 1) -> out", meta="region_scatter",
   dinput=lambda g, src_shape, offset, dim1, dim2: functions["diagonal_scatter"](g, g.new_zeros(src_shape),
       offset, dim1, dim2),
   dsrc=lambda g, offset, dim1, dim2: g.diagonal(offset, dim1, dim2),
   ref=lambda input, src, offset=0, dim1=0, dim2=1: _with(input, src, lambda x: _writable(x.diagonal(offset, dim1,
       dim2))),
   samples=lambda s: [s(s.t(3, 3), s.t(3)), s(s.t(2, 3), s.t(2), 1)],
   doc=card("A copy of input with a diagonal replaced.",
            "mg.zeros(2, 2).diagonal_scatter(mg.ones(2)).tolist() -> [[1.0, 0.0], [0.0, 1.0]]",
            input="at least 2 dimensions.", src="new values, of the diagonal's shape.",
            offset="0 main, positive above, negative below.",
            dim1="rows.", dim2="columns.", returns="a copy.", raises="RuntimeError when src does not fit.",
            grad="Zero for what is replaced; src gets the diagonal."))


def _writable(view: Any) -> Any:
    view.flags.writeable = True
    return view


def _with(input: Any, src: Any, part: Any) -> Any:
    out = input.copy()
    part(out)[...] = src
    return out
