"""Special functions against mpmath-grade references far beyond the samples: large and tiny arguments, ends of domains, recurrences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from by_device import fewer
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.autograd import gradcheck, gradgradcheck

sp = pytest.importorskip("scipy.special", reason="SciPy's functions are the references")
S = mg.special
RNG = np.random.default_rng(0)


def run(function, *arrays, dtype=np.float64):
    return function(*(mg.from_numpy(np.asarray(a, dtype=dtype)) for a in arrays)).numpy()


def assert_close(got, want, rtol, atol=0.0):
    with np.errstate(invalid="ignore"):
        bad = ~((got == want) | (np.isnan(got) & np.isnan(want)) | (np.abs(got - want) <= rtol * np.abs(want) + atol))
    assert not bad.any(), f"at {np.flatnonzero(bad)[:5]}: got {got[bad][:5]}, expected {want[bad][:5]}"


WIDE = np.concatenate([10.0 ** RNG.uniform(-12, 2.8, 400), np.linspace(0.01, 30, 300)])
# name, SciPy's function, signs of the arguments, relative tolerance, tolerance relative to the envelope sqrt(2 / (pi x))
UNARY = [
    ("i0", sp.i0, (1, -1), 1e-14, 0), ("i0e", sp.i0e, (1, -1), 1e-14, 0), ("i1", sp.i1, (1, -1), 1e-14, 0),
    ("i1e", sp.i1e, (1, -1), 1e-14, 0), ("modified_bessel_k0", sp.k0, (1,), 1e-13, 0), ("modified_bessel_k1", sp.k1, (1,), 1e-13, 0),
    ("scaled_modified_bessel_k0", sp.k0e, (1,), 1e-14, 0), ("scaled_modified_bessel_k1", sp.k1e, (1,), 1e-14, 0),
    ("bessel_j0", sp.j0, (1, -1), 0, 1e-13), ("bessel_j1", sp.j1, (1, -1), 1e-14, 1e-13), ("bessel_y0", sp.y0, (1,), 1e-13, 1e-13),
    ("bessel_y1", sp.y1, (1,), 1e-13, 1e-13), ("erfcx", sp.erfcx, (1,), 1e-14, 0), ("log_ndtr", sp.log_ndtr, (-1,), 1e-14, 0),
    ("ndtr", sp.ndtr, (1,), 1e-14, 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "reference", "signs", "rtol", "envelope"), UNARY, ids=[u[0] for u in UNARY])
def test_values_over_the_whole_range(name, reference, signs, rtol, envelope):
    for sign in signs:
        x = sign * WIDE
        with np.errstate(all="ignore"):
            assert_close(run(getattr(S, name), x), reference(x), rtol, envelope * np.sqrt(2 / np.pi / (1 + np.abs(x))))


def test_float32_is_rounded_once():
    x = np.linspace(-9, 9, 1001).astype(np.float32)
    for name in ("i0", "i1e", "bessel_j0", "log_ndtr", "erfcx"):
        exact = run(getattr(S, name), x.astype(np.float64))
        assert (run(getattr(S, name), x, dtype=np.float32) == exact.astype(np.float32)).all(), name


def test_airy_against_scipy():
    x = np.linspace(-30, 20, 2001)
    want = sp.airy(x)[0]
    assert_close(run(S.airy_ai, x), want, 1e-12, np.where(x < 0, 1e-14 * (1 + np.abs(x)), 0))


@settings(max_examples=fewer(200, 33), deadline=None)
@given(st.floats(1e-300, 1 - 1e-15))
def test_ndtri_inverts_ndtr(p):
    x = float(S.ndtri(mg.tensor(p, dtype=mg.float64)))
    back = float(S.log_ndtr(mg.tensor(x, dtype=mg.float64)))
    assert abs(back - math.log(p)) <= 4e-15 * (1 + x * x)


def test_ndtri_ends():
    got = run(S.ndtri, [0.0, 1.0, -0.1, 1.1, np.nan, 0.5])
    assert np.array_equal(got, [-np.inf, np.inf, np.nan, np.nan, np.nan, 0.0], equal_nan=True)


@settings(max_examples=fewer(300, 50), deadline=None)
@given(st.floats(1e-6, 1e5), st.floats(1e-8, 1e5))
def test_incomplete_gamma_functions_add_up_and_agree(a, x):
    p, q = (float(f(mg.tensor(a, dtype=mg.float64), mg.tensor(x, dtype=mg.float64))) for f in (mg.igamma, mg.igammac))
    assert abs(p + q - 1) < 1e-13
    for got, want in ((p, float(sp.gammainc(a, x))), (q, float(sp.gammaincc(a, x)))):
        assert abs(got - want) <= 1e-11 * want + 1e-280


def test_incomplete_gamma_far_out_and_at_the_ends():
    a = np.array([1e8, 1e8, 1e12, 0.0, 0.0, 2.0, np.inf, 2.0, -1.0, 2.0])
    x = np.array([1e8, 1e8 + 2e4, 1e12 - 1e6, 1.0, 0.0, 0.0, 2.0, np.inf, 1.0, -1.0])
    assert_close(run(mg.igamma, a, x), sp.gammainc(a, x), 1e-10)
    assert_close(run(mg.igammac, a, x), sp.gammaincc(a, x), 1e-10)


def test_zeta_and_polygamma():
    s, q = np.meshgrid([1.0001, 1.5, 2, 3, 7.5, 30, 90], 10 ** np.linspace(-2, 4, 40))
    assert_close(run(S.zeta, s, q), sp.zeta(s, q), 1e-13, 1e-300)
    x = np.concatenate([10 ** np.linspace(-3, 3, 100), -RNG.uniform(0, 30, 100)])
    for n in (1, 2, 3, 6):
        got = mg.polygamma(n, mg.from_numpy(x)).numpy()
        if n == 1:  # SciPy's zeta is NaN for negative second arguments: reflection
            want = np.where(x > 0, sp.polygamma(1, np.abs(x)), (np.pi / np.sin(np.pi * x)) ** 2 - sp.polygamma(1, 1 - x))
            assert_close(got, want, 1e-10)
        else:
            assert_close(got[x > 0], sp.polygamma(n, x[x > 0]), 1e-13)
        # recurrence psi_n(x + 1) = psi_n(x) + (-1)^n n! / x^(n+1)
        step = (-1) ** n * math.factorial(n) / x ** (n + 1)
        assert_close(mg.polygamma(n, mg.from_numpy(x + 1)).numpy(), got + step, 1e-9, 1e-9 * np.abs(step))


def test_zeta_far_left_is_quick():
    # PyTorch and SciPy add a thousand million terms, or give up
    got = float(mg.polygamma(1, mg.tensor(-1e9 - 0.5, dtype=mg.float64)))
    assert abs(got - math.pi**2) < 1e-6
    # huge exponents underflow: the sum must still end
    assert run(S.zeta, [1e30, 1e30, 1e6, 1e30], [5.0, 1.0, 7.0, 0.5]).tolist() == [0.0, 1.0, 0.0, math.inf]


@settings(max_examples=fewer(100, 16), deadline=None)
@given(st.integers(0, 60), st.floats(-1, 1))
def test_chebyshev_polynomials_on_the_interval(n, x):
    theta = math.acos(x)
    t = mg.tensor(x, dtype=mg.float64)
    assert abs(float(S.chebyshev_polynomial_t(t, n)) - math.cos(n * theta)) < 1e-11
    if abs(x) < 0.999:
        assert abs(float(S.chebyshev_polynomial_u(t, n)) - math.sin((n + 1) * theta) / math.sin(theta)) < 1e-9
    assert float(S.shifted_chebyshev_polynomial_t(t, n)) == float(S.chebyshev_polynomial_t(2 * t - 1, n))


def test_chebyshev_polynomials_of_large_degree():
    for name, even, odd in (("t", 1, -1), ("u", 1001, -1002), ("v", 2001, -2003), ("w", 1, -1)):
        f = getattr(S, f"chebyshev_polynomial_{name}")
        assert float(f(mg.tensor(-1.0, dtype=mg.float64), 1000)) == even
        assert float(f(mg.tensor(-1.0, dtype=mg.float64), 1001)) == odd
        assert math.isinf(float(f(mg.tensor(3.0, dtype=mg.float64), 10**6)))
    assert abs(float(S.chebyshev_polynomial_t(mg.tensor(0.3, dtype=mg.float64), 10**9))) <= 1


def test_polynomials_against_scipy():
    x = RNG.uniform(-3, 3, 50)
    for n in (0, 1, 2, 7, 20):
        for name, reference in (("hermite_polynomial_h", sp.eval_hermite), ("hermite_polynomial_he", sp.eval_hermitenorm),
                                ("laguerre_polynomial_l", sp.eval_laguerre), ("legendre_polynomial_p", sp.eval_legendre)):  # fmt: skip
            want = reference(n, x)
            got = getattr(S, name)(mg.from_numpy(x), n).numpy()
            assert_close(got, want, 1e-10, 1e-12 * np.abs(want).max())


def test_degrees_are_cut_and_negative_ones_give_zero():
    n = mg.tensor([-3.0, -0.5, 0.0, 1.9, float("nan")], dtype=mg.float64)
    got = S.legendre_polynomial_p(0.25, n).numpy()
    assert np.array_equal(got, [0, 1, 1, 0.25, np.nan], equal_nan=True)


def test_modified_bessel_overflow_and_infinities():
    got = run(mg.i0, [712.0, 714.0, np.inf, -np.inf])
    assert np.isfinite(got[0]) and (got[1:] == np.inf).all()
    assert_close(got[:1], np.array([sp.i0e(712.0) * math.exp(712 / 2)]) * math.exp(712 / 2), 1e-12)
    assert run(S.i1, [-np.inf])[0] == -np.inf
    assert (run(S.bessel_j0, [np.inf, -np.inf]) == 0).all()


@pytest.mark.parametrize("name", ["i0", "i1", "i0e", "i1e", "bessel_j0", "bessel_j1", "spherical_bessel_j0"])
def test_gradients_at_zero(name):
    x = mg.tensor([0.0], dtype=mg.float64, requires_grad=True)
    (slope,) = mg.autograd.grad(getattr(S, name)(x).sum(), x)
    assert float(slope) == {"i1": 0.5, "i1e": 0.5, "bessel_j1": 0.5}.get(name, 0.0)


def test_gradients_of_both_gamma_arguments():
    a, x = mg.tensor([2.0, 3.5], dtype=mg.float64), mg.tensor([1.0, 4.0], dtype=mg.float64, requires_grad=True)
    assert gradcheck(lambda t: mg.igamma(a, t), (x,)) and gradgradcheck(lambda t: mg.igammac(a, t), (x,))
    with pytest.raises(NotImplementedError, match="derivative for 'input'"):
        mg.igamma(a.clone().requires_grad_(), x).sum().backward()
    with pytest.raises(NotImplementedError, match="derivative for 'input'"):
        S.zeta(mg.tensor([2.0], requires_grad=True), mg.tensor([2.0])).sum().backward()


def test_mvlgamma_and_errors():
    x = mg.tensor([3.0, 4.5], dtype=mg.float64)
    assert S.multigammaln is mg.mvlgamma and S.gammainc is mg.igamma and S.psi is mg.digamma
    assert_close(x.mvlgamma(3).numpy(), sp.multigammaln(np.array([3.0, 4.5]), 3), 1e-14)
    for bad in (lambda: mg.mvlgamma(x, 0), lambda: mg.polygamma(-1, x), lambda: mg.mvlgamma(mg.tensor([True]), 1)):
        with pytest.raises(RuntimeError):
            bad()
    with pytest.raises(TypeError):
        mg.polygamma(1.5, x)
    y = x.clone()
    assert y.polygamma_(1) is y and (y == x.polygamma(1)).all()
    with pytest.raises(RuntimeError):
        mg.tensor([1, 2]).polygamma_(1)
