"""Shape functions made of views: flatten, unflatten, atleast_1d, broadcast_tensors … All are composites; cutting is in
split.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions


def _wrap(dim: int, ndim: int, op: str) -> int:
    bound = max(ndim, 1)
    if not -bound <= dim < bound:
        raise IndexError(f"{op}: dim out of range: got {dim}, expected a value in [{-bound}, {bound - 1}] for a "
        f"{ndim}-d tensor")
    return dim % bound


# --- merging and splitting dimensions ---------------------------------------------------------------------------------
@composite(samples=lambda s: [s(s.t(2, 3, 4)), s(s.t(2, 3, 4), 1), s(s.t(2, 3, 4), 0, -2), s(s.t()), s(s.t(0, 3))])
def flatten(input: mg.Tensor, start_dim: int = 0, end_dim: int = -1) -> mg.Tensor:
    """Merges dimensions start_dim … end_dim into one.

    Args:
        input: any tensor; a 0-d one becomes 1-d.
        start_dim: first dimension.
        end_dim: last dimension, included.
    Returns:
        a view where strides allow it, else a copy.
    Raises:
        RuntimeError when start_dim comes after end_dim, IndexError out of range.
    Example:
        >>> mg.zeros(2, 3, 4).flatten(1).shape
        minigrad.Size([2, 12])
    """
    if start_dim == 0 and end_dim == -1:
        return input if input.dim() == 1 else input.reshape(-1)
    shape = input.shape
    n = len(shape)
    first, last = _wrap(start_dim, n, "flatten"), _wrap(end_dim, n, "flatten")
    if n == 0:
        return input.reshape(1)
    if first > last:
        raise RuntimeError(f"flatten: start_dim cannot come after end_dim: got {start_dim} and {end_dim}")
    if first == last:
        return input
    merged = 1
    for size in shape[first : last + 1]:
        merged *= size
    return input.reshape((*shape[:first], merged, *shape[last + 1 :]))


@composite(samples=lambda s: [s(s.t(2, 3)), s(s.t()), s(s.t(2, 3, layout="transposed"))])
def ravel(input: mg.Tensor) -> mg.Tensor:
    """All elements in one dimension, row by row.

    Args:
        input: any tensor.
    Returns:
        a 1-d view where strides allow it, else a copy.
    Example:
        >>> mg.tensor([[1, 2], [3, 4]]).ravel().tolist()
        [1, 2, 3, 4]
    """
    return input.reshape(-1)


@composite(samples=lambda s: [s(s.t(2, 6), 1, (2, 3)), s(s.t(2, 6), -1, (3, -1)), s(s.t(4), 0, (2, 2))])
def unflatten(input: mg.Tensor, dim: int, sizes: Sequence[int]) -> mg.Tensor:
    """Splits one dimension into several; the opposite of flatten.

    Args:
        input: at least 1 dimension.
        dim: the dimension.
        sizes: its new sizes, whose product is the old one; one may be -1.
    Returns:
        a view.
    Raises:
        RuntimeError when the product differs, IndexError for dim.
    Example:
        >>> mg.zeros(2, 6).unflatten(1, (2, 3)).shape
        minigrad.Size([2, 2, 3])
    """
    d = _wrap(dim, input.dim(), "unflatten")
    sizes = tuple(sizes)
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    shape = input.shape
    known = 1
    for size in sizes:
        known *= size if size != -1 else 1
    if (known != shape[d] and -1 not in sizes) or (-1 in sizes and (known == 0 or shape[d] % known)):
        raise RuntimeError(f"unflatten: provided sizes {sizes} don't multiply up to the size of dim {d} ({shape[d]}) "
        f"in the input tensor")
    if -1 in sizes:
        sizes = tuple(shape[d] // known if size == -1 else size for size in sizes)
    return functions["view"](input, (*shape[:d], *sizes, *shape[d + 1 :]))


@composite(method=True, namespace=(), samples=lambda s: [s(s.t(2, 6), s.t(3, 4))],
           no_layouts_reason="only some layouts can be viewed")
def view_as(input: mg.Tensor, other: mg.Tensor) -> mg.Tensor:
    """`view` with the shape of another tensor.

    Args:
        input: any tensor whose strides allow it.
        other: gives the shape.
    Returns:
        a view.
    Raises:
        RuntimeError as view.
    Example:
        >>> mg.arange(4).view_as(mg.zeros(2, 2)).tolist()
        [[0, 1], [2, 3]]
    """
    return functions["view"](input, other.shape)


@composite(method=True, namespace=(), samples=lambda s: [s(s.t(2, 6), s.t(3, 4))])
def reshape_as(input: mg.Tensor, other: mg.Tensor) -> mg.Tensor:
    """`reshape` with the shape of another tensor.

    Args:
        input: any tensor.
        other: gives the shape.
    Returns:
        a view where strides allow it, else a copy.
    Example:
        >>> mg.arange(4).reshape_as(mg.zeros(2, 2)).tolist()
        [[0, 1], [2, 3]]
    """
    return input.reshape(other.shape)


@composite(method=True, namespace=(), samples=lambda s: [s(s.t(3, 1), s.t(3, 4))])
def expand_as(input: mg.Tensor, other: mg.Tensor) -> mg.Tensor:
    """`expand` to the shape of another tensor.

    Args:
        input: any tensor.
        other: gives the shape.
    Returns:
        a view.
    Raises:
        RuntimeError as expand.
    Example:
        >>> mg.tensor([[1], [2]]).expand_as(mg.zeros(2, 2)).tolist()
        [[1, 1], [2, 2]]
    """
    return functions["expand"](input, other.shape)


@composite(samples=lambda s: [s(s.t(2, 3)), s(s.t(2, 3, 4))])
def adjoint(input: mg.Tensor) -> mg.Tensor:
    """Conjugate transpose of the last two dimensions; for real tensors the transpose.

    Args:
        input: at least 2 dimensions.
    Returns:
        a view; a new tensor when input is complex.
    Raises:
        RuntimeError below 2 dimensions.
    Example:
        >>> mg.zeros(2, 3).adjoint().shape
        minigrad.Size([3, 2])
    """
    return input.mH


# --- at least n dimensions, broadcasting ------------------------------------------------------------------------------
def _each(tensors: tuple[Any, ...], one: Any) -> Any:
    if len(tensors) == 1 and isinstance(tensors[0], mg.Tensor):
        return one(tensors[0])
    if len(tensors) == 1:
        tensors = tuple(tensors[0])
    return tuple(one(t) for t in tensors)


@composite(method=False, samples=lambda s: [s(s.t()), s(s.t(2))])
def atleast_1d(*tensors: mg.Tensor) -> Any:
    """0-d tensors as 1-d ones, others as they are.

    Args:
        tensors: one tensor, several, or a sequence of them.
    Returns:
        a view, or a tuple of views.
    Example:
        >>> mg.atleast_1d(mg.tensor(1)).tolist()
        [1]
    """
    return _each(tensors, lambda t: t.reshape(1) if t.dim() == 0 else t)


@composite(method=False, samples=lambda s: [s(s.t()), s(s.t(2))])
def atleast_2d(*tensors: mg.Tensor) -> Any:
    """Tensors below 2-d get dimensions in front.

    Args:
        tensors: one tensor, several, or a sequence of them.
    Returns:
        a view, or a tuple of views.
    Example:
        >>> mg.atleast_2d(mg.tensor([1, 2])).tolist()
        [[1, 2]]
    """
    return _each(tensors, lambda t: t.reshape(1, 1) if t.dim() == 0 else t.unsqueeze(0) if t.dim() == 1 else t)


@composite(method=False, samples=lambda s: [s(s.t()), s(s.t(2)), s(s.t(2, 3))])
def atleast_3d(*tensors: mg.Tensor) -> Any:
    """Tensors below 3-d get dimensions around, as NumPy's: (n,) becomes (1, n, 1), (m, n) becomes (m, n, 1).

    Args:
        tensors: one tensor, several, or a sequence of them.
    Returns:
        a view, or a tuple of views.
    Example:
        >>> mg.atleast_3d(mg.zeros(2)).shape
        minigrad.Size([1, 2, 1])
    """

    def one(t: mg.Tensor) -> mg.Tensor:
        if t.dim() == 0:
            return t.reshape(1, 1, 1)
        return t.unsqueeze(0).unsqueeze(-1) if t.dim() == 1 else t.unsqueeze(-1) if t.dim() == 2 else t

    return _each(tensors, one)


@composite(method=False, no_samples_reason="a shape, not a tensor; its example shows it")
def broadcast_shapes(*shapes: Any) -> mg.Size:
    """The shape that tensors of these shapes broadcast to.

    Args:
        shapes: sequences of sizes, or numbers.
    Returns:
        the common shape.
    Raises:
        RuntimeError when they do not fit.
    Example:
        >>> mg.broadcast_shapes((3, 1), (4,))
        minigrad.Size([3, 4])
    """
    out: list[int] = []
    for shape in shapes:
        sizes = [shape] if isinstance(shape, int) else list(shape)
        if any(n < 0 for n in sizes):
            raise RuntimeError(f"broadcast_shapes: negative size in {tuple(sizes)}")
        out = [1] * (len(sizes) - len(out)) + out
        for k, size in enumerate(sizes, len(out) - len(sizes)):
            if size != 1 and out[k] not in (1, size):
                raise RuntimeError(f"broadcast_shapes: shapes "
                f"{', '.join(str(tuple(s) if not isinstance(s, int) else s) for s in shapes)}"
                                   " cannot be broadcast together")  # fmt: skip
            out[k] = size if size != 1 else out[k]
    return mg.Size(out)


@composite(method=False, samples=lambda s: [s(s.t(3, 1), s.t(4)), s(s.t(), s.t(2))])
def broadcast_tensors(*tensors: mg.Tensor) -> tuple[mg.Tensor, ...]:
    """All tensors expanded to their common shape.

    Args:
        tensors: any tensors, or one sequence of them.
    Returns:
        tuple of views.
    Raises:
        RuntimeError when the shapes do not fit.
    Example:
        >>> [t.shape for t in mg.broadcast_tensors(mg.zeros(3, 1), mg.zeros(4))]
        [minigrad.Size([3, 4]), minigrad.Size([3, 4])]
    """
    if len(tensors) == 1 and not isinstance(tensors[0], mg.Tensor):
        tensors = tuple(tensors[0])
    shape = broadcast_shapes(*(t.shape for t in tensors))
    expand = functions["expand"]
    return tuple(t if t.shape == shape else expand(t, shape) for t in tensors)
