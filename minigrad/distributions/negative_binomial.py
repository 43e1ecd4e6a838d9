"""Negative binomial distribution."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions._probs import ProbsOrLogits, check_one_of
from minigrad.distributions.distribution import Distribution
from minigrad.distributions.gamma import Gamma
from minigrad.distributions.utils import broadcast_all, lazy_property, logsigmoid

__all__ = ["NegativeBinomial"]


class NegativeBinomial(ProbsOrLogits, Distribution):
    """Successes before total_count failures.

    Args:
        total_count: failures to stop at, not negative; need not be whole.
        probs: probability of a success, in [0, 1).
        logits: log odds of a success (exactly one of the two).
    """

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer

    def __init__(self, total_count: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        check_one_of(probs, logits)
        name = "probs" if logits is None else "logits"
        self.total_count, self.__dict__[name] = broadcast_all(total_count, probs if logits is None else logits)
        self.total_count = self.total_count.type_as(self.__dict__[name])
        super().__init__(self.total_count.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> NegativeBinomial:
        return self._expand_parameters(NegativeBinomial, batch_shape, _instance, ("total_count", "probs", "logits"))

    @property
    def mean(self) -> mg.Tensor:
        return self.total_count * mg.exp(self.logits)

    @property
    def mode(self) -> mg.Tensor:
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self) -> mg.Tensor:
        return self.mean / mg.sigmoid(-self.logits)

    @lazy_property
    def _gamma(self) -> Gamma:
        return Gamma(concentration=self.total_count, rate=mg.exp(-self.logits), validate_args=False)

    def sample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        with mg.no_grad():
            return mg.poisson(self._gamma.sample(sample_shape))

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        n = self.total_count
        weights = n * logsigmoid(-self.logits) + value * logsigmoid(self.logits)
        coefficient = -mg.lgamma(n + value) + mg.lgamma(1.0 + value) + mg.lgamma(n)
        return weights - mg.where(n + value == 0.0, 0.0, coefficient)  # no failure allowed: 0 for sure
