"""Batch normalisation folded into the convolution or linear layer before it, for inference."""

from __future__ import annotations

import copy
from typing import Any

import minigrad as mg
from minigrad.nn.parameter import Parameter

Tensor = mg.Tensor

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A copy of `conv` (in eval mode, as `bn`) that does what conv and bn do; `transpose` for transposed convolutions."""
    if conv.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("Expected bn.running_mean and bn.running_var to be not None")
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, transpose
    )
    return fused


def fuse_conv_bn_weights(
    conv_w: Tensor, conv_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float, bn_w: Tensor | None, bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """(weight, bias) of the fused convolution.

    Args:
        conv_w, conv_b: of the convolution; the output channels are dimension 0 of the weight, 1 with `transpose`.
        bn_rm, bn_rv, bn_eps, bn_w, bn_b: running mean and variance, eps, weight and bias of the normalisation.
    """
    bias = mg.zeros_like(bn_rm) if conv_b is None else conv_b
    gain = mg.ones_like(bn_rm) if bn_w is None else bn_w
    shift = mg.zeros_like(bn_rm) if bn_b is None else bn_b
    scale = gain * mg.rsqrt(bn_rv + bn_eps)
    shape = [1] * conv_w.dim()
    shape[1 if transpose else 0] = -1
    weight = (conv_w * scale.reshape(shape)).to(conv_w.dtype)
    fused_bias = ((bias - bn_rm) * scale + shift).to(bias.dtype if conv_b is not None else conv_w.dtype)
    return (
        Parameter(weight.detach(), conv_w.requires_grad),
        Parameter(fused_bias.detach(), conv_b.requires_grad if conv_b is not None else conv_w.requires_grad),
    )


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A copy of `linear` (in eval mode, as `bn`) that does what linear and bn do."""
    if linear.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("Expected bn.running_mean and bn.running_var to be not None")
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError("To fuse, linear.out_features == bn.num_features or bn.num_features == 1")
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused


def fuse_linear_bn_weights(
    linear_w: Tensor, linear_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float, bn_w: Tensor, bn_b: Tensor
) -> tuple[Parameter, Parameter]:
    """(weight, bias) of the fused linear layer; arguments as in `fuse_conv_bn_weights`."""
    bias = mg.zeros_like(bn_rm) if linear_b is None else linear_b
    scale = bn_w * mg.rsqrt(bn_rv + bn_eps)
    weight = (linear_w * scale.unsqueeze(-1)).to(linear_w.dtype)
    fused_bias = ((bias - bn_rm) * scale + bn_b).to(bias.dtype)
    return (
        Parameter(weight.detach(), linear_w.requires_grad),
        Parameter(fused_bias.detach(), linear_b.requires_grad if linear_b is not None else linear_w.requires_grad),
    )
