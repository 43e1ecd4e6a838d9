"""Half-Cauchy distribution: the absolute value of a Cauchy variable of median 0."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.cauchy import Cauchy
from minigrad.distributions.transformed_distribution import TransformedDistribution
from minigrad.distributions.transforms import AbsTransform

__all__ = ["HalfCauchy"]


class HalfCauchy(TransformedDistribution):
    """Half-Cauchy distribution: the absolute value of a Cauchy variable of median 0.

    Args:
        scale: half width of the Cauchy variable, above 0.
    """

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        base = Cauchy(0, scale, validate_args=False)
        super().__init__(base, AbsTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> HalfCauchy:
        return super().expand(batch_shape, _instance=self._get_checked_instance(HalfCauchy, _instance))

    @property
    def scale(self) -> mg.Tensor:
        return self.base_dist.scale

    @property
    def mean(self) -> mg.Tensor:
        return mg.full(self._extended_shape(), math.inf, dtype=self.scale.dtype, device=self.scale.device)

    @property
    def mode(self) -> mg.Tensor:
        return mg.zeros_like(self.scale)

    @property
    def variance(self) -> mg.Tensor:
        return self.base_dist.variance

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        value = mg.as_tensor(value, dtype=self.base_dist.scale.dtype, device=self.base_dist.scale.device)
        return mg.where(value >= 0, self.base_dist.log_prob(value) + math.log(2), -math.inf)

    def cdf(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return 2 * self.base_dist.cdf(value) - 1

    def icdf(self, value: mg.Tensor) -> mg.Tensor:
        return self.base_dist.icdf((value + 1) / 2)

    def entropy(self) -> mg.Tensor:
        return self.base_dist.entropy() - math.log(2)
