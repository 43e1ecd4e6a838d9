"""From one layout to another, coalescing, and the text of a sparse tensor."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad._layout import layout, sparse_coo, sparse_csc, sparse_csr, strided
from minigrad.sparse._tensor import SparseTensor, make

Tensor = _core.Tensor


def flat_keys(indices: Tensor, sizes: Any) -> Tensor:
    """(nnz,) row-major position of each column of `indices` in an array of `sizes`; raises IndexError for one outside."""
    key = mg.zeros(indices.shape[1], dtype=mg.int64, device=indices.device)
    for d, (row, n) in enumerate(zip(indices, sizes)):
        if row.numel() and (int(row.min()) < 0 or int(row.max()) >= n):
            wrong = int(row.min()) if int(row.min()) < 0 else int(row.max())
            raise IndexError(f"sparse tensor: index {wrong} is out of range for dimension {d} of size {n}")
        key = key * int(n) + row
    return key


def from_keys(keys: Tensor, sizes: Any) -> Tensor:
    """The inverse of flat_keys: (len(sizes), n)."""
    rows = []
    for n in reversed([int(n) for n in sizes]):
        rows.append(keys.remainder(n) if n else keys)
        keys = keys.div(n, rounding_mode="floor") if n else keys
    return mg.stack(rows[::-1]) if rows else keys.new_zeros((0, keys.shape[0]))


def coalesce(x: SparseTensor) -> SparseTensor:
    """Sorted distinct indices; values of equal ones added up (differentiable)."""
    sizes = x.shape[: x.sparse_dim()]
    indices, values = x._indices_[0], x._vals
    if values.shape[0] < 2:
        return make(sparse_coo, (indices,), values, x.shape, True)
    keys, where = flat_keys(indices, sizes).unique(return_inverse=True)
    if keys.shape[0] == values.shape[0]:  # distinct: only an order is needed, which loses nothing in low precision
        order = where.argsort()
        return make(sparse_coo, (indices.index_select(1, order),), values.index_select(0, order), x.shape, True)
    summed = values.new_zeros((keys.shape[0], *values.shape[1:])).index_add(0, where, values)
    return make(sparse_coo, (from_keys(keys, sizes),), summed, x.shape, True)


def compressed_to_plain(pointers: Tensor, nnz: int) -> Tensor:
    """(nnz,) the row of each entry, from where the rows begin."""
    rows = mg.arange(pointers.shape[0] - 1, device=pointers.device)
    return rows.repeat_interleave(pointers.diff().to(mg.int64), output_size=nnz)


def plain_to_compressed(rows: Tensor, count: int) -> Tensor:
    """Where each of `count` rows begins in the sorted `rows`: (count + 1,)."""
    counts = mg.bincount(rows, minlength=count)
    if counts.shape[0] > count:
        raise IndexError(f"sparse tensor: index {counts.shape[0] - 1} is out of range for a dimension of size {count}")
    return mg.cat([rows.new_zeros(1), counts.cumsum(0)])


def coo_parts(x: SparseTensor) -> tuple[Tensor, Tensor]:
    """(indices, values) of any layout; entries may repeat for an uncoalesced one."""
    if x._kind is sparse_coo:
        return x._indices_[0], x._vals
    pointers, plain = x._indices_
    outer, plain = compressed_to_plain(pointers, x._nnz()), plain.to(mg.int64)
    return mg.stack([outer, plain] if x._kind is sparse_csr else [plain, outer]), x._vals


def to_layout(x: SparseTensor, kind: layout) -> Tensor:
    """x in another layout."""
    if x._kind is kind:
        return x
    if kind is strided:
        return to_dense(x)
    indices, values = coo_parts(x)
    if kind is sparse_coo:
        made = make(sparse_coo, (indices,), values, x.shape, x._kind is sparse_csr)
        return made if x._kind is sparse_csr else coalesce(made)
    if kind not in (sparse_csr, sparse_csc):
        raise NotImplementedError(f"to_sparse: layout {kind} is not supported. Try sparse_coo, sparse_csr or sparse_csc.")
    if x.dim() != 2:
        raise RuntimeError(f"to_sparse: expected a tensor of 2 dimensions for {kind}, got {x.dim()}")
    axis = 0 if kind is sparse_csr else 1
    if x._kind is sparse_coo:
        x = x.coalesce()
        indices, values = coo_parts(x)
    if axis == 1 or x._kind is sparse_csc:
        order = flat_keys(indices.flip(0) if axis else indices, (x.shape[axis], x.shape[1 - axis])).argsort()
        indices, values = indices.index_select(1, order), values.index_select(0, order)
    return make(kind, (plain_to_compressed(indices[axis], x.shape[axis]), indices[1 - axis].contiguous()), values, x.shape, True)


def to_dense(x: SparseTensor) -> Tensor:
    """The strided tensor (differentiable)."""
    indices, values = coo_parts(x)
    lead = [int(n) for n in x.shape[: indices.shape[0]]]
    flat = values.new_zeros((math.prod(lead), *values.shape[1:]))
    if values.dtype == mg.bool:
        flat = flat.index_put((flat_keys(indices, lead),), values)
    else:
        flat = flat.index_add(0, flat_keys(indices, lead), values)
    return flat.reshape(x.shape)


def from_dense(x: Tensor, sparse_dim: int | None = None, kind: layout = sparse_coo) -> SparseTensor:
    """The non-zero entries (slices, with fewer sparse dimensions than there are) of a strided tensor."""
    count = x.dim() if sparse_dim is None else int(sparse_dim)
    if not 0 <= count <= x.dim() or (count == 0 and x.dim() > 0):
        raise IndexError(f"to_sparse: sparse_dim {sparse_dim} is out of range for a tensor of {x.dim()} dimensions")
    lead = x.shape[:count]
    flat = x.reshape(math.prod(lead), *x.shape[count:])
    there = (flat.detach() != 0).reshape(flat.shape[0], -1).any(1) if flat.dim() > 1 else flat.detach() != 0
    keys = there.nonzero().squeeze(1)
    made = make(sparse_coo, (from_keys(keys, lead),), flat.index_select(0, keys), x.shape, True)
    return made if kind is sparse_coo else to_layout(made, kind)


def _part_text(part: Tensor, label: str) -> str:
    """`label=tensor(...)`, wrapped as for a part of a tensor's text."""
    from minigrad import printing

    start = f"{label}=tensor("
    x = part.detach()
    if x.numel() == 0:
        return f"{start}[], size={tuple(x.shape)})"
    summarise = x.numel() > printing.get_printoptions()["threshold"]
    flat = (printing._summarised(x) if summarise else x).reshape(-1).tolist()
    style = printing._ComplexFormatter(flat) if x.is_complex() else printing._Formatter(flat, x.is_floating_point())
    return start + printing._nested(x, len("tensor(") + len(start), summarise, style) + ")"


