"""torch.cuda on a machine without CUDA: is_available() is False, questions have PyTorch's answers, everything else raises its error.

Classes and submodules can be imported (`cuda.amp`, Stream, Event); what programs call without a check
(manual_seed_all, empty_cache) does nothing,
as in PyTorch.
"""

from __future__ import annotations

import contextlib
from typing import Any

from minigrad import _core
from minigrad import _settings as _general
from minigrad._legacy import typed as _typed
from minigrad._no_device import (  # noqa: F401
    device_count,
    empty_cache,
    is_available,
    is_initialized,
    manual_seed,
    manual_seed_all,
    nothing,
    refusing,
)
from minigrad._tensor import _TYPE_NAMES

OutOfMemoryError = _core.OutOfMemoryError
has_half = has_magma = False
default_generators: tuple = ()
_MESSAGE = "Torch not compiled with CUDA enabled"

_QUESTIONS = {
    "is_current_stream_capturing": False, "is_bf16_supported": False, "is_tf32_supported": False,
    "get_arch_list": [], "get_gencode_flags": "",
    "memory_allocated": 0, "max_memory_allocated": 0, "memory_reserved": 0, "max_memory_reserved": 0, "memory_cached": 0,
    "max_memory_cached": 0, "memory_snapshot": [], "memory_stats": {}, "memory_stats_as_nested_dict": {}, "reset_peak_memory_stats": None,
    "reset_max_memory_allocated": None, "reset_max_memory_cached": None, "reset_accumulated_memory_stats": None, "get_rng_state_all": [],
    "set_rng_state_all": None, "seed": None, "seed_all": None, "ipc_collect": None, "_is_in_bad_fork": False,
}  # fmt: skip
_REFUSED = (
    "synchronize", "init", "current_device", "set_device", "get_device_name", "get_device_capability",
    "get_device_properties", "current_stream",
    "default_stream", "get_rng_state", "set_rng_state", "mem_get_info", "utilization", "temperature", "power_draw",
    "clock_rate", "list_gpu_processes",
    "can_device_access_peer", "memory_summary", "set_per_process_memory_fraction", "get_per_process_memory_fraction", "current_blas_handle",
    "cudart", "set_sync_debug_mode", "get_sync_debug_mode", "set_stream", "caching_allocator_alloc",
    "caching_allocator_delete", "initial_seed",
    "make_graphed_callables", "graph", "_sleep", "_lazy_init",
)  # fmt: skip
for _name, _value in _QUESTIONS.items():
    globals()[_name] = nothing(_name, _value)
for _name in _REFUSED:
    globals()[_name] = refusing(_name, _MESSAGE)
for _dtype, _name in _TYPE_NAMES.items():
    globals()[_name] = _typed(_name, getattr(_core, _dtype), "minigrad.cuda", is_cuda=True)


class DeferredCudaCallError(Exception):
    """Raised by PyTorch when a call that waited for CUDA fails."""


class CudaError(RuntimeError):
    """An error code of CUDA."""


class Stream(_general.Stream):
    """A CUDA stream.

    Raises:
        RuntimeError: on creation; there is no CUDA.
    """

    def __init__(self, device: Any = None, priority: int = 0, **kwargs: Any) -> None:
        raise RuntimeError(_MESSAGE)


class ExternalStream(Stream):
    """A CUDA stream made elsewhere."""


class Event(_general.Event):
    """A CUDA event.

    Raises:
        RuntimeError: on creation; there is no CUDA.
    """

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False, external: bool = False
    ) -> None:
        raise RuntimeError(_MESSAGE)


class CUDAGraph:
    """A recorded sequence of CUDA work.

    Raises:
        RuntimeError: on creation; there is no CUDA.
    """

    def __init__(self, keep_graph: bool = False) -> None:
        raise RuntimeError(_MESSAGE)


class device:  # noqa: N801  torch's name
    """`with cuda.device(i):` selects a device; does nothing for None or a negative index, and without CUDA in general."""

    def __init__(self, device: Any) -> None:
        self.idx = device

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: Any) -> None:
        pass


class device_of(device):  # noqa: N801  torch's name
    """`with cuda.device_of(x):` the device of a tensor."""

    def __init__(self, obj: Any) -> None:
        super().__init__(-1)


@contextlib.contextmanager
def stream(stream: Any) -> Any:
    """A context that changes nothing; `stream` is None where there is no CUDA."""
    yield


StreamContext = stream


def is_built() -> bool:
    """False."""
    return False
