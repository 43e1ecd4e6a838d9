"""What HalfNormal and HalfCauchy share: the absolute value of a variable that is symmetric about 0."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.distribution import Distribution
from minigrad.distributions.transformed_distribution import TransformedDistribution
from minigrad.distributions.transforms import AbsTransform


class Half(TransformedDistribution):
    """|x| for x of `_whole`, a class of distributions with arguments (middle, scale)."""

    _whole: type[Distribution]
    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        base = self._whole(0, scale, validate_args=False)
        super().__init__(base, AbsTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Half:
        return super().expand(batch_shape, _instance=self._get_checked_instance(Half, _instance))

    @property
    def scale(self) -> mg.Tensor:
        return self.base_dist.scale

    @property
    def mode(self) -> mg.Tensor:
        return mg.zeros_like(self.scale)

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        value = mg.as_tensor(value, dtype=self.scale.dtype, device=self.scale.device)
        return mg.where(value >= 0, self.base_dist.log_prob(value) + math.log(2), -math.inf)

    def cdf(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return 2 * self.base_dist.cdf(value) - 1

    def icdf(self, value: mg.Tensor) -> mg.Tensor:
        return self.base_dist.icdf((value + 1) / 2)

    def entropy(self) -> mg.Tensor:
        return self.base_dist.entropy() - math.log(2)
