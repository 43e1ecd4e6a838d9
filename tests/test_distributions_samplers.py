"""Samples of minigrad.distributions by goodness of fit with fixed seeds, implicit gradients by the derivatives of quantiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
import minigrad.distributions as D  # noqa: N812
from minigrad.op import functions

stats = pytest.importorskip("scipy.stats", reason="reference distribution functions")
import scipy.special as sp  # noqa: E402

N = 20000


def f(*values: float) -> tuple[Any, ...]:
    return tuple(mg.tensor(v, dtype=mg.float64) for v in values)


CONTINUOUS = [
    (D.Beta(*f(0.3, 0.6)), stats.beta(0.3, 0.6)), (D.Beta(*f(4.0, 2.5)), stats.beta(4, 2.5)), (D.Cauchy(*f(1.0, 2.0)), stats.cauchy(1, 2)),
    (D.Chi2(*f(3.5)), stats.chi2(3.5)), (D.Exponential(*f(2.0)), stats.expon(0, 0.5)), (D.FisherSnedecor(*f(3.0, 5.0)), stats.f(3, 5)),
    (D.Gamma(*f(0.05, 1.0)), stats.gamma(0.05)), (D.Gamma(*f(0.7, 2.0)), stats.gamma(0.7, scale=0.5)),
    (D.Gamma(*f(9.0, 3.0)), stats.gamma(9, scale=1 / 3)), (D.Gamma(*f(1e4, 1.0)), stats.gamma(1e4)),
    (D.GeneralizedPareto(*f(1.0, 2.0, 0.3)), stats.genpareto(0.3, 1, 2)), (D.Gumbel(*f(1.0, 2.0)), stats.gumbel_r(1, 2)),
    (D.HalfCauchy(*f(2.0)), stats.halfcauchy(0, 2)), (D.HalfNormal(*f(2.0)), stats.halfnorm(0, 2)),
    (D.InverseGamma(*f(3.0, 2.0)), stats.invgamma(3, scale=2)), (D.Laplace(*f(1.0, 2.0)), stats.laplace(1, 2)),
    (D.LogNormal(*f(0.5, 0.7)), stats.lognorm(0.7, scale=np.exp(0.5))), (D.Normal(*f(1.0, 2.0)), stats.norm(1, 2)),
    (D.Pareto(*f(2.0, 3.0)), stats.pareto(3, scale=2)), (D.StudentT(*f(3.0, 1.0, 2.0)), stats.t(3, 1, 2)),
    (D.Uniform(*f(1.0, 3.0)), stats.uniform(1, 2)), (D.VonMises(*f(0.0, 1e-3)), stats.vonmises(1e-3)),
    (D.VonMises(*f(0.5, 2.0)), stats.vonmises(2, loc=0.5)), (D.VonMises(*f(0.0, 3000.0)), stats.vonmises(3000)),
    (D.Weibull(*f(2.0, 1.5)), stats.weibull_min(1.5, scale=2)),
]  # fmt: skip


@pytest.mark.parametrize("ours,reference", CONTINUOUS, ids=lambda d: repr(d) if isinstance(d, D.Distribution) else "")
def test_continuous_samples(ours: Any, reference: Any) -> None:
    mg.manual_seed(11)
    x = ours.sample((N,)).numpy()
    if isinstance(ours, D.VonMises):  # SciPy's distribution function continues past the circle
        x = (x - float(ours.loc) + np.pi) % (2 * np.pi) - np.pi + float(ours.loc)
    assert stats.kstest(x, reference.cdf).pvalue > 1e-3
    x32 = ours.expand((3,)).sample((200,))
    assert len({float(v) for v in x32.flatten()}) > 590, "batch members must be independent"


DISCRETE = [
    (D.Bernoulli(*f(0.3)), stats.bernoulli(0.3)), (D.Binomial(7, *f(0.3)), stats.binom(7, 0.3)),
    (D.Binomial(200, *f(0.4)), stats.binom(200, 0.4)), (D.Geometric(*f(0.3)), stats.geom(0.3, loc=-1)),
    (D.NegativeBinomial(*f(3.5, 0.4)), stats.nbinom(3.5, 0.6)), (D.Poisson(*f(2.5)), stats.poisson(2.5)),
    (D.Poisson(*f(40.0)), stats.poisson(40)),
    (D.Categorical(mg.tensor([0.2, 0.5, 0.3])), stats.rv_discrete(values=((0, 1, 2), (0.2, 0.5, 0.3)))),
]  # fmt: skip


@pytest.mark.parametrize("ours,reference", DISCRETE, ids=lambda d: repr(d) if isinstance(d, D.Distribution) else "")
def test_discrete_samples(ours: Any, reference: Any) -> None:
    mg.manual_seed(12)
    x = ours.sample((N,)).numpy().astype(int)
    low, high = int(reference.ppf(1e-3)), int(reference.ppf(1 - 1e-3))
    edges = np.arange(low, high + 1)
    observed = np.array([(x <= low).sum(), *((x == k).sum() for k in edges[1:-1]), (x >= high).sum()] if high > low else [N])
    expected = N * np.array([reference.cdf(low), *reference.pmf(edges[1:-1]), reference.sf(high - 1)])
    assert stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-3


MOMENTS = [
    D.Dirichlet(mg.tensor([0.4, 1.5, 3.0], dtype=mg.float64)), D.Multinomial(5, mg.tensor([0.2, 0.5, 0.3], dtype=mg.float64)),
    D.MultivariateNormal(mg.tensor([1.0, -1.0], dtype=mg.float64), mg.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=mg.float64)),
    D.LowRankMultivariateNormal(mg.zeros(3), mg.tensor([[1.0], [0.5], [-1.0]]), mg.ones(3)),
    D.Wishart(mg.tensor(5.0, dtype=mg.float64), mg.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=mg.float64)),
    D.OneHotCategorical(mg.tensor([0.2, 0.5, 0.3])), D.ContinuousBernoulli(mg.tensor([0.1, 0.5, 0.8])),
    D.Kumaraswamy(*f(2.0, 3.0)),
    D.MixtureSameFamily(D.Categorical(mg.tensor([0.3, 0.7])), D.Normal(mg.tensor([-2.0, 1.0]), mg.tensor([0.5, 1.0]))),
]  # fmt: skip


@pytest.mark.parametrize("d", MOMENTS, ids=lambda d: type(d).__name__)
def test_moments(d: Any) -> None:
    mg.manual_seed(13)
    x = d.sample((N,)).double().numpy()
    spread = np.sqrt(d.variance.double().numpy())
    np.testing.assert_allclose(x.mean(0), d.mean.numpy(), atol=5 * spread.max() / np.sqrt(N))
    np.testing.assert_allclose(x.var(0), d.variance.numpy(), rtol=0.12, atol=1e-3)


def test_lkj_cholesky_correlations() -> None:
    """Every correlation of an LKJ matrix of size n is Beta(c + n / 2 - 1, the same) on (-1, 1)."""
    mg.manual_seed(14)
    factor = D.LKJCholesky(4, mg.tensor(1.5, dtype=mg.float64)).sample((4000,))
    correlations = (factor @ factor.mT).numpy()
    for i, j in ((1, 0), (3, 0), (3, 2)):
        assert stats.kstest((correlations[:, i, j] + 1) / 2, stats.beta(2.5, 2.5).cdf).pvalue > 1e-3


def test_relaxed_samples_are_binary_at_low_temperature() -> None:
    mg.manual_seed(15)
    x = D.RelaxedBernoulli(mg.tensor(1e-3), probs=mg.tensor(0.3)).sample((N,))
    assert abs(float((x > 0.5).float().mean()) - 0.3) < 0.02
    y = D.RelaxedOneHotCategorical(mg.tensor(1e-2), probs=mg.tensor([0.2, 0.8])).sample((N,))
    assert abs(float((y[:, 0] > 0.5).float().mean()) - 0.2) < 0.02


@pytest.mark.parametrize("dtype", [mg.float16, mg.bfloat16, mg.float32, mg.float64])
def test_dtypes_and_underflow(dtype: Any) -> None:
    mg.manual_seed(16)
    x = functions["_standard_gamma"](mg.full((500,), 1e-3, dtype=dtype))
    assert x.dtype == dtype and bool((x > 0).all()) and bool(x.log().isfinite().all())
    y = functions["_sample_dirichlet"](mg.full((50, 4), 1e-2, dtype=dtype))
    assert y.dtype == dtype and bool((y.float().sum(-1) - 1 < 0.02).all()) and bool((y > 0).all())


def test_samplers_do_not_depend_on_threads() -> None:
    threads, drawn = mg.get_num_threads(), []
    try:
        for count in (1, 4):
            mg.set_num_threads(count)
            mg.manual_seed(17)
            drawn.append([functions["_standard_gamma"](mg.full((5000,), 2.5)), functions["_sample_dirichlet"](mg.ones(700, 3)),
                          functions["_standard_von_mises"](mg.ones(5000))])  # fmt: skip
    finally:
        mg.set_num_threads(threads)
    assert all(bool((a == b).all()) for a, b in zip(*drawn))


def _central(quantile: Any, a: np.ndarray, p: np.ndarray) -> np.ndarray:
    h = a * 2e-4
    return (8 * (quantile(a + h, p) - quantile(a - h, p)) - (quantile(a + 2 * h, p) - quantile(a - 2 * h, p))) / (12 * h)


@pytest.mark.parametrize("a", [0.05, 0.4, 1.0, 3.0, 20.0, 300.0, 5000.0])
def test_implicit_gradient_of_gamma(a: float) -> None:
    p = np.array([1e-3, 0.02, 0.2, 0.5, 0.8, 0.98, 0.999])
    shape = np.full_like(p, a)
    x = sp.gammaincinv(shape, p)
    got = functions["_standard_gamma_grad"](mg.tensor(shape), mg.tensor(x)).numpy()
    keep = x > 1e-300
    np.testing.assert_allclose(got[keep], _central(sp.gammaincinv, shape, p)[keep], rtol=2e-7)


def test_implicit_gradient_of_gamma_for_large_shapes() -> None:
    """The expansion for shapes above 1e5 joins the series, and follows the quantiles."""
    for z in (-3.0, -1.0, -0.05, 0.0, 0.05, 1.0, 3.0):
        below, above = 99999.0, 100001.0
        x = mg.tensor([below + z * below**0.5, above + z * above**0.5], dtype=mg.float64)
        low, high = functions["_standard_gamma_grad"](mg.tensor([below, above], dtype=mg.float64), x).numpy()
        assert abs(low - high) < 1e-7
    a, p = np.full(5, 1e7), np.array([0.01, 0.3, 0.5, 0.7, 0.99])
    got = functions["_standard_gamma_grad"](mg.tensor(a), mg.tensor(sp.gammaincinv(a, p))).numpy()
    np.testing.assert_allclose(got, _central(sp.gammaincinv, a, p), rtol=1e-6)


@pytest.mark.parametrize("a", [0.05, 0.5, 2.0, 40.0, 900.0])
@pytest.mark.parametrize("b", [0.05, 0.7, 3.0, 30.0, 1500.0])
def test_implicit_gradient_of_beta(a: float, b: float) -> None:
    p = np.array([0.01, 0.1, 0.4, 0.6, 0.9, 0.99])
    first, second = np.full_like(p, a), np.full_like(p, b)
    x = sp.betaincinv(first, second, p)
    keep = (x > 1e-12) & (x < 1 - 1e-9)
    got = functions["_dirichlet_grad"](mg.tensor(x), mg.tensor(first), mg.tensor(first + second)).numpy() * (1 - x)
    want = _central(lambda s, q: sp.betaincinv(s, second, q), first, p)
    np.testing.assert_allclose(got[keep], want[keep], rtol=2e-5, atol=1e-10)


def test_implicit_gradients_equal_torchs() -> None:
    torch = pytest.importorskip("torch")
    r = np.random.RandomState(3)
    a, x = r.uniform(0.1, 20, 200), r.uniform(0.05, 25, 200)
    ours = functions["_standard_gamma_grad"](mg.tensor(a), mg.tensor(x)).numpy()
    np.testing.assert_allclose(ours, torch._standard_gamma_grad(torch.tensor(a), torch.tensor(x)).numpy(), rtol=2e-2)
    x = r.dirichlet([1.5, 0.7, 4.0], 50)
    alpha = np.broadcast_to([1.5, 0.7, 4.0], x.shape).copy()
    total = np.full_like(x, 6.2)
    ours = functions["_dirichlet_grad"](mg.tensor(x), mg.tensor(alpha), mg.tensor(total)).numpy()
    np.testing.assert_allclose(ours, torch._dirichlet_grad(*map(torch.tensor, (x, alpha, total))).numpy(), rtol=2e-2)


@pytest.mark.parametrize("make", [
    lambda a: D.Gamma(a, mg.tensor(2.0, dtype=mg.float64)), lambda a: D.Beta(a, 1.0), lambda a: D.Dirichlet(mg.stack([a, a * a, 1 / a])),
    lambda a: D.StudentT(a + 3), lambda a: D.Chi2(a), lambda a: D.InverseGamma(a + 3, a), lambda a: D.Kumaraswamy(a, a),
    lambda a: D.Weibull(a, a), lambda a: D.Gumbel(a, a), lambda a: D.Laplace(a, a), lambda a: D.HalfNormal(a),
], ids=range(11))  # fmt: skip
def test_rsample_gives_the_gradient_of_a_mean(make: Any) -> None:
    """d/da E[g(x)] by reparameterisation equals the derivative of the closed form of E[x]."""
    mg.manual_seed(18)
    a = mg.tensor(2.0, dtype=mg.float64, requires_grad=True)
    d = make(a)
    weights = mg.tensor([1.0, 2.0, 3.0], dtype=mg.float64) if d.event_shape else mg.tensor(1.0, dtype=mg.float64)
    got = mg.autograd.grad((d.rsample((10 * N,)) * weights).sum() / (10 * N), a)[0]
    exact = (make(a).mean * weights).sum()
    want = mg.autograd.grad(exact, a)[0] if exact.requires_grad else mg.tensor(0.0)
    assert abs(float(got) - float(want)) < 0.03 * abs(float(want)) + 0.003


def test_second_derivative_of_a_sample_is_refused() -> None:
    a = mg.tensor([2.0], requires_grad=True)
    x = functions["_standard_gamma"](a)
    (g,) = mg.autograd.grad(x.sum(), a, create_graph=True)
    with pytest.raises(NotImplementedError, match="derivative"):
        g.sum().backward()


def test_vmap_of_samplers() -> None:
    a = mg.ones(4, 3)
    for name in ("_standard_gamma", "_sample_dirichlet", "_standard_von_mises"):
        out = mg.vmap(functions[name], randomness="different")(a)
        assert tuple(out.shape) == (4, 3)
        with pytest.raises(RuntimeError, match="random"):
            mg.vmap(functions[name])(a)


@pytest.mark.parametrize("value", [1e30, 1e300, 1e-300, float("inf"), 0.0, float("nan"), -1.0])
def test_extreme_parameters_end_and_give_numbers_or_nan(value: float) -> None:
    t = mg.tensor([value], dtype=mg.float64)
    for name in ("_standard_gamma", "_sample_dirichlet", "_standard_von_mises"):
        assert tuple(functions[name](t).shape) == (1,)
    assert functions["_standard_gamma"](t).isnan().item() == (not value >= 0)
    functions["_standard_gamma_grad"](t, t)
    functions["_dirichlet_grad"](mg.tensor([0.0, 1e-320, 0.5, 1.0], dtype=mg.float64), t, 2 * t)


def test_empty_parameters() -> None:
    for shape in ((0,), (0, 3), (3, 0)):
        for name in ("_standard_gamma", "_sample_dirichlet", "_standard_von_mises"):
            assert tuple(functions[name](mg.zeros(shape)).shape) == shape


def test_private_names_that_libraries_call() -> None:
    assert tuple(mg._standard_gamma(mg.ones(3)).shape) == (3,)
    assert tuple(mg._sample_dirichlet(mg.ones(2, 3)).shape) == (2, 3)
