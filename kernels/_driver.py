"""Triton on minigrad's CUDA runtime: device and stream, compute capability, loading of binaries, launches. torch is never imported.

Two ways lead to the GPU. `start()` is that of this package: variants are found, parameters packed and kernels started in C++
(csrc/cuda/python/bind_launch.cpp); Python is asked only for a variant not seen before, and Triton's own driver not at all.
`MinigradDriver` makes Triton's way work too, `kernel[grid](tensor, n, BLOCK=1024)` on minigrad tensors, for kernels that come from
elsewhere; install() activates it. Read next: _specialize.py (what a variant is), csrc/cuda/runtime/binaries.h (the driver API).
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase

from minigrad.cuda._door import backend
from minigrad.kernels import _has_triton
from minigrad.kernels._launch import OPTIONS, Target
from minigrad.kernels._specialize import SCRATCH, WIDTHS, parameter_widths, specialise, start_specialiser

_families: dict[tuple, tuple[Any, Callable]] = {}


def _check_version() -> None:
    if not _has_triton():
        raise ImportError(f"minigrad.kernels: got Triton {triton.__version__}, expected 3.6 to 3.9. Try pip install 'triton>=3.6,<3.10'")


_check_version()


@functools.cache
def _target(index: int) -> Target:
    p = backend.device_properties(index)
    return Target(p["major"] * 10 + p["minor"], p["multi_processor_count"])


def target_of(device: Any = None) -> Target:
    """Compute capability and multiprocessors of a device, None for the current one."""
    index = getattr(device, "index", device)
    return _target(backend.current_device() if index is None else index)


def _compile(kernel: Any, constants: dict[str, Any], options: dict[str, Any], args: tuple) -> dict[str, Any]:
    """One variant, compiled and loaded, as bind_launch.cpp wants it."""
    if backend.is_capturing():  # loading code is not allowed then
        raise RuntimeError(f"{kernel.fn.__name__}: first launch with these arguments inside a graph's capture. Run the step once before it")
    variant = specialise(kernel, args, constants, options)
    device = next(a for a in args if hasattr(a, "data_ptr")).device.index
    compiled = variant.compile(target_of(device).arch)
    meta = compiled.metadata
    if (found := parameter_widths(compiled.asm["ptx"])) != variant.packed:
        raise RuntimeError(
            f"{kernel.fn.__name__}: Triton {triton.__version__} passes parameters of {found} bytes, expected {variant.packed}"
        )
    if getattr(meta, "profile_scratch_size", 0):
        raise NotImplementedError(f"{kernel.fn.__name__}: kernels with Triton's profiler inside")
    _, function, *_ = backend.load_binary(compiled.asm["cubin"], meta.name, meta.shared, device)
    run_time = [p.name for p in kernel.params if not p.is_constexpr]
    parameters = [
        (run_time.index(n), WIDTHS.get(t, 8), "f" if t == "fp32" else "i") for n, t in variant.signature.items() if t != "constexpr"
    ]
    return {
        "function": function, "warps": meta.num_warps, "ctas": meta.num_ctas, "shared": meta.shared, "pdl": bool(meta.launch_pdl),
        "cooperative": bool(meta.launch_cooperative_grid), "global_scratch": meta.global_scratch_size,
        "parameters": parameters + [(-1, 8, "p")] * SCRATCH,
    }  # fmt: skip


def _family(kernel: Any, named: dict[str, Any]) -> tuple[Any, Callable]:
    options = {n: v for n, v in named.items() if n in OPTIONS}
    constants = {n: v for n, v in named.items() if n not in OPTIONS}
    fixed = [bool(p.do_not_specialize) for p in kernel.params if not p.is_constexpr]
    return backend.KernelFamily(fixed), functools.partial(_compile, kernel, constants, options)


def start(kernel: Any, grid: tuple[int, ...], args: tuple, named: dict[str, Any]) -> None:
    """Start the variant of `kernel` for these arguments on the current stream; compiled at its first use."""
    key = (id(kernel), *named, *named.values(), *map(type, named.values()))
    found = _families.get(key)
    if found is None:
        found = _families[key] = _family(kernel, named)
        _kept.append(kernel)  # its id is in the key
    found[0].start(grid, args, found[1])


_kept: list[Any] = []


class _Utils:
    """What Triton's compiler asks of a driver."""

    @staticmethod
    def load_binary(name: str, code: bytes, shared: int, device: int) -> tuple:
        return backend.load_binary(code, name, shared, device)

    @staticmethod
    def unload_module(module: int) -> None:
        backend.unload_binary(module)

    @staticmethod
    def get_device_properties(device: int) -> dict[str, int]:
        p = backend.device_properties(device)
        return {
            "max_shared_mem": p["shared_memory_per_block_optin"], "multiprocessor_count": p["multi_processor_count"],
            "warpSize": p["warp_size"], "max_num_regs": p["regs_per_multiprocessor"],
        }  # fmt: skip


