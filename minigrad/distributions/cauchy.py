"""Cauchy (Lorentz) distribution: the ratio of two independent normal variables."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.distribution import Distribution
from minigrad.distributions.utils import broadcast_all

__all__ = ["Cauchy"]


class Cauchy(Distribution):
    """Cauchy (Lorentz) distribution: the ratio of two independent normal variables.

    Args:
        loc: median.
        scale: half width at half maximum, above 0.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Cauchy:
        return self._expand_parameters(Cauchy, batch_shape, _instance, ("loc", "scale"))

    @property
    def mean(self) -> mg.Tensor:
        return mg.full(self._extended_shape(), math.nan, dtype=self.loc.dtype, device=self.loc.device)

    @property
    def mode(self) -> mg.Tensor:
        return self.loc

    @property
    def variance(self) -> mg.Tensor:
        return mg.full(self._extended_shape(), math.inf, dtype=self.loc.dtype, device=self.loc.device)

    def rsample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        return self.loc + self.loc.new_empty(self._extended_shape(sample_shape)).cauchy_() * self.scale

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return -math.log(math.pi) - self.scale.log() - ((value - self.loc) / self.scale).square().log1p()

    def cdf(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return mg.atan((value - self.loc) / self.scale) / math.pi + 0.5

    def icdf(self, value: mg.Tensor) -> mg.Tensor:
        return mg.tan(math.pi * (value - 0.5)) * self.scale + self.loc

    def entropy(self) -> mg.Tensor:
        return math.log(4 * math.pi) + self.scale.log()
