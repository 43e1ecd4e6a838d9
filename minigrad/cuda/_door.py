"""Finds the CUDA backend: `backend` is the extension module when it is there and has a device, else None."""

from __future__ import annotations

from typing import Any

try:
    import minigrad._cuda as _cuda  # not `from minigrad import _cuda`: its failure would be any ImportError, that of a broken build too
except ModuleNotFoundError:  # built without CUDA
    _cuda = None

backend: Any = _cuda if _cuda is not None and _cuda.is_available() else None
if backend is not None:
    from minigrad.compiler.codegen import on_cuda
    from minigrad.kernels import _overrides

    _overrides.install()
    on_cuda.install()


def index_of(device: Any) -> int:
    """The index of a device given as None (the current one), int, str, device, or anything with a `.device`."""
    from minigrad import _core

    if device is None:
        return backend.current_device()
    if isinstance(device, int):
        index = device
    else:
        device = _core.device(device) if isinstance(device, str) else getattr(device, "device", device)
        if device.type != "cuda":
            raise ValueError(f"Expected a cuda device, but got: {device}")
        index = backend.current_device() if device.index is None else device.index
    if not 0 <= index < backend.device_count():
        raise AssertionError(f"Invalid device id: got {index}, expected 0 to {backend.device_count() - 1}")
    return index
