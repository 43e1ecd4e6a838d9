"""Reductions and normalisations with masks, under torch.masked's names. The functions live in minigrad/ops/reductions/masked*.py."""

from __future__ import annotations

from minigrad.ops.reductions.masked import (
    amax,
    amin,
    argmax,
    argmin,
    cumprod,
    cumsum,
    logaddexp,
    logsumexp,
    mean,
    median,
    prod,
    sum,
)
from minigrad.ops.reductions.masked_spread import log_softmax, norm, normalize, softmax, softmin, std, var

__all__ = [
    "amax", "amin", "argmax", "argmin", "cumprod", "cumsum", "log_softmax", "logaddexp", "logsumexp", "mean", "median",
    "norm", "normalize", "prod", "softmax", "softmin", "std", "sum", "var",
]  # fmt: skip
