"""Triton's interpreter over minigrad's memory: with TRITON_INTERPRET=1 in the environment the launchers of this package run on CPU
tensors and on the simulated CUDA device, one program after the other, as NumPy code. For finding mistakes; it says nothing about speed.

What is done here to Triton: bfloat16, which the interpreter keeps as 16-bit integers and would add and multiply as such
(triton-lang/triton #4972, #11584), is computed in float32 and rounded once, as the hardware does; so are products of float8. Called by
_launch.py alone.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from minigrad.kernels._specialize import start_specialiser


class Memory:
    """What the interpreter asks of a tensor: it loads and stores by address, and copies nothing."""

    def __init__(self, tensor: Any) -> None:
        self._address, self.dtype = tensor.data_ptr(), tensor.dtype

    def data_ptr(self) -> int:
        return self._address

    def untyped_storage(self) -> Memory:
        return self

    cpu = untyped_storage

    def copy_(self, other: Any) -> None:
        pass

    def new_empty(self, *size: Any, device: str = "cpu") -> Memory:
        return self

    def set_(self, *layout: Any) -> None:
        pass

    def storage_offset(self) -> int:
        return 0

    def size(self) -> tuple:
        return ()

    stride = size


@functools.cache
def _values_of_float8(mantissa: int) -> np.ndarray:
    """The 256 numbers of e4m3 (3 bits of mantissa; largest 448, no infinity) or e5m2 (2 bits)."""
    code, bias = np.arange(256), 7 if mantissa == 3 else 15
    exponent, low = (code & 127) >> mantissa, code & (1 << mantissa) - 1
    size = np.where(exponent > 0, (1 << mantissa) + low, low) * 2.0 ** (np.maximum(exponent, 1) - bias - mantissa)
    if mantissa == 3:
        size[(code & 127) == 127] = np.nan
    else:
        size[exponent == 31] = np.where(low[exponent == 31] == 0, np.inf, np.nan)
    return np.where(code & 128, -size, size).astype(np.float32)


def _widened(handle: Any, tl: Any) -> np.ndarray:
    kind = handle.dtype.scalar
    if kind in (tl.float8e4nv, tl.float8e5):
        return _values_of_float8(3 if kind == tl.float8e4nv else 2)[handle.data]
    if kind != tl.bfloat16:
        return handle.data
    return (handle.data.astype(np.uint32) << 16).view(np.float32)


def _rounded(values: np.ndarray) -> np.ndarray:
    """float32 to the bits of bfloat16, to nearest even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    bits = np.where(np.isnan(values), 0x7FC00000, bits + 0x7FFF + ((bits >> 16) & 1))
    return (bits >> 16).astype(np.uint16)


@functools.cache
def patch() -> None:
    """Gives the interpreter's builder bfloat16 arithmetic and products of float8. Once."""
    start_specialiser()
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle, _get_np_dtype

    def is_bf16(handle: Any) -> bool:
        return handle.dtype.scalar == tl.bfloat16

    def elementwise(original: Any, operands: int) -> Any:
        def method(self: Any, *args: Any) -> Any:
            handles, op = args[:operands], args[operands]
            if not any(is_bf16(h) for h in handles):
                return original(self, *args)
            values = op(*(_widened(h, tl) for h in handles))
            if values.dtype == np.bool_:  # a comparison; its callers expect the operand's type on the handle
                return TensorHandle(values, tl.int1)
            return TensorHandle(_rounded(values), tl.bfloat16)

        return method

    for name, operands in (("unary_op", 1), ("binary_op", 2), ("ternary_op", 3)):
        setattr(InterpreterBuilder, name, elementwise(getattr(InterpreterBuilder, name), operands))

    cast, dot = InterpreterBuilder.cast_impl, InterpreterBuilder.create_dot

    def cast_impl(self: Any, src: Any, dst_type: Any) -> Any:
        target = dst_type.scalar
        if is_bf16(src) and target != tl.bfloat16:
            return TensorHandle(_widened(src, tl).astype(_get_np_dtype(dst_type)), target)
        if target == tl.bfloat16 and not is_bf16(src):
            return TensorHandle(_rounded(src.data.astype(np.float32)), target)
        return cast(self, src, dst_type)

    def create_dot(self: Any, a: Any, b: Any, d: Any, *options: Any) -> Any:
        if not any(h.dtype.scalar in (tl.bfloat16, tl.float8e4nv, tl.float8e5) for h in (a, b)):
            return dot(self, a, b, d, *options)
        wide = [TensorHandle(_widened(h, tl), tl.float32) for h in (a, b)]
        return dot(self, *wide, d, *options)

    InterpreterBuilder.cast_impl, InterpreterBuilder.create_dot = cast_impl, create_dot


@contextlib.contextmanager
def _open_device_memory(name: str, tensors: list[Any]) -> Iterator[None]:
    """Lets host code at the simulated device's memory for one launch, after everything queued before it has run."""
    from minigrad.cuda._door import backend

    if not any(t.is_cuda for t in tensors):
        yield
        return
    if not backend.is_simulated():
        raise RuntimeError("TRITON_INTERPRET=1: the interpreter cannot reach a GPU's memory. Try without it, or with tensors on the CPU")
    backend.synchronize(backend.current_device())
    backend.sim_enter()
    try:
        yield
    finally:
        backend.sim_leave(name, [t.data_ptr() for t in tensors])


def _as_memory(value: Any) -> Any:
    return Memory(value) if hasattr(value, "data_ptr") else value


def run(kernel: Any, grid: Any, args: tuple, named: dict[str, Any]) -> None:
    """All programs of `kernel`, one after the other."""
    patch()
    tensors = [a for a in (*args, *named.values()) if hasattr(a, "data_ptr")]
    with _open_device_memory(kernel.__name__, tensors), np.errstate(all="ignore"):
        kernel[grid](*map(_as_memory, args), **{name: _as_memory(value) for name, value in named.items()})
