"""Relaxed one-hot categorical distribution (concrete, Gumbel-softmax), and the distribution of its logarithm."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.categorical import Categorical
from minigrad.distributions.distribution import Distribution
from minigrad.distributions.transformed_distribution import TransformedDistribution
from minigrad.distributions.transforms import ExpTransform
from minigrad.distributions.utils import broadcast_all, clamp_probs

__all__ = ["ExpRelaxedCategorical", "RelaxedOneHotCategorical"]


class ExpRelaxedCategorical(Distribution):
    """Logarithm of a relaxed one-hot variable: log softmax of (logits + Gumbel noise) / temperature.

    Args:
        temperature: above 0.
        probs: (..., K) weights; normalised.
        logits: (..., K) unnormalised log probabilities (exactly one of the two).

    Source: Maddison, Mnih, Teh, "The Concrete Distribution", 2017, appendix C.2.
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.real_vector  # in fact the part of it where logsumexp is 0
    has_rsample = True

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._categorical = Categorical(probs, logits)
        self.temperature = temperature
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ExpRelaxedCategorical:
        new = self._expand_parameters(ExpRelaxedCategorical, batch_shape, _instance, ())
        new.temperature = self.temperature
        new._categorical = self._categorical.expand(batch_shape)
        return new

    def _new(self, *args: Any, **kwargs: Any) -> mg.Tensor:
        return self._categorical._new(*args, **kwargs)

    @property
    def param_shape(self) -> mg.Size:
        return self._categorical.param_shape

    @property
    def logits(self) -> mg.Tensor:
        return self._categorical.logits

    @property
    def probs(self) -> mg.Tensor:
        return self._categorical.probs

    def rsample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        shape = self._extended_shape(sample_shape)
        u = clamp_probs(mg.rand(shape, dtype=self.logits.dtype, device=self.logits.device))
        scores = (self.logits - (-u.log()).log()) / self.temperature
        return scores - scores.logsumexp(dim=-1, keepdim=True)

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        k = self._categorical._num_events
        logits, value = broadcast_all(self.logits, value)
        temperature = mg.as_tensor(self.temperature, dtype=logits.dtype, device=logits.device)
        scale = mg.full_like(temperature, float(k)).lgamma() + temperature.log() * (k - 1)
        score = logits - value * self.temperature
        score = (score - score.logsumexp(dim=-1, keepdim=True)).sum(-1)
        return score + scale


class RelaxedOneHotCategorical(TransformedDistribution):
    """Continuous relaxation of a one-hot variable, on the simplex.

    Args:
        temperature: above 0.
        probs: (..., K) weights; normalised.
        logits: (..., K) unnormalised log probabilities (exactly one of the two).
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> RelaxedOneHotCategorical:
        return super().expand(batch_shape, _instance=self._get_checked_instance(RelaxedOneHotCategorical, _instance))

    @property
    def temperature(self) -> Any:
        return self.base_dist.temperature

    @property
    def logits(self) -> mg.Tensor:
        return self.base_dist.logits

    @property
    def probs(self) -> mg.Tensor:
        return self.base_dist.probs
