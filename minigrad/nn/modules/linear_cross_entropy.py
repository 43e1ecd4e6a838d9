"""LinearCrossEntropyLoss: a Linear classifier and its cross entropy as one module."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg

from .. import functional as F
from .._functional.linear_cross_entropy import LinearCrossEntropyOptions
from .linear import Linear
from .loss_margin import _WeightedLoss

__all__ = ["LinearCrossEntropyLoss"]


class LinearCrossEntropyLoss(_WeightedLoss):
    """Cross entropy of the logits of a linear layer that the loss owns.

    Args:
        in_features: I, width of the input (N, I).
        num_classes: C.
        out_features: further target dimensions (d…); the logits are (N, C, d…).
        bias: learn an additive bias.
        reduction, weight, ignore_index, label_smoothing: as in CrossEntropyLoss.
        options: see LinearCrossEntropyOptions.

    Example:
        >>> mg.nn.LinearCrossEntropyLoss(4, 5)(mg.zeros(2, 4), mg.tensor([0, 3]))
        tensor(1.6094, grad_fn=<CrossEntropyBackward0>)
    """

    __constants__ = ["num_classes", "out_features", "reduction", "ignore_index", "label_smoothing"]

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: mg.Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: LinearCrossEntropyOptions | None = None,
    ) -> None:
        super().__init__(weight, reduction=reduction)
        self.num_classes = num_classes
        self.out_features = out_features
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.options = options
        self.linear = Linear(in_features, num_classes * math.prod(out_features), bias=bias, device=device, dtype=dtype)

    def forward(self, input: mg.Tensor, target: mg.Tensor) -> mg.Tensor:
        """The loss of `input` (N, I)."""
        shape = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return F.linear_cross_entropy(
            input, self.linear.weight.reshape(*shape, -1), target, linear_bias=None if bias is None else bias.reshape(shape),
            weight=self.weight, reduction=self.reduction, ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing, options=self.options,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, out_features={self.out_features}, "
            f"bias={self.linear.bias is not None}, reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}, options={self.options}"
        )
