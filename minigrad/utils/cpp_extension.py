"""torch.utils.cpp_extension: importable; building an extension of libtorch raises NotImplementedError."""

from __future__ import annotations

from typing import Any

__all__ = [
    "BuildExtension",
    "CUDAExtension",
    "CUDA_HOME",
    "CppExtension",
    "include_paths",
    "library_paths",
    "load",
    "load_inline",
    "is_ninja_available",
]

CUDA_HOME: str | None = None
ROCM_HOME: str | None = None


def _refuse(name: str) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"utils.cpp_extension.{name}: extensions of libtorch cannot be used with minigrad")

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"torch.utils.cpp_extension.{name}. Raises NotImplementedError: there is no libtorch."
    return call


load, load_inline, include_paths, library_paths = (
    _refuse(n) for n in ("load", "load_inline", "include_paths", "library_paths")
)
CppExtension, CUDAExtension, BuildExtension = (_refuse(n) for n in ("CppExtension", "CUDAExtension", "BuildExtension"))


def is_ninja_available() -> bool:
    """False: nothing is built."""
    return False
