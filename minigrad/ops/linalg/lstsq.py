"""Least squares and the pseudoinverse. Kernels: csrc/cpu/linalg_lstsq.cpp.

Legend: A (*, m, n), B (*, m, k), X (*, n, k), pinv(A) (*, n, m).
Source of the gradient: Golub and Pereyra, The differentiation of pseudo-inverses …, SIAM J. Numer. Anal. 10 (1973).
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.ops.linalg.common import (
    LinAlgError,
    check_converged,
    general,
    hermitian_sample,
    is_vector_rhs,
    linalg,
    need_floating,
    need_matrix,
    need_square,
    np_linalg,
    primitive,
    real_dtype,
)  # fmt: skip


def pinv_grad(g: Any, P: Any, A: Any) -> Any:
    """dP = -P dA P + P P^H dA^H (1 - A P) + (1 - P A) dA^H P^H P, at constant rank; the products are ordered by size."""
    gH, PH = g.mH, P.mH
    first = PH @ (g @ PH)
    second = _minus(gH @ P @ PH, A @ P)
    third = PH @ P @ gH
    return second + (third - (third @ P) @ A) - first


def _minus(x: Any, projector: Any) -> Any:
    return x - projector @ x


_pinv = primitive(
    "_linalg_pinv(input, atol, rtol, hermitian: bool) -> out, info",
    meta="linalg_pinv",
    nondiff=("info",),
    grads=lambda g_out, out, input, needs: (pinv_grad(g_out, out, input), None, None)[: len(needs)],
    no_samples_reason="its tolerances are tensors without gradient; linalg.pinv has the samples",
    no_ref_reason="linalg.pinv has the reference",
    doc="Pseudoinverse by SVD; the kernel of `linalg.pinv`.",
)


def tolerances(name: str, input: mg.Tensor, atol: Any, rtol: Any) -> tuple[Any, Any]:
    """(atol, rtol) as real tensors that broadcast to the batch; rtol defaults to max(m, n) eps unless atol is positive."""
    real = real_dtype(input)
    default = mg.finfo(real).eps * max(input.shape[-1], input.shape[-2])

    def tensor(x: Any, arg: str) -> Any:
        if not isinstance(x, mg.Tensor):
            return mg.tensor(float(x), dtype=real, device=input.device)
        if x.is_complex():
            raise RuntimeError(f"{name}: {arg} tensor of complex type is not supported: got {x.dtype}.")
        return x.to(real)

    at = tensor(0.0 if atol is None else atol, "atol")
    if rtol is not None:
        return at, tensor(rtol, "rtol")
    if atol is None:
        return at, tensor(default, "rtol")
    return at, mg.where(at > 0, 0.0, default).to(real)


def _pseudoinverse(name: str, input: mg.Tensor, atol: Any, rtol: Any, hermitian: bool) -> mg.Tensor:
    need_matrix(name, input)
    need_floating(name, input)
    if hermitian:
        need_square(name, input)
    at, rt = tolerances(name, input, atol, rtol)
    result, info = _pinv(input, at.detach(), rt.detach(), hermitian)
    check_converged("linalg.eigh" if hermitian else "linalg.svd", info, "eigenvalues" if hermitian else "singular values")
    return result


def _np_pinv(input: Any, rcond: Any = None, hermitian: bool = False, atol: Any = None, rtol: Any = None) -> Any:
    return np_linalg().pinv(input) if input.size else input.swapaxes(-1, -2)


@linalg(
    samples=lambda s: [s(general(s, *shape)) for shape in ((3, 3), (4, 2), (2, 3, 4), (0, 3), (2, 0, 3))]
    + [s(general(s, 3, 4, layout="step")), s(hermitian_sample(s, 3, 3), hermitian=True).by_convention()],
    ref=_np_pinv,
)
def pinv(input: mg.Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> mg.Tensor:
    """Moore-Penrose pseudoinverse. Prefer `linalg.lstsq` to multiplying with it.

    Args:
        input: (*, m, n), float32, float64 or complex.
        rcond: old name of rtol.
        hermitian: the input is Hermitian: eigenvalues of its lower triangle instead of singular values.
        atol: singular values up to atol count as zero; number or tensor (*).
        rtol: as do those up to rtol times the largest; default max(m, n) eps, or 0 when atol is positive.
        out: tensor to write to.
    Returns:
        (*, n, m).
    Raises:
        LinAlgError when the decomposition does not converge or the input is not finite; RuntimeError for other shapes and dtypes.
    Gradient:
        at constant rank (Golub and Pereyra 1973).
    Example:
        >>> mg.linalg.pinv(mg.tensor([[2.], [0.]])).tolist()
        [[0.5, 0.0]]
    """
    return _pseudoinverse("linalg.pinv", input, 0.0 if rcond is not None else atol, rcond if rcond is not None else rtol, hermitian)


@linalg(space="", samples=lambda s: [s(general(s, 3, 3)), s(general(s, 4, 2)), s(general(s, 2, 3, 4))], ref=lambda input, rcond=0: _np_pinv(input))
def pinverse(input: mg.Tensor, rcond: float = 1e-15) -> mg.Tensor:
    """Old name of `linalg.pinv`.

    Args:
        input: (*, m, n).
        rcond: singular values up to rcond times the largest count as zero.
    Returns:
        (*, n, m).
    Raises:
        LinAlgError when the decomposition does not converge.
    Example:
        >>> mg.pinverse(mg.tensor([[2.]])).tolist()
        [[0.5]]
    """
    return _pseudoinverse("pinverse", input, 0.0, rcond, False)


# --- least squares ----------------------------------------------------------------------------------------------------
def _lstsq_grads(g_solution: Any, A: Any, B: Any, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    """X = pinv(A) B."""
    P = mg.linalg.pinv(A)
    dA = pinv_grad(g_solution @ B.mH, P, A) if needs[0] else None
    return dA, P.mH @ g_solution if needs[1] else None


_lstsq = primitive(
    "_linalg_lstsq(A, B, rcond: float, driver: str) -> solution, rank, singular_values, info",
    meta="linalg_lstsq",
    nondiff=("rank", "singular_values", "info"),
    grads=_lstsq_grads,
    samples=lambda s: [s(general(s, 4, 2), s.t(4, 2), 1e-10, "gelsd"), s(general(s, 2, 2, 3), s.t(2, 2, 1), 1e-10, "gelss")],
    no_ref_reason="linalg.lstsq has the reference",
    no_layouts_reason="expanded matrices have no full rank, which the gradient and the reference assume",
    doc="Least squares with LAPACK's drivers; the kernel of `linalg.lstsq`.",
)


def _lstsq_text(name: str, info: mg.Tensor, driver: str) -> None:
    for i, code in enumerate(mg.op.all_values(info).reshape(-1).tolist()):
        where = f" (Batch element {i}):" if info.dim() else ""
        if code < 0:
            raise LinAlgError(f"{name}:{where} The algorithm failed because the input contained non-finite values.")
        if code and driver == "gels":
            raise LinAlgError(
                f"{name}:{where} The least squares solution could not be computed because the input matrix does not have full rank"
                f" (error code: {code}). Try driver='gelsd'."
            )
        if code:
            raise LinAlgError(f"{name}:{where} The algorithm for computing the SVD failed to converge (error code: {code}).")


def _np_lstsq(input: Any, b: Any, rcond: Any = None, driver: Any = None) -> Any:
    import numpy as np

    vector = b.ndim == 1 or (input.ndim - 1 == b.ndim and b.shape == input.shape[:-1])
    x = np.linalg.pinv(input) @ (b[..., None] if vector else b)
    m, n = input.shape[-2:]
    x_shown = x[..., 0] if vector else x
    r = np.zeros(0)
    if m > n and driver not in (None, "gelsy"):
        r = ((input @ x - (b[..., None] if vector else b)) ** 2).sum(-2)
    rank = np.zeros(0, np.int64) if driver == "gels" else np.full(input.shape[:-2], min(m, n))
    values = np.linalg.svd(input, compute_uv=False) if driver in ("gelsd", "gelss") else np.zeros(0)
    return x_shown, r, rank, values


@linalg(
    results=("solution", "residuals", "rank", "singular_values"),
    samples=lambda s: [
        s(general(s, 4, 2), s.t(4, 2)), s(general(s, 2, 4, 2), s.t(2, 4, 1), driver="gelsd"), s(general(s, 2, 3), s.t(2, 2), driver="gelss"),
        s(general(s, 3, 3), s.t(3), driver="gels"),
    ],
    ref=_np_lstsq,
    no_layouts_reason="expanded matrices have no full rank, which the gradient and the reference assume",
    reduction=lambda input, b, **_: 16 * input.shape[-2],
    no_gradgrad_reason="the kernel's op has the check",
)  # fmt: skip
def lstsq(input: mg.Tensor, b: mg.Tensor, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """X that minimises |A X - B|, the smallest one if there are many.

    Args:
        input: A, (*, m, n), float32, float64 or complex.
        b: B, (*, m, k), or vectors (m,) or (*, m); the batches broadcast.
        rcond: singular values below rcond times the largest count as zero; default max(m, n) eps.
        driver: "gelsy" (default), "gelsd", "gelss", or "gels" for matrices known to have full rank.
        out: four tensors to write to.
    Returns:
        named tuple (solution, residuals, rank, singular_values): residuals (*, k) squared (k = 1 for vectors), empty unless m > n, the rank is full and
        the driver is another than gelsy; rank empty for gels; singular_values empty but for gelsd and gelss.
    Raises:
        LinAlgError when the driver fails or the input is not finite; RuntimeError for shapes, dtypes and drivers.
    Gradient:
        of the solution and residuals, for full rank.
    Example:
        >>> mg.linalg.lstsq(mg.tensor([[2.]]), mg.tensor([[6.]])).solution
        tensor([[3.]])
    """
    need_matrix("linalg.lstsq", input, "input")
    need_floating("linalg.lstsq", input)
    if b.dim() < 1:
        raise RuntimeError("linalg.lstsq: other must have at least 1 dimension: got a 0-d tensor.")
    if not 0 <= input.dim() - b.dim() <= 1:
        raise RuntimeError(
            f"linalg.lstsq: input.dim() must be greater or equal to other.dim() and (input.dim() - other.dim()) <= 1: got shapes"
            f" {tuple(input.shape)} and {tuple(b.shape)}."
        )
    driver = driver or "gelsy"
    vector = is_vector_rhs(input, b)
    B = b.unsqueeze(-1) if vector else b
    m, n = input.shape[-2], input.shape[-1]
    if rcond is None:
        rcond = mg.finfo(real_dtype(input)).eps * max(m, n)
    solution, rank, values, info = _lstsq(input, B, float(rcond), driver)
    _lstsq_text("linalg.lstsq", info, driver)
    residuals = mg.empty(0, dtype=values.dtype, device=values.device)
    if m > n and driver != "gelsy" and (driver == "gels" or input.is_meta or bool(mg.op.all_values(rank == n).all())):
        residuals = (input @ solution - B).abs().square().sum(-2)
    if driver == "gels":
        rank = mg.empty(0, dtype=mg.int64, device=values.device)
    return solution.squeeze(-1) if vector else solution, residuals, rank, values


