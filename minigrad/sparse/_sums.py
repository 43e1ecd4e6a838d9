"""Sums, norms and softmax of sparse tensors; rules like those of `_dispatch.py`."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad._layout import sparse_coo
from minigrad.op import functions
from minigrad.sparse._convert import coalesce, coo_parts, flat_keys, to_layout
from minigrad.sparse._dispatch import rule
from minigrad.sparse._tensor import SparseTensor, like, make

Tensor = _core.Tensor


@rule("sum")
def sum_(x: SparseTensor, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """Sum over everything (dense) or over some dimensions (sparse, unless no indices are left)."""
    x = x if dtype is None else x.to(dtype)
    dims = range(x.dim()) if dim is None or dim == () else (dim,) if isinstance(dim, int) else dim
    gone = sorted({d % x.dim() for d in dims})
    if len(gone) == x.dim():
        total = x._vals.sum()
        return total.reshape([1] * x.dim()) if keepdim else total
    indices, values = coo_parts(x)
    lead = indices.shape[0]
    if dense := [d - lead + 1 for d in gone if d >= lead]:
        values = values.sum(dense)
    left = [d for d in range(lead) if d not in gone]
    if not left:
        return values.sum(0)
    sizes = [n for d, n in enumerate(x.shape) if d not in gone]
    lines = indices.index_select(0, mg.tensor(left, device=indices.device))
    return coalesce(make(sparse_coo, (lines,), values, sizes, False))


@rule("_vector_norm")
def vector_norm(x: SparseTensor, dim: Any = None, keepdim: bool = False, dtype: Any = None, ord: float = 2.0) -> Tensor:
    """Norm over everything; missing entries are zeros."""
    if dim is not None and len(dim) not in (0, x.dim()):
        raise NotImplementedError("norm: along some dimensions of a sparse tensor it is not implemented. Try x.to_dense().")
    values = coo_parts(coalesce(x) if x._kind is sparse_coo and not x._coalesced else x)[1]
    total = functions["_vector_norm"](values.reshape(-1), dtype=dtype, ord=ord)
    if ord <= 0 and x._nnz() < x.numel():
        raise NotImplementedError("norm: of order <= 0 it is not implemented for sparse tensors. Try x.to_dense().")
    return total.reshape([1] * x.dim()) if keepdim else total


def group_softmax(x: SparseTensor, dim: int, log: bool) -> SparseTensor:
    """Softmax over the entries that are there, along `dim`."""
    kind, x = x._kind, coalesce(to_layout(x, sparse_coo))
    dim = dim % x.dim()
    indices, values = x._indices_[0], x._vals
    if dim >= indices.shape[0]:
        done = (values.log_softmax if log else values.softmax)(dim - indices.shape[0] + 1)
        return like(x, done)
    rest = mg.cat([indices[:dim], indices[dim + 1 :]])
    sizes = [n for d, n in enumerate(x.shape[: indices.shape[0]]) if d != dim]
    _, group = flat_keys(rest, sizes).unique(return_inverse=True)
    count = int(group.max()) + 1 if group.numel() else 0
    where = group.reshape(-1, *[1] * (values.dim() - 1)).expand(values.shape)
    top = values.new_full((count, *values.shape[1:]), -mg.inf).scatter_reduce(0, where, values.detach(), "amax")
    shifted = values - top.index_select(0, group)
    total = values.new_zeros((count, *values.shape[1:])).index_add(0, group, shifted.exp()).index_select(0, group)
    done = shifted - total.log() if log else shifted.exp() / total
    return to_layout(make(sparse_coo, (indices,), done, x.shape, True), kind)
