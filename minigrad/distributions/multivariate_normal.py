"""Multivariate normal distribution."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.distribution import Distribution
from minigrad.distributions.utils import lazy_property, standard_normal

__all__ = ["MultivariateNormal"]


def _batch_mv(bmat: mg.Tensor, bvec: mg.Tensor) -> mg.Tensor:
    """Matrix times vector, both with batch dimensions that broadcast."""
    return mg.matmul(bmat, bvec.unsqueeze(-1)).squeeze(-1)


def _batch_mahalanobis(bL: mg.Tensor, bx: mg.Tensor) -> mg.Tensor:  # noqa: N803  PyTorch's names
    """x^T (L L^T)^-1 x for triangular factors and vectors whose batch dimensions broadcast."""
    return mg.linalg.solve_triangular(bL, bx.unsqueeze(-1), upper=False).square().sum((-2, -1))


def _precision_to_scale_tril(P: mg.Tensor) -> mg.Tensor:  # noqa: N803
    """Lower Cholesky factor of P^-1 by the Cholesky factor of P with rows and columns reversed: no inverse is formed."""
    reversed_factor = mg.linalg.cholesky(mg.flip(P, (-2, -1)))
    upper = mg.flip(reversed_factor, (-2, -1)).mT
    return mg.linalg.solve_triangular(upper, mg.eye(P.shape[-1], dtype=P.dtype, device=P.device), upper=False)


class MultivariateNormal(Distribution):
    """Normal vectors.

    Args:
        loc: (..., k) mean.
        covariance_matrix, precision_matrix, scale_tril: (..., k, k); exactly one: the covariance, its inverse, or its lower Cholesky
            factor (the cheapest).
    Raises:
        ValueError unless exactly one is given, or for wrong dimensions.
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: mg.Tensor, covariance_matrix: mg.Tensor | None = None, precision_matrix: mg.Tensor | None = None,
                 scale_tril: mg.Tensor | None = None, validate_args: bool | None = None) -> None:  # fmt: skip
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        given = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) != 1:
            raise ValueError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        ((name, matrix),) = given.items()
        if matrix.dim() < 2:
            tail = ", with optional leading batch dimensions"
            raise ValueError(f"{name} matrix must be at least two-dimensional{tail}" if name == "scale_tril"
                             else f"{name} must be at least two-dimensional{tail}")  # fmt: skip
        batch_shape = tuple(mg.broadcast_shapes(tuple(matrix.shape[:-2]), tuple(loc.shape[:-1])))
        setattr(self, name, matrix.expand(batch_shape + (-1, -1)))
        self.loc = loc.expand(batch_shape + (-1,))
        super().__init__(batch_shape, self.loc.shape[-1:], validate_args=validate_args)
        if scale_tril is not None:
            self._unbroadcasted_scale_tril = scale_tril
        elif covariance_matrix is not None:
            self._unbroadcasted_scale_tril = mg.linalg.cholesky(covariance_matrix)
        else:
            self._unbroadcasted_scale_tril = _precision_to_scale_tril(precision_matrix)

    def expand(self, batch_shape: Any, _instance: Any = None) -> MultivariateNormal:
        names = ("loc", "covariance_matrix", "precision_matrix", "scale_tril")
        new = self._expand_parameters(MultivariateNormal, batch_shape, _instance, names)
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril
        return new

    def _matrix_shape(self) -> tuple[int, ...]:
        return tuple(self._batch_shape) + tuple(self._event_shape) * 2

    @lazy_property
    def scale_tril(self) -> mg.Tensor:
        return self._unbroadcasted_scale_tril.expand(self._matrix_shape())

    @lazy_property
    def covariance_matrix(self) -> mg.Tensor:
        return mg.matmul(self._unbroadcasted_scale_tril, self._unbroadcasted_scale_tril.mT).expand(self._matrix_shape())

    @lazy_property
    def precision_matrix(self) -> mg.Tensor:
        return mg.cholesky_inverse(self._unbroadcasted_scale_tril).expand(self._matrix_shape())

    @property
    def mean(self) -> mg.Tensor:
        return self.loc

    @property
    def mode(self) -> mg.Tensor:
        return self.loc

    @property
    def variance(self) -> mg.Tensor:
        return self._unbroadcasted_scale_tril.pow(2).sum(-1).expand(tuple(self._batch_shape) + tuple(self._event_shape))

    def rsample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        eps = standard_normal(self._extended_shape(sample_shape), self.loc.dtype, self.loc.device)
        return self.loc + _batch_mv(self._unbroadcasted_scale_tril, eps)

    def _half_log_det(self) -> mg.Tensor:
        return self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        distance = _batch_mahalanobis(self._unbroadcasted_scale_tril, value - self.loc)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + distance) - self._half_log_det()

    def entropy(self) -> mg.Tensor:
        entropy = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + self._half_log_det()
        return entropy.expand(self._batch_shape)
