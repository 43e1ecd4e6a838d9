"""Two-parameter Weibull distribution."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.exponential import Exponential
from minigrad.distributions.transformed_distribution import TransformedDistribution
from minigrad.distributions.transforms import AffineTransform, PowerTransform
from minigrad.distributions.utils import broadcast_all, euler_constant

__all__ = ["Weibull"]


class Weibull(TransformedDistribution):
    """Two-parameter Weibull distribution.

    Args:
        scale: scale lambda, above 0.
        concentration: shape k, above 0.
    """

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}
    support = constraints.positive

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.scale, self.concentration = broadcast_all(scale, concentration)
        self.concentration_reciprocal = self.concentration.reciprocal()
        base = Exponential(mg.ones_like(self.scale), validate_args=validate_args)
        chain = [PowerTransform(exponent=self.concentration_reciprocal), AffineTransform(loc=0, scale=self.scale)]
        super().__init__(base, chain, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Weibull:
        new = self._get_checked_instance(Weibull, _instance)
        new.scale, new.concentration = self.scale.expand(batch_shape), self.concentration.expand(batch_shape)
        new.concentration_reciprocal = new.concentration.reciprocal()
        base = self.base_dist.expand(batch_shape)
        chain = [PowerTransform(exponent=new.concentration_reciprocal), AffineTransform(loc=0, scale=new.scale)]
        super(Weibull, new).__init__(base, chain, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> mg.Tensor:
        return self.scale * mg.exp(mg.lgamma(1 + self.concentration_reciprocal))

    @property
    def mode(self) -> mg.Tensor:
        return self.scale * ((self.concentration - 1) / self.concentration) ** self.concentration_reciprocal

    @property
    def variance(self) -> mg.Tensor:
        k = self.concentration_reciprocal
        return self.scale.pow(2) * (mg.exp(mg.lgamma(1 + 2 * k)) - mg.exp(2 * mg.lgamma(1 + k)))

    def entropy(self) -> mg.Tensor:
        return euler_constant * (1 - self.concentration_reciprocal) + mg.log(self.scale * self.concentration_reciprocal) + 1
