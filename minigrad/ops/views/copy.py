"""Copies: clone, casts, copy_, fill_, flip, roll, repeat, triangles and diagonals. Kernels: csrc/cpu/copy_ops.cpp,
join.cpp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops.shared.struct_doc import card, numpy

# --- the same elements, elsewhere -------------------------------------------------------------------------------------
op("clone(input, *, memory_format: str? = None) -> out", meta="clone", dinput=lambda g: g,
   ref=lambda input, memory_format=None: input.copy(),
   samples=lambda s: [s(s.t(2, 3)), s(s.t()), s(s.t(0, 3)), s(s.t(3, 4, layout="transposed")),
                      s(s.t(2, 3, layout="expanded"))],
   doc=card("A copy with its own storage.", "mg.tensor([1, 2]).clone() -> tensor([1, 2])", input="any tensor.",
            memory_format="preserve_format (default) keeps the order of dimensions in memory, contiguous_format "
            "makes it row-major.",
            returns="a tensor of the same shape and dtype.", grad="Passes through."))

op("_copy_contiguous(input) -> out", meta="like", namespace=None, dinput=lambda g: g, ref=lambda input: input.copy(),
   grad_name="Clone",
   samples=lambda s: [s(s.t(2, 3)), s(s.t(3, 4, layout="transposed")), s(s.t(65, 33, layout="transposed")),
                      s(s.t(2, 3, layout="expanded"))],
   doc="A row-major copy; the copying case of contiguous() and reshape().")

op("_to_dtype(input, dtype: dtype) -> out", meta="to_dtype", namespace=None, dinput=lambda g: g, grad_name="ToCopy",
   ref=lambda input, dtype: input, samples=lambda s: [s(s.t(2, 3), mg.float64), s(s.t(0), mg.float64), s(s.t(3, 2,
       layout="transposed"), mg.float64)],
   doc=card("Converts to another dtype; what x.to(dtype) and x.float() call.",
            "mg.tensor([1.9, -1.9]).to(mg.int64) -> tensor([ 1, -1])",
            input="any tensor.", dtype="wanted dtype.",
            returns="a copy in that dtype; floats are cut towards zero, nonzero becomes True.",
            grad="Passes through, converted back."))

op("_to_device(input, device: device, non_blocking: bool = False) -> out", meta="to_device", namespace=None, dinput=lambda g: g,
   grad_name="ToCopy", ref=lambda input, device, non_blocking=False: input.copy(),
   samples=lambda s: [s(s.t(2, 3), "cpu"), s(s.t(3, 2, layout="transposed"), "cpu")],
   doc=card("A copy on another device; what x.to(device), x.cuda() and x.cpu() call.", "mg.ones(2).to('cpu') -> tensor([1., 1.])",
            input="any tensor.", device="where to; 'cuda' is the current CUDA device.",
            non_blocking="from pinned memory: return before the copy is done.",
            returns="a copy there.", raises="AssertionError without CUDA.", grad="Passes through, moved back."))

op("copy_(input!, src: operand, non_blocking: bool = False) -> out",
   no_torch_names_reason="PyTorch documents `src` but parses `other`", meta="copy_into", namespace=None, method=True,
   dinput=lambda g: None, dsrc=lambda g: g,
   grad_name="CopyBackwards", samples=lambda s: [s(s.t(2, 3), s.t(3)), s(s.t(2, 3), s.t(2, 3)), s(s.t(0), s.t(1))],
   ref=lambda input, src, non_blocking=False: numpy().broadcast_to(src, input.shape),
   doc=card("Overwrites the tensor with `src`, converted to its dtype and broadcast to its shape.",
            "mg.zeros(2).copy_(mg.tensor([1, 2])) -> tensor([1., 2.])", input="overwritten.",
            src="tensor that broadcasts to input, or a number.",
            non_blocking="ignored on the CPU.", returns="input.", raises="RuntimeError when src does not broadcast.",
            grad="Zero for input, passes to src."))

op("fill_(input!, value: operand) -> out", meta="fill", dinput=lambda g: None,
   dvalue=lambda g: g, grad_name="Fill",
   samples=lambda s: [s(s.t(2, 3), 1.5), s(s.t(2, 3), s.t()), s(s.t(0), 1)],
   ref=lambda input, value: numpy().full(input.shape, value),
   doc=card("Sets every element to one value.", "mg.zeros(2).fill_(3) -> tensor([3., 3.])", input="overwritten.",
            value="number or 0-d tensor.",
            returns="input.", raises="RuntimeError when value has dimensions.",
            grad="Zero for input; value gets the sum."))

@composite(method=False, samples=lambda s: [s(s.t(2, 3), 1.5), s(s.t(2, 3), s.t()), s(s.t(0), 1)],
           ref=lambda input, value: numpy().full(input.shape, value))
def fill(input: mg.Tensor, value: mg.Tensor | float) -> mg.Tensor:
    """One value in another tensor's shape and dtype: a filled copy.

    Args:
        input: gives shape and dtype.
        value: number or 0-d tensor.
    Returns:
        a tensor like input.
    Raises:
        RuntimeError when value has dimensions.
    Gradient:
        Zero for input; value gets the sum.
    Example:
        >>> mg.fill(mg.zeros(2), 3)
        tensor([3., 3.])
    """
    return mg.op.batched_as(input.clone(), value).fill_(value)


op("zero_(input!) -> out", meta="like", dinput=lambda g: None,
   ref=lambda input: numpy().zeros(input.shape),
   samples=lambda s: [s(s.t(2, 3)), s(s.t())],
   doc=card("Sets every element to zero.", "mg.ones(2).zero_() -> tensor([0., 0.])", input="overwritten.",
            returns="input.", grad="Zero."))

# --- rearranged -------------------------------------------------------------------------------------------------------
op("flip(input, dims: ints...) -> out", meta="flip", dinput=lambda g, dims: g.flip(dims),
   ref=lambda input, dims: numpy().flip(input, dims),
   samples=lambda s: [s(s.t(2, 3), (0,)), s(s.t(2, 3), (0, -1)), s(s.t(3, 2, layout="transposed"), (1,)),
                      s(s.t(0, 3), (0,)), s(s.t(2), ())],
   doc=card("Reverses the order along dimensions (a copy: strides are never negative).",
            "mg.arange(3).flip(0) -> tensor([2, 1, 0])",
            input="any tensor.", dims="which dimensions.", returns="a tensor of the same shape.",
            raises="RuntimeError for a repeated dim.",
            grad="Flipped back."))

op("roll(input, shifts: ints, dims: ints = ()) -> out", meta="roll",
   dinput=lambda g, shifts, dims: g.roll([-n for n in shifts], dims),
   ref=lambda input, shifts, dims=(): numpy().roll(input, shifts if dims not in ((), []) else (shifts
       if isinstance(shifts, int) else shifts[0]),
                                                   None if dims in ((), []) else dims),
   samples=lambda s: [s(s.t(5), 2), s(s.t(2, 3), 1), s(s.t(2, 3), (1, -2), (0, 1)), s(s.t(2, 3), 7, 1),
                      s(s.t(0, 3), 1, 0), s(s.t(4), (1, 2), (0, 0))],
   doc=card("Moves elements along dimensions; those that leave at the end enter at the front.",
            "mg.arange(4).roll(1) -> tensor([3, 0, 1, 2])",
            input="any tensor.", shifts="by how many places, negative to the front.",
            dims="along which dimensions; none means the flattened tensor.",
            returns="a tensor of the same shape.", raises="RuntimeError when shifts and dims differ in number.",
            grad="Rolled back."))

def _triangle_grad(name: str) -> Any:
    return lambda g, diagonal: functions[name](g, diagonal)


for _name, _side, _numpy in (("tril", "below", "tril"), ("triu", "above", "triu")):
    op(f"{_name}(input, diagonal: int = 0) -> out", meta="triangle", inplace=True,
       dinput=_triangle_grad(_name),
       ref=lambda input, diagonal=0, _numpy=_numpy: getattr(numpy(), _numpy)(input, diagonal),
       samples=lambda s: [s(s.t(3, 3)), s(s.t(3, 4), 1), s(s.t(2, 4, 3), -1), s(s.t(3, 3), 9), s(s.t(3, 3), -9),
                          s(s.t(3, 4, layout="transposed")), s(s.t(0, 3))],
       doc=card(f"Keeps the part of each matrix on and {_side} a diagonal; the rest becomes 0.",
                f"mg.ones(2, 2).{_name}().tolist() -> " + (
                    "[[1.0, 0.0], [1.0, 1.0]]" if _name == "tril" else "[[1.0, 1.0], [0.0, 1.0]]"),
                input="at least 2 dimensions.", diagonal="0 main, positive above, negative below.",
                returns="a tensor of the same shape.",
                raises="RuntimeError below 2 dimensions.", grad="The same part."))


@composite(samples=lambda s: [s(s.t(2, 3)), s(s.t(3, 1, 2))])
def fliplr(input: mg.Tensor) -> mg.Tensor:
    """Reverses dimension 1.

    Args:
        input: at least 2 dimensions.
    Returns:
        a tensor of the same shape.
    Raises:
        RuntimeError below 2 dimensions.
    Example:
        >>> mg.tensor([[1, 2]]).fliplr()
        tensor([[2, 1]])
    """
    if input.dim() < 2:
        raise RuntimeError(f"fliplr: input must be >= 2-d, got {input.dim()}-d")
    return functions["flip"](input, (1,))


@composite(samples=lambda s: [s(s.t(2, 3)), s(s.t(3))])
def flipud(input: mg.Tensor) -> mg.Tensor:
    """Reverses dimension 0.

    Args:
        input: at least 1 dimension.
    Returns:
        a tensor of the same shape.
    Raises:
        RuntimeError for a 0-d tensor.
    Example:
        >>> mg.arange(3).flipud()
        tensor([2, 1, 0])
    """
    if input.dim() < 1:
        raise RuntimeError("flipud: input must be >= 1-d, got 0-d")
    return functions["flip"](input, (0,))


@composite(samples=lambda s: [s(s.t(2, 3)), s(s.t(2, 3), 2), s(s.t(2, 3, 2), -1, (1, 2))])
def rot90(input: mg.Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> mg.Tensor:
    """Turns the plane of two dimensions by k quarter turns, from the first dimension towards the second.

    Args:
        input: at least 2 dimensions.
        k: number of quarter turns.
        dims: the plane.
    Returns:
        a copy with the two sizes swapped for odd k.
    Raises:
        RuntimeError when dims are not two different dimensions.
    Example:
        >>> mg.tensor([[1, 2], [3, 4]]).rot90().tolist()
        [[2, 4], [1, 3]]
    """
    if len(dims) != 2 or input.dim() < 2:
        raise RuntimeError(f"rot90: expected two dims of a tensor with at least 2 dimensions, got dims {tuple(dims)} "
        f"for a {input.dim()}-d tensor")
    a, b = dims
    if a % input.dim() == b % input.dim():
        raise RuntimeError(f"rot90: expected rotation dims to be different, got {a} and {b}")
    k %= 4
    if k == 0:
        return input.clone()
    if k == 2:
        return input.flip((a, b))
    return input.flip((b,)).transpose(a, b) if k == 1 else input.flip((a,)).transpose(a, b)


# --- repeated ---------------------------------------------------------------------------------------------------------
def _sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(args[0]) if len(args) == 1 and not isinstance(args[0], int) else tuple(args)


@composite(namespace=(), method=True, samples=lambda s: [s(s.t(2, 3), 2, 2), s(s.t(3), (2, 1)), s(s.t(2, 1), 1, 0),
                                                         s(s.t(), 3)])
def repeat(input: mg.Tensor, *repeats: Any) -> mg.Tensor:
    """Lays copies of the tensor side by side along each dimension.

    Args:
        input: any tensor.
        repeats: number of copies per dimension; more numbers than dimensions add dimensions in front.
    Returns:
        a copy of sizes input.size(d) * repeats[d].
    Raises:
        RuntimeError for too few or negative numbers.
    Gradient:
        Summed over the copies.
    Example:
        >>> mg.tensor([1, 2]).repeat(2, 2).tolist()
        [[1, 2, 1, 2], [1, 2, 1, 2]]
    """
    if not repeats:
        raise TypeError("repeat: missing 1 required positional argument: 'repeats'. Try () for a 0-d tensor.")
    times = _sizes(repeats)
    lead = len(times) - input.dim()
    if lead < 0:
        raise RuntimeError(f"repeat: number of repeats ({len(times)}) cannot be smaller than the number of "
        f"dimensions of the tensor ({input.dim()})")
    if any(n < 0 for n in times):
        raise RuntimeError(f"repeat: trying to create a tensor with negative dimension: got {times}")
    shape = (1,) * lead + tuple(input.shape)
    spread = tuple(n for pair in zip(times, shape) for n in pair)
    split = tuple(n for size in shape for n in (1, size))
    return input.reshape(split).expand(spread).clone().reshape(tuple(n * size for n, size in zip(times, shape)))


@composite(samples=lambda s: [s(s.t(2, 3), (2,)), s(s.t(3), (2, 2))])
def tile(input: mg.Tensor, *dims: Any) -> mg.Tensor:
    """`repeat` with missing numbers taken as 1 (NumPy's tile).

    Args:
        input: any tensor.
        dims: number of copies per dimension, counted from the last.
    Returns:
        a copy.
    Example:
        >>> mg.tile(mg.tensor([[1], [2]]), (2,)).tolist()
        [[1, 1], [2, 2]]
    """
    times = _sizes(dims)
    return repeat(input, (1,) * (input.dim() - len(times)) + times)


_repeat_index = op(
    "_repeat_index(repeats) -> out", meta="repeat_index", namespace=None, can_fail=True,
    ref=lambda repeats: numpy().repeat(numpy().arange(repeats.size), repeats.ravel()), no_grad_reason="integers",
    no_meta_reason="the size depends on the data",
    samples=lambda s: [s(s.index(4, high=3)), s(s.index(0, high=1))],
    doc="0 repeats[0] times, then 1 repeats[1] times …: the index with which repeat_interleave selects.")


@composite(samples=lambda s: [s(s.t(2, 3), 2), s(s.t(2, 3), 2, 1), s(s.t(3), s.index(3, high=3)),
                              s(s.t(2, 3), s.index(2, high=3), 0)])
def repeat_interleave(input: mg.Tensor, repeats: int | mg.Tensor | None = None, dim: int | None = None, *,
                      output_size: int | None = None) -> mg.Tensor:
    """Repeats each element (slice) in place: 1 1 2 2, unlike repeat's 1 2 1 2.

    Args:
        input: any tensor; as the only argument it is the repeats itself, and indices come out.
        repeats: how often, for all or for each slice.
        dim: along which dimension; None flattens first.
        output_size: ignored.
    Returns:
        a copy.
    Raises:
        RuntimeError for negative repeats or a wrong number of them.
    Example:
        >>> mg.tensor([1, 2]).repeat_interleave(2)
        tensor([1, 1, 2, 2])
    """
    if repeats is None:
        return _repeat_index(input)
    if dim is None:
        input, dim = input.reshape(-1), 0
    d = dim + input.dim() if dim < 0 else dim
    if isinstance(repeats, mg.Tensor) and repeats.numel() == 1:
        repeats = int(repeats.item())
    if isinstance(repeats, int):
        if repeats < 0:
            raise RuntimeError(f"repeat_interleave: repeats must be non-negative: got {repeats}")
        shape = input.shape
        wide = input.unsqueeze(d + 1).expand((*shape[: d + 1], repeats, *shape[d + 1 :]))
        return wide.clone().reshape((*shape[:d], shape[d] * repeats, *shape[d + 1 :]))
    if not isinstance(repeats, mg.Tensor):
        repeats = mg.tensor(repeats)
    if repeats.numel() != input.shape[d]:
        raise RuntimeError(f"repeat_interleave: repeats must have the same size as input along dim {d}: got "
        f"{repeats.numel()} for {input.shape[d]}")
    return functions["index_select"](input, d, _repeat_index(repeats))


# --- diagonals --------------------------------------------------------------------------------------------------------
@composite(samples=lambda s: [s(s.t(3)), s(s.t(2, 3), 1), s(s.t(2, 3), -1, 0, 2), s(s.t(0))])
def diag_embed(input: mg.Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> mg.Tensor:
    """Matrices with the last dimension on a diagonal and zeros elsewhere.

    Args:
        input: at least 1 dimension.
        offset: 0 main, positive above, negative below.
        dim1: row dimension of the result.
        dim2: column dimension of the result.
    Returns:
        one dimension more; square matrices.
    Raises:
        RuntimeError when dim1 == dim2, IndexError out of range.
    Gradient:
        The diagonal.
    Example:
        >>> mg.diag_embed(mg.tensor([1, 2])).tolist()
        [[1, 0], [0, 2]]
    """
    if input.dim() == 0:
        raise RuntimeError("diag_embed: expected at least 1 dimension, got a 0-d tensor")
    ndim = input.dim() + 1
    for d in (dim1, dim2):
        if not -ndim <= d < ndim:
            raise IndexError(f"diag_embed: dim out of range: got {d}, expected a value in [{-ndim}, {ndim - 1}]")
    first, second = dim1 % ndim, dim2 % ndim
    if first == second:
        raise RuntimeError(f"diag_embed: diagonal dimensions cannot be identical: got {dim1} and {dim2}")
    side = input.shape[-1] + abs(offset)
    shape = list(input.shape[:-1])
    for d in sorted((first, second)):
        shape.insert(d, side)
    return functions["_diagonal_backward"](input, shape, offset, first, second)


@composite(out=True, samples=lambda s: [s(s.t(3)), s(s.t(3), -1), s(s.t(3, 4)), s(s.t(3, 4), 1)])
def diag(input: mg.Tensor, diagonal: int = 0) -> mg.Tensor:
    """A vector becomes a diagonal matrix, a matrix gives its diagonal.

    Args:
        input: 1 or 2 dimensions.
        diagonal: 0 main, positive above, negative below.
    Returns:
        a copy.
    Raises:
        RuntimeError for other dimensions.
    Example:
        >>> mg.diag(mg.tensor([[1, 2], [3, 4]]))
        tensor([1, 4])
    """
    if input.dim() == 1:
        return diag_embed(input, diagonal)
    if input.dim() != 2:
        raise RuntimeError(f"diag: supports 1-D or 2-D tensors, got {input.dim()}-D. Try diag_embed or diagonal.")
    return input.diagonal(diagonal).clone()


@composite(samples=lambda s: [s(s.t(3)), s(s.t(2, 2), 1)])
def diagflat(input: mg.Tensor, offset: int = 0) -> mg.Tensor:
    """A matrix with the flattened input on a diagonal.

    Args:
        input: any tensor.
        offset: 0 main, positive above, negative below.
    Returns:
        a square matrix.
    Example:
        >>> mg.diagflat(mg.tensor([1, 2]), 1).shape
        minigrad.Size([3, 3])
    """
    return diag_embed(input.reshape(-1), offset)
