"""Gumbel distribution of largest values."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.transformed_distribution import TransformedDistribution
from minigrad.distributions.transforms import AffineTransform, ExpTransform
from minigrad.distributions.uniform import Uniform
from minigrad.distributions.utils import broadcast_all, euler_constant

__all__ = ["Gumbel"]


class Gumbel(TransformedDistribution):
    """Gumbel distribution of largest values.

    Args:
        loc: mode.
        scale: scale, above 0.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        limits = mg.finfo(self.loc.dtype)
        base = Uniform(mg.full_like(self.loc, limits.tiny), mg.full_like(self.loc, 1 - limits.eps), validate_args=validate_args)
        flip = AffineTransform(loc=0, scale=-mg.ones_like(self.scale))
        chain = [ExpTransform().inv, flip, ExpTransform().inv, AffineTransform(loc=loc, scale=-self.scale)]  # loc - scale log(-log u)
        super().__init__(base, chain, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Gumbel:
        new = self._get_checked_instance(Gumbel, _instance)
        new.loc = self.loc.expand(batch_shape)
        new.scale = self.scale.expand(batch_shape)
        return super().expand(batch_shape, _instance=new)

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        y = (self.loc - value) / self.scale
        return y - y.exp() - self.scale.log()

    @property
    def mean(self) -> mg.Tensor:
        return self.loc + self.scale * euler_constant

    @property
    def mode(self) -> mg.Tensor:
        return self.loc

    @property
    def stddev(self) -> mg.Tensor:
        return math.pi / math.sqrt(6) * self.scale

    @property
    def variance(self) -> mg.Tensor:
        return self.stddev.pow(2)

    def entropy(self) -> mg.Tensor:
        return self.scale.log() + (1 + euler_constant)
