"""Singular values, eigenvalues and vectors. Kernels: csrc/cpu/linalg_eigen.cpp.

Legend: A (*, m, n) = U diag(S) Vh, k = min(m, n); Hermitian A (*, n, n) = V diag(L) V^H; general A V = V diag(L).
Sources of the gradients: Giles, An extended collection of matrix derivative results for forward and reverse mode AD
(2008); Townsend, Differentiating the singular value decomposition (2016).
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.ops.linalg.common import LinAlgError, check_converged, general, hermitian_sample, linalg, np_linalg, primitive, primitive_of


def _silent(g: Any) -> bool:
    """A cotangent that never arrived: zero, and outside every graph. Its terms would turn repeated values into NaN for nothing."""
    return not g.requires_grad and not mg.op.inner_needs_grad(g) and not bool(mg.op.all_values(g).any())


def _skew(x: Any) -> Any:
    return x - x.mH


def _gaps(values: Any, fill: float = 1.0) -> Any:
    """values_j - values_i, with ones on the diagonal."""
    return values.unsqueeze(-2) - values.unsqueeze(-1) + mg.eye(values.shape[-1], dtype=values.dtype, device=values.device) * fill


# --- SVD --------------------------------------------------------------------------------------------------------------
def _svd_grad(g_U: Any, g_S: Any, g_Vh: Any, input: Any, U: Any, S: Any, Vh: Any, full_matrices: bool, compute_uv: bool) -> Any:
    if not compute_uv:
        U, _, Vh, _ = primitive_of("_linalg_svd")(input, False, True)
        return (U * g_S.unsqueeze(-2).to(U.dtype)) @ Vh
    k = S.shape[-1]
    if full_matrices:  # the columns beyond k span a null space: any basis of it is as good
        U, g_U, Vh, g_Vh = U.narrow(-1, 0, k), g_U.narrow(-1, 0, k), Vh.narrow(-2, 0, k), g_Vh.narrow(-2, 0, k)
    no_U, no_V = _silent(g_U), _silent(g_Vh)
    if no_U and no_V:
        return (U * g_S.unsqueeze(-2).to(U.dtype)) @ Vh
    gap = _gaps(S.square())
    inner = mg.diag_embed(g_S).to(U.dtype)
    UgU, VgV = (U.mH @ g_U, Vh @ g_Vh.mH)
    inner = inner + (_skew(UgU) / gap) * S.unsqueeze(-2) + S.unsqueeze(-1) * (_skew(VgV) / gap)
    if U.is_complex():  # the common phase of a pair of vectors is free; a gauge-invariant loss has equal imaginary parts here
        diagonal = UgU.diagonal(0, -2, -1)
        inner = inner + mg.diag_embed(_imaginary(diagonal) / S)
    out = U @ inner @ Vh
    m, n = U.shape[-2], Vh.shape[-1]
    if m > k and not no_U:
        rest = g_U / S.unsqueeze(-2)
        out = out + (rest - U @ (U.mH @ rest)) @ Vh
    if n > k and not no_V:
        rest = g_Vh / S.unsqueeze(-1)
        out = out + U @ (rest - (rest @ Vh.mH) @ Vh)
    return out


def _imaginary(x: Any) -> Any:
    return 0.5 * (x - x.conj())


_svd = primitive(
    "_linalg_svd(input, full_matrices: bool, compute_uv: bool) -> U, S, Vh, info",
    meta="linalg_svd",
    nondiff=("info",),
    dinput=_svd_grad,
    samples=lambda s: [s(general(s, 3, 3), False, False), s(general(s, 2, 4, 2), False, False)],
    ref=lambda input, full_matrices, compute_uv: (_nothing(), np_linalg().svd(input, compute_uv=False), _nothing(), _np_info(input)),
    doc="Singular value decomposition; the kernel of `linalg.svd`.",
)


def _nothing() -> Any:
    import numpy as np

    return np.zeros(0)


def _np_info(input: Any) -> Any:
    import numpy as np

    return np.zeros(input.shape[:-2], np.int64)


def _decompose(name: str, input: mg.Tensor, full_matrices: bool, compute_uv: bool) -> tuple[Any, Any, Any]:
    U, S, Vh, info = _svd(input, full_matrices, compute_uv)
    check_converged(name, info, "singular values")
    return U, S, Vh


def _wants_vectors(x: mg.Tensor) -> bool:
    return mg.is_grad_enabled() and x.requires_grad


def _check_driver(driver: str | None) -> None:
    if driver is not None:
        raise RuntimeError(f"linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend: got '{driver}'.")


def singular_values(name: str, input: mg.Tensor) -> mg.Tensor:
    """S alone; with vectors when a gradient will ask for them."""
    return _decompose(name, input, False, _wants_vectors(input))[1]


_VECTORS = dict(
    no_value_reason="vectors are unique up to sign and phase, which differ between devices; test_linalg_cuda.py checks what does not depend on them",
    no_ref_reason="vectors are unique up to sign and phase; test_linalg.py checks the decomposition itself",
    no_layouts_reason="vectors are unique up to sign and phase, and not even that for the repeated values of expanded inputs",
    no_torch_reason="vectors are unique up to sign and phase; test_linalg.py compares what does not depend on them",
    no_gradgrad_reason="test_linalg.py checks gradients of what does not depend on the signs",
    no_complex_reason="the gradient of vectors is defined up to their phase; test_linalg.py checks what does not depend on it",
)


@linalg(
    results=("U", "S", "Vh"),
    samples=lambda s: [s(general(s, *shape), full_matrices=False) for shape in ((3, 3), (2, 4, 2), (2, 3))]
    + [s(general(s, 3, 2)).by_convention(), s(s.t(0, 0)), s(s.t(2, 0)), s(s.t(0, 2, 3))],
    **_VECTORS,
)
def svd(A: mg.Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """Factors A = U diag(S) Vh with orthonormal columns in U and rows in Vh.

    Args:
        A: (*, m, n), float32, float64 or complex.
        full_matrices: U (*, m, m) and Vh (*, n, n) instead of (*, m, k) and (*, k, n).
        driver: must be None on the CPU.
        out: three tensors to write to.
    Returns:
        named tuple (U, S, Vh), S (*, k) real and descending. Vectors are unique up to sign (phase).
    Raises:
        LinAlgError (a RuntimeError) when it does not converge or the input is not finite; RuntimeError for dtypes.
    Gradient:
        of U and Vh only for distinct singular values (and full rank when m != n); of S everywhere.
    Source:
        LAPACK gesdd.
    Example:
        >>> mg.linalg.svd(mg.tensor([[3., 0.], [0., 4.]])).S
        tensor([4., 3.])
    """
    _check_driver(driver)
    return _decompose("linalg.svd", A, full_matrices, True)


def _svdvals_samples(s: Any) -> list[Any]:
    shapes = ((3, 3), (2, 4, 2), (2, 3), (0, 0), (0, 2, 3))
    return [s(general(s, *shape)) for shape in shapes] + [s(general(s, 3, 3, layout="step"))]


@linalg(samples=_svdvals_samples, ref=lambda A: np_linalg().svd(A, compute_uv=False),
        no_layouts_reason="zero singular values of expanded inputs differ by rounding")  # fmt: skip
def svdvals(A: mg.Tensor, *, driver: str | None = None) -> mg.Tensor:
    """Singular values, in descending order.

    Args:
        A: (*, m, n).
        driver: must be None on the CPU.
        out: tensor to write to.
    Returns:
        (*, min(m, n)), real.
    Raises:
        LinAlgError when it does not converge or the input is not finite.
    Gradient:
        U diag(g) Vh.
    Example:
        >>> mg.linalg.svdvals(mg.tensor([[3., 0.], [0., 4.]]))
        tensor([4., 3.])
    """
    _check_driver(driver)
    return singular_values("linalg.svd", A)


@linalg(
    name="svd", space="", results=("U", "S", "V"),
    samples=lambda s: [s(general(s, *shape)) for shape in ((3, 3), (2, 4, 2), (2, 3))] + [s(general(s, 3, 2), some=False).by_convention()],
    **_VECTORS,
)  # fmt: skip
def old_svd(input: mg.Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """Old form of `linalg.svd`: it returns V, not V^H.

    Args:
        input: (*, m, n).
        some: False for full matrices.
        compute_uv: False fills U and V with zeros.
        out: three tensors to write to.
    Returns:
        named tuple (U, S, V).
    Raises:
        LinAlgError when it does not converge or the input is not finite.
    Example:
        >>> mg.svd(mg.tensor([[3., 0.], [0., 4.]])).S
        tensor([4., 3.])
    """
    if compute_uv:
        U, S, Vh = _decompose("linalg.svd", input, not some, True)
        return U, S, Vh.mH
    S = singular_values("linalg.svd", input)
    batch, m, n = input.shape[:-2], input.shape[-2], input.shape[-1]
    return mg.zeros(*batch, m, m, dtype=input.dtype, device=input.device), S, mg.zeros(*batch, n, n, dtype=input.dtype, device=input.device)


# --- Hermitian eigenvalues --------------------------------------------------------------------------------------------
def _eigh_grad(g_eigenvalues: Any, g_eigenvectors: Any, input: Any, eigenvalues: Any, eigenvectors: Any, upper: bool, compute_v: bool) -> Any:
    """V (V^H gV / gaps + diag(gL)) V^H"""
    if not compute_v:
        eigenvalues, eigenvectors, _ = primitive_of("_linalg_eigh")(input, upper, True)
        return (eigenvectors * g_eigenvalues.unsqueeze(-2).to(eigenvectors.dtype)) @ eigenvectors.mH
    V = eigenvectors
    inner = mg.diag_embed(g_eigenvalues).to(V.dtype)
    if not _silent(g_eigenvectors):
        turned = V.mH @ g_eigenvectors
        inner = inner + (turned - mg.diag_embed(turned.diagonal(0, -2, -1))) / _gaps(eigenvalues)
    return V @ inner @ V.mH


_eigh = primitive(
    "_linalg_eigh(input, upper: bool, compute_v: bool) -> eigenvalues, eigenvectors, info",
    meta="linalg_eigh",
    nondiff=("info",),
    dinput=_eigh_grad,
    samples=lambda s: [s(hermitian_sample(s, 3, 3), False, False).by_convention(), s(hermitian_sample(s, 2, 4, 4), True, False).by_convention()],
    ref=lambda input, upper, compute_v: (np_linalg().eigvalsh(input, "U" if upper else "L"), _nothing(), _np_info(input)),
    doc="Eigenvalues and vectors of a Hermitian matrix; the kernel of `linalg.eigh`.",
)


def _triangle(name: str, UPLO: str) -> bool:
    letter = UPLO.upper() if isinstance(UPLO, str) else UPLO
    if letter not in ("L", "U"):
        raise RuntimeError(f"{name}: expected UPLO argument to be 'L' or 'U': got {UPLO!r}.")
    return letter == "U"


def hermitian_values(name: str, input: mg.Tensor, upper: bool) -> mg.Tensor:
    """Eigenvalues alone; with vectors when a gradient will ask for them."""
    values, _, info = _eigh(input, upper, _wants_vectors(input))
    check_converged(name, info, "eigenvalues")
    return values


@linalg(
    results=("eigenvalues", "eigenvectors"),
    samples=lambda s: [s(hermitian_sample(s, 3, 3)).by_convention(), s(hermitian_sample(s, 2, 4, 4), UPLO="U").by_convention(), s(s.t(0, 0))],
    **_VECTORS,
)
def eigh(input: mg.Tensor, UPLO: str = "L") -> Any:
    """Eigenvalues and orthonormal eigenvectors of a Hermitian matrix.

    Args:
        input: (*, n, n); only the triangle UPLO is read.
        UPLO: "L" or "U".
        out: pair of tensors to write to.
    Returns:
        named tuple (eigenvalues, eigenvectors): real and ascending (*, n), and vectors as columns (*, n, n), unique up to sign (phase).
    Raises:
        LinAlgError (a RuntimeError) when it does not converge or the input is not finite; RuntimeError for UPLO, shapes and dtypes.
    Gradient:
        symmetric; of the vectors only for distinct eigenvalues.
    Source:
        LAPACK syevd, heevd.
    Example:
        >>> mg.linalg.eigh(mg.tensor([[2., 0.], [0., 1.]])).eigenvalues
        tensor([1., 2.])
    """
    upper = _triangle("linalg.eigh", UPLO)
    values, vectors, info = _eigh(input, upper, True)
    check_converged("linalg.eigh", info, "eigenvalues")
    return values, vectors


@linalg(
    samples=lambda s: [s(hermitian_sample(s, 3, 3)).by_convention(), s(hermitian_sample(s, 2, 4, 4), UPLO="U").by_convention(), s(s.t(0, 0))],
    ref=lambda input, UPLO="L": np_linalg().eigvalsh(input, UPLO),
    no_gradgrad_reason="unique up to the antisymmetric part, which a symmetric input does not see; test_linalg.py checks the rest",
    no_layouts_reason="only one triangle of the input is read",
)
def eigvalsh(input: mg.Tensor, UPLO: str = "L") -> mg.Tensor:
    """Eigenvalues of a Hermitian matrix, ascending.

    Args:
        input: (*, n, n); only the triangle UPLO is read.
        UPLO: "L" or "U".
        out: tensor to write to.
    Returns:
        (*, n), real.
    Raises:
        LinAlgError when it does not converge or the input is not finite.
    Gradient:
        V diag(g) V^H.
    Example:
        >>> mg.linalg.eigvalsh(mg.tensor([[2., 0.], [0., 1.]]))
        tensor([1., 2.])
    """
    return hermitian_values("linalg.eigh", input, _triangle("linalg.eigvalsh", UPLO))


# --- general eigenvalues ----------------------------------------------------------------------------------------------
def _eig_grad(g_eigenvalues: Any, g_eigenvectors: Any, input: Any, eigenvalues: Any, eigenvectors: Any, compute_v: bool) -> Any:
    """V^-H (diag(gL) + (V^H gV - V^H V diag(Re(V^H gV))) / conj(gaps)) V^H"""
    if not compute_v:
        eigenvalues, eigenvectors, _ = primitive_of("_linalg_eig")(input, True)
    V = eigenvectors
    inner = mg.diag_embed(g_eigenvalues)
    if compute_v and not _silent(g_eigenvectors):
        turned = V.mH @ g_eigenvectors
        scale = turned.diagonal(0, -2, -1).real.to(V.dtype)
        off = (turned - (V.mH @ V) * scale.unsqueeze(-2)) / _gaps(eigenvalues).conj()
        inner = inner + off - mg.diag_embed(off.diagonal(0, -2, -1))
    out = primitive_of("_linalg_solve")(V.mH, inner @ V.mH, True)[0]
    return out if input.is_complex() else out.real


_eig = primitive(
    "_linalg_eig(input, compute_v: bool) -> eigenvalues, eigenvectors, info",
    meta="linalg_eig",
    nondiff=("info",),
    dinput=_eig_grad,
    no_samples_reason="complex results; test_linalg.py has the tests",
    no_ref_reason="complex results; test_linalg.py has the tests",
    doc="Eigenvalues and vectors of a general matrix; the kernel of `linalg.eig`.",
)


def _eig_checked(name: str, input: mg.Tensor, vectors: bool) -> tuple[Any, Any]:
    values, right, info = _eig(input, vectors)
    if bool(mg.op.all_values(info < 0).any()):
        raise LinAlgError(f"{name}: input tensor should not contain infs or NaNs.")
    check_converged(name, info, "eigenvalues")
    return values, right


_COMPLEX = dict(no_samples_reason="complex results; test_linalg.py has the tests", no_ref_reason="complex results; test_linalg.py has the tests")


@linalg(results=("eigenvalues", "eigenvectors"), **_COMPLEX)
def eig(input: mg.Tensor) -> Any:
    """Eigenvalues and eigenvectors of a general square matrix.

    Args:
        input: (*, n, n), float32, float64 or complex.
        out: pair of tensors to write to.
    Returns:
        named tuple (eigenvalues, eigenvectors), complex: (*, n) in no order, and unit vectors as columns (*, n, n).
    Raises:
        LinAlgError (a RuntimeError) when it does not converge or the input is not finite; RuntimeError for other shapes and dtypes.
    Gradient:
        for distinct eigenvalues.
    Source:
        LAPACK geev.
    Example:
        >>> mg.linalg.eig(mg.tensor([[2., 0.], [0., 1.]])).eigenvalues
        tensor([2.+0.j, 1.+0.j])
    """
    return _eig_checked("linalg.eig", input, True)


@linalg(**_COMPLEX)
def eigvals(input: mg.Tensor) -> mg.Tensor:
    """Eigenvalues of a general square matrix, in no order.

    Args:
        input: (*, n, n), float32, float64 or complex.
        out: tensor to write to.
    Returns:
        (*, n), complex.
    Raises:
        LinAlgError when it does not converge or the input is not finite.
    Gradient:
        for distinct eigenvalues.
    Example:
        >>> mg.linalg.eigvals(mg.tensor([[2., 0.], [0., 1.]]))
        tensor([2.+0.j, 1.+0.j])
    """
    return _eig_checked("linalg.eigvals", input, _wants_vectors(input))[0]
