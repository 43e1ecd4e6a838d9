"""KL divergence of two distributions of one family. Formulas: Gil, "On Rényi Divergence Measures for Continuous Alphabet Sources", 2011,
and elementary integrals."""

from __future__ import annotations

import minigrad as mg
from minigrad.distributions.bernoulli import Bernoulli
from minigrad.distributions.beta import Beta
from minigrad.distributions.binomial import Binomial
from minigrad.distributions.categorical import Categorical
from minigrad.distributions.cauchy import Cauchy
from minigrad.distributions.continuous_bernoulli import ContinuousBernoulli
from minigrad.distributions.dirichlet import Dirichlet
from minigrad.distributions.exp_family import ExponentialFamily
from minigrad.distributions.exponential import Exponential
from minigrad.distributions.gamma import Gamma
from minigrad.distributions.geometric import Geometric
from minigrad.distributions.gumbel import Gumbel
from minigrad.distributions.half_normal import HalfNormal
from minigrad.distributions.independent import Independent
from minigrad.distributions.kl import kl_divergence, register_kl
from minigrad.distributions.laplace import Laplace
from minigrad.distributions.lowrank_multivariate_normal import LowRankMultivariateNormal, _lowrank_log_det, _lowrank_mahalanobis
from minigrad.distributions.multivariate_normal import MultivariateNormal, _batch_mahalanobis
from minigrad.distributions.normal import Normal
from minigrad.distributions.one_hot_categorical import OneHotCategorical
from minigrad.distributions.pareto import Pareto
from minigrad.distributions.poisson import Poisson
from minigrad.distributions.transformed_distribution import TransformedDistribution
from minigrad.distributions.uniform import Uniform
from minigrad.distributions.utils import _sum_rightmost, euler_constant, softplus


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> mg.Tensor:
    one = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    one = mg.where(q.probs == 0, mg.inf, one)
    one = mg.where(p.probs == 0, 0.0, one)
    zero = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    zero = mg.where(q.probs == 1, mg.inf, zero)
    zero = mg.where(p.probs == 1, 0.0, zero)
    return one + zero


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> mg.Tensor:
    a, b = p.concentration1, p.concentration0
    c, d = q.concentration1, q.concentration0
    log_beta_q = c.lgamma() + d.lgamma() - (c + d).lgamma()
    log_beta_p = a.lgamma() + b.lgamma() - (a + b).lgamma()
    return log_beta_q - log_beta_p + (a - c) * a.digamma() + (b - d) * b.digamma() + (c + d - a - b) * (a + b).digamma()


@register_kl(Binomial, Binomial)
def _binomial(p: Binomial, q: Binomial) -> mg.Tensor:
    if (p.total_count < q.total_count).any():
        raise NotImplementedError("KL between Binomials where q.total_count > p.total_count is not implemented")
    kl = p.total_count * (p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p())
    return mg.where((p.total_count > q.total_count).expand(kl.shape), mg.inf, kl)


@register_kl(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> mg.Tensor:
    t = p.probs * (p.logits - q.logits)
    t = mg.where((q.probs == 0).expand(t.shape), mg.inf, t)
    return mg.where((p.probs == 0).expand(t.shape), 0.0, t).sum(-1)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _continuous_bernoulli(p: ContinuousBernoulli, q: ContinuousBernoulli) -> mg.Tensor:
    of_p = p._cont_bern_log_norm() + mg.log1p(-p.probs)
    of_q = -q._cont_bern_log_norm() - mg.log1p(-q.probs)
    return p.mean * (p.logits - q.logits) + of_p + of_q


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> mg.Tensor:
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    normalisers = total.lgamma() - b.sum(-1).lgamma() - (a.lgamma() - b.lgamma()).sum(-1)
    return normalisers + ((a - b) * (a.digamma() - total.digamma().unsqueeze(-1))).sum(-1)


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> mg.Tensor:
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(ExponentialFamily, ExponentialFamily)
def _exponential_family(p: ExponentialFamily, q: ExponentialFamily) -> mg.Tensor:
    """The Bregman divergence of the log normaliser."""
    if type(p) is not type(q):
        raise NotImplementedError("The cross KL-divergence between different exponential families cannot be computed using Bregman "
                                  "divergences")  # fmt: skip
    theta_p = [t.detach().requires_grad_() for t in p._natural_params]
    theta_q = q._natural_params
    with mg.enable_grad():
        log_norm = p._log_normalizer(*theta_p)
        gradients = mg.autograd.grad(log_norm.sum(), theta_p, create_graph=True)
    result = q._log_normalizer(*theta_q) - log_norm
    for a, b, g in zip(theta_p, theta_q, gradients):
        result = result - _sum_rightmost((b - a) * g, len(q.event_shape))
    return result


@register_kl(Gamma, Gamma)
def _gamma(p: Gamma, q: Gamma) -> mg.Tensor:
    return (
        q.concentration * (p.rate / q.rate).log()
        + mg.lgamma(q.concentration) - mg.lgamma(p.concentration)
        + (p.concentration - q.concentration) * mg.digamma(p.concentration)
        + (q.rate - p.rate) * (p.concentration / p.rate)
    )  # fmt: skip


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Gumbel, q: Gumbel) -> mg.Tensor:
    ratio = p.scale / q.scale
    of_p, of_q = p.loc / q.scale, q.loc / q.scale
    return ratio * euler_constant + mg.exp(of_q + (1 + ratio).lgamma() - of_p) + of_p - of_q - ratio.log() - (1 + euler_constant)


