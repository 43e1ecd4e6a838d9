"""Gamma distribution, differentiable by implicit reparameterisation."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.exp_family import ExponentialFamily
from minigrad.distributions.utils import broadcast_all
from minigrad.op import functions

__all__ = ["Gamma"]


class Gamma(ExponentialFamily):
    """Gamma distribution, differentiable by implicit reparameterisation.

    Args:
        concentration: shape, often called alpha, above 0.
        rate: 1 / scale, often called beta, above 0.
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Gamma:
        return self._expand_parameters(Gamma, batch_shape, _instance, ("concentration", "rate"))

    @property
    def mean(self) -> mg.Tensor:
        return self.concentration / self.rate

    @property
    def mode(self) -> mg.Tensor:
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> mg.Tensor:
        return self.concentration / self.rate.pow(2)

    def rsample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        shape = self._extended_shape(sample_shape)
        value = functions["_standard_gamma"](self.concentration.expand(shape)) / self.rate.expand(shape)
        value.detach().clamp_(min=mg.finfo(value.dtype).tiny)  # log_prob stays finite; the gradient does not see it
        return value

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        value = mg.as_tensor(value, dtype=self.rate.dtype, device=self.rate.device)
        a, rate = self.concentration, self.rate
        return mg.xlogy(a, rate) + mg.xlogy(a - 1, value) - rate * value - mg.lgamma(a)

    def entropy(self) -> mg.Tensor:
        a = self.concentration
        return a - mg.log(self.rate) + mg.lgamma(a) + (1.0 - a) * mg.digamma(a)

    @property
    def _natural_params(self) -> tuple[mg.Tensor, ...]:
        return self.concentration - 1, -self.rate

    def _log_normalizer(self, x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        return mg.lgamma(x + 1) + (x + 1) * mg.log(-y.reciprocal())

    def cdf(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return mg.special.gammainc(self.concentration, self.rate * value)
