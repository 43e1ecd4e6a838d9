"""Triangular factorisations: Cholesky, LU, LDL. Kernels: csrc/cpu/linalg_factor.cpp.

Legend: A (*, n, n), for LU (*, m, n) with k = min(m, n); .mH is the conjugate transpose.
Sources of the gradients: I. Murray, Differentiation of the Cholesky decomposition, arXiv 1602.07527; for LU the same
reasoning on dA = P (dL U + L dU) with dL strictly lower and dU upper.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.ops.linalg.common import (
    check_info,
    general,
    hermitian_sample,
    linalg,
    need_matrix,
    np_linalg,
    primitive,
    primitive_of,
)


def _triangular(a: Any, b: Any, upper: bool, left: bool = True, unit: bool = False) -> Any:
    return primitive_of("_linalg_solve_triangular")(a, b, upper, left, unit)


# --- Cholesky ---------------------------------------------------------------------------------------------------------
def _cholesky_grad(g_L: Any, L: Any, upper: bool) -> Any:
    """L^-H sym(phi(L^H g)) L^-1 with phi = lower triangle, half the diagonal; symmetric, as A is."""
    factor, g = (L.mH, g_L.mH) if upper else (L, g_L)
    phi = (factor.mH @ g).tril()
    phi = phi - 0.5 * mg.diag_embed(phi.diagonal(0, -2, -1))
    middle = 0.5 * (phi + phi.mH)
    return _triangular(factor.mH, _triangular(factor, middle, False, left=False), True)


_cholesky = primitive(
    "_linalg_cholesky(input, upper: bool) -> L, info",
    meta="linalg_square",
    nondiff=("info",),
    dinput=_cholesky_grad,
    samples=lambda s: [s(hermitian_sample(s, n, n), u).by_convention() for n, u in ((3, False), (4, True))],
    ref=lambda input, upper: (np_linalg().cholesky(input).swapaxes(-1, -2) if upper else np_linalg().cholesky(input), 0),
    no_layouts_reason="a positive-definite matrix cannot be expanded; test_linalg_calls.py has the layouts",
    doc="Cholesky factor of one triangle of A; the kernel of `linalg.cholesky`.",
)


def _not_positive(code: int) -> str:
    return (
        "The factorization could not be completed because the input is not positive-definite"
        f" (the leading minor of order {code} is not positive-definite)."
    )


def _cholesky_checked(name: str, input: Any, upper: bool) -> Any:
    factor, info = _cholesky(input, upper)
    check_info(name, info, _not_positive)
    return factor


def _cholesky_samples(s: Any) -> list[Any]:
    shapes = ((3, 3), (2, 4, 4), (0, 0), (0, 3, 3), (1, 1))
    found = [s(hermitian_sample(s, *shape)).by_convention() for shape in shapes]
    return [*found, s(hermitian_sample(s, 3, 3), upper=True).by_convention(), s(hermitian_sample(s, 3, 3, layout="step")).by_convention()]


_CONVENTION = "only one triangle of the input is read, so finite differences of single elements say something else"


@linalg(samples=_cholesky_samples, ref=lambda input, upper=False: _np_cholesky(input, upper), no_layouts_reason=_CONVENTION)
def cholesky(input: mg.Tensor, *, upper: bool = False) -> mg.Tensor:
    """Lower triangular L with A = L L^H, of a Hermitian positive-definite matrix.

    Args:
        input: (*, n, n), float32, float64 or complex; only its lower (upper) triangle is read.
        upper: return U = L^H instead.
        out: tensor to write to.
    Returns:
        (*, n, n), zero outside the triangle.
    Raises:
        LinAlgError (a RuntimeError) when a matrix is not positive-definite; RuntimeError for other shapes and dtypes.
    Gradient:
        symmetric, as if A could only move among symmetric matrices.
    Source:
        LAPACK potrf.
    Example:
        >>> mg.linalg.cholesky(mg.tensor([[4., 2.], [2., 5.]])).tolist()
        [[2.0, 0.0], [1.0, 2.0]]
    """
    return _cholesky_checked("linalg.cholesky", input, upper)


def _np_cholesky(input: Any, upper: bool = False) -> Any:
    if input.size == 0:
        return input
    factor = np_linalg().cholesky(input)
    return factor.swapaxes(-1, -2) if upper else factor


@linalg(
    results=("L", "info"),
    samples=_cholesky_samples,
    ref=lambda input, upper=False: (_np_cholesky(input, upper), _np_info(input)),
    no_layouts_reason=_CONVENTION,
)
def cholesky_ex(input: mg.Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """`linalg.cholesky` that reports a failure in `info` instead of raising.

    Args:
        input: (*, n, n).
        upper: return the upper factor.
        check_errors: raise as `linalg.cholesky` does.
        out: pair of tensors to write to.
    Returns:
        named tuple (L, info): info (*) int32 is 0, or the order of the leading minor that is not positive-definite.
    Example:
        >>> mg.linalg.cholesky_ex(mg.tensor([[1., 2.], [2., 1.]])).info
        tensor(2, dtype=minigrad.int32)
    """
    factor, info = _cholesky(input, upper)
    if check_errors:
        check_info("linalg.cholesky_ex", info, _not_positive)
    return factor, info


def _np_info(input: Any) -> Any:
    import numpy as np

    return np.zeros(input.shape[:-2], np.int64)


@linalg(name="cholesky", space="", samples=_cholesky_samples, ref=lambda input, upper=False: _np_cholesky(input, upper),
        no_layouts_reason=_CONVENTION)  # fmt: skip
def old_cholesky(input: mg.Tensor, upper: bool = False) -> mg.Tensor:
    """Old name of `linalg.cholesky`.

    Args:
        input: (*, n, n), Hermitian positive-definite.
        upper: return the upper factor.
        out: tensor to write to.
    Returns:
        (*, n, n).
    Raises:
        LinAlgError when a matrix is not positive-definite.
    Example:
        >>> mg.cholesky(mg.tensor([[4., 2.], [2., 5.]])).tolist()
        [[2.0, 0.0], [1.0, 2.0]]
    """
    return _cholesky_checked("cholesky", input, upper)


def _cholesky_inverse_grad(g_out: Any, input: Any, out: Any, upper: bool) -> Any:
    """With X = (L L^H)^-1: gL = -(G + G^H) L with G = X g X.

    As PyTorch's, not cut to the triangle that is read: behind a factor stands a Cholesky factorisation, whose gradient looks at
    that triangle only.
    """
    middle = out @ g_out @ out
    both = -(middle + middle.mH)
    return input @ both if upper else both @ input


_inverse_of_factor = primitive(
    "_cholesky_inverse(input, upper: bool) -> out, info",
    meta="linalg_square",
    nondiff=("info",),
    dinput=_cholesky_inverse_grad,
    samples=lambda s: [s(_factor(s, 3, 3), False).by_convention(), s(_factor(s, 2, 4, 4, upper=True), True).by_convention()],
    ref=lambda input, upper: (_np_cholesky_inverse(input, upper), _np_info(input)),
    doc="Inverse of L L^H from one triangle; the kernel of `cholesky_inverse`.",
)


def _np_cholesky_inverse(input: Any, upper: bool = False) -> Any:
    import numpy as np

    factor = np.triu(input).swapaxes(-1, -2) if upper else np.tril(input)
    return np.linalg.inv(factor @ factor.swapaxes(-1, -2))


def _factor(s: Any, *shape: int, upper: bool = False) -> Any:
    import numpy as np

    full = general(s, *shape).values.copy()
    diagonal = np.arange(min(shape[-2:]))
    full[..., diagonal, diagonal] = full[..., diagonal, diagonal].real  # as that of every Cholesky factor is
    return s.of(np.triu(full) if upper else np.tril(full))


@linalg(
    space="",
    samples=lambda s: [s(_factor(s, 3, 3)).by_convention(), s(_factor(s, 2, 3, 3, upper=True), upper=True).by_convention(), s(s.t(0, 0))],
    ref=_np_cholesky_inverse,
    no_layouts_reason="expanded factors are singular",
)
def cholesky_inverse(input: mg.Tensor, upper: bool = False) -> mg.Tensor:
    """Inverse of the Hermitian matrix L L^H (or U^H U) of which the Cholesky factor is given.

    Args:
        input: (*, n, n), the factor; only its lower (upper) triangle is read.
        upper: the factor is upper triangular.
        out: tensor to write to.
    Returns:
        (*, n, n).
    Raises:
        LinAlgError when the factor has a zero on its diagonal.
    Source:
        LAPACK potri.
    Example:
        >>> mg.cholesky_inverse(mg.tensor([[2.]])).tolist()
        [[0.25]]
    """
    inverse, info = _inverse_of_factor(input, upper)
    check_info("cholesky_inverse", info, _singular)
    return inverse


def _singular(code: int) -> str:
    return f"The diagonal element {code} is zero, the inversion could not be completed because the input matrix is singular."


def _cholesky_solve_grads(g: Any, input2: Any, out: Any, upper: bool, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    """X = (L L^H)^-1 B: gL = -(C + C^H) L with C = gB X^H; not cut to a triangle, as for cholesky_inverse."""
    dB = primitive_of("_cholesky_solve")(input2, g, upper)
    if not needs[0]:
        return None, dB
    product = dB @ out.mH
    both = -(product + product.mH)
    return (input2 @ both if upper else both @ input2), dB


_cholesky_solve = primitive(
    "_cholesky_solve(input2, input, upper: bool) -> out",
    meta="linalg_cholesky_solve",
    grads=_cholesky_solve_grads,
    samples=lambda s: [s(_factor(s, 3, 3, upper=u), s.t(3, 2), u).by_convention() for u in (False, True)],
    ref=lambda input2, input, upper: _np_cholesky_inverse(input2, upper) @ input,
    doc="Solution from a Cholesky factor; the kernel of `cholesky_solve`.",
)


@linalg(
    space="",
    samples=lambda s: [
        s(s.t(3, 2), _factor(s, 3, 3)).by_convention(), s(s.t(2, 3, 2), _factor(s, 3, 3, upper=True), upper=True).by_convention(),
        s(s.t(3, 1), _factor(s, 2, 3, 3)).by_convention(),
    ],
    ref=lambda input, input2, upper=False: _np_cholesky_inverse(input2, upper) @ input,
)
def cholesky_solve(input: mg.Tensor, input2: mg.Tensor, upper: bool = False) -> mg.Tensor:
    """Solution of L L^H X = B (or U^H U X = B) for a given Cholesky factor.

    Args:
        input: B, (*, n, k).
        input2: the factor, (*, n, n); only its lower (upper) triangle is read.
        upper: the factor is upper triangular.
        out: tensor to write to.
    Returns:
        X, (*, n, k); the batches broadcast.
    Raises:
        RuntimeError for shapes and dtypes that do not fit.
    Gradient:
        of the factor: valid behind `linalg.cholesky`, not cut to a triangle.
    Source:
        LAPACK potrs.
    Example:
        >>> mg.cholesky_solve(mg.tensor([[4.], [3.]]), mg.tensor([[2., 0.], [0., 1.]])).flatten()
        tensor([1., 3.])
    """
    need_matrix("cholesky_solve", input, "input")
    need_matrix("cholesky_solve", input2, "input2")
    return _cholesky_solve(input2, input, upper)


# --- LDL --------------------------------------------------------------------------------------------------------------
_ldl_factor = primitive(
    "_linalg_ldl_factor(input, hermitian: bool) -> LD, pivots, info",
    meta="linalg_factor_square",
    no_grad_reason="PyTorch has no gradient of the LDL factorisation either",
    samples=lambda s: [s(hermitian_sample(s, 3, 3, positive=False), False)],
    no_ref_reason="NumPy has no LDL; test_linalg.py multiplies the factors back",
    no_layouts_reason=_CONVENTION,
    doc="LDL^T with Bunch-Kaufman pivoting of the lower triangle; the kernel of `linalg.ldl_factor`.",
)


def _ldl_text(code: int) -> str:
    return f"D[{code},{code}] is exactly zero: the factorization exists, but solving with it would divide by zero."


_LDL = dict(
    samples=lambda s: [s(hermitian_sample(s, 3, 3, positive=False)), s(hermitian_sample(s, 2, 4, 4, positive=False))],
    no_ref_reason="NumPy has no LDL; test_linalg.py multiplies the factors back",
    no_grad_reason="PyTorch has no gradient of the LDL factorisation either",
    no_layouts_reason=_CONVENTION,
)


@linalg(results=("LD", "pivots"), **_LDL)
def ldl_factor(input: mg.Tensor, *, hermitian: bool = False) -> Any:
    """Compact LDL factorisation of a symmetric (or Hermitian) matrix.

    Args:
        input: (*, n, n); its lower triangle is read.
        hermitian: for complex matrices: Hermitian instead of symmetric.
        out: pair of tensors to write to.
    Returns:
        named tuple (LD, pivots) in LAPACK's form, for `linalg.ldl_solve`.
    Raises:
        LinAlgError when D has a zero block.
    Source:
        LAPACK sytrf, hetrf.
    Example:
        >>> mg.linalg.ldl_factor(mg.tensor([[2., 0.], [0., 3.]])).pivots
        tensor([1, 2], dtype=minigrad.int32)
    """
    factors, pivots, info = _ldl_factor(input, hermitian)
    check_info("linalg.ldl_factor", info, _ldl_text)
    return factors, pivots


@linalg(results=("LD", "pivots", "info"), **_LDL)
def ldl_factor_ex(input: mg.Tensor, *, hermitian: bool = False, check_errors: bool = False) -> Any:
    """`linalg.ldl_factor` that reports a zero block in `info` instead of raising.

    Args:
        input: (*, n, n).
        hermitian: Hermitian instead of symmetric.
        check_errors: raise as `linalg.ldl_factor` does.
        out: three tensors to write to.
    Returns:
        named tuple (LD, pivots, info).
    Example:
        >>> mg.linalg.ldl_factor_ex(mg.tensor([[2., 0.], [0., 3.]])).info
        tensor(0, dtype=minigrad.int32)
    """
    factors, pivots, info = _ldl_factor(input, hermitian)
    if check_errors:
        check_info("linalg.ldl_factor_ex", info, _ldl_text)
    return factors, pivots, info


_ldl_solve = primitive(
    "_linalg_ldl_solve(LD, pivots, B, hermitian: bool) -> out",
    meta="linalg_ldl_solve",
    no_grad_reason="PyTorch has no gradient of the LDL factorisation either",
    no_samples_reason="needs the pivots of ldl_factor; test_linalg.py has the tests",
    no_ref_reason="NumPy has no LDL; test_linalg.py compares with solve",
    doc="Solution from an LDL factorisation; the kernel of `linalg.ldl_solve`.",
)


@linalg(
    no_grad_reason="PyTorch has no gradient of the LDL factorisation either",
    no_samples_reason="needs the pivots of ldl_factor; test_linalg.py has the tests",
    no_ref_reason="NumPy has no LDL; test_linalg.py compares with solve",
)
def ldl_solve(LD: mg.Tensor, pivots: mg.Tensor, B: mg.Tensor, *, hermitian: bool = False) -> mg.Tensor:
    """Solution of A X = B from `linalg.ldl_factor(A)`.

    Args:
        LD: (*, n, n).
        pivots: (*, n) int32.
        B: (*, n, k); the batches broadcast.
        hermitian: as for ldl_factor.
        out: tensor to write to.
    Returns:
        X, (*, n, k).
    Raises:
        RuntimeError for shapes, dtypes or pivots that do not fit.
    Example:
        >>> mg.linalg.ldl_solve(*mg.linalg.ldl_factor(mg.tensor([[2.]])), mg.tensor([[6.]])).tolist()
        [[3.0]]
    """
    return _ldl_solve(LD, pivots, B, hermitian)


