"""Storages: the bytes that tensors look at (`x.untyped_storage()`, `x.storage()`).

A storage object is a thin wrapper over a 1-d uint8 tensor that spans the whole storage. There is at most one living
`UntypedStorage` per storage, so that identity, and with it `pickle`'s memo, tells which tensors share memory.
Pickling and copying of tensors are here too: both keep shared storages shared, views views, and strides as they are.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator
from typing import Any

from minigrad import _core
from minigrad._storage_memory import map_file, window

Tensor = _core.Tensor

__all__ = ["STORAGE_NAMES", "TypedStorage", "UntypedStorage", "storage_class"]

# The names PyTorch gives to the storage of each dtype, in its namespace and in its files.
STORAGE_NAMES = {
    "float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage",
    "uint8": "ByteStorage", "int8": "CharStorage", "int16": "ShortStorage", "int32": "IntStorage",
    "int64": "LongStorage", "bool": "BoolStorage", "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
}  # fmt: skip

_alive: weakref.WeakValueDictionary[int, UntypedStorage] = weakref.WeakValueDictionary()


class UntypedStorage:
    """The bytes under a tensor, shared by all its views.

    Args:
        data: number of bytes, or an iterable of them.
        device: where; the CPU when omitted.

    Example:
        >>> mg.zeros(3).untyped_storage().nbytes()
        12
    """

    def __init__(self, data: Any = 0, *, device: Any = None) -> None:
        if isinstance(data, Tensor):
            raise TypeError("UntypedStorage: expected a number of bytes or their values. Try tensor.untyped_storage().")
        kind = {"dtype": _core.uint8, "device": device}
        made = _core.empty((data,), **kind) if isinstance(data, int) else _core.tensor(list(data), **kind)
        self._adopt(made)

    @classmethod
    def from_file(cls, filename: Any, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """A file, or its first `nbytes`, mapped into memory; writes stay in this process unless `shared`."""
        return cls.of(map_file(filename, shared, nbytes))

    @classmethod
    def of(cls, tensor: Tensor) -> UntypedStorage:
        """The storage object of a tensor; the same object as long as one is alive."""
        key = _core.storage_id(tensor)
        found = _alive.get(key)
        if found is None or len(found._bytes) != _core.storage_nbytes(tensor):  # the storage has grown
            found = found or cls.__new__(cls)
            found._adopt(_core.storage_bytes(tensor))
        return found

    def _adopt(self, data: Tensor) -> None:
        self._bytes = data
        _alive[_core.storage_id(data)] = self

    def tensor(self, dtype: Any, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> Tensor:
        """A tensor over this storage; RuntimeError when it would reach outside."""
        return _core.storage_tensor(self._bytes, dtype, tuple(size), tuple(stride), offset)

    @property
    def device(self) -> Any:
        """Where the bytes are."""
        return self._bytes.device

    @property
    def is_cuda(self) -> bool:
        """Whether they are on a CUDA device."""
        return self._bytes.device.type == "cuda"

    def get_device(self) -> int:
        """The CUDA device's index, -1 for the CPU."""
        return self._bytes.get_device()

    def data_ptr(self) -> int:
        """Address of the first byte."""
        return self._bytes.data_ptr()

    @property
    def _cdata(self) -> int:
        return _core.storage_id(self._bytes)

    def nbytes(self) -> int:
        """Number of bytes."""
        return self._bytes.numel()

    size = nbytes
    __len__ = nbytes

    def element_size(self) -> int:
        """1."""
        return 1

    def is_shared(self) -> bool:
        """Whether the memory is shared between processes."""
        return bool(self._bytes.is_shared()) if hasattr(self._bytes, "is_shared") else False

    def share_memory_(self) -> UntypedStorage:
        """Move the bytes to memory that other processes can map."""
        self._bytes.share_memory_()
        return self

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return UntypedStorage.of(window(self._bytes[index]))
        return self._bytes[index].item()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._bytes[index] = value

    def __iter__(self) -> Iterator[int]:
        return iter(self._bytes.tolist())

    def tolist(self) -> list[int]:
        """The bytes as a list of ints."""
        return self._bytes.tolist()

    def fill_(self, value: int) -> UntypedStorage:
        """Write one value everywhere."""
        self._bytes.fill_(value)
        return self

    def copy_(self, source: Any, non_blocking: bool = False) -> UntypedStorage:
        """Copy the bytes of another storage of the same size."""
        self._bytes.copy_(source._bytes)
        return self

    def clone(self) -> UntypedStorage:
        """A copy."""
        return UntypedStorage.of(self._bytes.clone())

    def resize_(self, size: int) -> UntypedStorage:
        """Make the storage `size` bytes long; it can only grow."""
        _core.storage_resize(self._bytes, size)
        self._adopt(_core.storage_bytes(self._bytes))
        return self

    def to(self, *, device: Any, non_blocking: bool = False) -> UntypedStorage:
        """This storage, or its copy on another device."""
        moved = self._bytes.to(device)
        return self if moved is self._bytes else UntypedStorage.of(moved)

    def untyped(self) -> UntypedStorage:
        """This storage."""
        return self

    def cpu(self) -> UntypedStorage:
        """This storage on the CPU."""
        return self.to(device="cpu")

    def cuda(self, device: Any = None, non_blocking: bool = False) -> UntypedStorage:
        """This storage on a CUDA device."""
        return self.to(device="cuda" if device is None else device)

    def __repr__(self) -> str:
        rows = "".join(f" {value}\n" for value in self._bytes.tolist())
        return f"{rows}[{type(self).__module__}.{type(self).__name__}(device={self.device}) of size {len(self)}]"

    def __deepcopy__(self, memo: dict[int, Any]) -> UntypedStorage:
        # Kept in the memo by the storage itself: the wrapper's own id may be reused before the copying ends.
        copies = memo.setdefault("minigrad.storages", {})
        if self._cdata not in copies:
            copies[self._cdata] = (self.clone(), self)
        return copies[self._cdata][0]

    def __reduce__(self) -> Any:
        if self._bytes.is_meta:
            return functools.partial(UntypedStorage, device="meta"), (self.nbytes(),)
        return _rebuild_storage, (_core.to_bytes(self._bytes), str(self.device))


