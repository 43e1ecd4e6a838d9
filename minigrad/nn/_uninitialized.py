"""UninitializedParameter and UninitializedBuffer: stand-ins of lazy modules for tensors whose shape is not known yet.

Each is an empty tensor of a class whose methods are replaced by ones that raise, except for the few that a Module needs
before its first call (dtype and device, conversion, gradients on or off). `materialize(shape)` gives it storage and makes
it an ordinary Parameter or Tensor, the same object.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad._tensor_more import _disabled_torch_function_impl

from .parameter import Parameter

__all__ = ["UninitializedBuffer", "UninitializedParameter", "UninitializedTensorMixin"]
_ALLOWED = frozenset({  # what works before the shape is known; plain attributes (dtype, device, grad, …) always do
    "size", "copy_", "is_complex", "is_floating_point", "half", "float", "double", "bfloat16", "char", "short", "int", "long",
    "cuda", "cpu", "to", "get_device", "new_empty", "_make_subclass", "type",
})  # fmt: skip
_OPERATORS = (
    "add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "pow", "rpow", "matmul", "rmatmul", "getitem",
    "setitem", "len", "iter", "neg", "float", "int", "bool", "iadd", "isub", "imul", "itruediv", "eq", "ne", "lt", "gt", "le", "ge",
)  # fmt: skip
_NO_SHAPE = (
    "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in `load_state_dict` when "
    "trying to load an uninitialized parameter into an initialized one. Call `forward` to initialize the parameters before "
    "accessing their attributes."
)


def _refusal(name: str) -> Any:
    def refuse(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise ValueError(
            f"Attempted to use an uninitialized parameter in {name}. This error happens when you are using a `LazyModule` "
            "or explicitly manipulating `torch.nn.parameter.UninitializedParameter` objects. When using LazyModules Call "
            "`forward` with a dummy batch to initialize the parameters before calling torch functions"
        )

    refuse.__name__ = name
    return refuse


class UninitializedTensorMixin:
    """What both kinds share."""

    __torch_function__ = _disabled_torch_function_impl

    cls_to_become: type

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Give the tensor this shape, with unset values, and make it an ordinary one.

        Args:
            shape: sizes.
            device, dtype: those of the placeholder when omitted.
        """
        device, dtype = device or self.device, dtype or self.dtype
        self.__class__ = self.cls_to_become
        with mg.no_grad():
            self.data = mg.empty(tuple(shape), device=device, dtype=dtype)

    @property
    def shape(self) -> Any:
        """Not known yet: raises."""
        raise RuntimeError(_NO_SHAPE)

    def share_memory_(self) -> Any:
        """Refused."""
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to initialize the parameters before "
            "calling `module.share_memory()`."
        )

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Refused, as in PyTorch; set `requires_grad` instead."""
        return _refusal("requires_grad_")(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol: int) -> tuple[Any, ...]:
        return type(self), (self.requires_grad, self.device, self.dtype)

    def _remade(self, converted: mg.Tensor) -> Any:
        return type(self)(self.requires_grad, converted.device, converted.dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.requires_grad, self.device, self.dtype)
        return memo[id(self)]


for _name in dir(mg.Tensor):
    _value = getattr(mg.Tensor, _name)
    if callable(_value) and not _name.startswith("__") and _name not in _ALLOWED and not hasattr(UninitializedTensorMixin, _name):
        setattr(UninitializedTensorMixin, _name, _refusal(_name))
for _name in _OPERATORS:
    setattr(UninitializedTensorMixin, f"__{_name}__", _refusal(f"__{_name}__"))
UninitializedTensorMixin.__hash__ = object.__hash__  # defining __eq__ took it away


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter without a shape.

    Args:
        requires_grad: whether gradients are collected for it.
        device, dtype: of the parameter to be.
    """

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> UninitializedParameter:
        return mg.Tensor._make_subclass(cls, mg.empty(0, device=device, dtype=dtype), requires_grad)


class UninitializedBuffer(UninitializedTensorMixin, mg.Tensor):
    """A buffer without a shape.

    Args:
        requires_grad: whether gradients are collected for it.
        device, dtype: of the buffer to be.
        persistent: whether it is part of the module's state_dict.
    """

    cls_to_become = mg.Tensor

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> UninitializedBuffer:
        made = mg.Tensor._make_subclass(cls, mg.empty(0, device=device, dtype=dtype), requires_grad)
        made.persistent = persistent
        made._is_buffer = True
        return made
