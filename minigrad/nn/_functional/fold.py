"""unfold and fold: sliding windows as columns, and their sum back into an image.

Both are one gather or one scatter-add along the flattened spatial dims, with the same table of positions, so each is the
other's gradient. Shapes: N batch, C channels, k window sizes, L number of windows.
"""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg

from .padding import pad

Tensor = mg.Tensor


def _pair(name: str, what: str, value: Any, least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value) * 2 if len(value) == 1 else tuple(value)
    if len(pair) != 2 or min(pair) < least:
        raise RuntimeError(f"{name}: {what} must be one number or two, >= {least}: got {value}.")
    return pair


def _windows(name: str, size: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> tuple[int, int]:
    """Number of windows in each dim."""
    count = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, d, p, s in zip(size, kernel, dilation, padding, stride, strict=True)
    )
    if min(count) < 1:
        raise RuntimeError(
            f"{name}: no window fits: got sizes {tuple(size)}, kernel_size {kernel}, dilation {dilation}, padding"
            f" {padding}, stride {stride}, which give {count} windows."
        )
    return count


def _positions(padded: Any, kernel: Any, dilation: Any, stride: Any, count: Any, device: Any) -> Tensor:
    """Flat position in the padded image of (tap row, tap column, window row, window column)."""
    rows, columns = (
        mg.arange(k, device=device).reshape(-1, 1) * d + mg.arange(n, device=device) * s
        for k, d, n, s in zip(kernel, dilation, count, stride, strict=True)
    )
    table = rows.reshape(kernel[0], 1, count[0], 1) * padded[1] + columns.reshape(1, kernel[1], 1, count[1])
    return table.reshape(-1)


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Every window of (N, C, H, W) or (C, H, W) as a column: (N, C kH kW, L).

    Args:
        input: images.
        kernel_size, dilation, padding, stride: the windows, as in conv2d; one number or (h, w).
    """
    kernel, dilation = _pair("unfold", "kernel_size", kernel_size, 1), _pair("unfold", "dilation", dilation, 1)
    padding, stride = _pair("unfold", "padding", padding, 0), _pair("unfold", "stride", stride, 1)
    if input.dim() not in (3, 4) or 0 in input.shape[-3:]:
        raise RuntimeError(
            f"unfold: expected non-empty input (N, C, H, W) or (C, H, W), only N may be 0: got {tuple(input.shape)}."
        )
    count = _windows("unfold", input.shape[-2:], kernel, dilation, padding, stride)
    if max(padding):
        input = pad(input, (padding[1], padding[1], padding[0], padding[0]))
    index = _positions(input.shape[-2:], kernel, dilation, stride, count, input.device)
    *lead, channels = input.shape[:-2]
    columns = input.reshape(*lead, channels, math.prod(input.shape[-2:])).index_select(-1, index)
    return columns.reshape(*lead, channels * math.prod(kernel), math.prod(count))


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Adds columns (N, C kH kW, L) or (C kH kW, L) into images (N, C, *output_size): the adjoint of `unfold`.

    Args:
        input: one column per window.
        output_size: (H, W) of the images.
        kernel_size, dilation, padding, stride: the windows, as in unfold.
    """
    size = _pair("fold", "output_size", output_size, 1)
    kernel, dilation = _pair("fold", "kernel_size", kernel_size, 1), _pair("fold", "dilation", dilation, 1)
    padding, stride = _pair("fold", "padding", padding, 0), _pair("fold", "stride", stride, 1)
    if input.dim() not in (2, 3) or 0 in input.shape[-2:]:
        raise RuntimeError(
            f"fold: expected non-empty input (N, C kH kW, L) or (C kH kW, L), only N may be 0: got {tuple(input.shape)}."
        )
    taps, count = math.prod(kernel), _windows("fold", size, kernel, dilation, padding, stride)
    if input.shape[-2] % taps or input.shape[-1] != math.prod(count):
        raise RuntimeError(
            f"fold: expected {math.prod(count)} columns of a multiple of {taps} elements for output_size {size} and"
            f" kernel_size {kernel}: got {tuple(input.shape)}."
        )
    padded = (size[0] + 2 * padding[0], size[1] + 2 * padding[1])
    index = _positions(padded, kernel, dilation, stride, count, input.device)
    lead, channels = input.shape[:-2], input.shape[-2] // taps
    flat = input.new_zeros((*lead, channels, math.prod(padded)))
    image = flat.index_add(-1, index, input.reshape(*lead, channels, taps * math.prod(count)))
    image = image.reshape(*lead, channels, *padded)
    return image.narrow(-2, padding[0], size[0]).narrow(-1, padding[1], size[1])
