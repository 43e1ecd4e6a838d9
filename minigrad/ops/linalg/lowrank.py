"""Randomised low-rank decompositions, and the linalg names of ops from elsewhere (matmul, diagonal).

Source: Halko, Martinsson, Tropp, Finding structure with randomness, SIAM Review 53 (2011), algorithms 4.4 and 5.1.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.ops.linalg.common import linalg, need_matrix
from minigrad.ops.linalg.eigen import _decompose
from minigrad.ops.linalg.ortho import _qr

_RANDOM = dict(
    no_samples_reason="random; test_linalg.py checks that the factors multiply back",
    no_ref_reason="random; test_linalg.py checks that the factors multiply back",
)


def _basis(A: Any, q: int, niter: int, M: Any) -> Any:
    """Orthonormal columns (*, m, q) that nearly span the range of A - M, sharpened by niter rounds of subspace iteration."""

    def apply(x: Any) -> Any:
        return A @ x if M is None else A @ x - M @ x

    def back(x: Any) -> Any:
        return A.mH @ x if M is None else A.mH @ x - M.mH @ x

    Q = _qr(apply(mg.randn(A.shape[-1], q, dtype=A.dtype)), 0)[0]
    for _ in range(niter):
        Q = _qr(apply(_qr(back(Q), 0)[0]), 0)[0]
    return Q


@linalg(space="", method=False, **_RANDOM)
def svd_lowrank(A: mg.Tensor, q: int | None = 6, niter: int | None = 2, M: mg.Tensor | None = None) -> Any:
    """Approximate singular value decomposition of low rank, by random projection.

    Args:
        A: (*, m, n).
        q: number of singular values, a little more than the rank looked for.
        niter: rounds of subspace iteration; more when the singular values decay slowly.
        M: (*, m, n), subtracted from A first, without forming the difference.
    Returns:
        (U, S, V) with A - M close to U diag(S) V^H; q columns.
    Raises:
        RuntimeError for shapes that do not fit.
    Example:
        >>> mg.svd_lowrank(mg.ones(4, 3), q=1)[1]
        tensor([3.4641])
    """
    need_matrix("svd_lowrank", A)
    q = 6 if q is None else q
    niter = 2 if niter is None else niter
    if M is not None:
        M = M.broadcast_to(A.shape)
    wide = A.shape[-2] < A.shape[-1]
    if wide:
        A, M = A.mH, None if M is None else M.mH
    Q = _basis(A, q, niter, M)
    projected = Q.mH @ A if M is None else Q.mH @ A - Q.mH @ M
    U, S, Vh = _decompose("svd_lowrank", projected, False, True)
    U, V = Q @ U, Vh.mH
    return (V, S, U) if wide else (U, S, V)


@linalg(space="", method=False, **_RANDOM)
def pca_lowrank(A: mg.Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> Any:
    """Principal component analysis of low rank: `svd_lowrank` of the centred columns.

    Args:
        A: (*, m, n), rows are samples.
        q: number of components; default min(6, m, n).
        center: subtract the mean of every column.
        niter: rounds of subspace iteration.
    Returns:
        (U, S, V): V's columns are the principal directions.
    Raises:
        ValueError for q or niter out of range.
    Example:
        >>> mg.pca_lowrank(mg.tensor([[0., 0.], [2., 0.]]), q=1)[1]
        tensor([1.4142])
    """
    need_matrix("pca_lowrank", A)
    m, n = A.shape[-2], A.shape[-1]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    if center:
        A = A - A.mean(-2, keepdim=True)
    return svd_lowrank(A, q, niter=niter, M=None)


@linalg(
    samples=lambda s: [s(s.t(3, 3)), s(s.t(2, 3, 4), offset=1), s(s.t(2, 3, 4), dim1=0, dim2=1)],
    ref=lambda A, offset=0, dim1=-2, dim2=-1: A.diagonal(offset, dim1, dim2),
    dtypes=("float64", "float32", "float16", "bfloat16", "int64", "int32", "bool"),
)
def diagonal(A: mg.Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> mg.Tensor:
    """View of the diagonals of matrices.

    Args:
        A: (*, m, n).
        offset: positive above the main diagonal, negative below.
        dim1: rows.
        dim2: columns.
    Returns:
        view (*, length).
    Raises:
        IndexError for a dim out of range; RuntimeError when both are the same.
    Example:
        >>> mg.linalg.diagonal(mg.tensor([[1., 2.], [3., 4.]]))
        tensor([1., 4.])
    """
    return mg.diagonal(A, offset, dim1, dim2)


@linalg(
    samples=lambda s: [s(s.t(2, 3), s.t(3, 2)), s(s.t(3), s.t(3))],
    ref=lambda input, other: input @ other,
    reduction=lambda input, other: input.shape[-1],
)
def matmul(input: mg.Tensor, other: mg.Tensor) -> mg.Tensor:
    """Matrix product; the same as `matmul`.

    Args:
        input: (*, m, k), or a vector.
        other: (*, k, n), or a vector.
        out: tensor to write to.
    Returns:
        (*, m, n).
    Raises:
        RuntimeError for sizes that do not fit.
    Example:
        >>> mg.linalg.matmul(mg.ones(2, 3), mg.ones(3)).tolist()
        [3.0, 3.0]
    """
    return mg.matmul(input, other)
