"""torch.backends: flags of libraries that PyTorch may be built with. What programs set can be read back; none of them is in this build.

The flags change no result here: float32 products are always computed in float32, and the CPU kernels are deterministic.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

__all__ = ["cpu", "cuda", "cudnn", "cusparselt", "flags_of", "mha", "miopen", "mkl", "mkldnn", "mps", "nnpack", "openmp", "opt_einsum",
           "quantized", "xeon", "xnnpack"]  # fmt: skip

fp32_precision = "none"


class Flags:
    """`with flags(benchmark=True):` sets module attributes for the length of a block; `set_flags` sets them and returns the old ones."""

    def __init__(self, module: str, names: dict[str, str]) -> None:
        self._module, self._names = module, names

    def set_flags(self, **values: Any) -> tuple:
        """Set the given flags (None leaves one alone); the previous values in the order of the names."""
        module = sys.modules[self._module]
        before = tuple(getattr(module, n) for n in self._names.values())
        for key, value in values.items():
            if key not in self._names:
                raise TypeError(f"set_flags() got an unexpected keyword argument '{key}'")
            if value is not None:
                setattr(module, self._names[key], value)
        return before

    def flags(self, **values: Any) -> Any:
        """A context manager that sets flags and puts them back."""
        import contextlib

        @contextlib.contextmanager
        def scope() -> Any:
            before = self.set_flags(**values)
            try:
                yield
            finally:
                self.set_flags(**dict(zip(self._names, before)))

        return scope()


def flags_of(module: str, **names: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(flags, set_flags) of a module; keyword → attribute."""
    both = Flags(module, names)
    return both.flags, both.set_flags


def answers(value: Any, doc: str) -> Callable[..., Any]:
    """A function that gives `value` whatever it is asked."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return value

    call.__doc__ = doc
    return call


def __getattr__(name: str) -> types.ModuleType:
    import importlib

    if name in __all__:
        return importlib.import_module("minigrad.backends." + name)
    raise AttributeError(f"module 'minigrad.backends' has no attribute '{name}'")
