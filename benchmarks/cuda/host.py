"""What the host pays: time per eager op up to its launch, and the allocator under load. The same code runs for either library."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from benchmarks.compare import Times

BATCH = 200  # calls between waits: far fewer than a device queues before the host has to wait for it


def launch_calls(m: Any) -> dict[str, Callable[[], Any]]:
    """Small eager ops, by name."""
    a, b = m.randn(64, device="cuda"), m.randn(64, device="cuda")
    x = m.randn(16, 16, device="cuda")
    leaf = m.randn(64, device="cuda").requires_grad_()
    return {
        "empty": lambda: m.empty(64, device="cuda"),
        "add": lambda: a + b,
        "add_": lambda: a.add_(1.0),
        "add with grad": lambda: leaf + b,
        "relu": lambda: a.relu(),
        "sum": lambda: a.sum(),
        "softmax": lambda: x.softmax(-1),
        "matmul": lambda: x @ x,
        "view": lambda: x[3],
        "strided copy": lambda: x.t().contiguous(),
        "two streams": _on_two_streams(m, a),
    }


def _on_two_streams(m: Any, a: Any) -> Callable[[], Any]:
    side = m.cuda.Stream()

    def run():
        with m.cuda.stream(side):
            return a + 1.0

    return run


def launch_times(libraries: dict[str, Any], rounds: int, batch: int = BATCH) -> dict[str, Times]:
    """Host seconds per call, by op; libraries in turn."""
    calls = {name: launch_calls(m) for name, m in libraries.items()}
    found: dict[str, Times] = {}
    for op in calls["minigrad"]:
        times = found[op] = Times({name: [] for name in libraries})
        for r in range(rounds + 1):
            for name in list(libraries)[:: 1 if r % 2 == 0 else -1]:
                call = calls[name][op]
                libraries[name].cuda.synchronize()
                start = time.perf_counter()
                for _ in range(batch):
                    call()
                spent = time.perf_counter() - start
                if r:  # the first round warms up
                    times.seconds[name].append(spent / batch)
    libraries["minigrad"].cuda.synchronize()
    return found


def _statistics(m: Any) -> dict[str, float]:
    s = m.cuda.memory_stats()
    reserved, used = s["reserved_bytes.all.peak"], s["allocated_bytes.all.peak"]
    return {"reserved_mib": reserved / 2**20, "used_share": used / max(reserved, 1), "retries": s["num_alloc_retries"]}


def _fresh(m: Any) -> None:
    m.cuda.synchronize()
    m.cuda.empty_cache()
    m.cuda.reset_peak_memory_stats()


def storm(m: Any, count: int, largest: int) -> dict[str, float]:
    """Tensors of 512 bytes to `largest`, 64 alive at a time, freed in random order: seconds per allocation with its free."""
    draw, live = random.Random(0), [None] * 64
    sizes = [int(2 ** draw.uniform(9, largest.bit_length() - 1)) for _ in range(count)]
    places = [draw.randrange(64) for _ in range(count)]
    for warm in range(2):
        if warm == 0:
            _fresh(m)
        start = time.perf_counter()
        for size, place in zip(sizes, places):
            live[place] = m.empty(size, dtype=m.uint8, device="cuda")
        spent = time.perf_counter() - start
        live = [None] * 64
    return {"seconds": spent / count} | _statistics(m)


def growing(m: Any, count: int, step: int) -> dict[str, float]:
    """Each tensor a little larger than the last, eight alive: the pattern that leaves holes everywhere in a naive cache."""
    _fresh(m)
    live: deque[Any] = deque(maxlen=8)
    start = time.perf_counter()
    for k in range(count):
        live.append(m.empty(step * (k + 1), dtype=m.uint8, device="cuda"))
    return {"seconds": (time.perf_counter() - start) / count} | _statistics(m)


def across_streams(m: Any, count: int, size: int) -> dict[str, float]:
    """Made on one stream, used on another and dropped at once: no result may be overwritten before it was read."""
    _fresh(m)
    side, total = m.cuda.Stream(), m.zeros(1, device="cuda")
    side.wait_stream(m.cuda.current_stream())
    start = time.perf_counter()
    for k in range(count):
        x = m.full((size,), float(k), device="cuda")
        side.wait_stream(m.cuda.current_stream())
        with m.cuda.stream(side):
            x.record_stream(side)
            total += x[-1:]
        del x
    spent = time.perf_counter() - start
    m.cuda.synchronize()
    if total.item() != count * (count - 1) / 2:
        raise RuntimeError(f"across_streams: got {total.item()}, expected {count * (count - 1) / 2}: memory was reused too early")
    return {"seconds": spent / count} | _statistics(m)


def allocator_loads(tiny: bool) -> dict[str, Callable[[Any], dict[str, float]]]:
    """The loads by name."""
    count = 64 if tiny else 20_000
    return {
        "storm": lambda m: storm(m, count, 1 << 14 if tiny else 1 << 26),
        "growing": lambda m: growing(m, count // 8, 4096 if tiny else 1 << 18),
        "across streams": lambda m: across_streams(m, count // 8, 256 if tiny else 1 << 20),
    }
