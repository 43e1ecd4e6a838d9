"""Stand-ins for what PyTorch has and minigrad has not: importable, subclassable, good for isinstance, and loud when called."""

from __future__ import annotations

import types
from typing import Any

from minigrad.compat._record import record


class PlaceholderMeta(type):
    """The type of placeholder names: attributes are placeholders again, a call raises NotImplementedError with the name."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        name = cls.__dict__.get("_placeholder")
        if name is None:  # a subclass in the program
            return super().__call__(*args, **kwargs)
        record(name, "error")
        if len(args) == 1 and not kwargs and isinstance(args[0], types.FunctionType):
            return args[0]  # used as a decorator while a module is imported: the function stays what it is
        raise NotImplementedError(f"{name} is not in minigrad (imported as a placeholder)")

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return placeholder(f"{cls.__dict__.get('_placeholder', cls.__name__)}.{name}")


def placeholder(name: str) -> Any:
    """A placeholder class for the dotted torch name."""
    return PlaceholderMeta(name.split(".")[-1], (), {"_placeholder": name, "__module__": name.rpartition(".")[0]})


class PlaceholderModule(types.ModuleType):
    """A submodule of an absent part of torch: every name in it is a placeholder, recorded when asked for."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        full = f"{self.__name__}.{name}"
        record(full, "attribute")
        value = placeholder(full)
        self.__dict__[name] = value
        return value
