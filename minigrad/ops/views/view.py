"""Views: the same storage seen with other sizes and strides. Meta: csrc/core/meta_view.cpp; there are no kernels.

A view shares memory and version counter with its base; writing through either is seen by both. The composites made of
views (split,
flatten …) are in shape.py; copies that rearrange (flip, roll, cat) are in join.py.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, op
from minigrad.ops.shared.struct_doc import card, numpy

_SHARES = "Shares storage with the input; gradients flow back to the elements it shows."

# --- sizes ------------------------------------------------------------------------------------------------------------
op("alias(input) -> out", meta="alias", view=True, namespace=None, dinput=lambda g: g, ref=lambda input: input,
   samples=lambda s: [s(s.t(2, 3)), s(s.t(0, 3)), s(s.t())], aliases=(),
   doc=card("The same tensor as a new object (what x[...] returns).", "mg.tensor([1, 2])[...] -> tensor([1, 2])",
            input="any tensor.", returns="a view of the same shape.", grad=_SHARES))

op("view(input, size: ints...) -> out", meta="view", view=True, namespace=None, method=True,
   dinput=lambda g, input_shape: g.reshape(input_shape), ref=lambda input, size: input.reshape(size),
   samples=lambda s: [s(s.t(2, 6), (3, 4)), s(s.t(2, 6), (-1,)), s(s.t(), (1, 1)), s(s.t(0, 3), (3, 0)),
                      s(s.t(4), (2, -1))],
   doc=card("The same elements under another shape, without copying.",
            "mg.arange(6).view(2, -1).shape -> minigrad.Size([2, 3])",
            input="any tensor whose strides allow it.", size="new sizes; one may be -1 and is inferred.",
            returns="a view of shape `size`.",
            raises="RuntimeError when the number of elements differs or a copy would be needed (use reshape).",
            grad=_SHARES))

op("_view_dtype(input, dtype: dtype) -> out", meta="view_dtype", view=True, namespace=None,
   no_grad_reason="bits, not numbers, as in PyTorch", no_ref_reason="tested in tests/test_array_ops_inplace_views.py",
   no_samples_reason="tested in tests/test_array_ops_inplace_views.py",
   doc="The same bytes as another dtype: what x.view(dtype) calls. The last dimension takes up a difference of size.")

op("expand(input, size: ints..., *, implicit: bool = False) -> out", meta="expand", view=True, namespace=None,
   method=True,
   dinput=lambda g: g, ref=lambda input, size, implicit=False: numpy().broadcast_to(
       input, [n if n >= 0 else input.shape[k - len(size)] for k, n in enumerate(size)]),
   samples=lambda s: [s(s.t(3, 1), (3, 4)), s(s.t(3, 1), (2, -1, 5)), s(s.t(), (2, 3)), s(s.t(1), (0,)),
                      s(s.t(2, 3), (2, 3))],
   doc=card("Repeats dimensions of size 1 without copying (stride 0).",
            "mg.tensor([[1], [2]]).expand(2, 3).tolist() -> [[1, 1, 1], [2, 2, 2]]",
            input="any tensor.", size="wanted sizes, -1 keeps one; new dimensions go in front.",
            implicit="ignored (PyTorch's).",
            returns="a view of shape `size`; several of its elements share one place, so clone before writing.",
            raises="RuntimeError when a size other than 1 would change.",
            grad="The gradient is summed over the repeated dimensions."))

op("broadcast_to(input, size: ints...) -> out", meta="expand", view=True, dinput=lambda g: g,
   ref=lambda input, size: numpy().broadcast_to(input, size),
   samples=lambda s: [s(s.t(3, 1), (2, 3, 4)), s(s.t(), (2,)), s(s.t(1), (3,))],
   doc=card("Broadcasts to a shape without copying.",
            "mg.broadcast_to(mg.tensor([1, 2]), (2, 2)).tolist() -> [[1, 2], [1, 2]]",
            input="any tensor.", size="target shape.", returns="a view of that shape.",
            raises="RuntimeError when the shapes do not fit.",
            grad="Summed over the repeated dimensions."))

op("squeeze(input, dim: ints? = None) -> out", meta="squeeze", view=True,
   dinput=lambda g, input_shape: g.reshape(input_shape),
   ref=lambda input, dim=None: input.squeeze() if dim is None else input.squeeze(
       tuple(d for d in ((dim,) if isinstance(dim, int) else dim) if input.ndim and input.shape[d] == 1)),
   samples=lambda s: [s(s.t(1, 3, 1)), s(s.t(1, 3, 1), 0), s(s.t(1, 3, 1), 1), s(s.t(1, 3, 1), (0, -1)), s(s.t()),
                      s(s.t(1, 0))],
   doc=card("Drops dimensions of size 1.", "mg.zeros(1, 3, 1).squeeze().shape -> minigrad.Size([3])",
            input="any tensor.",
            dim="which dimensions may go; None means all. Those of another size stay.", returns="a view.",
            raises="IndexError for a dim out of range.", grad=_SHARES))

op("unsqueeze(input, dim: int) -> out", meta="unsqueeze", view=True, dinput=lambda g, dim: g.squeeze(dim),
   ref=lambda input, dim: numpy().expand_dims(input, dim),
   samples=lambda s: [s(s.t(2, 3), 0), s(s.t(2, 3), -1), s(s.t(2, 3), 1), s(s.t(), 0), s(s.t(0), 1)],
   doc=card("Inserts a dimension of size 1.", "mg.tensor([1, 2]).unsqueeze(1).tolist() -> [[1], [2]]",
            input="any tensor.",
            dim="its position in the result, in [-input.dim() - 1, input.dim()].", returns="a view.",
            raises="IndexError for a dim out of range.", grad=_SHARES))

# --- order of dimensions ----------------------------------------------------------------------------------------------
op("transpose(input, dim0: int, dim1: int) -> out", meta="transpose", view=True,
   dinput=lambda g, dim0, dim1: g.transpose(dim0, dim1),
   ref=lambda input, dim0, dim1: input.swapaxes(dim0, dim1) if input.ndim else input,
   samples=lambda s: [s(s.t(2, 3), 0, 1), s(s.t(2, 3, 4), -1, 0), s(s.t(3), 0, 0), s(s.t(), 0, -1), s(s.t(0, 3), 0, 1)],
   doc=card("Swaps two dimensions.", "mg.zeros(2, 3).transpose(0, 1).shape -> minigrad.Size([3, 2])",
            input="any tensor.",
            dim0="first dimension.", dim1="second dimension.", returns="a view.",
            raises="IndexError for a dim out of range.", grad=_SHARES))

op("swapaxes(input, axis0: int, axis1: int) -> out", meta="transpose", view=True,
   dinput=lambda g, axis0, axis1: g.transpose(axis0, axis1),
   ref=lambda input, axis0, axis1: input.swapaxes(axis0, axis1),
   samples=lambda s: [s(s.t(2, 3), 0, 1), s(s.t(2, 3, 4), -1, 0)],
   doc=card("NumPy's name for transpose.", "mg.zeros(2, 3).swapaxes(0, 1).shape -> minigrad.Size([3, 2])",
            input="any tensor.",
            axis0="first dimension.", axis1="second dimension.", returns="a view.",
            raises="IndexError for a dim out of range.", grad=_SHARES))

op("swapdims(input, dim0: int, dim1: int) -> out", meta="transpose", view=True,
   dinput=lambda g, dim0, dim1: g.transpose(dim0, dim1),
   ref=lambda input, dim0, dim1: input.swapaxes(dim0, dim1),
   samples=lambda s: [s(s.t(2, 3), 0, 1), s(s.t(2, 3, 4), -1, 0)],
   doc=card("Another name for transpose.", "mg.zeros(2, 3).swapdims(0, 1).shape -> minigrad.Size([3, 2])",
            input="any tensor.",
            dim0="first dimension.", dim1="second dimension.", returns="a view.",
            raises="IndexError for a dim out of range.", grad=_SHARES))

op("t(input) -> out", meta="t", view=True, dinput=lambda g: g.t(), ref=lambda input: input.T,
   samples=lambda s: [s(s.t(2, 3)), s(s.t(3)), s(s.t()), s(s.t(0, 2))],
   doc=card("Transposes a matrix; 0-d and 1-d tensors stay as they are.",
            "mg.zeros(2, 3).t().shape -> minigrad.Size([3, 2])",
            input="at most 2 dimensions.", returns="a view.", raises="RuntimeError above 2 dimensions.", grad=_SHARES))


def _inverse(dims: tuple[int, ...]) -> list[int]:
    order = [0] * len(dims)
    for position, d in enumerate(dims):
        order[d % len(dims)] = position
    return order


op("permute(input, dims: ints...) -> out", meta="permute", view=True, dinput=lambda g, dims: g.permute(_inverse(dims)),
   ref=lambda input, dims: input.transpose(dims),
   samples=lambda s: [s(s.t(2, 3, 4), (2, 0, 1)), s(s.t(2, 3), (-1, 0)), s(s.t(), ()), s(s.t(0, 3), (1, 0))],
   doc=card("Reorders the dimensions.", "mg.zeros(2, 3, 4).permute(2, 0, 1).shape -> minigrad.Size([4, 2, 3])",
            input="any tensor.",
            dims="for each dimension of the result, the dimension of the input.", returns="a view.",
            raises="RuntimeError when dims is no permutation, IndexError for a dim out of range.", grad=_SHARES))

for _name, _other in (("movedim", "moveaxis"), ("moveaxis", "movedim")):
    op(f"{_name}(input, source: ints, destination: ints) -> out", meta="movedim", view=True,
       dinput=lambda g, source, destination: g.movedim(destination, source),
       ref=lambda input, source, destination: numpy().moveaxis(input, source, destination),
       samples=lambda s: [s(s.t(2, 3, 4), 0, -1), s(s.t(2, 3, 4), (0, 1), (-1, 0)), s(s.t(2, 3), (), ())],
       doc=card(f"Moves dimensions to new positions; the others keep their order (also called {_other}).",
                f"mg.{_name}(mg.zeros(2, 3, 4), 0, -1).shape -> minigrad.Size([3, 4, 2])", input="any tensor.",
                source="dimensions to move.", destination="where each of them goes.", returns="a view.",
                raises="RuntimeError when a dim is named twice, IndexError when out of range.", grad=_SHARES))

# --- parts ------------------------------------------------------------------------------------------------------------
# The gradient of a part is zero but in that part: one op each (copy_region kernels in csrc/cpu/join.cpp), linear, so
# that
# its own gradient is the view again.
_select_backward = op(
    "_select_backward(g, input_shape: ints, dim: int, index: int) -> out", meta="region_backward", namespace=None,
    dg=lambda g, dim, index: g.select(dim, index), grad_name="SelectBackward",
    samples=lambda s: [s(s.t(3), (2, 3), 0, 1), s(s.t(2), (2, 3), -1, -1)],
    ref=lambda g, input_shape, dim, index: _region(input_shape, g, lambda z: z.swapaxes(0, dim)[index]),
    doc="Zeros of input_shape with g at position `index` of `dim`; the gradient of select.")
_slice_backward = op(
    "_slice_backward(g, input_shape: ints, dim: int, start: int? = None, stop: int? = None, step: int = 1) -> out",
    meta="region_backward", namespace=None, dg=lambda g, dim, start, stop, step: _slice(g, dim, start, stop, step),
    samples=lambda s: [s(s.t(2, 3), (2, 5), 1, 0, 3, 1), s(s.t(2, 2), (2, 5), -1, 1, None, 2)],
    ref=lambda g, input_shape, dim, start=None, stop=None, step=1: _region(
        input_shape, g.swapaxes(0, dim), lambda z: z.swapaxes(0, dim)[start:stop:step]),
    doc="Zeros of input_shape with g in the slice; the gradient of x[start:stop:step].")
_narrow_backward = op(
    "_narrow_backward(g, input_shape: ints, dim: int, start: int, length: int) -> out", meta="region_backward",
    namespace=None,
    dg=lambda g, dim, start, length: g.narrow(dim, start, length),
    samples=lambda s: [s(s.t(2, 3), (2, 5), 1, 1, 3), s(s.t(2, 0), (2, 5), 1, 5, 0)],
    ref=lambda g, input_shape, dim, start, length: _region(
        input_shape, g.swapaxes(0, dim), lambda z: z.swapaxes(0, dim)[start:start + length]),
    doc="Zeros of input_shape with g in the narrowed part; the gradient of narrow.")
_diagonal_backward = op(
    "_diagonal_backward(g, input_shape: ints, offset: int = 0, dim1: int = 0, dim2: int = 1) -> out",
    meta="region_backward",
    namespace=None, dg=lambda g, offset, dim1, dim2: g.diagonal(offset, dim1, dim2),
    samples=lambda s: [s(s.t(3), (3, 3)), s(s.t(2, 3), (3, 2, 4), 1, 0, 2), s(s.t(2), (3, 3), -1)],
    ref=lambda g, input_shape, offset=0, dim1=0, dim2=1: _region(
        input_shape, g, lambda z: _writable(z.diagonal(offset, dim1, dim2))),
    doc="Zeros of input_shape with g on a diagonal; the gradient of diagonal, and diag_embed.")
_unfold_backward = op(
    "_unfold_backward(g, input_shape: ints, dimension: int, size: int, step: int) -> out", meta="unfold_backward",
    namespace=None,
    dg=lambda g, dimension, size, step: g.unfold(dimension, size, step),
    samples=lambda s: [s(s.t(4, 2), (5,), 0, 2, 1), s(s.t(2, 2, 3), (2, 5), 1, 3, 2)],
    no_ref_reason="checked as the gradient of unfold", doc="Adds overlapping windows up again; the gradient of unfold.")


def _writable(view: Any) -> Any:
    view.flags.writeable = True
    return view


def _region(shape: tuple[int, ...], g: Any, part: Any) -> Any:
    zeros = numpy().zeros(shape)
    part(zeros)[...] = g
    return zeros


op("select(input, dim: int, index: int) -> out", meta="select", view=True,
   dinput=lambda g, input_shape, dim, index: _select_backward(g, input_shape, dim, index),
   ref=lambda input, dim, index: input.take(index, dim),
   samples=lambda s: [s(s.t(2, 3), 0, 1), s(s.t(2, 3), -1, -1), s(s.t(4), 0, 2), s(s.t(3, 0), 0, 1)],
   doc=card("One position of a dimension, which goes away.",
            "mg.tensor([[1, 2], [3, 4]]).select(1, 0).tolist() -> [1, 3]",
            input="at least 1 dimension.", dim="the dimension.", index="position, negative from the end.",
            returns="a view.",
            raises="IndexError for dim or index out of range.", grad="Zero everywhere else."))

_slice = op(
    "_slice(input, dim: int, start: int? = None, stop: int? = None, step: int = 1) -> out", meta="slice", view=True,
    namespace=None,
    dinput=lambda g, input_shape, dim, start, stop, step: _slice_backward(g, input_shape, dim, start, stop, step),
    ref=lambda input, dim, start=None, stop=None, step=1: input.swapaxes(0, dim)[start:stop:step].swapaxes(0, dim),
    samples=lambda s: [s(s.t(5, 2), 0, 1, 4), s(s.t(5, 2), 0, None, -1, 2), s(s.t(2, 5), -1, 3, 1),
                       s(s.t(2, 5), 1, -9, 99, 3), s(s.t(0), 0)],
    doc=card("Every step-th position of [start, stop) of a dimension; what x[start:stop:step] calls.",
             "mg.arange(5)[1:4:2].tolist() -> [1, 3]", input="at least 1 dimension.", dim="the dimension.",
             start="first position.",
             stop="end, excluded.", step="at least 1.", returns="a view.", raises="ValueError for step < 1.",
             grad="Zero everywhere else."))

op("narrow(input, dim: int, start: int, length: int) -> out", meta="narrow", view=True,
   dinput=lambda g, input_shape, dim, start, length: _narrow_backward(g, input_shape, dim, start, length),
   ref=lambda input, dim, start, length: input.swapaxes(0, dim)[start:start + length if start + length
                                                                else None].swapaxes(0, dim),
   samples=lambda s: [s(s.t(5, 2), 0, 1, 3), s(s.t(2, 5), -1, -2, 2), s(s.t(4), 0, 4, 0)],
   doc=card("`length` positions of a dimension from `start` on.", "mg.arange(5).narrow(0, 1, 2).tolist() -> [1, 2]",
            input="at least 1 dimension.", dim="the dimension.", start="first position, negative from the end.",
            length="how many.",
            returns="a view.", raises="RuntimeError when the range leaves the dimension, IndexError for start.",
            grad="Zero everywhere else."))

op("diagonal(input, offset: int = 0, dim1: int = 0, dim2: int = 1) -> out", meta="diagonal", view=True,
   dinput=lambda g, input_shape, offset, dim1, dim2: _diagonal_backward(g, input_shape, offset, dim1, dim2),
   ref=lambda input, offset=0, dim1=0, dim2=1: input.diagonal(offset, dim1, dim2),
   samples=lambda s: [s(s.t(3, 3)), s(s.t(3, 4), 1), s(s.t(3, 4), -2), s(s.t(2, 3, 4), 0, -1, 0), s(s.t(3, 3), 7),
                      s(s.t(0, 3))],
   doc=card("A diagonal of a matrix or of each matrix of a batch, as the last dimension.",
            "mg.tensor([[1, 2], [3, 4]]).diagonal().tolist() -> [1, 4]", input="at least 2 dimensions.",
            offset="0 main, positive above, negative below.", dim1="rows.", dim2="columns.", returns="a view.",
            raises="RuntimeError when dim1 == dim2.", grad="Zero off the diagonal."))

@composite(samples=lambda s: [s(s.t(3, 3)), s(s.t(2, 4)), s(s.t(0, 3)), s(s.t(3, 2, layout="transposed"))],
           ref=lambda input: numpy().trace(input))
def trace(input: mg.Tensor) -> mg.Tensor:
    """Sum of the main diagonal of a matrix.

    Args:
        input: 2-d tensor.
    Returns:
        a 0-d tensor; int64 for integers.
    Raises:
        RuntimeError for another number of dimensions.
    Example:
        >>> mg.trace(mg.tensor([[1, 2], [3, 4]]))
        tensor(5)
    """
    if input.dim() != 2:
        raise RuntimeError(f"trace: expected a matrix: got shape {tuple(input.shape)}")
    return input.diagonal().sum()


op("unfold(input, dimension: int, size: int, step: int) -> out", meta="unfold", view=True, namespace=None, method=True,
   dinput=lambda g, input_shape, dimension, size, step: _unfold_backward(g, input_shape, dimension, size, step),
   ref=lambda input, dimension, size, step: numpy().moveaxis(numpy().moveaxis(
       numpy().lib.stride_tricks.sliding_window_view(input, size, axis=dimension), dimension, 0)[::step], 0, dimension),
   samples=lambda s: [s(s.t(5), 0, 2, 1), s(s.t(2, 7), 1, 3, 2), s(s.t(4, 3), -2, 4, 1)],
   doc=card("All windows of `size` along a dimension, `step` apart; the window is the last dimension of the result.",
            "mg.arange(4).unfold(0, 2, 1).tolist() -> [[0, 1], [1, 2], [2, 3]]", input="any tensor.",
            dimension="where to slide.",
            size="window length.", step="distance of window starts.", returns="a view; windows may share elements.",
            raises="RuntimeError when size exceeds the dimension or step < 1.", grad="Overlapping windows add up."))

# --- any geometry -----------------------------------------------------------------------------------------------------
_restride = op(
    "_restride(g, from_stride: ints, from_offset: int, size: ints, stride: ints, offset: int) -> out", meta="restride",
    namespace=None,
    dg=lambda g, g_shape, from_stride, from_offset, stride, offset: _restride(
        g, stride, offset, g_shape, from_stride, from_offset),
    samples=lambda s: [s(s.t(2, 3), (3, 1), 0, (3, 2), (1, 3), 0), s(s.t(3, 2), (1, 1), 0, (4,), (1,), 0)],
    no_ref_reason="checked as the gradient of as_strided",
    doc="Lays g into zeros by one geometry (places that meet add up) and reads them by another; the gradient of "
    "as_strided.")


def _as_strided_backward(
    g: mg.Tensor, input_shape: tuple[int, ...], size: tuple[int, ...], stride: tuple[int, ...], storage_offset: int,
    input_stride: tuple[int, ...], input_offset: int,
) -> mg.Tensor:  # fmt: skip
    shift = min(storage_offset, input_offset)
    grad = _restride(g, stride, storage_offset - shift, input_shape, input_stride, input_offset - shift)
    if any(n > 1 and step == 0 for n, step in zip(input_shape,
                                                  input_stride)):  # elements sharing a place share its gradient
        ones = g.new_ones(input_shape)
        grad = grad / _restride(ones, input_stride, 0, input_shape, input_stride, 0)
    return grad


_as_strided = op(
    "_as_strided(input, size: ints, stride: ints, storage_offset: int, input_stride: ints, input_offset: int) -> out",
    meta="as_strided", view=True, namespace=None, dinput=_as_strided_backward, grad_name="AsStrided",
    no_layouts_reason="reads the storage, whatever its layout",
    samples=lambda s: [s(s.t(2, 3), (3, 2), (1, 3), 0, (3, 1), 0), s(s.t(6), (4, 2), (1, 1), 1, (1,), 0)],
    ref=lambda input, size, stride, storage_offset, input_stride, input_offset: numpy().lib.stride_tricks.as_strided(
        input.ravel()[storage_offset:], size, [n * input.itemsize for n in stride]),
    doc="as_strided with the geometry of the input spelled out for the gradient; contiguous input assumed by the "
    "reference.")


@composite(
    no_layouts_reason="reads the storage, whatever its layout",
    samples=lambda s: [s(s.t(2, 3), (3, 2), (1, 3)), s(s.t(6), (4, 2), (1, 1), 1)],
)
def as_strided(input: mg.Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> mg.Tensor:
    """Any geometry on the storage of `input`: element i, j … lies at storage_offset + i * stride[0] + j * stride[1] …

    Args:
        input: any tensor; its storage is used, whatever part of it `input` shows.
        size: sizes of the result.
        stride: steps in elements, not negative.
        storage_offset: first element; None keeps the input's.
    Returns:
        a view.
    Raises:
        RuntimeError when the geometry leaves the storage.
    Gradient:
        Elements shown several times add up; outside the input's own elements it is lost.
    Example:
        >>> mg.arange(4).as_strided((3, 2), (1, 1)).tolist()
        [[0, 1], [1, 2], [2, 3]]
    """
    own = input.storage_offset()
    return _as_strided(input, size, stride, own if storage_offset is None else storage_offset, input.stride(), own)
