"""Beta distribution, differentiable by implicit reparameterisation."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.dirichlet import Dirichlet
from minigrad.distributions.exp_family import ExponentialFamily
from minigrad.distributions.utils import broadcast_all

__all__ = ["Beta"]


class Beta(ExponentialFamily):
    """Beta distribution, differentiable by implicit reparameterisation.

    Args:
        concentration1: first parameter, alpha, above 0.
        concentration0: second parameter, beta, above 0.
    """

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        both = broadcast_all(concentration1, concentration0)
        self._dirichlet = Dirichlet(mg.stack(both, -1), validate_args=validate_args)
        super().__init__(self._dirichlet._batch_shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._expand_parameters(Beta, batch_shape, _instance, ())
        new._dirichlet = self._dirichlet.expand(batch_shape)
        return new

    @property
    def mean(self) -> mg.Tensor:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self) -> mg.Tensor:
        return self._dirichlet.mode[..., 0]

    @property
    def variance(self) -> mg.Tensor:
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total.pow(2) * (total + 1))

    def rsample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        return self._dirichlet.rsample(sample_shape).select(-1, 0)

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return self._dirichlet.log_prob(mg.stack([value, 1.0 - value], -1))

    def entropy(self) -> mg.Tensor:
        return self._dirichlet.entropy()

    @property
    def concentration1(self) -> mg.Tensor:
        return self._dirichlet.concentration[..., 0]

    @property
    def concentration0(self) -> mg.Tensor:
        return self._dirichlet.concentration[..., 1]

    @property
    def _natural_params(self) -> tuple[mg.Tensor, ...]:
        return self.concentration1, self.concentration0

    def _log_normalizer(self, x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        return mg.lgamma(x) + mg.lgamma(y) - mg.lgamma(x + y)
