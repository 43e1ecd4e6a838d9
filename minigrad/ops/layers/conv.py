"""Convolutions over 1 to 3 spatial dims: conv1d … conv3d, their adjoints conv_transpose1d …, and the weight's gradient.

Meta: csrc/core/meta_conv.cpp; kernels: csrc/cpu/conv*.cpp (conv.h is their map); NumPy references: _conv_reference.py.

<dy, conv(x, w)> is linear in each of x, w and dy, and the three ops here are its three gradients:
    _conv(x, w) -> y        _conv_transpose(dy, w) -> dx        _conv_weight_grad(x, dy) -> dw
so the gradient of each is made of the other two, to any order. The number of spatial dims is that of the weight.
Legend: N images, C input and O output channels, k kernel sizes, * spatial dims.
"""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops.layers import conv_reference as reference
from minigrad.ops.layers.conv_reference import per_dim
from minigrad.ops.shared.struct_doc import card


def _crop(x: Any, shape: tuple[int, ...], dims: int) -> Any:
    """The first part of x, as large as `shape`: with output_padding >= stride the adjoint yields more."""
    for dim in range(-dims, 0):
        if x.shape[dim] != shape[dim]:
            x = x.narrow(dim, 0, shape[dim])
    return x


def _data(g: Any, weight: Any, shape: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Gradient of _conv with respect to an input of that shape."""
    kernel = weight.shape[2:]
    n = len(kernel)
    spatial = zip(
        shape[-n:], g.shape[-n:], kernel, per_dim(stride, n), per_dim(padding, n), per_dim(dilation, n), strict=True
    )
    extra = [size - ((o - 1) * s - 2 * p + d * (k - 1) + 1) for size, o, k, s, p, d in spatial]
    return functions["_conv_transpose"](g, weight, None, stride, padding, extra, groups, dilation)


def _channel_sum(g: Any, weight_shape: tuple[int, ...]) -> Any:
    dims = len(weight_shape) - 2
    spatial = list(range(-dims, 0))
    return g.sum([0, *spatial] if g.dim() == dims + 2 else spatial)


op(
    "_conv_weight_grad(input, grad, kernel_size: ints, stride: ints = 1, padding: ints = 0, dilation: ints = 1,"
    " groups: int = 1) -> out",
    meta="conv_weight_grad",
    namespace=None,
    method=False,
    dinput=lambda g, grad, input_shape, stride, padding, dilation, groups: _data(
        grad, g, input_shape, stride, padding, dilation, groups
    ),
    dgrad=lambda g, input, grad_shape, kernel_size, stride, padding, dilation, groups: _crop(
        functions["_conv"](input, g, None, stride, padding, dilation, groups), grad_shape, len(kernel_size)
    ),
    ref=reference.weight_grad,
    reduction=lambda input, grad, kernel_size, *_, **__: grad.size // max(grad.shape[-len(kernel_size) - 1], 1),
    samples=lambda s: [
        s(s.t(2, 2, 5, 4), s.t(2, 3, 3, 2), (3, 3)),
        s(s.t(2, 4, 5, 5), s.t(2, 2, 3, 3), (3, 3), 2, 1, 1, 2),
        s(s.t(2, 5, 4), s.t(3, 4, 3), (2, 2)),
        s(s.t(1, 3, 6, 6), s.t(1, 3, 2, 2), (3, 3), 1, 0, 2, 3),
        s(s.t(2, 2, 6), s.t(2, 3, 4), (3,)),
        s(s.t(1, 2, 3, 4, 3), s.t(1, 2, 2, 3, 2), (2, 2, 2)),
    ],
    doc="Gradient of a convolution with respect to its weight, (O, C / groups, k…), from input (N, C, *) and the"
    " gradient (N, O, *) of the output.",
)

op(
    "_conv(input, weight, bias? = None, stride: ints = 1, padding: ints = 0, dilation: ints = 1, groups: int = 1)"
    " -> out",
    meta="conv",
    namespace=None,
    method=False,
    grad_name="Convolution",
    dinput=lambda g, weight, input_shape, stride, padding, dilation, groups: _data(
        g, weight, input_shape, stride, padding, dilation, groups
    ),
    dweight=lambda g, input, weight_shape, stride, padding, dilation, groups: functions["_conv_weight_grad"](
        input, g, weight_shape[2:], stride, padding, dilation, groups
    ),
    dbias=_channel_sum,
    ref=reference.forward,
    flops=lambda input, weight, *_, **__: 2 * input.numel() // max(input.shape[1 - weight.dim()], 1) * weight.numel(),
    reduction=lambda input, weight, *_, **__: math.prod(weight.shape[1:]) + 1,
    samples=lambda s: [
        s(s.t(2, 2, 4, 5), s.t(3, 2, 3, 3), s.t(3)),
        s(s.t(2, 2, 4, 5), s.t(3, 2, 3, 3), None, 2, 1),
        s(s.t(1, 4, 5, 5), s.t(2, 2, 2, 3), s.t(2), (1, 2), (1, 0), (2, 1), 2),
        s(s.t(2, 3, 5), s.t(2, 2, 2, 2), s.t(2)),
        s(s.t(1, 3, 5, 5), s.t(3, 1, 3, 3), None, 1, 1, 1, 3),
        s(s.t(2, 2, 4, 4), s.t(3, 2, 1, 1), s.t(3)),
        s(s.t(0, 2, 4, 4), s.t(3, 2, 3, 3), s.t(3)),
        s(s.t(2, 2, 4, 5, layout="transposed"), s.t(3, 2, 3, 3), None, 3),
        s(s.t(3, 9, 12, 11), s.t(17, 9, 3, 3), s.t(17), 1, 1),
        s(s.t(2, 4, 7), s.t(2, 2, 3), None, 2, 1, 2, 2),
        s(s.t(1, 2, 3, 4, 3), s.t(2, 2, 2, 2, 2), s.t(2), 1, 1),
        s(s.t(2, 4, 4, 5), s.t(2, 1, 2, 2, 3), None, (1, 2, 1), (0, 1, 1), (2, 1, 1), 2),
        s(s.t(2, 3, 5, 6, 7), s.t(8, 3, 3, 3, 3), s.t(8), 2, 1),
    ],
    doc="Cross-correlation of (N, C, *) or (C, *) with (O, C / groups, k…); the kernel of conv1d, conv2d and conv3d.",
)

op(
    "_conv_transpose(input, weight, bias? = None, stride: ints = 1, padding: ints = 0, output_padding: ints = 0,"
    " groups: int = 1, dilation: ints = 1) -> out",
    meta="conv_transpose",
    namespace=None,
    method=False,
    grad_name="Convolution",
    dinput=lambda g, weight, input_shape, stride, padding, groups, dilation: _crop(
        functions["_conv"](g, weight, None, stride, padding, dilation, groups), input_shape, weight.dim() - 2
    ),
    dweight=lambda g, input, weight_shape, stride, padding, groups, dilation: functions["_conv_weight_grad"](
        g, input, weight_shape[2:], stride, padding, dilation, groups
    ),
    dbias=_channel_sum,
    ref=reference.transposed,
    flops=lambda input, weight, *_, **__: 2 * input.numel() // max(input.shape[1 - weight.dim()], 1) * weight.numel(),
    reduction=lambda input, weight, *_, **__: weight.shape[0] * math.prod(weight.shape[2:]) + 1,
    samples=lambda s: [
        s(s.t(2, 3, 3, 4), s.t(3, 2, 3, 3), s.t(2)),
        s(s.t(2, 3, 3, 4), s.t(3, 2, 3, 3), None, 2, 1, 1),
        s(s.t(1, 4, 3, 3), s.t(4, 1, 2, 3), s.t(2), (1, 2), (0, 1), (0, 1), 2, (2, 1)),
        s(s.t(3, 3, 3), s.t(3, 2, 2, 2)),
        s(s.t(1, 2, 3, 3), s.t(2, 1, 3, 3), s.t(2), 2, 0, 0, 2),
        s(s.t(0, 2, 3, 3), s.t(2, 3, 2, 2)),
        s(s.t(2, 17, 6, 5), s.t(17, 9, 3, 3), s.t(9), 2, 1),
        s(s.t(2, 4, 3), s.t(4, 1, 3), None, 2, 1, 1, 2),
        s(s.t(1, 2, 2, 3, 2), s.t(2, 2, 2, 2, 3), s.t(2), 1, (0, 1, 1)),
        s(s.t(2, 2, 3, 2), s.t(2, 1, 2, 2, 2), None, 2, 1, (1, 0, 1), 2),
    ],
    doc="The adjoint of _conv: (N, C, *) with (C, O / groups, k…); the kernel of conv_transpose1d, 2d and 3d.",
)


# --- public forms -----------------------------------------------------------------------------------------------------
def _check_dims(name: str, input: Any, weight: Any, dims: int) -> None:
    if not isinstance(input, mg.Tensor) or not isinstance(weight, mg.Tensor):
        raise TypeError(f"{name}: input and weight must be tensors: got {type(input)} and {type(weight)}.")
    if weight.dim() != dims + 2:
        raise RuntimeError(
            f"{name}: expected a {dims + 2}-d weight: got {tuple(weight.shape)} for input {tuple(input.shape)}."
        )


def _in_float64(fn: Any, input: Any, weight: Any, bias: Any, *rest: Any) -> Any:
    """Integers, by way of float64: exact as long as no sum exceeds 2^53."""
    if weight.dtype != mg.int64 or (bias is not None and bias.dtype != mg.int64):
        raise RuntimeError(f"{fn.__name__}: expected input and weight of one dtype: got {input.dtype} and {weight.dtype}.")
    return fn(input.double(), weight.double(), None if bias is None else bias.double(), *rest).to(mg.int64)


def _string_padding(name: str, input: Any, weight: Any, stride: Any, padding: str, dilation: Any) -> tuple[Any, Any]:
    """(input, padding in numbers) for "same" and "valid"."""
    if padding == "valid":
        return input, 0
    if padding != "same":
        raise RuntimeError(f"{name}: invalid padding string {padding!r}, expected 'valid' or 'same'.")
    kernel = weight.shape[2:]
    if any(s != 1 for s in per_dim(stride, len(kernel))):
        raise RuntimeError(f"{name}: padding='same' is not supported for strided convolutions: got stride {stride}.")
    total = [d * (k - 1) for d, k in zip(per_dim(dilation, len(kernel)), kernel, strict=True)]
    if all(t % 2 == 0 for t in total):
        return input, tuple(t // 2 for t in total)
    # An even kernel pads one more at the end, as torch does.
    sides = [side for t in reversed(total) for side in (t // 2, t - t // 2)]
    return mg.nn.functional.pad(input, sides), 0


_WHAT = {1: "sequences", 2: "images", 3: "volumes"}
_SIZES = {1: "L", 2: "H, W", 3: "D, H, W"}


def _declare_conv(dims: int) -> None:
    name = f"conv{dims}d"

    def conv(
        input: mg.Tensor,
        weight: mg.Tensor,
        bias: mg.Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> mg.Tensor:
        _check_dims(name, input, weight, dims)
        if type(padding) is str:
            input, padding = _string_padding(name, input, weight, stride, padding, dilation)
        if input.dtype == mg.int64:
            return _in_float64(conv, input, weight, bias, stride, padding, dilation, groups)
        return functions["_conv"](input, weight, bias, stride, padding, dilation, groups)

    ones, sizes = ", ".join(["1, 1"] + ["2"] * dims), _SIZES[dims]
    conv.__name__ = conv.__qualname__ = name
    conv.__doc__ = card(
        f"Cross-correlation of {_WHAT[dims]} with a set of kernels.",
        f"mg.{name}(mg.ones({ones}), mg.ones({ones})).flatten() -> tensor([{2**dims}.])",
        input=f"(N, C, {sizes}) or (C, {sizes}), floating, complex or int64 (exact below 2^53).",
        weight="(O, C / groups, kernel sizes), of the same dtype.",
        bias="(O,) or None.",
        stride="step, one number or one per dim, >= 1.",
        padding="zeros on both sides, >= 0; 'valid' is 0, 'same' keeps the sizes (stride 1 only).",
        dilation="distance of the kernel's taps, >= 1.",
        groups="number of blocks that channels are split into; divides C and O.",
        returns="(N, O, *) with sizes (size + 2 * padding - dilation * (k - 1) - 1) // stride + 1.",
        raises="RuntimeError for channels, groups or dtypes that do not fit, or a kernel larger than the padded input.",
        source="Dumoulin and Visin, A guide to convolution arithmetic, arXiv:1603.07285.",
    )
    x, w = (2, 4, 5, 4)[: dims + 1], (2, 2, 3)[:dims]  # one unbatched image; even and odd kernels
    composite(
        ("", "nn.functional"),
        method=False,
        samples=lambda s: [
            s(s.t(2, *x), s.t(3, 2, *w), s.t(3)),
            s(s.t(*x), s.t(2, 2, *w), None, 1, "same"),
            s(s.t(*x), s.t(2, 2, *w), None, 1, "valid"),
            s(s.t(1, *x), s.t(2, 1, *w), s.t(2), 2, 1, 1, 2),
        ]
        if dims < 3
        else [s(s.t(1, 2, 3, 2, 3), s.t(2, 2, 2, 2, 2), s.t(2)), s(s.t(2, 2, 3, 2), s.t(1, 2, 2, 1, 3), None, 1, "same")],
        ref=reference.public,
    )(conv)


def _declare_conv_transpose(dims: int) -> None:
    name = f"conv_transpose{dims}d"

    def conv_transpose(
        input: mg.Tensor,
        weight: mg.Tensor,
        bias: mg.Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> mg.Tensor:
        _check_dims(name, input, weight, dims)
        if input.dtype == mg.int64:
            return _in_float64(conv_transpose, input, weight, bias, stride, padding, output_padding, groups, dilation)
        return functions["_conv_transpose"](input, weight, bias, stride, padding, output_padding, groups, dilation)

    sizes, one, two = _SIZES[dims], ", ".join(["1"] * (dims + 2)), ", ".join(["1, 1"] + ["1"] * (dims - 1) + ["2"])
    conv_transpose.__name__ = conv_transpose.__qualname__ = name
    conv_transpose.__doc__ = card(
        f"Transposed convolution: the gradient of conv{dims}d with respect to its input, used as a layer of its own.",
        f"mg.{name}(mg.ones({one}), mg.ones({two})).flatten() -> tensor([1., 1.])",
        input=f"(N, C, {sizes}) or (C, {sizes}), floating.",
        weight="(C, O / groups, kernel sizes), of the same dtype.",
        bias="(O,) or None.",
        stride=f"step of conv{dims}d, >= 1.",
        padding=f"padding of conv{dims}d: cut off from the result.",
        output_padding="elements added at the end of each dim.",
        groups="divides C and O.",
        dilation=">= 1.",
        returns="(N, O, *) with sizes (size - 1) * stride - 2 * padding + dilation * (k - 1) + output_padding + 1.",
        raises="RuntimeError for channels, groups or dtypes that do not fit, or an empty result.",
    )
    x, w = (3, 2, 2)[:dims], (2, 2, 3)[:dims]
    composite(
        ("", "nn.functional"),
        method=False,
        samples=lambda s: [
            s(s.t(2, 2, *x), s.t(2, 2, *w), s.t(2)),
            s(s.t(2, *x), s.t(2, 1, *w), None, 2, 1, 1, 2),
        ],
        ref=reference.transposed,
    )(conv_transpose)


for _dims in (1, 2, 3):
    _declare_conv(_dims)
    _declare_conv_transpose(_dims)


@composite(
    ("", "nn.functional"),
    method=False,
    dtypes=("float64", "float32"),
    samples=lambda s: [s(s.f(5, 2, 3), s.f(3, 3, 4), s.f(4), 1), s(s.f(4, 1, 2), s.f(2, 2, 3), s.f(3))],
    ref=lambda input, weight, bias, pad=0: reference.forward(
        input.transpose(1, 2, 0), weight.transpose(2, 1, 0), bias, 1, pad
    ).transpose(2, 0, 1),
)
def conv_tbc(input: mg.Tensor, weight: mg.Tensor, bias: mg.Tensor, pad: int = 0) -> mg.Tensor:
    """conv1d of sequences whose first dim is time.

    Args:
        input: (T, N, C), floating.
        weight: (k, C, O).
        bias: (O,).
        pad: zeros on both sides.
    Returns:
        (T + 2 * pad - k + 1, N, O).
    Raises:
        RuntimeError for sizes or dtypes that do not fit.
    Example:
        >>> mg.conv_tbc(mg.ones(3, 1, 1), mg.ones(2, 1, 1), mg.zeros(1)).flatten()
        tensor([2., 2.])
    """
    if input.dim() != 3 or weight.dim() != 3:
        raise RuntimeError(f"conv_tbc: expected 3-d tensors: got {tuple(input.shape)} and {tuple(weight.shape)}.")
    out = functions["_conv"](input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, 1, pad)
    return out.permute(2, 0, 1)
