"""Fusion on CUDA devices: groups of calls become Triton kernels (triton_runner.py) where Triton can run; elsewhere they stay calls.

install() is called when the CUDA backend is loaded (minigrad/cuda/_door.py) and imports no triton; the first group does. MINIGRAD_TRITON=0
leaves the plain kernels in place, for groups as for single ops.
"""

from __future__ import annotations

import os
from typing import Any


def _make(kernel: Any) -> Any:
    from minigrad.compiler.codegen.triton_runner import make

    return make(kernel)


def install(on: bool = True) -> None:
    """Switch fusion on CUDA devices on (where Triton can run) or off, for what is compiled from now on."""
    from minigrad import kernels
    from minigrad.cuda._door import backend

    on = on and os.environ.get("MINIGRAD_TRITON") != "0" and kernels.available()
    backend.set_fused_maker(_make if on else None)
