"""Transforms of vectors and matrices: simplex, triangular factors. Public in transforms.py."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.transforms import Transform, _Stateless
from minigrad.distributions.utils import logsigmoid, softplus, tril_matrix_to_vec, vec_to_tril_matrix, with_one


class SoftmaxTransform(_Stateless):
    """exp(x), normalised along the last dimension; the inverse is log(y). Not bijective: used for optimisation."""

    domain = constraints.real_vector
    codomain = constraints.simplex

    def _call(self, x: mg.Tensor) -> mg.Tensor:
        weights = (x - x.max(-1, True)[0]).exp()
        return weights / weights.sum(-1, True)

    def _inverse(self, y: mg.Tensor) -> mg.Tensor:
        return y.log()

    def forward_shape(self, shape: Any) -> Any:
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        return shape

    inverse_shape = forward_shape


class StickBreakingTransform(_Stateless):
    """Vectors of length k to the simplex of k + 1 parts: each entry says (as a logit) which share of the rest its part takes."""

    domain = constraints.real_vector
    codomain = constraints.simplex
    bijective = True

    @staticmethod
    def _offset(x: mg.Tensor) -> mg.Tensor:
        """log of how many parts are left after each: at x = 0 all parts come out equal."""
        return x.new_ones(x.shape[-1]).flip(-1).cumsum(-1).flip(-1).log()

    def _call(self, x: mg.Tensor) -> mg.Tensor:
        limits = mg.finfo(x.dtype)
        z = mg.sigmoid(x - self._offset(x)).clamp(min=limits.tiny, max=1.0 - limits.eps)
        left = (1 - z).cumprod(-1)
        return with_one(z, "behind") * with_one(left, "before")

    def _inverse(self, y: mg.Tensor) -> mg.Tensor:
        shares = y[..., :-1]
        left = (1 - shares.cumsum(-1)).clamp(min=mg.finfo(y.dtype).tiny)
        return shares.log() - left.log() + self._offset(shares)

    def log_abs_det_jacobian(self, x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        x = x - self._offset(x)
        return (-x + logsigmoid(x) + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Any) -> Any:
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        return tuple(shape[:-1]) + (shape[-1] + 1,)

    def inverse_shape(self, shape: Any) -> Any:
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        return tuple(shape[:-1]) + (shape[-1] - 1,)


class CorrCholeskyTransform(Transform):
    """Vectors of length d (d - 1) / 2 to Cholesky factors of d x d correlation matrices.

    tanh of the entries are canonical partial correlations; every row is a point on the unit sphere built from them one by one.
    Source: Lewandowski, Kurowicka, Joe, "Generating random correlation matrices based on vines and extended onion method", 2009.
    """

    domain = constraints.real_vector
    codomain = constraints.corr_cholesky
    bijective = True

    def _call(self, x: mg.Tensor) -> mg.Tensor:
        eps = mg.finfo(x.dtype).eps
        r = vec_to_tril_matrix(mg.tanh(x).clamp(min=-1 + eps, max=1 - eps), diag=-1)
        rest = (1 - r**2).sqrt().cumprod(-1)  # length left in the row after each entry
        r = r + mg.eye(r.shape[-1], dtype=r.dtype, device=r.device)
        return r * with_one(rest[..., :-1], "before")

    def _inverse(self, y: mg.Tensor) -> mg.Tensor:
        left = with_one(1 - mg.cumsum(y * y, dim=-1)[..., :-1], "before")
        t = tril_matrix_to_vec(y, diag=-1) / tril_matrix_to_vec(left, diag=-1).sqrt()
        return (t.log1p() - t.neg().log1p()) / 2  # atanh

    def log_abs_det_jacobian(self, x: mg.Tensor, y: mg.Tensor, intermediates: Any = None) -> mg.Tensor:
        left = 1 - (y * y).cumsum(-1)
        of_rows = 0.5 * tril_matrix_to_vec(left, diag=-2).log().sum(-1)
        of_tanh = -2 * (x + softplus(-2.0 * x) - 0.6931471805599453).sum(-1)
        return of_rows + of_tanh

    def forward_shape(self, shape: Any) -> Any:
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        d = round((0.25 + 2 * shape[-1]) ** 0.5 + 0.5)
        if d * (d - 1) // 2 != shape[-1]:
            raise ValueError("Input is not a flattened lower-diagonal number")
        return tuple(shape[:-1]) + (d, d)

    def inverse_shape(self, shape: Any) -> Any:
        if len(shape) < 2:
            raise ValueError("Too few dimensions on input")
        if shape[-2] != shape[-1]:
            raise ValueError("Input is not square")
        d = shape[-1]
        return tuple(shape[:-2]) + (d * (d - 1) // 2,)


class LowerCholeskyTransform(_Stateless):
    """Any square matrices to lower triangular ones with positive diagonal (its exp)."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def _call(self, x: mg.Tensor) -> mg.Tensor:
        return x.tril(-1) + x.diagonal(dim1=-2, dim2=-1).exp().diag_embed()

    def _inverse(self, y: mg.Tensor) -> mg.Tensor:
        return y.tril(-1) + y.diagonal(dim1=-2, dim2=-1).log().diag_embed()


class PositiveDefiniteTransform(_Stateless):
    """Any square matrices to positive definite ones: L L^T of their LowerCholeskyTransform."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.positive_definite

    def _call(self, x: mg.Tensor) -> mg.Tensor:
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def _inverse(self, y: mg.Tensor) -> mg.Tensor:
        return LowerCholeskyTransform().inv(mg.linalg.cholesky(y))
