"""Order statistics and second moments: quantile, nanquantile, cov, corrcoef; dist and renorm. All are composites."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions
from minigrad.ops.shared.check import expect_tensors, into
from minigrad.ops.shared.struct_doc import numpy
from minigrad.ops.views.shape import _wrap

_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


# --- quantiles --------------------------------------------------------------------------------------------------------
def _checked_q(name: str, input: mg.Tensor, q: Any, interpolation: str) -> mg.Tensor:
    expect_tensors(name, input=input)
    if not isinstance(q, mg.Tensor):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}: q must be in the range [0, 1]: got {q}")
        q = mg.tensor(float(q), dtype=input.dtype, device=input.device)
    if input.numel() == 0:
        raise RuntimeError(f"{name}: input must be non-empty: got shape {tuple(input.shape)}")
    if q.dim() > 1:
        raise RuntimeError(f"{name}: q must be a scalar or 1-d tensor: got shape {tuple(q.shape)}")
    if input.dtype not in (mg.float32, mg.float64):
        raise RuntimeError(f"{name}: input must be float32 or float64: got {input.dtype}. Try x.float().")
    if q.dtype != input.dtype:
        raise RuntimeError(f"{name}: q must have the dtype of the input: got {q.dtype} and {input.dtype}")
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(f"{name}: interpolation must be one of {_INTERPOLATIONS}: got '{interpolation}'")
    if not bool(mg.op.all_values((q >= 0) & (q <= 1)).all()):
        raise RuntimeError(f"{name}: q values must be in the range [0, 1]: got {q.tolist()}")
    return q


def _ranked(ordered: mg.Tensor, q: mg.Tensor, interpolation: str, skip_nan: bool) -> mg.Tensor:
    """Quantiles of rows that are sorted along the last dim (NaN last); the result has q's elements there instead."""
    n = ordered.shape[-1]
    at = q.reshape(-1)
    if skip_nan:
        last = (mg.isnan(ordered.detach()).logical_not().sum(-1, True) - 1).clamp(min=0)
        rank = at * last.to(ordered.dtype)
    else:
        rank = (at * (n - 1)).expand(*ordered.shape[:-1], at.numel())
        nan = mg.isnan(ordered.detach()).any(-1, True)
        rank = rank.masked_fill(nan, n - 1)  # NaN stands last: the result is NaN
    if interpolation == "lower":
        rank = rank.floor()
    elif interpolation == "higher":
        rank = rank.ceil()
    elif interpolation == "nearest":
        rank = rank.round()
    below = rank.detach().to(mg.int64)
    low = functions["gather"](ordered, -1, below)
    if interpolation not in ("linear", "midpoint"):
        return low
    high = functions["gather"](ordered, -1, rank.detach().ceil().to(mg.int64))
    weight = mg.full_like(rank, 0.5) if interpolation == "midpoint" else rank - below.to(rank.dtype)
    return mg.lerp(low, high, weight)


def _quantile(name: str, input: mg.Tensor, q: Any, dim: Any, keepdim: bool, interpolation: str, out: Any) -> mg.Tensor:
    expect_tensors(name, input=input)
    d = None if dim is None else _wrap(dim, input.dim(), name)
    q = _checked_q(name, input, q, interpolation)
    if out is not None and out.dtype != input.dtype:
        raise RuntimeError(f"{name}: out must have the input's dtype {input.dtype}: got {out.dtype}")
    if d is None:
        rows = input.reshape(-1)
        shape = (1,) * input.dim() if keepdim else ()
    else:
        rows = input.movedim(d, -1) if input.dim() else input.reshape(1)
        shape = tuple(1 if k == d else n for k, n in enumerate(input.shape) if keepdim or k != d)
    picked = _ranked(functions["_sort"](rows, -1, False)[0], q, interpolation, name == "nanquantile")
    result = picked.movedim(-1, 0).reshape((*q.shape, *shape))
    return into(name, result, out)


def _quantile_samples(s: Any) -> list[Any]:
    return [s(s.f(7, distinct=True), 0.4), s(s.f(3, 4, distinct=True), 0.25, 1), s(s.f(3, 4, distinct=True), 0.5, 0, True),
            s(s.f(5, distinct=True), s.of([0.05, 0.3, 0.9], dtype="float32" if s.integer else None), 0),
            s(s.f(2, 5, distinct=True), 0.6, 1, interpolation="lower"), s(s.f(5, distinct=True), 0.6, interpolation="higher"),
            s(s.f(5, distinct=True), 0.6, interpolation="midpoint"), s(s.f(5, distinct=True), 0.7, interpolation="nearest"),
            s(s.f(distinct=True), 0.5)]  # fmt: skip


