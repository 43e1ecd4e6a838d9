"""What ops do with sparse arguments. `run` is called by the core for every op call that has one (csrc/python/bind_sparse.cpp); rules are
functions of the op's arguments in schema order, registered by op name. Gradients come from the dense ops they are made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad._layout import sparse_coo, sparse_csc, sparse_csr
from minigrad.op import functions, registry
from minigrad.sparse._convert import coalesce, coo_parts, flat_keys, plain_to_compressed, to_layout
from minigrad.sparse._tensor import SparseTensor, like, make

Tensor = _core.Tensor
_NO_PADDING = -(1 << 62)  # a padding index that no entry can have
_rules: dict[str, Callable] = {}
_writes: dict[str, Callable] = {}  # in-place forms
# f(0) = 0, so that only the values change. The registry cannot know this: it is a fact of the mathematics.
_ZERO_PRESERVING = frozenset(
    "abs neg sqrt square sin sinh asin asinh tan tanh atan atanh erf erfinv expm1 log1p ceil floor round trunc frac sign sgn relu "
    "deg2rad rad2deg isnan isinf isposinf isneginf signbit nan_to_num positive _to_dtype clone alias conj".split()
)


def run(name: str, args: list, in_place: bool) -> tuple:
    """The results of op `name` on `args`; written into args[0] when `in_place`."""
    in_place = in_place or name.endswith("_")
    handler = (_writes if in_place else _rules).get(name.rstrip("_") if in_place else name)
    if handler is not None:
        result = handler(*args)
    elif name in _ZERO_PRESERVING and isinstance(args[0], SparseTensor):
        x = args[0]
        if x._kind is sparse_coo and not x._coalesced and name not in ("neg", "_to_dtype", "clone", "alias"):
            x = coalesce(x)  # f(a) + f(b) is not f(a + b)
        options = {a.name: value for a, value in zip(registry[name].args[1:], args[1:])}
        result = like(x, functions[name](x._vals, **options))
        if in_place:
            args[0]._indices_, args[0]._vals, args[0]._coalesced = x._indices_, result._vals, x._coalesced
    else:
        raise NotImplementedError(
            f"{name}: not implemented for sparse tensors: got layouts "
            f"{[str(a.layout) for a in args if isinstance(a, Tensor)]}. Try x.to_dense()."
        )
    return result if isinstance(result, tuple) else (result,)


def rule(*names: str, write: bool = False) -> Callable:
    """Register a function as the rule of these ops."""

    def register(function: Callable) -> Callable:
        for name in names:
            (_writes if write else _rules)[name] = function
        return function

    return register


def is_sparse(x: Any) -> bool:
    """Whether x is a sparse tensor of any layout."""
    return isinstance(x, SparseTensor)


def _is_number(x: Any) -> bool:
    return not isinstance(x, Tensor) or (x.dim() == 0 and not is_sparse(x))


# --- products ----------------------------------------------------------------------------------------------------------------
def times_dense(x: SparseTensor, dense: Tensor) -> Tensor:
    """(M, K) sparse @ (K, N) dense -> (M, N) dense: gather, scale, add up by row."""
    if x.dense_dim():
        raise NotImplementedError("mm: not implemented for sparse tensors with dense dimensions. Try x.to_dense().")
    sorted_rows = x._kind is sparse_csr or (x._kind is sparse_coo and x._coalesced)
    if sorted_rows and x.dtype == dense.dtype and x.dtype in (mg.float32, mg.float64):
        return _bags(x, dense)
    indices, values = coo_parts(x)
    dtype = mg.promote_types(values.dtype, dense.dtype)
    parts = dense.index_select(0, indices[1].to(mg.int64)).to(dtype) * values.to(dtype).unsqueeze(1)
    return parts.new_zeros((x.shape[0], dense.shape[1])).index_add(0, indices[0].to(mg.int64), parts)


def _bags(x: SparseTensor, dense: Tensor) -> Tensor:
    """times_dense with embedding_bag's kernel: rows are bags of columns, and the (nnz, N) products are never stored."""
    if x._kind is sparse_csr:
        pointers, columns = x._indices_
    else:
        rows, columns = x._indices_[0]
        pointers = plain_to_compressed(rows, x.shape[0])
    columns, pointers = columns.to(mg.int64).contiguous(), pointers.to(mg.int64)
    return functions["_bag_sum"](dense.contiguous(), columns, pointers, x._vals.contiguous(), _NO_PADDING)


