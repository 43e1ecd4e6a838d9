"""Multivariate normal distribution with covariance W W^T + D, W thin and D diagonal."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.distribution import Distribution
from minigrad.distributions.multivariate_normal import _batch_mahalanobis, _batch_mv
from minigrad.distributions.utils import lazy_property, standard_normal

__all__ = ["LowRankMultivariateNormal"]


def _capacitance_tril(w: mg.Tensor, d: mg.Tensor) -> mg.Tensor:
    """Cholesky factor of I + W^T D^-1 W, the small matrix of Woodbury's identity."""
    inner = w.mT @ (w / d.unsqueeze(-1))
    return mg.linalg.cholesky(inner + mg.eye(w.shape[-1], dtype=w.dtype, device=w.device))


def _lowrank_log_det(w: mg.Tensor, d: mg.Tensor, capacitance_tril: mg.Tensor) -> mg.Tensor:
    """log det(W W^T + D) by the matrix determinant lemma."""
    return 2 * capacitance_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1) + d.log().sum(-1)


def _lowrank_mahalanobis(w: mg.Tensor, d: mg.Tensor, x: mg.Tensor, capacitance_tril: mg.Tensor) -> mg.Tensor:
    """x^T (W W^T + D)^-1 x by Woodbury's identity."""
    direct = (x.pow(2) / d).sum(-1)
    return direct - _batch_mahalanobis(capacitance_tril, _batch_mv(w.mT / d.unsqueeze(-2), x))


class LowRankMultivariateNormal(Distribution):
    """Normal vectors of length n with covariance cov_factor cov_factor^T + diag(cov_diag); cost grows with n * rank^2.

    Args:
        loc: (..., n) mean.
        cov_factor: (..., n, rank).
        cov_diag: (..., n), above 0.
    Raises:
        ValueError when the shapes do not fit.
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: mg.Tensor, cov_factor: mg.Tensor, cov_diag: mg.Tensor, validate_args: bool | None = None) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        n = loc.shape[-1]
        if cov_factor.dim() < 2:
            raise ValueError("cov_factor must be at least two-dimensional, with optional leading batch dimensions")
        if cov_factor.shape[-2] != n:
            raise ValueError(f"cov_factor must be a batch of matrices with shape {n} x m")
        if cov_diag.shape[-1:] != (n,):
            raise ValueError(f"cov_diag must be a batch of vectors with shape {(n,)}")
        try:
            batch_shape = tuple(mg.broadcast_shapes(tuple(loc.shape[:-1]), tuple(cov_factor.shape[:-2]), tuple(cov_diag.shape[:-1])))
        except RuntimeError as error:
            raise ValueError(
                f"Incompatible batch shapes: loc {loc.shape}, cov_factor {cov_factor.shape}, cov_diag {cov_diag.shape}"
            ) from error
        self.loc, self.cov_diag = loc.expand(batch_shape + (n,)), cov_diag.expand(batch_shape + (n,))
        self.cov_factor = cov_factor.expand(batch_shape + tuple(cov_factor.shape[-2:]))
        self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag = cov_factor, cov_diag
        self._capacitance_tril = _capacitance_tril(cov_factor, cov_diag)
        super().__init__(batch_shape, (n,), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LowRankMultivariateNormal:
        new = self._expand_parameters(LowRankMultivariateNormal, batch_shape, _instance, ("loc", "cov_diag", "cov_factor"))
        for name in ("_unbroadcasted_cov_factor", "_unbroadcasted_cov_diag", "_capacitance_tril"):
            setattr(new, name, getattr(self, name))
        return new

    def _matrix_shape(self) -> tuple[int, ...]:
        return tuple(self._batch_shape) + tuple(self._event_shape) * 2

    @property
    def mean(self) -> mg.Tensor:
        return self.loc

    @property
    def mode(self) -> mg.Tensor:
        return self.loc

    @lazy_property
    def variance(self) -> mg.Tensor:  # type: ignore[override]
        spread = self._unbroadcasted_cov_factor.pow(2).sum(-1) + self._unbroadcasted_cov_diag
        return spread.expand(tuple(self._batch_shape) + tuple(self._event_shape))

    @lazy_property
    def scale_tril(self) -> mg.Tensor:
        # D^1/2 (I + D^-1/2 W W^T D^-1/2) D^1/2: the middle is well conditioned
        root = self._unbroadcasted_cov_diag.sqrt().unsqueeze(-1)
        inner = self._unbroadcasted_cov_factor / root
        middle = inner @ inner.mT + mg.eye(self._event_shape[0], dtype=inner.dtype, device=inner.device)
        return (root * mg.linalg.cholesky(middle)).expand(self._matrix_shape())

    @lazy_property
    def covariance_matrix(self) -> mg.Tensor:
        w = self._unbroadcasted_cov_factor
        return (w @ w.mT + mg.diag_embed(self._unbroadcasted_cov_diag)).expand(self._matrix_shape())

    @lazy_property
    def precision_matrix(self) -> mg.Tensor:
        d = self._unbroadcasted_cov_diag
        a = mg.linalg.solve_triangular(self._capacitance_tril, self._unbroadcasted_cov_factor.mT / d.unsqueeze(-2), upper=False)
        return (mg.diag_embed(d.reciprocal()) - a.mT @ a).expand(self._matrix_shape())

    def rsample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        shape = self._extended_shape(sample_shape)
        along = tuple(shape[:-1]) + (self._unbroadcasted_cov_factor.shape[-1],)
        noise_w = standard_normal(along, self.loc.dtype, self.loc.device)
        noise_d = standard_normal(shape, self.loc.dtype, self.loc.device)
        return self.loc + _batch_mv(self._unbroadcasted_cov_factor, noise_w) + self._unbroadcasted_cov_diag.sqrt() * noise_d

    def _log_det(self) -> mg.Tensor:
        return _lowrank_log_det(self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag, self._capacitance_tril)

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        w, d = self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag
        distance = _lowrank_mahalanobis(w, d, value - self.loc, self._capacitance_tril)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + self._log_det() + distance)

    def entropy(self) -> mg.Tensor:
        return (0.5 * (self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + self._log_det())).expand(self._batch_shape)
