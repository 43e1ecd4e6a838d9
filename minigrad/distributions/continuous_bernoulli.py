"""Continuous Bernoulli distribution."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions._probs import ProbsOrLogits
from minigrad.distributions.exp_family import ExponentialFamily
from minigrad.distributions.utils import broadcast_all, clamp_probs, cross_entropy_of_logits, lazy_property, logits_to_probs

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(ProbsOrLogits, ExponentialFamily):
    """Density proportional to probs^x (1 - probs)^(1 - x) on [0, 1].

    Args:
        probs: in (0, 1); not the mean.
        logits: log odds (exactly one of the two).
        lims: interval around 1/2 in which Taylor series replace formulas that are 0/0 there.

    Source: Loaiza-Ganem and Cunningham, "The continuous Bernoulli: fixing a pervasive error in variational autoencoders", 2019.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, probs: Any = None, logits: Any = None, lims: tuple[float, float] = (0.499, 0.501),
                 validate_args: bool | None = None) -> None:  # fmt: skip
        self._take(probs, logits)
        if logits is None:
            wanted = self._validate_args if validate_args is None else validate_args
            if wanted and not self.arg_constraints["probs"].check(self.probs).all():
                raise ValueError("The parameter probs has invalid values")  # before they are clamped into range
            self.probs = clamp_probs(self.probs)
        self._lims = lims
        super().__init__(self._param.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ContinuousBernoulli:
        new = self._expand_parameters(ContinuousBernoulli, batch_shape, _instance, ("probs", "logits"))
        new._lims = self._lims
        return new

    @lazy_property
    def probs(self) -> mg.Tensor:
        return clamp_probs(logits_to_probs(self.logits, is_binary=True))

    def _outside_unstable_region(self) -> mg.Tensor:
        return (self.probs <= self._lims[0]) | (self.probs > self._lims[1])

    def _cut_probs(self) -> mg.Tensor:
        """probs, with a harmless value in the unstable region."""
        return mg.where(self._outside_unstable_region(), self.probs, self._lims[0])

    def _stable(self, formula: mg.Tensor, series: mg.Tensor) -> mg.Tensor:
        return mg.where(self._outside_unstable_region(), formula, series)

    def _cont_bern_log_norm(self) -> mg.Tensor:
        """log of 2 atanh(1 - 2 p) / (1 - 2 p), the density's normaliser."""
        p = self._cut_probs()
        below, above = mg.where(p <= 0.5, p, 0.0), mg.where(p >= 0.5, p, 1.0)
        log_norm = mg.log(mg.abs(mg.log1p(-p) - mg.log(p))) - mg.where(p <= 0.5, mg.log1p(-2 * below), mg.log(2 * above - 1))
        x2 = (self.probs - 0.5).pow(2)
        return self._stable(log_norm, math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * x2) * x2)

    @property
    def mean(self) -> mg.Tensor:
        p, x = self._cut_probs(), self.probs - 0.5
        mean = p / (2 * p - 1) + 1 / (mg.log1p(-p) - mg.log(p))
        return self._stable(mean, 0.5 + (1.0 / 3.0 + 16.0 / 45.0 * x.pow(2)) * x)

    @property
    def stddev(self) -> mg.Tensor:
        return mg.sqrt(self.variance)

    @property
    def variance(self) -> mg.Tensor:
        p, x2 = self._cut_probs(), (self.probs - 0.5).pow(2)
        variance = p * (p - 1) / (1 - 2 * p).pow(2) + 1 / (mg.log1p(-p) - mg.log(p)).pow(2)
        return self._stable(variance, 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * x2) * x2)

    def sample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        with mg.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        return self.icdf(mg.rand(self._extended_shape(sample_shape), dtype=self.probs.dtype, device=self.probs.device))

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -cross_entropy_of_logits(logits, value) + self._cont_bern_log_norm()

    def cdf(self, value: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(value)
        p = self._cut_probs()
        inside = self._stable((mg.pow(p, value) * mg.pow(1.0 - p, 1.0 - value) + p - 1.0) / (2.0 * p - 1.0), value)
        return mg.where(value <= 0, 0.0, mg.where(value >= 1, 1.0, inside))

    def icdf(self, value: mg.Tensor) -> mg.Tensor:
        p = self._cut_probs()
        quantile = (mg.log1p(-p + value * (2 * p - 1)) - mg.log1p(-p)) / (mg.log(p) - mg.log1p(-p))
        return self._stable(quantile, value)

    def entropy(self) -> mg.Tensor:
        log_p, log_q = mg.log(self.probs), mg.log1p(-self.probs)
        return self.mean * (log_q - log_p) - self._cont_bern_log_norm() - log_q

    @property
    def _natural_params(self) -> tuple[mg.Tensor]:
        return (self.logits,)

    def _log_normalizer(self, x: mg.Tensor) -> mg.Tensor:
        unstable = (x <= self._lims[1] - 0.5) & (x > self._lims[0] - 0.5)
        cut = mg.where(unstable, self._lims[0] - 0.5, x)
        series = 0.5 * x + x.pow(2) / 24.0 - x.pow(4) / 2880.0
        return mg.where(unstable, series, mg.log(mg.abs(mg.special.expm1(cut))) - mg.log(mg.abs(cut)))
