"""Binomial distribution."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions._probs import ProbsOrLogits, check_one_of
from minigrad.distributions.distribution import Distribution
from minigrad.distributions.utils import broadcast_all

__all__ = ["Binomial"]


def _clamp_by_zero(x: mg.Tensor) -> mg.Tensor:
    """max(x, 0) whose gradient at 0 is 1/2."""
    return (x.clamp(min=0) + x - x.clamp(max=0)) / 2


class Binomial(ProbsOrLogits, Distribution):
    """Successes among total_count independent trials.

    Args:
        total_count: number of trials.
        probs: probability of a success.
        logits: log odds of a success (exactly one of the two).
    """

    arg_constraints = {
        "total_count": constraints.nonnegative_integer,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    has_enumerate_support = True

    def __init__(self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        check_one_of(probs, logits)
        name = "probs" if logits is None else "logits"
        self.total_count, value = broadcast_all(total_count, probs if logits is None else logits)
        self.total_count = self.total_count.type_as(value)
        self.__dict__[name] = value
        super().__init__(value.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Binomial:
        return self._expand_parameters(Binomial, batch_shape, _instance, ("total_count", "probs", "logits"))

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> mg.Tensor:
        return self.total_count * self.probs

    @property
    def mode(self) -> mg.Tensor:
        return ((self.total_count + 1) * self.probs).floor().clamp(max=self.total_count)

    @property
    def variance(self) -> mg.Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        shape = self._extended_shape(sample_shape)
        with mg.no_grad():
            return mg.binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        n, logits = self.total_count, self.logits
        # log of the binomial coefficient + k * logits - n * log(1 + exp(logits)), the last without overflow
        coefficient = mg.lgamma(n + 1) - mg.lgamma(value + 1) - mg.lgamma(n - value + 1)
        return value * logits - n * (_clamp_by_zero(logits) + mg.log1p(mg.exp(-mg.abs(logits)))) + coefficient

    def entropy(self) -> mg.Tensor:
        total_count = int(self.total_count.max())
        if self.total_count.min() != total_count:
            raise NotImplementedError("Inhomogeneous total count not supported by `entropy`.")
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(mg.exp(log_prob) * log_prob).sum(0)

    def enumerate_support(self, expand: bool = True) -> mg.Tensor:
        total_count = int(self.total_count.max())
        if self.total_count.min() != total_count:
            raise NotImplementedError("Inhomogeneous total count not supported by `enumerate_support`.")
        values = mg.arange(1 + total_count, dtype=self._param.dtype, device=self._param.device)
        values = values.view((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1,) + tuple(self._batch_shape)) if expand else values
