"""minigrad.kernels: fused operations in Triton, without PyTorch, one file each; docs/kernels.md is the guide.

    y = minigrad.kernels.softmax(x)          # CUDA tensors with triton installed; anywhere with TRITON_INTERPRET=1

Importing this package does not import triton; using a kernel does. `op` declares one of your own, with its gradient, reference and cases,
from which checks and a benchmark follow.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import re
from typing import Any

__all__ = ["Binary", "available", "names", "op"]


def names() -> list[str]:
    """The kernel files: every module of this package whose name has no underscore in front."""
    found = (m.name for m in pkgutil.iter_modules(__path__))
    return sorted(n for n in found if not n.startswith("_") and n != "lab")  # lab: a tool


_VERSIONS = ((3, 6), (3, 10))  # of Triton: from, and below. How kernels get their parameters is its internal matter


def _has_triton() -> bool:
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return False
    return _VERSIONS[0] <= tuple(int(n) for n in re.findall(r"\d+", version)[:2]) < _VERSIONS[1]


def available() -> bool:
    """Whether Triton kernels can run here: Triton 3.6 to 3.9 is installed, and there is an sm_80 or later, or TRITON_INTERPRET=1."""
    if not _has_triton():
        return False
    if os.environ.get("TRITON_INTERPRET") == "1":
        return True
    from minigrad.cuda._door import backend

    return backend is not None and not backend.is_simulated() and backend.device_properties(backend.current_device())["major"] >= 8


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
