"""torch.backends.cpu."""

from __future__ import annotations

from minigrad import _core


def get_cpu_capability() -> str:
    """'AVX512', 'AVX2' or 'DEFAULT': the instruction set of the kernels in use."""
    name = _core.cpu_isa() if hasattr(_core, "cpu_isa") else "portable"
    return {"avx512": "AVX512", "avx2": "AVX2"}.get(str(name), "DEFAULT")
