"""Dropout family. `dropout` is a registry op; the channel-wise and alpha forms multiply by a drawn mask."""

from __future__ import annotations

import math
import warnings

import minigrad as mg

from ._registry import registered

Tensor = mg.Tensor
dropout = registered("dropout")
# Saturation value of SELU: -scale * alpha (Klambauer et al., arXiv 1706.02515).
_ALPHA_PRIME = -1.7580993408473766


def _check(p: float) -> None:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _mask(input: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    mask = mg.empty(shape, dtype=input.dtype, device=input.device).bernoulli_(1 - p)
    return mask if p == 1 else mask.div_(1 - p)


def _feature_shape(input: Tensor, batched: bool) -> tuple[int, ...]:
    lead = 2 if batched else 1
    return tuple(input.shape[:lead]) + (1,) * (input.dim() - lead)


def _feature_dropout(input: Tensor, p: float, training: bool, inplace: bool, batched: bool) -> Tensor:
    _check(p)
    if not training or p == 0:
        return input
    mask = _mask(input, _feature_shape(input, batched), p)
    return input.mul_(mask) if inplace else input * mask


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels of (N, C, L) or (C, L)."""
    if input.dim() not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input. "
            "Note that dropout1d exists to provide channel-wise dropout on inputs with 1 spatial dimension."
        )
    return _feature_dropout(input, p, training, inplace, input.dim() == 3)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels of (N, C, H, W)."""
    if input.dim() not in (3, 4):
        warnings.warn(f"dropout2d: Received a {input.dim()}-D input to dropout2d, expected 3-D or 4-D", stacklevel=2)
    return _feature_dropout(input, p, training, inplace, True)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels of (N, C, D, H, W) or (C, D, H, W)."""
    if input.dim() not in (4, 5):
        warnings.warn(f"dropout3d: Received a {input.dim()}-D input to dropout3d, expected 4-D or 5-D", stacklevel=2)
    return _feature_dropout(input, p, training, inplace, input.dim() != 4)


def _alpha(input: Tensor, shape: tuple[int, ...], p: float, training: bool, inplace: bool) -> Tensor:
    _check(p)
    if not training or p == 0:
        return input
    if p == 1:
        return input.mul_(0) if inplace else input * 0
    keep = mg.empty(shape, dtype=input.dtype, device=input.device).bernoulli_(1 - p)
    # Chosen so that mean and variance of a SELU output stay what they were.
    scale = 1.0 / math.sqrt((_ALPHA_PRIME**2 * p + 1) * (1 - p))
    shift = (1 - keep) * (_ALPHA_PRIME * scale) - scale * _ALPHA_PRIME * p
    factor = keep * scale
    return input.mul_(factor).add_(shift) if inplace else input * factor + shift


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps the zero mean and unit variance of SELU activations."""
    return _alpha(input, tuple(input.shape), p, training, inplace)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels."""
    return _alpha(input, _feature_shape(input, True), p, training, inplace)
