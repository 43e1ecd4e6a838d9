"""The Python half of Tensor: conversions, NumPy and DLPack exchange, copying and pickling, hooks, iteration.

Everything here is attached to the C type at import. Printing is in `printing.py`, indexing in `indexing.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

from minigrad import _core
from minigrad._exchange import cuda_array_interface, dlpack, dlpack_device, from_cuda_array, from_dlpack  # noqa: F401  re-exported
from minigrad._layout import (  # noqa: F401  re-exported
    channels_last,
    channels_last_3d,
    contiguous_format,
    layout,
    memory_format,
    preserve_format,
    strided,
)  # fmt: skip

Tensor = _core.Tensor
dtype, device = _core.dtype, _core.device


def is_tensor(obj: Any) -> bool:
    """True for a minigrad Tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """True when the dtype is a floating one."""
    return input.is_floating_point()


def numel(input: Tensor) -> int:
    """Number of elements."""
    return input.numel()


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor sharing memory with `data` where possible (tensor, NumPy array, DLPack object), else a copy.

    Args:
        data: tensor, array, nested lists, number.
        dtype, device: wanted type and place; None keeps those of `data`.
    """
    data = getattr(data, "_bytes", data)  # of a storage
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device)
    if hasattr(data, "__cuda_array_interface__"):
        return from_cuda_array(data).to(dtype=dtype, device=device)
    if hasattr(data, "__array_interface__") and not isinstance(data, (list, tuple)):
        import numpy as np

        if isinstance(data, np.ndarray) and not any(s < 0 for s in data.strides) and data.flags.writeable:
            return _core.from_numpy(data).to(dtype=dtype, device=_core.get_default_device() if device is None else device)
    return _core.tensor(data, dtype=dtype, device=device)


def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False) -> Tensor:
    """`as_tensor` with the Array API's `copy` switch: True always copies, False raises when it would have to.

    The result has no history of its argument unless `requires_grad`.
    """
    if isinstance(obj, Tensor) and not requires_grad:
        obj = obj.detach()
    if copy:
        out = _core.tensor(obj, dtype=dtype, device=device)
    else:
        out = as_tensor(obj, dtype, device)
        if copy is False and not (isinstance(obj, Tensor) or hasattr(obj, "__array_interface__")):
            raise ValueError("asarray: unable to avoid a copy of this object")
    return out.requires_grad_() if requires_grad else out


def stack_nested(data: Any) -> Tensor:
    """Nested sequences that contain tensors or arrays, stacked into one tensor (called by `tensor()`)."""
    import minigrad

    if isinstance(data, (list, tuple)):
        return minigrad.stack([stack_nested(item).detach() for item in data])
    if isinstance(data, Tensor):
        return data
    if hasattr(data, "keys"):
        raise RuntimeError(f"tensor: could not infer dtype of {type(data).__name__}. Try its values().")
    if hasattr(data, "__getitem__") and not hasattr(data, "__array_interface__"):  # some other sequence
        return _core.tensor([data[k] for k in range(len(data))])
    return _core.tensor(data)


def tensor_repr(self: Tensor) -> str:
    """`repr(x)`, PyTorch's format."""
    if _core.is_dataless(self):
        from minigrad.func._vmap import batched_repr

        return batched_repr(self)
    from minigrad.printing import tensor_text

    return tensor_text(self)


def tensor_iter(self: Tensor) -> Iterator[Tensor]:
    """`iter(x)`: slices along dimension 0."""
    if self.dim() == 0:
        raise TypeError("iteration over a 0-d tensor")
    return iter([self[k] for k in range(len(self))])


# --- conversion --------------------------------------------------------------------------------------------------------
def _parse_to(args: tuple, kwargs: dict[str, Any]) -> tuple[Any, Any, bool, Any, bool]:
    target_dtype, target_device = kwargs.pop("dtype", None), kwargs.pop("device", None)
    copy, fmt = kwargs.pop("copy", False), kwargs.pop("memory_format", None)
    non_blocking = kwargs.pop("non_blocking", False)
    other = kwargs.pop("other", None)
    if kwargs:
        raise TypeError(f"to() got an unexpected keyword argument '{next(iter(kwargs))}'")
    flags = []
    for a in args:
        if isinstance(a, dtype) or a in (float, int, bool, complex):
            target_dtype = a
        elif isinstance(a, bool):
            flags.append(a)
        elif isinstance(a, (str, device, int)):
            target_device = a
        elif isinstance(a, Tensor):
            other = a
        elif a is not None:
            raise TypeError(f"to(): expected a dtype, device or Tensor, not {type(a).__name__}")
    if flags:
        non_blocking, copy = flags[0], flags[1] if len(flags) == 2 else copy
    if other is not None:
        target_dtype, target_device = other.dtype, other.device
    return target_dtype, target_device, copy, fmt, non_blocking


