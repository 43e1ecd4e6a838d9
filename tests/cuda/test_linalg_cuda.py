"""Factorizations and linear systems on the device; what has no kernel there says where to go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from both import agree, gradients

import minigrad as mg

DTYPES = [mg.float32, mg.float64, mg.complex64, mg.complex128]


def matrices(*shape: int, dtype: Any = mg.float64) -> Any:
    rng = np.random.default_rng(shape)
    a = rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if dtype.is_complex else 0)
    return a + 2 * np.eye(*shape[-2:])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [1, 5, 17])
def test_factors_and_solutions(dtype: Any, n: int) -> None:
    def compute(put: Any) -> list[mg.Tensor]:
        a, b = put(matrices(2, n, n, dtype=dtype), dtype), put(matrices(2, n, 3, dtype=dtype), dtype)
        definite = a @ a.mH + mg.eye(n, dtype=dtype, device=a.device)
        lower, upper = mg.linalg.cholesky(definite), mg.linalg.cholesky(definite, upper=True)
        lu, pivots = mg.linalg.lu_factor(a)
        return [
            lower,
            upper,
            lu,
            pivots,
            mg.linalg.det(a),
            *mg.linalg.slogdet(a),
            mg.linalg.inv(a),
            mg.linalg.solve(a, b),
            mg.linalg.solve(a, b.mT, left=False),
            *[mg.linalg.lu_solve(lu, pivots, b, adjoint=adjoint) for adjoint in (False, True)],
            *[mg.linalg.lu_solve(lu, pivots, b.mT, left=False, adjoint=adjoint) for adjoint in (False, True)],
            mg.linalg.solve_triangular(lower, b, upper=False),
            mg.linalg.solve_triangular(upper, b.mT, upper=True, left=False),
            mg.cholesky_solve(b, lower),
            mg.cholesky_inverse(upper, upper=True),
        ]

    agree(compute, 2e-4 if dtype in (mg.float32, mg.complex64) else 1e-11)


def test_rectangles_broadcasts_and_nothing() -> None:
    def compute(put: Any) -> list[mg.Tensor]:
        a, b = put(matrices(2, 1, 4, 4)), put(matrices(3, 4, 4))
        wide = put(matrices(3, 5, 3))
        nothing = put(np.zeros((2, 0, 0)))
        return [
            mg.linalg.solve(a, b),
            *mg.linalg.lu_factor(wide),
            *mg.linalg.lu_factor(wide.mT),
            mg.linalg.inv(nothing),
            mg.linalg.det(nothing),
            mg.linalg.solve(a[:0], b),
        ]

    agree(compute, 1e-12)


def test_what_cannot_be_factored_is_named() -> None:
    singular = mg.ones(3, 3, dtype=mg.float64, device="cuda")
    with pytest.raises(mg.linalg.LinAlgError):
        mg.linalg.inv(singular)
    with pytest.raises(mg.linalg.LinAlgError):
        mg.linalg.cholesky(-singular)
    info = mg.linalg.inv_ex(singular)[1]
    assert info.cpu().item() > 0


def test_gradients() -> None:
    a = matrices(4, 4)

    def compute(put: Any) -> list[mg.Tensor]:
        leaf = put(a, mg.float64, True)
        return gradients([mg.linalg.inv(leaf), mg.linalg.solve(leaf, leaf.mT), mg.linalg.det(leaf)], [leaf])

    agree(compute, 1e-11)


SHAPES = [(1, 1), (4, 4), (2, 5, 3), (2, 3, 5), (12, 7), (0, 3), (3, 0), (2, 0, 0)]


def limit(dtype: Any) -> float:
    return 1e-5 if dtype in (mg.float32, mg.complex64) else 1e-13


def near(found: mg.Tensor, expected: Any, dtype: Any) -> bool:
    """Largest difference over the largest magnitude."""
    a, b = np.asarray(found.detach().cpu()), np.asarray(expected.cpu() if isinstance(expected, mg.Tensor) else expected)
    assert a.shape == b.shape
    return a.size == 0 or np.abs(a - b).max() <= limit(dtype) * max(np.abs(b).max(), 1) * max(a.shape)


def orthonormal(columns: mg.Tensor) -> bool:
    return near(columns.mH @ columns, np.eye(columns.shape[-1]) * np.ones((*columns.shape[:-2], 1, 1)), columns.dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_orthogonal_factors(shape: tuple[int, ...], dtype: Any) -> None:
    host = mg.tensor(matrices(*shape, dtype=dtype)).to(dtype)
    a, k = host.to("cuda"), min(shape[-2:])
    for mode in ("reduced", "complete", "r"):
        q, r = mg.linalg.qr(a, mode)
        expected = mg.linalg.qr(host, mode)  # the same signs as LAPACK's
        assert near(r, expected.R, dtype)
        assert mode == "r" or (near(q, expected.Q, dtype) and near(q @ r, a, dtype) and orthonormal(q))
    reflectors, tau = mg.geqrf(a)
    assert near(reflectors, mg.geqrf(host).a, dtype) and near(tau, mg.geqrf(host).tau, dtype)
    for full in (False, True):
        u, s, vh = mg.linalg.svd(a, full_matrices=full)
        assert near((u[..., :k] * s.unsqueeze(-2).to(dtype)) @ vh[..., :k, :], a, dtype)
        assert orthonormal(u) and orthonormal(vh.mH) and near(s, mg.linalg.svdvals(host), dtype)
    assert near(mg.linalg.pinv(a), mg.linalg.pinv(host), dtype)
    if shape[-1] == shape[-2]:
        for letter in "LU":
            values, vectors = mg.linalg.eigh(a + a.mH, letter)
            assert near((vectors * values.unsqueeze(-2).to(dtype)) @ vectors.mH, a + a.mH, dtype) and orthonormal(vectors)
            assert near(values, mg.linalg.eigvalsh(host + host.mH), dtype)


@pytest.mark.parametrize("dtype", [mg.float64, mg.complex128], ids=str)
def test_few_large_matrices_take_the_whole_device(dtype: Any) -> None:
    def compute(put: Any) -> list[mg.Tensor]:
        a = put(matrices(2, 193, 200, dtype=dtype), dtype)
        square = a[..., :193]
        definite = square @ square.mH + 193 * mg.eye(193, dtype=dtype, device=a.device)
        broken = definite.clone()
        broken[1, 150, 150] = -1
        factors = [*mg.linalg.lu_factor(a), *mg.linalg.qr(a), *mg.geqrf(a.mH), mg.linalg.cholesky(definite)]
        return [*factors, mg.linalg.cholesky_ex(broken)[1], mg.linalg.lu_factor_ex(square * 0)[2]]

    agree(compute, 1e-11)


def test_many_columns_go_by_rounds() -> None:
    """More than fit one block's rotations: a launch for each round of pairs."""
    a = mg.tensor(matrices(2, 27, 23)).to("cuda")
    u, s, vh = mg.linalg.svd(a, full_matrices=False)
    assert near((u * s.unsqueeze(-2)) @ vh, a, mg.float64) and orthonormal(u) and orthonormal(vh.mH)
    assert near(s, mg.linalg.svdvals(a.cpu()), mg.float64)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1.0, 1e160, 1e300])