_QUANTILE_DOC = """{summary}

    Args:
        input: float32 or float64 tensor with elements.
        q: number or 1-d tensor of numbers in [0, 1], of the input's dtype.
        dim: int; None means all elements.
        keepdim: keep the reduced dim with size 1.
        interpolation: "linear", "lower", "higher", "midpoint" or "nearest": what to take between two elements.
        out: tensor to write into.
    Returns:
        a tensor of the input's shape without dim, with q's size in front when q is a tensor.
    Raises:
        RuntimeError for other dtypes, an empty input or a q outside [0, 1].
    Gradient:
        flows to the one or two elements taken, and to q with "linear".
    Example:
        >>> mg.{name}(mg.tensor([{first}1., 2., 3.]), 0.5)
        tensor(2.)
    """


def _declare_quantiles() -> None:
    for name, summary, first, ref in (
        ("quantile", "Quantiles along a dim; NaN where there is a NaN.", "", "quantile"),
        ("nanquantile", "Quantiles along a dim, leaving NaN out; NaN where there is nothing else.", "mg.nan, ", "nanquantile"),
    ):

        def function(
            input: mg.Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear",
            out: mg.Tensor | None = None, _name: str = name,
        ) -> mg.Tensor:  # fmt: skip
            return _quantile(_name, input, q, dim, keepdim, interpolation, out)

        function.__name__ = function.__qualname__ = name
        function.__doc__ = _QUANTILE_DOC.format(summary=summary, name=name, first=first)
        composite(
            samples=_quantile_samples,
            ref=lambda input, q, dim=None, keepdim=False, interpolation="linear", _ref=ref: getattr(numpy(), _ref)(
                input, q, None if input.ndim == 0 else dim, keepdims=keepdim, method=interpolation
            ),
        )(function)


_declare_quantiles()


# --- covariance -------------------------------------------------------------------------------------------------------
def _weights(name: str, weights: mg.Tensor, n: int, kind: str) -> None:
    if weights.dim() > 1:
        raise RuntimeError(f"cov: {name} must be 0-d or 1-d: got shape {tuple(weights.shape)}")
    if weights.is_floating_point() != (kind == "floating"):
        raise RuntimeError(f"cov: {name} must have a {kind} dtype: got {weights.dtype}")
    if weights.numel() != n:
        raise RuntimeError(f"cov: expected one weight per observation in {name}: got {weights.numel()} for {n}")
    if n and bool(mg.op.all_values(weights < 0).any()):
        raise RuntimeError(f"cov: {name} cannot be negative")


@composite(
    samples=lambda s: [s(s.t(3, 5)), s(s.t(4)), s(s.t(2, 4), correction=0), s(s.t(2, 4), fweights=s.of([1, 2, 1, 3], dtype="int64")),
                       s(s.t(2, 3), aweights=s.f(3, low=0.5, high=2.0)), s(s.t(1, 4))],
    ref=lambda input, correction=1, fweights=None, aweights=None: numpy().cov(
        input, ddof=correction, fweights=fweights, aweights=aweights),
)  # fmt: skip
def cov(
    input: mg.Tensor, *, correction: int = 1, fweights: mg.Tensor | None = None, aweights: mg.Tensor | None = None
) -> mg.Tensor:
    """Covariance of variables given as rows.

    Args:
        input: (variables, observations), or one variable.
        correction: taken from the number of observations in the divisor.
        fweights: how often each observation counts, integers.
        aweights: weight of each observation, floating.
    Returns:
        (variables, variables) matrix; 0-d for one variable.
    Raises:
        RuntimeError above 2 dimensions, for bools, or for weights that do not fit.
    Example:
        >>> mg.cov(mg.tensor([[0., 1., 2.], [2., 1., 0.]])).tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
    """
    if input.dim() > 2:
        raise RuntimeError(f"cov: expected at most 2 dimensions: got shape {tuple(input.shape)}")
    if input.dtype == mg.bool:
        raise RuntimeError("cov: bool input is not supported. Try x.float().")
    x = input if input.dim() == 2 else input.reshape(1, -1)
    n = x.shape[1]
    w = None
    if fweights is not None:
        _weights("fweights", fweights, n, "integral")
        w = fweights.reshape(-1)
    if aweights is not None:
        _weights("aweights", aweights, n, "floating")
        w = aweights.reshape(-1) if w is None else w * aweights.reshape(-1)
    if w is None:
        total, mean = n, x.sum(1, True) / n
    else:
        total = w.sum()
        if n and bool(mg.op.all_values(total == 0).any()):
            raise RuntimeError("cov: weights sum to zero, so they can't be normalized")
        mean = (x * w).sum(1, True) / total
    if w is None or correction == 0:
        freedom = total - correction
    elif aweights is None:
        freedom = total - correction
    else:
        freedom = total - correction * (w * aweights.reshape(-1)).sum() / total
    if w is None:
        if n - correction <= 0:
            _warn_freedom()
            freedom = 0.0
    else:
        freedom = freedom.clamp(min=0)
    centred = x - mean
    product = (centred if w is None else centred * w) @ centred.mH
    return (product / freedom).squeeze()


