"""Margin losses and distances: hinge, ranking, triplet, cosine."""

from __future__ import annotations

from collections.abc import Callable

import minigrad as mg

from .loss import legacy_reduction, reduce_loss

Tensor = mg.Tensor


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1·x2 / (max(‖x1‖, eps) max(‖x2‖, eps)) along `dim`, after broadcasting."""
    x1, x2 = mg.broadcast_tensors(x1, x2)
    norm1 = _safe_norm(x1, dim).clamp(min=eps)
    norm2 = _safe_norm(x2, dim).clamp(min=eps)
    return ((x1 / norm1) * (x2 / norm2)).sum(dim)


def _safe_norm(x: Tensor, dim: int) -> Tensor:
    return x.norm(2, dim, True)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """‖x1 - x2 + eps‖_p along the last dimension."""
    return (x1 - x2 + eps).norm(p, -1, keepdim)


def normalize(
    input: Tensor, p: float = 2.0, dim: int | tuple[int, ...] = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """input / max(‖input‖_p, eps) along `dim`."""
    result = input / input.norm(p, dim, True).clamp(min=eps)
    if out is None:
        return result
    if not mg.can_cast(result.dtype, out.dtype):
        raise RuntimeError(f"normalize: result type {result.dtype} can't be cast to the desired output type {out.dtype}")
    if out.numel() == 0:
        out.resize_(result.shape)  # an empty tensor takes the result's shape, as in PyTorch
    return out.copy_(result)


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """input where target is 1, max(0, margin - input) where it is -1."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    zeros = mg.zeros_like(input)
    apart = mg.where(target != 1, (margin - input).clamp(min=0), zeros)
    close = mg.where(target != -1, input, zeros)
    return reduce_loss(apart + close, reduction)


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -target (input1 - input2) + margin)."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if input1.dim() != input2.dim() or input1.dim() != target.dim():
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    return reduce_loss((-target * (input1 - input2) + margin).clamp(min=0), reduction)


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target * input))."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return reduce_loss((-target * input).exp().log1p(), reduction)


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos where target is 1, max(0, cos - margin) where it is -1; inputs (N, D) or (D)."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if not (target.dim() in (0, 1) and input1.dim() == input2.dim() == target.dim() + 1):
        raise RuntimeError(
            f"{target.dim()}D target tensor expects {target.dim() + 1}D input tensors, but found inputs with sizes "
            f"{input1.shape} and {input2.shape}."
        )
    tiny = 1e-12  # keeps the square roots away from 0, as torch does
    dot = (input1 * input2).sum(-1)
    length1 = (input1 * input1).sum(-1) + tiny
    length2 = (input2 * input2).sum(-1) + tiny
    cos = dot / (length1 * length2).sqrt()
    zeros = mg.zeros_like(cos)
    loss = mg.where(target == 1, 1 - cos, zeros) + mg.where(target == -1, (cos - margin).clamp(min=0), zeros)
    return reduce_loss(loss, reduction)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) with the p-norm distance."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=lambda a, b: pairwise_distance(a, b, p, eps),
        margin=margin,
        swap=swap,
        reduction=reduction,
    )


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """The triplet loss with any distance; `swap` uses the nearer of anchor and positive to the negative."""
    distance = pairwise_distance if distance_function is None else distance_function
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor.dim()}D, positive {positive.dim()}D, and negative {negative.dim()}D inputs"
        )
    apart = distance(anchor, negative)
    if swap:
        apart = mg.minimum(apart, distance(positive, negative))
    return reduce_loss((margin + distance(anchor, positive) - apart).clamp(min=0), reduction)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Mean over classes (last dimension) of the binary cross entropy of sigmoid(input)."""
    from .activation import logsigmoid

    reduction = legacy_reduction(size_average, reduce, reduction)
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return reduce_loss(loss.sum(-1) / input.shape[-1], reduction)


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Sum over the wrong classes of max(0, margin - x_right + x_wrong)^p / C; input (N, C) or (C)."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("weight must be one-dimensional")
    if input.dim() > 2 or (input.numel() == 0 and not (input.dim() == 2 and input.shape[1] > 0)):
        raise RuntimeError(f"multi_margin_loss: expected a non-empty (N, C) or (C) input: got {tuple(input.shape)}.")
    single = input.dim() <= 1
    scores = input.reshape(1, -1) if single else input
    if target.dim() > 1 or target.numel() != scores.shape[0]:
        raise RuntimeError(
            f"multi_margin_loss: expected one target per sample: got {tuple(target.shape)} for {tuple(input.shape)}."
        )
    if weight is not None and weight.shape[0] != scores.shape[1]:
        raise RuntimeError(f"multi_margin_loss: expected {scores.shape[1]} weights: got {tuple(weight.shape)}.")
    classes = target.reshape(-1, 1)
    gap = (margin - scores.gather(1, classes) + scores).clamp(min=0)
    gap = gap if p == 1 else gap * gap
    if weight is not None:
        gap = gap * weight[classes.reshape(-1)].unsqueeze(1)
    wrong = mg.ones_like(scores).scatter(1, classes, 0.0)
    loss = (gap * wrong).sum(1) / scores.shape[1]
    return reduce_loss(loss.reshape(()) if single and reduction == "none" else loss, reduction)


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Sum over (label, non-label) pairs of max(0, 1 - x_label + x_other) / C; a label list ends at its first -1."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if input.dim() > 2 or (input.numel() == 0 and not (input.dim() == 2 and input.shape[1] > 0)):
        raise RuntimeError(f"multilabel_margin_loss: expected a non-empty (N, C) or (C) input: got {tuple(input.shape)}.")
    single = input.dim() <= 1
    scores = input.reshape(1, -1) if single else input
    if target.numel() != input.numel() or target.dim() > 2 or (not single and target.shape != input.shape):
        raise RuntimeError(
            f"multilabel_margin_loss: expected a target of the input's shape: got {tuple(target.shape)} for"
            f" {tuple(input.shape)}."
        )
    labels = target.reshape(1, -1) if single else target
    # valid_NL: labels before the first negative entry; is_label_NC marks those classes.
    valid = (labels < 0).to(mg.int64).cumsum(1) == 0
    index = mg.where(valid, labels, mg.zeros_like(labels))
    is_label = mg.zeros_like(scores).scatter_add(1, index, valid.to(scores.dtype)).clamp(max=1)
    gap = (1 - scores.gather(1, index).unsqueeze(2) + scores.unsqueeze(1)).clamp(min=0)
    pairs = gap * (valid.to(scores.dtype).unsqueeze(2) * (1 - is_label.detach()).unsqueeze(1))
    loss = pairs.sum(2).sum(1) / scores.shape[1]
    return reduce_loss(loss.reshape(()) if single and reduction == "none" else loss, reduction)
