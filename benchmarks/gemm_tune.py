"""`python -m benchmarks.gemm --tune`: finds the numbers of csrc/cpu/gemm_tuning.h for this machine and rewrites its instruction set's row.

One number after the other: each candidate value is tried on the products that the number decides, and replaces the present one only if it
is faster by more than MARGIN in the geometric mean. Build again to use the row. MINIGRAD_ISA chooses which row is measured.
"""

from __future__ import annotations

import re
import statistics
import time
from pathlib import Path

import minigrad as mg

HEADER = Path(__file__).parent.parent / "csrc" / "cpu" / "gemm_tuning.h"
MARGIN = 1.02
ROWS, LONG = (1, 2, 3, 4, 6, 8, 12, 16), ((3072, 768), (768, 3072), (4096, 4096))
LARGE = [(1024, 1536, 384, "NN"), (1024, 384, 1536, "NT"), (1024, 1024, 1024, "NN"), (2048, 512, 2048, "NN")]

# number: (candidates, products M, N, K, form) in the order in which they are found
SEARCH: dict[str, tuple[tuple[int, ...], list[tuple[int, int, int, str]]]] = {
    "stream_rows": ((1, 2, 4, 8), [(m, n, k, "NN") for m in (2, 4, 8) for n, k in LONG]),
    "dot_rows": ((2, 4, 8, 12), [(m, n, k, "NT") for m in (3, 4, 8, 12) for n, k in LONG]),
    "direct_rows": ((4, 8, 16, 24, 32), [(m, n, k, "NN") for m in ROWS[5:] + (24, 32) for n, k in LONG[:2]]),
    "direct_rows_far": ((4, 8, 16, 24), [(m, 4096, 4096, "NN") for m in (8, 12, 16, 24)]),
    "direct_k": ((160, 320, 512), [(m, n, k, "NN") for m in (8, 16) for n, k in LONG]),
    "turned_rows": ((16, 32, 64, 128, 256), [(m, n, k, "NT") for m in (16, 32, 64, 128, 256) for n, k in ((128, 784), (768, 3072))]),
    "turned_k": ((256, 400, 512, 800, 1024), [(m, n, k, "NT") for m in (16, 64) for n, k in ((128, 784), *LONG)]),
    "narrow_columns": ((48, 96, 144, 192, 256), [(m, n, k, "NN") for m in (256, 1024) for n in (64, 96, 128, 192, 256) for k in (64, 256)]),
    "few_rows": ((64, 96, 128, 192), [(m, n, k, "NN") for m in (80, 112, 144, 192) for n, k in ((768, 768), (1536, 384))]),
    "block_rows": ((96, 144, 192, 288), LARGE),
    "block_k": ((256, 320, 384, 512, 640), LARGE),
    "small_fma": ((16384, 32768, 65536, 131072), [(n, n, n, form) for n in (24, 32, 40, 48) for form in ("NN", "NT")]),
}


def rate(M: int, N: int, K: int, form: str, seconds: float = 0.02) -> float:
    """Products per second, median of samples."""
    a, b = mg.randn(M, K), mg.randn(N, K).mT if form == "NT" else mg.randn(K, N)
    a @ b
    start = time.perf_counter()
    a @ b
    repeat = max(1, int(2e-4 / max(time.perf_counter() - start, 1e-7)))
    samples: list[float] = []
    while len(samples) < 5 or sum(samples) * repeat < seconds:
        start = time.perf_counter()
        for _ in range(repeat):
            a @ b
        samples.append((time.perf_counter() - start) / repeat)
    return 1 / statistics.median(samples)


def best(name: str) -> int:
    """The value of `name` with the highest geometric mean rate; candidates alternate within each product."""
    candidates, products = SEARCH[name]
    now = mg._core.gemm_tuning()[name]
    values = [now, *(c for c in candidates if c != now)]
    rates: dict[int, list[float]] = {v: [] for v in values}
    for product in products:
        for v in values:
            mg._core.set_gemm_tuning(name, v)
            rates[v].append(rate(*product))
    score = {v: statistics.geometric_mean(r / base for r, base in zip(rates[v], rates[now])) for v in values}
    winner = max(score, key=lambda v: score[v])
    chosen = winner if score[winner] > MARGIN else now
    mg._core.set_gemm_tuning(name, chosen)
    print(f"{name}: {now} -> {chosen}   " + "  ".join(f"{v}: {score[v]:.3f}" for v in sorted(values)), flush=True)
    return chosen


def write(numbers: dict[str, int], isa: str) -> None:
    """Put the row of `isa` into the header."""
    text = HEADER.read_text()
    row = "    {" + ", ".join(map(str, numbers.values())) + "},  // " + isa
    text, found = re.subn(rf"^    \{{[\d, ]+\}},  // {isa}$", row, text, flags=re.MULTILINE)
    assert found == 1, f"{HEADER}: no row of {isa}"
    HEADER.write_text(text)


def main() -> None:
    """Search with one thread, then write."""
    mg.set_num_threads(1)
    for name in SEARCH:
        best(name)
    write(mg._core.gemm_tuning(), mg._core.cpu_isa())
