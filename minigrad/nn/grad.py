"""Gradients of convolutions with respect to input or weight, named as in torch.nn.grad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minigrad as mg

from . import functional as F

__all__ = ["conv1d_input", "conv1d_weight", "conv2d_input", "conv2d_weight", "conv3d_input", "conv3d_weight"]


def _gradient(dims: int, of_weight: bool) -> Callable[..., mg.Tensor]:
    convolve = getattr(F, f"conv{dims}d")

    def by_autograd(sizes: Any, other: mg.Tensor, grad_output: mg.Tensor, options: tuple[Any, ...]) -> mg.Tensor:
        """A convolution is linear in both operands, so its gradient at zeros is its gradient anywhere."""
        with mg.enable_grad():
            wanted = mg.zeros(tuple(sizes), dtype=grad_output.dtype, device=grad_output.device, requires_grad=True)
            out = convolve(other, wanted, None, *options) if of_weight else convolve(wanted, other, None, *options)
            return mg.autograd.grad(out, wanted, grad_output, create_graph=grad_output.requires_grad or other.requires_grad)[0]

    if of_weight:

        def gradient(
            input: mg.Tensor, weight_size: Any, grad_output: mg.Tensor,
            stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
        ) -> mg.Tensor:  # fmt: skip
            return by_autograd(weight_size, input, grad_output, (stride, padding, dilation, groups))
    else:

        def gradient(
            input_size: Any, weight: mg.Tensor, grad_output: mg.Tensor,
            stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
        ) -> mg.Tensor:  # fmt: skip
            return by_autograd(input_size, weight, grad_output, (stride, padding, dilation, groups))

    what = "weight" if of_weight else "input"
    gradient.__name__ = gradient.__qualname__ = f"conv{dims}d_{what}"
    gradient.__doc__ = f"""The gradient of conv{dims}d with respect to its {what}.

    Args:
        {"input: the layer's input" if of_weight else "input_size: sizes of the layer's input"}.
        {"weight_size: sizes of the kernel" if of_weight else "weight: the kernel"}.
        grad_output: gradient of the output.
        stride, padding, dilation, groups: of the convolution.
    """
    return gradient


conv1d_input, conv2d_input, conv3d_input = (_gradient(d, False) for d in (1, 2, 3))
conv1d_weight, conv2d_weight, conv3d_weight = (_gradient(d, True) for d in (1, 2, 3))
