"""Bernoulli distribution."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions._probs import ProbsOrLogits
from minigrad.distributions.exp_family import ExponentialFamily
from minigrad.distributions.utils import broadcast_all, cross_entropy_of_logits

__all__ = ["Bernoulli"]


class Bernoulli(ProbsOrLogits, ExponentialFamily):
    """1 with probability probs, else 0.

    Args:
        probs: probability of 1.
        logits: log odds of 1 (exactly one of the two).
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    has_enumerate_support = True
    _mean_carrier_measure = 0

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._take(probs, logits)
        super().__init__(self._param.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Bernoulli:
        return self._expand_parameters(Bernoulli, batch_shape, _instance, ("probs", "logits"))

    @property
    def mean(self) -> mg.Tensor:
        return self.probs

    @property
    def mode(self) -> mg.Tensor:
        mode = (self.probs >= 0.5).to(self.probs.dtype)
        return mg.where(self.probs == 0.5, math.nan, mode)

    @property
    def variance(self) -> mg.Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        with mg.no_grad():
            return mg.bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -cross_entropy_of_logits(logits, value.to(logits.dtype))

    def entropy(self) -> mg.Tensor:
        return cross_entropy_of_logits(self.logits, self.probs)

    def enumerate_support(self, expand: bool = True) -> mg.Tensor:
        values = mg.arange(2, dtype=self._param.dtype, device=self._param.device).view((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1,) + tuple(self._batch_shape)) if expand else values

    @property
    def _natural_params(self) -> tuple[mg.Tensor]:
        return (mg.logit(self.probs),)

    def _log_normalizer(self, x: mg.Tensor) -> mg.Tensor:
        return mg.log1p(mg.exp(x))
