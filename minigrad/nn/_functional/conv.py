"""Doors to linear, convolution and pooling ops, with torch's argument forms that ops do not know ("same", None)."""

from __future__ import annotations

from typing import Any

import minigrad as mg

from ._registry import registered
from .padding import pad

Tensor = mg.Tensor
linear = registered("linear")
max_pool2d = registered("max_pool2d")
avg_pool2d = registered("avg_pool2d")
_conv2d = registered("conv2d")
_adaptive_avg_pool2d = registered("adaptive_avg_pool2d")
IntOrPair = int | tuple[int, ...]


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, (tuple, list)):
        return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])
    return (value, value)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair | str = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of (N, C, H, W) or (C, H, W) with (O, C/groups, kH, kW).

    Args:
        input: images.
        weight: kernels.
        bias: (O,) or None.
        stride: step, one number or (h, w).
        padding: zeros on both sides; "valid" is 0, "same" keeps H and W (stride 1 only).
        dilation: distance of the kernel's taps.
        groups: channels are split into this many independent convolutions.
    """
    if type(padding) is str:
        input, padding = _string_padding(input, weight, stride, padding, dilation)
    return _conv2d(input, weight, bias, stride, padding, dilation, groups)


def _string_padding(input: Tensor, weight: Tensor, stride: Any, padding: str, dilation: Any) -> tuple[Tensor, Any]:
    if padding == "valid":
        return input, 0
    if padding != "same":
        raise RuntimeError(f"Invalid padding string: '{padding}', should be one of {{'valid', 'same'}}")
    if _pair(stride) != (1, 1):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    total = [d * (k - 1) for d, k in zip(_pair(dilation), weight.shape[2:], strict=True)]
    if all(t % 2 == 0 for t in total):
        return input, tuple(t // 2 for t in total)
    # An even kernel pads one more on the right and bottom, as torch does.
    left_right = [(t // 2, t - t // 2) for t in reversed(total)]
    return pad(input, [side for sides in left_right for side in sides]), 0


def max_pool2d_with_indices(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """`max_pool2d` with `return_indices=True`."""
    return max_pool2d(*args, **{**kwargs, "return_indices": True})


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Mean of windows that tile (H, W) into `output_size`; None keeps that side."""
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    height, width = (own if given is None else given for given, own in zip(sizes, input.shape[-2:], strict=True))
    if height == 1 and width == 1:  # global pooling: one reduction
        return input.mean((-2, -1), keepdim=True)
    return _adaptive_avg_pool2d(input, (height, width))
