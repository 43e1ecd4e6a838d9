"""Wishart distribution over positive definite matrices."""

from __future__ import annotations

import math
from numbers import Number
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.chi2 import Chi2
from minigrad.distributions.exp_family import ExponentialFamily
from minigrad.distributions.multivariate_normal import _precision_to_scale_tril
from minigrad.distributions.utils import lazy_property, standard_normal

__all__ = ["Wishart"]


def _mvdigamma(x: mg.Tensor, p: int) -> mg.Tensor:
    """Derivative of the logarithm of the p-dimensional gamma function (p = 0: 0)."""
    return mg.digamma(x.unsqueeze(-1) - mg.arange(p, dtype=x.dtype, device=x.device) / 2).sum(-1)


class Wishart(ExponentialFamily):
    """Scatter matrices: X = L S S^T L^T of df normal vectors with covariance L L^T.

    Args:
        df: degrees of freedom, above p - 1.
        covariance_matrix, precision_matrix, scale_tril: (..., p, p); exactly one.
    Raises:
        ValueError for wrong dimensions or df.
    """

    support = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0

    @property
    def arg_constraints(self) -> dict[str, Any]:  # type: ignore[override]
        return {
            "covariance_matrix": constraints.positive_definite,
            "precision_matrix": constraints.positive_definite,
            "scale_tril": constraints.lower_cholesky,
            "df": constraints.greater_than(self.event_shape[-1] - 1),
        }

    def __init__(self, df: Any, covariance_matrix: mg.Tensor | None = None, precision_matrix: mg.Tensor | None = None,
                 scale_tril: mg.Tensor | None = None, validate_args: bool | None = None) -> None:  # fmt: skip
        given = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) != 1:
            raise AssertionError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        ((name, matrix),) = given.items()
        if matrix.dim() < 2:
            raise ValueError("scale_tril must be at least two-dimensional, with optional leading batch dimensions")
        df = mg.tensor(df, dtype=matrix.dtype, device=matrix.device) if isinstance(df, Number) else df
        batch_shape = tuple(mg.broadcast_shapes(tuple(matrix.shape[:-2]), tuple(df.shape)))
        event_shape = tuple(matrix.shape[-2:])
        self.df = df.expand(batch_shape)
        if self.df.le(event_shape[-1] - 1).any():
            raise ValueError(f"Value of df={df} expected to be greater than ndim - 1 = {event_shape[-1] - 1}.")
        setattr(self, name, matrix.expand(batch_shape + event_shape))
        super().__init__(batch_shape, event_shape, validate_args=validate_args)
        if scale_tril is not None:
            self._unbroadcasted_scale_tril = scale_tril
        elif covariance_matrix is not None:
            self._unbroadcasted_scale_tril = mg.linalg.cholesky(covariance_matrix)
        else:
            self._unbroadcasted_scale_tril = _precision_to_scale_tril(precision_matrix)
        self._dist_chi2 = self._make_chi2()

    def _make_chi2(self) -> Chi2:
        """Squares of the diagonal of S: Chi2(df - i)."""
        p = self._event_shape[-1]
        lower = mg.arange(p, dtype=self.df.dtype, device=self.df.device).expand(tuple(self._batch_shape) + (p,))
        return Chi2(df=self.df.unsqueeze(-1) - lower)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Wishart:
        names = ("df", "covariance_matrix", "precision_matrix", "scale_tril")
        new = self._expand_parameters(Wishart, batch_shape, _instance, names)
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril
        new._dist_chi2 = new._make_chi2()
        return new

    def _full(self, matrix: mg.Tensor) -> mg.Tensor:
        return matrix.expand(tuple(self._batch_shape) + tuple(self._event_shape))

    @lazy_property
    def scale_tril(self) -> mg.Tensor:
        return self._full(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> mg.Tensor:
        return self._full(self._unbroadcasted_scale_tril @ self._unbroadcasted_scale_tril.mT)

    @lazy_property
    def precision_matrix(self) -> mg.Tensor:
        return self._full(mg.cholesky_inverse(self._unbroadcasted_scale_tril))

    @property
    def mean(self) -> mg.Tensor:
        return self.df.view(tuple(self._batch_shape) + (1, 1)) * self.covariance_matrix

    @property
    def mode(self) -> mg.Tensor:
        factor = self.df - self.covariance_matrix.shape[-1] - 1
        factor = mg.where(factor <= 0, math.nan, factor)
        return factor.view(tuple(self._batch_shape) + (1, 1)) * self.covariance_matrix

    @property
    def variance(self) -> mg.Tensor:
        v = self.covariance_matrix
        diagonal = v.diagonal(dim1=-2, dim2=-1)
        outer = diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2)
        return self.df.view(tuple(self._batch_shape) + (1, 1)) * (v.pow(2) + outer)

    def rsample(self, sample_shape: Any = mg.Size(), max_try_correction: Any = None) -> mg.Tensor:
        """Bartlett's decomposition. max_try_correction is accepted for PyTorch's sake: a singular draw (df near p - 1) is kept."""
        sample_shape = mg.Size(sample_shape)
        shape = self._extended_shape(sample_shape)
        diagonal = self._dist_chi2.rsample(sample_shape).clamp(min=mg.finfo(self.df.dtype).tiny).sqrt()
        bartlett = standard_normal(shape, diagonal.dtype, diagonal.device).tril(-1) + diagonal.diag_embed()
        factor = self._unbroadcasted_scale_tril @ bartlett
        return factor @ factor.mT

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        nu, p = self.df, self._event_shape[-1]
        factor = self._unbroadcasted_scale_tril
        trace = mg.cholesky_solve(value, factor).diagonal(dim1=-2, dim2=-1).sum(-1)
        return (
            -nu * (p * math.log(2) / 2 + factor.diagonal(dim1=-2, dim2=-1).log().sum(-1))
            - mg.mvlgamma(nu / 2, p=p)
            + (nu - p - 1) / 2 * mg.linalg.slogdet(value).logabsdet
            - trace / 2
        )

    def entropy(self) -> mg.Tensor:
        nu, p = self.df, self._event_shape[-1]
        half_log_det = self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return (
            (p + 1) * (p * math.log(2) / 2 + half_log_det)
            + mg.mvlgamma(nu / 2, p=p)
            - (nu - p - 1) / 2 * _mvdigamma(nu / 2, p=p)
            + nu * p / 2
        )

    @property
    def _natural_params(self) -> tuple[mg.Tensor, mg.Tensor]:
        return -self.precision_matrix / 2, (self.df - self._event_shape[-1] - 1) / 2

    def _log_normalizer(self, x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        p = self._event_shape[-1]
        return (y + (p + 1) / 2) * (-mg.linalg.slogdet(-2 * x).logabsdet + math.log(2) * p) + mg.mvlgamma(y + (p + 1) / 2, p=p)
