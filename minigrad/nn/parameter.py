"""Parameter and Buffer: tensors that a Module registers by assignment.

A Parameter is a real Tensor subclass (same storage layout, same C fast paths); it differs only in
`requires_grad=True` by default, its repr, and in what `Module.__setattr__` does with it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import minigrad as mg
from minigrad._tensor_more import _disabled_torch_function_impl

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "UninitializedTensorMixin", "is_lazy"]


class _ParameterMeta(type(mg.Tensor)):
    """Lets a foreign Tensor subclass that carries `_is_param` pass as a Parameter (torch's rule)."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        return cls is Parameter and isinstance(instance, mg.Tensor) and getattr(instance, "_is_param", False)


class Parameter(mg.Tensor, metaclass=_ParameterMeta):
    """A Tensor that is a trainable state of a Module.

    Args:
        data: the values; shared, not copied. An empty tensor when omitted.
        requires_grad: whether gradients are collected for it.

    Example:
        >>> w = mg.nn.Parameter(mg.zeros(2))
        >>> w.requires_grad
        True
    """

    __torch_function__ = _disabled_torch_function_impl

    def __new__(cls, data: mg.Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = mg.empty(0)
        if type(data) is mg.Tensor or type(data) is Parameter:
            return mg.Tensor._make_subclass(cls, data, requires_grad)
        if not isinstance(data, mg.Tensor):
            raise TypeError(f"Parameter: wrong kind of data: got {type(data).__name__}, expected a Tensor")
        custom = data.detach().requires_grad_(requires_grad)
        if type(custom) is not type(data):
            raise RuntimeError(
                f"Parameter: detach() of {type(data).__name__} returned {type(custom).__name__}, "
                "expected the same type. Try to define detach() on the subclass."
            )
        custom._is_param = True
        return custom

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) in memo:
            return memo[id(self)]
        copied = type(self)(self.detach().clone(), self.requires_grad)
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol: int) -> tuple[Any, ...]:
        attributes = getattr(self, "__dict__", None) or None
        return _rebuild_parameter, (type(self), self.detach(), self.requires_grad, attributes)


class _BufferMeta(type(mg.Tensor)):
    """Lets a tensor that carries `_is_buffer` pass as a Buffer (torch's rule)."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        return cls is Buffer and isinstance(instance, mg.Tensor) and getattr(instance, "_is_buffer", False)


class Buffer(mg.Tensor, metaclass=_BufferMeta):
    """A Tensor that a Module registers as a buffer when it is assigned as an attribute.

    Args:
        data: the values; shared, not copied.
        persistent: whether it is part of the module's state_dict.
    """

    __torch_function__ = _disabled_torch_function_impl

    def __new__(cls, data: mg.Tensor | None = None, *, persistent: bool = True) -> mg.Tensor:
        if data is None:
            data = mg.empty(0)
        made = data.detach().requires_grad_(data.requires_grad)  # a plain Tensor, as in PyTorch: only the mark tells
        made.persistent = persistent
        made._is_buffer = True
        return made


def _rebuild_parameter(cls: type, data: mg.Tensor, requires_grad: bool, attributes: dict | OrderedDict | None) -> Any:
    parameter = cls(data, requires_grad)
    for name, value in (attributes or {}).items():
        setattr(parameter, name, value)
    return parameter


def is_lazy(param: Any) -> bool:
    """Whether `param` still waits for its shape (a lazy module's parameter or buffer)."""
    return isinstance(param, UninitializedTensorMixin)


from ._uninitialized import UninitializedBuffer, UninitializedParameter, UninitializedTensorMixin  # noqa: E402  needs Parameter
