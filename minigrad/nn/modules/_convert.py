"""Changing every tensor of a Module: apply, to, dtype casts, devices (mixed into Module)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import minigrad as mg

T = TypeVar("T", bound="ConvertMixin")


class ConvertMixin:
    """Everything that goes through `_apply`."""

    def apply(self: T, fn: Callable[[Any], None]) -> T:
        """Call `fn` on every child and then on this module."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def _apply(self: T, fn: Callable[[mg.Tensor], mg.Tensor], recurse: bool = True) -> T:
        if recurse:
            for child in self.children():
                child._apply(fn)
        for parameter in self._parameters.values():
            if parameter is None:
                continue
            grad = parameter.grad
            with mg.no_grad():
                converted = fn(parameter)
                if converted is not parameter:
                    parameter.data = converted
                if grad is not None:
                    new_grad = fn(grad)
                    if new_grad is not grad:
                        parameter.grad = new_grad.requires_grad_(grad.requires_grad)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(self: T, *args: Any, **kwargs: Any) -> T:
        """Move or cast all parameters and buffers in place: `to(device)`, `to(dtype)`, `to(tensor)`, keywords.

        Raises:
            TypeError: a dtype that is not floating point (integers have no gradients).
        """
        device, dtype, non_blocking, memory_format = _parse_to(*args, **kwargs)
        if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}"
            )

        def convert(tensor: mg.Tensor) -> mg.Tensor:
            target: dict[str, Any] = {}
            if device is not None:
                target["device"] = device
            if dtype is not None and (tensor.is_floating_point() or tensor.is_complex()):
                target["dtype"] = dtype
            if memory_format is not None and tensor.dim() in (4, 5):
                target["memory_format"] = memory_format
            if tensor.is_meta and device is not None and device.type != "meta":
                raise NotImplementedError(
                    "Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty() instead of "
                    "torch.nn.Module.to() when moving module from meta to a different device."
                )
            return tensor.to(non_blocking=non_blocking, **target) if target else tensor

        return self._apply(convert)

    def type(self: T, dst_type: Any) -> T:
        """Cast all parameters and buffers to `dst_type`."""
        return self._apply(lambda t: t.type(dst_type))

    def float(self: T) -> T:
        """Cast floating point parameters and buffers to float32."""
        return self._apply(lambda t: t.float() if t.is_floating_point() else t)

    def double(self: T) -> T:
        """Cast floating point parameters and buffers to float64."""
        return self._apply(lambda t: t.double() if t.is_floating_point() else t)

    def half(self: T) -> T:
        """Cast floating point parameters and buffers to float16."""
        return self._apply(lambda t: t.half() if t.is_floating_point() else t)

    def bfloat16(self: T) -> T:
        """Cast floating point parameters and buffers to bfloat16."""
        return self._apply(lambda t: t.bfloat16() if t.is_floating_point() else t)

    def cpu(self: T) -> T:
        """Move to the CPU."""
        return self.to("cpu")

    def cuda(self: T, device: int | str | None = None) -> T:
        """Move to a CUDA device."""
        return self.to(f"cuda:{device}" if isinstance(device, int) else device or "cuda")

    def to_empty(self: T, *, device: Any, recurse: bool = True) -> T:
        """Move to `device` without copying the values."""
        return self._apply(lambda t: mg.empty_like(t, device=device), recurse=recurse)

    def ipu(self: T, device: int | Any | None = None) -> T:
        """Move to an IPU: raises, there is no such device here."""
        raise NotImplementedError("Module.ipu: minigrad has no device of this kind")

    def xpu(self: T, device: int | Any | None = None) -> T:
        """Move to an XPU: raises, there is no such device here."""
        raise NotImplementedError("Module.xpu: minigrad has no device of this kind")

    def mtia(self: T, device: int | Any | None = None) -> T:
        """Move to an MTIA: raises, there is no such device here."""
        raise NotImplementedError("Module.mtia: minigrad has no device of this kind")

    def share_memory(self: T) -> T:
        """Put the tensors in shared memory, where tensors can (`Tensor.share_memory_`)."""
        return self._apply(lambda t: t.share_memory_())


def _parse_to(*args: Any, **kwargs: Any) -> tuple[Any, Any, bool, Any]:
    """Read the arguments of `Module.to` (device, dtype or tensor, then non_blocking) into one tuple."""
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    non_blocking, memory_format = kwargs.pop("non_blocking", False), kwargs.pop("memory_format", None)
    other = kwargs.pop("tensor", None)
    kwargs.pop("copy", None)
    if kwargs:
        raise TypeError(f"to() received an unexpected keyword argument '{next(iter(kwargs))}'")
    rest = list(args)
    if rest and isinstance(rest[0], mg.Tensor):
        other = rest.pop(0)
    elif rest:
        first = rest.pop(0)
        if isinstance(first, mg.dtype):
            dtype = first
        elif first is None or isinstance(first, (str, int, mg.device)):
            device = first
            if rest and (rest[0] is None or isinstance(rest[0], mg.dtype)):
                dtype = rest.pop(0)
        else:
            raise TypeError(f"to() received an invalid combination of arguments - got ({type(first).__name__})")
    if other is not None:
        device, dtype = other.device, other.dtype
    if rest:
        non_blocking = rest.pop(0)
    return mg.device(device) if device is not None else None, dtype, bool(non_blocking), memory_format
