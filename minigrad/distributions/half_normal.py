"""Half-normal distribution: the absolute value of a normal variable of mean 0."""

from __future__ import annotations

import math

import minigrad as mg
from minigrad.distributions._half import Half
from minigrad.distributions.normal import Normal

__all__ = ["HalfNormal"]


class HalfNormal(Half):
    """Half-normal distribution: the absolute value of a normal variable of mean 0.

    Args:
        scale: standard deviation of the normal variable, above 0.
    """

    _whole = Normal

    @property
    def mean(self) -> mg.Tensor:
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self) -> mg.Tensor:
        return self.scale.pow(2) * (1 - 2 / math.pi)
