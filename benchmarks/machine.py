"""What this machine can do, measured in the same run: STREAM triad, GEMM rate; and how it is named in a table."""

from __future__ import annotations

import platform
import subprocess
import time
from typing import Any


def cpu_name() -> str:
    """The processor's model name."""
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit() -> str:
    """Short hash of the checked-out commit, with + where files differ from it; empty outside a checkout."""
    def git(*args: str) -> str:
        return subprocess.run(["git", *args], capture_output=True, text=True).stdout.strip()

    head = git("rev-parse", "--short", "HEAD")
    return head + ("+" if head and git("status", "--porcelain", "-uno") else "")


def _best(seconds: float, call, *args: Any, **kwargs: Any) -> float:
    """Seconds of the fastest call."""
    call(*args, **kwargs)
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        call(*args, **kwargs)
        best = min(best, time.perf_counter() - start)
    return best


def peaks(libraries: dict[str, Any], quick: bool = False) -> dict[str, float]:
    """{"GB/s": triad a = b + s * c into an existing array, three arrays counted, "GFLOP/s": float32 GEMM of 1024 to 2048}: the best that
    any of the libraries reaches, so that no figure in the table is measured against a limit that is too low. `quick` is for tests."""
    triad = gemm = 0.0
    seconds, length, sizes = (0.01, 1 << 20, (256,)) if quick else (0.7, 1 << 25, (1024, 2048))
    for m in libraries.values():
        b, c, out = m.ones(length), m.ones(length), m.zeros(length)
        triad = max(triad, 12 * length / _best(seconds, m.add, b, c, alpha=3.0, out=out) / 1e9)
        for n in sizes:
            a, product = m.ones(n, n), m.zeros(n, n)
            gemm = max(gemm, 2 * n**3 / _best(seconds, m.matmul, a, a, out=product) / 1e9)
    return {"GB/s": triad, "GFLOP/s": gemm}
