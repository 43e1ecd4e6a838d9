"""The standard's linalg extension; decompositions come from `minigrad.linalg` under the standard's signatures."""

from __future__ import annotations

from typing import Any, NamedTuple

import minigrad as mg
from minigrad.array_api._dtypes import Array, promoted
from minigrad.array_api._reductions import _last, sum
from minigrad.array_api._shaping import matrix_transpose


class EighResult(NamedTuple):
    """Result of eigh."""

    eigenvalues: Array
    eigenvectors: Array


class QRResult(NamedTuple):
    """Result of qr."""

    Q: Array
    R: Array


class SlogdetResult(NamedTuple):
    """Result of slogdet."""

    sign: Array
    logabsdet: Array


class SVDResult(NamedTuple):
    """Result of svd."""

    U: Array
    S: Array
    Vh: Array


def _la(name: str) -> Any:
    found = getattr(mg.linalg, name, None)
    if found is None:
        raise NotImplementedError(f"linalg.{name}: this build has no such decomposition.")
    return found


def _two(name: str, x1: Array, x2: Array) -> tuple[Array, Array]:
    x1, x2 = promoted(name, x1, x2)
    d = mg.promote_types(x1.dtype, x2.dtype)
    return x1.to(d), x2.to(d)


def matmul(x1: Array, x2: Array, /) -> Array:
    """Matrix product of the last two dimensions."""
    if x1.dim() == 0 or x2.dim() == 0:
        raise ValueError("matmul: a 0-d array is not a matrix. Try multiply().")
    return mg.matmul(*_two("matmul", x1, x2))


def vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """Dot products along an axis; the first factor is conjugated."""
    x1, x2 = _two("vecdot", x1, x2)
    if axis >= 0 or x1.shape[axis] != x2.shape[axis]:
        if axis >= 0 or -axis > min(x1.dim(), x2.dim()):
            raise ValueError(f"vecdot: axis must be negative and in range for both arrays: got {axis}.")
        raise ValueError(f"vecdot: sizes differ along axis {axis}: got {x1.shape[axis]} and {x2.shape[axis]}.")
    left = mg.conj(x1) if x1.is_complex() else x1
    a, b = mg.broadcast_tensors(left, x2)
    product = mg.movedim(a, axis, -1).unsqueeze(-2) @ mg.movedim(b, axis, -1).unsqueeze(-1)
    return product[..., 0, 0]


def tensordot(x1: Array, x2: Array, /, *, axes: Any = 2) -> Array:
    """Sums of products over the given axes: the last n of x1 with the first n of x2, or two lists."""
    x1, x2 = _two("tensordot", x1, x2)
    if isinstance(axes, int):
        left, right = list(range(x1.dim() - axes, x1.dim())), list(range(axes))
    else:
        left, right = ([a % x.dim() for a in s] for x, s in zip((x1, x2), axes))
    if [x1.shape[a] for a in left] != [x2.shape[b] for b in right]:
        raise ValueError(f"tensordot: contracted sizes differ: got {tuple(x1.shape)} and {tuple(x2.shape)} over {axes}.")
    rows = [k for k in range(x1.dim()) if k not in left]
    columns = [k for k in range(x2.dim()) if k not in right]
    size = lambda x, dims: _product([x.shape[k] for k in dims])
    a = x1.permute(rows + left).reshape(size(x1, rows), size(x1, left))
    b = x2.permute(right + columns).reshape(size(x2, right), size(x2, columns))
    return (a @ b).reshape([x1.shape[k] for k in rows] + [x2.shape[k] for k in columns])


def _product(sizes: list[int]) -> int:
    out = 1
    for n in sizes:
        out *= n
    return out


def outer(x1: Array, x2: Array, /) -> Array:
    """x1[i] * x2[j]."""
    if x1.dim() != 1 or x2.dim() != 1:
        raise ValueError(f"outer: expected 1-d arrays: got {x1.dim()} and {x2.dim()} dimensions.")
    return x1.unsqueeze(1) * x2.unsqueeze(0)


