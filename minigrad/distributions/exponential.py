"""Exponential distribution."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.exp_family import ExponentialFamily
from minigrad.distributions.utils import broadcast_all

__all__ = ["Exponential"]


class Exponential(ExponentialFamily):
    """Exponential distribution.

    Args:
        rate: 1 / mean, above 0.
    """

    arg_constraints = {"rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        self.rate, = broadcast_all(rate)
        super().__init__(self.rate.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Exponential:
        return self._expand_parameters(Exponential, batch_shape, _instance, ("rate",))

    @property
    def mean(self) -> mg.Tensor:
        return self.rate.reciprocal()

    @property
    def mode(self) -> mg.Tensor:
        return mg.zeros_like(self.rate)

    @property
    def stddev(self) -> mg.Tensor:
        return self.rate.reciprocal()

    @property
    def variance(self) -> mg.Tensor:
        return self.rate.pow(-2)

    def rsample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        return self.rate.new_empty(self._extended_shape(sample_shape)).exponential_() / self.rate

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return self.rate.log() - self.rate * value

    def cdf(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return 1 - mg.exp(-self.rate * value)

    def icdf(self, value: mg.Tensor) -> mg.Tensor:
        return -mg.log1p(-value) / self.rate

    def entropy(self) -> mg.Tensor:
        return 1.0 - mg.log(self.rate)

    @property
    def _natural_params(self) -> tuple[mg.Tensor, ...]:
        return (-self.rate,)

    def _log_normalizer(self, x: mg.Tensor) -> mg.Tensor:
        return -mg.log(-x)
