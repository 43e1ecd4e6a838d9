"""linalg beyond the generated tests: properties of the factors in all dtypes and batches, and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from linalg_cases import DTYPES, SHAPES, SQUARES, L, close, eye_like, matrix, positive

import minigrad as mg
from minigrad.autograd import gradcheck, gradgradcheck


# --- properties -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_factors_multiply_back(shape: tuple[int, ...], dtype: str) -> None:
    a = matrix(*shape, dtype=dtype)
    m, n = shape[-2:]
    P, lower, upper = L.lu(a)
    assert close(P @ lower @ upper, a, 10)
    for mode in ("reduced", "complete"):
        Q, R = L.qr(a, mode)
        assert close(Q @ R, a, 10) and close(Q.mH @ Q, eye_like(Q.mH @ Q), 10)
    assert close(L.qr(a, "r").R, L.qr(a).R)
    for full in (True, False):
        U, S, Vh = L.svd(a, full_matrices=full)
        k = min(m, n)
        assert close((U[..., :k] * S.unsqueeze(-2).to(a.dtype)) @ Vh[..., :k, :], a, 10)
        assert close(U.mH @ U, eye_like(U.mH @ U), 10) and close(Vh @ Vh.mH, eye_like(Vh @ Vh.mH), 10)
    assert close(L.svdvals(a), S, 10)
    reflectors, tau = mg.geqrf(a)
    if m >= n:
        assert close(L.householder_product(reflectors, tau), L.qr(a).Q, 10)
    c = matrix(*shape[:-2], m, 4, dtype=dtype)
    full_q = L.qr(a, "complete").Q
    assert close(mg.ormqr(reflectors[..., : tau.shape[-1]], tau, c), full_q @ c, 20)
    assert close(mg.ormqr(reflectors[..., : tau.shape[-1]], tau, c.mH, left=False, transpose=True), c.mH @ full_q.mH, 20)
    p = L.pinv(a)
    assert close(a @ p @ a, a, 20) and close(p @ a @ p, p, 20)
    assert close((a @ p).mH, a @ p, 20) and close((p @ a).mH, p @ a, 20)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SQUARES, ids=str)
def test_square_systems(shape: tuple[int, ...], dtype: str) -> None:
    a, b = matrix(*shape, dtype=dtype), matrix(*shape[:-1], 3, dtype=dtype, seed=1)
    identity = eye_like(a)
    assert close(a @ L.inv(a), identity, 10)
    x = L.solve(a, b)
    assert close(a @ x, b, 10)
    assert close(L.solve(a, b.mH, left=False) @ a, b.mH, 10)
    LU, pivots = L.lu_factor(a)
    for left in (True, False):
        for adjoint in (True, False):
            system = a.mH if adjoint else a
            rhs = b if left else b.mH
            got = L.lu_solve(LU, pivots, rhs, left=left, adjoint=adjoint)
            assert close(system @ got if left else got @ system, rhs, 10)
    P, lower, upper = mg.lu_unpack(LU, pivots)
    assert close(P @ lower @ upper, a, 10)
    sign, log = L.slogdet(a)
    assert close(L.det(a), sign * log.exp().to(a.dtype), 1e3 * shape[-1])
    for up in (True, False):
        for unit in (True, False):
            t = a.triu() if up else a.tril()
            t = t - mg.diag_embed(t.diagonal(0, -2, -1)) + identity if unit else t
            for given in (a, a.mT.contiguous().mT):
                assert close(t @ L.solve_triangular(given, b, upper=up, unitriangular=unit), b, 50)
                assert close(L.solve_triangular(given, b.mT, upper=up, left=False, unitriangular=unit) @ t, b.mT, 50)
    assert close(L.matrix_exp(a) @ L.matrix_exp(-a), identity, 100)
    assert close(L.matrix_power(a, 3), a @ a @ a, 10) and close(L.matrix_power(a, -2) @ a @ a, identity, 10)


@pytest.mark.parametrize("n", range(1, 12))
def test_tiny_matrices_against_numpy(n: int) -> None:
    """Up to 8 x 8 LU and Cholesky are our own; 9 and more go to LAPACK. No diagonal to lean on, so rows are swapped."""
    rng = np.random.default_rng(n)
    a = rng.normal(size=(20, n, n))
    a[0] = np.eye(n)[::-1]
    a[1:] += 0.3 * np.sign(a[1:])
    x, b = mg.from_numpy(a), rng.normal(size=(20, n, 3))
    assert np.allclose(L.solve(x, mg.from_numpy(b)).numpy(), np.linalg.solve(a, b), rtol=1e-8, atol=1e-8)
    right = L.solve(x, mg.from_numpy(b.swapaxes(-1, -2).copy()), left=False).numpy()
    assert np.allclose(right, np.linalg.solve(a.swapaxes(-1, -2), b).swapaxes(-1, -2), rtol=1e-8, atol=1e-8)
    assert np.allclose(L.inv(x).numpy(), np.linalg.inv(a), rtol=1e-8, atol=1e-8)
    assert np.allclose(L.det(x).numpy(), np.linalg.det(a), rtol=1e-9)
    P, lower, upper = L.lu(x)
    assert np.allclose((P @ lower @ upper).numpy(), a) and bool((lower.abs() <= 1 + 1e-12).all())
    a[3, :, n // 2] = 0
    assert L.lu_factor_ex(mg.from_numpy(a)).info.tolist()[3] == n // 2 + 1
    spd = a @ a.swapaxes(-1, -2) + np.eye(n)
    for up in (False, True):
        factor = L.cholesky(mg.from_numpy(spd), upper=up).numpy()
        assert np.allclose(factor.swapaxes(-1, -2) if up else factor, np.linalg.cholesky(spd))
    assert L.cholesky_ex(mg.from_numpy(-spd)).info.tolist() == [1] * 20


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SQUARES, ids=str)
def test_hermitian_matrices(shape: tuple[int, ...], dtype: str) -> None:
    a, b = positive(*shape, dtype=dtype), matrix(*shape[:-1], 2, dtype=dtype, seed=3)
    scale = 20 * shape[-1]
    lower, upper = L.cholesky(a), L.cholesky(a, upper=True)
    assert close(lower @ lower.mH, a, scale) and close(upper, lower.mH, scale)
    assert close(L.cholesky(a.tril()), lower), "the other triangle was read"
    for factor, up in ((lower, False), (upper, True)):
        assert close(a @ mg.cholesky_inverse(factor, up), eye_like(a), scale)
        assert close(a @ mg.cholesky_solve(b, factor, up), b, scale)
    for UPLO in ("L", "U"):
        values, vectors = L.eigh(a, UPLO)
        assert close(a @ vectors, vectors * values.unsqueeze(-2).to(a.dtype), scale)
        assert close(vectors.mH @ vectors, eye_like(a), scale)
        assert close(L.eigvalsh(a.tril() if UPLO == "L" else a.triu(), UPLO), values, scale)
    for hermitian in (True, False):
        s = a if hermitian else a + a.mT
        LD, pivots = L.ldl_factor(s, hermitian=hermitian)
        assert close(s @ L.ldl_solve(LD, pivots, b, hermitian=hermitian), b, scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SQUARES, ids=str)
def test_general_eigenvalues(shape: tuple[int, ...], dtype: str) -> None:
    a = matrix(*shape, dtype=dtype)
    values, vectors = L.eig(a)
    assert close(a.to(vectors.dtype) @ vectors, vectors * values.unsqueeze(-2), 30)
    assert str(values.dtype) == ("minigrad.complex64" if dtype in ("float32", "complex64") else "minigrad.complex128")
    key = lambda v: np.sort_complex(np.round(v.numpy().reshape(-1), 3))  # noqa: E731
    assert np.allclose(key(L.eigvals(a)), key(values), atol=2e-3)


@pytest.mark.parametrize("driver", ["gels", "gelsy", "gelsd", "gelss"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_least_squares(driver: str, dtype: str) -> None:
    for shape in ((5, 3), (3, 5), (2, 6, 2)):
        a, b = matrix(*shape, dtype=dtype), matrix(*shape[:-1], 2, dtype=dtype, seed=2)
        found = L.lstsq(a, b, driver=driver)
        assert close(found.solution, L.pinv(a) @ b, 10)
        if shape[-2] > shape[-1] and driver != "gelsy":
            assert close(found.residuals, (a @ found.solution - b).abs().square().sum(-2), 10)
        assert found.rank.numel() == 0 if driver == "gels" else bool((found.rank == min(shape[-2:])).all())
    rank_one = mg.tensor([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]], dtype=mg.float64)
    if driver != "gels":
        found = L.lstsq(rank_one, mg.ones(3, 1, dtype=mg.float64), driver=driver)
        assert found.rank.item() == 1 and close(found.solution, L.pinv(rank_one) @ mg.ones(3, 1, dtype=mg.float64), 10)


def test_low_rank() -> None:
    mg.manual_seed(0)
    a = matrix(2, 12, 3) @ matrix(2, 3, 9)
    for x in (a, a.mT):
        U, S, V = mg.svd_lowrank(x, q=3)
        assert close(U @ mg.diag_embed(S) @ V.mT, x, 100)
        M = matrix(2, *x.shape[-2:], seed=4)
        U, S, V = mg.svd_lowrank(x + M, q=3, M=M)
        assert close(U @ mg.diag_embed(S) @ V.mT, x, 1e3)
    U, S, V = mg.pca_lowrank(a, q=3)
    assert close(U @ mg.diag_embed(S) @ V.mT, a - a.mean(-2, keepdim=True), 100)


def test_rank_and_condition() -> None:
    a = matrix(4, 3) @ matrix(3, 4)
    assert L.matrix_rank(a).item() == 3 and L.matrix_rank(a, atol=1e3).item() == 0
    assert L.matrix_rank(a + a.mT, hermitian=True).item() <= 4
    assert L.matrix_rank(mg.stack([a, mg.eye(4, dtype=mg.float64)]), atol=mg.tensor([0.0, 2.0])).tolist() == [3, 0]
    assert L.matrix_rank(a, 1e-8).item() == 3
    assert L.cond(mg.zeros(2, 2), 1).item() == mg.inf and L.cond(mg.eye(3)).item() == 1
    batch = mg.stack([mg.eye(2), mg.zeros(2, 2)])
    assert abs(L.cond(batch, "fro")[0].item() - 2) < 1e-5 and L.cond(batch, "fro")[1].item() == mg.inf


def test_matrix_exp_of_half_types() -> None:
    a = matrix(3, 3, dtype="float32")
    for dtype, eps in ((mg.float16, 2e-3), (mg.bfloat16, 2e-2)):
        low = L.matrix_exp(a.to(dtype))
        assert low.dtype == dtype and np.allclose(low.float().numpy(), L.matrix_exp(a.to(dtype).float()).numpy(), rtol=eps)


def test_matrix_exp_of_large_norms() -> None:
    """Scaling and squaring over many orders of magnitude, each matrix of a batch with its own."""
    for scale in (1e-9, 1e-3, 0.3, 3.0, 30.0, 300.0):
        d = mg.tensor([-1.0, -0.5, -2.0], dtype=mg.float64) * scale
        q = L.qr(matrix(3, 3)).Q
        assert close(L.matrix_exp(q @ mg.diag(d) @ q.mT), q @ mg.diag(d.exp()) @ q.mT)
    rotation = mg.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=mg.float64)
    both = L.matrix_exp(mg.stack([rotation * 1e-4, rotation * 100.0]))
    for r, t in zip(both, (1e-4, 100.0)):
        assert close(r, mg.tensor([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]], dtype=mg.float64), 100)


# --- gradients --------------------------------------------------------------------------------------------------------
GAUGE_FREE = {
    "cholesky": lambda a: L.cholesky(a @ a.mH),
    "cholesky_upper": lambda a: L.cholesky(a @ a.mH, upper=True),
    "cholesky_inverse": lambda a: mg.cholesky_inverse(L.cholesky(a @ a.mH)),
    "cholesky_inverse_upper": lambda a: mg.cholesky_inverse(L.cholesky(a @ a.mH, upper=True), True),
    "cholesky_solve": lambda a: mg.cholesky_solve(a, L.cholesky(a @ a.mH)),
    "cholesky_solve_upper": lambda a: mg.cholesky_solve(a, L.cholesky(a @ a.mH, upper=True), upper=True),
    "lu_solve": lambda a: L.lu_solve(*L.lu_factor(a), a.mT + 1),
    "lu_solve_adjoint": lambda a: L.lu_solve(*L.lu_factor(a), a + 1, adjoint=True),
    "lu_solve_right": lambda a: L.lu_solve(*L.lu_factor(a), a + 1, left=False),
    "lu_solve_right_adjoint": lambda a: L.lu_solve(*L.lu_factor(a), a + 1, left=False, adjoint=True),
    "lu_unpack": lambda a: mg.lu_unpack(*L.lu_factor(a))[1:],
    "eigh": lambda a: _projector(*L.eigh(a + a.mH)),
    "eigvalsh": lambda a: L.eigvalsh(a @ a.mH),
    "svd": lambda a: (lambda U, S, Vh: (S, (U * (S**2).unsqueeze(-2).to(U.dtype)) @ Vh))(*L.svd(a, full_matrices=False)),
    "eig": lambda a: (lambda w, v: ((v * (w * w).unsqueeze(-2)) @ L.inv(v)).abs())(*L.eig(a)),
    "eigvals": lambda a: (L.eigvals(a) ** 2).sum(-1).abs(),
    "slogdet": lambda a: L.slogdet(a).logabsdet,
    "qr": lambda a: tuple(L.qr(a)),
    "ormqr": lambda a: mg.ormqr(a, a[..., 0, :] * 0.3, a + 1),
    "ormqr_right": lambda a: mg.ormqr(a, a[..., 0, :] * 0.3, a + 1, left=False, transpose=True),
    "pinv_hermitian": lambda a: L.pinv(a + a.mH, hermitian=True),
    "pinv_singular": lambda a: L.pinv(a[..., :2] @ a[..., :2, :], rtol=1e-9),
    "lstsq": lambda a: L.lstsq(a[..., :2], a, driver="gelsd")[:2],
    "cond_1": lambda a: L.cond(a, 1),
    "tensorinv": lambda a: L.tensorinv(a, ind=1) if a.dim() == 2 else a,
    "matrix_power": lambda a: L.matrix_power(a, -3),
}


def _projector(values: mg.Tensor, vectors: mg.Tensor) -> Any:
    return values, (vectors * (values**3).unsqueeze(-2).to(vectors.dtype)) @ vectors.mH


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("name", list(GAUGE_FREE))
def test_gradients(name: str, dtype: str) -> None:
    """First and second order, of what does not depend on signs and phases."""
    f = GAUGE_FREE[name]
    for shape in ((3, 3), (2, 3, 3)):
        a = matrix(*shape, dtype=dtype) * mg.tensor([1.0, 1.5, 2.3]).to(getattr(mg, dtype))
        assert gradcheck(f, [a.requires_grad_()], check_undefined_grad=False)
    gradgradcheck(f, [matrix(3, 3, dtype=dtype, seed=5).requires_grad_()], check_undefined_grad=False, fast_mode=True)


def test_gradient_of_singular_determinant() -> None:
    a = mg.tensor([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 1.0, 3.0]], dtype=mg.float64, requires_grad=True)
    L.det(a).backward()
    adjugate_T = np.array([[12.0, -6.0, 2.0], [-6.0, 3.0, -1.0], [0.0, 0.0, 0.0]])
    assert np.allclose(a.grad.numpy(), adjugate_T, atol=1e-12)
    batch = mg.stack([a.detach(), mg.eye(3, dtype=mg.float64)]).requires_grad_()
    L.det(batch).sum().backward()
    assert np.allclose(batch.grad.numpy(), np.stack([adjugate_T, np.eye(3)]), atol=1e-12)


def test_gradient_of_repeated_singular_values() -> None:
    """A loss of the values alone has a gradient where the vectors have none."""
    a = mg.eye(3, dtype=mg.float64, requires_grad=True)
    L.svd(a).S.sum().backward()
    assert close(a.grad, mg.eye(3, dtype=mg.float64))
    a.grad = None
    L.eigh(a).eigenvalues.sum().backward()
    assert close(a.grad, mg.eye(3, dtype=mg.float64))
