"""The switches of autocast, per thread and device type, under PyTorch's names (minigrad.is_autocast_enabled …).

The core knows the devices it can compute on; for other names that programs mention (mps, xpu …) the values are kept here and
have no effect.
"""

from __future__ import annotations

import threading
from typing import Any

import minigrad as mg
from minigrad import _core

__all__ = [
    "autocast_decrement_nesting", "autocast_increment_nesting", "clear_autocast_cache", "get_autocast_cpu_dtype", "get_autocast_dtype",
    "get_autocast_gpu_dtype", "is_autocast_cache_enabled", "is_autocast_cpu_enabled", "is_autocast_enabled",
    "set_autocast_cache_enabled", "set_autocast_cpu_dtype", "set_autocast_cpu_enabled", "set_autocast_dtype", "set_autocast_enabled",
    "set_autocast_gpu_dtype",
]  # fmt: skip

_core_state = _core.autocast
_CORE = {"cpu": 0, "cuda": 1}
DEVICE_TYPES = (
    "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla", "lazy", "vulkan", "mps",
    "meta", "hpu", "mtia", "privateuseone",
)  # fmt: skip
_WITHOUT_AUTOCAST = {"mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "lazy", "vulkan", "meta"}
_others = threading.local()


def check_device_type(device_type: Any) -> str:
    """The name of a device type.

    Raises:
        ValueError: not a string.
        RuntimeError: not the name of a device type.
    """
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    name = device_type.partition(":")[0]
    if name not in DEVICE_TYPES:
        raise RuntimeError(f"Expected one of {', '.join(DEVICE_TYPES)} device type at start of device string: {device_type}")
    return name


def _entry(name: str) -> dict[str, Any]:
    table = _others.__dict__.setdefault("table", {})
    return table.setdefault(name, {"enabled": False, "dtype": mg.bfloat16 if name in ("xla", "hpu") else mg.float16})


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast exists for this device type (not: whether the device is here)."""
    return check_device_type(device_type) not in _WITHOUT_AUTOCAST


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether this thread is inside an enabled region for the device type."""
    name = check_device_type(device_type)
    return _core_state.enabled(_CORE[name]) if name in _CORE else _entry(name)["enabled"]


def set_autocast_enabled(device_type: str | bool, enabled: bool | None = None) -> None:
    """Switch a device type on or off; `set_autocast_enabled(flag)` alone means "cuda"."""
    if enabled is None:
        device_type, enabled = "cuda", bool(device_type)
    name = check_device_type(device_type)
    if name not in _CORE:
        _entry(name)["enabled"] = enabled
        return
    if enabled:
        from ._policy import install

        install()
    _core_state.set_enabled(_CORE[name], enabled)


def get_autocast_dtype(device_type: str) -> Any:
    """The lower precision of a device type: bfloat16 on the CPU, float16 on CUDA, unless set."""
    name = check_device_type(device_type)
    return _core_state.dtype(_CORE[name]) if name in _CORE else _entry(name)["dtype"]


def set_autocast_dtype(device_type: str, dtype: Any) -> None:
    """Set the lower precision of a device type."""
    name = check_device_type(device_type)
    if name in _CORE:
        _core_state.set_dtype(_CORE[name], dtype)
    else:
        _entry(name)["dtype"] = dtype


def is_autocast_cache_enabled() -> bool:
    """Whether casts of leaf parameters are kept until the outermost region ends."""
    return _core_state.cache_enabled()


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Keep casts of leaf parameters, or make them anew for every op."""
    _core_state.set_cache_enabled(enabled)


def clear_autocast_cache() -> None:
    """Drop the kept casts of this thread."""
    _core_state.clear_cache()


def autocast_increment_nesting() -> int:
    """Count one more region of this thread; returns the count."""
    return _core_state.nesting(1)


def autocast_decrement_nesting() -> int:
    """Count one region less; returns the count."""
    return _core_state.nesting(-1)


def is_autocast_cpu_enabled() -> bool:
    """is_autocast_enabled("cpu")."""
    return is_autocast_enabled("cpu")


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """set_autocast_enabled("cpu", enabled)."""
    set_autocast_enabled("cpu", enabled)


def get_autocast_cpu_dtype() -> Any:
    """get_autocast_dtype("cpu")."""
    return get_autocast_dtype("cpu")


def set_autocast_cpu_dtype(dtype: Any) -> None:
    """set_autocast_dtype("cpu", dtype)."""
    set_autocast_dtype("cpu", dtype)


def get_autocast_gpu_dtype() -> Any:
    """get_autocast_dtype("cuda")."""
    return get_autocast_dtype("cuda")


def set_autocast_gpu_dtype(dtype: Any) -> None:
    """set_autocast_dtype("cuda", dtype)."""
    set_autocast_dtype("cuda", dtype)
