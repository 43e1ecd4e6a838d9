"""Categorical distribution over one-hot vectors, plain and with the straight-through gradient."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.categorical import Categorical
from minigrad.distributions.distribution import Distribution
from minigrad.distributions.utils import one_hot

__all__ = ["OneHotCategorical", "OneHotCategoricalStraightThrough"]


class OneHotCategorical(Distribution):
    """One-hot vectors of length K.

    Args:
        probs: (..., K) weights; normalised.
        logits: (..., K) unnormalised log probabilities (exactly one of the two).
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.one_hot
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._categorical = Categorical(probs, logits)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> OneHotCategorical:
        new = self._expand_parameters(OneHotCategorical, batch_shape, _instance, ())
        new._categorical = self._categorical.expand(batch_shape)
        return new

    def _new(self, *args: Any, **kwargs: Any) -> mg.Tensor:
        return self._categorical._new(*args, **kwargs)

    @property
    def _param(self) -> mg.Tensor:
        return self._categorical._param

    @property
    def probs(self) -> mg.Tensor:
        return self._categorical.probs

    @property
    def logits(self) -> mg.Tensor:
        return self._categorical.logits

    @property
    def mean(self) -> mg.Tensor:
        return self._categorical.probs

    @property
    def mode(self) -> mg.Tensor:
        probs = self._categorical.probs
        return one_hot(probs.argmax(-1), probs.shape[-1], probs.dtype)

    @property
    def variance(self) -> mg.Tensor:
        return self._categorical.probs * (1 - self._categorical.probs)

    @property
    def param_shape(self) -> mg.Size:
        return self._categorical.param_shape

    def sample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        probs = self._categorical.probs
        return one_hot(self._categorical.sample(sample_shape), self._categorical._num_events, probs.dtype)

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return self._categorical.log_prob(value.max(-1)[1])

    def entropy(self) -> mg.Tensor:
        return self._categorical.entropy()

    def enumerate_support(self, expand: bool = True) -> mg.Tensor:
        n = self.event_shape[0]
        values = mg.eye(n, dtype=self._param.dtype, device=self._param.device)
        values = values.view((n,) + (1,) * len(self.batch_shape) + (n,))
        return values.expand((n,) + tuple(self.batch_shape) + (n,)) if expand else values


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """One-hot vectors whose gradient is that of the probabilities.

    Source: Bengio, Leonard, Courville, "Estimating or Propagating Gradients Through Stochastic Neurons", 2013.
    """

    has_rsample = True

    def rsample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        probs = self._categorical.probs
        return self.sample(sample_shape) + (probs - probs.detach())
