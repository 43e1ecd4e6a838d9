"""What every Tensor knows about sparse layouts without loading minigrad.sparse: dense tensors are strided, and say so."""

from __future__ import annotations

from typing import Any

from minigrad._core import Tensor


def _refusal(name: str, wanted: str) -> Any:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"{name} expected sparse {wanted} tensor layout but got Strided".replace("  ", " "))

    method.__name__ = name
    return method


def _to_sparse(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The non-zero entries as a sparse tensor: `to_sparse()`, `to_sparse(sparse_dim)`, `to_sparse(layout=minigrad.sparse_csr)`."""
    from minigrad.sparse._create import dense_to_sparse

    return dense_to_sparse(self, *args, **kwargs)


def _to_sparse_csr(self: Tensor, dense_dim: Any = None) -> Tensor:
    """The non-zero entries as a CSR matrix."""
    from minigrad._layout import sparse_csr

    return _to_sparse(self, layout=sparse_csr)


def _to_sparse_csc(self: Tensor, dense_dim: Any = None) -> Tensor:
    """The non-zero entries as a CSC matrix."""
    from minigrad._layout import sparse_csc

    return _to_sparse(self, layout=sparse_csc)


def _to_dense(self: Tensor, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
    """Self, in another dtype when one is given: a strided tensor is dense."""
    return self if dtype is None else self.to(dtype)


def _sparse_mask(self: Tensor, mask: Tensor) -> Tensor:
    """The entries where the sparse tensor `mask` has indices."""
    from minigrad.sparse._create import sparse_mask

    return sparse_mask(self, mask)


for _name, _kind in {
    "coalesce": "coordinate", "indices": "coordinate", "_indices": "coordinate", "is_coalesced": "coordinate", "values": "", "_values": "",
    "_nnz": "", "crow_indices": "row compressed", "col_indices": "row compressed", "ccol_indices": "column compressed",
    "row_indices": "column compressed",
}.items():  # fmt: skip
    setattr(Tensor, _name, _refusal(_name, _kind))
Tensor.to_sparse = Tensor.to_sparse_coo = _to_sparse
Tensor.to_sparse_csr, Tensor.to_sparse_csc, Tensor.to_dense, Tensor.sparse_mask = _to_sparse_csr, _to_sparse_csc, _to_dense, _sparse_mask
Tensor.sparse_dim, Tensor.dense_dim = lambda self: 0, lambda self: self.dim()
Tensor.is_sparse = Tensor.is_sparse_csr = property(lambda self: False)
