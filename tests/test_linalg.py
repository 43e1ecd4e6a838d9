"""linalg beyond the generated tests: properties of the factors, PyTorch's values and errors, batches, layouts, complex matrices,
zero sizes, values that are not finite, out=, named results, threads, and where LAPACK comes from.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.autograd import gradcheck, gradgradcheck

L = mg.linalg
RNG = np.random.default_rng(7)
SHAPES = [(3, 3), (2, 4, 4), (5, 3), (3, 5), (2, 3, 6, 2), (1, 1), (40, 40), (70, 33)]
SQUARES = [s for s in SHAPES if s[-1] == s[-2]]
DTYPES = ["float32", "float64", "complex64", "complex128"]


def matrix(*shape: int, dtype: str = "float64", seed: int = 0) -> mg.Tensor:
    """Random, well-conditioned: noise on a scaled identity."""
    rng = np.random.default_rng(seed + sum(shape))
    a = rng.uniform(-0.5, 0.5, shape) + 2 * np.eye(*shape[-2:])
    if dtype.startswith("complex"):
        a = a + 1j * rng.uniform(-0.5, 0.5, shape)
    return mg.from_numpy(a.astype(dtype))


def positive(*shape: int, dtype: str = "float64") -> mg.Tensor:
    a = matrix(*shape, dtype=dtype)
    return a @ a.mH + mg.eye(shape[-1]).to(a.dtype)


def close(a: Any, b: Any, scale: float = 1.0) -> bool:
    a, b = np.asarray(a.detach().numpy()), np.asarray(b.detach().numpy())
    eps = 1e-4 if a.dtype in (np.float32, np.complex64) else 1e-11
    assert a.shape == b.shape
    return bool(np.allclose(a, b, rtol=eps, atol=eps * scale))


def eye_like(a: mg.Tensor) -> mg.Tensor:
    return mg.eye(a.shape[-1], dtype=a.dtype).expand(a.shape)


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


# --- errors -----------------------------------------------------------------------------------------------------------
EYE, ZERO = mg.eye(2), mg.zeros(2, 2)
SINGULAR = {
    "inv": lambda a: L.inv(a),
    "inverse": lambda a: a.inverse(),
    "solve": lambda a: L.solve(a, EYE),
    "solve_ex": lambda a: L.solve_ex(a, EYE, check_errors=True),
    "inv_ex": lambda a: L.inv_ex(a, check_errors=True),
    "cholesky": lambda a: L.cholesky(a),
    "old cholesky": lambda a: a.cholesky(),
    "cholesky_ex": lambda a: L.cholesky_ex(a, check_errors=True),
    "lu_factor": lambda a: L.lu_factor(a),
    "ldl_factor": lambda a: L.ldl_factor(a),
    "cholesky_inverse": lambda a: mg.cholesky_inverse(a),
    "matrix_power": lambda a: L.matrix_power(a, -1),
}


@pytest.mark.parametrize("name", list(SINGULAR))
def test_singular_matrices_raise(name: str) -> None:
    f = SINGULAR[name]
    assert issubclass(L.LinAlgError, RuntimeError)
    f(mg.stack([EYE, EYE]))
    with pytest.raises(L.LinAlgError) as one:
        f(ZERO)
    assert "Batch element" not in str(one.value)
    with pytest.raises(L.LinAlgError, match="Batch element 1"):
        f(mg.stack([EYE, ZERO, ZERO]))


def test_info_without_raising() -> None:
    assert L.inv_ex(ZERO).info.item() == 1 and L.solve_ex(ZERO, EYE).info.item() == 1
    assert L.cholesky_ex(mg.tensor([[1.0, 2.0], [2.0, 1.0]])).info.item() == 2
    assert L.lu_factor_ex(mg.stack([EYE, ZERO])).info.tolist() == [0, 1]
    assert L.lu(ZERO).U.tolist() == [[0.0, 0.0], [0.0, 0.0]] and L.det(ZERO).item() == 0
    assert L.slogdet(ZERO).logabsdet.item() == -mg.inf and mg.isnan(mg.logdet(mg.diag(mg.tensor([1.0, -1.0])))).item()


BAD = {
    "1-d": (RuntimeError, lambda: L.inv(mg.ones(3))),
    "not square": (RuntimeError, lambda: L.inv(mg.ones(2, 3))),
    "integers": (RuntimeError, lambda: L.inv(mg.eye(2).long())),
    "half": (RuntimeError, lambda: L.svd(mg.eye(2).half())),
    "two dtypes": (RuntimeError, lambda: L.solve(EYE, EYE.double())),
    "right side too long": (RuntimeError, lambda: L.solve(EYE, mg.ones(3, 2))),
    "batches": (RuntimeError, lambda: L.solve(mg.ones(2, 2, 2), mg.ones(3, 2, 2))),
    "vector on the left": (RuntimeError, lambda: L.solve(EYE, mg.ones(2), left=False)),
    "not a tensor": (TypeError, lambda: L.inv([[1.0]])),
    "qr mode": (RuntimeError, lambda: L.qr(EYE, "full")),
    "UPLO": (RuntimeError, lambda: L.eigh(EYE, "X")),
    "driver": (RuntimeError, lambda: L.lstsq(EYE, EYE, driver="best")),
    "svd driver": (RuntimeError, lambda: L.svd(EYE, driver="gesvd")),
    "no pivoting": (RuntimeError, lambda: L.lu_factor(EYE, pivot=False)),
    "pivots too large": (RuntimeError, lambda: L.lu_solve(EYE, mg.tensor([1, 9], dtype=mg.int32), EYE)),
    "pivots zero": (RuntimeError, lambda: mg.lu_unpack(EYE, mg.tensor([0, 1], dtype=mg.int32))),
    "pivots int64": (RuntimeError, lambda: L.lu_solve(EYE, mg.tensor([1, 2]), EYE)),
    "pivots shape": (RuntimeError, lambda: L.lu_solve(EYE, mg.tensor([1], dtype=mg.int32), EYE)),
    "ldl half a block": (RuntimeError, lambda: L.ldl_solve(EYE, mg.tensor([1, -2], dtype=mg.int32), EYE)),
    "ldl out of range": (RuntimeError, lambda: L.ldl_solve(EYE, mg.tensor([-7, -7], dtype=mg.int32), EYE)),
    "norm ord": (RuntimeError, lambda: L.matrix_norm(EYE, 3)),
    "norm name": (RuntimeError, lambda: L.matrix_norm(EYE, "max")),
    "norm dims": (RuntimeError, lambda: L.matrix_norm(EYE, dim=(0, 0))),
    "norm dim": (IndexError, lambda: L.matrix_norm(EYE, dim=(0, 5))),
    "cond order": (RuntimeError, lambda: L.cond(EYE, 7)),
    "tau": (RuntimeError, lambda: L.householder_product(EYE, mg.ones(3))),
    "wide reflectors": (RuntimeError, lambda: L.householder_product(mg.ones(2, 3), mg.ones(2))),
    "ormqr sizes": (RuntimeError, lambda: mg.ormqr(EYE, mg.ones(2), mg.ones(3, 3))),
    "cross sizes": (RuntimeError, lambda: L.cross(mg.ones(2), mg.ones(2))),
    "cross dims": (RuntimeError, lambda: L.cross(mg.ones(3), mg.ones(1, 3))),
    "vander": (RuntimeError, lambda: L.vander(mg.ones(3), N=1)),
    "tensorinv": (RuntimeError, lambda: L.tensorinv(mg.ones(2, 3), ind=1)),
    "geqrf gradient": (NotImplementedError, lambda: mg.geqrf(mg.eye(2, requires_grad=True))),
    "qr r gradient": (RuntimeError, lambda: L.qr(mg.eye(2, requires_grad=True), "r").R.sum().backward()),
    "qr complete gradient": (RuntimeError, lambda: L.qr(mg.ones(3, 2, requires_grad=True), "complete").Q.sum().backward()),
    "out needs a pair": (TypeError, lambda: L.qr(EYE, out=mg.empty(2, 2))),
    "out and gradients": (RuntimeError, lambda: L.inv(mg.eye(2, requires_grad=True), out=mg.empty(2, 2))),
    "out dtype": (RuntimeError, lambda: L.inv(EYE, out=mg.empty(2, 2, dtype=mg.int64))),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_calls(name: str) -> None:
    kind, call = BAD[name]
    with pytest.raises(kind) as error:
        call()
    assert len(str(error.value)) > 10 and "bug in minigrad" not in str(error.value)


NAN = mg.full((3, 3), mg.nan)
INF = mg.stack([mg.eye(3), mg.full((3, 3), mg.inf)])


@pytest.mark.parametrize("a", [NAN, INF], ids=["nan", "inf"])
def test_values_that_are_not_finite(a: mg.Tensor) -> None:
    """Errors or NaN, but neither a crash nor an endless iteration."""
    for f in (L.svd, L.svdvals, L.eigh, L.eigvalsh, L.eig, L.eigvals, L.pinv, L.cholesky, L.matrix_rank, L.cond):
        with pytest.raises(L.LinAlgError):
            f(a)
    with pytest.raises(L.LinAlgError):
        L.lstsq(a, a)
    for f in (L.det, L.matrix_exp, lambda x: L.qr(x).R, lambda x: L.slogdet(x).logabsdet):
        assert not bool(mg.isfinite(f(a)).all())
    L.lu_factor_ex(a), L.inv_ex(a), L.solve_ex(a, a), L.ldl_factor_ex(a)


# --- shapes, layouts, results -----------------------------------------------------------------------------------------
def test_zero_sizes() -> None:
    for shape in ((0, 0), (0, 3, 3), (2, 0, 0)):
        a = mg.zeros(*shape)
        assert L.inv(a).shape == a.shape and L.cholesky(a).shape == a.shape and L.matrix_exp(a).shape == a.shape
        assert L.det(a).tolist() == [1.0] * 2 if shape[0] == 2 else True
        assert L.eigh(a).eigenvalues.shape == a.shape[:-1] and L.eig(a).eigenvectors.shape == a.shape
        assert L.solve(a, mg.zeros(*shape[:-1], 2)).shape == (*shape[:-1], 2)
        assert L.lu(a).L.shape == a.shape and L.slogdet(a).sign.shape == a.shape[:-2]
    for m, n in ((0, 3), (3, 0), (0, 0)):
        a = mg.zeros(m, n)
        U, S, Vh = L.svd(a)
        assert (U.shape, S.shape, Vh.shape) == ((m, m), (0,), (n, n)) and close(U, mg.eye(m)) and close(Vh, mg.eye(n))
        assert close(L.qr(a, "complete").Q, mg.eye(m)) and L.pinv(a).shape == (n, m)
        assert L.lstsq(a, mg.zeros(m, 2)).solution.shape == (n, 2)
        assert L.matrix_norm(a, "nuc").item() == 0 and L.matrix_norm(a, 2).item() == 0


LAYOUTS = {
    "transposed": lambda a: a.mT.contiguous().mT,
    "step": lambda a: mg.stack([a, a * 0], -1)[..., 0],
    "offset": lambda a: mg.cat([a.reshape(-1)[:3], a.reshape(-1)])[3:].view(a.shape),
    "expanded": lambda a: a[:1].expand(a.shape),
    "permuted batch": lambda a: a.transpose(0, 1).contiguous().transpose(0, 1),
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_layouts(layout: str) -> None:
    a = LAYOUTS[layout](positive(3, 4, 4))
    b = LAYOUTS[layout](matrix(3, 4, 4, seed=2))
    plain_a, plain_b = a.contiguous(), b.contiguous()
    for f in (
        lambda x, y: L.solve(x, y), lambda x, y: L.inv(x), lambda x, y: L.cholesky(x), lambda x, y: L.qr(x), lambda x, y: L.svdvals(x),
        lambda x, y: L.eigh(x), lambda x, y: L.lu_factor(x), lambda x, y: L.solve_triangular(x, y, upper=True), lambda x, y: L.det(y),
        lambda x, y: L.lstsq(x, y, driver="gelsd"), lambda x, y: L.matrix_exp(y), lambda x, y: L.pinv(y), lambda x, y: mg.geqrf(y),
    ):  # fmt: skip
        moved, plain = f(a, b), f(plain_a, plain_b)
        for m, p in zip(moved, plain) if isinstance(moved, tuple) else [(moved, plain)]:
            assert np.array_equal(m.numpy(), p.numpy()) or close(m, p, 10)


def test_broadcast_batches() -> None:
    a, b = matrix(2, 1, 3, 3), matrix(4, 3, 2, seed=1)
    x = L.solve(a, b)
    assert x.shape == (2, 4, 3, 2) and close(a @ x, b.expand(2, 4, 3, 2), 10)
    LU, pivots = L.lu_factor(a)
    assert close(L.lu_solve(LU, pivots, b), x, 10)
    assert close(a.tril() @ L.solve_triangular(a, b, upper=False), b.expand(2, 4, 3, 2), 10)
    vectors = matrix(5, 3, 3)[..., 0]
    assert L.solve(matrix(5, 3, 3), vectors).shape == (5, 3)
    y = mg.cholesky_solve(b, L.cholesky(positive(2, 1, 3, 3)))
    assert close(positive(2, 1, 3, 3) @ y, b.expand(2, 4, 3, 2), 10)


def test_out_and_named_results() -> None:
    a = matrix(3, 3)
    out = mg.empty(0, dtype=mg.float64)
    assert L.inv(a, out=out) is out and close(out, L.inv(a))
    Q, R = mg.empty(0, dtype=mg.float64), mg.empty(3, 3, dtype=mg.float64).mT
    result = L.qr(a, out=(Q, R))
    assert result.Q is Q and close(Q @ R, a, 10)
    overlapping = a.clone()
    L.inv(overlapping, out=overlapping)
    assert close(overlapping, L.inv(a))
    shown = repr(L.slogdet(mg.eye(2)))
    assert shown == "minigrad.return_types.linalg_slogdet(\nsign=tensor(1.),\nlogabsdet=tensor(0.))"
    fields = {
        L.svd: "U S Vh", L.qr: "Q R", L.eigh: "eigenvalues eigenvectors", L.eig: "eigenvalues eigenvectors", L.lu: "P L U",
        L.lu_factor: "LU pivots", L.lu_factor_ex: "LU pivots info", L.cholesky_ex: "L info", L.inv_ex: "inverse info",
        L.slogdet: "sign logabsdet", L.ldl_factor: "LD pivots", L.ldl_factor_ex: "LD pivots info", mg.svd: "U S V", mg.qr: "Q R",
        mg.geqrf: "a tau", mg.slogdet: "sign logabsdet",
    }  # fmt: skip
    for f, names in fields.items():
        assert f(positive(3, 3))._fields == tuple(names.split())


def test_methods() -> None:
    a = positive(3, 3)
    for name in ("inverse", "det", "logdet", "slogdet", "cholesky", "qr", "svd", "geqrf", "lu", "pinverse", "matrix_exp"):
        mine, function = getattr(a, name)(), getattr(mg, name)(a)
        for x, y in zip(mine, function) if isinstance(mine, tuple) else [(mine, function)]:
            assert np.array_equal(x.numpy(), y.numpy()), name
    b = matrix(3, 2)
    assert close(a.matrix_power(2), a @ a) and close(b.lu_solve(*L.lu_factor(a)), L.solve(a, b), 10)
    assert close(b.cholesky_solve(a.cholesky()), L.solve(a, b), 10) and close(a.cholesky().cholesky_inverse(), a.inverse(), 10)
    assert close(b.triangular_solve(a).solution, L.solve_triangular(a, b, upper=True)) and b.mT.cross(b.mT, 1).shape == (2, 3)


def test_threads_do_not_change_results() -> None:
    a = matrix(300, 8, 8)
    before = mg.get_num_threads()
    found = []
    try:
        for n in (1, 4):
            mg.set_num_threads(n)
            found.append([x.numpy() for x in (L.inv(a), L.svdvals(a), L.qr(a).Q, L.solve(a, a.mT), L.matrix_exp(a), L.det(a))])
    finally:
        mg.set_num_threads(before)
    for x, y in zip(*found):
        assert np.array_equal(x, y)


# --- where LAPACK comes from ------------------------------------------------------------------------------------------
def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_lapack_is_loaded_at_the_first_call() -> None:
    code = (
        "import sys, minigrad as mg; before = 'scipy_openblas32' in sys.modules; mg.linalg; mid = 'scipy_openblas32' in sys.modules;"
        "mg.linalg.inv(mg.eye(2)); print(before, mid, 'scipy_openblas32' in sys.modules)"
    )
    assert run_python(code) == "False False True"


def test_missing_lapack_is_an_error_with_a_remedy() -> None:
    code = (
        "import sys; sys.modules['scipy_openblas32'] = None\nimport minigrad as mg\ntry:\n  mg.linalg.inv(mg.eye(2))\n"
        "except ImportError as e:\n  print(e)\nprint(mg.linalg.norm(mg.ones(4)).item())"
    )
    text = run_python(code)
    assert "pip install scipy-openblas32" in text and text.endswith("2.0")
