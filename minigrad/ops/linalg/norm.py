"""Norms of matrices and what is decided from singular values: norm, matrix_norm, cond, matrix_rank."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import functions
from minigrad.ops.linalg.common import (
    general,
    hermitian_sample,
    linalg,
    need_floating,
    need_matrix,
    need_square,
    np_linalg,
    primitive_of,
    real_dtype,
)  # fmt: skip
from minigrad.ops.linalg.eigen import hermitian_values, singular_values
from minigrad.ops.linalg.lstsq import tolerances

_FLOATS = ("float64", "float32", "float16", "bfloat16")


def _vector_norm(x: Any, ord: float, dim: Any, keepdim: bool, dtype: Any = None) -> Any:
    return functions["_vector_norm"](x, dim, keepdim, dtype, float(ord))


def _two_dims(name: str, dim: Any, ndim: int) -> tuple[int, int]:
    dims = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if len(dims) != 2:
        raise RuntimeError(f"{name}: dim must be a 2-tuple of ints: got {dims}.")
    wrapped = []
    for d in dims:
        if not -ndim <= d < ndim:
            raise IndexError(f"Dimension out of range (expected to be in range of [{-ndim}, {ndim - 1}], but got {d})")
        wrapped.append(d % ndim)
    if wrapped[0] == wrapped[1]:
        raise RuntimeError(f"{name}: dims must be different: got {dims}.")
    return wrapped[0], wrapped[1]


def _back(x: Any, dims: tuple[int, int], keepdim: bool) -> Any:
    """The two reduced dims again, with size 1."""
    if keepdim:
        for d in sorted(dims):
            x = x.unsqueeze(d)
    return x


def _spectral(x: Any, dims: tuple[int, int], keepdim: bool, reduce: Any) -> Any:
    return _back(reduce(singular_values("linalg.svd", x.movedim(dims, (-2, -1)))), dims, keepdim)


def _extreme(x: Any, dim: int, largest: bool) -> Any:
    """Largest or smallest over a dim; the largest of no moduli is 0."""
    if largest and x.shape[dim] == 0:
        return x.sum(dim)
    return x.amax(dim) if largest else x.amin(dim)


def _matrix_norm(name: str, x: Any, ord: Any, dim: Any, keepdim: bool, dtype: Any) -> Any:
    need_matrix(name, x)
    need_floating(name, x)
    if dtype is not None:
        if x.is_complex() and not dtype.is_complex:
            raise RuntimeError(f"{name}: the dtype of the input {x.dtype} should be convertible without narrowing to {dtype}.")
        x = x.to(dtype)
    rows, cols = _two_dims(name, dim, x.dim())
    if isinstance(ord, str):
        if ord == "fro":
            return _vector_norm(x, 2, [rows, cols], keepdim)
        if ord == "nuc":
            return _spectral(x, (rows, cols), keepdim, lambda s: s.sum(-1))
        raise RuntimeError(f"{name}: Order {ord} not supported: expected 'fro', 'nuc', 1, -1, 2, -2, inf or -inf.")
    size = abs(float(ord))
    if size not in (1.0, 2.0, mg.inf):
        raise RuntimeError(f"{name}: Order {ord} not supported: expected 'fro', 'nuc', 1, -1, 2, -2, inf or -inf.")
    largest = ord > 0
    if size == 2:
        return _spectral(x, (rows, cols), keepdim, lambda s: _extreme(s, -1, largest))
    summed, over = (rows, cols) if size == 1 else (cols, rows)
    sums = _vector_norm(x, 1, [summed], True)
    found = _extreme(sums, over, largest).unsqueeze(over)
    if keepdim:
        return found
    return found.squeeze(max(rows, cols)).squeeze(min(rows, cols))


def _np_matrix_norm(input: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, dtype: Any = None) -> Any:
    return np_linalg().norm(input, ord, tuple(dim), keepdim)


@linalg(
    dtypes=_FLOATS,
    samples=lambda s: [s(general(s, 3, 4)), s(general(s, 2, 3, 3), keepdim=True), s(s.t(3, 2, 3), dim=(0, 2)), s(s.t(0, 3))]
    + ([s(general(s, 3, 4), "nuc"), *(s(general(s, 2, 3, 4), o) for o in (1, -1, 2, -2, mg.inf, -mg.inf)), s(s.t(3, 2, 3), 2, (0, 2), True)]
       if s.dtype in ("float64", "float32") else []),
    ref=_np_matrix_norm,
    no_layouts_reason="the gradient's kinks and zero singular values of expanded inputs",
)  # fmt: skip
def matrix_norm(input: mg.Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None) -> mg.Tensor:
    """Norm of matrices.

    Args:
        input: (*, m, n), floating or complex.
        ord: "fro" (root of the sum of squares), "nuc" (sum of singular values), 2, -2 (largest, smallest singular value),
            1, -1 (largest, smallest column sum of moduli), inf, -inf (row sum).
        dim: the two dims that hold the matrices.
        keepdim: keep them with size 1.
        dtype: convert the input first.
        out: tensor to write to.
    Returns:
        (*), real.
    Raises:
        RuntimeError for an unknown ord, for integers and for fewer than two dims; IndexError for a dim out of range.
    Gradient:
        of sums of moduli 0 at 0; shared evenly among equal extremes.
    Example:
        >>> mg.linalg.matrix_norm(mg.tensor([[3., 0.], [0., 4.]]))
        tensor(5.)
    """
    return _matrix_norm("linalg.matrix_norm", input, ord, dim, keepdim, dtype)


def _np_norm(input: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    dim = tuple(dim) if isinstance(dim, list) else dim
    if ord is None and dim is None:
        import numpy as np

        value = np.sqrt((input**2).sum())
        return value.reshape((1,) * input.ndim) if keepdim else value
    if isinstance(dim, tuple) and len(dim) == 1:
        dim = dim[0]
    if ord is None and isinstance(dim, tuple):
        return np_linalg().norm(input, "fro", dim, keepdim)
    return np_linalg().norm(input, ord, dim, keepdim)


@linalg(
    dtypes=_FLOATS,
    samples=lambda s: [s(s.t(5)), s(s.t(2, 3, 4)), s(s.t(3, 4), dim=1), s(s.t(5), 3), s(s.t(3, 4), 1, dim=0, keepdim=True), s(general(s, 3, 4), mg.inf)]
    + ([s(general(s, 3, 4), "nuc"), s(general(s, 3, 4), 2), s(s.t(2, 3, 3), "fro", (1, 2))] if s.dtype in ("float64", "float32") else []),
    ref=_np_norm,
    no_layouts_reason="the gradient's kinks and zero singular values of expanded inputs",
)  # fmt: skip
def norm(input: mg.Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> mg.Tensor:
    """Vector or matrix norm.

    Args:
        input: floating or complex, any shape.
        ord: None for the 2-norm of all elements; else as for `linalg.vector_norm` or `linalg.matrix_norm`.
        dim: an int for vectors, two ints for matrices; None: the whole 1-d or 2-d input when ord is given.
        keepdim: keep reduced dims with size 1.
        dtype: convert the input first.
        out: tensor to write to.
    Returns:
        the input's shape without the reduced dims, real.
    Raises:
        RuntimeError for an ord that does not fit the dims, and for integers.
    Example:
        >>> mg.linalg.norm(mg.tensor([3., 4.]))
        tensor(5.)
    """
    need_floating("linalg.norm", input)
    dims = None if dim is None else [dim] if isinstance(dim, int) else list(dim)
    if dims is not None and len(dims) not in (1, 2) and (ord is not None):
        raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2: got {tuple(dims)}.")
    if ord is not None and dims is None and input.dim() not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D: got {input.dim()}D.")
    if isinstance(ord, str) or (ord is not None and (len(dims) == 2 if dims is not None else input.dim() == 2)):
        if isinstance(ord, str) and dims is not None and len(dims) != 2:
            raise RuntimeError(f"linalg.norm: the order {ord!r} is one of matrices: got dim {tuple(dims)}, expected two dims.")
        return _matrix_norm("linalg.matrix_norm", input, ord, (0, 1) if dims is None else dims, keepdim, dtype)
    return _vector_norm(input, 2 if ord is None else ord, dims, keepdim, dtype)


# --- condition and rank -----------------------------------------------------------------------------------------------
_ORDERS = (None, "fro", "nuc", 1, -1, 2, -2, mg.inf, -mg.inf)


@linalg(
    samples=lambda s: [s(general(s, 3, 3)), s(general(s, 2, 4, 2)), *(s(general(s, 3, 3), p) for p in ("fro", "nuc", 1, -1, -2, mg.inf, -mg.inf))],
    ref=lambda input, p=None: np_linalg().cond(input, p),
    no_layouts_reason="expanded matrices are singular",
    no_torch_reason="PyTorch's backward fails on the inverse that it filled in place; op_db compares the rest",
)
def cond(input: mg.Tensor, p: Any = None) -> mg.Tensor:
    """Condition number |A| |A^-1|.

    Args:
        input: (*, m, n); square unless p is None, 2 or -2.
        p: None or 2: ratio of the largest to the smallest singular value; -2 the other way round; else the norm, as for
            `linalg.matrix_norm`.
        out: tensor to write to.
    Returns:
        (*), real; inf for singular matrices.
    Raises:
        RuntimeError for an unknown p and for other shapes and dtypes.
    Example:
        >>> mg.linalg.cond(mg.tensor([[4., 0.], [0., 2.]]))
        tensor(2.)
    """
    need_matrix("linalg.cond", input)
    need_floating("linalg.cond", input)
    if p not in _ORDERS:
        raise RuntimeError(f"linalg.cond: got an invalid norm type: {p}.")
    if p in (None, 2, -2):
        S = singular_values("linalg.svd", input)
        if S.shape[-1] == 0:
            return S.new_zeros(S.shape[:-1])
        first, last = S.select(-1, 0), S.select(-1, S.shape[-1] - 1)
        return last / first if p == -2 else first / last
    need_square("linalg.cond", input)
    if input.shape[-1] == 0:
        return mg.zeros(input.shape[:-2], dtype=real_dtype(input), device=input.device)
    inverse, info = primitive_of("_linalg_inv")(input)
    value = _matrix_norm("linalg.cond", input, p, (-2, -1), False, None) * _matrix_norm(
        "linalg.cond", mg.where((info != 0)[..., None, None], 1.0, inverse) if bool(mg.op.all_values(info).any()) else inverse, p, (-2, -1), False, None
    )
    return mg.where(info != 0, mg.inf, value) if bool(mg.op.all_values(info).any()) else value


@linalg(
    samples=lambda s: [s(general(s, 3, 3)), s(general(s, 2, 4, 2)), s(s.of([[1.0, 2.0], [2.0, 4.0]])), s(hermitian_sample(s, 3, 3), hermitian=True)],
    ref=lambda input, tol=None, hermitian=False: np_linalg().matrix_rank(input),
    no_layouts_reason="the rank of rounding errors depends on who computes them",
    no_grad_reason="a count",
)
def matrix_rank(input: mg.Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> mg.Tensor:
    """Numerical rank: the number of singular values that do not count as zero.

    Args:
        input: (*, m, n), float32, float64 or complex.
        tol: old name of atol, with rtol 0.
        hermitian: the input is Hermitian: moduli of eigenvalues of its lower triangle instead of singular values.
        atol: singular values up to atol count as zero; number or tensor (*).
        rtol: as do those up to rtol times the largest; default max(m, n) eps, or 0 when atol is positive.
        out: tensor to write to.
    Returns:
        (*), int64.
    Raises:
        LinAlgError when the decomposition does not converge or the input is not finite; RuntimeError for other shapes and dtypes.
    Example:
        >>> mg.linalg.matrix_rank(mg.tensor([[1., 2.], [2., 4.]]))
        tensor(1)
    """
    name = "linalg.matrix_rank"
    need_matrix(name, input)
    need_floating(name, input)
    if isinstance(tol, mg.Tensor) and tol.is_complex():
        raise RuntimeError(f"{name}: tol tensor of complex type is not supported: got {tol.dtype}.")
    at, rt = tolerances(name, input, tol, 0.0) if tol is not None else tolerances(name, input, atol, rtol)
    with mg.no_grad():
        if hermitian:
            need_square(name, input)
            S = hermitian_values("linalg.eigh", input, False).abs()
        else:
            S = singular_values("linalg.svd", input)
        if S.shape[-1] == 0:
            return mg.zeros(S.shape[:-1], dtype=mg.int64, device=S.device)
        cut = mg.maximum(at.unsqueeze(-1), rt.unsqueeze(-1) * S.amax(-1, True))
        return (S > cut).sum(-1)


@linalg(
    space="",
    method=False,
    samples=lambda s: [s(general(s, 3, 4)), s(general(s, 2, 3, 3), (1, 2), True)],
    ref=lambda input, dim=None, keepdim=False: np_linalg().norm(input, "nuc", dim, keepdim),
    no_layouts_reason="zero singular values of expanded inputs",
)
def nuclear_norm(input: mg.Tensor, dim: Any = None, keepdim: bool = False) -> mg.Tensor:
    """Sum of the singular values; `linalg.matrix_norm` with ord="nuc".

    Args:
        input: (*, m, n).
        dim: the two dims that hold the matrices; None for the last two.
        keepdim: keep them with size 1.
        out: tensor to write to.
    Returns:
        (*), real.
    Raises:
        RuntimeError for fewer than two dims and for integers.
    Example:
        >>> mg.nuclear_norm(mg.tensor([[3., 0.], [0., 4.]]))
        tensor(7.)
    """
    return _matrix_norm("nuclear_norm", input, "nuc", (-2, -1) if dim is None else dim, keepdim, None)


@linalg(
    space="",
    method=False,
    samples=lambda s: [s(s.t(3, 4), 1), s(s.t(2, 3, 3), (1, 2), True)],
    ref=lambda input, dim, keepdim=False: np_linalg().norm(input, None if isinstance(dim, int) else "fro", dim, keepdim),
)
def frobenius_norm(input: mg.Tensor, dim: Any, keepdim: bool = False) -> mg.Tensor:
    """Root of the sum of squares over one or two dims.

    Args:
        input: any shape, floating.
        dim: one or two dims.
        keepdim: keep them with size 1.
        out: tensor to write to.
    Returns:
        the input's shape without the dims.
    Raises:
        RuntimeError for integers and for more than two dims.
    Example:
        >>> mg.frobenius_norm(mg.tensor([[3., 4.]]), 1)
        tensor([5.])
    """
    dims = [dim] if isinstance(dim, int) else list(dim)
    if len(dims) > 2:
        raise RuntimeError(f"frobenius_norm: expected at most 2 dimensions: got {tuple(dims)}.")
    return _vector_norm(input, 2, dims, keepdim)
