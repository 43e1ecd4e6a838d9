"""minigrad.kernels: fused operations in Triton, without PyTorch, one file each; docs/kernels.md is the guide.

    y = minigrad.kernels.softmax(x)          # CUDA tensors with triton installed; anywhere with TRITON_INTERPRET=1

Importing this package does not import triton; using a kernel does. `op` declares one of your own, with its gradient, reference and cases,
from which checks and a benchmark follow.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
from typing import Any

__all__ = ["Binary", "available", "names", "op"]


def names() -> list[str]:
    """The kernel files: every module of this package whose name has no underscore in front."""
    found = (m.name for m in pkgutil.iter_modules(__path__))
    return sorted(n for n in found if not n.startswith("_") and n != "lab")  # lab: a tool


def available() -> bool:
    """Whether Triton kernels can run here: triton is installed, and there is a GPU or TRITON_INTERPRET=1."""
    if importlib.util.find_spec("triton") is None:
        return False
    if os.environ.get("TRITON_INTERPRET") == "1":
        return True
    from minigrad.cuda._door import backend

    return backend is not None and not backend.is_simulated()


def __getattr__(name: str) -> Any:
    if name == "op":
        from minigrad.kernels._harness import op

        return op
    if name == "Binary":
        from minigrad.kernels._binary import Binary

        return Binary
    if name.startswith("_") or importlib.util.find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module 'minigrad.kernels' has no attribute {name!r}; kernels: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")