def test_numbers_whose_squares_do_not_fit(scale: float) -> None:
    host = mg.tensor(matrices(5, 4)) * scale
    a = host.to("cuda")
    assert near(mg.linalg.svdvals(a) / scale, mg.linalg.svdvals(host) / scale, mg.float64)
    assert near(mg.linalg.qr(a).R / scale, mg.linalg.qr(host).R / scale, mg.float64)
    square = host[:4] + host[:4].mT
    assert near(mg.linalg.eigvalsh(square.to("cuda")) / scale, mg.linalg.eigvalsh(square) / scale, mg.float64)


def test_graded_and_deficient_matrices() -> None:
    grades = 10.0 ** -np.arange(0, 24, 3)
    a = mg.tensor(matrices(8, 8) * grades).to("cuda")
    u, s, vh = mg.linalg.svd(a)
    exact = np.linalg.svd(matrices(8, 8), compute_uv=False)
    assert orthonormal(u) and orthonormal(vh.mH)
    assert 0.1 < float((s[-1] / grades[-1] / exact[-1]).cpu()) < 10  # not lost in the first's rounding
    low = mg.tensor(matrices(6, 2) @ matrices(2, 5)).to("cuda")
    for x in (low, low * 0):
        u, s, vh = mg.linalg.svd(x)
        assert orthonormal(u) and orthonormal(vh.mH) and near((u[:, :5] * s) @ vh, x, mg.float64)
        assert int(mg.linalg.matrix_rank(x)) == (2 if bool((x != 0).any()) else 0)
        assert near(mg.linalg.pinv(x), np.linalg.pinv(np.asarray(x.cpu()), rcond=1e-12), mg.float64)


