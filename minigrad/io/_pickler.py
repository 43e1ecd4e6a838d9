"""Pickles with PyTorch's names: what `torch.load` reads, tensors taken apart into storages.

The pickler is Python's own (`pickle._Pickler`); tensors, dtypes, sizes, devices and layouts are written as the globals
that PyTorch writes, which do not exist here: `_Name` objects stand for them.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

import minigrad as mg
from minigrad import _core

from ..nn.parameter import Parameter
from ..storage import STORAGE_NAMES, TypedStorage, UntypedStorage, _attributes


class _Name:
    """A global of the file that need not exist in this process."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self) -> None:  # pickle asks that what rebuilds an object be callable
        raise TypeError(f"{self.module}.{self.name} exists in files only")


_names: dict[tuple[str, str], _Name] = {}


def name_of(module: str, name: str) -> _Name:
    """The one stand-in for a global: the pickler's memo works by identity."""
    return _names.setdefault((module, name), _Name(module, name))


class _StorageRef:
    """A storage as one tensor sees it: persistent id of the pickle."""

    def __init__(self, storage: UntypedStorage, dtype: Any) -> None:
        self.storage, self.dtype = storage, dtype


class TorchPickler(pickle._Pickler):
    """Pickles an object; the storages it met are in `storages`, by key.

    Args:
        file, protocol: as for pickle.Pickler.
        describe: key, storage, dtype -> the persistent id of a storage.
    """

    def __init__(self, file: BinaryIO, protocol: int, describe: Callable[[str, UntypedStorage, Any], tuple]) -> None:
        super().__init__(file, protocol)
        self.describe = describe
        self.keys: dict[int, str] = {}
        self.storages: dict[str, UntypedStorage] = {}
        self.dtypes: dict[int, Any] = {}

    def persistent_id(self, obj: Any) -> Any:
        """The id of a storage; None for all else."""
        if isinstance(obj, TypedStorage):
            obj = _StorageRef(obj.untyped(), obj.dtype)
        elif isinstance(obj, UntypedStorage):
            obj = _StorageRef(obj, None)
        if not isinstance(obj, _StorageRef):
            return None
        # By the storage's identity, not its address: empty storages share none.
        identity = obj.storage._cdata
        if self.dtypes.setdefault(identity, obj.dtype) != obj.dtype:
            raise RuntimeError(
                "Cannot save multiple tensors or storages that view the same data as different types: "
                f"{self.dtypes[identity]} and {obj.dtype}. Try x.clone() on one of them."
            )
        key = self.keys.setdefault(identity, str(len(self.keys)))
        self.storages[key] = obj.storage
        return self.describe(key, obj.storage, obj.dtype)

    def reducer_override(self, obj: Any) -> Any:
        """How minigrad's own kinds are written."""
        if isinstance(obj, mg.Tensor):
            return _reduce_tensor(obj)
        if isinstance(obj, mg.Size):
            return name_of("torch", "Size"), (tuple(obj),)
        if isinstance(obj, mg.device):
            return name_of("torch", "device"), (obj.type,) if obj.type == "cpu" else (obj.type, obj.index or 0)
        if isinstance(obj, mg.layout):
            return name_of("torch.serialization", "_get_layout"), ("torch." + str(obj).rpartition(".")[2],)
        return NotImplemented

    def save(self, obj: Any, save_persistent_id: bool = True) -> Any:
        """Write one object; names are spelled out, dtypes are names."""
        if isinstance(obj, mg.dtype):
            obj = name_of("torch", str(obj).rpartition(".")[2])
        elif obj is mg.Tensor:
            obj = name_of("torch", "Tensor")
        elif obj is Parameter:
            obj = name_of("torch.nn.parameter", "Parameter")
        if type(obj) is not _Name:
            return super().save(obj, save_persistent_id)
        known = self.memo.get(id(obj))
        if known is not None:
            self.write(self.get(known[0]))
            return None
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)
        return None


def _reduce_tensor(tensor: mg.Tensor) -> tuple:
    if tensor.layout is not mg.strided:
        return _reduce_sparse(tensor)
    reduce = type(tensor).__reduce_ex__
    if reduce not in (mg.Tensor.__reduce_ex__, Parameter.__reduce_ex__):
        return tensor.__reduce_ex__(2)
    if tensor.is_meta:
        return _reduce_meta(tensor)
    _core.storage_bytes(tensor)  # raises for tensors without data
    storage = _StorageRef(UntypedStorage.of(tensor), tensor.dtype)
    geometry = (storage, tensor.storage_offset(), tuple(tensor.shape), tuple(tensor.stride()))
    state = _attributes(tensor)
    rebuild = name_of("torch._utils", "_rebuild_tensor_v2")
    if type(tensor) is Parameter:
        data = _Rebuilt(rebuild, (*geometry, False, OrderedDict()))
        if state is None:
            return name_of("torch._utils", "_rebuild_parameter"), (data, tensor.requires_grad, OrderedDict())
        return name_of("torch._utils", "_rebuild_parameter_with_state"), (data, tensor.requires_grad, OrderedDict(), state)
    args = (*geometry, tensor.requires_grad, OrderedDict())
    if type(tensor) is mg.Tensor and state is None:
        return rebuild, args
    kind = name_of("torch", "Tensor") if type(tensor) is mg.Tensor else type(tensor)
    return name_of("torch._tensor", "_rebuild_from_type_v2"), (rebuild, kind, args, state or {})


def _reduce_meta(tensor: mg.Tensor) -> tuple:
    rebuild = name_of("torch._utils", "_rebuild_meta_tensor_no_storage")
    args = (tensor.dtype, tuple(tensor.shape), tuple(tensor.stride()))
    if type(tensor) is not Parameter:
        return rebuild, (*args, tensor.requires_grad)
    data = _Rebuilt(rebuild, (*args, False))
    return name_of("torch._utils", "_rebuild_parameter"), (data, tensor.requires_grad, OrderedDict())


class _Rebuilt:
    """An object given by its call alone."""

    def __init__(self, function: _Name, args: tuple) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple:
        return self.call


def _reduce_sparse(tensor: mg.Tensor) -> tuple:
    kind = str(tensor.layout).rpartition(".")[2]
    parts = {
        "sparse_coo": lambda: (tensor._indices(), tensor._values(), tensor.shape, tensor.is_coalesced()),
        "sparse_csr": lambda: (tensor.crow_indices(), tensor.col_indices(), tensor.values(), tensor.shape),
        "sparse_csc": lambda: (tensor.ccol_indices(), tensor.row_indices(), tensor.values(), tensor.shape),
    }.get(kind)
    if parts is None:
        raise NotImplementedError(f"save: tensors of layout {tensor.layout} are not supported. Try x.to_dense().")
    data = tuple(part.detach() if isinstance(part, mg.Tensor) else part for part in parts())
    layout = _Rebuilt(name_of("torch.serialization", "_get_layout"), (f"torch.{kind}",))
    return name_of("torch._utils", "_rebuild_sparse_tensor"), (layout, data)


def storage_type(dtype: Any) -> _Name:
    """The global of a kind of storage."""
    if dtype is None:
        return name_of("torch.storage", "UntypedStorage")
    return name_of("torch", STORAGE_NAMES[str(dtype).rpartition(".")[2]])
