"""Convolutions: conv2d, its adjoint conv_transpose2d, and the gradient of the weight.

Meta: csrc/core/meta_conv.cpp; kernels: csrc/cpu/conv*.cpp (conv.h is their map).

<dy, conv2d(x, w)> is linear in each of x, w and dy, and the three ops here are its three gradients:
    conv2d(x, w) -> y        conv_transpose2d(dy, w) -> dx        _conv2d_weight_grad(x, dy) -> dw
so the gradient of each is made of the other two, to any order. 1-d forms add a dimension of size 1.
Legend: N images, C input and O output channels, H W height and width, k kernel size.
"""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops._struct_doc import card, numpy


def _pair(v: Any) -> tuple[int, int]:
    if isinstance(v, int):
        return v, v
    return (v[0], v[0]) if len(v) == 1 else (v[0], v[1])


def _kernel(weight_shape: tuple[int, ...]) -> tuple[int, int]:
    return weight_shape[-2], weight_shape[-1]


def _crop(x: Any, shape: tuple[int, ...]) -> Any:
    """The top left part of x, as large as `shape`: with output_padding >= stride the adjoint yields more."""
    for dim in (-2, -1):
        if x.shape[dim] != shape[dim]:
            x = x.narrow(dim, 0, shape[dim])
    return x


