"""LU factorisation and what is read off it. Kernels: csrc/cpu/linalg_factor.cpp, linalg_solve.cpp.

Legend: A = P L U, A (*, m, n), L (*, m, k), U (*, k, n), k = min(m, n); LU holds both factors in one matrix.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.ops.linalg.common import check_info, general, linalg, primitive, primitive_of


def _triangular(a: Any, b: Any, upper: bool, left: bool = True, unit: bool = False) -> Any:
    return primitive_of("_linalg_solve_triangular")(a, b, upper, left, unit)


def row_order(pivots: Any, rows: int) -> Any:
    """Row i of L U is row order[i] of A."""
    return primitive_of("_lu_permutation")(pivots, rows)


def permutation_matrix(pivots: Any, rows: int, dtype: Any) -> Any:
    """P of A = P L U."""
    order = row_order(pivots, rows)
    return (order.unsqueeze(-2) == mg.arange(rows, device=order.device).unsqueeze(-1)).to(dtype)


def rows_back(x: Any, pivots: Any) -> Any:
    """P x: row i of x goes to row order[i]."""
    order = row_order(pivots, x.shape[-2])
    return mg.take_along_dim(x, order.argsort(-1).unsqueeze(-1).expand(x.shape), -2)


def unpacked(LU: Any) -> tuple[Any, Any]:
    """(L, U) of a compact factorisation, L with its unit diagonal."""
    m, n = LU.shape[-2], LU.shape[-1]
    k = min(m, n)
    lower = LU.narrow(-1, 0, k).tril(-1) + mg.eye(m, k, dtype=LU.dtype, device=LU.device)
    return lower, LU.narrow(-2, 0, k).triu()


def _lu_grad(g_LU: Any, LU: Any, pivots: Any) -> Any:
    """gA = P L^-H (tril(L^H gL, -1) + triu(gU U^H)) U^-H for square A; what sticks out of the square is linear in it."""
    m, n = LU.shape[-2], LU.shape[-1]
    k = min(m, n)
    lower, upper = unpacked(LU)
    g_lower, g_upper = g_LU.narrow(-1, 0, k).tril(-1), g_LU.narrow(-2, 0, k).triu()
    left, right = lower.narrow(-2, 0, k), upper.narrow(-1, 0, k)
    phi_lower = left.mH @ g_lower.narrow(-2, 0, k)
    phi_upper = g_upper.narrow(-1, 0, k) @ right.mH
    if m < n:
        phi_lower = phi_lower - g_upper.narrow(-1, k, n - k) @ upper.narrow(-1, k, n - k).mH
    elif m > n:
        phi_upper = phi_upper - lower.narrow(-2, k, m - k).mH @ g_lower.narrow(-2, k, m - k)
    inner = phi_lower.tril(-1) + phi_upper.triu()
    g = _triangular(right.mH, _triangular(left.mH, inner, True, unit=True), False, left=False)
    if m < n:
        g = mg.cat([g, _triangular(left.mH, g_upper.narrow(-1, k, n - k), True, unit=True)], -1)
    elif m > n:
        g = mg.cat([g, _triangular(right.mH, g_lower.narrow(-2, k, m - k), False, left=False)], -2)
    return rows_back(g, pivots)


_lu_factor = primitive(
    "_linalg_lu_factor(input) -> LU, pivots, info",
    meta="linalg_factor",
    nondiff=("pivots", "info"),
    dinput=_lu_grad,
    samples=lambda s: [s(general(s, *shape)) for shape in ((3, 3), (2, 3, 3), (2, 4), (4, 2), (0, 0))],
    no_ref_reason="NumPy has no LU; test_linalg.py multiplies the factors back",
    doc="LU factorisation with row pivoting; the kernel of `linalg.lu_factor`.",
)
primitive(
    "_lu_permutation(pivots, rows: int) -> out",
    meta="linalg_permutation",
    no_samples_reason="needs LAPACK's pivots; test_linalg.py tests it through linalg.lu",
    no_ref_reason="tested through linalg.lu",
    doc="Row order that LAPACK's pivots describe.",
)


def _factor(name: str, A: Any, pivot: bool) -> tuple[Any, Any, Any]:
    if not pivot:
        raise RuntimeError(f"{name}: LU without pivoting is not implemented on the CPU. Try pivot=True.")
    return _lu_factor(A)


def _zero_pivot(code: int) -> str:
    return (
        f"U[{code},{code}] is zero and using it on lu_solve would result in a division by zero. If you still want to perform"
        " the factorization, consider calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)"
    )


_SAMPLES = dict(
    samples=lambda s: [
        s(general(s, 3, 3)), s(general(s, 2, 3, 3)), s(general(s, 2, 4)), s(general(s, 4, 2, layout="step")), s(s.t(0, 0)), s(s.t(2, 0, 3)),
    ],
    no_ref_reason="NumPy has no LU; test_linalg.py multiplies the factors back",
    no_layouts_reason="expanded matrices are singular; test_linalg_calls.py has the layouts",
)  # fmt: skip


@linalg(results=("LU", "pivots"), **_SAMPLES)
def lu_factor(A: mg.Tensor, *, pivot: bool = True) -> Any:
    """LU factorisation with row pivoting, both factors in one matrix.

    Args:
        A: (*, m, n), float32, float64 or complex.
        pivot: must be True on the CPU.
        out: pair of tensors to write to.
    Returns:
        named tuple (LU, pivots): LU (*, m, n); pivots (*, min(m, n)) int32, counted from 1: row i was swapped with row pivots[i].
    Raises:
        LinAlgError when U has a zero on its diagonal; RuntimeError for dtypes and for pivot=False.
    Gradient:
        at the pivots of the forward.
    Source:
        LAPACK getrf.
    Example:
        >>> mg.linalg.lu_factor(mg.tensor([[0., 1.], [2., 3.]])).LU.tolist()
        [[2.0, 3.0], [0.0, 1.0]]
    """
    LU, pivots, info = _factor("linalg.lu_factor", A, pivot)
    check_info("linalg.lu_factor", info, _zero_pivot)
    return LU, pivots


@linalg(results=("LU", "pivots", "info"), **_SAMPLES)
def lu_factor_ex(A: mg.Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """`linalg.lu_factor` that reports a zero pivot in `info` instead of raising.

    Args:
        A: (*, m, n).
        pivot: must be True on the CPU.
        check_errors: raise as `linalg.lu_factor` does.
        out: three tensors to write to.
    Returns:
        named tuple (LU, pivots, info).
    Example:
        >>> mg.linalg.lu_factor_ex(mg.zeros(2, 2)).info
        tensor(1, dtype=minigrad.int32)
    """
    LU, pivots, info = _factor("linalg.lu_factor_ex", A, pivot)
    if check_errors:
        check_info("linalg.lu_factor_ex", info, _zero_pivot)
    return LU, pivots, info


@linalg(results=("P", "L", "U"), **_SAMPLES)
def lu(A: mg.Tensor, *, pivot: bool = True) -> Any:
    """The factors P, L, U of A = P L U.

    Args:
        A: (*, m, n).
        pivot: must be True on the CPU.
        out: three tensors to write to.
    Returns:
        named tuple (P, L, U): a permutation (*, m, m), unit lower triangular (*, m, k), upper triangular (*, k, n), k = min(m, n).
    Raises:
        RuntimeError for dtypes and for pivot=False.
    Example:
        >>> mg.linalg.lu(mg.tensor([[0., 1.], [2., 3.]])).U.tolist()
        [[2.0, 3.0], [0.0, 1.0]]
    """
    LU, pivots, _ = _factor("linalg.lu", A, pivot)
    return (permutation_matrix(pivots, A.shape[-2], A.dtype), *unpacked(LU))


@linalg(
    space="",
    results=("P", "L", "U"),
    method=False,
    no_samples_reason="needs the pivots of lu_factor; test_linalg.py has the tests",
)
def lu_unpack(LU_data: mg.Tensor, LU_pivots: mg.Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """P, L and U from a compact factorisation.

    Args:
        LU_data: (*, m, n) of `linalg.lu_factor`.
        LU_pivots: (*, min(m, n)) int32.
        unpack_data: False leaves L and U empty.
        unpack_pivots: False leaves P empty.
        out: three tensors to write to.
    Returns:
        named tuple (P, L, U).
    Raises:
        RuntimeError for pivots out of range.
    Example:
        >>> mg.lu_unpack(*mg.linalg.lu_factor(mg.tensor([[2., 3.], [1., 2.]]))).L.tolist()
        [[1.0, 0.0], [0.5, 1.0]]
    """
    if LU_pivots.dtype != mg.int32:
        raise RuntimeError(
            f"lu_unpack: LU_pivots is expected to be a contiguous tensor of int32 dtype: got {LU_pivots.dtype}."
            " Try the pivots that lu_factor returned."
        )
    if LU_data.dim() < 2:
        raise RuntimeError(f"lu_unpack: expected a factorization (*, m, n): got shape {tuple(LU_data.shape)}.")
    none = LU_data.new_empty(0)
    P = permutation_matrix(LU_pivots, LU_data.shape[-2], LU_data.dtype) if unpack_pivots else none
    L, U = unpacked(LU_data) if unpack_data else (none, none)
    return P, L, U


def _lu_solve_grads(g: Any, LU: Any, pivots: Any, out: Any, left: bool, adjoint: bool, needs: tuple[bool, ...]) -> Any:
    """gB solves the adjoint system; A's gradient -gB X^H goes through A = P L U: gL = P^H gA U^H, gU = L^H P^H gA."""
    dB = primitive_of("_linalg_lu_solve")(LU, pivots, g, left, not adjoint)
    if not needs[0]:
        return None, dB
    L, U = unpacked(LU)
    order = row_order(pivots, LU.shape[-1]).unsqueeze(-1)
    if left:
        gA = -(out @ dB.mH) if adjoint else -(dB @ out.mH)
    else:
        gA = -(dB.mH @ out) if adjoint else -(out.mH @ dB)
    batch = gA.shape[:-2]  # of the broadcast result; the engine sums it to LU's
    permuted = mg.take_along_dim(gA, order.expand(*batch, *gA.shape[-2:]), -2)  # P^H gA
    dLU = (permuted @ U.mH).tril(-1) + (L.mH @ permuted).triu()
    return dLU, dB


