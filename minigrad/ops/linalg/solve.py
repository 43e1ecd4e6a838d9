"""Linear systems and inverses. Kernels: csrc/cpu/linalg_solve.cpp.

Legend: A (*, n, n); B, X (*, n, k), or (*, k, n) for X A = B (left=False).
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.ops.linalg.common import check_info, general, is_vector_rhs, linalg, need_square, np_linalg, primitive, primitive_of


def _solve_grads(dB: Any, result: Any, left: bool, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    """X = A^-1 B: gB = A^-H g, gA = -gB X^H."""
    if not needs[0]:
        return None, dB
    return (-(dB @ result.mH) if left else -(result.mH @ dB)), dB


def _np_solve(A: Any, B: Any, left: bool = True) -> Any:
    if left:
        return np_linalg().inv(A) @ B
    return B @ np_linalg().inv(A)


_solve = primitive(
    "_linalg_solve(A, B, left: bool) -> result, LU, pivots, info",
    meta="linalg_solve",
    nondiff=("LU", "pivots", "info"),
    grads=lambda g_result, A, result, left, needs: _solve_grads(primitive_of("_linalg_solve")(A.mH, g_result, left)[0], result, left, needs),
    fast_grads=lambda g_result, LU, pivots, result, left, needs: _solve_grads(
        primitive_of("_linalg_lu_solve")(LU, pivots, g_result, left, True), result, left, needs
    ),
    samples=lambda s: [
        s(general(s, 3, 3), s.t(3, 2), True),
        s(general(s, 2, 3, 3), s.t(3, 2), True),
        s(general(s, 3, 3), s.t(2, 2, 3), False),
    ],
    no_ref_reason="its LU has no reference; linalg.solve has one",
    doc="Solution of A X = B and the LU factorisation of A; the kernel of `linalg.solve`.",
)


def _solution(name: str, A: mg.Tensor, B: mg.Tensor, left: bool) -> tuple[Any, Any]:
    need_square(name, A)
    if not isinstance(B, mg.Tensor):
        raise TypeError(f"{name}(): argument 'B' must be Tensor, not {type(B).__name__}")
    vector = is_vector_rhs(A, B)
    if vector and not left:
        raise RuntimeError(
            f"{name}: Vector broadcasting of the left hand side is not supported for left=False: got A {tuple(A.shape)} and B"
            f" {tuple(B.shape)}. In this case {name} is equivalent to B / A.squeeze(-1)."
        )
    if vector:
        B = B.unsqueeze(-1)
    result, _, _, info = _solve(A, B, left)
    return result.squeeze(-1) if vector else result, info


def _singular(_: int) -> str:
    return "The solver failed because the input matrix is singular."


_SOLVE = dict(
    samples=lambda s: [
        s(general(s, 3, 3), s.t(3, 2)), s(general(s, 3, 3), s.t(3)), s(general(s, 2, 3, 3), s.t(3, 2)), s(general(s, 2, 3, 3), s.t(2, 3)),
        s(general(s, 3, 3), s.t(2, 2, 3), left=False), s(s.t(0, 0), s.t(0, 2)), s(general(s, 2, 2), s.t(2, 0)), s(s.t(0, 2, 2), s.t(2, 1)),
        s(general(s, 3, 3, layout="transposed"), s.t(3, 2, layout="step")),
    ],
    no_layouts_reason="expanded matrices are singular; test_linalg_calls.py has the layouts",
)  # fmt: skip


def _np_solution(A: Any, B: Any, left: bool = True) -> Any:
    vector = B.ndim == 1 or (A.ndim - 1 == B.ndim and B.shape == A.shape[:-1])
    return _np_solve(A, B[..., None], left)[..., 0] if vector else _np_solve(A, B, left)


@linalg(**_SOLVE, ref=_np_solution)
def solve(A: mg.Tensor, B: mg.Tensor, *, left: bool = True) -> mg.Tensor:
    """Solution of A X = B.

    Args:
        A: (*, n, n), invertible; float32, float64 or complex.
        B: (*, n, k), (*, k, n) with left=False, or vectors (n,) or (*, n); the batches broadcast; A's dtype.
        left: solve A X = B, else X A = B.
        out: tensor to write to.
    Returns:
        X of B's (broadcast) shape.
    Raises:
        LinAlgError (a RuntimeError) when a matrix is singular; RuntimeError for shapes and dtypes that do not fit.
    Gradient:
        gB = A^-H g, gA = -gB X^H.
    Source:
        LAPACK getrf, getrs.
    Example:
        >>> mg.linalg.solve(mg.tensor([[2., 0.], [0., 4.]]), mg.tensor([2., 2.]))
        tensor([1.0000, 0.5000])
    """
    result, info = _solution("linalg.solve", A, B, left)
    check_info("linalg.solve", info, _singular)
    return result


@linalg(results=("result", "info"), **_SOLVE, ref=lambda A, B, left=True: (_np_solution(A, B, left), _np_zeros(A)))
def solve_ex(A: mg.Tensor, B: mg.Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """`linalg.solve` that reports singular matrices in `info` instead of raising.

    Args:
        A: (*, n, n).
        B: right sides, as for `linalg.solve`.
        left: solve A X = B, else X A = B.
        check_errors: raise as `linalg.solve` does.
        out: pair of tensors to write to.
    Returns:
        named tuple (result, info): info is 0, or the number of the zero pivot.
    Example:
        >>> mg.linalg.solve_ex(mg.zeros(2, 2), mg.ones(2)).info
        tensor(1, dtype=minigrad.int32)
    """
    result, info = _solution("linalg.solve_ex", A, B, left)
    if check_errors:
        check_info("linalg.solve_ex", info, _singular)
    return result, info


def _np_zeros(a: Any) -> Any:
    import numpy as np

    return np.zeros(a.shape[:-2], np.int64)


# --- inverse ----------------------------------------------------------------------------------------------------------
_inv = primitive(
    "_linalg_inv(input) -> inverse, info",
    meta="linalg_square",
    nondiff=("info",),
    dinput=lambda g_inverse, inverse: -(inverse.mH @ g_inverse @ inverse.mH),
    samples=lambda s: [s(general(s, 3, 3)), s(general(s, 2, 4, 4))],
    ref=lambda input: (np_linalg().inv(input), _np_zeros(input)),
    doc="Inverse by LU; the kernel of `linalg.inv`.",
)


def _no_inverse(code: int) -> str:
    return f"The diagonal element {code} is zero, the inversion could not be completed because the input matrix is singular."


_SINGULAR = dict(no_layouts_reason="expanded matrices are singular; test_linalg_calls.py has the layouts")


def _inverse_samples(s: Any) -> list[Any]:
    shapes = ((3, 3), (2, 3, 3), (1, 1), (0, 0), (0, 2, 2), (2, 1, 4, 4))
    return [s(general(s, *shape)) for shape in shapes] + [s(general(s, 3, 3, layout="transposed"))]


def _inverse(name: str, A: mg.Tensor) -> mg.Tensor:
    need_square(name, A)
    inverse, info = _inv(A)
    check_info(name, info, _no_inverse)
    return inverse


@linalg(samples=_inverse_samples, ref=lambda A: np_linalg().inv(A), **_SINGULAR)
def inv(A: mg.Tensor) -> mg.Tensor:
    """Inverse of square matrices. Prefer `linalg.solve` to multiplying with an inverse: it is faster and more accurate.

    Args:
        A: (*, n, n), invertible; float32, float64 or complex.
        out: tensor to write to.
    Returns:
        (*, n, n).
    Raises:
        LinAlgError (a RuntimeError) when a matrix is singular; RuntimeError for other shapes and dtypes.
    Gradient:
        -A^-H g A^-H.
    Source:
        LAPACK getrf, getri.
    Example:
        >>> mg.linalg.inv(mg.tensor([[2.]])).tolist()
        [[0.5]]
    """
    return _inverse("linalg.inv", A)


@linalg(results=("inverse", "info"), samples=_inverse_samples, ref=lambda A: (np_linalg().inv(A), _np_zeros(A)))
def inv_ex(A: mg.Tensor, *, check_errors: bool = False) -> Any:
    """`linalg.inv` that reports singular matrices in `info` instead of raising.

    Args:
        A: (*, n, n).
        check_errors: raise as `linalg.inv` does.
        out: pair of tensors to write to.
    Returns:
        named tuple (inverse, info): info is 0, or the number of the zero pivot.
    Example:
        >>> mg.linalg.inv_ex(mg.zeros(2, 2)).info
        tensor(1, dtype=minigrad.int32)
    """
    need_square("linalg.inv_ex", A)
    inverse, info = _inv(A)
    if check_errors:
        check_info("linalg.inv_ex", info, _no_inverse)
    return inverse, info


@linalg(space="", samples=_inverse_samples, ref=lambda input: np_linalg().inv(input), **_SINGULAR)
def inverse(input: mg.Tensor) -> mg.Tensor:
    """Inverse of square matrices; the same as `linalg.inv`.

    Args:
        input: (*, n, n), invertible.
        out: tensor to write to.
    Returns:
        (*, n, n).
    Raises:
        LinAlgError when a matrix is singular.
    Example:
        >>> mg.inverse(mg.tensor([[2.]])).tolist()
        [[0.5]]
    """
    return _inverse("linalg.inv", input)


# --- triangular systems -----------------------------------------------------------------------------------------------
def _triangular_grads(g: Any, A: Any, out: Any, upper: bool, left: bool, unitriangular: bool, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    dB = primitive_of("_linalg_solve_triangular")(A.mH, g, not upper, left, unitriangular)
    if not needs[0]:
        return None, dB
    dA = -(dB @ out.mH) if left else -(out.mH @ dB)
    skip = int(unitriangular)
    return (dA.triu(skip) if upper else dA.tril(-skip)), dB


def _np_triangular(A: Any, B: Any, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    import numpy as np

    factor = np.triu(A) if upper else np.tril(A)
    if unitriangular:
        index = np.arange(A.shape[-1])
        factor[..., index, index] = 1
    return _np_solve(factor, B, left)


_solve_triangular = primitive(
    "_linalg_solve_triangular(A, B, upper: bool, left: bool, unitriangular: bool) -> out",
    meta="linalg_solve_triangular",
    grads=_triangular_grads,
    samples=lambda s: [
        s(general(s, 3, 3), s.t(3, 2), True, True, False),
        s(general(s, 2, 3, 3), s.t(3, 2), False, True, True),
        s(general(s, 3, 3), s.t(2, 2, 3), False, False, False),
        s(general(s, 3, 3, layout="transposed"), s.t(2, 3), True, False, False),
    ],
    ref=_np_triangular,
    doc="Solution with a triangular matrix; the kernel of `linalg.solve_triangular`.",
)


@linalg(
    samples=lambda s: [
        s(general(s, 3, 3), s.t(3, 2), upper=True), s(general(s, 2, 3, 3), s.t(3, 2), upper=False, unitriangular=True),
        s(general(s, 3, 3), s.t(2, 2, 3), upper=False, left=False), s(s.t(0, 0), s.t(0, 2), upper=True), s(general(s, 2, 2), s.t(2, 0), upper=True),
    ],
    ref=_np_triangular,
)  # fmt: skip
def solve_triangular(input: mg.Tensor, B: mg.Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> mg.Tensor:
    """Solution of A X = B for triangular A.

    Args:
        input: A, (*, n, n); only the named triangle is read.
        B: (*, n, k), or (*, k, n) with left=False; the batches broadcast.
        upper: which triangle A is.
        left: solve A X = B, else X A = B.
        unitriangular: take the diagonal as ones, without reading it.
        out: tensor to write to.
    Returns:
        X of B's (broadcast) shape; inf and NaN where the diagonal is zero.
    Raises:
        RuntimeError for shapes and dtypes that do not fit.
    Gradient:
        gB = A^-H g, gA = the triangle of -gB X^H.
    Source:
        BLAS trsm.
    Example:
        >>> mg.linalg.solve_triangular(mg.tensor([[2., 1.], [0., 1.]]), mg.tensor([[3.], [1.]]), upper=True).flatten()
        tensor([1., 1.])
    """
    return _solve_triangular(input, B, upper, left, unitriangular)


@linalg(
    space="",
    results=("solution", "cloned_coefficient"),
    samples=lambda s: [
        s(s.t(3, 2), general(s, 3, 3)), s(s.t(2, 3, 2), general(s, 3, 3), upper=False), s(s.t(3, 2), general(s, 3, 3), transpose=True),
        s(s.t(3, 2), general(s, 3, 3), unitriangular=True),
    ],
    ref=lambda input, A, upper=True, transpose=False, unitriangular=False: (
        _np_triangular(A.swapaxes(-1, -2) if transpose else A, input, upper != transpose, True, unitriangular),
        A + 0 * input[..., :1, :1]),
)  # fmt: skip
def triangular_solve(
    input: mg.Tensor, A: mg.Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """Old form of `linalg.solve_triangular`: solves A X = B, or A^T X = B.

    Args:
        input: B, (*, n, k).
        A: (*, n, n).
        upper: which triangle A is.
        transpose: solve with the transpose (not conjugated, as PyTorch).
        unitriangular: take the diagonal as ones.
        out: pair of tensors to write to.
    Returns:
        named tuple (solution, cloned_coefficient): X and a copy of A, expanded to X's batch.
    Raises:
        RuntimeError for shapes and dtypes that do not fit.
    Example:
        >>> mg.triangular_solve(mg.tensor([[4.]]), mg.tensor([[2.]])).solution.tolist()
        [[2.0]]
    """
    coefficient = A.mT if transpose else A
    solution = _solve_triangular(coefficient, input, upper != transpose, True, unitriangular)
    return solution, A.expand(*solution.shape[:-2], *A.shape[-2:]).clone()