def _data(g: Any, weight: Any, shape: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Gradient of conv2d with respect to an input of that shape."""
    spatial = zip(
        shape[-2:], g.shape[-2:], _kernel(weight.shape), _pair(stride), _pair(padding), _pair(dilation), strict=True
    )
    extra = [n - ((o - 1) * s - 2 * p + d * (k - 1) + 1) for n, o, k, s, p, d in spatial]
    return functions["conv_transpose2d"](g, weight, None, stride, padding, extra, groups, dilation)


def _channel_sum(g: Any) -> Any:
    return g.sum((0, 2, 3)) if g.dim() == 4 else g.sum((1, 2))


op(
    "_conv2d_weight_grad(input, grad, kernel_size: ints, stride: ints = 1, padding: ints = 0, dilation: ints = 1,"
    " groups: int = 1) -> out",
    meta="conv2d_weight_grad",
    namespace=None,
    method=False,
    dinput=lambda g, grad, input_shape, stride, padding, dilation, groups: _data(
        grad, g, input_shape, stride, padding, dilation, groups
    ),
    dgrad=lambda g, input, grad_shape, stride, padding, dilation, groups: _crop(
        functions["conv2d"](input, g, None, stride, padding, dilation, groups), grad_shape
    ),
    ref=lambda input, grad, kernel_size, stride=1, padding=0, dilation=1, groups=1: _reference_weight_grad(
        input, grad, kernel_size, stride, padding, dilation, groups
    ),
    reduction=lambda input, grad, *_, **__: grad.size // max(grad.shape[-3], 1),
    samples=lambda s: [
        s(s.t(2, 2, 5, 4), s.t(2, 3, 3, 2), (3, 3)),
        s(s.t(2, 4, 5, 5), s.t(2, 2, 3, 3), 3, 2, 1, 1, 2),
        s(s.t(2, 5, 4), s.t(3, 4, 3), 2),
        s(s.t(1, 3, 6, 6), s.t(1, 3, 2, 2), 3, 1, 0, 2, 3),
    ],
    doc="Gradient of conv2d with respect to its weight, (O, C / groups, kH, kW), from input (N, C, H, W) and the"
    " gradient (N, O, OH, OW) of the output.",
)

op(
    "conv2d(input, weight, bias? = None, stride: ints = 1, padding: ints = 0, dilation: ints = 1, groups: int = 1)"
    " -> out",
    meta="conv2d",
    method=False,
    grad_name="Convolution",
    dinput=lambda g, weight, input_shape, stride, padding, dilation, groups: _data(
        g, weight, input_shape, stride, padding, dilation, groups
    ),
    dweight=lambda g, input, weight_shape, stride, padding, dilation, groups: functions["_conv2d_weight_grad"](
        input, g, _kernel(weight_shape), stride, padding, dilation, groups
    ),
    dbias=_channel_sum,
    ref=lambda input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1: _reference(
        input, weight, bias, stride, padding, dilation, groups
    ),
    flops=lambda input, weight, *_, **__: 2 * input.numel() // max(input.shape[-3], 1) * weight.numel(),
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
    ],
    doc=card(
        "Cross-correlation of images with a set of kernels.",
        "mg.conv2d(mg.ones(1, 1, 3, 3), mg.ones(1, 1, 2, 2)).flatten() -> tensor([4., 4., 4., 4.])",
        input="(N, C, H, W) or (C, H, W), floating.",
        weight="(O, C / groups, kH, kW), of the same dtype.",
        bias="(O,) or None.",
        stride="step, one number or (h, w), >= 1.",
        padding="zeros on both sides, >= 0; nn.functional.conv2d also takes 'same' and 'valid'.",
        dilation="distance of the kernel's taps, >= 1.",
        groups="number of blocks that channels are split into; divides C and O.",
        returns="(N, O, OH, OW) with OH = (H + 2 * padding - dilation * (kH - 1) - 1) // stride + 1.",
        raises="RuntimeError for channels, groups or dtypes that do not fit, or a kernel larger than the padded input.",
        source="Dumoulin and Visin, A guide to convolution arithmetic, arXiv:1603.07285.",
    ),
)

op(
    "conv_transpose2d(input, weight, bias? = None, stride: ints = 1, padding: ints = 0, output_padding: ints = 0,"
    " groups: int = 1, dilation: ints = 1) -> out",
    meta="conv_transpose2d",
    method=False,
    grad_name="Convolution",
    dinput=lambda g, weight, input_shape, stride, padding, groups, dilation: _crop(
        functions["conv2d"](g, weight, None, stride, padding, dilation, groups), input_shape
    ),
    dweight=lambda g, input, weight_shape, stride, padding, groups, dilation: functions["_conv2d_weight_grad"](
        g, input, _kernel(weight_shape), stride, padding, dilation, groups
    ),
    dbias=_channel_sum,
    ref=lambda input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1: (
        _reference_transposed(input, weight, bias, stride, padding, output_padding, groups, dilation)
    ),
    flops=lambda input, weight, *_, **__: 2 * input.numel() // max(input.shape[-3], 1) * weight.numel(),
    reduction=lambda input, weight, *_, **__: weight.shape[0] * weight.shape[2] * weight.shape[3] + 1,
    samples=lambda s: [
        s(s.t(2, 3, 3, 4), s.t(3, 2, 3, 3), s.t(2)),
        s(s.t(2, 3, 3, 4), s.t(3, 2, 3, 3), None, 2, 1, 1),
        s(s.t(1, 4, 3, 3), s.t(4, 1, 2, 3), s.t(2), (1, 2), (0, 1), (0, 1), 2, (2, 1)),
        s(s.t(3, 3, 3), s.t(3, 2, 2, 2)),
        s(s.t(1, 2, 3, 3), s.t(2, 1, 3, 3), s.t(2), 2, 0, 0, 2),
        s(s.t(0, 2, 3, 3), s.t(2, 3, 2, 2)),
        s(s.t(2, 17, 6, 5), s.t(17, 9, 3, 3), s.t(9), 2, 1),
    ],
    doc=card(
        "Transposed convolution: the gradient of conv2d with respect to its input, used as a layer of its own.",
        "mg.conv_transpose2d(mg.ones(1, 1, 1, 1), mg.ones(1, 1, 2, 2)).flatten() -> tensor([1., 1., 1., 1.])",
        input="(N, C, H, W) or (C, H, W), floating.",
        weight="(C, O / groups, kH, kW), of the same dtype.",
        bias="(O,) or None.",
        stride="step of conv2d, >= 1.",
        padding="padding of conv2d: cut off from the result.",
        output_padding="rows and columns added at the bottom and right of the result.",
        groups="divides C and O.",
        dilation=">= 1.",
        returns="(N, O, OH, OW) with OH = (H - 1) * stride - 2 * padding + dilation * (kH - 1) + output_padding + 1.",
        raises="RuntimeError for channels, groups or dtypes that do not fit, or an empty result.",
    ),
)


# --- 1-d forms --------------------------------------------------------------------------------------------------------
def _one(v: Any) -> int:
    return v if isinstance(v, int) else v[0]


def _check_1d(name: str, input: Any, weight: Any) -> None:
    if input.dim() not in (2, 3) or weight.dim() != 3:
        raise RuntimeError(
            f"{name}: expected input (N, C, L) or (C, L) and a 3-d weight: got input {tuple(input.shape)} and"
            f" weight {tuple(weight.shape)}."
        )


def _same_padding(input: Any, kernel: int, stride: int, dilation: int) -> tuple[Any, int]:
    if stride != 1:
        raise RuntimeError(
            f"conv1d: padding='same' is not supported for strided convolutions: got stride={stride}, expected 1."
        )
    total = dilation * (kernel - 1)
    if total % 2:  # an even kernel pads one more on the right
        input = mg.cat([input, mg.zeros_like(input.narrow(-1, 0, 1))], -1)
    return input, total // 2


@composite(
    method=False,
    samples=lambda s: [
        s(s.t(2, 2, 6), s.t(3, 2, 3), s.t(3)),
        s(s.t(2, 4, 7), s.t(2, 2, 3), None, 2, 1, 2, 2),
        s(s.t(2, 5), s.t(3, 2, 2)),
        s(s.t(1, 2, 5), s.t(3, 2, 2), None, 1, "same"),
        s(s.t(1, 2, 5), s.t(3, 2, 3), None, 1, "valid"),
    ],
    ref=lambda input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1: _reference_1d(
        input, weight, bias, stride, padding, dilation, groups
    ),
)
def conv1d(
    input: mg.Tensor,
    weight: mg.Tensor,
    bias: mg.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> mg.Tensor:
    """Cross-correlation of sequences with a set of kernels.

    Args:
        input: (N, C, L) or (C, L), floating.
        weight: (O, C / groups, k), of the same dtype.
        bias: (O,) or None.
        stride: step, >= 1.
        padding: zeros on both sides, >= 0; "valid" is 0, "same" keeps L (stride 1 only).
        dilation: distance of the kernel's taps, >= 1.
        groups: number of blocks that channels are split into.
    Returns:
        (N, O, OL) with OL = (L + 2 * padding - dilation * (k - 1) - 1) // stride + 1.
    Raises:
        RuntimeError as for conv2d.
    Example:
        >>> mg.conv1d(mg.ones(1, 1, 4), mg.ones(1, 1, 3)).flatten()
        tensor([3., 3.])
    """
    _check_1d("conv1d", input, weight)
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise RuntimeError(f"conv1d: unknown padding {padding!r}, expected 'same', 'valid' or numbers.")
        same = padding == "same"
        input, padding = _same_padding(input, weight.shape[-1], _one(stride), _one(dilation)) if same else (input, 0)
    result = mg.conv2d(
        input.unsqueeze(-2),
        weight.unsqueeze(-2),
        bias,
        (1, _one(stride)),
        (0, _one(padding)),
        (1, _one(dilation)),
        groups,
    )
    return result.squeeze(-2)


@composite(
    method=False,
    samples=lambda s: [
        s(s.t(2, 2, 4), s.t(2, 3, 3), s.t(3)),
        s(s.t(2, 4, 3), s.t(4, 1, 3), None, 2, 1, 1, 2),
        s(s.t(2, 5), s.t(2, 1, 2)),
    ],
    ref=lambda input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1: (
        _reference_transposed(
            input[..., None, :],
            weight[..., None, :],
            bias,
            (1, stride),
            (0, padding),
            (0, output_padding),
            groups,
            (1, dilation),
        )[..., 0, :]
    ),
)
def conv_transpose1d(
    input: mg.Tensor,
    weight: mg.Tensor,
    bias: mg.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> mg.Tensor:
    """Transposed convolution of sequences.

    Args:
        input: (N, C, L) or (C, L), floating.
        weight: (C, O / groups, k), of the same dtype.
        bias: (O,) or None.
        stride: step of conv1d.
        padding: padding of conv1d: cut off from the result.
        output_padding: elements added at the right.
        groups: divides C and O.
        dilation: >= 1.
    Returns:
        (N, O, (L - 1) * stride - 2 * padding + dilation * (k - 1) + output_padding + 1).
    Raises:
        RuntimeError as for conv_transpose2d.
    Example:
        >>> mg.conv_transpose1d(mg.ones(1, 1, 2), mg.ones(1, 1, 2)).flatten()
        tensor([1., 2., 1.])
    """
    _check_1d("conv_transpose1d", input, weight)
    result = mg.conv_transpose2d(
        input.unsqueeze(-2),
        weight.unsqueeze(-2),
        bias,
        (1, _one(stride)),
        (0, _one(padding)),
        (0, _one(output_padding)),
        groups,
        (1, _one(dilation)),
    )
    return result.squeeze(-2)


# --- references: the definition, tap by tap ---------------------------------------------------------------------------
def _taps(input: Any, size: tuple[int, int], kernel: tuple[int, int], stride: Any, padding: Any, dilation: Any) -> Any:
    """(i, j, input seen through tap (i, j) by an output of that size) for every tap; views of the padded input."""
    (sh, sw), (ph, pw), (dh, dw) = _pair(stride), _pair(padding), _pair(dilation)
    padded = numpy().pad(input, ((0, 0), (0, 0), (ph, ph + sh * dh), (pw, pw + sw * dw)))
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            yield (
                i,
                j,
                padded[
                    :, :, i * dh : i * dh + (size[0] - 1) * sh + 1 : sh, j * dw : j * dw + (size[1] - 1) * sw + 1 : sw
                ],
            )


def _reference(input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    np = numpy()
    if input.ndim == 3:
        return _reference(input[None], weight, bias, stride, padding, dilation, groups)[0]
    spatial = zip(input.shape[2:], weight.shape[2:], _pair(stride), _pair(padding), _pair(dilation), strict=True)
    size = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in spatial)
    out = np.zeros((input.shape[0], weight.shape[0], *size))
    n, cg, og = input.shape[0], weight.shape[1], weight.shape[0] // groups
    grouped, w = out.reshape(n, groups, og, *size), weight.reshape(groups, og, *weight.shape[1:])
    for i, j, x in _taps(input, size, weight.shape[2:], stride, padding, dilation):
        grouped += np.einsum("ngchw,goc->ngohw", x.reshape(n, groups, cg, *size), w[..., i, j])
    return out if bias is None else out + bias.reshape(-1, 1, 1)


def _reference_weight_grad(
    input: Any, grad: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    np = numpy()
    if input.ndim == 3:
        return _reference_weight_grad(input[None], grad[None], kernel, stride, padding, dilation, groups)
    kernel, size = _pair(kernel), grad.shape[2:]
    out = np.zeros((grad.shape[1], input.shape[1] // groups, *kernel))
    n, cg, og = grad.shape[0], out.shape[1], out.shape[0] // groups
    g = grad.reshape(n, groups, og, *size)
    for i, j, x in _taps(input, size, kernel, stride, padding, dilation):
        out[..., i, j] = np.einsum("ngchw,ngohw->goc", x.reshape(n, groups, cg, *size), g).reshape(out.shape[:2])
    return out


def _reference_transposed(
    input: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: int, dilation: Any
) -> Any:
    np = numpy()
    if input.ndim == 3:
        return _reference_transposed(input[None], weight, bias, stride, padding, output_padding, groups, dilation)[0]
    (sh, sw), (ph, pw), (dh, dw), (eh, ew) = _pair(stride), _pair(padding), _pair(dilation), _pair(output_padding)
    n, c, h, w = input.shape
    oh = (h - 1) * sh - 2 * ph + dh * (weight.shape[2] - 1) + eh + 1
    ow = (w - 1) * sw - 2 * pw + dw * (weight.shape[3] - 1) + ew + 1
    out = np.zeros((n, weight.shape[1] * groups, oh + 2 * ph, ow + 2 * pw))
    x, kernels = input.reshape(n, groups, c // groups, h, w), weight.reshape(groups, c // groups, *weight.shape[1:])
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            part = np.einsum("ngchw,gco->ngohw", x, kernels[..., i, j]).reshape(n, out.shape[1], h, w)
            out[:, :, i * dh : i * dh + (h - 1) * sh + 1 : sh, j * dw : j * dw + (w - 1) * sw + 1 : sw] += part
    out = out[:, :, ph : ph + oh, pw : pw + ow]
    return out if bias is None else out + bias.reshape(-1, 1, 1)


def _reference_1d(input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    if isinstance(padding, str):
        total = dilation * (weight.shape[-1] - 1) if padding == "same" else 0
        input = numpy().pad(input, [(0, 0)] * (input.ndim - 1) + [(total // 2, total - total // 2)])
        padding = 0
    x, w = input[..., None, :], weight[..., None, :]
    return _reference(x, w, bias, (1, stride), (0, padding), (1, dilation), groups)[..., 0, :]