_lu_solve = primitive(
    "_linalg_lu_solve(LU, pivots, B, left: bool, adjoint: bool) -> out",
    meta="linalg_lu_solve",
    grads=lambda g, LU, pivots, out, left, adjoint, needs: _three(_lu_solve_grads(g, LU, pivots, out, left, adjoint, (needs[0], needs[-1])), needs),
    no_samples_reason="needs the pivots of lu_factor; test_linalg.py has the tests",
    no_ref_reason="test_linalg.py compares with solve",
    doc="Solution from an LU factorisation; the kernel of `linalg.lu_solve`.",
)


def _three(pair: tuple[Any, Any], needs: tuple[bool, ...]) -> tuple[Any, ...]:
    """The joint form answers for every tensor argument; pivots have no gradient."""
    return (pair[0], None, pair[1]) if len(needs) == 3 else pair


@linalg(no_samples_reason="needs the pivots of lu_factor; test_linalg.py has the tests")
def lu_solve(LU: mg.Tensor, pivots: mg.Tensor, B: mg.Tensor, *, left: bool = True, adjoint: bool = False) -> mg.Tensor:
    """Solution of A X = B from `linalg.lu_factor(A)`.

    Args:
        LU: (*, n, n).
        pivots: (*, n) int32.
        B: (*, n, k), or (*, k, n) with left=False; the batches broadcast.
        left: solve A X = B, else X A = B.
        adjoint: solve with A^H instead of A.
        out: tensor to write to.
    Returns:
        X of B's (broadcast) shape.
    Raises:
        RuntimeError for shapes, dtypes and pivots that do not fit.
    Source:
        LAPACK getrs.
    Example:
        >>> mg.linalg.lu_solve(*mg.linalg.lu_factor(mg.tensor([[2.]])), mg.tensor([[6.]])).tolist()
        [[3.0]]
    """
    return _lu_solve(LU, pivots, B, left, adjoint)


