"""Times of kernels by the device's own clock. Before each call a buffer larger than L2 is overwritten, so that operands come from memory,
and so that the host is ahead when the call begins: its launches are in the queue, only the device's time counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.compare import Times


class Clock:
    """Events and the buffer of one library."""

    def __init__(self, library: Any, flush_bytes: int):
        self.library = library
        self.flush = library.empty(flush_bytes, dtype=library.uint8, device="cuda")

    def sample(self, call: Callable[[], Any]) -> float:
        """Seconds of one call on the device."""
        begin, end = (self.library.cuda.Event(enable_timing=True) for _ in range(2))
        self.flush.zero_()
        begin.record()
        call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e-3


def device_times(calls: dict[str, Callable[[], Any]], clocks: dict[str, Clock], rounds: int, seconds: float) -> Times:
    """Rounds of the libraries' calls in turn, in changing order, after two warm-up calls each."""
    for name, call in calls.items():
        for _ in range(2):
            clocks[name].sample(call)
    times, order, began = Times({name: [] for name in calls}), list(calls), time.perf_counter()
    for r in range(rounds):
        for name in order if r % 2 == 0 else order[::-1]:
            times.seconds[name].append(clocks[name].sample(calls[name]))
        if r >= 4 and time.perf_counter() - began > seconds:
            break
    return times


def flush_size(library: Any, tiny: bool) -> int:
    """Bytes of the buffer: four times L2."""
    return 1 << 16 if tiny else 4 * max(library.cuda.get_device_properties().L2_cache_size, 16 << 20)


def peaks(libraries: dict[str, Any], clocks: dict[str, Clock], tiny: bool) -> dict[str, float]:
    """The device's measured limits, the best of any library: "GB/s" of a copy (read and write counted), "GFLOP/s <dtype>" of a product."""
    length, n = (1 << 12, 16) if tiny else (1 << 28, 8192)
    best: dict[str, float] = {}

    def note(what: str, amount: float, clock: Clock, call: Callable[[], Any]) -> None:
        call()
        fastest = min(clock.sample(call) for _ in range(1 if tiny else 10))
        best[what] = max(best.get(what, 0.0), amount / fastest / 1e9)

    for name, m in libraries.items():
        source, target = m.randn(length, device="cuda"), m.empty(length, device="cuda")
        note("GB/s", 8.0 * length, clocks[name], lambda source=source, target=target: target.copy_(source))
        for short in ("f32", "bf16", "f16") if tiny else ("f32", "bf16", "f16", "f64"):
            size = n // 2 if short == "f64" else n
            dtype = {"f32": m.float32, "bf16": m.bfloat16, "f16": m.float16, "f64": m.float64}[short]
            a = m.randn(size, size, device="cuda").to(dtype)  # random numbers: zeros cost less power, and so run at higher clocks
            note(f"GFLOP/s {short}", 2.0 * size**3, clocks[name], lambda a=a: a @ a)
    return best
