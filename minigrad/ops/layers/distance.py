"""Distances between rows: cdist and pdist. Kernels: csrc/cpu/distance.cpp.

The gradient is written twice: `_cdist_grads` over public ops, which holds all differences (for double backward), and
the fused kernel, used when no graph of the gradient is wanted.
"""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops.shared.struct_doc import numpy


def _np_cdist(x1: Any, x2: Any, p: float = 2.0) -> Any:
    np = numpy()
    d = np.abs(x1[..., :, None, :] - x2[..., None, :, :])
    if p == 0:
        return (d != 0).sum(-1).astype(float)
    if math.isinf(p):
        return d.max(-1) if d.shape[-1] else np.zeros(d.shape[:-1])
    return (d**p).sum(-1) ** (1 / p)


def _slopes(x1: Any, x2: Any, out: Any, p: float) -> Any:
    """Derivative of every distance by every difference, (…, P, R, M); 0 where the distance is 0."""
    d, distance = x1.unsqueeze(-2) - x2.unsqueeze(-3), out.unsqueeze(-1)
    if p == 0:
        return mg.zeros_like(d)
    if p == 1:
        return d.sign()
    if math.isinf(p):
        return d.sign() * (d.abs() == distance).to(d.dtype)
    apart = mg.where(distance == 0, mg.ones_like(distance), distance)
    if p == 2:
        return d / apart * (distance != 0).to(d.dtype)
    size = mg.where(d == 0, mg.ones_like(d), d.abs())
    return d.sign() * (size / apart).pow(p - 1) * (distance != 0).to(d.dtype)


def _cdist_grads(g: Any, x1: Any, x2: Any, out: Any, p: float, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    s = g.unsqueeze(-1) * _slopes(x1, x2, out, p)
    return s.sum(-2) if needs[0] else None, -s.sum(-3) if needs[1] else None


def _cdist_fast(g: Any, x1: Any, x2: Any, out: Any, p: float, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    kernel = functions["_cdist_backward"]
    return (
        kernel(g, x1, x2, out, p) if needs[0] else None,
        kernel(g.transpose(-1, -2), x2, x1, out.transpose(-1, -2), p) if needs[1] else None,
    )


op(
    "_cdist_backward(g, x1, x2, distance, p: float) -> grad",
    meta="cdist_backward",
    namespace=None,
    method=False,
    no_grad_reason="used when no graph of the gradient is wanted; _cdist's `grads` is its differentiable form",
    no_samples_reason="tested as the fast gradient of _cdist",
    no_ref_reason="tested against the plain formula of _cdist, which finite differences check",
    doc="Gradient of _cdist by x1.",
)

op(
    "_cdist(x1, x2, p: float) -> out",
    meta="cdist",
    namespace=None,
    method=False,
    grad_name="Cdist",
    grads=_cdist_grads,
    fast_grads=_cdist_fast,
    ref=_np_cdist,
    samples=lambda s: [
        s(s.f(3, 4), s.f(2, 4), 2.0),
        s(s.f(2, 3, 4), s.f(2, 5, 4), 1.0),
        s(s.f(3, 4), s.f(2, 4), 3.0),
        s(s.f(3, 4), s.f(2, 4), math.inf),
        s(s.f(3, 4), s.f(2, 4), 0.0),
        s(s.f(3, 4), s.f(2, 4), 1.5),
        s(s.f(0, 4), s.f(2, 4), 2.0),
        s(s.f(3, 0), s.f(2, 0), 2.0),
    ],
    doc="p-norm distances between the rows of (…, P, M) and (…, R, M): (…, P, R).",
)

_MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")


@composite(
    method=False,
    ref=_np_cdist,
    samples=lambda s: [s(s.f(3, 4), s.f(2, 4)), s(s.f(2, 1, 3, 2), s.f(1, 2, 2, 2), 1.0)],
)
def cdist(x1: mg.Tensor, x2: mg.Tensor, p: float = 2.0, compute_mode: str | None = _MODES[0]) -> mg.Tensor:
    """Distances between all pairs of rows of two matrices, in the p-norm.

    Args:
        x1: (…, P, M), floating.
        x2: (…, R, M); batch dims broadcast.
        p: the norm, >= 0, inf included.
        compute_mode: accepted for PyTorch's sake: distances are always computed from the differences, which is exact.
    Returns:
        (…, P, R).
    Raises:
        RuntimeError for shapes or dtypes that do not fit, or a negative p; ValueError for an unknown compute_mode.
    Gradient:
        Where a distance is 0 the gradient is 0.
    Example:
        >>> mg.cdist(mg.tensor([[0., 0.]]), mg.tensor([[3., 4.], [0., 1.]]))
        tensor([[5., 1.]])
    """
    if compute_mode is not None and compute_mode not in _MODES:
        raise ValueError(f"cdist: {compute_mode} is not a valid value for compute_mode, expected one of {_MODES}.")
    if x1.dim() < 2 or x2.dim() < 2:
        raise RuntimeError(f"cdist: expected tensors of 2 or more dims: got {tuple(x1.shape)} and {tuple(x2.shape)}.")
    if x1.shape[:-2] != x2.shape[:-2]:
        batch = mg.broadcast_shapes(x1.shape[:-2], x2.shape[:-2])
        x1, x2 = x1.expand(*batch, *x1.shape[-2:]), x2.expand(*batch, *x2.shape[-2:])
    return functions["_cdist"](x1, x2, float(p))


_PDIST_ROWS = 128


@composite(
    ("", "nn.functional"),
    method=False,
    ref=lambda input, p=2.0: _np_cdist(input, input, p)[numpy().triu_indices(len(input), 1)],
    samples=lambda s: [s(s.f(4, 3)), s(s.f(3, 2), 1.0), s(s.f(1, 3))],
)
def pdist(input: mg.Tensor, p: float = 2.0) -> mg.Tensor:
    """Distances between all pairs of different rows, in the p-norm.

    Args:
        input: (N, M), floating.
        p: the norm, >= 0, inf included.
    Returns:
        (N (N - 1) / 2): row 0 with 1, 2, …, then row 1 with 2, ….
    Raises:
        RuntimeError for an input that is not a floating matrix, or a negative p.
    Gradient:
        Where a distance is 0 the gradient is 0.
    Example:
        >>> mg.pdist(mg.tensor([[0., 0.], [3., 4.], [0., 1.]]))
        tensor([5.0000, 1.0000, 4.2426])
    """
    if input.dim() != 2 or not input.is_floating_point():
        raise RuntimeError(f"pdist: expected a floating 2D tensor: got {input.dtype} {tuple(input.shape)}.")
    if p < 0:
        raise RuntimeError(f"pdist: only supports non-negative p values: got {p}.")
    n, parts = input.shape[0], []
    for start in range(0, n, _PDIST_ROWS) or (0,):  # blocks of rows with the rows from there on: about half of all pairs
        block, others = input[start : start + _PDIST_ROWS], input[start:]
        below, right = (mg.arange(x.shape[0], device=input.device) for x in (block, others))
        upper = (below.unsqueeze(1) < right).reshape(-1).nonzero().reshape(-1)
        parts.append(functions["_cdist"](block, others, float(p)).reshape(-1).index_select(0, upper))
    return parts[0] if len(parts) == 1 else mg.cat(parts)
