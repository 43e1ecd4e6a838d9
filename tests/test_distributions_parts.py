"""constraints, transforms, constraint_registry, utils and the errors of minigrad.distributions, against torch.distributions."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
import minigrad.distributions as D  # noqa: N812

torch = pytest.importorskip("torch", reason="the reference is torch.distributions")
import torch.distributions as TD  # noqa: E402, N812

r = np.random.RandomState(0)
X, POS, UNIT = r.randn(3, 4), r.uniform(0.2, 3, (3, 4)), r.uniform(0.05, 0.95, (3, 4))
SQUARE = r.randn(2, 3, 3)

TRANSFORMS: list[tuple[Callable[[Any, Any], Any], np.ndarray]] = [
    (lambda d, t: d.AbsTransform(), X), (lambda d, t: d.ExpTransform(), X), (lambda d, t: d.SigmoidTransform(), X),
    (lambda d, t: d.SoftplusTransform(), X), (lambda d, t: d.TanhTransform(), X), (lambda d, t: d.SoftmaxTransform(), X),
    (lambda d, t: d.AffineTransform(1.0, -2.0), X), (lambda d, t: d.AffineTransform(t(0.5), t([1.0, -2.0, 3.0, 4.0])), X),
    (lambda d, t: d.AffineTransform(1.0, t([1.0, -2.0, 3.0, 4.0]), event_dim=1), X), (lambda d, t: d.PowerTransform(t(2.5)), POS),
    (lambda d, t: d.PowerTransform(-1.0), POS), (lambda d, t: d.StickBreakingTransform(), X),
    (lambda d, t: d.CorrCholeskyTransform(), r.randn(2, 6)), (lambda d, t: d.LowerCholeskyTransform(), SQUARE),
    (lambda d, t: d.PositiveDefiniteTransform(), SQUARE), (lambda d, t: d.ReshapeTransform((4,), (2, 2)), X),
    (lambda d, t: d.CumulativeDistributionTransform(d.Normal(t(0.5), t(2.0))), X),
    (lambda d, t: d.ComposeTransform([d.AffineTransform(1.0, 2.0), d.ExpTransform(), d.PowerTransform(t(0.5))]), X),
    (lambda d, t: d.ComposeTransform([d.ExpTransform(), d.StickBreakingTransform()]), X), (lambda d, t: d.ComposeTransform([]), X),
    (lambda d, t: d.IndependentTransform(d.ExpTransform(), 1), X), (lambda d, t: d.ExpTransform().inv, POS),
    (lambda d, t: d.CatTransform([d.ExpTransform(), d.SigmoidTransform()], dim=-1, lengths=[1, 3]), X),
    (lambda d, t: d.StackTransform([d.ExpTransform(), d.AffineTransform(0.0, 2.0), d.TanhTransform()], dim=0), X),
    (lambda d, t: d.identity_transform, X),
]  # fmt: skip


def close(got: Any, want: Any, what: str = "") -> None:
    assert tuple(got.shape) == tuple(want.shape), what
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-7, atol=1e-9, err_msg=what)


def attempt(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except NotImplementedError:
        return NotImplementedError


def _double(v: Any) -> Any:
    return torch.tensor(v, dtype=torch.float64)


def _ours(v: Any) -> Any:
    return mg.tensor(v, dtype=mg.float64)


@pytest.mark.parametrize("k", range(len(TRANSFORMS)))
@pytest.mark.parametrize("cache_size", [0, 1])
def test_transforms(k: int, cache_size: int) -> None:
    build, x = TRANSFORMS[k]
    ours, theirs = build(D, _ours), build(TD, _double)
    if cache_size:
        ours, theirs = ours.with_cache(), theirs.with_cache()
        assert ours._cache_size == 1
    assert repr(ours) == repr(theirs)
    assert (ours.bijective, ours.domain.event_dim, ours.codomain.event_dim) == (
        theirs.bijective, theirs.domain.event_dim, theirs.codomain.event_dim)  # fmt: skip
    assert repr(ours.domain) == repr(theirs.domain) and repr(ours.codomain) == repr(theirs.codomain)
    a, b = mg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(a), theirs(b)
    close(y, z, "forward")
    assert (ours.inv(y) is a) == (theirs.inv(z) is b)
    close(ours.inv(y.detach()), theirs.inv(z.detach()), "inverse")
    got, want = attempt(lambda: ours.log_abs_det_jacobian(a, y)), attempt(lambda: theirs.log_abs_det_jacobian(b, z))
    if want is NotImplementedError:
        assert got is NotImplementedError
    else:
        close(got, want, "log det")
        if want.requires_grad:
            (g,) = mg.autograd.grad(got.sum() + y.sum(), a)
            (h,) = torch.autograd.grad(want.sum() + z.sum(), b)
            close(g, h, "gradient")
    assert tuple(ours.forward_shape(x.shape)) == tuple(theirs.forward_shape(torch.Size(x.shape))) == tuple(z.shape)
    assert tuple(ours.inverse_shape(tuple(z.shape))) == tuple(theirs.inverse_shape(z.shape))
    got, want = attempt(lambda: ours.sign), attempt(lambda: theirs.sign)
    assert (got is NotImplementedError) == (want is NotImplementedError)
    assert ours == ours.inv.inv and ours.inv == ours.inv and (ours == build(D, _ours)) == (theirs == build(TD, _double))
    close(pickle.loads(pickle.dumps(ours))(a), z)


def test_transform_errors() -> None:
    with pytest.raises(ValueError, match="cache_size"):
        D.ExpTransform(cache_size=2)
    with pytest.raises(ValueError, match="different numbers"):
        D.ReshapeTransform((2,), (3,))
    with pytest.raises(ValueError, match="Too few"):
        D.StickBreakingTransform().forward_shape(())
    with pytest.raises(ValueError, match="flattened"):
        D.CorrCholeskyTransform().forward_shape((4,))
    with pytest.raises(ValueError, match="at least 1"):
        D.TransformedDistribution(D.Normal(0.0, 1.0), D.StickBreakingTransform())
    with pytest.raises(ValueError, match="list of Transforms"):
        D.TransformedDistribution(D.Normal(0.0, 1.0), [3])


CONSTRAINTS: list[tuple[Callable[[Any], Any], list[Any]]] = [
    (lambda c: c.boolean, [0.0, 1.0, 0.5]), (lambda c: c.integer_interval(1, 3), [0.0, 1.0, 2.5, 3.0, 4.0]),
    (lambda c: c.nonnegative_integer, [-1.0, 0.0, 0.5, 7.0]), (lambda c: c.positive_integer, [0.0, 1.0]),
    (lambda c: c.real, [0.0, float("inf"), float("nan")]), (lambda c: c.positive, [-1.0, 0.0, 1.0]),
    (lambda c: c.nonnegative, [-1.0, 0.0, 1.0]), (lambda c: c.greater_than(2.0), [2.0, 3.0]), (lambda c: c.less_than(2.0), [2.0, 1.0]),
    (lambda c: c.greater_than_eq(2.0), [2.0, 1.0]), (lambda c: c.interval(0.0, 2.0), [-1.0, 0.0, 2.0, 3.0]),
    (lambda c: c.half_open_interval(0.0, 2.0), [0.0, 2.0]), (lambda c: c.unit_interval, [0.0, 1.0, 1.1]),
    (lambda c: c.simplex, [[0.5, 0.5], [0.5, 0.6], [1.5, -0.5]]), (lambda c: c.one_hot, [[1.0, 0.0], [1.0, 1.0], [0.5, 0.5]]),
    (lambda c: c.multinomial(3), [[1.0, 2.0], [3.0, 1.0], [-1.0, 2.0]]), (lambda c: c.real_vector, [[1.0, 2.0], [float("nan"), 2.0]]),
    (lambda c: c.lower_triangular, [[[1.0, 0.0], [2.0, 0.0]], [[1.0, 1.0], [2.0, 1.0]]]),
    (lambda c: c.lower_cholesky, [[[1.0, 0.0], [2.0, 0.0]], [[1.0, 0.0], [2.0, 1.0]]]),
    (lambda c: c.corr_cholesky, [[[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [0.6, 0.7]]]),
    (lambda c: c.square, [[[1.0, 0.0], [2.0, 0.0]]]), (lambda c: c.square, [[[1.0, 0.0]], [[2.0, 0.0]]]),
    (lambda c: c.symmetric, [[[1.0, 2.0], [2.0, 0.0]], [[1.0, 2.0], [1.0, 0.0]]]),
    (lambda c: c.positive_semidefinite, [[[1.0, 1.0], [1.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]]]),
    (lambda c: c.positive_definite, [[[1.0, 0.5], [0.5, 1.0]], [[1.0, 2.0], [2.0, 1.0]]]),
    (lambda c: c.independent(c.positive, 1), [[1.0, 2.0], [0.0, 1.0]]),
    (lambda c: c.cat([c.positive, c.real], -1, [1, 1]), [[1.0, -1.0], [-1.0, 1.0]]),
    (lambda c: c.stack([c.positive, c.real], -1), [[1.0, -1.0], [-1.0, 1.0]]),
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(CONSTRAINTS)))
def test_constraints(k: int) -> None:
    build, values = CONSTRAINTS[k]
    ours, theirs = build(D.constraints), build(TD.constraints)
    got, want = ours.check(_ours(values)), theirs.check(_double(values))
    assert tuple(got.shape) == tuple(want.shape) and got.tolist() == want.tolist()
    assert (repr(ours), ours.event_dim, ours.is_discrete) == (repr(theirs), theirs.event_dim, theirs.is_discrete)
    for registry in ("biject_to", "transform_to"):
        got, want = (attempt(lambda d=d, c=c: getattr(d, registry)(c)) for d, c in ((D, ours), (TD, theirs)))  # noqa: B023
        if want is NotImplementedError:
            assert got is NotImplementedError
        else:
            assert repr(got) == repr(want)
            x = r.randn(*(3, 3) if "cholesky" not in repr(ours).lower() or "Corr" not in repr(ours) else (3,))
            if "Cat" in repr(got) or "Stack" in repr(got):
                x = r.randn(3, 2)
            close(got(mg.tensor(x)), want(torch.tensor(x)))


def test_registries_take_more() -> None:
    class Even(D.constraints.Constraint):
        pass

    with pytest.raises(NotImplementedError, match="Cannot transform Even"):
        D.biject_to(Even())

    @D.biject_to.register(Even)
    def _(constraint: Any) -> D.Transform:
        return D.ExpTransform()

    assert D.biject_to(Even()) == D.ExpTransform()
    with pytest.raises(TypeError, match="Constraint"):
        D.transform_to.register(int, lambda c: None)
    with pytest.raises(ValueError, match="dependent"):
        D.constraints.dependent.check(mg.ones(2))


ERRORS: list[Callable[[Any, Any], Any]] = [
    lambda d, t: d.Normal(0.0, -1.0), lambda d, t: d.Bernoulli(t(2.0)), lambda d, t: d.Bernoulli(), lambda d, t: d.Bernoulli(0.5, 0.5),
    lambda d, t: d.Normal(0.0, 1.0).log_prob(t(float("nan"))), lambda d, t: d.Categorical(t(1.0)),
    lambda d, t: d.Categorical(t([-1.0, 2.0])), lambda d, t: d.Poisson(1.0).log_prob(t(0.5)), lambda d, t: d.Normal(0.0, 1.0).log_prob(3.0),
    lambda d, t: d.Uniform(1.0, 0.0), lambda d, t: d.MultivariateNormal(t([0.0, 0.0])), lambda d, t: d.Geometric(t(0.0)),
    lambda d, t: d.MultivariateNormal(t([0.0, 0.0]), t([[1.0, 1.0], [1.0, 1.0]])), lambda d, t: d.MultivariateNormal(t(0.0), t([[1.0]])),
    lambda d, t: d.Normal(t([0.0] * 3), 1.0).log_prob(t([0.0, 0.0])), lambda d, t: d.Poisson(1.0).rsample(),
    lambda d, t: d.Cauchy(0.0, 1.0).enumerate_support(), lambda d, t: d.kl_divergence(d.Normal(0.0, 1.0), d.Cauchy(0.0, 1.0)),
    lambda d, t: d.Dirichlet(t(1.0)), lambda d, t: d.Multinomial(t(3)),
    lambda d, t: d.Binomial(t([3, 4]), t([0.1, 0.2])).enumerate_support(),
    lambda d, t: d.Binomial(t([3, 4]), t([0.1, 0.2])).entropy(), lambda d, t: d.Independent(d.Normal(0.0, 1.0), 1),
    lambda d, t: d.MixtureSameFamily(d.Categorical(t([0.5, 0.5])), d.Normal(t([0.0] * 3), 1.0)),
    lambda d, t: d.StudentT(1.0).cdf(t(1.0)), lambda d, t: d.LKJCholesky(1), lambda d, t: d.Wishart(t(0.5), t([[1.0, 0.0], [0.0, 1.0]])),
    lambda d, t: d.Normal(0.0, 1.0).sample(2), lambda d, t: d.OneHotCategorical(t([0.5, 0.5])).log_prob(t([0.5, 0.5])),
    lambda d, t: d.Categorical(t([0.5, 0.5])).log_prob(t(2)), lambda d, t: d.Multinomial(2, t([1.0, 1.0])).log_prob(t([1.0, 2.0])),
    lambda d, t: d.LowRankMultivariateNormal(t([0.0, 0.0]), t([[1.0]]), t([1.0, 1.0])), lambda d, t: d.Gamma(t([1.0, -1.0]), 1.0),
    lambda d, t: d.register_kl(3, d.Normal), lambda d, t: d.Distribution.set_default_validate_args(3),
    lambda d, t: d.Independent(d.Bernoulli(t([0.5])), 1).enumerate_support(), lambda d, t: d.Exponential(1.0).log_prob(t(-1.0)),
    lambda d, t: d.utils.vec_to_tril_matrix(t([1.0, 2.0])), lambda d, t: d.utils.tril_matrix_to_vec(t([[1.0]]), 5),
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(ERRORS)))
def test_errors_have_torchs_class_and_text(k: int) -> None:
    texts = []
    for d, t in ((D, mg.tensor), (TD, torch.tensor)):
        with pytest.raises(Exception) as info:  # noqa: PT011  which one is what is compared
            ERRORS[k](d, t)
        texts.append((info.type, str(info.value).replace("minigrad.", "torch.")))
    assert texts[0][0] is texts[1][0]
    if texts[1][1] and texts[1][0] is ValueError:
        assert texts[0][1] == texts[1][1]


def test_validation_can_be_turned_off() -> None:
    d = D.Normal(0.0, -1.0, validate_args=False)
    assert d.log_prob(mg.tensor(0.0)).isnan().all()
    D.Distribution.set_default_validate_args(False)
    try:
        D.Bernoulli(mg.tensor(2.0))
    finally:
        D.Distribution.set_default_validate_args(True)
    with pytest.warns(UserWarning, match="sample_n"):
        assert tuple(D.Normal(0.0, 1.0).sample_n(3).shape) == (3,)


def test_subclasses_and_kl_dispatch() -> None:
    class Mine(D.Normal):
        def __init__(self, scale: Any) -> None:
            super().__init__(0.0, scale)

    with pytest.raises(NotImplementedError, match="expand"):
        Mine(1.0).expand((2,))
    assert float(D.kl_divergence(Mine(1.0), Mine(1.0))) == 0

    @D.register_kl(Mine, Mine)
    def _(p: Any, q: Any) -> str:
        return "mine"

    assert D.kl_divergence(Mine(1.0), Mine(1.0)) == "mine"

    class Bare(D.Distribution):
        pass

    with pytest.warns(UserWarning, match="arg_constraints"):
        bare = Bare()
    for name in ("mean", "variance", "support"):
        with pytest.raises(NotImplementedError):
            getattr(bare, name)
    with pytest.warns(RuntimeWarning, match="Ambiguous"), warnings.catch_warnings(record=False):
        warnings.simplefilter("always")

        class Other(D.Normal):
            pass

        D.register_kl(Other, D.Normal)(lambda p, q: 1)
        D.register_kl(D.Normal, Other)(lambda p, q: 2)
        D.kl_divergence(Other(0.0, 1.0), Other(0.0, 1.0))


def test_kl_takes_classes_outside_of_the_hierarchy() -> None:
    class Foreign:
        pass

    D.register_kl(Foreign, Foreign)(lambda p, q: "foreign")  # Pyro registers its own classes
    assert D.kl_divergence(Foreign(), Foreign()) == "foreign"  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="type_q"):
        D.register_kl(D.Normal, 3)  # type: ignore[arg-type]


def test_utils() -> None:
    u, v = D.utils, TD.utils
    for diag in (-2, -1, 0, 1):
        x = r.randn(2, 4, 4)
        vec = u.tril_matrix_to_vec(mg.tensor(x), diag)
        close(vec, v.tril_matrix_to_vec(torch.tensor(x), diag))
        if diag <= 0:
            close(u.vec_to_tril_matrix(vec, diag), v.vec_to_tril_matrix(torch.tensor(vec.numpy()), diag))
    p = np.array([0.0, 0.2, 0.8, 1.0])
    for binary in (True, False):
        close(u.probs_to_logits(mg.tensor(p), binary), v.probs_to_logits(torch.tensor(p), binary))
        close(u.logits_to_probs(mg.tensor(p), binary), v.logits_to_probs(torch.tensor(p), binary))
    a, b = u.broadcast_all(mg.ones(2, dtype=mg.float64), 3)
    assert a.dtype == b.dtype == mg.float64 and tuple(b.shape) == (2,)
    assert u.broadcast_all(1, 2)[0].dtype == mg.float32

    class Holder:
        @u.lazy_property
        def value(self) -> object:
            return object()

    h = Holder()
    assert h.value is h.value and "value" in h.__dict__


def test_kl_to_a_uniform_that_just_covers_the_support() -> None:
    """The integral is finite: -entropy + log(width). (PyTorch gives inf for the continuous Bernoulli here.)"""
    p = D.ContinuousBernoulli(_ours([0.2, 0.7]))
    close(D.kl_divergence(p, D.Uniform(_ours(0.0), _ours(1.0))), -p.entropy())
    close(D.kl_divergence(D.Uniform(_ours(0.0), _ours(1.0)), p), -p.log_prob(mg.linspace(0, 1, 20001, dtype=mg.float64)[:, None]).mean(0))
    assert D.kl_divergence(p, D.Uniform(_ours(0.1), _ours(1.0))).isinf().all()