@linalg(name="lu_solve", space="", no_samples_reason="needs the pivots of lu_factor; test_linalg.py has the tests")
def old_lu_solve(input: mg.Tensor, LU_data: mg.Tensor, LU_pivots: mg.Tensor) -> mg.Tensor:
    """Old form of `linalg.lu_solve`.

    Args:
        input: B, (*, n, k).
        LU_data: (*, n, n).
        LU_pivots: (*, n) int32.
        out: tensor to write to.
    Returns:
        X, (*, n, k).
    Raises:
        RuntimeError for shapes, dtypes and pivots that do not fit.
    Example:
        >>> mg.lu_solve(mg.tensor([[6.]]), *mg.linalg.lu_factor(mg.tensor([[2.]]))).tolist()
        [[3.0]]
    """
    return _lu_solve(LU_data, LU_pivots, input, True, False)


@linalg(name="lu", space="", **_SAMPLES)
def old_lu(A: mg.Tensor, pivot: bool = True, get_infos: bool = False) -> Any:
    """Old form of `linalg.lu_factor`.

    Args:
        A: (*, m, n).
        pivot: must be True on the CPU.
        get_infos: return LAPACK's info as a third tensor.
        out: tensors to write to.
    Returns:
        (LU, pivots), with get_infos (LU, pivots, info). A zero on U's diagonal is no error here (it is one in linalg.lu_factor).
    Raises:
        RuntimeError for dtypes and for pivot=False.
    Example:
        >>> mg.lu(mg.tensor([[2.]]))[1]
        tensor([1], dtype=minigrad.int32)
    """
    LU, pivots, info = _factor("lu", A, pivot)
    return (LU, pivots, info) if get_infos else (LU, pivots)
