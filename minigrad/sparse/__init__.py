"""Sparse tensors (COO, CSR, CSC) as graph networks use them: products with dense matrices, sums, softmax, with gradients.

How they hang together with dense tensors: docs/architecture.md, "Sparse tensors". Blocked layouts (BSR, BSC) are not supported.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad._layout import sparse_coo, sparse_csr
from minigrad._tensor import _TYPE_NAMES
from minigrad.sparse import _dispatch, _sums  # noqa: F401  both register rules
from minigrad.sparse._convert import coo_parts, to_layout
from minigrad.sparse._tensor import SparseTensor, like, make

Tensor = _core.Tensor

__all__ = [
    "SparseTensor", "addmm", "check_sparse_tensor_invariants", "log_softmax", "mm", "sampled_addmm", "softmax", "spdiags", "spsolve", "sum",
]  # fmt: skip


def mm(mat1: Tensor, mat2: Tensor, reduce: str | None = None) -> Tensor:
    """Matrix product with at least one sparse matrix; differentiable by values and dense entries.

    Args:
        mat1: (M, K); mat2: (K, N).
        reduce: "sum" (default), "mean", "amax" or "amin" of the products that meet in one entry; the others need CSR @ dense.
    Returns:
        (M, N), dense unless both are sparse.
    """
    if reduce not in (None, "sum"):
        return _reduced(mat1, mat2, reduce)
    return mg.mm(mat1, mat2)


def smm(input: Tensor, mat: Tensor) -> SparseTensor:
    """Sparse @ dense as a sparse tensor."""
    return mg.mm(input, mat).to_sparse()


spmm = dsmm = mm  # older names


def _legacy(name: str, dtype: Any) -> Any:
    def make_one(*args: Any, device: Any = None) -> SparseTensor:
        if len(args) == 1 or (args and all(isinstance(n, int) for n in args)):  # a size
            return mg.sparse_coo_tensor(size=args[0] if len(args) == 1 else args, dtype=dtype, device=device)
        return mg.sparse_coo_tensor(*args, dtype=dtype, device=device) if args else mg.sparse_coo_tensor(size=(0,), dtype=dtype)

    make_one.__name__ = make_one.__qualname__ = name
    make_one.__doc__ = f"Legacy constructor of a {dtype} COO tensor: `{name}(indices, values, size)`."
    return make_one


for _dtype, _name in _TYPE_NAMES.items():
    globals()[_name] = _legacy(_name, getattr(_core, _dtype))


def _reduced(x: SparseTensor, dense: Tensor, reduce: str) -> Tensor:
    if not isinstance(x, SparseTensor) or x._kind is not sparse_csr:
        raise RuntimeError(f"sparse.mm: reduce='{reduce}' needs a CSR matrix and a dense one. Try x.to_sparse_csr().")
    reduce = {"max": "amax", "min": "amin"}.get(reduce, reduce)
    if reduce not in ("mean", "amax", "amin"):
        raise RuntimeError(f"sparse.mm: reduce must be sum, mean, amax or amin: got {reduce!r}")
    indices, values = coo_parts(x)
    parts = dense.index_select(0, indices[1]) * values.unsqueeze(1)
    where = indices[0].unsqueeze(1).expand(parts.shape)
    return parts.new_zeros((x.shape[0], dense.shape[1])).scatter_reduce(0, where, parts, reduce, include_self=False)


def addmm(mat: Tensor, mat1: Tensor, mat2: Tensor, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
    """beta mat + alpha (mat1 @ mat2), mat1 sparse."""
    return mg.addmm(mat, mat1, mat2, beta=beta, alpha=alpha)


def sampled_addmm(input: SparseTensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1.0, alpha: float = 1.0) -> SparseTensor:
    """beta input + alpha (mat1 @ mat2) at the entries that `input` has."""
    rows, columns = coo_parts(input)[0]
    products = (mat1.index_select(-2, rows) * mat2.index_select(-1, columns).transpose(-2, -1)).sum(-1)
    return like(input, input._vals * beta + products * alpha)


def sum(input: SparseTensor, dim: Any = None, dtype: Any = None) -> Tensor:
    """Sum over everything (a dense 0-d tensor) or over `dim` (sparse, unless no dimension with indices is left)."""
    return mg.sum(input, dtype=dtype) if dim is None else mg.sum(input, dim, dtype=dtype)


def softmax(input: SparseTensor, dim: int, *, dtype: Any = None) -> SparseTensor:
    """Softmax along `dim` over the entries that are there; missing ones count as -inf."""
    return _sums.group_softmax(input if dtype is None else input.to(dtype), dim, False)


def log_softmax(input: SparseTensor, dim: int, *, dtype: Any = None) -> SparseTensor:
    """Logarithm of `softmax`."""
    return _sums.group_softmax(input if dtype is None else input.to(dtype), dim, True)


def spdiags(diagonals: Tensor, offsets: Tensor, shape: tuple[int, int], layout: Any = None) -> SparseTensor:
    """The matrix with row k of `diagonals` on the diagonal offsets[k]; element j of it stands in column j.

    Args:
        diagonals: (n, L) or (L,).
        offsets: (n,) or 0-d; 0 is the main diagonal, positive ones lie above it.
        shape: of the result.
        layout: COO by default, CSR or CSC.
    """
    diagonals, offsets = mg.atleast_2d(diagonals), mg.atleast_1d(offsets)
    if offsets.unique().numel() != offsets.numel():
        raise RuntimeError("Offset tensor contains duplicate values")
    columns = mg.arange(diagonals.shape[1], device=diagonals.device).unsqueeze(0).expand(diagonals.shape)
    rows = columns - offsets.unsqueeze(1)
    inside = (rows >= 0) & (rows < shape[0]) & (columns < shape[1])
    made = make(sparse_coo, (mg.stack([rows[inside], columns[inside]]),), diagonals[inside], shape, False)
    return made if layout is None else to_layout(made, layout)


def spsolve(input: SparseTensor, other: Tensor) -> Tensor:
    """Raises NotImplementedError: there is no sparse solver."""
    raise NotImplementedError("sparse.spsolve: there is no sparse solver. Try linalg.solve(input.to_dense(), other).")


class check_sparse_tensor_invariants:  # noqa: N801  torch's name
    """Whether constructors check indices against sizes: a context manager, a decorator, and `enable()` / `disable()`."""

    _enabled = False

    def __init__(self, enable: bool = True) -> None:
        self.state = enable
        self._before: list[bool] = []

    @staticmethod
    def is_enabled() -> bool:
        """The setting in force."""
        return check_sparse_tensor_invariants._enabled

    @staticmethod
    def enable() -> None:
        """Check from now on."""
        check_sparse_tensor_invariants._enabled = True

    @staticmethod
    def disable() -> None:
        """Do not check."""
        check_sparse_tensor_invariants._enabled = False

    def __enter__(self) -> None:
        self._before.append(self.is_enabled())
        check_sparse_tensor_invariants._enabled = self.state

    def __exit__(self, *exc: object) -> None:
        check_sparse_tensor_invariants._enabled = self._before.pop()

    def __call__(self, function: Any) -> Any:
        import functools

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with type(self)(self.state):
                return function(*args, **kwargs)

        return wrapper
