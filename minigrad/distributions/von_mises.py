"""Von Mises distribution on the circle."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.distribution import Distribution
from minigrad.distributions.utils import broadcast_all
from minigrad.op import functions

__all__ = ["VonMises"]


def _log_i0(x: mg.Tensor) -> mg.Tensor:
    """log of the modified Bessel function of order 0, x >= 0, without overflow."""
    return mg.special.i0e(x).log() + x


class VonMises(Distribution):
    """Angles around loc: the circle's normal distribution.

    Args:
        loc: mean angle in radians; values are compared modulo 2 pi.
        concentration: 1 / variance for large values, above 0.
    """

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real
    has_rsample = False

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> VonMises:
        return self._expand_parameters(VonMises, batch_shape, _instance, ("loc", "concentration"))

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return self.concentration * mg.cos(value - self.loc) - math.log(2 * math.pi) - _log_i0(self.concentration)

    def sample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        """Angles of [-pi, pi)."""
        shape = self._extended_shape(sample_shape)
        with mg.no_grad():
            turned = functions["_standard_von_mises"](self.concentration.expand(shape)) + self.loc
            return (turned + math.pi) % (2 * math.pi) - math.pi

    @property
    def mean(self) -> mg.Tensor:
        """The circular mean."""
        return self.loc

    @property
    def mode(self) -> mg.Tensor:
        return self.loc

    @property
    def variance(self) -> mg.Tensor:
        """The circular variance: 1 - I1 / I0 of the concentration."""
        return 1 - mg.special.i1e(self.concentration) / mg.special.i0e(self.concentration)
