"""minigrad.distributions against torch.distributions, over the table in distribution_cases.py: values, gradients, shapes, repr."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from distribution_cases import CASES, KL_CASES, Case

import minigrad as mg
import minigrad.distributions as D  # noqa: N812

torch = pytest.importorskip("torch", reason="the reference is torch.distributions")
import torch.distributions as TD  # noqa: E402, N812

STATISTICS = ("mean", "mode", "variance", "stddev")


def _pair(case: Case, grad: bool = True) -> tuple[list[Any], Any, list[Any], Any]:
    dtype = np.float32 if case.name in FLOAT32_ONLY else np.float64
    ours = [mg.tensor(a.astype(dtype), requires_grad=grad) for a in case.arrays]
    theirs = [torch.tensor(a.astype(dtype), requires_grad=grad) for a in case.arrays]
    return ours, case.build(D, *ours), theirs, case.build(TD, *theirs)


COARSE = {"VonMises": 1e-6}  # torch's Bessel functions there are polynomials good to 1e-7
FLOAT32_ONLY = {"GeneralizedPareto"}  # torch compares a float64 shape with a float32 zero, which raises


def _close(got: Any, want: Any, what: str, tol: float = 1e-9) -> None:
    assert tuple(got.shape) == tuple(want.shape), f"{what}: shape {tuple(got.shape)}, torch {tuple(want.shape)}"
    assert str(got.dtype).split(".")[-1] == str(want.dtype).split(".")[-1], f"{what}: dtype {got.dtype}, torch {want.dtype}"
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=tol, atol=tol, err_msg=what)


def _compare_with_gradients(got: Any, want: Any, ours: list[Any], theirs: list[Any], what: str, name: str) -> None:
    tol = 3e-5 if str(want.dtype) == "torch.float32" else COARSE.get(name, 1e-9)
    _close(got, want, what, tol)
    assert got.requires_grad == want.requires_grad, f"{what}: requires_grad {got.requires_grad}, torch {want.requires_grad}"
    if not got.requires_grad or not np.isfinite(want.detach().numpy()).all():
        return
    weights = np.cos(np.arange(want.numel())).reshape(tuple(want.shape))
    total = (got * mg.tensor(weights)).sum()
    try:
        t = torch.autograd.grad((want * torch.tensor(weights)).sum(), theirs, allow_unused=True, retain_graph=True)
    except NotImplementedError:  # the incomplete gamma function by its first argument
        with pytest.raises(NotImplementedError):
            mg.autograd.grad(total, ours, allow_unused=True, retain_graph=True)
        return
    g = mg.autograd.grad(total, ours, allow_unused=True, retain_graph=True)
    for k, (a, b) in enumerate(zip(g, t)):
        assert (a is None) == (b is None) or not (b if a is None else a).abs().sum(), f"{what}: gradient {k} is None in one of the two"
        if a is not None and b is not None:
            _close(a, b, f"{what}: gradient of argument {k}", 100 * tol)


def _values(theirs: Any) -> Any:
    torch.manual_seed(3)
    return theirs.sample((4,))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_shapes_flags_repr(case: Case) -> None:
    _, d, _, t = _pair(case)
    assert (tuple(d.batch_shape), tuple(d.event_shape)) == (tuple(t.batch_shape), tuple(t.event_shape))
    assert (d.has_rsample, d.has_enumerate_support) == (t.has_rsample, t.has_enumerate_support)
    assert repr(d).replace("minigrad.", "torch.") == repr(t)
    assert list(d.arg_constraints) == list(t.arg_constraints)
    assert [repr(c).replace("minigrad.", "torch.") for c in d.arg_constraints.values()] == [repr(c) for c in t.arg_constraints.values()]
    assert type(d.support).__name__ == type(t.support).__name__
    assert (d.support.is_discrete, d.support.event_dim) == (t.support.is_discrete, t.support.event_dim)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_log_prob_and_its_gradients(case: Case) -> None:
    ours, d, theirs, t = _pair(case)
    value = _values(t)
    v, w = mg.tensor(value.numpy()), value
    smooth = not d.support.is_discrete
    if smooth:
        v, w = v.requires_grad_(), w.requires_grad_()
    _compare_with_gradients(d.log_prob(v), t.log_prob(w), ours + [v] * smooth, theirs + [w] * smooth, "log_prob", case.name)
    assert d.support.check(mg.tensor(value.detach().numpy())).all()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_statistics(case: Case) -> None:
    ours, d, theirs, t = _pair(case)
    for name in (*STATISTICS, "entropy", "perplexity"):
        try:
            want = getattr(t, name)
            want = want() if callable(want) else want
        except NotImplementedError:
            with pytest.raises(NotImplementedError):
                got = getattr(d, name)
                got() if callable(got) else got
            continue
        got = getattr(d, name)
        got = got() if callable(got) else got
        _compare_with_gradients(got, want, ours, theirs, name, case.name)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_cdf_and_icdf(case: Case) -> None:
    ours, d, theirs, t = _pair(case)
    value = _values(t)
    try:
        want = t.cdf(value)
    except NotImplementedError:
        with pytest.raises(NotImplementedError):
            d.cdf(mg.tensor(value.numpy()))
    else:
        _compare_with_gradients(d.cdf(mg.tensor(value.numpy())), want, ours, theirs, "cdf", case.name)
    u = np.random.RandomState(1).uniform(0.05, 0.95, tuple(t.batch_shape))
    u = u.astype(np.float32 if case.name in FLOAT32_ONLY else np.float64)
    try:
        want = t.icdf(torch.tensor(u))
    except NotImplementedError:
        with pytest.raises(NotImplementedError):
            d.icdf(mg.tensor(u))
    else:
        _compare_with_gradients(d.icdf(mg.tensor(u)), want, ours, theirs, "icdf", case.name)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_expand(case: Case) -> None:
    _, d, _, t = _pair(case)
    shape = (5, *t.batch_shape)
    e, s = d.expand(shape), t.expand(torch.Size(shape))
    assert (tuple(e.batch_shape), tuple(e.event_shape)) == (tuple(s.batch_shape), tuple(s.event_shape))
    assert repr(e).replace("minigrad.", "torch.") == repr(s)
    assert tuple(e.sample((2,)).shape) == tuple(s.sample((2,)).shape)
    value = _values(s)
    tol = 1e-5 if case.name in FLOAT32_ONLY else COARSE.get(case.name, 1e-9)
    _close(e.log_prob(mg.tensor(value.numpy())), s.log_prob(value), "log_prob of the expanded", tol)
    assert type(e) is type(d)
    for name in STATISTICS[:1]:
        try:
            want = getattr(s, name)
        except NotImplementedError:
            continue
        _close(getattr(e, name), want, name, tol)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_sample_shapes_and_seed(case: Case) -> None:
    _, d, _, t = _pair(case)
    for shape in ((), (2,), (3, 2)):
        got, want = d.sample(shape), t.sample(shape)
        assert tuple(got.shape) == tuple(want.shape) and not got.requires_grad
        assert str(got.dtype).split(".")[-1] == str(want.dtype).split(".")[-1]
        assert d.support.check(got).all(), got
        if t.has_rsample:
            assert tuple(d.rsample(shape).shape) == tuple(want.shape)
            assert d.rsample(shape).requires_grad == t.rsample(shape).requires_grad
        else:
            try:
                t.rsample(shape)
            except NotImplementedError:
                with pytest.raises(NotImplementedError):
                    d.rsample(shape)
    mg.manual_seed(5)
    first = d.sample((4,))
    mg.manual_seed(5)
    assert (d.sample((4,)) == first).all()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_single_precision(case: Case) -> None:
    ours = [mg.tensor(a.astype(np.float32)) for a in case.arrays]
    theirs = [torch.tensor(a.astype(np.float32)) for a in case.arrays]
    d, t = case.build(D, *ours), case.build(TD, *theirs)
    assert str(d.sample().dtype).split(".")[-1] == str(t.sample().dtype).split(".")[-1]
    value = _values(t)
    _close(d.log_prob(mg.tensor(value.numpy())), t.log_prob(value), "log_prob in float32", 2e-4)


@pytest.mark.parametrize("case", [c for c in CASES if c.build(D, *map(mg.tensor, c.arrays)).has_enumerate_support], ids=lambda c: c.name)
def test_enumerate_support(case: Case) -> None:
    _, d, _, t = _pair(case)
    for expand in (True, False):
        _close(d.enumerate_support(expand), t.enumerate_support(expand), "enumerate_support")


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_pickle(case: Case) -> None:
    d = case.build(D, *map(mg.tensor, case.arrays))
    again = pickle.loads(pickle.dumps(d))
    mg.manual_seed(1)
    value = d.sample()
    assert (again.log_prob(value) == d.log_prob(value)).all()


def _kl_pairs() -> list[tuple[str, str]]:
    found = []
    for p in KL_CASES:
        for q in KL_CASES:
            kinds = getattr(TD, p), getattr(TD, q)
            if TD.kl._dispatch_kl(*kinds) is not NotImplemented:
                found.append((p, q))
    return found


# torch says inf for a uniform q that just touches the support of p; the integral is finite (see _kl_mixed.py)
@pytest.mark.parametrize("p_name,q_name", _kl_pairs())
def test_kl(p_name: str, q_name: str) -> None:
    first, second = KL_CASES[p_name][0], KL_CASES[q_name][1]
    p_ours, p, p_theirs, tp = _pair(first)
    q_ours, q, q_theirs, tq = _pair(second)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            want = TD.kl_divergence(tp, tq)
        except NotImplementedError:
            with pytest.raises(NotImplementedError):
                D.kl_divergence(p, q)
            return
        got = D.kl_divergence(p, q)
    _close(got, want, "kl", 1e-8)
    finite = np.isfinite(want.detach().numpy())
    if not finite.any() or not want.requires_grad:
        return
    g = mg.autograd.grad(got[mg.tensor(finite)].sum(), p_ours + q_ours, allow_unused=True)
    t = torch.autograd.grad(want[torch.tensor(finite)].sum(), p_theirs + q_theirs, allow_unused=True)
    for a, b in zip(g, t):
        if a is not None and b is not None and b.isfinite().all():
            _close(a, b, "gradient of kl", 1e-7)


def test_kl_registry_has_every_pair_of_torch() -> None:
    theirs = {(p.__name__, q.__name__) for p, q in TD.kl._KL_REGISTRY}
    ours = {(p.__name__, q.__name__) for p, q in D.kl._KL_REGISTRY}
    assert theirs == ours


def test_every_name_exists() -> None:
    assert set(TD.__all__) == set(D.__all__)
    for module in ("constraints", "transforms", "kl", "utils", "constraint_registry"):
        theirs, ours = getattr(TD, module), getattr(D, module)
        assert set(theirs.__all__) <= set(ours.__all__), module
        for name in theirs.__all__:
            assert hasattr(ours, name), f"{module}.{name}"


def test_every_module_path_exists() -> None:
    import importlib
    import pkgutil

    for module in pkgutil.iter_modules(TD.__path__):
        ours = importlib.import_module(f"minigrad.distributions.{module.name}")
        for name in getattr(importlib.import_module(f"torch.distributions.{module.name}"), "__all__", ()):
            assert hasattr(ours, name), f"{module.name}.{name}"


@pytest.mark.parametrize("name", [n for n in TD.__all__ if isinstance(getattr(TD, n), type)])
def test_signatures(name: str) -> None:
    import inspect

    theirs, ours = inspect.signature(getattr(TD, name)), inspect.signature(getattr(D, name))
    assert list(theirs.parameters) == list(ours.parameters)
    for key, parameter in theirs.parameters.items():
        assert ours.parameters[key].default == parameter.default or key.endswith("_shape"), key
    public = {n for n in dir(getattr(TD, name)) if not n.startswith("_")}
    assert public <= set(dir(getattr(D, name))), public - set(dir(getattr(D, name)))