_PACK = {"i1": "?", "u1": "?", "i8": "b", "u8": "B", "i16": "h", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "u64": "Q",
         "fp32": "f", "f32": "f", "fp64": "d"}  # fmt: skip


class _Launcher:
    """Packs the arguments of kernel[grid](...) and starts it."""

    def __init__(self, source: Any, metadata: Any) -> None:
        self._types = list(source.signature.values())
        if any(isinstance(t, tuple) or t.startswith("tensordesc") for t in self._types):
            raise NotImplementedError(f"{metadata.name}: tuples and tensor descriptors as arguments are not supported by minigrad's driver")
        self._meta = metadata

    def __call__(
        self, gx: int, gy: int, gz: int, stream: int, function: int, packed: Any, launch_metadata: Any, enter: Any, leave: Any, *args: Any
    ) -> None:
        if 0 in (gx, gy, gz):
            return
        meta, values = self._meta, []
        for kind, value in zip(self._types, args):
            if kind == "constexpr":
                continue
            if kind.startswith("*"):
                values.append(struct.pack("Q", 0 if value is None else value if isinstance(value, int) else value.data_ptr()))
            else:
                values.append(struct.pack(_PACK[kind], value))
        scratch = None
        if meta.global_scratch_size:
            scratch = backend.allocate(meta.global_scratch_size * gx * gy * gz * meta.num_ctas, backend.current_device())
        values += [struct.pack("Q", scratch or 0), struct.pack("Q", 0)]
        if enter is not None:
            enter(launch_metadata)
        backend.launch_packed(function, (gx, gy, gz), meta.num_warps, meta.num_ctas, meta.shared, bool(meta.launch_pdl),
                              bool(meta.launch_cooperative_grid), stream, values)  # fmt: skip
        if leave is not None:
            leave(launch_metadata)
        if scratch is not None:
            backend.deallocate(scratch, backend.current_device())


class MinigradDriver(DriverBase):
    """Triton's active driver over minigrad's runtime."""

    def __init__(self) -> None:
        self.utils, self.launcher_cls = _Utils(), _Launcher

    @classmethod
    def is_active(cls) -> bool:
        return backend is not None

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", target_of().arch, 32)

    def get_current_device(self) -> int:
        return backend.current_device()

    def set_current_device(self, device: int) -> None:
        backend.set_device(device)

    def get_current_stream(self, device: int) -> int:
        return backend.current_stream(device)

    def get_device_capability(self, device: int | None = None) -> tuple[int, int]:
        return divmod(target_of(device).arch, 10)

    def map_python_to_cpp_type(self, ty: str) -> str:
        return (
            "CUdeviceptr"
            if ty.startswith("*")
            else {"fp32": "float", "fp64": "double", "u1": "bool", "i1": "bool"}.get(ty, f"int{WIDTHS[ty] * 8}_t")
        )

    def get_active_torch_device(self) -> Any:
        raise NotImplementedError("minigrad's driver knows no torch device")

    def get_benchmarker(self) -> Callable:
        from minigrad.kernels._autotune import measure

        return lambda call, quantiles=(0.5, 0.2, 0.8), **options: [measure(call)] * len(quantiles)

    def get_empty_cache_for_benchmark(self) -> Any:
        from minigrad.kernels._autotune import flush_buffer

        return flush_buffer()

    def clear_cache(self, cache: Any) -> None:
        cache.zero_()


@functools.cache
def install_once() -> None:
    """install(), the first time."""
    install()


def install() -> None:
    """Make minigrad's driver Triton's active one, so that kernel[grid](...) takes minigrad tensors."""
    from triton.runtime import driver

    start_specialiser()
    driver.set_active(MinigradDriver())
