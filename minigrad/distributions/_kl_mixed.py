"""KL divergence between different families: -entropy(p) - E_p[log q], where E_p[log q] needs a few moments of p only.

`_mean_log`, `_laplace_transform` hold the moments of p that are no attributes; the functions below them say E_p[log q] by q.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad.distributions.bernoulli import Bernoulli
from minigrad.distributions.beta import Beta
from minigrad.distributions.binomial import Binomial
from minigrad.distributions.continuous_bernoulli import ContinuousBernoulli
from minigrad.distributions.exponential import Exponential
from minigrad.distributions.gamma import Gamma
from minigrad.distributions.gumbel import Gumbel
from minigrad.distributions.kl import _infinite_like, _x_log_x, closed_form
from minigrad.distributions.laplace import Laplace
from minigrad.distributions.normal import Normal
from minigrad.distributions.pareto import Pareto
from minigrad.distributions.poisson import Poisson
from minigrad.distributions.uniform import Uniform
from minigrad.distributions.utils import euler_constant


def _uniform_mean_log(low: mg.Tensor, high: mg.Tensor) -> mg.Tensor:
    return (_x_log_x(high) - _x_log_x(low)) / (high - low) - 1


# E log x
_mean_log: dict[type, Callable[[Any], mg.Tensor]] = {
    Beta: lambda p: p.concentration1.digamma() - (p.concentration1 + p.concentration0).digamma(),
    Exponential: lambda p: -euler_constant - p.rate.log(),
    Gamma: lambda p: p.concentration.digamma() - p.rate.log(),
    Pareto: lambda p: p.scale.log() + p.alpha.reciprocal(),
    Uniform: lambda p: _uniform_mean_log(p.low, p.high),
}

# E exp(-t x)
_laplace_transform: dict[type, Callable[[Any, mg.Tensor], mg.Tensor]] = {
    Exponential: lambda p, t: p.rate / (p.rate + t),
    Gamma: lambda p, t: (1 + t / p.rate).pow(-p.concentration),
    Normal: lambda p, t: mg.exp(0.5 * (p.scale * t).pow(2) - p.loc * t),
    Uniform: lambda p, t: (mg.exp(-t * p.low) - mg.exp(-t * p.high)) / (t * (p.high - p.low)),
}


def _of(table: dict[type, Callable], p: Any) -> Callable:
    return next(table[kind] for kind in type(p).__mro__ if kind in table)


# What p can draw and q cannot: inf everywhere.
@closed_form(
    *((p, q) for p in (Exponential, Gamma) for q in (Beta, ContinuousBernoulli, Pareto, Uniform)),
    *((p, q) for p in (Gumbel, Laplace, Normal) for q in (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)),
    *((p, Pareto) for p in (Beta, ContinuousBernoulli)),
    *((Pareto, q) for q in (Beta, ContinuousBernoulli, Uniform)),
    *((Poisson, q) for q in (Bernoulli, Binomial)),
)
def _infinite(p: Any, q: Any) -> mg.Tensor:
    parameters = {Exponential: "rate", Gamma: "concentration", Beta: "concentration1", ContinuousBernoulli: "probs", Pareto: "scale",
                  Poisson: "rate"}  # fmt: skip
    name = next((parameters[kind] for kind in type(p).__mro__ if kind in parameters), "loc")
    return _infinite_like(getattr(p, name) + getattr(p, name).new_zeros(q.batch_shape))


@closed_form((Beta, Exponential), (ContinuousBernoulli, Exponential), (Gamma, Exponential), (Pareto, Exponential))
def _to_exponential(p: Any, q: Exponential) -> mg.Tensor:
    return -p.entropy() - q.rate.log() + q.rate * p.mean


@closed_form((Uniform, Exponential))
def _uniform_exponential(p: Uniform, q: Exponential) -> mg.Tensor:
    return mg.where(p.low < 0, mg.inf, _to_exponential(p, q))


def _cross_gamma(p: Any, q: Gamma) -> mg.Tensor:
    a, rate = q.concentration, q.rate
    return a.lgamma() - a * rate.log() - (a - 1) * _of(_mean_log, p)(p) + rate * p.mean


@closed_form((Beta, Gamma), (Exponential, Gamma), (Pareto, Gamma))
def _to_gamma(p: Any, q: Gamma) -> mg.Tensor:
    return -p.entropy() + _cross_gamma(p, q)


@closed_form((Uniform, Gamma))
def _uniform_gamma(p: Uniform, q: Gamma) -> mg.Tensor:
    return mg.where(p.low < 0, mg.inf, -p.entropy() + _cross_gamma(p, q))


@closed_form(*((p, Normal) for p in (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Pareto, Uniform)))
def _to_normal(p: Any, q: Normal) -> mg.Tensor:
    second = p.variance + (p.mean - q.loc).pow(2)
    return -p.entropy() + 0.5 * (2 * math.pi * q.scale.square()).log() + second / (2 * q.scale.square())


@closed_form((Exponential, Gumbel), (Gamma, Gumbel), (Normal, Gumbel), (Uniform, Gumbel))
def _to_gumbel(p: Any, q: Gumbel) -> mg.Tensor:
    t = q.scale.reciprocal()
    return -p.entropy() + q.scale.log() + (p.mean - q.loc) * t + mg.exp(q.loc * t) * _of(_laplace_transform, p)(p, t)


@closed_form((Normal, Laplace))
def _normal_laplace(p: Normal, q: Laplace) -> mg.Tensor:
    d = p.loc - q.loc
    z = d / (p.scale * math.sqrt(2))
    distance = p.scale * math.sqrt(2 / math.pi) * mg.exp(-z.square()) + d * mg.erf(z)  # E |x - q.loc|
    return -p.entropy() + (2 * q.scale).log() + distance / q.scale


def _cross_continuous_bernoulli(p: Any, q: ContinuousBernoulli) -> mg.Tensor:
    return -p.mean * q.logits - mg.log1p(-q.probs) - q._cont_bern_log_norm()


@closed_form((Beta, ContinuousBernoulli))
def _beta_continuous_bernoulli(p: Beta, q: ContinuousBernoulli) -> mg.Tensor:
    return -p.entropy() + _cross_continuous_bernoulli(p, q)


@closed_form((Uniform, ContinuousBernoulli))
def _uniform_continuous_bernoulli(p: Uniform, q: ContinuousBernoulli) -> mg.Tensor:
    return mg.where((p.low < 0) | (p.high > 1), mg.inf, -p.entropy() + _cross_continuous_bernoulli(p, q))


@closed_form((Beta, Uniform), (ContinuousBernoulli, Uniform))
def _unit_uniform(p: Any, q: Uniform) -> mg.Tensor:
    return mg.where((q.low > 0) | (q.high < 1), mg.inf, -p.entropy() + (q.high - q.low).log())


@closed_form((Uniform, Beta))
def _uniform_beta(p: Uniform, q: Beta) -> mg.Tensor:
    outside = (p.low < 0) | (p.high > 1)
    low, high = mg.where(outside, 0.0, p.low), mg.where(outside, 1.0, p.high)
    a, b = q.concentration1, q.concentration0
    log_beta = a.lgamma() + b.lgamma() - (a + b).lgamma()
    cross = log_beta - (a - 1) * _uniform_mean_log(low, high) - (b - 1) * _uniform_mean_log(1 - high, 1 - low)
    return mg.where(outside, mg.inf, cross - p.entropy())


@closed_form((Uniform, Pareto))
def _uniform_pareto(p: Uniform, q: Pareto) -> mg.Tensor:
    outside = p.low < q.scale
    low, high = mg.where(outside, 1.0, p.low), mg.where(outside, 2.0, p.high)
    cross = (q.alpha + 1) * _uniform_mean_log(low, high) - q.alpha.log() - q.alpha * q.scale.log()
    return mg.where(outside, mg.inf, cross - p.entropy())


@closed_form((Bernoulli, Poisson))
def _bernoulli_poisson(p: Bernoulli, q: Poisson) -> mg.Tensor:
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)
