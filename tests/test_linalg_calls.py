"""linalg: errors, values that are not finite, zero sizes, layouts, out=, named results, threads, and where LAPACK comes from."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from linalg_cases import L, close, matrix, positive

import minigrad as mg

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
