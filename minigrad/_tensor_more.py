"""Rarely used names of torch.Tensor, attached to the C type at import: type questions, legacy constructors.

Element-wise Python functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad import _core

Tensor = _core.Tensor


def _as_subclass(self: Tensor, cls: type) -> Tensor:
    """The same values and history as an instance of a subclass of Tensor."""
    return _core.as_subclass(self, cls)


def _disabled_torch_function_impl(func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
    """`__torch_function__ = torch._C._disabled_torch_function_impl` in a class: calls are not its business."""
    return NotImplemented


def _torch_function(cls: type, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
    """Call `func` and make instances of this class of its results (minigrad/overrides.py has the protocol)."""
    from minigrad import overrides

    return overrides.default(cls, func, types, args, kwargs or {})


def _init_subclass(cls: type, **kwargs: Any) -> None:
    """A subclass of Tensor takes part in every call with one of its instances, unless it says it does not."""
    super(Tensor, cls).__init_subclass__(**kwargs)
    if cls.__torch_function__ is not _disabled_torch_function_impl:
        from minigrad import overrides

        overrides.announce(cls)


Tensor.__torch_function__ = classmethod(_torch_function)
Tensor.__init_subclass__ = classmethod(_init_subclass)


def _apply_(self: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Replace every element by callable(element)."""
    return self.copy_(
        _core.tensor([callable(v) for v in self.flatten().tolist()], dtype=self.dtype).reshape(self.shape)
    )


def _map_(self: Tensor, tensor: Tensor, callable: Callable[[Any, Any], Any]) -> Tensor:
    """Replace every element a by callable(a, b), b from `tensor`."""
    pairs = zip(self.flatten().tolist(), tensor.expand_as(self).flatten().tolist())
    return self.copy_(_core.tensor([callable(a, b) for a, b in pairs], dtype=self.dtype).reshape(self.shape))


def _new(self: Tensor, *args: Any, device: Any = None) -> Tensor:
    """A tensor of this dtype: `x.new(2, 3)` uninitialised, `x.new([1, 2])` with values."""
    import minigrad as mg

    if len(args) == 1 and not isinstance(args[0], (int, _core.Size)):
        return mg.tensor(args[0], dtype=self.dtype, device=device or self.device)
    size = args[0] if len(args) == 1 and isinstance(args[0], _core.Size) else args
    return mg.empty(tuple(size) if args else (0,), dtype=self.dtype, device=device or self.device)


def _pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """A copy in pinned (page-locked) memory, from which copies to CUDA can be asynchronous; self when it is there already.

    Raises:
        RuntimeError: there is no accelerator to pin it for.
    """
    return _core.pin_memory(self)


def _share_memory_(self: Tensor) -> Tensor:
    """Move the storage, under all tensors on it, to memory that other processes can map; returns self."""
    _core.share_storage(self)
    return self


def _is_shared(self: Tensor) -> bool:
    """Whether the memory is shared between processes."""
    return _core.is_shared(self)


def _module_load(self: Tensor, other: Tensor, assign: bool = False) -> Tensor:
    """How load_state_dict fills this parameter: copied, or taken over with assign=True."""
    if not assign:
        return self.copy_(other).detach()
    return other.detach()


def _is_nonzero(self: Tensor) -> bool:
    """Whether the only element is not zero."""
    from minigrad._functions import is_nonzero

    return is_nonzero(self)


