"""torch.overrides: the `__torch_function__` protocol as far as Python code of libraries uses it.

`has_torch_function` and `handle_torch_function` work on any argument whose class defines `__torch_function__`; ops
of the core do not call it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from minigrad import _core

__all__ = [
    "BaseTorchFunctionMode", "TorchFunctionMode", "enable_reentrant_dispatch", "get_default_nowrap_functions", "get_ignored_functions",
    "get_overridable_functions", "get_testing_overrides", "handle_torch_function", "has_torch_function", "is_tensor_like",
    "is_tensor_method_or_property", "redispatch_torch_function", "resolve_name", "wrap_torch_function",
]  # fmt: skip

Tensor = _core.Tensor


def _overrides(value: Any) -> bool:
    method = getattr(type(value), "__torch_function__", None)
    return method is not None and getattr(method, "__func__", method) is not getattr(_own(), "__func__", None)


def _own() -> Any:
    return getattr(Tensor, "__torch_function__", None)


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
    name = f"{getattr(public_api, '__module__', '')}.{getattr(public_api, '__name__', public_api)}"
    raise TypeError(
        f"no implementation found for '{name}' on types that implement __torch_function__: {[type(a) for a in overloaded]}"
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


class TorchFunctionMode:
    """`with mode:` sends every call through `__torch_function__` in PyTorch.

    Raises:
        NotImplementedError: when entered; the core does not call it.
    """

    def __init__(self) -> None:
        pass

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        raise NotImplementedError

    def __enter__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: minigrad does not send calls through TorchFunctionMode")

    def __exit__(self, *error: Any) -> None:
        pass

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
