"""Geometric distribution."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions._probs import ProbsOrLogits
from minigrad.distributions.distribution import Distribution
from minigrad.distributions.utils import broadcast_all, cross_entropy_of_logits

__all__ = ["Geometric"]


class Geometric(ProbsOrLogits, Distribution):
    """Failures before the first success: 0, 1, 2 …

    Args:
        probs: probability of a success, in (0, 1].
        logits: log odds of a success (exactly one of the two).
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._take(probs, logits)
        super().__init__(self._param.size(), validate_args=validate_args)
        if self._validate_args and logits is None and not (self.probs > 0).all():
            raise ValueError(
                f"Expected parameter probs ({type(self.probs).__name__} of shape {tuple(self.probs.shape)}) of distribution {self!r} "
                f"to be positive but found invalid values:\n{self.probs[~(self.probs > 0)]}"
            )

    def expand(self, batch_shape: Any, _instance: Any = None) -> Geometric:
        return self._expand_parameters(Geometric, batch_shape, _instance, ("probs", "logits"))

    @property
    def mean(self) -> mg.Tensor:
        return 1.0 / self.probs - 1.0

    @property
    def mode(self) -> mg.Tensor:
        return mg.zeros_like(self.probs)

    @property
    def variance(self) -> mg.Tensor:
        return (1.0 / self.probs - 1.0) / self.probs

    def sample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        shape = self._extended_shape(sample_shape)
        with mg.no_grad():
            u = self.probs.new_empty(shape).uniform_().clamp(min=mg.finfo(self.probs.dtype).tiny)
            return (u.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        value, probs = broadcast_all(value, self.probs)
        failing = mg.where((probs == 1) & (value == 0), 0.0, probs)  # 0 * log(0) is 0
        return value * (-failing).log1p() + self.probs.log()

    def entropy(self) -> mg.Tensor:
        return cross_entropy_of_logits(self.logits, self.probs) / self.probs
