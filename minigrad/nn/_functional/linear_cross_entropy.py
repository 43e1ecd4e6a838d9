"""linear_cross_entropy: the loss of a linear layer's logits, without holding all logits where no gradient is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import minigrad as mg

from ._registry import registered

Tensor = mg.Tensor
_linear = registered("linear")
_cross_entropy = registered("cross_entropy")


@dataclass(frozen=True)
class LinearCrossEntropyOptions:
    """How `linear_cross_entropy` may save memory.

    Args:
        allow_retain_graph, chunking_method, acc_policy, acc_dtype: accepted for PyTorch's sake.
        batch_chunk_size: samples whose logits are held at once when no gradient is wanted; None: about 16 M logits.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: Any = None


def _check(input: Tensor, linear_weight: Tensor, target: Tensor, linear_bias: Tensor | None, ignore_index: int | None) -> None:
    name = "linear_cross_entropy"
    if input.dim() not in (1, 2):
        raise RuntimeError(f"{name}: expected input (N, in) or (in): got {tuple(input.shape)}.")
    if linear_weight.dim() < 2 or input.shape[-1] != linear_weight.shape[-1]:
        raise RuntimeError(f"{name}: expected linear_weight (C, …, {input.shape[-1]}): got {tuple(linear_weight.shape)}.")
    shape = tuple(linear_weight.shape[:-1])
    if linear_bias is not None and tuple(linear_bias.shape) != shape:
        raise RuntimeError(f"{name}: expected linear_bias {shape}: got {tuple(linear_bias.shape)}.")
    if len(shape) > 1 and input.dim() == 1:
        raise RuntimeError(
            f"{name}: linear_weight {tuple(linear_weight.shape)} needs a batched input (N, in): got {tuple(input.shape)}."
        )
    if tuple(target.shape) == (*input.shape[:-1], *shape) and ignore_index is not None:
        raise RuntimeError(f"{name}: ignore_index cannot be given when target holds probabilities.")


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: LinearCrossEntropyOptions | None = None,
) -> Tensor:
    """cross_entropy of linear(input, linear_weight, linear_bias).

    Args:
        input: (N, in) or (in).
        linear_weight: (C, in), or (C, d…, in) for a loss of several positions per sample.
        target: class indices (), (N) or (N, d…), or probabilities shaped like the logits.
        linear_bias: (C) or (C, d…).
        weight, reduction, ignore_index, label_smoothing: as in cross_entropy.
        options: hold the logits of some samples at a time (sums and unreduced losses of class indices, no gradient).
    """
    _check(input, linear_weight, target, linear_bias, ignore_index)
    shape = tuple(linear_weight.shape[:-1])
    flat, bias = linear_weight.reshape(-1, input.shape[-1]), None if linear_bias is None else linear_bias.reshape(-1)

    def loss(x: Tensor, t: Tensor) -> Tensor:
        logits = _linear(x, flat, bias).reshape(*x.shape[:-1], *shape)
        return _cross_entropy(logits, t, weight, -100 if ignore_index is None else ignore_index, reduction, label_smoothing)

    rows = _rows_at_once(options, flat.shape[0])
    recorded = mg.is_grad_enabled() and any(x is not None and x.requires_grad for x in (input, flat, bias))
    if recorded or reduction == "mean" or input.dim() == 1 or target.is_floating_point() or rows >= input.shape[0]:
        return loss(input, target)
    parts = [
        loss(input[i : i + rows], target[i : i + rows]) for i in range(0, input.shape[0], rows)
    ]
    return mg.cat(parts) if reduction == "none" else mg.stack(parts).sum()


def _rows_at_once(options: LinearCrossEntropyOptions | None, classes: int) -> int:
    if options is None:
        return 1 << 62
    return options.batch_chunk_size or max((1 << 24) // max(classes, 1), 1)
