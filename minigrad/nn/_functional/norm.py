"""Normalisations: layer, batch, RMS and group are registry ops; instance is group with one channel each; local response composes.

Shapes: N batch, C channels, G groups, * spatial.
"""

from __future__ import annotations

import minigrad as mg
from minigrad.op import functions

from ._registry import registered

Tensor = mg.Tensor
layer_norm = registered("layer_norm")
rms_norm = registered("rms_norm")
_batch_norm = registered("batch_norm")


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel (dim 1) over the batch, or with the running statistics when not training."""
    if input.dim() == 1 and input.numel() == 0:
        return input.clone()  # no channels and nothing to normalise: PyTorch lets it pass
    if training:
        _check_more_than_one(input)
    return _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def _check_more_than_one(input: Tensor) -> None:
    shape = input.shape
    if len(shape) >= 2 and input.numel() == shape[1] and input.numel():
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {shape}")


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise each of `num_groups` groups of channels of (N, C, *) (Wu and He, arXiv 1803.08494)."""
    if input.dim() < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.dim()}")
    channels = input.shape[1]
    if num_groups <= 0 or channels % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    _check_affine("group_norm", weight, bias, channels)
    if input.numel() == 0:
        return input.clone()
    return functions["_group_norm"](input, weight, bias, num_groups, eps)[0]


def _check_affine(name: str, weight: Tensor | None, bias: Tensor | None, channels: int) -> None:
    for what, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and (tensor.dim() != 1 or tensor.shape[0] != channels):
            raise RuntimeError(
                f"Expected {what} to be a vector of size equal to the number of channels in input, but got {what} of "
                f"shape {list(tensor.shape)} and {channels} channels in {name}"
            )


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each sample of (N, C, *)."""
    if not use_input_stats:
        return _batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    spatial = 1
    for size in input.shape[2:]:
        spatial *= size
    if spatial == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {input.shape}"
        )
    flat_NCS = input.reshape(input.shape[0], input.shape[1], -1)
    if running_mean is not None or running_var is not None:
        with mg.no_grad():
            if running_mean is not None:
                running_mean.lerp_(flat_NCS.mean((0, 2)).to(running_mean.dtype), momentum)
            if running_var is not None:
                running_var.lerp_(flat_NCS.var(2).mean(0).to(running_var.dtype), momentum)
    return functions["_group_norm"](input, weight, bias, input.shape[1], eps)[0]


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """input / (k + alpha * mean of squares over `size` neighbouring channels)^beta (AlexNet, section 3.3)."""
    if input.dim() < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.dim()} dimensions)")
    if input.numel() == 0:
        return input
    from .padding import pad

    square = input.square()
    padded = pad(square, (0, 0) * (input.dim() - 2) + (size // 2, (size - 1) // 2))
    channels = input.shape[1]
    window = padded.narrow(1, 0, channels)
    for offset in range(1, size):
        window = window + padded.narrow(1, offset, channels)
    mean = window * (1 / size) if input.is_floating_point() else window // size  # as PyTorch: an integer mean
    return input / (mean * alpha + k).pow(beta)
