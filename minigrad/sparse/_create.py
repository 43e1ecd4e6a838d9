"""Constructors of sparse tensors, and what dense tensors know about sparse layouts."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad._layout import layout, sparse_coo, sparse_csc, sparse_csr, strided
from minigrad.sparse._convert import from_dense
from minigrad.sparse._tensor import SparseTensor, make

Tensor = _core.Tensor

__all__ = ["sparse_compressed_tensor", "sparse_coo_tensor", "sparse_csc_tensor", "sparse_csr_tensor"]


def _indices(data: Any, device: Any) -> Tensor:
    out = mg.as_tensor(data, device=device).detach()
    return out if out.dtype == mg.int64 else out.to(mg.int64)


def _values(data: Any, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    given = data if isinstance(data, Tensor) else mg.tensor(data, dtype=dtype, device=device)
    values = given.to(device=device, dtype=dtype) if dtype is not None or device is not None else given
    if requires_grad:
        return values.detach().requires_grad_()
    return values.view(values.shape) if values is given and values.requires_grad else values  # the sparse tensor is no leaf


def _check_invariants(indices: Tensor, size: Any) -> None:
    for d, row in enumerate(indices):
        if row.numel() and (int(row.min()) < 0 or int(row.max()) >= size[d]):
            kind = "negative index" if int(row.min()) < 0 else f"size is inconsistent with indices: for dim {d}, size is {size[d]} but"
            raise RuntimeError(f"found {kind} {int(row.min()) if int(row.min()) < 0 else f'found index {int(row.max())}'}")


def _checking(argument: bool | None) -> bool:
    from minigrad.sparse import check_sparse_tensor_invariants

    return check_sparse_tensor_invariants.is_enabled() if argument is None else argument


def sparse_coo_tensor(
    indices: Any = None, values: Any = None, size: Any = None, *, dtype: Any = None, device: Any = None, pin_memory: bool = False,
    requires_grad: bool = False, check_invariants: bool | None = None, is_coalesced: bool | None = None,
) -> SparseTensor:  # fmt: skip
    """A COO tensor: `values[k]` at `indices[:, k]`; equal indices add up.

    Args:
        indices: (sparse_dim, nnz) integers.
        values: (nnz, *dense dims).
        size: of the whole tensor; the smallest that fits when omitted. Alone (first argument or keyword): no entries.
        dtype, device: of the values.
        requires_grad: make it a leaf that collects a sparse gradient.
        check_invariants: raise for indices outside of `size`.
        is_coalesced: promise that the indices are sorted and distinct.
    Raises:
        RuntimeError: shapes that do not fit together.
    Example:
        >>> mg.sparse_coo_tensor([[0, 1], [1, 0]], [1.0, 2.0], (2, 2)).to_dense()
        tensor([[0., 1.],
                [2., 0.]])
    """
    if values is None:
        size = tuple(indices) if size is None else tuple(size)
        indices, values = mg.empty((len(size), 0), dtype=mg.int64), mg.empty(0, dtype=dtype, device=device)
        is_coalesced = True
    index = _indices(indices, device)
    vals = _values(values, dtype, device, requires_grad)
    if index.dim() == 1 and index.numel() == 0 and vals.numel() == 0:
        index = index.reshape(len(size or ()), 0)
    if index.dim() != 2:
        raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(index.shape)}")
    vals = vals.expand(index.shape[1]) if vals.dim() == 0 else vals
    if vals.shape[0] != index.shape[1]:
        raise RuntimeError(
            f"indices and values must have same nnz, but got nnz from indices: {index.shape[1]}, nnz from values: {vals.shape[0]}"
        )
    if size is None:
        if index.numel() and int(index.min()) < 0:
            raise RuntimeError(f"found negative index {int(index.min())}")
        size = [int(n) + 1 for n in index.amax(1)] if index.shape[1] else [0] * index.shape[0]
        size = [*size, *vals.shape[1:]]
    size = tuple(int(n) for n in size)
    if len(size) != index.shape[0] + vals.dim() - 1:
        raise RuntimeError(
            f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(size)}, sparse_dim = {index.shape[0]}, "
            f"dense_dim = {vals.dim() - 1}"
        )
    if tuple(vals.shape[1:]) != size[index.shape[0] :]:
        raise RuntimeError(f"values has incorrect size, expected {[vals.shape[0], *size[index.shape[0]:]]}, got {list(vals.shape)}")
    if _checking(check_invariants):
        _check_invariants(index, size)
    return make(sparse_coo, (index,), vals, size, bool(is_coalesced))


def _compressed(
    kind: layout, pointers: Any, plain: Any, values: Any, size: Any, dtype: Any, device: Any, requires_grad: bool, check: bool | None
) -> SparseTensor:
    def index(data: Any) -> Tensor:
        out = mg.as_tensor(data, device=device).detach()
        return out if out.dtype in (mg.int64, mg.int32) else out.to(mg.int64)

    pointers, plain = index(pointers), index(plain)
    vals = _values(values, dtype, device, requires_grad)
    if pointers.dim() != 1 or plain.dim() != 1 or vals.dim() != 1:
        raise NotImplementedError(f"{kind}: batches, blocks and dense dimensions are not supported: got values of {vals.dim()} dimensions")
    if plain.shape[0] != vals.shape[0]:
        raise RuntimeError(f"number of indices and of values must be equal: got {plain.shape[0]} and {vals.shape[0]}")
    if size is None:
        other = int(plain.max()) + 1 if plain.numel() else 0
        size = (pointers.shape[0] - 1, other) if kind is sparse_csr else (other, pointers.shape[0] - 1)
    size = tuple(int(n) for n in size)
    outer = size[0] if kind is sparse_csr else size[1]
    if pointers.shape[0] != outer + 1:
        raise RuntimeError(f"number of compressed indices must be {outer + 1} for size {size}: got {pointers.shape[0]}")
    if _checking(check):
        steps = pointers.diff()
        if int(pointers[0]) != 0 or int(pointers[-1]) != vals.shape[0] or (steps.numel() and int(steps.min()) < 0):
            raise RuntimeError("compressed indices must start at 0, never decrease, and end at nnz")
        _check_invariants(plain.unsqueeze(0), size[1:] if kind is sparse_csr else size[:1])
    return make(kind, (pointers, plain), vals, size, True)


def sparse_csr_tensor(
    crow_indices: Any, col_indices: Any, values: Any, size: Any = None, *, dtype: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, check_invariants: bool | None = None,
) -> SparseTensor:  # fmt: skip
    """A CSR matrix: row r has `values[k]` at column `col_indices[k]` for crow_indices[r] <= k < crow_indices[r + 1].

    Args:
        crow_indices: (rows + 1,); col_indices: (nnz,); values: (nnz,).
        size: (rows, columns); the smallest that fits when omitted.
    """
    return _compressed(sparse_csr, crow_indices, col_indices, values, size, dtype, device, requires_grad, check_invariants)


def sparse_csc_tensor(
    ccol_indices: Any, row_indices: Any, values: Any, size: Any = None, *, dtype: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, check_invariants: bool | None = None,
) -> SparseTensor:  # fmt: skip
    """A CSC matrix: as `sparse_csr_tensor`, by columns."""
    return _compressed(sparse_csc, ccol_indices, row_indices, values, size, dtype, device, requires_grad, check_invariants)


def sparse_compressed_tensor(
    compressed_indices: Any, plain_indices: Any, values: Any, size: Any = None, *, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False, check_invariants: bool | None = None,
) -> SparseTensor:  # fmt: skip
    """A CSR or CSC matrix, as `layout` says."""
    if layout not in (sparse_csr, sparse_csc):
        raise NotImplementedError(f"sparse_compressed_tensor: layout {layout} is not supported. Try sparse_csr or sparse_csc.")
    return _compressed(layout, compressed_indices, plain_indices, values, size, dtype, device, requires_grad, check_invariants)


# --- what dense tensors answer ----------------------------------------------------------------------------------------------
def dense_to_sparse(self: Tensor, sparse_dim: Any = None, *, layout: Any = None, blocksize: Any = None, dense_dim: Any = None) -> Tensor:
    """The non-zero entries of a strided tensor, as a sparse one."""
    kind = sparse_coo if layout is None else layout
    if kind is strided:
        return self
    if kind not in (sparse_coo, sparse_csr, sparse_csc):
        raise NotImplementedError(f"to_sparse: layout {kind} is not supported. Try sparse_coo, sparse_csr or sparse_csc.")
    if kind is not sparse_coo and self.dim() != 2:
        raise RuntimeError(f"to_sparse: expected a tensor of 2 dimensions for {kind}, got {self.dim()}")
    return from_dense(self, sparse_dim, kind)


def sparse_mask(self: Tensor, mask: SparseTensor) -> SparseTensor:
    """The entries of a strided tensor where `mask` has indices."""
    from minigrad.sparse._convert import coo_parts
    from minigrad.sparse._tensor import like

    if not isinstance(mask, SparseTensor):
        raise RuntimeError("sparse_mask: expected mask to be a sparse tensor")
    if self.shape != mask.shape:
        raise RuntimeError(
            f"sparse_mask(): operands have incompatible sizes; self has size {tuple(self.shape)} but mask has size {tuple(mask.shape)}"
        )
    return like(mask, self[tuple(coo_parts(mask)[0])])



def without_values(size: Any, layout: Any, dtype: Any, device: Any, requires_grad: bool) -> Any:
    """A sparse tensor of zeros: nothing is stored (`zeros(…, layout=)`, `zeros_like` of a sparse tensor).

    Args:
        size: at least 1 dimension; 2 for CSR and CSC.
        layout: sparse_coo, sparse_csr or sparse_csc.
    """
    size = tuple(size)
    values = mg.empty(0, dtype=dtype, device=device)
    none = mg.empty(0, dtype=mg.int64, device=device)
    if layout is mg.sparse_coo:
        made = sparse_coo_tensor(none.reshape(len(size), 0), values, size, is_coalesced=True)
    elif layout is mg.sparse_csr:
        made = sparse_csr_tensor(mg.zeros(size[0] + 1, dtype=mg.int64, device=device), none, values, size)
    else:
        made = sparse_csc_tensor(mg.zeros(size[1] + 1, dtype=mg.int64, device=device), none, values, size)
    return made.requires_grad_() if requires_grad else made