def _to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Convert dtype and/or device: `to(dtype)`, `to(device)`, `to(device, dtype)`, `to(other)`; self when nothing changes."""
    from minigrad.op import functions

    target_dtype, target_device, copy, fmt, non_blocking = _parse_to(args, kwargs)
    out = self
    if target_device is not None and _core.settled_device(target_device) != self.device:
        out = functions["_to_device"](out, target_device, non_blocking)
    if target_dtype is not None:
        target_dtype = _PYTHON_TYPES.get(target_dtype, target_dtype)
        if target_dtype != out.dtype:
            if out.is_complex() and not target_dtype.is_complex and target_dtype is not _core.bool:
                warnings.warn("Casting complex values to real discards the imaginary part", UserWarning, stacklevel=2)
            out = functions["_to_dtype"](out, target_dtype)
    if copy and out is self:
        out = out.clone()
    return out.contiguous(memory_format=fmt) if fmt in (channels_last, channels_last_3d) else out


_PYTHON_TYPES = {float: _core.float64, int: _core.int64, bool: _core.bool, complex: _core.complex128}


def contiguous_format_copy(self: Tensor, fmt: memory_format) -> Tensor:
    """`contiguous(memory_format=...)`: channels_last lays a 4-d tensor out as NHWC, channels_last_3d a 5-d one as NDHWC."""
    if fmt not in (channels_last, channels_last_3d):
        return self.contiguous()
    if self.is_contiguous(memory_format=fmt):
        return self
    rank = 4 if fmt is channels_last else 5
    if self.dim() != rank:
        raise RuntimeError(f"contiguous: required rank {rank} tensor to use {str.__str__(fmt)} format: got shape {tuple(self.shape)}")
    return self.movedim(1, -1).contiguous().movedim(-1, 1)


def _type(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """`x.type()` names the type ('minigrad.FloatTensor'); `x.type(dtype)` converts, `x.type("minigrad.cuda.FloatTensor")` moves, too."""
    if dtype is None:
        return TYPE_PREFIX + ("" if self.device.type == "cpu" else self.device.type + ".") + _TYPE_NAMES[str(self.dtype).split(".")[1]]
    if isinstance(dtype, str):
        *_, place, name = ("", *dtype.split("."))
        dtype = next((getattr(_core, d) for d, t in _TYPE_NAMES.items() if t == name), None)
        if dtype is None:
            raise ValueError(f"type(): invalid type '{name}'")
        return self.to("cuda" if place == "cuda" else "cpu", dtype)
    if hasattr(dtype, "is_cuda"):  # a legacy type, such as cuda.DoubleTensor
        return self.to("cuda" if dtype.is_cuda else "cpu", dtype.dtype)
    return self.to(dtype)


TYPE_PREFIX = "minigrad."  # minigrad.compat makes it "torch."
_TYPE_NAMES = {
    "float32": "FloatTensor", "float64": "DoubleTensor", "float16": "HalfTensor", "bfloat16": "BFloat16Tensor",
    "uint8": "ByteTensor", "int8": "CharTensor", "int16": "ShortTensor", "int32": "IntTensor", "int64": "LongTensor",
    "bool": "BoolTensor", "complex64": "ComplexFloatTensor", "complex128": "ComplexDoubleTensor",
}  # fmt: skip


# --- NumPy and DLPack --------------------------------------------------------------------------------------------------
class _Exporter:
    """Carries `__array_interface__` and keeps the tensor alive as the array's base."""

    __slots__ = ("__array_interface__", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.__array_interface__ = _core.array_interface(tensor)


def _numpy(self: Tensor, *, force: bool = False) -> Any:
    """A NumPy array sharing this tensor's memory.

    Args:
        force: detach and copy to the CPU first where that is needed.
    Raises:
        RuntimeError: the tensor requires grad, and grad mode is on. TypeError: bfloat16, or not on the CPU.
    """
    import numpy as np

    if self.requires_grad and not force and _core.is_grad_enabled():
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
    source = self.detach().to("cpu") if force else self
    return np.asarray(_Exporter(source))


def _array(self: Tensor, dtype: Any = None, copy: bool | None = None) -> Any:
    import numpy as np

    out = _numpy(self)
    if dtype is not None and out.dtype != dtype:
        if copy is False:
            raise ValueError("__array__: a conversion of dtype needs a copy")
        return out.astype(dtype)
    return np.array(out) if copy else out


# --- copying and pickling ----------------------------------------------------------------------------------------------
def _reduce_ex(self: Tensor, protocol: int) -> Any:
    from minigrad.storage import reduce_tensor

    return reduce_tensor(self)


def _setstate(self: Tensor, state: dict[str, Any]) -> None:
    self.__dict__.update(state)


def _deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    import copy

    if id(self) in memo:
        return memo[id(self)]
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment. "
            "Try x.detach().clone()."
        )
    from minigrad.storage import deepcopy_data

    out = deepcopy_data(self, memo)
    if type(self) is not Tensor:
        out = Tensor._make_subclass(type(self), out, self.requires_grad)
    elif self.requires_grad:
        out.requires_grad_()
    memo[id(self)] = out
    if self.grad is not None:
        out.grad = _deepcopy(self.grad.detach(), memo)
    if getattr(self, "__dict__", None):  # plain tensors have none
        out.__dict__.update(copy.deepcopy(self.__dict__, memo))
    return out


