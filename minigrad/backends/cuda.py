"""torch.backends.cuda: its flags can be set and read; they change nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from minigrad.backends import answers


def is_built() -> bool:
    """Whether the CUDA backend is part of this build and has a device."""
    from minigrad import cuda

    return cuda.is_built()


is_ck_sdpa_available = is_flash_attention_available = answers(False, "False: there is no CUDA.")
can_use_flash_attention = can_use_efficient_attention = can_use_cudnn_attention = is_flash_attention_available
_sdp = {"flash": True, "mem_efficient": True, "math": True, "cudnn": True, "fp16_bf16_reduction_math": False}
_libraries = {"linalg": "default", "blas": "cublas", "rocm_fa": "default"}


class _Matmul:
    """Flags of matrix products on CUDA."""

    def __init__(self) -> None:
        self.allow_tf32 = False
        self.allow_fp16_reduced_precision_reduction = True
        self.allow_bf16_reduced_precision_reduction = True
        self.allow_fp16_accumulation = False
        self.fp32_precision = "none"


class _PlanCache:
    """The FFT plan cache: empty."""

    size, max_size = 0, 0

    def clear(self) -> None:
        """Nothing to clear."""

    def __getitem__(self, device: Any) -> _PlanCache:
        return self


matmul, cufft_plan_cache = _Matmul(), _PlanCache()


def _switch(kind: str) -> tuple[Any, Any]:
    def enabled() -> bool:
        return _sdp[kind]

    def enable(enabled: bool) -> None:
        _sdp[kind] = bool(enabled)

    enabled.__doc__, enable.__doc__ = (
        f"Whether {kind} attention is allowed.",
        f"Allow {kind} attention; there is one kind here.",
    )
    return enabled, enable


flash_sdp_enabled, enable_flash_sdp = _switch("flash")
mem_efficient_sdp_enabled, enable_mem_efficient_sdp = _switch("mem_efficient")
math_sdp_enabled, enable_math_sdp = _switch("math")
cudnn_sdp_enabled, enable_cudnn_sdp = _switch("cudnn")
fp16_bf16_reduction_math_sdp_allowed, allow_fp16_bf16_reduction_math_sdp = _switch("fp16_bf16_reduction_math")


@contextlib.contextmanager
def sdp_kernel(
    enable_flash: bool = True, enable_math: bool = True, enable_mem_efficient: bool = True, enable_cudnn: bool = True
) -> Iterator[None]:
    """Allow some kinds of attention for the length of a block (torch's old form of nn.attention.sdpa_kernel)."""
    before = dict(_sdp)
    _sdp.update(flash=enable_flash, math=enable_math, mem_efficient=enable_mem_efficient, cudnn=enable_cudnn)
    try:
        yield
    finally:
        _sdp.update(before)


class SDPAParams:
    """Arguments of an attention call, as PyTorch's CUDA backends take them."""

    def __init__(self, *args: Any) -> None:
        self.args = args


def preferred_linalg_library(backend: str | None = None) -> str:
    """The library asked for; it changes nothing."""
    return _libraries.__setitem__("linalg", backend) or backend if backend is not None else _libraries["linalg"]


def preferred_blas_library(backend: str | None = None) -> str:
    """The library asked for; it changes nothing."""
    return _libraries.__setitem__("blas", backend) or backend if backend is not None else _libraries["blas"]
