"""Multinomial distribution."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.binomial import Binomial
from minigrad.distributions.categorical import Categorical
from minigrad.distributions.distribution import Distribution

__all__ = ["Multinomial"]


class Multinomial(Distribution):
    """How often each of K categories comes in total_count draws.

    Args:
        total_count: number of draws, an int.
        probs: (..., K) weights; normalised.
        logits: (..., K) unnormalised log probabilities (exactly one of the two).
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    total_count: int

    def __init__(self, total_count: int = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        self._categorical = Categorical(probs=probs, logits=logits)
        self._binomial = Binomial(total_count=total_count, probs=self.probs)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Multinomial:
        new = self._expand_parameters(Multinomial, batch_shape, _instance, ())
        new.total_count = self.total_count
        new._categorical = self._categorical.expand(batch_shape)
        new._binomial = Binomial(total_count=self.total_count, probs=new._categorical.probs, validate_args=False)
        return new

    def _new(self, *args: Any, **kwargs: Any) -> mg.Tensor:
        return self._categorical._new(*args, **kwargs)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        return constraints.multinomial(self.total_count)

    @property
    def mean(self) -> mg.Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> mg.Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    @property
    def logits(self) -> mg.Tensor:
        return self._categorical.logits

    @property
    def probs(self) -> mg.Tensor:
        return self._categorical.probs

    @property
    def param_shape(self) -> mg.Size:
        return self._categorical.param_shape

    def sample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        drawn = self._categorical.sample((self.total_count, *mg.Size(sample_shape)))  # (draws, *sample, *batch)
        drawn = drawn.permute(*range(1, drawn.dim()), 0)
        counts = drawn.new_zeros(self._extended_shape(sample_shape))
        return counts.scatter_add(-1, drawn, mg.ones_like(drawn)).type_as(self.probs)

    def entropy(self) -> mg.Tensor:
        n = mg.tensor(self.total_count)
        counts = self._binomial.enumerate_support(expand=False)[1:]
        expected = mg.exp(self._binomial.log_prob(counts)) * (counts + 1).lgamma()
        return n * self._categorical.entropy() - mg.lgamma(n + 1) + expected.sum([0, -1])

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = mg.broadcast_tensors(self.logits, value)
        logits = mg.where((value == 0) & (logits == -mg.inf), 0, logits)
        return mg.lgamma(value.sum(-1) + 1) - mg.lgamma(value + 1).sum(-1) + (logits * value).sum(-1)
