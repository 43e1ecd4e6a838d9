"""Log-normal distribution: exp of a normal variable."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.normal import Normal
from minigrad.distributions.transformed_distribution import TransformedDistribution
from minigrad.distributions.transforms import ExpTransform

__all__ = ["LogNormal"]


class LogNormal(TransformedDistribution):
    """Log-normal distribution: exp of a normal variable.

    Args:
        loc: mean of the logarithm.
        scale: standard deviation of the logarithm, above 0.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        base = Normal(loc, scale, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogNormal:
        return super().expand(batch_shape, _instance=self._get_checked_instance(LogNormal, _instance))

    @property
    def loc(self) -> mg.Tensor:
        return self.base_dist.loc

    @property
    def scale(self) -> mg.Tensor:
        return self.base_dist.scale

    @property
    def mean(self) -> mg.Tensor:
        return (self.loc + self.scale.pow(2) / 2).exp()

    @property
    def mode(self) -> mg.Tensor:
        return (self.loc - self.scale.square()).exp()

    @property
    def variance(self) -> mg.Tensor:
        scale_sq = self.scale.pow(2)
        return scale_sq.expm1() * (2 * self.loc + scale_sq).exp()

    def entropy(self) -> mg.Tensor:
        return self.base_dist.entropy() + self.loc
