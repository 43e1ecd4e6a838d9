"""SparseTensor: COO, CSR and CSC tensors.

A SparseTensor is a Tensor without elements (a data-less one, csrc/python/bind_sparse.cpp) that holds index tensors and one tensor of
values. Ops reach `_dispatch.run`, which computes on those with ordinary dense ops; what it has no rule for raises NotImplementedError.
Gradients are those of the values: a sparse leaf requires grad when its values do, and its `.grad` has the same pattern.

Shapes: COO indices (sparse_dim, nnz), values (nnz, *dense dims). CSR: crow_indices (rows + 1,), col_indices (nnz,), values (nnz,); CSC has
the same three for columns.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad._layout import layout, sparse_coo, sparse_csc, sparse_csr
from minigrad._tensor_more import _disabled_torch_function_impl

Tensor = _core.Tensor
_TITLES = {"sparse_coo": "Sparse", "sparse_csr": "SparseCsr", "sparse_csc": "SparseCsc", "strided": "Strided"}


def title(x: Tensor) -> str:
    """The layout's name in error messages."""
    return _TITLES[x.layout._name]


def _part(k: int) -> property:
    def put(self: Tensor, value: Any) -> None:
        _core.sparse_state(self)[k] = value

    return property(lambda self: _core.sparse_state(self)[k], put)


