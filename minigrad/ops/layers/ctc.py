"""ctc_loss (Graves et al., Connectionist Temporal Classification, ICML 2006). Kernels: csrc/cpu/ctc.cpp."""

from __future__ import annotations

import itertools
import math
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op


def _np_ctc(log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int, longest: int) -> Any:
    """The sum over all labellings, spelled out: only for tiny cases."""
    import numpy as np

    out, starts = [], np.concatenate([[0], np.cumsum(target_lengths)])
    for n, (frames, labels) in enumerate(zip(input_lengths, target_lengths, strict=True)):
        row = targets[n] if targets.ndim == 2 else targets[starts[n] :]
        wanted, total = list(row[:labels]), 0.0
        for path in itertools.product(range(log_probs.shape[2]), repeat=int(frames)):
            if [c for c, _ in itertools.groupby(path) if c != blank] == wanted:
                total += math.exp(sum(log_probs[t, n, c] for t, c in enumerate(path)))
        out.append(-math.log(total) if total else math.inf)
    return np.array(out)


_LENGTHS = "int64 number per sample."

op(
    "_ctc_loss_backward(g, log_probs, targets, input_lengths, target_lengths, out, log_alpha, blank: int,"
    " zero_infinity: bool) -> grad",
    meta="ctc_loss_backward",
    namespace=None,
    method=False,
    no_grad_reason="PyTorch's gradient by convention (that of the logits); it has no second derivative there either",
    no_samples_reason="tested as the gradient of ctc_loss, against PyTorch",
    no_ref_reason="tested as the gradient of ctc_loss, against PyTorch",
    doc="Gradient of _ctc_loss: exp(log_probs) minus the posterior of each class at each frame.",
)

op(
    "_ctc_loss(log_probs, targets, input_lengths, target_lengths, blank: int, longest: int,"
    " zero_infinity: bool = False) -> out, log_alpha",
    meta="ctc_loss",
    namespace=None,
    method=False,
    nondiff=("log_alpha",),
    grad_name="CtcLoss",
    dlog_probs=lambda g_out, log_probs, targets, input_lengths, target_lengths, out, log_alpha, blank, zero_infinity: (
        functions["_ctc_loss_backward"](
            g_out, log_probs, targets, input_lengths, target_lengths, out, log_alpha, blank, zero_infinity
        )
    ),
    no_gradgrad_reason="its gradient is PyTorch's by convention, without a second derivative",
    ref=lambda log_probs, targets, input_lengths, target_lengths, blank, longest, zero_infinity=False: (
        _np_ctc(log_probs, targets, input_lengths, target_lengths, blank, longest),
    ),
    no_ref_reason="ctc_loss has the reference",
    no_samples_reason="tested through ctc_loss",
    doc="Negative log likelihood of each sample's target and the log forward sums alpha (N, T, 2 longest + 1).",
)


def _lengths(name: str, value: Any, log_probs: Any) -> Any:
    if not isinstance(value, mg.Tensor):
        value = mg.tensor(list(value) if isinstance(value, (tuple, list)) else [value], dtype=mg.int64)
    if value.is_floating_point() or value.dtype == mg.bool:
        raise RuntimeError(f"ctc_loss: {name} must be integral: got {value.dtype}.")
    return value.reshape(-1).to(log_probs.device, mg.int64)


def _public_ref(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: str = "mean"
) -> Any:
    losses = _np_ctc(log_probs, targets, input_lengths, target_lengths, blank, 0)
    return {"none": losses, "sum": losses.sum(), "mean": (losses / target_lengths.clip(1)).mean()}[reduction]


def _sample(s: Any, frames: int, classes: int, lengths: list[int], **named: Any) -> Any:
    from dataclasses import replace

    import numpy as np

    def ints(values: list[int]) -> Any:
        return replace(s.index(len(values), high=1), values=np.array(values))

    probabilities = s.f(frames, len(lengths), classes, low=-3, high=-0.1)
    targets = replace(
        s.index(len(lengths), max(lengths), high=1),
        values=np.array([[1 + (i + n) % (classes - 1) for i in range(max(lengths))] for n in range(len(lengths))]),
    )
    return s(probabilities, targets, ints([frames] * len(lengths)), ints(lengths), **named).by_convention()


@composite(
    "nn.functional",
    ref=_public_ref,
    no_gradgrad_reason="its gradient is PyTorch's by convention, without a second derivative",
    dtypes=("float64", "float32"),
    samples=lambda s: [_sample(s, 4, 3, [2, 1]), _sample(s, 5, 3, [2, 0, 1], reduction="none")],
)
def ctc_loss(
    log_probs: mg.Tensor,
    targets: mg.Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> mg.Tensor:
    """Connectionist temporal classification: minus the log probability of all alignments of a label sequence.

    Args:
        log_probs: (T, N, C) or (T, C), log probabilities of C classes at T frames, floating.
        targets: (N, S) padded labels, or all labels one after the other; integers other than `blank`.
        input_lengths: (N) frames of each sample, <= T.
        target_lengths: (N) labels of each sample.
        blank: class that stands for no label.
        reduction: "mean" (each loss divided by its target's length, then the mean), "sum" or "none".
        zero_infinity: make impossible alignments cost nothing, in value and gradient.
    Returns:
        a 0-d tensor, or (N) with "none".
    Raises:
        RuntimeError for shapes, lengths or labels that do not fit; ValueError for an unknown reduction.
    Gradient:
        PyTorch's: that of the logits of a log_softmax that made log_probs, exp(log_probs) - posterior.
    Example:
        >>> frames = mg.full((2, 1, 2), 0.5).log()
        >>> mg.nn.functional.ctc_loss(frames, mg.tensor([[1]]), mg.tensor([2]), mg.tensor([1]))
        tensor(0.2877)
    """
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"ctc_loss: '{reduction}' is not a valid value for reduction, expected none, mean or sum.")
    single = log_probs.dim() == 2
    if single:
        log_probs = log_probs.unsqueeze(1)
        targets = targets.unsqueeze(0) if targets.dim() == 1 else targets
    frames = _lengths("input_lengths", input_lengths, log_probs)
    labels = _lengths("target_lengths", target_lengths, log_probs)
    longest = int(labels.max()) if labels.numel() else 0
    if longest < 0:
        raise RuntimeError("ctc_loss: target_lengths must not be negative.")
    loss = functions["_ctc_loss"](log_probs, targets, frames, labels, blank, longest, zero_infinity)[0]
    if zero_infinity:
        loss = mg.where(loss == math.inf, mg.zeros_like(loss), loss)
    if reduction == "mean":
        return (loss / labels.clamp(min=1).to(loss.dtype)).mean()
    if reduction == "sum":
        return loss.sum()
    return loss.squeeze(0) if single else loss