def times_sparse(a: SparseTensor, b: SparseTensor) -> SparseTensor:
    """Sparse @ sparse, in the layout of the first: every entry of a meets the row of b that its column names."""
    (ia, va), rows = coo_parts(a), to_layout(b, sparse_csr)
    pointers, columns = rows._indices_
    start, count = pointers[:-1].index_select(0, ia[1]), pointers.diff().index_select(0, ia[1])
    which = mg.arange(ia.shape[1], device=ia.device).repeat_interleave(count)  # entry of a that each product takes
    first = count.cumsum(0) - count
    other = start.index_select(0, which) + mg.arange(which.shape[0], device=which.device) - first.index_select(0, which)
    values = va.index_select(0, which) * rows._vals.index_select(0, other)
    indices = mg.stack([ia[0].index_select(0, which), columns.index_select(0, other)])
    out = coalesce(make(sparse_coo, (indices,), values, (a.shape[0], b.shape[1]), False))
    return to_layout(out, a._kind)


@rule("mm")
def mm(a: Tensor, b: Tensor, *rest: Any) -> Tensor:
    """Matrix product with at least one sparse matrix."""
    if is_sparse(a) and is_sparse(b):
        return times_sparse(a, b)
    return times_dense(a, b) if is_sparse(a) else times_dense(transpose(b, 0, 1), a.t()).t()


@rule("mv")
def mv(a: Tensor, vec: Tensor) -> Tensor:
    """Sparse matrix times dense vector."""
    if is_sparse(vec):
        raise NotImplementedError("mv: not implemented for a sparse vector. Try vec.to_dense().")
    return times_dense(a, vec.unsqueeze(1)).squeeze(1)


@rule("bmm")
def bmm(a: SparseTensor, b: Tensor) -> Tensor:
    """Batch of sparse matrices times batch of dense ones: one product of a block-diagonal matrix."""
    if not is_sparse(a) or is_sparse(b):
        raise NotImplementedError("bmm: only implemented for sparse @ dense. Try x.to_dense().")
    n, m, k = a.shape
    indices, values = coo_parts(a)
    blocks = mg.stack([indices[0] * m + indices[1], indices[0] * k + indices[2]])
    return times_dense(make(sparse_coo, (blocks,), values, (n * m, n * k), False), b.reshape(n * k, -1)).reshape(n, m, -1)