def _is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both are the same view of the same memory."""
    if _core.storage_id(self) != _core.storage_id(tensor) or self.storage_offset() != tensor.storage_offset():
        return False
    return self.dtype == tensor.dtype and self.shape == tensor.shape and self.stride() == tensor.stride()


def _split(self: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """`minigrad.split(self, split_size, dim)`; the method has its own name for the sizes."""
    from minigrad.op import functions

    return functions["split"](self, split_size, dim)


def _names(self: Tensor) -> tuple:
    """One None per dimension: there are no named dimensions."""
    return (None,) * self.dim()


def _refine_names(self: Tensor, *names: Any) -> Tensor:
    """Named dimensions are not here: raises NotImplementedError."""
    raise NotImplementedError("Tensor.refine_names: minigrad has no named dimensions")


def _dim_order(self: Tensor, *, ambiguity_check: bool | list = False) -> tuple[int, ...]:
    """The dimensions from the outermost to the innermost in memory.

    Args:
        ambiguity_check: True: raise unless only one order fits; a list of memory formats: raise unless one of them fits.
    Raises:
        RuntimeError: the check failed. TypeError: it is something else.
    """
    formats = isinstance(ambiguity_check, list) and all(str(f).endswith(("_format", "_last", "_last_3d")) for f in ambiguity_check)
    if not (isinstance(ambiguity_check, bool) or formats):
        raise TypeError("The ambiguity_check argument must be a bool or a list of memory formats.")
    order = sorted(range(self.dim()), key=lambda d: -self.stride(d))
    if isinstance(ambiguity_check, list):
        clear = any(self.is_contiguous(memory_format=f) for f in ambiguity_check)
    else:
        clear = not ambiguity_check or (self.numel() > 0 and all(n > 1 for n in self.shape) and len(set(self.stride())) == self.dim())
    if not clear:
        raise RuntimeError("The tensor does not have unique dim order, or cannot map to exact one of the given memory formats.")
    return tuple(order)


METHODS: dict[str, Callable[..., Any]] = {
    "as_subclass": _as_subclass, "apply_": _apply_, "map_": _map_, "new": _new, "pin_memory": _pin_memory, "module_load": _module_load,
    "is_nonzero": _is_nonzero, "split": _split, "is_set_to": _is_set_to, "refine_names": _refine_names,
    "share_memory_": _share_memory_, "is_shared": _is_shared, "is_pinned": lambda self, device=None: _core.is_pinned(self),
    "is_same_size": lambda self, other: self.shape == other.shape,
    "is_distributed": lambda self: False,
    "has_names": lambda self: False,
    "record_stream": lambda self, stream: _core.record_use(self, stream.cuda_stream) if self.is_cuda else None,
    "unsafe_split_with_sizes": lambda self, split_sizes, dim=0: self.split(list(split_sizes), dim),
    "dim_order": _dim_order,
    "__array_wrap__": lambda self, array, *args: _core.from_numpy(array) if getattr(array, "ndim", 0) else _core.tensor(array),
    "__nonzero__": lambda self: bool(self), "__long__": lambda self: int(self), "__div__": lambda self, other: self / other,
}  # fmt: skip
PROPERTIES: dict[str, Callable[[Tensor], Any]] = {
    "names": _names, "name": lambda self: None, "output_nr": lambda self: 0, "volatile": lambda self: False,
    "grad_dtype": lambda self: self.dtype,
    **{f"is_{kind}": lambda self: False for kind in ("ipu", "maia", "mkldnn", "mtia", "nested", "sparse_csr", "vulkan", "xla", "xpu")},
}  # fmt: skip


def attach() -> None:
    """Set those names that Tensor does not have yet."""
    for name, method in METHODS.items():
        if not hasattr(Tensor, name):
            if getattr(method, "__name__", "") == "<lambda>":
                method.__name__ = method.__qualname__ = name
            setattr(Tensor, name, method)
    for name, getter in PROPERTIES.items():
        if not hasattr(Tensor, name):
            setattr(Tensor, name, property(getter))
    kinds = (_core.OpFunction, _core.OpMethod)
    for kind, method in zip(kinds, (False, True)):
        kind.__signature__ = property(_signature_property(method))
        kind.__module__ = "minigrad"


def _signature_property(method: bool) -> Callable[[Any], Any]:
    def signature(self: Any) -> Any:
        from minigrad.op import registry, signature_of

        name = self.__name__
        return signature_of(name if name in registry else name.removesuffix("_"), method)

    return signature


def _device_door(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any) -> Any:
        from minigrad import _settings

        return getattr(_settings, name)(self, *args)

    return method


for _special in ("enter", "exit", "call"):  # `with device("cpu"):` and `@device("cpu")`; the bodies are loaded when used
    setattr(_core.device, f"__{_special}__", _device_door(f"_device_{_special}"))
attach()
