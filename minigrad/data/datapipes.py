"""IterDataPipe and MapDataPipe: datasets that carry functional forms (`pipe.map(f)`), the older part of torch.utils.data.

Only the classes and decorators are here, for libraries that derive from them; PyTorch's own pipes (Mapper, Batcher …) are not.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from minigrad.data.dataset import Dataset, IterableDataset

__all__ = ["DFIterDataPipe", "DataChunk", "IterDataPipe", "MapDataPipe", "argument_validation", "functional_datapipe",
           "guaranteed_datapipes_determinism", "non_deterministic", "runtime_validation", "runtime_validation_disabled"]  # fmt: skip

_state = {"deterministic": False, "validate": True}


class _Functional:
    """Functional forms: `register_datapipe_as_function(name, cls)` lets `pipe.name(...)` build `cls(pipe, ...)`."""

    functions: dict[str, Callable] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in type(self).functions:
            return functools.partial(type(self).functions[name], self)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    @classmethod
    def register_function(cls, function_name: str, function: Callable) -> None:
        """`pipe.function_name(...)` calls function(pipe, ...)."""
        cls.functions[function_name] = function

    @classmethod
    def register_datapipe_as_function(cls, function_name: str, cls_to_register: type, enable_df_api_tracing: bool = False) -> None:
        """`pipe.function_name(...)` makes cls_to_register(pipe, ...).

        Raises:
            Exception: the name is taken.
        """
        if function_name in cls.functions:
            raise Exception(f"Unable to add DataPipe function name {function_name} as it is already taken")
        cls.functions[function_name] = cls_to_register

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class IterDataPipe(_Functional, IterableDataset):
    """An iterable dataset with functional forms."""

    functions: dict[str, Callable] = {}

    def reset(self) -> None:
        """Called by subclasses that keep state between passes."""


class DFIterDataPipe(IterDataPipe):
    """An iterable pipe of data frames."""


class MapDataPipe(_Functional, Dataset):
    """A dataset with keys and functional forms."""

    functions: dict[str, Callable] = {}


class DataChunk(list):
    """A batch of a pipe: a list that keeps the items it was made of."""

    def __init__(self, items: Any) -> None:
        items = list(items)
        super().__init__(items)
        self.items = items

    def as_str(self, indent: str = "") -> str:
        """The items as text."""
        return indent + "[" + ", ".join(str(item) for item in iter(self)) + "]"

    def raw_iterator(self) -> Iterator:
        """Iterator over the items."""
        yield from self.items


class functional_datapipe:  # noqa: N801  torch's name
    """Class decorator: registers a pipe as a functional form of its kind."""

    def __init__(self, name: str, enable_df_api_tracing: bool = False) -> None:
        self.name = name

    def __call__(self, cls: type) -> type:
        kind = IterDataPipe if issubclass(cls, IterDataPipe) else MapDataPipe if issubclass(cls, MapDataPipe) else None
        if kind is None:
            raise TypeError("`functional_datapipe` can only decorate IterDataPipe")
        kind.register_datapipe_as_function(self.name, cls)
        return cls


class guaranteed_datapipes_determinism(contextlib.ContextDecorator):  # noqa: N801  torch's name
    """Inside, pipes marked `non_deterministic` refuse to be made."""

    def __enter__(self) -> None:
        self._before, _state["deterministic"] = _state["deterministic"], True

    def __exit__(self, *error: Any) -> None:
        _state["deterministic"] = self._before


class non_deterministic:  # noqa: N801  torch's name
    """Class decorator: the pipe (or, by a function of its arguments, some of them) gives no fixed order."""

    def __init__(self, arg: type | Callable[..., bool]) -> None:
        self._cls = arg if isinstance(arg, type) else None
        self._applies = (lambda *a, **k: True) if isinstance(arg, type) else arg

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._cls is None:
            if len(args) == 1 and isinstance(args[0], type):
                self._cls = args[0]
                return self
            raise TypeError(f"non_deterministic: a pipe class is expected: got {args}")
        if _state["deterministic"] and self._applies(*args, **kwargs):
            raise TypeError(f"{self._cls.__name__} is non-deterministic, but determinism is guaranteed here")
        return self._cls(*args, **kwargs)


def argument_validation(f: Callable) -> Callable:
    """Decorator of `__init__`: type hints are not checked, the function stays what it is."""
    return f


def runtime_validation(f: Callable) -> Callable:
    """Decorator of `__iter__`: type hints are not checked, the function stays what it is."""
    return f


class runtime_validation_disabled(contextlib.ContextDecorator):  # noqa: N801  torch's name
    """Inside, `runtime_validation` checks nothing; it never does here."""

    def __enter__(self) -> None:
        self._before, _state["validate"] = _state["validate"], False

    def __exit__(self, *error: Any) -> None:
        _state["validate"] = self._before
