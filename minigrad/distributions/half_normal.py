"""Half-normal distribution: the absolute value of a normal variable of mean 0."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.normal import Normal
from minigrad.distributions.transformed_distribution import TransformedDistribution
from minigrad.distributions.transforms import AbsTransform

__all__ = ["HalfNormal"]


class HalfNormal(TransformedDistribution):
    """Half-normal distribution: the absolute value of a normal variable of mean 0.

    Args:
        scale: standard deviation of the normal variable, above 0.
    """

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        base = Normal(0, scale, validate_args=False)
        super().__init__(base, AbsTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> HalfNormal:
        return super().expand(batch_shape, _instance=self._get_checked_instance(HalfNormal, _instance))

    @property
    def scale(self) -> mg.Tensor:
        return self.base_dist.scale

    @property
    def mean(self) -> mg.Tensor:
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def mode(self) -> mg.Tensor:
        return mg.zeros_like(self.scale)

    @property
    def variance(self) -> mg.Tensor:
        return self.scale.pow(2) * (1 - 2 / math.pi)

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return mg.where(value >= 0, self.base_dist.log_prob(value) + math.log(2), -math.inf)

    def cdf(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return 2 * self.base_dist.cdf(value) - 1

    def icdf(self, value: mg.Tensor) -> mg.Tensor:
        return self.base_dist.icdf((value + 1) / 2)

    def entropy(self) -> mg.Tensor:
        return self.base_dist.entropy() - math.log(2)