@pytest.mark.parametrize("driver", ["gelsy", "gelsd", "gelss", "gels"])
def test_least_squares(driver: str) -> None:
    def compute(put: Any) -> list[mg.Tensor]:
        found = []
        for dtype in (mg.float64, mg.complex128):
            for m, n in ((5, 3), (3, 5), (4, 4), (0, 3), (3, 0)):
                a, b = put(matrices(2, m, n, dtype=dtype), dtype), put(matrices(2, m, 3, dtype=dtype), dtype)
                found += list(mg.linalg.lstsq(a, b, driver=driver))
        return found

    agree(compute, 1e-11)


def test_exponentials_of_any_size_in_one_batch() -> None:
    scales = np.array([0, 1e-9, 0.1, 1, 30, 300]).reshape(6, 1, 1)

    def compute(put: Any) -> list[mg.Tensor]:
        turning = matrices(6, 5, 5) - matrices(6, 5, 5).swapaxes(-1, -2)
        return [mg.linalg.matrix_exp(put(turning * scales)), mg.linalg.matrix_exp(put(turning * 1j * scales))[:4]]

    agree(compute, 1e-11)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("hermitian", [False, True])
def test_ldl_takes_lapacks_pivots(hermitian: bool, dtype: Any) -> None:
    for n in (1, 2, 5, 14):
        for blocks in (False, True):
            a = matrices(2, n, n, dtype=dtype)
            a = a + (a.conj() if hermitian else a).swapaxes(-1, -2)
            if blocks:  # zeros on the diagonal ask for blocks of 2
                a = a * (1 - np.eye(n)) + (np.eye(n) if n == 1 else 0)
            host, b = mg.tensor(a).to(dtype), mg.tensor(matrices(2, n, 3, dtype=dtype)).to(dtype)
            factors, pivots, info = mg.linalg.ldl_factor_ex(host.to("cuda"), hermitian=hermitian)
            expected = mg.linalg.ldl_factor_ex(host, hermitian=hermitian)
            assert pivots.tolist() == expected.pivots.tolist() and info.tolist() == expected.info.tolist()
            assert near(factors, expected.LD, dtype)
            x = mg.linalg.ldl_solve(factors, pivots, b.to("cuda"), hermitian=hermitian)
            assert np.abs(np.asarray((host @ x.cpu() - b).abs())).max() < 1e3 * limit(dtype)


def test_ldl_refuses_wrong_pivots() -> None:
    factors, b = mg.eye(3, device="cuda"), mg.ones(3, 1, device="cuda")
    for pivots in ([1, 2, 9], [0, 2, 3], [1, 2, -3]):
        with pytest.raises((RuntimeError, IndexError)):
            mg.linalg.ldl_solve(factors, mg.tensor(pivots, dtype=mg.int32, device="cuda"), b).cpu()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_named(value: float) -> None:
    a = mg.stack([mg.eye(3), mg.full((3, 3), value)]).to("cuda")
    for call in (mg.linalg.svdvals, mg.linalg.eigvalsh, mg.linalg.pinv, lambda x: mg.linalg.lstsq(x, x)):
        with pytest.raises(mg.linalg.LinAlgError, match="Batch element 1.*non-finite"):
            call(a)
    e = mg.linalg.matrix_exp(a).cpu()
    assert bool(e[1].isnan().all()) and not bool(e[0].isnan().any())


