"""torch.overrides: the `__torch_function__` protocol.

A class that defines `__torch_function__` is asked before every function one of whose arguments is its instance; a
subclass of Tensor inherits the default, which calls the function and makes instances of the subclass of its results.

Map. The ops of the core look for such arguments at their door (csrc/python/overrides.cpp), from the moment the first
such class exists: `enable()` then also wraps the functions written in Python (`Overridable`), and `announce()` gives a
new subclass operators, C methods and properties that ask. Until then nothing is wrapped and nothing costs. A class that
is no Tensor is noticed when an op meets it. Functions imported by name before that moment ask only at the ops they call.
"""

from __future__ import annotations

import functools
import importlib
import operator
import sys
import types as _types
from collections.abc import Callable, Iterable
from typing import Any

from minigrad import _core
from minigrad._tensor_more import _disabled_torch_function_impl

__all__ = [
    "BaseTorchFunctionMode", "TorchFunctionMode", "enable_reentrant_dispatch", "get_default_nowrap_functions", "get_ignored_functions",
    "get_overridable_functions", "get_testing_overrides", "handle_torch_function", "has_torch_function", "is_tensor_like",
    "is_tensor_method_or_property", "redispatch_torch_function", "resolve_name", "wrap_torch_function",
]  # fmt: skip

Tensor = _core.Tensor


def _overrides(value: Any) -> bool:
    kind = type(value)
    return kind is not Tensor and getattr(kind, "__torch_function__", _disabled_torch_function_impl) is not _disabled_torch_function_impl


# --- switching it on ------------------------------------------------------------------------------------------------
_OPERATORS = {
    "__add__": "add", "__radd__": "add", "__mul__": "mul", "__rmul__": "mul", "__sub__": "sub", "__truediv__": "div",
    "__floordiv__": "floor_divide", "__mod__": "remainder", "__pow__": "pow", "__matmul__": "matmul", "__neg__": "neg", "__eq__": "eq",
    "__ne__": "ne", "__lt__": "lt", "__le__": "le", "__gt__": "gt", "__ge__": "ge", "__iadd__": "add_", "__isub__": "sub_",
    "__imul__": "mul_", "__itruediv__": "div_", "__and__": "__and__", "__or__": "__or__", "__xor__": "__xor__", "__invert__": "bitwise_not",
    "__abs__": "abs", "__rsub__": "__rsub__", "__rtruediv__": "__rtruediv__", "__rpow__": "__rpow__", "__rmatmul__": "__rmatmul__",
    "__rfloordiv__": "__rfloordiv__", "__rmod__": "__rmod__", "__getitem__": "__getitem__", "__setitem__": "__setitem__",
}  # fmt: skip
_PROPERTIES = ("T", "mT", "H", "mH", "data", "real", "imag")
_PLAIN = ("dim", "numel", "size", "stride", "data_ptr", "is_contiguous", "element_size", "type", "storage_offset",
          "as_subclass", "__reduce_ex__", "_make_subclass", "__array__", "__dlpack__", "__len__", "__repr__", "item", "tolist",
          "numpy")  # fmt: skip


def dispatch(func: Any, args: tuple, kwargs: dict) -> Any:
    """Ask the mode that is active, then the classes of the arguments; called where `any_overrides` said there are some.

    Raises:
        TypeError: all returned NotImplemented.
    """
    flat: list = []
    for value in (*args, *kwargs.values()):
        flat.extend(value) if isinstance(value, (tuple, list)) else flat.append(value)
    overloaded = _get_overloaded_args(flat)
    types = tuple(type(a) for a in overloaded)
    if _modes:
        mode = _modes.pop()  # inside a mode's handler the next outer one is active
        _core.set_function_mode(bool(_modes))
        try:
            result = mode.__torch_function__(func, types, args, kwargs)
        finally:
            _modes.append(mode)
            _core.set_function_mode(True)
        if result is not NotImplemented:
            return result
    for arg in overloaded:
        result = type(arg).__torch_function__(func, types, args, kwargs)
        if result is not NotImplemented:
            return result
    if not overloaded:
        return func(*args, **kwargs)
    raise TypeError(
        f"Multiple dispatch failed for '{resolve_name(func)}'; all __torch_function__ handlers returned NotImplemented: "
        f"{[type(a).__name__ for a in overloaded]}"
    )


