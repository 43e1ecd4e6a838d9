"""Losses of nn.functional: the doors to registry ops (cross_entropy, nll_loss, mse_loss) and the compositions.

Shapes: N batch, C classes, * any. Every loss reduces by `reduction`: "mean", "sum" or "none".
"""

from __future__ import annotations

import math
import warnings

import minigrad as mg
from minigrad.op import functions

from ._registry import registered

Tensor = mg.Tensor
_cross_entropy = registered("cross_entropy")
_nll_loss = registered("nll_loss")
_mse_loss = registered("mse_loss")
logsigmoid = registered("logsigmoid")


def legacy_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """Translate the deprecated pair (size_average, reduce) to a reduction string."""
    if size_average is None and reduce is None:
        return reduction
    size_average, reduce = size_average is not False, reduce is not False
    result = "none" if not reduce else ("mean" if size_average else "sum")
    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction='{result}' instead.", stacklevel=3
    )
    return result


def reduce_loss(loss: Tensor, reduction: str) -> Tensor:
    """Apply "mean", "sum" or "none"."""
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"{reduction} is not a valid value for reduction")


def _real(input: Tensor, target: Tensor) -> bool:
    """Both are real and floating: the one-pass loss terms apply."""
    return input.is_floating_point() and target.is_floating_point()


def _warn_size(name: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). "
            "This will likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=3,
        )


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Negative log likelihood of `target` under softmax(input).

    Args:
        input: logits, (C), (N, C) or (N, C, *).
        target: class indices () , (N) or (N, *), or probabilities shaped like `input`.
        weight: (C) weight of each class.
        ignore_index: class that does not count.
        label_smoothing: share of the target spread evenly over the classes, in [0, 1].
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    return _cross_entropy(
        input, target, weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing
    )


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-input[class of target]; `input` holds log probabilities (C), (N, C) or (N, C, *)."""
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    return _nll_loss(input, target, weight, ignore_index=ignore_index, reduction=reduction)


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(input - target)²."""
    if input.shape != target.shape:
        _warn_size("mse_loss", input, target)
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    if weight is not None:
        return _weighted((input - target).square(), weight, reduction)
    return _mse_loss(input, target, reduction=reduction)


def _weighted(loss: Tensor, weight: Tensor, reduction: str) -> Tensor:
    if weight.shape != loss.shape:
        raise ValueError("Inputs and weights must have the same size.")
    loss = loss * weight
    return loss.sum() / weight.sum() if reduction == "mean" else reduce_loss(loss, reduction)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|input - target|; gradient 0 where equal."""
    _warn_size("l1_loss", input, target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    loss = functions["absolute_error"](input, target) if _real(input, target) else (input - target).abs()
    return reduce_loss(loss, reduction) if weight is None else _weighted(loss, weight, reduction)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """0.5 d²/beta where |d| < beta, else |d| - beta/2, with d = input - target."""
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    _warn_size("smooth_l1_loss", input, target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    if _real(input, target):
        name, more = ("smooth_l1_error", (beta,)) if beta else ("absolute_error", ())
        return reduce_loss(functions[name](input, target, *more), reduction)
    diff = (input - target).abs()
    if beta == 0:
        return reduce_loss(diff, reduction)
    return reduce_loss(mg.where(diff < beta, diff * diff * (0.5 / beta), diff - 0.5 * beta), reduction)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """0.5 d² where |d| < delta, else delta (|d| - delta/2), with d = input - target."""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    _warn_size("huber_loss", input, target)
    if _real(input, target):
        loss = functions["huber_error"](input, target, delta)
    else:
        diff = (input - target).abs()
        loss = mg.where(diff < delta, diff * diff * 0.5, (diff - 0.5 * delta) * delta)
    return reduce_loss(loss, reduction) if weight is None else _weighted(loss, weight, reduction)


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target * (log(target) - input), 0 where target is 0; `input` holds log probabilities."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if log_target:
        loss = target.exp() * (target - input)
    elif _real(input, target):
        loss = functions["kl_error"](input, target)
    else:
        # 0 log 0 = 0, in the value and in the gradient: the logarithm never sees the zero.
        safe = mg.where(target > 0, target, mg.ones_like(target))
        loss = target * (safe.log() - input)
    if reduction == "batchmean":
        return loss.sum() / input.shape[0] if input.dim() else loss.sum()
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition.",
            stacklevel=2,
        )
    return reduce_loss(loss, reduction)


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(target log(input) + (1-target) log(1-input)); logarithms are held at -100 or more, as torch does.

    Args:
        input: probabilities in [0, 1].
        target: same shape, values in [0, 1].
        weight: broadcastable weights.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if target.shape != input.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) is deprecated. "
            "Please ensure they have the same size."
        )
    with mg.no_grad():
        if input.numel() and not bool(((input >= 0) & (input <= 1)).all()):
            raise RuntimeError("all elements of input should be between 0 and 1")
        interior = input * (1 - input) > 1e-12
        settled = bool(interior.all())
    if settled:
        loss = _bce(input, target)
    else:
        # Near 0 and 1 the derivative of the logarithm grows without bound; torch's is (p - t) / max(p (1-p), 1e-12).
        edge = input.detach()
        slope = (edge - target) / (edge * (1 - edge)).clamp(min=1e-12)
        at_edge = _bce(edge, target) + slope * (input - edge)
        inside = _bce(mg.where(interior, input, mg.full_like(edge, 0.5)), target)
        loss = mg.where(interior, inside, at_edge)
    if weight is not None:
        loss = loss * weight
    return reduce_loss(loss, reduction)


def _bce(p: Tensor, target: Tensor) -> Tensor:
    return -(target * p.log().clamp(min=-100) + (1 - target) * (-p).log1p().clamp(min=-100))


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross entropy of sigmoid(input), computed without overflow.

    Args:
        input: logits, any shape.
        target: same shape, values in [0, 1].
        weight: broadcastable weight of each element.
        pos_weight: broadcastable weight of the positive term.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if target.shape != input.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    if pos_weight is None and _real(input, target):
        loss = functions["bce_logits_error"](input, target)
    else:
        log_term = -logsigmoid(input)
        if pos_weight is not None:
            log_term = log_term * (1 + (pos_weight - 1) * target)
        loss = (1 - target) * input + log_term
    if weight is not None:
        loss = loss * weight
    return reduce_loss(loss, reduction)


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood of a Poisson target; `full` adds Stirling's term for target > 1."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        safe = mg.where(target > 1, target, mg.ones_like(target))
        stirling = safe * safe.log() - safe + 0.5 * (2 * math.pi * safe).log()
        loss = loss + mg.where(target > 1, stirling, mg.zeros_like(stirling))
    return reduce_loss(loss, reduction)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """0.5 (log(max(var, eps)) + (input - target)² / max(var, eps)); no gradient flows through the max."""
    if isinstance(var, (int, float)):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = mg.full_like(input, float(var))
    elif bool((var < 0).any()):
        raise ValueError("var has negative entry/entries")
    if var.shape != input.shape:
        if tuple(input.shape[:-1]) == tuple(var.shape):
            var = var.unsqueeze(-1)
        elif not (tuple(input.shape[:-1]) == tuple(var.shape[:-1]) and var.shape[-1] == 1):
            if var.dim() > input.dim() or any(
                v not in (1, i) for v, i in zip(reversed(var.shape), reversed(input.shape), strict=False)
            ):
                raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    # The floor moves the value only: torch clamps var under no_grad.
    var = var + (var.detach().clamp(min=eps) - var.detach())
    loss = 0.5 * (var.log() + (input - target).square() / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduce_loss(loss, reduction)
