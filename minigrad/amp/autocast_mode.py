"""autocast: regions in which ops choose their precision; custom_fwd and custom_bwd for autograd Functions inside them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import minigrad as mg

from ._state import (
    autocast_decrement_nesting,
    autocast_increment_nesting,
    check_device_type,
    clear_autocast_cache,
    get_autocast_dtype,
    is_autocast_available,
    is_autocast_cache_enabled,
    is_autocast_enabled,
    set_autocast_cache_enabled,
    set_autocast_dtype,
    set_autocast_enabled,
)

__all__ = ["autocast", "autocast_decorator", "custom_bwd", "custom_fwd", "is_autocast_available"]

_CPU_DTYPES = (mg.bfloat16, mg.float16)


class autocast:
    """A region (context manager or decorator) in which products run in `dtype`, and what needs range in float32.

    Args:
        device_type: "cpu", "cuda" …: whose ops are meant. A device that is not here disables the region, with a warning.
        dtype: the lower precision (default: bfloat16 on the CPU, float16 on CUDA).
        enabled: False makes a region without autocast, also inside another.
        cache_enabled: keep the casts of leaf parameters until the outermost region ends.

    Example:
        >>> with mg.autocast("cpu"): print((mg.ones(2, 2) @ mg.ones(2, 2)).dtype)
        minigrad.bfloat16
    """

    def __init__(
        self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        name = check_device_type(device_type)
        if not is_autocast_available(name):
            raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
        self.device = name
        self.custom_backend_name = "privateuseone"
        self.fast_dtype = get_autocast_dtype(name) if dtype is None else dtype
        self._cache_enabled = is_autocast_cache_enabled() if cache_enabled is None else cache_enabled
        self._enabled = bool(enabled)
        if not self._enabled:
            return
        if name == "cpu":
            if self.fast_dtype not in _CPU_DTYPES:
                warnings.warn(
                    "In CPU autocast, but the target dtype is not supported. Disabling autocast.\n"
                    "CPU Autocast only supports dtypes of minigrad.bfloat16, minigrad.float16 currently.",
                    stacklevel=2,
                )
                self._enabled = False
        elif not _present(name):
            warnings.warn(
                f"User provided device_type of '{name}', but {name.upper()} is not available. Disabling autocast.", stacklevel=2
            )
            self._enabled = False

    def __enter__(self) -> autocast:
        self.prev_cache_enabled = is_autocast_cache_enabled()
        self.prev = is_autocast_enabled(self.device)
        self.prev_fastdtype = get_autocast_dtype(self.device)
        set_autocast_enabled(self.device, self._enabled)
        set_autocast_dtype(self.device, self.fast_dtype)
        autocast_increment_nesting()
        set_autocast_cache_enabled(self._cache_enabled)
        return self

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> bool:
        if autocast_decrement_nesting() == 0:
            clear_autocast_cache()
        set_autocast_enabled(self.device, self.prev)
        set_autocast_dtype(self.device, self.prev_fastdtype)
        set_autocast_cache_enabled(self.prev_cache_enabled)
        return False

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """`func` run inside the region."""
        return autocast_decorator(self, func)


def _present(name: str) -> bool:
    try:
        mg.empty(0, device=name)
    except (AssertionError, RuntimeError, NotImplementedError, ValueError):
        return False
    return True


def autocast_decorator(autocast_instance: autocast, func: Callable[..., Any]) -> Callable[..., Any]:
    """`func` run inside the region `autocast_instance`; a new entry for every call, so that it may recurse."""
    region = autocast_instance

    @functools.wraps(func)
    def decorate_autocast(*args: Any, **kwargs: Any) -> Any:
        again = object.__new__(type(region))
        again.__dict__.update(region.__dict__)
        with again:
            return func(*args, **kwargs)

    return decorate_autocast


def _enter_autocast(*vals: Any) -> autocast:
    """Enter a region without a with statement."""
    mode = autocast(*vals)
    mode.__enter__()
    return mode


def _exit_autocast(mode: autocast) -> None:
    """Leave what _enter_autocast entered."""
    mode.__exit__(None, None, None)


def _cast(value: Any, device_type: str, dtype: Any) -> Any:
    """`value` with its floating tensors of that device (double excepted) cast; containers entry by entry."""
    if isinstance(value, mg.Tensor):
        fits = value.is_floating_point() and value.device.type == device_type and value.dtype != mg.float64
        return value.to(dtype) if fits else value
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {_cast(k, device_type, dtype): _cast(v, device_type, dtype) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        entries = [_cast(v, device_type, dtype) for v in value]
        return type(value)(*entries) if hasattr(value, "_fields") else type(value)(entries)
    return value


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str, cast_inputs: Any = None
) -> Callable[..., Any]:
    """Decorator of a Function's forward: with `cast_inputs` it runs on inputs of that dtype, with autocast off.

    Args:
        fwd: the forward; left out when the decorator is written with arguments.
        device_type: whose autocast is meant.
        cast_inputs: dtype for the floating inputs when the call is inside a region.
    """
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def decorate_fwd(*args: Any, **kwargs: Any) -> Any:
        ctx = args[0]
        ctx._dtype = get_autocast_dtype(device_type)
        inside = is_autocast_enabled(device_type)
        ctx._fwd_used_autocast = inside and cast_inputs is None
        if cast_inputs is None or not inside:
            return fwd(*args, **kwargs)
        with autocast(device_type=device_type, enabled=False):
            return fwd(*_cast(args, device_type, cast_inputs), **_cast(kwargs, device_type, cast_inputs))

    return decorate_fwd


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Callable[..., Any]:
    """Decorator of a Function's backward: it runs with the autocast state its forward ran with.

    Args:
        bwd: the backward; left out when the decorator is written with arguments.
        device_type: whose autocast is meant.
    """
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def decorate_bwd(*args: Any, **kwargs: Any) -> Any:
        ctx = args[0]
        with autocast(device_type=device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return bwd(*args, **kwargs)

    return decorate_bwd