def test_gradients_of_decompositions() -> None:
    """Of what does not depend on the signs of vectors."""

    def compute(put: Any) -> list[mg.Tensor]:
        found = []
        for dtype in (mg.float64, mg.complex128):
            a = put(matrices(5, 3, dtype=dtype), dtype, True)
            u, s, vh = mg.linalg.svd(a, full_matrices=False)
            q, r = mg.linalg.qr(a)
            values, vectors = mg.linalg.eigh(a.mH @ a)
            projector = vectors[:, :2] @ vectors[:, :2].mH
            found += gradients([s, u[:, :1] @ vh[:1], q, r, values, projector, mg.linalg.pinv(a), mg.linalg.matrix_exp(a[:3])], [a])
        return found

    agree(compute, 1e-10)


def special(name: str, dtype: Any) -> Any:
    """A matrix that QR steps could stumble over."""
    a = matrices(6, 6, dtype=dtype)
    return {
        "hermitian": a + a.conj().T,
        "upper": np.triu(a),
        "lower": np.tril(a),
        "zero": a * 0,
        "identity": np.eye(6),
        "cycle": np.roll(np.eye(6), 1, 0),  # unmoved by unshifted steps
        "tiny": a * 1e-30,
        "block": np.kron(np.eye(3), [[0.0, 1.0], [-1.0, 0.0]]),
    }[name]


SPECIAL = ["hermitian", "upper", "lower", "zero", "identity", "cycle", "tiny", "block"]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", [(1, 1), (2, 5, 5), (30, 30), (0, 0), (2, 0, 0), *SPECIAL], ids=str)
def test_eigenvalues_of_general_matrices(case: Any, dtype: Any) -> None:
    host = mg.tensor(special(case, dtype) if isinstance(case, str) else matrices(*case, dtype=dtype)).to(dtype)
    values, vectors = mg.linalg.eig(host.to("cuda"))
    assert values.device.type == "cuda" and values.dtype == vectors.dtype == mg.linalg.eig(host).eigenvalues.dtype
    scale = max(float(host.abs().max()), 1e-300) if host.numel() else 1.0
    a, v, w = (t.cpu().to(mg.complex128).numpy() for t in (host, vectors, values))
    bound = limit(dtype) * 10 * max(host.shape[-1], 1)
    assert np.abs(a @ v - v * w[..., None, :]).max(initial=0) <= bound * scale
    assert np.abs(np.linalg.norm(v, axis=-2) - 1).max(initial=0) <= bound
    assert np.array_equal(mg.linalg.eigvals(host.to("cuda")).cpu().numpy(), values.cpu().numpy())
    for found, expected in zip(w.reshape(-1, host.shape[-1] or 1), mg.linalg.eigvals(host).numpy().reshape(-1, host.shape[-1] or 1)):
        rest = list(expected)
        for z in found:  # each the nearest of those that are left
            nearest = int(np.argmin(np.abs(np.array(rest) - z)))
            assert abs(rest.pop(nearest) - z) <= 100 * bound * scale


def test_eigenvalues_real_where_they_are() -> None:
    a = matrices(7, 7)
    values, vectors = mg.linalg.eig(mg.tensor(a + a.T).to("cuda"))
    assert not values.cpu().numpy().imag.any() and not vectors.cpu().numpy().imag.any()
    with pytest.raises(mg.linalg.LinAlgError, match="infs or NaNs"):
        mg.linalg.eig(mg.full((3, 3), float("inf"), device="cuda"))


def test_gradient_of_eigenvalues() -> None:
    def compute(put: Any) -> list[mg.Tensor]:
        a = put(matrices(4, 4), mg.float64, True)
        values, vectors = mg.linalg.eig(a)
        powers = vectors @ mg.diag_embed(values * values) @ mg.linalg.inv(vectors)  # of no order and phase
        return gradients([(values * values).sum().real, powers.real], [a])

    agree(compute, 1e-10)