def _of_storage(name: str) -> Callable:
    """A method that lives in minigrad/storage.py, imported on first use."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        from minigrad import storage

        return getattr(storage, name)(self, *args, **kwargs)

    method.__name__ = name
    return method


# --- hooks -------------------------------------------------------------------------------------------------------------
class RemovableHandle:
    """Returned by hook registrations; `remove()` (or leaving a `with` block) takes the hook out again."""

    def __init__(self, remove: Callable[[], None]) -> None:
        self._remove: Callable[[], None] | None = remove

    def remove(self) -> None:
        """Take the hook out; a second call does nothing."""
        if self._remove is not None:
            self._remove()
            self._remove = None

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.remove()


def _register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Call `hook(grad)` whenever the gradient of this tensor is computed; a returned tensor replaces it."""
    number = _core.add_tensor_hook(self, hook)
    return RemovableHandle(lambda: _core.remove_tensor_hook(self, number))


def _register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    """Call `hook(leaf)` after its `.grad` was accumulated."""
    number = _core.add_post_accumulate_hook(self, hook)
    return RemovableHandle(lambda: _core.remove_post_accumulate_hook(self, number))


# --- small things ------------------------------------------------------------------------------------------------------
def _format(self: Tensor, spec: str) -> str:
    is_number = self.dim() == 0 and not self.is_meta and type(self) is Tensor
    return format(self.item(), spec) if is_number else object.__format__(self, spec)


def _contains(self: Tensor, element: Any) -> bool:
    return bool((self == element).any())


def _cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """This tensor on the CPU; self when it is there already."""
    return self.to("cpu")


def _cuda(self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Tensor:
    """This tensor on a CUDA device, the current one if none is named."""
    return self.to("cuda" if device is None else device, non_blocking=non_blocking)


def _attach() -> None:
    def converter(target: Any, name: str) -> Callable:
        def convert(self: Tensor, memory_format: Any = None) -> Tensor:
            return self.to(target)

        convert.__name__ = name
        convert.__doc__ = f"self.to({target})"
        return convert

    names = {
        "float": "float32", "double": "float64", "half": "float16", "bfloat16": "bfloat16", "int": "int32",
        "long": "int64", "short": "int16", "char": "int8", "byte": "uint8", "bool": "bool",
        "cfloat": "complex64", "cdouble": "complex128",
    }  # fmt: skip
    for name, target in names.items():
        setattr(Tensor, name, converter(getattr(_core, target), name))
    methods: dict[str, Any] = {
        "to": _to, "type": _type, "cpu": _cpu, "cuda": _cuda, "numpy": _numpy,
        "__array__": _array, "__dlpack__": dlpack, "__dlpack_device__": dlpack_device, "__reduce_ex__": _reduce_ex,
        "__setstate__": _setstate, "__deepcopy__": _deepcopy, "__format__": _format, "__contains__": _contains,
        "untyped_storage": _of_storage("untyped_storage"), "storage": _of_storage("typed_storage"),
        "_typed_storage": _of_storage("typed_storage"), "set_": _of_storage("set_tensor"),
        "register_hook": _register_hook, "register_post_accumulate_grad_hook": _register_post_accumulate_grad_hook,
    }  # fmt: skip
    for name, method in methods.items():
        setattr(Tensor, name, method)
    Tensor.__complex__ = lambda self: complex(self.item())
    Tensor.tolist = lambda self: _core.to_list(self)
    Tensor.retain_grad = lambda self: _core.retain_grad(self)
    Tensor.type_as = lambda self, other: self.to(other.dtype)
    Tensor.get_device = lambda self: -1 if self.device.index is None else self.device.index
    Tensor.layout = property(lambda self: strided)
    Tensor._is_view = lambda self: _core.is_view(self)
    Tensor._base = property(lambda self: _core.view_base(self))
    Tensor.__array_priority__ = 1000
    Tensor.__cuda_array_interface__ = property(cuda_array_interface)
    Tensor.__module__ = "minigrad"
    Tensor.__reversed__ = lambda self: self.flip(0) if self.dim() else self


_attach()