class TypedStorage:
    """A storage seen as elements of one dtype (`tensor.storage()`); PyTorch keeps it for old code, and so do we.

    Args:
        wrap_storage: the `UntypedStorage` to look at; a new one of the elements in `args` otherwise.
        dtype: of the elements.
    """

    dtype: Any = None

    def __init__(self, *args: Any, wrap_storage: UntypedStorage | None = None, dtype: Any = None, device: Any = None) -> None:
        self.dtype = dtype or type(self).dtype or _core.get_default_dtype()
        if wrap_storage is None:
            data = args[0] if args else 0
            made = _core.empty if isinstance(data, int) else _core.tensor
            values = made((data,) if isinstance(data, int) else list(data), dtype=self.dtype, device=device)
            wrap_storage = UntypedStorage.of(values)
        self._untyped_storage = wrap_storage

    def untyped(self) -> UntypedStorage:
        """The bytes."""
        return self._untyped_storage

    def _tensor(self) -> Tensor:
        return self._untyped_storage.tensor(self.dtype, (len(self),), (1,))

    def __len__(self) -> int:
        return self.nbytes() // self.element_size()

    size = __len__

    def element_size(self) -> int:
        """Bytes per element."""
        return self.dtype.itemsize

    def nbytes(self) -> int:
        """Number of bytes."""
        return self._untyped_storage.nbytes()

    def data_ptr(self) -> int:
        """Address of the first element."""
        return self._untyped_storage.data_ptr()

    @property
    def _cdata(self) -> int:
        return self._untyped_storage._cdata

    @property
    def device(self) -> Any:
        """Where the elements are."""
        return self._untyped_storage.device

    @property
    def is_cuda(self) -> bool:
        """Whether they are on a CUDA device."""
        return self._untyped_storage.is_cuda

    def tolist(self) -> list[Any]:
        """The elements as a list of numbers."""
        return self._tensor().tolist()

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            raise RuntimeError("slices are only supported in UntypedStorage.__getitem__")
        return self._tensor()[index].item()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._tensor()[index] = value

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def fill_(self, value: Any) -> TypedStorage:
        """Write one value everywhere."""
        self._tensor().fill_(value)
        return self

    def copy_(self, source: TypedStorage, non_blocking: bool = False) -> TypedStorage:
        """Copy the elements of another storage of the same length."""
        self._tensor().copy_(source._tensor())
        return self

    def clone(self) -> TypedStorage:
        """A copy."""
        return type(self)(wrap_storage=self._untyped_storage.clone(), dtype=self.dtype)

    def resize_(self, size: int) -> TypedStorage:
        """Make the storage `size` elements long; it can only grow."""
        self._untyped_storage.resize_(size * self.element_size())
        return self

    def pickle_storage_type(self) -> str:
        """PyTorch's name of this kind of storage."""
        return STORAGE_NAMES[str(self.dtype).rpartition(".")[2]]

    def __repr__(self) -> str:
        rows = "".join(f" {value}\n" for value in self.tolist())
        return f"{rows}[minigrad.storage.TypedStorage(dtype={self.dtype}, device={self.device}) of size {len(self)}]"

    def __deepcopy__(self, memo: dict[int, Any]) -> TypedStorage:
        return type(self)(wrap_storage=self._untyped_storage.__deepcopy__(memo), dtype=self.dtype)

    def __reduce__(self) -> Any:
        return _rebuild_typed, (self._untyped_storage, self.dtype)


