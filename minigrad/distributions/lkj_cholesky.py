"""LKJ distribution of Cholesky factors of correlation matrices."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.beta import Beta
from minigrad.distributions.distribution import Distribution
from minigrad.distributions.utils import broadcast_all

__all__ = ["LKJCholesky"]


class LKJCholesky(Distribution):
    """Lower Cholesky factors L of correlation matrices M = L L^T with density of M proportional to det(M)^(concentration - 1).

    Args:
        dim: size of the matrices, at least 2.
        concentration: above 0; 1 is uniform over correlation matrices, larger values favour the identity.
    Raises:
        ValueError for dim < 2.

    Source: Lewandowski, Kurowicka, Joe, "Generating random correlation matrices based on vines and extended onion method", 2009,
    section 3.2 (the onion method is the sampler here).
    """

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None) -> None:
        if dim < 2:
            raise ValueError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        # squared length of the off-diagonal part of row k = 1 … dim - 1: Beta(k / 2, concentration + (dim - 1 - k) / 2).
        # PyTorch draws with k - 1/2 in place of k / 2, which is not LKJ from the third row on (test_lkj_cholesky_correlations).
        marginal = self.concentration + 0.5 * (self.dim - 2)
        offset = mg.arange(self.dim - 1, dtype=self.concentration.dtype, device=self.concentration.device)
        offset = mg.cat([offset.new_zeros((1,)), offset])
        self._beta = Beta(0.5 * offset + 0.5, marginal.unsqueeze(-1) - 0.5 * offset)
        super().__init__(self.concentration.size(), (dim, dim), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LKJCholesky:
        new = self._expand_parameters(LKJCholesky, batch_shape, _instance, ("concentration",))
        new.dim = self.dim
        new._beta = self._beta.expand(tuple(mg.Size(batch_shape)) + (self.dim,))
        return new

    def sample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        with mg.no_grad():
            squared = self._beta.sample(sample_shape).unsqueeze(-1)
            directions = mg.randn(self._extended_shape(sample_shape), dtype=squared.dtype, device=squared.device).tril(-1)
            directions = directions / directions.norm(dim=-1, keepdim=True)
            directions[..., 0, :] = 0.0  # the first row has nothing below the diagonal: 0 / 0
            rows = mg.sqrt(squared) * directions
            diagonal = mg.clamp(1 - mg.sum(rows**2, dim=-1), min=mg.finfo(rows.dtype).tiny).sqrt()
            return rows + mg.diag_embed(diagonal)

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        # powers of the diagonal: those of det(M) and of the Jacobian of L -> M
        diagonal = value.diagonal(dim1=-1, dim2=-2)[..., 1:]
        order = mg.arange(2, self.dim + 1, device=self.concentration.device)
        order = 2 * (self.concentration - 1).unsqueeze(-1) + self.dim - order
        unnormalised = mg.sum(order * diagonal.log(), dim=-1)
        rows = self.dim - 1
        alpha = self.concentration + 0.5 * rows
        numerator = mg.mvlgamma(alpha - 0.5, rows)
        normaliser = 0.5 * rows * math.log(math.pi) + numerator - mg.lgamma(alpha) * rows
        return unnormalised - normaliser