class SparseTensor(Tensor):
    """See the top of this file; made by `make`, not by its class."""

    __torch_function__ = _disabled_torch_function_impl

    # The state lives in the core beside the shape, so that any Python object for this tensor finds it.
    _kind = _part(0)  # the layout
    _indices_ = _part(1)  # COO: a tuple of one tensor; compressed: (compressed, plain)
    _vals = _part(2)
    _coalesced = _part(3)

    # --- what it is ------------------------------------------------------------------------------------------------------------
    layout = property(lambda self: self._kind)
    is_sparse = property(lambda self: self._kind is sparse_coo)
    is_sparse_csr = property(lambda self: self._kind is sparse_csr)
    requires_grad = property(lambda self: self._vals.requires_grad, lambda self, on: self.requires_grad_(on) and None)
    is_leaf = property(lambda self: self._vals.is_leaf)
    grad_fn = property(lambda self: self._vals.grad_fn)
    data = property(lambda self: self.detach())
    T = property(lambda self: self.permute(*reversed(range(self.dim()))))
    mT = property(lambda self: self.transpose(-2, -1))

    @property
    def grad(self) -> Tensor | None:
        """The gradient of a leaf, sparse with the same pattern."""
        grad = self._vals.grad
        return None if grad is None else like(self, grad)

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        self._vals.grad = None if value is None else value._vals

    def requires_grad_(self, requires_grad: bool = True) -> SparseTensor:
        """Collect gradients for the values."""
        self._vals.requires_grad_(requires_grad)
        return self

    def retain_grad(self) -> None:
        """Keep the gradient of the values also where this is no leaf."""
        self._vals.retain_grad()

    # --- parts -----------------------------------------------------------------------------------------------------------------
    def _need(self, what: str, kinds: str, *allowed: Any) -> None:
        if self._kind not in allowed:
            raise RuntimeError(f"{what} expected {kinds} tensor layout but got {title(self)}")

    def indices(self) -> Tensor:
        """(sparse_dim, nnz) of a coalesced COO tensor."""
        self._need("indices", "sparse coordinate", sparse_coo)
        if not self._coalesced:
            raise RuntimeError("Cannot get indices on an uncoalesced tensor, please call .coalesce() first")
        return self._indices_[0]

    def values(self) -> Tensor:
        """(nnz, *dense dims); of a COO tensor only when it is coalesced. Differentiable."""
        if not self._coalesced:
            raise RuntimeError("Cannot get values on an uncoalesced tensor, please call .coalesce() first")
        return self._vals

    def _indices(self) -> Tensor:
        self._need("_indices", "sparse coordinate", sparse_coo)
        return self._indices_[0]

    def _values(self) -> Tensor:
        return self._vals.detach()

    def crow_indices(self) -> Tensor:
        """(rows + 1,) of a CSR tensor: where each row's entries begin."""
        self._need("crow_indices", "sparse row compressed", sparse_csr)
        return self._indices_[0]

    def col_indices(self) -> Tensor:
        """(nnz,) of a CSR tensor."""
        self._need("col_indices", "sparse row compressed", sparse_csr)
        return self._indices_[1]

    def ccol_indices(self) -> Tensor:
        """(columns + 1,) of a CSC tensor: where each column's entries begin."""
        self._need("ccol_indices", "sparse column compressed", sparse_csc)
        return self._indices_[0]

    def row_indices(self) -> Tensor:
        """(nnz,) of a CSC tensor."""
        self._need("row_indices", "sparse column compressed", sparse_csc)
        return self._indices_[1]

    def _nnz(self) -> int:
        return self._vals.shape[0]

    def sparse_dim(self) -> int:
        """Number of dimensions that have indices."""
        return self._indices_[0].shape[0] if self._kind is sparse_coo else 2

    def dense_dim(self) -> int:
        """Number of dimensions that the values have besides."""
        return self._vals.dim() - 1

    def is_coalesced(self) -> bool:
        """Whether the indices of a COO tensor are sorted and distinct (and known to be)."""
        self._need("is_coalesced", "sparse coordinate", sparse_coo)
        return self._coalesced

    def _coalesced_(self, coalesced: bool) -> SparseTensor:
        self._coalesced = coalesced
        return self

    def coalesce(self) -> SparseTensor:
        """Sort the indices of a COO tensor and add up the values of equal ones; self when that is so already."""
        from minigrad.sparse._convert import coalesce

        self._need("coalesce", "sparse coordinate", sparse_coo)
        return self if self._coalesced else coalesce(self)

    # --- conversions -----------------------------------------------------------------------------------------------------------
    def to_dense(self, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
        """The strided tensor with these values."""
        from minigrad.sparse._convert import to_dense

        out = to_dense(self)
        return out if dtype is None else out.to(dtype)

    def to_sparse(self, sparse_dim: Any = None, *, layout: Any = None, blocksize: Any = None, dense_dim: Any = None) -> SparseTensor:
        """The same in another sparse layout (COO by default)."""
        from minigrad.sparse._convert import to_layout

        return to_layout(self, layout or sparse_coo)

    to_sparse_coo = to_sparse

    def to_sparse_csr(self, dense_dim: Any = None) -> SparseTensor:
        """The same as CSR."""
        return self.to_sparse(layout=sparse_csr)

    def to_sparse_csc(self, dense_dim: Any = None) -> SparseTensor:
        """The same as CSC."""
        return self.to_sparse(layout=sparse_csc)

    def detach(self) -> SparseTensor:
        """The same without history."""
        return like(self, self._vals.detach())

    def detach_(self) -> SparseTensor:
        """Cut this tensor from its history."""
        self._vals = self._vals.detach()
        return self

    def contiguous(self, memory_format: Any = None) -> SparseTensor:
        """Self: there is no order of elements in memory."""
        return self

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """False: there are no strides to be contiguous."""
        return False

    def cpu(self, memory_format: Any = None) -> SparseTensor:
        """This tensor on the CPU."""
        return self.to("cpu")

    def to(self, *args: Any, **kwargs: Any) -> SparseTensor:
        """Convert the dtype of the values, or the device of everything."""
        values = self._vals.to(*args, **kwargs)
        if values is self._vals:
            return self
        parts = tuple(t if t.device == values.device else t.to(values.device) for t in self._indices_)
        return make(self._kind, parts, values, self.shape, self._coalesced)

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """`x.type()` names the type, `x.type(dtype)` converts."""
        if dtype is None:
            return ".sparse.".join(self._vals.type().rsplit(".", 1))
        return self.to(dtype=getattr(mg, dtype.split(".")[-1]) if isinstance(dtype, str) else dtype)

    def numpy(self, *, force: bool = False) -> Any:
        """Raises TypeError: NumPy has no sparse arrays."""
        raise TypeError(f"can't convert {title(self)} layout tensor to numpy. Use Tensor.to_dense() first.")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        """Raises: try to_dense()."""
        raise NotImplementedError("tolist: not implemented for sparse tensors. Try x.to_dense().")

    def item(self) -> Any:
        """The number, when there is one."""
        if self.numel() != 1:
            raise RuntimeError(f"a Tensor with {self.numel()} elements cannot be converted to Scalar")
        return self.to_dense().item()

    def norm(self, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
        """Norm of the values; over everything only."""
        if dim is not None:
            raise NotImplementedError("norm: along dimensions of a sparse tensor it is not implemented. Try x.to_dense().")
        values = self._vals if self._coalesced else self.coalesce()._vals
        return values.norm(p, dtype=dtype)

    def storage(self) -> Any:
        """Raises: there is no one storage."""
        raise NotImplementedError("Cannot access storage of SparseTensorImpl")

    untyped_storage = data_ptr = storage

    def __getitem__(self, index: Any) -> Tensor:
        if isinstance(index, int):
            return self.select(0, index)
        if isinstance(index, Tensor) and index.dim() == 1:
            return self.index_select(0, index.nonzero().squeeze(1) if index.dtype == mg.bool else index)
        raise NotImplementedError("indexing of sparse tensors: only by a number or an index tensor along dimension 0. Try x.to_dense().")

    def share_memory_(self) -> SparseTensor:
        """Put the parts in shared memory."""
        for part in (*self._indices_, self._vals):
            part.share_memory_()
        return self

    def is_shared(self) -> bool:
        """Whether the values are in shared memory."""
        return self._vals.is_shared()

    def sparse_resize_(self, size: Any, sparse_dim: int, dense_dim: int) -> SparseTensor:
        """Not implemented: make a new tensor with another `size`."""
        raise NotImplementedError("sparse_resize_: not implemented. Try sparse_coo_tensor(x.indices(), x.values(), size).")

    # --- copying and text -------------------------------------------------------------------------------------------------------
    def __deepcopy__(self, memo: dict) -> SparseTensor:
        import copy

        if id(self) not in memo:
            parts = tuple(copy.deepcopy(t, memo) for t in self._indices_)
            memo[id(self)] = make(self._kind, parts, copy.deepcopy(self._vals, memo), self.shape, self._coalesced)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: int) -> tuple:
        return _rebuild, (self._kind, self._indices_, self._vals.detach(), tuple(self.shape), self._coalesced, self.requires_grad)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        from minigrad.sparse._convert import text

        return text(self)

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    __hash__ = Tensor.__hash__


def make(kind: layout, parts: tuple[Tensor, ...], values: Tensor, size: Any, coalesced: bool) -> SparseTensor:
    """A SparseTensor of these parts; nothing is checked or copied."""
    return _core.sparse_shell([int(n) for n in size], values.dtype, values.device, [kind, tuple(parts), values, coalesced])


def like(x: SparseTensor, values: Tensor) -> SparseTensor:
    """The pattern of x with other values."""
    return make(x._kind, x._indices_, values, x.shape, x._coalesced)


def _rebuild(kind: layout, parts: tuple, values: Tensor, size: tuple, coalesced: bool, requires_grad: bool) -> SparseTensor:
    return make(kind, parts, values.requires_grad_(requires_grad) if requires_grad else values, size, coalesced)


_core.set_sparse_class(SparseTensor)