def default(cls: type, func: Any, types: Iterable[type], args: tuple, kwargs: dict) -> Any:
    """`Tensor.__torch_function__`: call, then make instances of `cls` of the tensors in the result."""
    if not all(issubclass(cls, t) for t in types):
        return NotImplemented
    before = _core.set_overrides_off(True)
    try:
        result = func(*args, **kwargs)
    finally:
        _core.set_overrides_off(before)
    return result if func in get_default_nowrap_functions() else _converted(result, cls)


def _converted(value: Any, cls: type) -> Any:
    if cls is Tensor:
        return value
    if isinstance(value, Tensor):
        return value if isinstance(value, cls) or type(value) is not Tensor else value.as_subclass(cls)
    if isinstance(value, (tuple, list)):
        parts = [_converted(v, cls) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


class Overridable:
    """A function written in Python that asks its arguments' classes first; equal to, and hashed as, the function it wraps."""

    def __init__(self, function: Callable) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _core.any_overrides((*args, *kwargs.values())):
            return dispatch(self, args, kwargs)
        return self.function(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else _types.MethodType(self, instance)

    def __eq__(self, other: object) -> bool:
        return other is self or self.function == getattr(other, "function", other)

    def __hash__(self) -> int:
        return hash(self.function)

    def __repr__(self) -> str:
        return repr(self.function)

    def __reduce__(self) -> Any:
        return _published, (self.function.__module__, self.function.__qualname__)


def _published(module: str, name: str) -> Callable:
    """What a pickle of an Overridable becomes: the one object minigrad publishes, wrapped or not."""
    found = operator.attrgetter(name)(importlib.import_module(module))
    return _wrapped.get(found, found)


_wrapped: dict[Callable, Overridable] = {}  # by the function, filled by `enable`


def enable() -> None:
    """From now on ops look for `__torch_function__`; functions written in Python are wrapped wherever minigrad publishes them."""
    if _core.overrides_enabled():
        return
    import minigrad.nn.functional as functional
    from minigrad.op import namespaces

    wrapped = _wrapped
    wrapped |= {f: Overridable(f) for space in namespaces.values() for f in space.values() if isinstance(f, _types.FunctionType)}
    names = [n for n in dir(functional) if not n.startswith("_")]
    for f in (getattr(functional, n) for n in names):
        if isinstance(f, _types.FunctionType) and f.__module__.startswith("minigrad.nn."):
            wrapped.setdefault(f, Overridable(f))
    # where a function is defined it stays plain: modules made before hold it, and pickle finds it there
    homes = (".ops.", "minigrad.nn._functional.")
    modules = [(n, m) for n, m in sys.modules.items() if n.split(".")[0] == "minigrad" and m is not None]
    holders = [vars(m) for n, m in modules if not any(home in n for home in homes)]
    for table in [*holders, *namespaces.values()]:
        for name, value in list(table.items()):
            if isinstance(value, _types.FunctionType) and value in wrapped:
                table[name] = wrapped[value]
    for name, value in list(vars(Tensor).items()):
        if isinstance(value, _types.FunctionType) and value in wrapped:
            setattr(Tensor, name, wrapped[value])
    _core.enable_overrides(_disabled_torch_function_impl)


def announce(cls: type) -> None:
    """Give a new subclass of Tensor operators, methods of the C type and properties that go through `__torch_function__`."""
    enable()
    for name, value in list(vars(Tensor).items()):
        if name in _PLAIN or next((b for b in cls.__mro__ if name in vars(b)), None) is not Tensor:
            continue  # the class, or a mixin before Tensor, has its own
        if name in _OPERATORS:
            setattr(cls, name, _asking(value, getattr(Tensor, _OPERATORS[name], value)))
        elif isinstance(value, _types.MethodDescriptorType) and not name.startswith("_"):
            setattr(cls, name, _asking(value, value))
        elif name in _PROPERTIES:
            setattr(cls, name, property(_asking(value.__get__, value.__get__), getattr(value, "__set__", None)))


def _asking(plain: Callable, public: Callable) -> Callable:
    """A method that hands the call to `__torch_function__` as a call of `public`."""

    @functools.wraps(plain)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _core.overrides_off():
            return plain(self, *args, **kwargs)
        return dispatch(public, (self, *args), kwargs)

    return method


# --- what libraries call ----------------------------------------------------------------------------------------------
def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Whether one of the arguments has a `__torch_function__` of its own."""
    return any(_overrides(a) for a in relevant_args)


def has_torch_function_unary(tensor: Any) -> bool:
    """`has_torch_function` of one argument."""
    return _overrides(tensor)


def has_torch_function_variadic(*tensors: Any) -> bool:
    """`has_torch_function` of several arguments."""
    return any(_overrides(a) for a in tensors)


def _get_overloaded_args(relevant_args: Iterable[Any]) -> list:
    """The arguments that override, one of each type, subclasses before their bases."""
    found: list = []
    for arg in relevant_args:
        if not _overrides(arg) or any(type(arg) is type(f) for f in found):
            continue
        at = next((k for k, other in enumerate(found) if issubclass(type(arg), type(other))), len(found))
        found.insert(at, arg)
    return found


def handle_torch_function(public_api: Callable, relevant_args: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
    """Call `__torch_function__` of the arguments that have one, until one answers.

    Raises:
        TypeError: all returned NotImplemented.
    """
    overloaded = _get_overloaded_args(relevant_args)
    types = tuple(type(a) for a in overloaded)
    for arg in overloaded:
        result = arg.__torch_function__(public_api, types, args, kwargs)
        if result is not NotImplemented:
            return result
    raise TypeError(
        f"Multiple dispatch failed for '{resolve_name(public_api)}'; all __torch_function__ handlers returned NotImplemented: "
        f"{[type(a).__name__ for a in overloaded]}"
    )


def wrap_torch_function(dispatcher: Callable) -> Callable[[Callable], Callable]:
    """Decorator that lets a function be overridden; `dispatcher` gives the arguments to look at."""

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(wrapped, relevant, *args, **kwargs)
            return function(*args, **kwargs)

        return wrapped

    return decorate


def is_tensor_like(inp: Any) -> bool:
    """A tensor, or something with `__torch_function__`."""
    return type(inp) is Tensor or isinstance(inp, Tensor) or hasattr(type(inp), "__torch_function__")


def get_default_nowrap_functions() -> set:
    """Functions whose results keep their type: attribute getters."""
    return {Tensor._base, Tensor.grad} if hasattr(Tensor, "_base") else set()


def get_ignored_functions() -> set:
    """Functions that cannot be overridden: none are listed here."""
    return set()


def get_testing_overrides() -> dict:
    """Not kept here: {}."""
    return {}


def get_overridable_functions() -> dict[Any, list[Callable]]:
    """The functions of each namespace, from the registry."""
    import minigrad
    from minigrad.op import namespaces

    found: dict[Any, list[Callable]] = {minigrad: list(namespaces[""].values())}
    found[Tensor] = [getattr(Tensor, n) for n in dir(Tensor) if not n.startswith("_") and callable(getattr(Tensor, n))]
    return found


def resolve_name(f: Any) -> str | None:
    """'torch.add' of a function, 'torch.Tensor.add' of a method; None when it is not ours."""
    name = getattr(f, "__name__", None)
    if name is None:
        return None
    return f"torch.Tensor.{name}" if getattr(Tensor, name, None) is f else f"torch.{name}"


def is_tensor_method_or_property(func: Callable) -> bool:
    """Whether it is an attribute of Tensor."""
    name = getattr(func, "__name__", "")
    return name == "__get__" or getattr(Tensor, name, None) is func


_modes: list[Any] = []


class TorchFunctionMode:
    """`with mode:` sends every call of a function through the mode's `__torch_function__`, whatever its arguments."""

    def __init__(self) -> None:
        pass

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        raise NotImplementedError

    def __enter__(self) -> Any:
        enable()
        _modes.append(self)
        _core.set_function_mode(True)
        return self

    def __exit__(self, *error: Any) -> None:
        _modes.remove(self)
        _core.set_function_mode(bool(_modes))

    @classmethod
    def push(cls, *args: Any, **kwargs: Any) -> Any:
        """A new mode, to be entered."""
        return cls(*args, **kwargs)


class BaseTorchFunctionMode(TorchFunctionMode):
    """A mode that just calls the function."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return func(*args, **(kwargs or {}))


def redispatch_torch_function(func: Callable, args: tuple = (), kwargs: dict | None = None) -> Any:
    """Call the function."""
    return func(*args, **(kwargs or {}))


def enable_reentrant_dispatch() -> Any:
    """A context that changes nothing."""
    import contextlib

    return contextlib.nullcontext()
