"""Student's t distribution."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.chi2 import Chi2
from minigrad.distributions.distribution import Distribution
from minigrad.distributions.utils import broadcast_all, standard_normal

__all__ = ["StudentT"]


class StudentT(Distribution):
    """Student's t distribution.

    Args:
        df: degrees of freedom, above 0.
        loc: centre.
        scale: scale, above 0.
    """

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        self._chi2 = Chi2(self.df)
        super().__init__(self.df.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._expand_parameters(StudentT, batch_shape, _instance, ("df", "loc", "scale"))
        new._chi2 = self._chi2.expand(batch_shape)
        return new

    @property
    def mean(self) -> mg.Tensor:
        return mg.where(self.df > 1, self.loc, math.nan)

    @property
    def mode(self) -> mg.Tensor:
        return self.loc

    @property
    def variance(self) -> mg.Tensor:
        spread = self.scale.pow(2) * self.df / (self.df - 2)
        return mg.where(self.df > 2, spread, mg.where(self.df > 1, math.inf, math.nan).to(spread.dtype))

    def rsample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        # a normal number over the root of an independent mean square
        x = standard_normal(self._extended_shape(sample_shape), self.df.dtype, self.df.device)
        return self.loc + self.scale * x * mg.rsqrt(self._chi2.rsample(sample_shape) / self.df)

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        y = (value - self.loc) / self.scale
        normaliser = self.scale.log() + 0.5 * self.df.log() + 0.5 * math.log(math.pi)
        normaliser = normaliser + mg.lgamma(0.5 * self.df) - mg.lgamma(0.5 * (self.df + 1.0))
        return -0.5 * (self.df + 1.0) * mg.log1p(y**2.0 / self.df) - normaliser

    def entropy(self) -> mg.Tensor:
        half, more = 0.5 * self.df, 0.5 * (self.df + 1)
        log_beta = mg.lgamma(half) + math.lgamma(0.5) - mg.lgamma(more)
        return self.scale.log() + more * (mg.digamma(more) - mg.digamma(half)) + 0.5 * self.df.log() + log_beta