def text(x: SparseTensor) -> str:
    """PyTorch's text."""
    names = {sparse_coo: ("indices",), sparse_csr: ("crow_indices", "col_indices"), sparse_csc: ("ccol_indices", "row_indices")}[x._kind]
    lines = [_part_text(part, name) for name, part in zip(names, x._indices_)] + [_part_text(x._vals, "values")]
    body = "tensor(" + (",\n" + " " * 7).join(lines)
    suffixes = [f"size={tuple(x.shape)}", f"nnz={x._nnz()}"]
    if x.dtype not in (_core.get_default_dtype(), mg.int64, mg.bool):
        suffixes.append(f"dtype={x.dtype}")
    if x.device.type != "cpu":
        suffixes.insert(0, f"device='{x.device}'")
    suffixes.append(f"layout={x._kind}")
    if x.grad_fn is not None:
        suffixes.append(f"grad_fn=<{x.grad_fn.name()}>")
    elif x.requires_grad:
        suffixes.append("requires_grad=True")
    if x._kind is sparse_coo:
        body += ",\n" + " " * 7 + suffixes.pop(0)
    width = len(body) - body.rfind("\n") - 1
    for suffix in suffixes:
        if width + len(suffix) + 2 > 80:
            body += ",\n" + " " * 7 + suffix
            width = 7 + len(suffix)
        else:
            body += ", " + suffix
            width += len(suffix) + 2
    return body + ")"
