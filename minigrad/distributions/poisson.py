"""Poisson distribution: numbers of independent events."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.exp_family import ExponentialFamily
from minigrad.distributions.utils import broadcast_all

__all__ = ["Poisson"]


class Poisson(ExponentialFamily):
    """Poisson distribution: numbers of independent events.

    Args:
        rate: mean, at least 0.
    """

    arg_constraints = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        self.rate, = broadcast_all(rate)
        super().__init__(self.rate.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Poisson:
        return self._expand_parameters(Poisson, batch_shape, _instance, ("rate",))

    @property
    def mean(self) -> mg.Tensor:
        return self.rate

    @property
    def mode(self) -> mg.Tensor:
        return self.rate.floor()

    @property
    def variance(self) -> mg.Tensor:
        return self.rate

    def sample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        with mg.no_grad():
            return mg.poisson(self.rate.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        rate, value = broadcast_all(self.rate, value)
        return value.xlogy(rate) - rate - (value + 1).lgamma()

    @property
    def _natural_params(self) -> tuple[mg.Tensor, ...]:
        return (mg.log(self.rate),)

    def _log_normalizer(self, x: mg.Tensor) -> mg.Tensor:
        return mg.exp(x)
