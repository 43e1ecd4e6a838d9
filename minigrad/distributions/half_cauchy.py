"""Half-Cauchy distribution: the absolute value of a Cauchy variable of median 0."""

from __future__ import annotations

import math

import minigrad as mg
from minigrad.distributions._half import Half
from minigrad.distributions.cauchy import Cauchy

__all__ = ["HalfCauchy"]


class HalfCauchy(Half):
    """Half-Cauchy distribution: the absolute value of a Cauchy variable of median 0.

    Args:
        scale: half width of the Cauchy variable, above 0.
    """

    _whole = Cauchy

    @property
    def mean(self) -> mg.Tensor:
        return mg.full(self._extended_shape(), math.inf, dtype=self.scale.dtype, device=self.scale.device)

    @property
    def variance(self) -> mg.Tensor:
        return self.base_dist.variance