@register_kl(Geometric, Geometric)
def _geometric(p: Geometric, q: Geometric) -> mg.Tensor:
    return -p.entropy() - mg.log1p(-q.probs) / p.probs - q.logits


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> mg.Tensor:
    ratio, distance = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + distance / q.scale + ratio * mg.exp(-distance / p.scale) - 1


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> mg.Tensor:
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: HalfNormal, q: HalfNormal) -> mg.Tensor:
    return _normal(p.base_dist, q.base_dist)  # type: ignore[arg-type]


def _check_sizes(p: object, q: object, name: str) -> None:
    if p.event_shape != q.event_shape:  # type: ignore[attr-defined]
        raise ValueError(f"KL-divergence between two {name} Distributions with different event shapes cannot be computed")


def _trace_of_solved(factor: mg.Tensor, matrix: mg.Tensor) -> mg.Tensor:
    """tr((L L^T)^-1 A A^T) for batches of L and A that broadcast."""
    return mg.linalg.solve_triangular(factor, matrix, upper=False).pow(2).sum((-2, -1))


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normal(p: MultivariateNormal, q: MultivariateNormal) -> mg.Tensor:
    _check_sizes(p, q, "Multivariate Normal")
    log_ratio = q._half_log_det() - p._half_log_det()
    trace = _trace_of_solved(q._unbroadcasted_scale_tril, p._unbroadcasted_scale_tril)
    distance = _batch_mahalanobis(q._unbroadcasted_scale_tril, q.loc - p.loc)
    return log_ratio + 0.5 * (trace + distance - p.event_shape[0])


def _woodbury_trace(q: LowRankMultivariateNormal, roots: list[mg.Tensor]) -> mg.Tensor:
    """tr(Cov_q^-1 sum A A^T) over the matrices A, by Woodbury's identity."""
    w, d = q._unbroadcasted_cov_factor, q._unbroadcasted_cov_diag
    a = mg.linalg.solve_triangular(q._capacitance_tril, w.mT / d.unsqueeze(-2), upper=False)
    return sum((root.pow(2) / d.unsqueeze(-1)).sum((-2, -1)) - (a @ root).pow(2).sum((-2, -1)) for root in roots)  # type: ignore[return-value]


def _to_lowrank(p: MultivariateNormal | LowRankMultivariateNormal, q: LowRankMultivariateNormal, log_det: mg.Tensor,
                roots: list[mg.Tensor]) -> mg.Tensor:  # fmt: skip
    w, d = q._unbroadcasted_cov_factor, q._unbroadcasted_cov_diag
    log_ratio = _lowrank_log_det(w, d, q._capacitance_tril) - log_det
    distance = _lowrank_mahalanobis(w, d, q.loc - p.loc, q._capacitance_tril)
    return 0.5 * (log_ratio + _woodbury_trace(q, roots) + distance - p.event_shape[0])


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _lowrank_lowrank(p: LowRankMultivariateNormal, q: LowRankMultivariateNormal) -> mg.Tensor:
    _check_sizes(p, q, "Low Rank Multivariate Normals")
    return _to_lowrank(p, q, p._log_det(), [p._unbroadcasted_cov_factor, p._unbroadcasted_cov_diag.sqrt().diag_embed()])


@register_kl(MultivariateNormal, LowRankMultivariateNormal)
def _full_lowrank(p: MultivariateNormal, q: LowRankMultivariateNormal) -> mg.Tensor:
    _check_sizes(p, q, "(Low Rank) Multivariate Normals")
    return _to_lowrank(p, q, 2 * p._half_log_det(), [p._unbroadcasted_scale_tril])


@register_kl(LowRankMultivariateNormal, MultivariateNormal)
def _lowrank_full(p: LowRankMultivariateNormal, q: MultivariateNormal) -> mg.Tensor:
    _check_sizes(p, q, "(Low Rank) Multivariate Normals")
    factor = q._unbroadcasted_scale_tril
    trace = _trace_of_solved(factor, p._unbroadcasted_cov_factor)
    trace = trace + _trace_of_solved(factor, p._unbroadcasted_cov_diag.sqrt().diag_embed())
    distance = _batch_mahalanobis(factor, q.loc - p.loc)
    return 0.5 * (2 * q._half_log_det() - p._log_det() + trace + distance - p.event_shape[0])


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p: OneHotCategorical, q: OneHotCategorical) -> mg.Tensor:
    return _categorical(p._categorical, q._categorical)


@register_kl(Pareto, Pareto)
def _pareto(p: Pareto, q: Pareto) -> mg.Tensor:
    ratio = q.alpha / p.alpha
    kl = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return mg.where(p.support.lower_bound < q.support.lower_bound, mg.inf, kl)


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> mg.Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: TransformedDistribution, q: TransformedDistribution) -> mg.Tensor:
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> mg.Tensor:
    kl = ((q.high - q.low) / (p.high - p.low)).log()
    return mg.where((q.low > p.low) | (q.high < p.high), mg.inf, kl)


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> mg.Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError
    return _sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Cauchy, q: Cauchy) -> mg.Tensor:
    # Source: Chyzak and Nielsen, "A closed-form formula for the Kullback-Leibler divergence between Cauchy distributions", 2019
    spread = ((p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)).log()
    return spread - (4 * p.scale * q.scale).log()
