"""Inverse gamma distribution: 1 / x of a gamma variable."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.gamma import Gamma
from minigrad.distributions.transformed_distribution import TransformedDistribution
from minigrad.distributions.transforms import PowerTransform

__all__ = ["InverseGamma"]


class InverseGamma(TransformedDistribution):
    """Inverse gamma distribution: 1 / x of a gamma variable.

    Args:
        concentration: shape alpha, above 0.
        rate: beta, above 0 (the scale of the inverse).
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        base = Gamma(concentration, rate, validate_args=validate_args)
        super().__init__(base, PowerTransform(-base.rate.new_ones(())), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> InverseGamma:
        return super().expand(batch_shape, _instance=self._get_checked_instance(InverseGamma, _instance))

    @property
    def concentration(self) -> mg.Tensor:
        return self.base_dist.concentration

    @property
    def rate(self) -> mg.Tensor:
        return self.base_dist.rate

    @property
    def mean(self) -> mg.Tensor:
        return mg.where(self.concentration > 1, self.rate / (self.concentration - 1), mg.inf)

    @property
    def mode(self) -> mg.Tensor:
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> mg.Tensor:
        a = self.concentration
        return mg.where(a > 2, self.rate.square() / ((a - 1).square() * (a - 2)), mg.inf)

    def entropy(self) -> mg.Tensor:
        a = self.concentration
        return a + self.rate.log() + a.lgamma() - (1 + a) * a.digamma()
