"""Laplace (two-sided exponential) distribution."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.distribution import Distribution
from minigrad.distributions.utils import broadcast_all

__all__ = ["Laplace"]


class Laplace(Distribution):
    """Laplace (two-sided exponential) distribution.

    Args:
        loc: mean.
        scale: mean distance from loc, above 0.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Laplace:
        return self._expand_parameters(Laplace, batch_shape, _instance, ("loc", "scale"))

    @property
    def mean(self) -> mg.Tensor:
        return self.loc

    @property
    def mode(self) -> mg.Tensor:
        return self.loc

    @property
    def variance(self) -> mg.Tensor:
        return 2 * self.scale.pow(2)

    @property
    def stddev(self) -> mg.Tensor:
        return math.sqrt(2) * self.scale

    def rsample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        shape = self._extended_shape(sample_shape)
        size = self.loc.new_empty(shape).exponential_()  # a distance and a side
        side = mg.randint(0, 2, shape, device=self.loc.device).to(self.loc.dtype) * 2 - 1
        return self.loc + self.scale * side * size

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return -mg.log(2 * self.scale) - mg.abs(value - self.loc) / self.scale

    def cdf(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        d = value - self.loc
        return 0.5 - 0.5 * d.sign() * mg.expm1(-d.abs() / self.scale)

    def icdf(self, value: mg.Tensor) -> mg.Tensor:
        term = value - 0.5
        return self.loc - self.scale * term.sign() * mg.log1p(-2 * term.abs())

    def entropy(self) -> mg.Tensor:
        return 1 + mg.log(2 * self.scale)
