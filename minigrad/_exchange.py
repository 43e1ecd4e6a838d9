"""Memory shared with other libraries: DLPack and the CUDA array interface (NumPy's is in _tensor.py)."""

from __future__ import annotations

from typing import Any

from minigrad import _core

Tensor = _core.Tensor


def _cuda_backend() -> Any:
    from minigrad.cuda._door import backend

    if backend is None:
        raise AssertionError("Torch not compiled with CUDA enabled")
    return backend


def cuda_array_interface(self: Tensor) -> dict[str, Any]:
    """The CUDA array interface (version 3), by which CuPy, Numba and others share this tensor's memory; AttributeError on the CPU."""
    if not self.is_cuda:
        raise AttributeError("__cuda_array_interface__: expected a CUDA tensor. Try x.cuda().")
    if self.requires_grad:
        raise RuntimeError("__cuda_array_interface__: can't be asked of a tensor that requires grad. Try x.detach().")
    return {**_core.array_interface(self, True), "stream": _cuda_backend().current_stream(self.device.index) or 1}


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor sharing memory with any DLPack exporter on the CPU or a CUDA device.

    Args:
        ext_tensor: object with `__dlpack__`, or a capsule.
    """
    if hasattr(ext_tensor, "__dlpack__"):
        order = {}
        if hasattr(ext_tensor, "__dlpack_device__") and ext_tensor.__dlpack_device__()[0] in (2, 13):
            backend = _cuda_backend()  # the exporter makes our stream wait for its work; the number 1 is the default stream
            order["stream"] = backend.current_stream(backend.current_device()) or 1
        try:
            capsule = ext_tensor.__dlpack__(max_version=(1, 0), **order)
        except TypeError:  # exporters before DLPack 1.0
            capsule = ext_tensor.__dlpack__(**order)
    else:
        capsule = ext_tensor
    out = _core.from_dlpack(capsule)
    return out.clone() if copy else out


def dlpack(self: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None) -> Any:
    """DLPack capsule sharing this tensor's memory; on CUDA the consumer's `stream` waits for the current one (-1: it need not)."""
    if self.is_cuda and stream is not None and stream != -1:
        from minigrad.cuda import ExternalStream, current_stream

        ExternalStream(0 if stream in (1, 2) else stream, self.device).wait_stream(current_stream(self.device))
    return _core.to_dlpack(self.clone() if copy else self, max_version is not None and max_version[0] >= 1)


def dlpack_device(self: Tensor) -> tuple[int, int]:
    """DLPack's (device type, index): 1 is the CPU, 2 CUDA."""
    return (1, 0) if self.device.type == "cpu" else (2, self.device.index)


def from_cuda_array(array: Any) -> Tensor:
    """A tensor sharing the memory of an object with `__cuda_array_interface__` (CuPy, Numba) on the current device."""
    backend = _cuda_backend()
    stream = array.__cuda_array_interface__.get("stream")
    out = _core.from_cuda_array(array, backend.current_device())
    if stream is not None:  # the array's work there comes first
        from minigrad.cuda import ExternalStream, current_stream

        current_stream().wait_stream(ExternalStream(0 if stream in (1, 2) else stream))
    return out