@rule("matmul")
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b`."""
    if a.dim() == 2 and b.dim() == 2:
        return mm(a, b)
    if a.dim() == 2 and b.dim() == 1:
        return mv(a, b)
    if a.dim() == 1 and b.dim() == 2 and is_sparse(b):
        return mv(transpose(b, 0, 1), a)
    if a.dim() == 3 and b.dim() == 3:
        return bmm(a, b)
    if a.dim() == 2 and b.dim() > 2:  # one matrix for a batch
        lead = b.movedim(-2, 0)
        return mm(a, lead.reshape(lead.shape[0], -1)).reshape(a.shape[0], *lead.shape[1:]).movedim(0, -2)
    raise NotImplementedError(f"matmul: not implemented for sparse tensors of {a.dim()} and {b.dim()} dimensions. Try x.to_dense().")


@rule("linear")
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias, one of the two sparse."""
    if is_sparse(bias) or (is_sparse(input) and is_sparse(weight)) or input.dim() != 2:
        raise NotImplementedError("linear: only implemented for one sparse matrix, as input or weight. Try x.to_dense().")
    product = mm(input, weight.t() if is_sparse(input) else transpose(weight, 0, 1))
    return product if bias is None else product + bias


@rule("addmm")
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta input + alpha (mat1 @ mat2)."""
    product = mm(mat1, mat2) if is_sparse(mat1) or is_sparse(mat2) else mat1 @ mat2
    if is_sparse(product) and not is_sparse(input):
        product = product.to_dense()
    return input * beta + product * alpha


# --- elementwise -------------------------------------------------------------------------------------------------------------
def _add_into_dense(dense: Tensor, x: SparseTensor, alpha: Any) -> Tensor:
    if dense.shape != x.shape:
        raise RuntimeError(f"add: expected shapes of dense and sparse to be equal: got {tuple(dense.shape)} and {tuple(x.shape)}")
    indices, values = coo_parts(x)
    lead = x.shape[: indices.shape[0]]
    flat = dense.reshape(-1, *x.shape[indices.shape[0] :])
    return flat.index_add(0, flat_keys(indices, lead), values.to(dense.dtype), alpha=alpha).reshape(dense.shape)


@rule("add")
def add(a: Any, b: Any, alpha: Any = 1) -> Tensor:
    """Sparse + sparse, or dense + sparse."""
    if is_sparse(a) and is_sparse(b):
        if a.shape != b.shape:
            raise RuntimeError(f"add: expected operands of one size: got {tuple(a.shape)} and {tuple(b.shape)}")
        (ia, va), (ib, vb) = coo_parts(a), coo_parts(b)
        both = make(sparse_coo, (mg.cat([ia, ib], 1),), mg.cat([va, vb if alpha == 1 else vb * alpha]), a.shape, False)
        out = to_layout(coalesce(both), a._kind)
        return out._coalesced_(a._coalesced and b._coalesced) if a._kind is sparse_coo else out
    if _is_number(a) or _is_number(b):
        raise RuntimeError("add: a number cannot be added to a sparse tensor: the result would be dense. Try x.to_dense().")
    if is_sparse(a):  # PyTorch wants the other order; the engine adds gradients in any
        return _add_into_dense(b if alpha == 1 else b * alpha, a, 1)
    return _add_into_dense(a, b, alpha)


@rule("sub")
def sub(a: Any, b: Any, alpha: Any = 1) -> Tensor:
    """a - alpha b."""
    return add(a, b, -alpha)


@rule("add", write=True)
def add_(a: Tensor, b: SparseTensor, alpha: Any = 1) -> Tensor:
    """dense += alpha sparse."""
    if is_sparse(a):
        if not is_sparse(b):
            raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
        return _take(a, add(a, b, alpha))
    return a.copy_(_add_into_dense(a, b, alpha))


@rule("sub", write=True)
def sub_(a: Tensor, b: SparseTensor, alpha: Any = 1) -> Tensor:
    """dense -= alpha sparse."""
    return add_(a, b, -alpha)


def _take(x: SparseTensor, value: SparseTensor) -> SparseTensor:
    x._kind, x._indices_, x._vals, x._coalesced = value._kind, value._indices_, value._vals, value._coalesced
    return x


@rule("mul")
def mul(a: Any, b: Any) -> SparseTensor:
    """Sparse times number, dense or sparse: sparse."""
    if not is_sparse(a):
        a, b = b, a
    if _is_number(b):
        return like(a, a._vals * b)
    if not is_sparse(b):
        return _with_dense(a, b, mg.mul)
    if a.shape != b.shape:
        raise RuntimeError(f"mul: expected operands of one size: got {tuple(a.shape)} and {tuple(b.shape)}")
    kind, a, b = a._kind, coalesce(to_layout(a, sparse_coo)), coalesce(to_layout(b, sparse_coo))
    lead = a.shape[: a.sparse_dim()]
    ka, kb = flat_keys(a._indices_[0], lead), flat_keys(b._indices_[0], lead)
    at = mg.searchsorted(kb, ka).clamp(max=max(kb.shape[0] - 1, 0)) if kb.shape[0] else mg.zeros_like(ka)
    common = (kb.index_select(0, at) == ka).nonzero().squeeze(1) if kb.shape[0] else ka[:0]
    values = a._vals.index_select(0, common) * b._vals.index_select(0, at.index_select(0, common))
    return to_layout(make(sparse_coo, (a._indices_[0].index_select(1, common),), values, a.shape, True), kind)


def _with_dense(x: SparseTensor, dense: Tensor, function: Callable) -> SparseTensor:
    if mg.broadcast_shapes(x.shape, dense.shape) != tuple(x.shape):
        raise NotImplementedError(
            f"mul: a sparse tensor of shape {tuple(x.shape)} cannot be broadcast to {tuple(dense.shape)}. Try x.to_dense()."
        )
    indices, values = coo_parts(x)
    return like(x, function(values, dense.expand(x.shape)[tuple(indices.to(mg.int64))]))


@rule("true_divide")
def true_divide(a: Any, b: Any) -> SparseTensor:
    """Sparse divided by a number or a dense tensor."""
    if not is_sparse(a) or is_sparse(b):
        raise RuntimeError("div: only implemented for sparse / number and sparse / dense. Try x.to_dense().")
    return like(a, a._vals / b) if _is_number(b) else _with_dense(a, b, mg.true_divide)


@rule("pow")
def pow_(a: Any, exponent: Any) -> SparseTensor:
    """Sparse to a positive power."""
    if not is_sparse(a) or isinstance(exponent, Tensor) or exponent <= 0:
        raise RuntimeError("pow: only implemented for sparse ** positive number. Try x.to_dense().")
    a = coalesce(a) if a._kind is sparse_coo and not a._coalesced else a
    return like(a, a._vals**exponent)


for _name, _function in (("mul", mul), ("true_divide", true_divide), ("div", true_divide)):
    _writes[_name] = lambda a, b, _f=_function: _take(a, _f(a, b))


@rule("zero", write=True)
def zero_(a: SparseTensor) -> SparseTensor:
    """No entries at all."""
    none = a._indices_[0].new_zeros((a.dim() - a.dense_dim(), 0))
    empty = make(sparse_coo, (none,), a._vals.new_zeros((0, *a._vals.shape[1:])), a.shape, True)
    return _take(a, to_layout(empty, a._kind))


@rule("copy", write=True)
def copy_(a: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Take over another tensor's entries."""
    if not is_sparse(a) or not is_sparse(src):
        raise RuntimeError("copy_() between dense and sparse Tensors is not implemented! Try x.to_dense().")
    return _take(a, like(src, src._vals.detach().to(a.dtype).clone().requires_grad_(a._vals.requires_grad)))


# --- shapes ----------------------------------------------------------------------------------------------------------------------
@rule("transpose")
def transpose(x: SparseTensor, dim0: int, dim1: int) -> SparseTensor:
    """Two dimensions exchanged; CSR becomes CSC."""
    order = list(range(x.dim()))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return permute(x, order)


@rule("t")
def t(x: SparseTensor) -> SparseTensor:
    """The transposed matrix."""
    return transpose(x, 0, 1) if x.dim() == 2 else x


@rule("permute")
def permute(x: SparseTensor, dims: Any) -> SparseTensor:
    """Dimensions in another order (those with indices among themselves)."""
    dims = [d % x.dim() for d in dims]
    sizes = [x.shape[d] for d in dims]
    if x._kind is not sparse_coo:
        kind = x._kind if dims == [0, 1] else sparse_csc if x._kind is sparse_csr else sparse_csr
        return make(kind, x._indices_, x._vals, sizes, True)
    lead = x.sparse_dim()
    if any((d < lead) != (k < lead) for k, d in enumerate(dims)):
        raise RuntimeError("permute: dimensions with indices and dense dimensions cannot change places. Try x.to_dense().")
    values = x._vals.permute(0, *[d - lead + 1 for d in dims[lead:]])
    kept = dims[:lead] == list(range(lead))
    lines = x._indices_[0].index_select(0, mg.tensor(dims[:lead], device=values.device))
    return make(sparse_coo, (lines,), values, sizes, x._coalesced and kept)


@rule("unsqueeze")
def unsqueeze(x: SparseTensor, dim: int) -> SparseTensor:
    """A new dimension of size 1 (COO)."""
    x, dim = to_layout(x, sparse_coo), dim % (x.dim() + 1)
    sizes = [*x.shape[:dim], 1, *x.shape[dim:]]
    if dim > x.sparse_dim():
        return make(sparse_coo, x._indices_, x._vals.unsqueeze(dim - x.sparse_dim() + 1), sizes, x._coalesced)
    row = x._indices_[0].new_zeros((1, x._nnz()))
    return make(sparse_coo, (mg.cat([x._indices_[0][:dim], row, x._indices_[0][dim:]]),), x._vals, sizes, x._coalesced)


@rule("cat")
def cat(tensors: list, dim: int = 0) -> SparseTensor:
    """Sparse tensors one after the other along a dimension with indices (COO)."""
    if not all(is_sparse(x) for x in tensors):
        raise RuntimeError("cat: sparse and dense tensors cannot be joined. Try x.to_dense().")
    dim, start, parts = dim % tensors[0].dim(), 0, []
    for x in tensors:
        indices, values = coo_parts(x)
        shift = mg.zeros((indices.shape[0], 1), dtype=mg.int64, device=indices.device)
        shift[dim] = start
        parts.append((indices + shift, values))
        start += x.shape[dim]
    sizes = [*tensors[0].shape[:dim], start, *tensors[0].shape[dim + 1 :]]
    made = make(sparse_coo, (mg.cat([i for i, _ in parts], 1),), mg.cat([v for _, v in parts]), sizes, False)
    return to_layout(made, tensors[0]._kind)


@rule("index_select")
def index_select(x: SparseTensor, dim: int, index: Tensor) -> SparseTensor:
    """Some slices along a dimension with indices (COO)."""
    x, dim = coalesce(to_layout(x, sparse_coo)), dim % x.dim()
    indices, values = x._indices_[0], x._vals
    order = indices[dim].argsort(stable=True)
    pointers = plain_to_compressed(indices[dim].index_select(0, order), x.shape[dim])
    index = mg.where(index < 0, index + x.shape[dim], index)
    start, count = pointers[:-1].index_select(0, index), pointers.diff().index_select(0, index)
    which = mg.arange(index.shape[0], device=index.device).repeat_interleave(count)
    first = count.cumsum(0) - count
    place = mg.arange(which.shape[0], device=which.device) - first.index_select(0, which)
    entry = order.index_select(0, start.index_select(0, which) + place)
    picked = indices.index_select(1, entry)
    picked[dim] = which
    sizes = [*x.shape[:dim], index.shape[0], *x.shape[dim + 1 :]]
    return coalesce(make(sparse_coo, (picked,), values.index_select(0, entry), sizes, False))


@rule("select")
def select(x: SparseTensor, dim: int, index: int) -> Tensor:
    """One slice along a dimension with indices."""
    dim = dim % x.dim()
    if not -x.shape[dim] <= index < x.shape[dim]:
        raise IndexError(f"select(): index {index} out of range for tensor of size {tuple(x.shape)} at dimension {dim}")
    one = index_select(x, dim, mg.tensor([index % x.shape[dim]], device=x.device))
    from minigrad.sparse._sums import sum_

    return sum_(one, dim) if one.dim() > 1 else one._vals.sum(0)
