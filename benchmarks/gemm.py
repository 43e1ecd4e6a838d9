"""Matrix products against torch: squares, skinny and tall ones, batches, the transposed operands of backward passes, all dtypes.

    python benchmarks/gemm.py [--only square,skinny] [--dtypes f32,bf16] [--threads 1,2] [--budget 0.2] [--csv benchmarks/results/gemm.csv]

Each round times ours and torch in turn. ratio = torch's time / ours (larger is better), median over rounds with its quartiles; "peak" is
our rate over the rate of independent fused multiply-adds of this machine in float32 (float64), measured in the same run with the same
threads. NN: both operands as they come; TN: a.mT @ b, as for the gradient of a weight; NT: a @ b.mT, as linear and the gradient of an
input. Results are checked against float64 before anything is timed.
On AMD processors torch's MKL takes its AVX2 kernels; its AVX-512 ones are seen with a preloaded library whose function
`int mkl_serv_intel_cpu_true(void)` returns 1.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

import minigrad as mg

try:
    import torch
except ImportError:
    torch = None

DTYPES = {"f32": "float32", "f64": "float64", "bf16": "bfloat16", "f16": "float16", "i8": "int8"}
SPIN = 0.01  # seconds for which a pool's idle workers may go on spinning and so take a core from the other library
WARM = 0.004  # seconds of calls before a sample: a sleeping worker takes up to 2 ms to come on a virtual machine
TOLERANCE = {"f32": 1e-5, "f64": 1e-13, "bf16": 1e-2, "f16": 2e-3, "i8": 0.0}  # of the largest result


@dataclass(frozen=True)
class Case:
    """One product: B batches of (M, K) @ (K, N), stored as `form` says."""

    group: str
    M: int
    N: int
    K: int
    B: int = 0
    form: str = "NN"

    def name(self) -> str:
        """As in the table."""
        return f"{self.form} {f'{self.B}x' if self.B else ''}{self.M}x{self.N}x{self.K}"

    def flops(self) -> int:
        """Multiply-adds count as two."""
        return 2 * max(self.B, 1) * self.M * self.N * self.K


def cases() -> Iterator[Case]:
    """Every product of the table, MxNxK."""
    for n in (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048):
        yield Case("square", n, n, n)
    for n in (64, 128, 256, 512, 1024):
        yield Case("transposed", n, n, n, form="TN")
        yield Case("transposed", n, n, n, form="NT")
    for m in (1, 2, 4, 8, 16, 32, 64):
        for n, k in ((3072, 768), (768, 3072), (4096, 4096)):
            yield Case("skinny", m, n, k)
            yield Case("skinny_nt", m, n, k, form="NT")
    yield Case("models", 4096, 64, 64)
    for form in ("NN", "NT", "TN"):
        yield Case("models", 1024, 1536, 384, form=form)
        yield Case("models", 1024, 384, 1536, form=form)
    yield Case("models", 384, 1536, 1024, form="TN")
    for form in ("NN", "NT"):
        yield Case("models", 64, 128, 784, form=form)
        yield Case("models", 768, 512, 128, form=form)
    yield Case("models", 128, 784, 64, form="TN")
    for form in ("NN", "NT", "TN"):
        yield Case("batched", 256, 256, 64, 24, form)
        yield Case("batched", 256, 64, 256, 24, form)
        yield Case("batched", 64, 64, 32, 64, form)
    for n in (16, 32):
        yield Case("batched", n, n, n, 64)


def operands(case: Case, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """a and b as stored (rows and columns swapped for T)."""
    rng = np.random.default_rng(0)
    batch = (case.B,) if case.B else ()
    shape_a = (case.K, case.M) if case.form == "TN" else (case.M, case.K)
    shape_b = (case.N, case.K) if case.form == "NT" else (case.K, case.N)
    if dtype == "i8":
        return tuple(rng.integers(-128, 128, batch + s, dtype=np.int8) for s in (shape_a, shape_b))
    return tuple(rng.standard_normal(batch + s, dtype=np.float64 if dtype == "f64" else np.float32) for s in (shape_a, shape_b))


def product(m, case: Case, dtype: str, arrays: tuple[np.ndarray, np.ndarray]) -> Callable[[], object]:
    """The call in library `m`."""
    a, b = (m.from_numpy(x).to(getattr(m, DTYPES[dtype])) for x in arrays)
    if dtype == "i8":
        view_a, view_b = (a.mT if case.form == "TN" else a), (b.mT if case.form == "NT" else b)
        return lambda: m._int_mm(view_a, view_b)
    if case.form == "TN":
        return lambda: a.mT @ b
    if case.form == "NT":
        return lambda: a @ b.mT
    return lambda: a @ b


def check(case: Case, dtype: str, arrays: tuple[np.ndarray, np.ndarray], call: Callable[[], object]) -> None:
    """Compare with float64, on at most 4 batch entries."""
    rounded = [mg.from_numpy(x[:4] if case.B else x).to(getattr(mg, DTYPES[dtype])).double().numpy() for x in arrays]
    a = rounded[0].swapaxes(-1, -2) if case.form == "TN" else rounded[0]
    b = rounded[1].swapaxes(-1, -2) if case.form == "NT" else rounded[1]
    want = a @ b
    got = call().double().numpy()
    error = np.abs((got[:4] if case.B else got) - want).max() / max(np.abs(want).max(), 1e-30)
    assert error <= TOLERANCE[dtype], f"{case.name()} {dtype}: error {error:.2e}"


def interleaved(calls: dict[str, Callable[[], object]], budget: float, threads: int) -> dict[str, list[float]]:
    """Seconds per call, by library; rounds as many as fit into `budget` seconds, 5 at least."""
    repeats = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, min(100, int(2e-4 / max(time.perf_counter() - start, 1e-7))))
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + budget
    while len(times["minigrad"]) < 5 or time.perf_counter() < end:
        for name, call in calls.items():
            n = repeats[name]
            if threads > 1:
                time.sleep(SPIN)
                warm = time.perf_counter() + WARM
                while time.perf_counter() < warm:
                    call()
            start = time.perf_counter()
            for _ in range(n):
                call()
            times[name].append((time.perf_counter() - start) / n)
        if len(times["minigrad"]) >= 3 and time.perf_counter() > end + 2:  # torch takes seconds on some of these
            break
    return times


def measure(case: Case, dtype: str, budget: float, threads: int, peak: float) -> dict[str, object] | None:
    """One row of the table; None where a library does not have the product."""
    arrays = operands(case, dtype)
    calls = {"minigrad": product(mg, case, dtype, arrays)}
    if torch is not None:
        calls["torch"] = product(torch, case, dtype, arrays)
    if case.flops() < 5e9:
        check(case, dtype, arrays, calls["minigrad"])
    times = interleaved(calls, budget, threads)
    ours = statistics.median(times["minigrad"])
    rate = case.flops() / ours / 1e9
    row: dict[str, object] = {"group": case.group, "product": case.name(), "dtype": dtype, "us": round(ours * 1e6, 1)}
    row |= {"gflops": round(rate, 1), "peak_percent": round(100 * rate / peak)}
    if torch is not None:
        ratios = sorted(t / o for o, t in zip(times["minigrad"], times["torch"]))
        row |= {"torch_us": round(statistics.median(times["torch"]) * 1e6, 1), "ratio": round(statistics.median(ratios), 2)}
        row |= {"ratio_q1": round(ratios[len(ratios) // 4], 2), "ratio_q3": round(ratios[3 * len(ratios) // 4], 2)}
    return row


def selected(case: Case, dtype: str, groups: list[str]) -> bool:
    """Whether the table has this row: bmm of int8 does not exist, and low precision is measured on fewer products."""
    if groups and case.group not in groups:
        return False
    return not (dtype == "i8" and case.B)


def write_csv(path: str, rows: list[dict[str, object]]) -> None:
    """Append the rows, with date, CPU and commit."""
    from overhead import cpu_name

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    new = not os.path.exists(path)
    with open(path, "a", newline="") as f:
        writer = csv.DictWriter(f, ["date", "host_cpu", "commit", *rows[0]])
        if new:
            writer.writeheader()
        for row in rows:
            writer.writerow({"date": time.strftime("%Y-%m-%d"), "host_cpu": cpu_name(), "commit": commit} | row)


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="groups, comma separated")
    parser.add_argument("--match", default="", help="part of a product's name")
    parser.add_argument("--dtypes", default="f32")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--budget", type=float, default=0.2, help="seconds per row")
    parser.add_argument("--csv", help="append the rows to this file")
    args = parser.parse_args()
    groups = [g for g in args.only.split(",") if g]
    rows = []
    for threads in map(int, args.threads.split(",")):
        for m in (mg, torch):
            if m is not None:
                m.set_num_threads(threads)
        peak = {d: mg._core.fma_rate(d == "f64") / 1e9 for d in ("f32", "f64")}
        print(f"{threads} thread(s), {mg._core.cpu_isa()}: FMA {peak['f32']:.0f} GFLOP/s float32, {peak['f64']:.0f} float64")
        print(f"{'product MxNxK':30}{'dtype':>6}{'us':>11}{'GFLOP/s':>9}{'peak':>6}{'torch us':>11}{'torch/ours [quartiles]':>26}")
        for dtype in args.dtypes.split(","):
            for case in cases():
                if args.match not in case.name() or not selected(case, dtype, groups):
                    continue
                row = measure(case, dtype, args.budget, threads, peak["f64" if dtype == "f64" else "f32"])
                line = f"{case.name():30}{dtype:>6}{row['us']:11}{row['gflops']:9}{row['peak_percent']:5}%"
                if "ratio" in row:
                    line += f"{row['torch_us']:11}{row['ratio']:12} [{row['ratio_q1']}, {row['ratio_q3']}]"
                print(line, flush=True)
                rows.append({"threads": threads} | row)
    if args.csv:
        write_csv(args.csv, rows)


if __name__ == "__main__":
    main()
