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


def test_a_missing_kernel_names_the_remedy() -> None:
    with pytest.raises(NotImplementedError, match="no cuda kernel for float32"):
        mg.linalg.svd(mg.ones(3, 3, device="cuda"))
