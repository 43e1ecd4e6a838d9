"""Dirichlet distribution over the simplex, differentiable by implicit reparameterisation."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.exp_family import ExponentialFamily
from minigrad.distributions.utils import one_hot
from minigrad.op import functions

__all__ = ["Dirichlet"]


class Dirichlet(ExponentialFamily):
    """Dirichlet distribution over the simplex, differentiable by implicit reparameterisation.

    Args:
        concentration: (..., k) parameters alpha, above 0.
    """

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, concentration: Any, validate_args: bool | None = None) -> None:
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Dirichlet:
        return self._expand_parameters(Dirichlet, batch_shape, _instance, ("concentration",))

    def rsample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        return functions["_sample_dirichlet"](self.concentration.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        a = self.concentration
        return mg.xlogy(a - 1.0, value).sum(-1) + mg.lgamma(a.sum(-1)) - mg.lgamma(a).sum(-1)

    @property
    def mean(self) -> mg.Tensor:
        return self.concentration / self.concentration.sum(-1, True)

    @property
    def mode(self) -> mg.Tensor:
        # at a corner when all parameters are below 1
        above = (self.concentration - 1).clamp(min=0.0)
        mode = above / above.sum(-1, True)
        corner = (self.concentration < 1).all(-1, keepdim=True)
        return mg.where(corner, one_hot(mode.argmax(-1), mode.shape[-1], mode.dtype), mode)

    @property
    def variance(self) -> mg.Tensor:
        total = self.concentration.sum(-1, True)
        return self.concentration * (total - self.concentration) / (total.pow(2) * (total + 1))

    def entropy(self) -> mg.Tensor:
        a, k = self.concentration, self.concentration.size(-1)
        total = a.sum(-1)
        return mg.lgamma(a).sum(-1) - mg.lgamma(total) - (k - total) * mg.digamma(total) - ((a - 1.0) * mg.digamma(a)).sum(-1)

    @property
    def _natural_params(self) -> tuple[mg.Tensor, ...]:
        return (self.concentration,)

    def _log_normalizer(self, x: mg.Tensor) -> mg.Tensor:
        return x.lgamma().sum(-1) - mg.lgamma(x.sum(-1))