def cross(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """Cross products of vectors of three along an axis; the other axes broadcast."""
    x1, x2 = _two("cross", x1, x2)
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise ValueError(f"cross: axis {axis} must have size 3: got {x1.shape[axis]} and {x2.shape[axis]}.")
    a, b = (mg.movedim(x, axis, -1) for x in mg.broadcast_tensors(x1, x2))
    part = lambda i, j: a[..., i] * b[..., j] - a[..., j] * b[..., i]
    return mg.movedim(mg.stack([part(1, 2), part(2, 0), part(0, 1)], -1), -1, axis)


def diagonal(x: Array, /, *, offset: int = 0) -> Array:
    """Diagonals of the last two dimensions."""
    return mg.diagonal(x, offset, -2, -1)


def trace(x: Array, /, *, offset: int = 0, dtype: Any = None) -> Array:
    """Sums of the diagonals."""
    return sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def vector_norm(x: Array, /, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Array:
    """Norms of vectors along axes (all of them for None)."""
    x = mg.abs(x) if x.is_complex() else x
    flat, axes = _last(x, axis)
    out = mg.linalg.vector_norm(flat, ord, -1)
    return out.reshape([1 if k in axes else n for k, n in enumerate(x.shape)]) if keepdims else out


def matrix_norm(x: Array, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """Norms of the matrices in the last two dimensions."""
    return _la("matrix_norm")(x, ord, (-2, -1), keepdims)


def matrix_power(x: Array, n: int, /) -> Array:
    """x @ x @ …, n times; negative n invert."""
    return _la("matrix_power")(x, n)


def matrix_rank(x: Array, /, *, rtol: Any = None) -> Array:
    """Number of singular values above rtol times the largest."""
    s = svdvals(x)
    largest = s.amax(-1, True) if s.shape[-1] else s.new_zeros((*s.shape[:-1], 1))
    if rtol is None:
        rtol = max(x.shape[-2:]) * mg.finfo(s.dtype).eps
    limit = largest * (rtol.unsqueeze(-1) if isinstance(rtol, Array) else rtol)
    return (s > limit).to(mg.int64).sum(-1)


def cholesky(x: Array, /, *, upper: bool = False) -> Array:
    """Triangular factor of positive definite matrices."""
    lower = _la("cholesky")(x)
    if not upper:
        return lower
    out = matrix_transpose(lower)
    return mg.conj(out) if x.is_complex() else out


def det(x: Array, /) -> Array:
    """Determinants."""
    return _la("det")(x)


def eigh(x: Array, /) -> EighResult:
    """Eigenvalues and eigenvectors of symmetric (Hermitian) matrices."""
    return EighResult(*_la("eigh")(x))


def eigvalsh(x: Array, /) -> Array:
    """Eigenvalues of symmetric (Hermitian) matrices."""
    return _la("eigvalsh")(x)


def inv(x: Array, /) -> Array:
    """Inverse matrices."""
    return _la("inv")(x)


def pinv(x: Array, /, *, rtol: Any = None) -> Array:
    """Pseudo-inverses; singular values below rtol times the largest count as zero."""
    if rtol is None:
        rtol = max(x.shape[-2:]) * mg.finfo(x.dtype).eps
    return _la("pinv")(x, rtol=rtol)


def qr(x: Array, /, *, mode: str = "reduced") -> QRResult:
    """Orthogonal and upper triangular factor."""
    if mode not in ("reduced", "complete"):
        raise ValueError(f"qr: mode is unknown: got {mode!r}, expected 'reduced' or 'complete'.")
    return QRResult(*_la("qr")(x, mode))


def slogdet(x: Array, /) -> SlogdetResult:
    """Sign and logarithm of the absolute value of determinants."""
    return SlogdetResult(*_la("slogdet")(x))


def solve(x1: Array, x2: Array, /) -> Array:
    """x with x1 @ x = x2; x2 is a vector only when it has one dimension."""
    x1, x2 = _two("solve", x1, x2)
    if x2.dim() == 1:
        return _la("solve")(x1, x2.unsqueeze(-1))[..., 0]
    batch = mg.broadcast_shapes(tuple(x1.shape[:-2]), tuple(x2.shape[:-2]))
    return _la("solve")(x1.expand(*batch, *x1.shape[-2:]), x2.expand(*batch, *x2.shape[-2:]))


def svd(x: Array, /, *, full_matrices: bool = True) -> SVDResult:
    """Singular value decomposition."""
    return SVDResult(*_la("svd")(x, full_matrices))


def svdvals(x: Array, /) -> Array:
    """Singular values, the largest first."""
    return _la("svdvals")(x)


__all__ = [
    "EighResult", "QRResult", "SVDResult", "SlogdetResult", "cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul",
    "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals",
    "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip
