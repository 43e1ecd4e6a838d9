"""Categorical distribution."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions._probs import ProbsOrLogits, check_one_of
from minigrad.distributions.distribution import Distribution

__all__ = ["Categorical"]


class Categorical(ProbsOrLogits, Distribution):
    """Category numbers 0 … K - 1.

    Args:
        probs: (..., K) weights, not negative, not all zero; normalised.
        logits: (..., K) unnormalised log probabilities; normalised (exactly one of the two).
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True
    _binary = False

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        check_one_of(probs, logits)
        name, value = ("probs", probs) if logits is None else ("logits", logits)
        if value.dim() < 1:
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if logits is None:
            self.probs = probs / probs.sum(-1, keepdim=True)
        else:
            self.logits = logits - logits.logsumexp(dim=-1, keepdim=True)
        self._num_events = value.size()[-1]
        super().__init__(value.size()[:-1], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Categorical:
        new = self._expand_parameters(Categorical, batch_shape, _instance, ("probs", "logits"))
        new._num_events = self._num_events
        return new

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(0, self._num_events - 1)

    @property
    def mean(self) -> mg.Tensor:
        return mg.full(self._extended_shape(), math.nan, dtype=self.probs.dtype, device=self.probs.device)

    @property
    def mode(self) -> mg.Tensor:
        return self.probs.argmax(dim=-1)

    @property
    def variance(self) -> mg.Tensor:
        return mg.full(self._extended_shape(), math.nan, dtype=self.probs.dtype, device=self.probs.device)

    def sample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        sample_shape = mg.Size(sample_shape)
        with mg.no_grad():
            rows = self.probs.reshape(-1, self._num_events)
            return mg.multinomial(rows, sample_shape.numel(), True).mT.reshape(self._extended_shape(sample_shape))

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        value = value.long().unsqueeze(-1)
        value, log_pmf = mg.broadcast_tensors(value, self.logits)
        return log_pmf.gather(-1, value[..., :1]).squeeze(-1)

    def entropy(self) -> mg.Tensor:
        logits = self.logits.clamp(min=mg.finfo(self.logits.dtype).min)  # 0 * -inf
        return -(logits * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> mg.Tensor:
        values = mg.arange(self._num_events, dtype=mg.long, device=self._param.device)
        values = values.view((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1,) + tuple(self._batch_shape)) if expand else values