def _warn_freedom() -> None:
    import warnings

    warnings.warn("cov(): degrees of freedom is <= 0", stacklevel=3)


@composite(samples=lambda s: [s(s.t(3, 5, distinct=True)), s(s.t(4, distinct=True))], no_ref_reason="checked against PyTorch",
           no_gradgrad_reason="the clamp to [-1, 1] has kinks where the result lies")  # fmt: skip
def corrcoef(input: mg.Tensor) -> mg.Tensor:
    """Pearson's correlation of variables given as rows.

    Args:
        input: (variables, observations), or one variable.
    Returns:
        (variables, variables) matrix in [-1, 1]; 0-d for one variable; NaN for constant variables.
    Raises:
        RuntimeError above 2 dimensions.
    Example:
        >>> mg.corrcoef(mg.tensor([[0., 1., 2.], [2., 1., 0.]])).tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
    """
    if input.dim() > 2:
        raise RuntimeError(f"corrcoef: expected at most 2 dimensions: got shape {tuple(input.shape)}")
    c = cov(input)
    if c.dim() == 0:
        return c / c
    std = mg.real(c.diagonal()).sqrt()
    c = c / std.unsqueeze(1) / std
    return mg.complex(c.real.clamp(-1, 1), c.imag.clamp(-1, 1)) if c.is_complex() else c.clamp(-1, 1)


# --- norms ------------------------------------------------------------------------------------------------------------
@composite(samples=lambda s: [s(s.f(3, 4), s.f(3, 4)), s(s.f(3, 4), s.f(4), 3.0), s(s.f(5), s.f(5), 1)],
           ref=lambda input, other, p=2: (numpy().abs(input - other) ** p).sum() ** (1 / p))  # fmt: skip
def dist(input: mg.Tensor, other: mg.Tensor, p: float = 2) -> mg.Tensor:
    """p-norm of the difference of two tensors.

    Args:
        input, other: floating tensors that broadcast.
        p: order of the norm; 0 counts the differences, inf takes the largest.
    Returns:
        a 0-d tensor.
    Raises:
        RuntimeError for shapes that do not fit, or integers.
    Gradient:
        0 where the tensors agree.
    Example:
        >>> mg.dist(mg.tensor([0., 0.]), mg.tensor([3., 4.]))
        tensor(5.)
    """
    expect_tensors("dist", input=input, other=other)
    return functions["_vector_norm"](input - other, None, False, None, float(p))


@composite(inplace=True, out=True, samples=lambda s: [s(s.f(3, 4), 2.0, 0, 1.5), s(s.f(2, 3, 2), 1.0, 1, 2.0), s(s.f(2, 3), 2, -1, 100.0)],
           no_ref_reason="checked against PyTorch")  # fmt: skip
def renorm(input: mg.Tensor, p: float, dim: int, maxnorm: float) -> mg.Tensor:
    """Scales down each slice along a dim whose p-norm exceeds `maxnorm`.

    Args:
        input: floating tensor of at least 2 dimensions.
        p: order of the norm, above 0.
        dim: the dimension whose slices are meant.
        maxnorm: largest norm allowed.
    Returns:
        a tensor of the input's shape.
    Raises:
        RuntimeError for p <= 0, a negative maxnorm or fewer than 2 dimensions.
    Gradient:
        that of x * maxnorm / (norm + 1e-7) for slices that are scaled.
    Example:
        >>> mg.renorm(mg.tensor([[3., 4.], [0., 1.]]), 2, 0, 1.0)[1].tolist()
        [0.0, 1.0]
    """
    if p <= 0:
        raise RuntimeError(f"renorm: non-positive norm not supported: got p={p}")
    if input.dim() < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions: got shape {tuple(input.shape)}")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0: got {maxnorm}")
    d = _wrap(dim, input.dim(), "renorm")
    others = [k for k in range(input.dim()) if k != d]
    wide = mg.float32 if input.dtype in (mg.float16, mg.bfloat16) else input.dtype
    norm = functions["_vector_norm"](input, others, True, wide, float(p))
    if maxnorm == math.inf:  # nothing to scale, and inf times its zero gradient would be NaN
        return input.clone(memory_format=mg.contiguous_format)
    factor = mg.where(norm > maxnorm, maxnorm / (norm + 1e-7), 1.0)
    return (input * factor.to(input.dtype)).contiguous()
