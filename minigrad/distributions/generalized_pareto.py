"""Generalized Pareto distribution."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.distribution import Distribution
from minigrad.distributions.utils import broadcast_all

__all__ = ["GeneralizedPareto"]


class GeneralizedPareto(Distribution):
    """Exceedances over a threshold. Shape 0 is the exponential distribution; below 0 the support ends at loc - scale / concentration.

    Args:
        loc: least value.
        scale: scale, above 0.
        concentration: shape.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real}
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> GeneralizedPareto:
        return self._expand_parameters(GeneralizedPareto, batch_shape, _instance, ("loc", "scale", "concentration"))

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        upper = mg.where(self.concentration < 0, self.loc - self.scale / self.concentration, math.inf)
        return constraints.interval(self.loc, upper)

    def _safe_shape(self) -> tuple[mg.Tensor, mg.Tensor]:
        """Where the shape counts as 0, and the shape with 1 there (so that divisions by it stay finite)."""
        is_zero = mg.isclose(self.concentration, mg.zeros_like(self.concentration))
        return is_zero, mg.where(is_zero, 1.0, self.concentration)

    def _z(self, x: mg.Tensor) -> mg.Tensor:
        return (x - self.loc) / self.scale

    def rsample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        u = mg.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        return self.icdf(u)

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        z = self._z(value)
        is_zero, shape = self._safe_shape()
        general = -(1 + 1 / shape) * mg.log1p(shape * z)
        return -mg.log(self.scale) + mg.where(is_zero, -z, general)

    def log_survival_function(self, value: mg.Tensor) -> mg.Tensor:
        """log of the probability of more than value."""
        if self._validate_args:
            self._validate_sample(value)
        z = self._z(value)
        is_zero, shape = self._safe_shape()
        return mg.where(is_zero, -z, -mg.log1p(shape * z) / shape)

    def log_cdf(self, value: mg.Tensor) -> mg.Tensor:
        """log of the probability of at most value."""
        return mg.log1p(-mg.exp(self.log_survival_function(value)))

    def cdf(self, value: mg.Tensor) -> mg.Tensor:
        return mg.exp(self.log_cdf(value))

    def icdf(self, value: mg.Tensor) -> mg.Tensor:
        is_zero, shape = self._safe_shape()
        log_survival = mg.log1p(-value)
        general = mg.expm1(-shape * log_survival) / shape
        return self.loc + self.scale * mg.where(is_zero, -log_survival, general)

    @property
    def mean(self) -> mg.Tensor:
        finite = self.concentration < 1
        shape = mg.where(finite, self.concentration, 0.5)
        return mg.where(finite, self.loc + self.scale / (1 - shape), math.nan)

    @property
    def variance(self) -> mg.Tensor:
        finite = self.concentration < 0.5
        shape = mg.where(finite, self.concentration, 0.25)
        return mg.where(finite, self.scale**2 / ((1 - shape) ** 2 * (1 - 2 * shape)), math.nan)

    def entropy(self) -> mg.Tensor:
        return mg.log(self.scale) + self.concentration + 1

    @property
    def mode(self) -> mg.Tensor:
        return self.loc
