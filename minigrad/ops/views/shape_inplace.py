"""In-place changes of shape: squeeze_, unsqueeze_, transpose_, t_, swapaxes_, swapdims_, as_strided_, resize_, resize_as_.

They exchange the geometry of the tensor object itself and record it (csrc/autograd/inplace.cpp, take_geometry): gradients flow
as through the form without underscore, views stay views of their base, and whoever saved the tensor for backward raises. For a
leaf that requires grad they raise, as every in-place op does.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, resize_tensor, take_geometry
from minigrad.ops.shared.struct_doc import card


def _declare(name: str, example: str, **args: str) -> None:
    def method(input: mg.Tensor, *positional: Any, **named: Any) -> mg.Tensor:
        take_geometry(name + "_", input, functions[name](input, *positional, **named))
        return input

    method.__name__ = method.__qualname__ = name + "_"
    method.__doc__ = card(f"`{name}` that changes the tensor itself.", example, input="changed.", **args,
                          returns="input.", raises="RuntimeError for a leaf that requires grad; what the form without "
                          "underscore raises.", grad="that of the form without underscore.")  # fmt: skip
    composite(namespace=(), method=True, no_samples_reason="changes the tensor object; see tests of views")(method)


_declare("squeeze", "mg.zeros(1, 2).squeeze_().shape -> minigrad.Size([2])", dim="as for squeeze.")
_declare("unsqueeze", "mg.zeros(2).unsqueeze_(0).shape -> minigrad.Size([1, 2])", dim="as for unsqueeze.")
_declare("transpose", "mg.zeros(1, 2).transpose_(0, 1).shape -> minigrad.Size([2, 1])", dim0="first dimension.",
         dim1="second dimension.")
_declare("swapaxes", "mg.zeros(1, 2).swapaxes_(0, 1).shape -> minigrad.Size([2, 1])", axis0="first dimension.",
         axis1="second dimension.")
_declare("swapdims", "mg.zeros(1, 2).swapdims_(0, 1).shape -> minigrad.Size([2, 1])", dim0="first dimension.",
         dim1="second dimension.")
_declare("t", "mg.zeros(1, 2).t_().shape -> minigrad.Size([2, 1])")


_declare("as_strided", "mg.arange(4).as_strided_((2,), (2,)) -> tensor([0, 2])", size="sizes.", stride="steps in elements.",
         storage_offset="first element; None keeps it.")  # fmt: skip


@composite(namespace=(), method=True, no_samples_reason="changes the tensor object; new elements are uninitialised")
def resize_(input: mg.Tensor, *sizes: Any, memory_format: Any = None) -> mg.Tensor:
    """Gives the tensor another shape and number of elements; the first elements stay, new ones are uninitialised.

    Args:
        input: changed; its views keep seeing the same storage, which grows where it has to.
        sizes: as numbers or one sequence.
        memory_format: ignored; the result is row-major.
    Returns:
        input.
    Raises:
        RuntimeError for tensors that require grad, negative sizes or memory that is not ours to resize.
    Example:
        >>> mg.tensor([1, 2, 3, 4]).resize_(2)
        tensor([1, 2])
    """
    if not sizes:
        raise TypeError("resize_: missing 1 required positional argument: 'size'. Try () for a 0-d tensor.")
    shape = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    if tuple(input.shape) != shape or input.requires_grad:
        resize_tensor(input, list(shape))
    return input


@composite(no_samples_reason="changes the tensor object; new elements are uninitialised")
def resize_as_(input: mg.Tensor, the_template: mg.Tensor, *, memory_format: Any = None) -> mg.Tensor:
    """`resize_` to the shape of another tensor.

    Args:
        input: changed.
        the_template: gives the shape.
        memory_format: ignored.
    Returns:
        input.
    Raises:
        RuntimeError for tensors that require grad.
    Example:
        >>> mg.tensor([1, 2, 3]).resize_as_(mg.zeros(2)).shape
        minigrad.Size([2])
    """
    return resize_(input, the_template.shape)


@composite(namespace=(), method=True, no_samples_reason="writes in place; checked in tests of views")
def fill_diagonal_(input: mg.Tensor, fill_value: float, wrap: bool = False) -> mg.Tensor:
    """Sets the main diagonal to one value.

    Args:
        input: overwritten; at least 2 dimensions, all equal above 2.
        fill_value: the value.
        wrap: start again below the square part of a tall matrix.
    Returns:
        input.
    Raises:
        RuntimeError for other shapes.
    Example:
        >>> mg.zeros(2, 2).fill_diagonal_(1).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    if input.dim() < 2 or (input.dim() > 2 and len(set(input.shape)) > 1):
        raise RuntimeError(f"fill_diagonal_: expected a matrix or a tensor of equal dimensions: got shape "
        f"{tuple(input.shape)}")
    step, stride, shape = sum(input.stride()), input.stride(), input.shape
    functions["as_strided"](input, (min(shape),), (step,)).fill_(fill_value)
    if wrap and input.dim() == 2:
        start = shape[1] + 1
        while start < shape[0]:
            part = functions["_slice"](input, 0, start)
            functions["as_strided"](part, (min(part.shape),), (stride[0] + stride[1],)).fill_(fill_value)
            start += shape[1] + 1
    return input
