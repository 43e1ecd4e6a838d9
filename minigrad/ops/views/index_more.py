"""Composites around index.py: scatter, take, masked_select, nonzero, put_ … each a few calls of the ops declared
there."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions
from minigrad.ops.shared.check import expect_apart, into
from minigrad.ops.views.shape import _wrap


def _scattered(name: str, input: mg.Tensor, dim: int, index: mg.Tensor, src: Any, value: Any, reduce: str | None) -> mg.Tensor:
    """The scatter op with the suffix of `name` ("" or "_") that the arguments ask for."""
    suffix = "_" if name.endswith("_") else ""
    if (src is None) == (value is None):
        raise TypeError(f"{name}: expected either src or value")
    src = value if src is None else src
    if reduce is None:
        return functions["_scatter" + suffix](input, dim, index, src)
    if reduce not in ("add", "multiply"):
        raise RuntimeError(f"{name}: reduce argument must be either add or multiply: got '{reduce}'")
    if not isinstance(src, mg.Tensor):
        src = mg.full(index.shape, src, dtype=input.dtype, device=input.device)
    if reduce == "add":
        return functions["scatter_add" + suffix](input, dim, index, src)
    return functions["scatter_reduce" + suffix](input, dim, index, src, "prod")


@composite(out=True, samples=lambda s: [s(s.t(3, 4), 1, s.index(3, 1, high=4), s.t(3, 1)), s(s.t(3), 0, s.index(1, high=3), 2.0),
                              s(s.t(3, 4), 0, s.index(5, 4, high=3), s.t(5, 4), reduce="add"),
                              s(s.t(3, 4), 0, s.index(5, 4, high=3), s.t(5, 4), reduce="multiply"),
                              s(s.t(4), 0, s.index(5, high=4), value=2.0, reduce="multiply")],
           no_torch_reason="PyTorch has no gradient with reduce=; values are compared in the conformance suite",
           no_ref_reason="the ops of the family have references")  # fmt: skip
def scatter(input: mg.Tensor, dim: int, index: mg.Tensor, src: Any = None, *, value: Any = None,
            reduce: str | None = None) -> mg.Tensor:
    """A copy of input with src written at the indices: out[index[i, j], j] = src[i, j] for dim 0.

    Args:
        input: any tensor.
        dim: the dimension.
        index: int64 (int32) tensor, no larger than src, nor than input but in `dim`; not negative.
        src: tensor of input's dtype, or a number.
        value: the number, by name.
        reduce: None writes (the last of several wins), "add" or "multiply" combines.
    Returns:
        a tensor of input's shape.
    Raises:
        IndexError for an index out of range, RuntimeError when shapes do not fit.
    Gradient:
        Zero for what is replaced; src gathers it. With reduce as scatter_add and scatter_reduce.
    Example:
        >>> mg.zeros(3).scatter(0, mg.tensor([2, 0]), mg.tensor([1., 2.]))
        tensor([2., 0., 1.])
    """
    return _scattered("scatter", input, dim, index, src, value, reduce)


@composite(namespace=(), method=True, no_samples_reason="writes in place; the form without underscore has them")
def scatter_(input: mg.Tensor, dim: int, index: mg.Tensor, src: Any = None, *, value: Any = None,
             reduce: str | None = None) -> mg.Tensor:
    """In-place form of `scatter`.

    Args:
        input: overwritten.
        dim, index, src, value, reduce: as for scatter.
    Returns:
        input.
    Raises:
        IndexError for an index out of range, before anything is written.
    Example:
        >>> mg.zeros(3).scatter_(0, mg.tensor([1]), 7)
        tensor([0., 7., 0.])
    """
    return _scattered("scatter_", input, dim, index, src, value, reduce)


def _integer_indices(input: mg.Tensor, indices: Any) -> list[Any]:
    """Bool (uint8) masks among the indices become the positions of their True elements, one index per dim of the mask."""
    found: list[Any] = []
    for index in indices:
        if index is None or index.dtype not in (mg.bool, mg.uint8):
            found.append(index)
            continue
        shape = tuple(input.shape[len(found) : len(found) + index.dim()])
        if tuple(index.shape) != shape:
            raise IndexError(f"index_put: the shape of a mask {tuple(index.shape)} does not match the indexed dims {shape}")
        found.extend(functions["_nonzero"](index).unbind(1))
    return found


# The op of this name takes integers only; its public form takes masks as well.
@composite(name="_index_put_any", aliases=("index_put",), method=True, no_ref_reason="the op index_put has the reference",
           samples=lambda s: [s(s.t(4, 3), (s.index(1, high=4),), s.t(3)), s(s.t(3), (s.of([True, False, True], dtype="bool"),), s.t(2))])  # fmt: skip
def _index_put_any(input: mg.Tensor, indices: Any, values: mg.Tensor, accumulate: bool = False) -> mg.Tensor:
    """Writes (or adds) values at x[indices].

    Args:
        input: any tensor.
        indices: int64 (int32) tensors, bool masks or None, one per dimension.
        values: broadcast to the shape of x[indices]; input's dtype.
        accumulate: True adds, in the order of the indices; False writes, the last one wins.
    Returns:
        a tensor of input's shape.
    Raises:
        IndexError for an index out of range or a mask that does not fit, RuntimeError when values do not fit.
    Gradient:
        zero for what is replaced; values gets its elements.
    Example:
        >>> mg.zeros(3).index_put([mg.tensor([0, 0])], mg.ones(2), accumulate=True)
        tensor([2., 0., 0.])
    """
    return functions["index_put"](input, _integer_indices(input, indices), values, accumulate)


@composite(name="_index_put_any_", namespace=(), aliases=("index_put_",), method=True, no_samples_reason="writes in place; the form without underscore has them")
def _index_put_any_(input: mg.Tensor, indices: Any, values: mg.Tensor, accumulate: bool = False) -> mg.Tensor:
    """In-place form of `index_put`.

    Args:
        input: overwritten.
        indices, values, accumulate: as for index_put.
    Returns:
        input.
    Raises:
        as index_put, before anything is written.
    Example:
        >>> mg.zeros(3).index_put_([mg.tensor([True, False, True])], mg.tensor(1.))
        tensor([1., 0., 1.])
    """
    return functions["index_put_"](input, _integer_indices(input, indices), values, accumulate)


@composite(samples=lambda s: [s(s.t(3, 4), s.index(5, high=12)), s(s.t(4), s.index(2, 2, high=4))])
def take(input: mg.Tensor, index: mg.Tensor, *, out: mg.Tensor | None = None) -> mg.Tensor:
    """Elements by their position in the flattened tensor.

    Args:
        input: any tensor.
        index: int64 tensor; negative values count from the end.
        out: tensor to write into.
    Returns:
        a tensor of the index's shape.
    Raises:
        IndexError out of range; RuntimeError when out shares memory with an argument.
    Example:
        >>> mg.tensor([[1, 2], [3, 4]]).take(mg.tensor([3, 0]))
        tensor([4, 1])
    """
    if out is not None:
        expect_apart("take", out, input, index)
    return into("take", functions["index"](input.reshape(-1), [index]), out)


@composite(out=True, samples=lambda s: [s(s.t(3, 4), s.index(3, 1, high=4), 1), s(s.t(3, 4), s.index(5, high=12))])
def take_along_dim(input: mg.Tensor, indices: mg.Tensor, dim: int | None = None) -> mg.Tensor:
    """`gather` with broadcasting: the companion of argsort and argmax.

    Args:
        input: any tensor.
        indices: int64 tensor of as many dimensions; broadcasts with input outside `dim`.
        dim: the dimension; None means both flattened.
    Returns:
        a tensor of the broadcast shape.
    Raises:
        RuntimeError when shapes do not fit, IndexError out of range.
    Example:
        >>> mg.tensor([[3, 1], [2, 4]]).take_along_dim(mg.tensor([[1, 0], [0, 1]]), 1).tolist()
        [[1, 3], [2, 4]]
    """
    if indices.dtype not in (mg.int64, mg.int32):
        raise RuntimeError(f"take_along_dim: expected indices of dtype int64: got {indices.dtype}")
    if dim is None:
        return functions["gather"](input.reshape(-1), 0, indices.reshape(-1))
    if indices.dim() != input.dim():
        raise RuntimeError(f"take_along_dim: expected as many dimensions in indices as in input: got {indices.dim()} "
        f"and {input.dim()}")
    d = _wrap(dim, input.dim(), "take_along_dim")
    shape = list(functions["broadcast_shapes"]((*input.shape[:d], 1, *input.shape[d + 1 :]),
                                               (*indices.shape[:d], 1, *indices.shape[d + 1 :])))
    expand = functions["expand"]
    own, wanted = [*shape], [*shape]
    own[d], wanted[d] = input.shape[d], indices.shape[d]
    return functions["gather"](expand(input, own), d, expand(_from_end(indices, input.shape[d]), wanted))


def _from_end(indices: mg.Tensor, size: int) -> mg.Tensor:
    """Negative indices counted from the end."""
    return mg.where(indices < 0, indices + size, indices)


@composite(samples=lambda s: [s(s.t(3, 4), s.mask(3, 4)), s(s.t(3, 4), s.mask(4)), s(s.t(3), s.mask(2, 3))])
def masked_select(input: mg.Tensor, mask: mg.Tensor, *, out: mg.Tensor | None = None) -> mg.Tensor:
    """The elements where a mask is True, as a 1-d tensor.

    Args:
        input: any tensor.
        mask: bool tensor that broadcasts with input.
        out: where to write; may not share memory with input or mask.
    Returns:
        a 1-d tensor.
    Raises:
        RuntimeError for another mask dtype or shapes that do not fit.
    Gradient:
        Goes back to the selected elements.
    Example:
        >>> mg.tensor([1, 2, 3]).masked_select(mg.tensor([True, False, True]))
        tensor([1, 3])
    """
    if mask.dtype != mg.bool:
        raise RuntimeError(f"masked_select: expected a bool mask, got {mask.dtype}. Try mask.bool().")
    if out is not None:
        expect_apart("masked_select", out, input, mask)
    input, mask = functions["broadcast_tensors"](input, mask)
    return into("masked_select", functions["index"](input.reshape(-1), [functions["_nonzero"](mask.reshape(-1)).reshape(-1)]), out)


@composite(inplace=True, samples=lambda s: [s(s.t(3, 4), s.mask(3, 4), s.t(12))])
def masked_scatter(input: mg.Tensor, mask: mg.Tensor, source: mg.Tensor) -> mg.Tensor:
    """A copy of input with the elements under a mask replaced by those of source, in order.

    Args:
        input: any tensor.
        mask: bool tensor that broadcasts to input.
        source: at least as many elements as the mask has True, of input's dtype.
    Returns:
        a tensor of input's shape.
    Raises:
        RuntimeError when source is too small or the mask does not fit.
    Example:
        >>> mg.zeros(3).masked_scatter(mg.tensor([True, False, True]), mg.tensor([1., 2.]))
        tensor([1., 0., 2.])
    """
    if mask.dtype != mg.bool:
        raise RuntimeError(f"masked_scatter: only supports boolean masks: got {mask.dtype}")
    input, mask = functions["broadcast_tensors"](input, mask)
    at = functions["_nonzero"](mask.reshape(-1)).reshape(-1)
    if source.numel() < at.numel():
        raise RuntimeError(f"masked_scatter: expected source to have at least {at.numel()} elements, the ones under "
        f"the mask: got {source.numel()}")
    return functions["index_put"](input.reshape(-1), [at], source.reshape(-1)[: at.numel()]).reshape(input.shape)


@composite(samples=lambda s: [s(s.mask(3, 4)), s(s.mask(3, 4), as_tuple=True)], no_grad_reason="integers")
def nonzero(input: mg.Tensor, *, as_tuple: bool = False, out: mg.Tensor | None = None) -> Any:
    """Indices of the nonzero elements, in row-major order.

    Args:
        input: any tensor.
        as_tuple: False: one row per element; True: one 1-d tensor per dimension, as x[...] takes them.
        out: tensor to write into.
    Returns:
        an (n, input.dim()) int64 tensor, or a tuple of input.dim() tensors of length n.
    Example:
        >>> mg.tensor([0, 5, 6]).nonzero().tolist()
        [[1], [2]]
    """
    if as_tuple and out is not None:
        raise TypeError("nonzero: out= takes no as_tuple=True: the result is a tuple of tensors. Try as_tuple=False.")
    if as_tuple:
        return functions["unbind"](functions["_nonzero"](functions["atleast_1d"](input)), 1)
    found = functions["_nonzero"](input)
    return found if out is None else out.resize_(found.shape).copy_(found)


@composite(samples=lambda s: [s(s.mask(3, 4)), s(s.mask())], no_grad_reason="integers")
def argwhere(input: mg.Tensor) -> mg.Tensor:
    """Indices of the nonzero elements, one row each (NumPy's name).

    Args:
        input: any tensor.
    Returns:
        an (n, input.dim()) int64 tensor.
    Example:
        >>> mg.tensor([0, 5]).argwhere().tolist()
        [[1]]
    """
    return functions["_nonzero"](input)


@composite(namespace=(), method=True, no_samples_reason="writes in place; the form without underscore has them")
def put_(input: mg.Tensor, index: mg.Tensor, source: mg.Tensor, accumulate: bool = False) -> mg.Tensor:
    """Writes source at positions of the flattened tensor.

    Args:
        input: overwritten.
        index: int64 tensor.
        source: as many elements, of input's dtype.
        accumulate: True adds.
    Returns:
        input.
    Raises:
        IndexError out of range, RuntimeError when the numbers of elements differ.
    Example:
        >>> mg.zeros(3).put_(mg.tensor([1]), mg.tensor([5.]))
        tensor([0., 5., 0.])
    """
    if index.numel() != source.numel():
        raise RuntimeError(f"put_: expected source and index to have the same number of elements: got "
        f"{source.numel()} and {index.numel()}")
    index, source = index.reshape(-1), source.reshape(-1)
    if input.is_contiguous():
        functions["index_put_"](functions["view"](input, (-1,)), [index], source, accumulate)
        return input
    return input.copy_(functions["index_put"](input.reshape(-1), [index], source, accumulate).reshape(input.shape))


@composite(samples=lambda s: [s(s.t(3, 4), s.index(1, high=12), s.t(1)),
                              s(s.t(6), s.index(2, 2, high=6), s.t(2, 2), True)])
def put(input: mg.Tensor, index: mg.Tensor, source: mg.Tensor, accumulate: bool = False) -> mg.Tensor:
    """A copy of input with source written at positions of the flattened tensor.

    Args:
        input: any tensor.
        index: int64 tensor.
        source: as many elements, of input's dtype.
        accumulate: True adds.
    Returns:
        a tensor of input's shape.
    Raises:
        IndexError out of range.
    Example:
        >>> mg.zeros(3).put(mg.tensor([1]), mg.tensor([5.]))
        tensor([0., 5., 0.])
    """
    return functions["index_put"](input.reshape(-1), [index.reshape(-1)], source.reshape(-1),
                                  accumulate).reshape(input.shape)
