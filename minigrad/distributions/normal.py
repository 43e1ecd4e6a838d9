"""Normal (Gaussian) distribution."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.exp_family import ExponentialFamily
from minigrad.distributions.utils import broadcast_all, standard_normal

__all__ = ["Normal"]


class Normal(ExponentialFamily):
    """Normal distribution.

    Args:
        loc: mean.
        scale: standard deviation, above 0.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Normal:
        return self._expand_parameters(Normal, batch_shape, _instance, ("loc", "scale"))

    @property
    def mean(self) -> mg.Tensor:
        return self.loc

    @property
    def mode(self) -> mg.Tensor:
        return self.loc

    @property
    def stddev(self) -> mg.Tensor:
        return self.scale

    @property
    def variance(self) -> mg.Tensor:
        return self.scale.pow(2)

    def sample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        shape = self._extended_shape(sample_shape)
        with mg.no_grad():
            return mg.normal(self.loc.expand(shape), self.scale.expand(shape))

    def rsample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        shape = self._extended_shape(sample_shape)
        return self.loc + standard_normal(shape, self.loc.dtype, self.loc.device) * self.scale

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc) / self.scale
        return -0.5 * z * z - self.scale.log() - 0.5 * math.log(2 * math.pi)

    def cdf(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return 0.5 * (1 + mg.erf((value - self.loc) / (self.scale * math.sqrt(2))))

    def icdf(self, value: mg.Tensor) -> mg.Tensor:
        return self.loc + self.scale * (mg.erfinv(2 * value - 1) * math.sqrt(2))

    def entropy(self) -> mg.Tensor:
        return 0.5 + 0.5 * math.log(2 * math.pi) + mg.log(self.scale)

    @property
    def _natural_params(self) -> tuple[mg.Tensor, mg.Tensor]:
        return self.loc / self.scale.pow(2), -0.5 * self.scale.pow(-2)

    def _log_normalizer(self, x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        return -0.25 * x.pow(2) / y + 0.5 * mg.log(-math.pi / y)
