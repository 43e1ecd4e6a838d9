"""Tensors as PyTorch's files describe them: a storage, and how each tensor looks at it.

All limits (bounds, signs, alignment) are checked by `_core.storage_tensor`; here are the kinds of the arguments.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad import _core

from ..nn.parameter import Parameter
from ._unpickle import UnpicklingError


class LoadedStorage:
    """A storage read from a file: its bytes, and the dtype its kind gives to tensors without one of their own."""

    __slots__ = ("bytes", "dtype", "bools_checked")

    def __init__(self, data: mg.Tensor, dtype: Any) -> None:
        self.bytes, self.dtype, self.bools_checked = data, dtype, False

    def tensor(self, dtype: Any, size: Any, stride: Any, offset: Any) -> mg.Tensor:
        """A tensor over the storage; raises when it would reach outside."""
        if dtype is None:
            raise UnpicklingError("a tensor without a dtype")
        if type(offset) is not int or offset < 0:
            raise UnpicklingError(f"storage offset {offset!r:.40} is no natural number")
        for name, values in (("size", size), ("stride", stride)):
            if type(values) not in (tuple, mg.Size, list) or not all(type(v) is int for v in values):
                raise UnpicklingError(f"the {name} of a tensor must be ints")
        data = self.bytes
        if data.data_ptr() % dtype.itemsize:
            data = self.bytes = data.clone()
        if dtype is mg.bool and not self.bools_checked:
            # In memory a bool is 0 or 1; a file may hold any byte.
            self.bools_checked = True
            if bool((data > 1).any()):
                data.copy_(data != 0)
        return _core.storage_tensor(data, dtype, tuple(size), tuple(stride), offset)


def _storage(storage: Any) -> LoadedStorage:
    if not isinstance(storage, LoadedStorage):
        raise UnpicklingError("a tensor must be made from a storage")
    return storage


def _finished(out: mg.Tensor, requires_grad: Any, metadata: Any) -> mg.Tensor:
    if metadata:
        if type(metadata) is not dict or not set(metadata) <= {"conj", "neg"}:
            raise UnpicklingError("unknown metadata of a tensor")
        out = out.conj() if metadata.get("conj") else out
        out = -out if metadata.get("neg") else out
    return out.requires_grad_() if requires_grad is True else out


def rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any) -> mg.Tensor:
    """torch._utils._rebuild_tensor."""
    storage = _storage(storage)
    return storage.tensor(storage.dtype, size, stride, offset)


def rebuild_tensor_v2(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any = None, metadata: Any = None
) -> mg.Tensor:
    """torch._utils._rebuild_tensor_v2; hooks are never kept."""
    return _finished(rebuild_tensor(storage, offset, size, stride), requires_grad, metadata)


def rebuild_tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, dtype: Any, metadata: Any = None
) -> mg.Tensor:
    """torch._utils._rebuild_tensor_v3: the dtype stands beside the storage."""
    if not isinstance(dtype, mg.dtype):
        raise UnpicklingError("a tensor without a dtype")
    return _finished(_storage(storage).tensor(dtype, size, stride, offset), requires_grad, metadata)


def rebuild_meta(dtype: Any, size: Any, stride: Any, requires_grad: Any) -> mg.Tensor:
    """torch._utils._rebuild_meta_tensor_no_storage: a tensor on the meta device."""
    if not isinstance(dtype, mg.dtype):
        raise UnpicklingError("a tensor without a dtype")
    if type(size) is not tuple or type(stride) is not tuple or not all(type(n) is int and n >= 0 for n in (*size, *stride)):
        raise UnpicklingError("a meta tensor whose sizes and strides are no tuples of ints")
    return _finished(mg.empty_strided(size, stride, dtype=dtype, device="meta"), requires_grad, None)


def _tensor(data: Any) -> mg.Tensor:
    if not isinstance(data, mg.Tensor):
        raise UnpicklingError(f"expected a tensor, got {type(data).__name__}")
    return data


def make_parameter(data: Any = None, requires_grad: Any = True) -> Parameter:
    """torch.nn.Parameter(data, requires_grad)."""
    return Parameter(None if data is None else _tensor(data).detach(), bool(requires_grad))


def rebuild_parameter(data: Any, requires_grad: Any, hooks: Any = None) -> Parameter:
    """torch._utils._rebuild_parameter."""
    return make_parameter(data, requires_grad)


def rebuild_parameter_with_state(data: Any, requires_grad: Any, hooks: Any, state: Any) -> Parameter:
    """torch._utils._rebuild_parameter_with_state: a Parameter with attributes."""
    return set_attributes(make_parameter(data, requires_grad), state)


def set_attributes(tensor: mg.Tensor, state: Any) -> mg.Tensor:
    """Attributes of a tensor from a file; names that the class uses itself are refused."""
    if type(state) is tuple and len(state) == 2 and not state[1]:
        state = state[0]
    if state is None:
        return tensor
    if type(state) is not dict or not all(type(k) is str and not hasattr(type(tensor), k) for k in state):
        raise UnpicklingError("the attributes of a tensor must be a plain dict of new names")
    tensor.__dict__.update(state)
    return tensor


def rebuild_from_type(function: Any, cls: Any, args: Any, state: Any) -> mg.Tensor:
    """torch._tensor._rebuild_from_type_v2: a tensor with attributes. Subclasses are the business of weights_only=False."""
    from ._globals import TorchRules

    if cls not in (mg.Tensor, Parameter) or type(args) is not tuple:
        raise UnpicklingError("Weights only load failed. A Tensor subclass needs `weights_only=False`")
    made = TorchRules().call(function, args)
    if cls is Parameter and type(made) is not Parameter:
        made = make_parameter(made, _tensor(made).requires_grad)
    return set_attributes(_tensor(made), state)


def get_layout(name: Any) -> Any:
    """torch.serialization._get_layout('torch.strided')."""
    short = name.rpartition(".")[2] if type(name) is str else ""
    found = getattr(mg, short, None) if short.startswith(("strided", "sparse_")) else None
    if not isinstance(found, mg.layout):
        raise UnpicklingError(f"unknown layout {name!r:.40}")
    return found


def rebuild_sparse(layout: Any, data: Any) -> mg.Tensor:
    """torch._utils._rebuild_sparse_tensor; indices are checked against the size."""
    kind = str(layout).rpartition(".")[2]
    if kind == "sparse_coo":
        indices, values, size, *coalesced = data
        out = mg.sparse_coo_tensor(_tensor(indices), _tensor(values), _sizes(size), check_invariants=True)
        return out.coalesce() if coalesced and coalesced[0] else out  # a file may call itself coalesced and be wrong
    if kind not in ("sparse_csr", "sparse_csc"):
        raise UnpicklingError(f"sparse tensors of layout {kind!r:.40} are not supported")
    pointers, plain, values, size = data
    return mg.sparse_compressed_tensor(*map(_tensor, (pointers, plain, values)), _sizes(size), layout=layout, check_invariants=True)


def _sizes(size: Any) -> tuple[int, ...]:
    if type(size) not in (tuple, list, mg.Size) or not all(type(n) is int and 0 <= n < 2**62 for n in size):
        raise UnpicklingError("a size must be a tuple of ints")
    return tuple(size)
