"""CUDA kernels from elsewhere: a cubin or PTX (nvcc, NVRTC, CuPy) as something a launcher of `minigrad.kernels.op` can start.

    scale = kernels.Binary(pathlib.Path("scale.ptx").read_bytes(), "scale", "p p f i")
    scale((cdiv(n, 256),), 8, y, x, 0.5, n)               # 8 warps a block, on the current stream

Runs on a GPU alone: neither the interpreter nor the simulated device executes machine code. While launches are recorded nothing happens.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from minigrad.kernels import _launch

_FORMATS = {"p": "Q", "i": "i", "l": "q", "u": "I", "f": "f", "d": "d", "b": "?"}


class Binary:
    """One kernel of a cubin or PTX; loaded on a device when first started there."""

    def __init__(self, code: bytes, name: str, types: str, *, shared: int = 0) -> None:
        """Take the code.

        Args:
            code: a cubin, or PTX text.
            name: of the kernel; for a C++ function not declared extern "C" the mangled one.
            types: its parameters: p pointer, i int32, u uint32, l int64, f float, d double, b bool.
            shared: bytes of dynamic shared memory.

        Raises:
            ValueError: an unknown type.
        """
        self.code, self.name, self.types, self.shared = bytes(code), name, types.split(), shared
        if unknown := set(self.types) - set(_FORMATS):
            raise ValueError(f"Binary: {name}: unknown types {sorted(unknown)}, known are {' '.join(_FORMATS)}")
        self._functions: dict[int, int] = {}

    def __call__(self, grid: Sequence[int], warps: int, *args: Any) -> None:
        """Start it with `grid` blocks of `warps` warps on the current stream."""
        if len(args) != len(self.types):
            raise TypeError(f"Binary: {self.name}: got {len(args)} arguments, expected {len(self.types)}")
        if _launch._state.recorded is not None or 0 in grid:
            return
        if _launch.interpreting():
            raise NotImplementedError(f"{self.name}: machine code needs a GPU; Triton's interpreter cannot run it")
        from minigrad.cuda._door import backend

        tensors = [a for a in args if hasattr(a, "data_ptr")]
        if not tensors or any(not t.is_cuda for t in tensors):
            raise RuntimeError(f"{self.name}: expected CUDA tensors among the arguments, and no others")
        device = tensors[0].device.index
        if device not in self._functions:
            self._functions[device] = backend.load_binary(self.code, self.name, self.shared, device)[1]
        stream = backend.current_stream(device)
        for t in tensors:
            t.record_stream(_Stream(stream))
        values = [a.data_ptr() if hasattr(a, "data_ptr") else a or 0 for a in args]
        packed = [struct.pack(_FORMATS[kind], v) for kind, v in zip(self.types, values)]
        backend.launch_packed(self._functions[device], (*grid, 1, 1)[:3], warps, 1, self.shared, False, False, stream, packed)


class _Stream:
    def __init__(self, address: int) -> None:
        self.cuda_stream = address
