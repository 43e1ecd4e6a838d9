"""torch.__config__: what this build was made with, as text."""

from __future__ import annotations

__all__ = ["parallel_info", "show"]


def show() -> str:
    """Compiler, instruction set and the libraries that PyTorch would name."""
    from minigrad import _core

    settings = "USE_CUDA=OFF, USE_MKL=OFF, USE_MKLDNN=OFF, USE_OPENMP=OFF"
    return f"minigrad built with:\n  - CPU capability usage: {_core.cpu_isa()}\n  - Build settings: {settings}"


def parallel_info() -> str:
    """Number of threads."""
    import minigrad

    return f"minigrad thread pool\n\tminigrad.get_num_threads() : {minigrad.get_num_threads()}"
