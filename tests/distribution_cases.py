"""One table for the tests of minigrad.distributions: distributions as functions of a namespace (minigrad or torch) and float64 arrays.

A case is (name, arrays of parameters, builder(distributions module, *tensors), values or None). The parameters are what gradients are
compared for; values that log_prob and cdf are taken at come from torch's sampler unless given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Case(NamedTuple):
    name: str
    arrays: tuple[np.ndarray, ...]
    build: Callable[..., Any]


_r = np.random.RandomState(7)


def real(*shape: int) -> np.ndarray:
    return _r.randn(*shape)


def positive(*shape: int, low: float = 0.4, high: float = 3.0) -> np.ndarray:
    return _r.uniform(low, high, shape)


def unit(*shape: int) -> np.ndarray:
    return _r.uniform(0.1, 0.9, shape)


def simplex(*shape: int) -> np.ndarray:
    return _r.dirichlet(np.full(shape[-1], 2.0), shape[:-1])


def spd(*shape: int) -> np.ndarray:
    a = _r.randn(*shape, shape[-1])
    return a @ np.swapaxes(a, -1, -2) + 2 * np.eye(shape[-1])


def tril(*shape: int) -> np.ndarray:
    return np.linalg.cholesky(spd(*shape))


def _simple(name: str, *arrays: np.ndarray, **more: Any) -> Case:
    return Case(name, arrays, lambda d, *p: getattr(d, name)(*p, **more))


def _logits(name: str, *arrays: np.ndarray, **more: Any) -> Case:
    return Case(name + "_logits", arrays, lambda d, *p: getattr(d, name)(*p[:-1], logits=p[-1], **more))


def _both(name: str, *arrays: np.ndarray, last: tuple[np.ndarray, np.ndarray]) -> list[Case]:
    return [_simple(name, *arrays, last[0]), _logits(name, *arrays, last[1])]


BINARY = (unit(2, 3), real(2, 3))
MANY = (simplex(2, 4), real(2, 4))

CASES: list[Case] = [
    *_both("Bernoulli", last=BINARY),
    _simple("Beta", positive(2, 3), positive(3)),
    Case("Binomial", (unit(3),), lambda d, p: d.Binomial(6, probs=p)),
    Case("Binomial_logits", (real(3),), lambda d, p: d.Binomial(6, logits=p)),
    *_both("Categorical", last=MANY),
    _simple("Cauchy", real(3), positive(3)),
    _simple("Chi2", positive(2, 3)),
    *_both("ContinuousBernoulli", last=(np.array([0.2, 0.4995, 0.5, 0.9]), np.array([-1.0, 0.0, 1e-3, 2.0]))),
    _simple("Dirichlet", positive(2, 3)),
    _simple("Exponential", positive(3)),
    _simple("FisherSnedecor", positive(3, low=1, high=8), positive(3, low=4.5, high=9)),
    _simple("Gamma", positive(2, 3), positive(3)),
    _simple("GeneralizedPareto", real(4), positive(4), np.array([-0.4, 0.0, 0.3, 1.2])),
    *_both("Geometric", last=BINARY),
    _simple("Gumbel", real(3), positive(3)),
    _simple("HalfCauchy", positive(3)),
    _simple("HalfNormal", positive(3)),
    Case("Independent", (real(2, 3), positive(3)), lambda d, m, s: d.Independent(d.Normal(m, s), 1)),
    _simple("InverseGamma", positive(3, low=2.2, high=4), positive(3)),
    _simple("Kumaraswamy", positive(3, low=1.1), positive(3, low=1.1)),
    Case("LKJCholesky", (positive(2),), lambda d, c: d.LKJCholesky(4, c)),
    _simple("Laplace", real(3), positive(3)),
    _simple("LogNormal", real(3), positive(3, high=1.0)),
    _simple("LogisticNormal", real(2, 3), positive(3)),
    _simple("LowRankMultivariateNormal", real(2, 4), real(4, 2), positive(2, 4)),
    Case("MixtureSameFamily", (simplex(2, 3), real(2, 3), positive(2, 3)),
         lambda d, w, m, s: d.MixtureSameFamily(d.Categorical(w), d.Normal(m, s))),
    Case("MixtureSameFamily_vectors", (simplex(3), real(3, 2), positive(3, 2)),
         lambda d, w, m, s: d.MixtureSameFamily(d.Categorical(w), d.Independent(d.Normal(m, s), 1))),
    Case("Multinomial", (simplex(2, 4),), lambda d, p: d.Multinomial(5, probs=p)),
    Case("Multinomial_logits", (real(4),), lambda d, p: d.Multinomial(5, logits=p)),
    Case("MultivariateNormal", (real(2, 3), spd(3)), lambda d, m, c: d.MultivariateNormal(m, c)),
    Case("MultivariateNormal_precision", (real(2, 3), spd(3)), lambda d, m, c: d.MultivariateNormal(m, precision_matrix=c)),
    Case("MultivariateNormal_tril", (real(3), tril(2, 3)), lambda d, m, c: d.MultivariateNormal(m, scale_tril=c)),
    *_both("NegativeBinomial", positive(2, 3, high=6), last=BINARY),
    _simple("Normal", real(2, 3), positive(3)),
    *_both("OneHotCategorical", last=MANY),
    _simple("OneHotCategoricalStraightThrough", simplex(2, 4)),
    _simple("Pareto", positive(3), positive(3, low=2.2, high=4)),
    _simple("Poisson", positive(3, high=9)),
    *_both("RelaxedBernoulli", np.array(0.7), last=BINARY),
    *_both("RelaxedOneHotCategorical", np.array(0.7), last=MANY),
    _simple("StudentT", positive(3, low=2.2, high=6), real(3), positive(3)),
    Case("TransformedDistribution", (real(3), positive(3)),
         lambda d, m, s: d.TransformedDistribution(d.Normal(m, s), [d.SigmoidTransform(), d.AffineTransform(1.0, -2.0)])),
    _simple("Uniform", real(3) - 4, positive(3)),
    _simple("VonMises", real(3), positive(3, high=8)),
    _simple("Weibull", positive(3), positive(3, low=1.1)),
    Case("Wishart", (positive(2, low=3.5, high=8), spd(3)), lambda d, n, c: d.Wishart(n, c)),
    Case("Wishart_precision", (np.array(4.5), spd(2)), lambda d, n, c: d.Wishart(n, precision_matrix=c)),
    Case("Wishart_tril", (positive(2, low=3.5, high=8), tril(3)), lambda d, n, c: d.Wishart(n, scale_tril=c)),
]  # fmt: skip

# For KL divergence: at least one instance of every class that torch has a pair for, all of batch shape (3,).
KL_CASES: dict[str, list[Case]] = {}
for _k in range(2):
    for _case in (
        _simple("Bernoulli", unit(3)),
        _simple("Beta", positive(3), positive(3)),
        Case("Binomial", (unit(3),), lambda d, p: d.Binomial(6, probs=p)),
        _simple("Categorical", simplex(3, 4)),
        _simple("Cauchy", real(3), positive(3)),
        _simple("ContinuousBernoulli", np.array([0.2, 0.5, 0.7 + 0.1 * _k])),
        _simple("Dirichlet", positive(3, 4)),
        _simple("Exponential", positive(3)),
        _simple("Gamma", positive(3), positive(3)),
        _simple("Geometric", unit(3)),
        _simple("Gumbel", real(3), positive(3)),
        _simple("HalfNormal", positive(3)),
        Case("Independent", (real(3, 2), positive(2)), lambda d, m, s: d.Independent(d.Normal(m, s), 1)),
        _simple("Laplace", real(3), positive(3)),
        _simple("LogNormal", real(3), positive(3)),
        _simple("LowRankMultivariateNormal", real(3, 4), real(3, 4, 2), positive(3, 4)),
        _simple("MultivariateNormal", real(3, 4), spd(4)),
        _simple("Normal", real(3), positive(3)),
        _simple("OneHotCategorical", simplex(3, 4)),
        _simple("Pareto", np.array([0.5, 0.6, 0.4]) - 0.1 * _k, positive(3, low=1.5 if _k else 2.2, high=4)),
        _simple("Poisson", positive(3, high=9)),
        _simple("Uniform", np.array([0.1, 0.62, -0.2 - _k]), np.array([0.8, 0.9, 1.7 + _k])),
        Case("Chi2", (positive(3),), lambda d, n: d.Chi2(n)),
        _simple("StudentT", positive(3)),
    ):
        KL_CASES.setdefault(_case.name, []).append(_case)