def storage_class(name: str) -> type[TypedStorage]:
    """The legacy class of one dtype: `storage_class("FloatStorage")`."""
    if name not in _legacy:
        dtype_name = next((d for d, n in STORAGE_NAMES.items() if n == name), None)
        if dtype_name is None:
            raise AttributeError(f"module 'minigrad.storage' has no attribute {name!r}")
        _legacy[name] = type(name, (TypedStorage,), {"dtype": getattr(_core, dtype_name), "__module__": "minigrad.storage"})
    return _legacy[name]


_legacy: dict[str, type[TypedStorage]] = {}


def __getattr__(name: str) -> Any:
    return storage_class(name)


# --- pickling and copying of tensors ---------------------------------------------------------------------------------
def _rebuild_storage(data: bytes, device: str) -> UntypedStorage:
    return UntypedStorage.of(_core.from_bytes(data, _core.uint8, (len(data),)).to(device))


def _rebuild_typed(storage: UntypedStorage, dtype: Any) -> TypedStorage:
    return TypedStorage(wrap_storage=storage, dtype=dtype)


def rebuild_tensor(
    storage: UntypedStorage, dtype: Any, size: tuple, stride: tuple, offset: int, requires_grad: bool, state: dict | None
) -> Tensor:
    """The tensor that `reduce_tensor` took apart."""
    out = storage.tensor(dtype, size, stride, offset)
    if requires_grad:
        out.requires_grad_()
    if state:
        out.__dict__.update(state)
    return out


def rebuild_subclass(cls: type, base: Tensor, requires_grad: bool, state: dict | None) -> Tensor:
    """A tensor of a Python subclass; `__setstate__` of the class gets its attributes where it has one."""
    out = Tensor._make_subclass(cls, base, requires_grad)
    if state:
        out.__setstate__(state)
    return out


def _attributes(tensor: Tensor) -> Any:
    """What a tensor carries beyond its values: `__dict__` (with the slots of a subclass) or what `__getstate__` says."""
    getstate = getattr(type(tensor), "__getstate__", None)
    if getstate is not getattr(object, "__getstate__", None):
        return getstate(tensor)
    return dict(getattr(tensor, "__dict__", None) or {}) or None


def reduce_tensor(tensor: Tensor) -> tuple[Any, tuple]:
    """What `pickle` stores of a tensor: its storage, how it looks at it, and its attributes. History and `.grad` are not kept."""
    plain = _core.storage_tensor(
        _core.storage_bytes(tensor), tensor.dtype, tuple(tensor.shape), tuple(tensor.stride()), tensor.storage_offset()
    )
    geometry = (tensor.dtype, tuple(tensor.shape), tuple(tensor.stride()), tensor.storage_offset())
    if type(tensor) is Tensor:
        return rebuild_tensor, (UntypedStorage.of(tensor), *geometry, tensor.requires_grad, _attributes(tensor))
    return rebuild_subclass, (type(tensor), plain, tensor.requires_grad, _attributes(tensor))


def deepcopy_data(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """A detached plain copy on a copied storage; what shared memory before shares it in the copies."""
    storage = UntypedStorage.of(tensor).__deepcopy__(memo)
    return storage.tensor(tensor.dtype, tuple(tensor.shape), tuple(tensor.stride()), tensor.storage_offset())


def untyped_storage(tensor: Tensor) -> UntypedStorage:
    """`x.untyped_storage()`: the bytes a tensor looks at, shared with its views."""
    return UntypedStorage.of(tensor)


def typed_storage(tensor: Tensor) -> TypedStorage:
    """`x.storage()`: the storage as elements of the tensor's dtype; PyTorch's older form."""
    kind = storage_class(STORAGE_NAMES[str(tensor.dtype).rpartition(".")[2]])
    return kind(wrap_storage=UntypedStorage.of(tensor))


def set_tensor(tensor: Tensor, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None) -> Tensor:
    """`x.set_(…)`: let `x` look at other memory.

    Args:
        source: a tensor, or a storage with `storage_offset`, `size` and `stride`; an empty storage when omitted.
    """
    if source is None:
        made = _core.empty((0,), dtype=tensor.dtype)
    elif isinstance(source, Tensor) and size is None:
        made = source
    else:
        storage = source.untyped() if isinstance(source, TypedStorage) else source
        storage = UntypedStorage.of(storage) if isinstance(storage, Tensor) else storage
        count = storage.nbytes() // tensor.dtype.itemsize
        size = (count,) if size is None else tuple(size)
        if stride is None:
            stride = [1] * len(size)
            for k in range(len(size) - 2, -1, -1):
                stride[k] = stride[k + 1] * max(size[k + 1], 1)
        made = storage.tensor(tensor.dtype, size, tuple(stride), storage_offset)
    if made.dtype != tensor.dtype:
        raise RuntimeError(f"set_: dtypes differ: {tensor.dtype} and {made.dtype}")
    if tensor.requires_grad and _core.is_grad_enabled():
        raise RuntimeError("set_: a leaf that requires grad is being changed in place. Try `with no_grad():`.")
    tensor.data = made
    return tensor
