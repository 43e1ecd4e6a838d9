"""Fake quantization for quantization-aware training: values rounded to a grid, gradients passed through inside it."""

from __future__ import annotations

from typing import Any

import minigrad as mg

__all__ = ["fake_quantize_per_channel_affine", "fake_quantize_per_tensor_affine"]


def _fake_quantize(input: Any, scale: Any, zero_point: Any, quant_min: int, quant_max: int) -> Any:
    if quant_min > quant_max:
        raise RuntimeError(f"`quant_min` should be less than or equal to `quant_max`: got {quant_min} and {quant_max}.")
    with mg.no_grad():
        scale = mg.as_tensor(scale, dtype=mg.float32, device=input.device)
        level = mg.round(input * (1.0 / scale)) + zero_point
        inside = (level >= quant_min) & (level <= quant_max)
        rounded = ((level.clamp(quant_min, quant_max) - zero_point) * scale).to(input.dtype)
    passed = mg.where(inside, input, 0)
    return rounded + (passed - passed.detach())  # the difference is zero and carries the gradient


def fake_quantize_per_tensor_affine(input: Any, scale: Any, zero_point: Any, quant_min: int, quant_max: int) -> Any:
    """(clamp(round(input / scale) + zero_point, quant_min, quant_max) - zero_point) * scale.

    Args:
        input: floating tensor.
        scale, zero_point: numbers or tensors of one element.
        quant_min, quant_max: ends of the grid.
    Returns:
        a tensor of the input's shape.
    Raises:
        RuntimeError for quant_min > quant_max.
    Gradient:
        passed through where the level lies inside [quant_min, quant_max], 0 elsewhere.
    Example:
        >>> fake_quantize_per_tensor_affine(mg.tensor([0.12, 0.9]), 0.1, 0, 0, 5)
        tensor([0.1000, 0.5000])
    """
    return _fake_quantize(input, scale, zero_point, quant_min, quant_max)


def fake_quantize_per_channel_affine(input: Any, scale: Any, zero_point: Any, axis: int, quant_min: int, quant_max: int) -> Any:
    """`fake_quantize_per_tensor_affine` with a scale and a zero point of its own for each slice along `axis`.

    Args:
        input: floating tensor.
        scale, zero_point: 1-d tensors with one entry per slice.
        axis: the dimension of the channels.
        quant_min, quant_max: ends of the grid.
    Raises:
        RuntimeError: the number of scales does not fit.
    """
    if scale.dim() != 1 or zero_point.shape != scale.shape or scale.numel() != input.shape[axis]:
        raise RuntimeError(
            f"fake_quantize_per_channel_affine: scale {tuple(scale.shape)} and zero_point {tuple(zero_point.shape)} do not fit "
            f"dimension {axis} of an input of shape {tuple(input.shape)}"
        )
    shape = [-1 if d == axis % input.dim() else 1 for d in range(input.dim())]
    return _fake_quantize(input, scale.view(shape), zero_point.view(shape), quant_min, quant_max)
