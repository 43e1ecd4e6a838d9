"""Devices: counting, choosing, describing; seeds of their generators."""

from __future__ import annotations

import dataclasses
from typing import Any

from minigrad import _core
from minigrad.cuda._door import backend, index_of

__all__ = [
    "can_device_access_peer", "current_device", "device", "device_count", "device_of", "get_arch_list", "get_device_capability",
    "get_device_name", "get_device_properties", "get_rng_state", "get_rng_state_all", "init", "initial_seed", "is_available",
    "is_bf16_supported", "is_initialized", "manual_seed", "manual_seed_all", "seed", "seed_all", "set_device", "set_rng_state",
    "set_rng_state_all", "synchronize", "_lazy_init",
]  # fmt: skip


def is_available() -> bool:
    """True: there is a device."""
    return True


def is_initialized() -> bool:
    """True: the runtime starts with the first call that needs it."""
    return True


def init() -> None:
    """Nothing to do: the runtime starts with the first call that needs it."""


_lazy_init = init


def device_count() -> int:
    """Number of CUDA devices."""
    return backend.device_count()


def current_device() -> int:
    """Index of this thread's current device."""
    return backend.current_device()


def set_device(device: Any) -> None:
    """Make a device this thread's current one; a negative index changes nothing."""
    if not (isinstance(device, int) and device < 0):
        backend.set_device(index_of(device))


def synchronize(device: Any = None) -> None:
    """Wait for all work of a device."""
    backend.synchronize(index_of(device))


class device:  # noqa: N801  torch's name
    """`with cuda.device(i):` the current device inside; None or a negative index changes nothing.

    Args:
        device: index, "cuda:1", device or None.
    """

    def __init__(self, device: Any) -> None:
        self.idx = -1 if device is None or (isinstance(device, int) and device < 0) else index_of(device)
        self.prev_idx = -1

    def __enter__(self) -> None:
        self.prev_idx = backend.current_device()
        if self.idx >= 0:
            backend.set_device(self.idx)

    def __exit__(self, *error: Any) -> None:
        backend.set_device(self.prev_idx)


class device_of(device):  # noqa: N801  torch's name
    """`with cuda.device_of(x):` the device of a tensor; of a CPU tensor: nothing changes."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj.device.index if obj.is_cuda else -1)


@dataclasses.dataclass(frozen=True)
class _CudaDeviceProperties:
    """What the runtime knows about a device; sizes in bytes."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    warp_size: int
    max_threads_per_multi_processor: int
    regs_per_multiprocessor: int
    shared_memory_per_block: int
    shared_memory_per_block_optin: int
    L2_cache_size: int


def get_device_properties(device: Any = None) -> _CudaDeviceProperties:
    """Name, compute capability, memory and sizes of a device."""
    return _CudaDeviceProperties(**backend.device_properties(index_of(device)))


def get_device_name(device: Any = None) -> str:
    """Name of a device."""
    return get_device_properties(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """Compute capability (major, minor)."""
    properties = get_device_properties(device)
    return properties.major, properties.minor


def get_arch_list() -> list[str]:
    """Architectures this build has machine code for."""
    return [] if backend.is_simulated() else ["sm_80", "sm_90"]


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """True: bfloat16 is stored everywhere and computed in float32."""
    return True


def can_device_access_peer(device: Any, peer_device: Any) -> bool:
    """False: copies between devices go through the runtime, kernels do not read other devices."""
    index_of(device), index_of(peer_device)
    return False


def _generator(device: Any) -> Any:
    return _core.default_generator_of(_core.device(f"cuda:{index_of(device)}"))


def manual_seed(seed: int) -> None:
    """Seed the current device's generator."""
    _generator(None).manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all devices."""
    for k in range(device_count()):
        _generator(k).manual_seed(seed)


def seed() -> None:
    """Seed the current device's generator from the operating system."""
    _generator(None).seed()


def seed_all() -> None:
    """Seed all devices' generators alike, from the operating system."""
    manual_seed_all(_generator(None).seed())


def initial_seed() -> int:
    """The seed of the current device's generator."""
    return _generator(None).initial_seed()


def get_rng_state(device: Any = "cuda") -> Any:
    """State of a device's generator: a uint8 tensor."""
    return _generator(device).get_state()


def get_rng_state_all() -> list[Any]:
    """The states of all devices' generators."""
    return [get_rng_state(k) for k in range(device_count())]


def set_rng_state(new_state: Any, device: Any = "cuda") -> None:
    """Restore what get_rng_state returned."""
    _generator(device).set_state(new_state)


def set_rng_state_all(new_states: Any) -> None:
    """Restore what get_rng_state_all returned."""
    for k, state in enumerate(new_states):
        set_rng_state(state, k)
