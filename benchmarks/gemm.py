"""Matrix products against torch: squares, skinny and tall ones, batches, the transposed operands of backward passes, all dtypes.

    python -m benchmarks.gemm [--only square,skinny] [--dtypes f32,bf16] [--threads 1,2] [--budget 0.2] [--csv benchmarks/results/gemm.csv]
    python -m benchmarks.gemm --isa avx2 --dtypes f32,bf16,f16,i8     # both libraries held to what a CPU with AVX2 has
    python -m benchmarks.gemm --openblas                              # scipy-openblas32 as a third library, float32 and float64
    python -m benchmarks.gemm --tune                                  # measures and rewrites this instruction set's row of gemm_tuning.h

Each round times ours and torch in turn. ratio = torch's time / ours (larger is better), median over rounds with its quartiles; "peak" is
our rate over the rate of independent fused multiply-adds of this machine in float32 (float64), measured in the same run with the same
threads. NN: both operands as they come; TN: a.mT @ b, as for the gradient of a weight; NT: a @ b.mT, as linear and the gradient of an
input. Results are checked against float64 before anything is timed, torch's as well: where they are wrong (int8 without VNNI: oneDNN's
sums of two products saturate at 16 bits) the row says so.
--isa avx2 (avx512: without its bfloat16 and VNNI instructions) starts the run again with the variables that hold ours, ATen, oneDNN and MKL
to that instruction set.
On AMD processors torch's MKL takes its AVX2 kernels; its AVX-512 ones are seen with a preloaded library whose function
`int mkl_serv_intel_cpu_true(void)` returns 1.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
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


LIMITS = {  # what holds everybody to an instruction set; read when the libraries are loaded
    "avx2": {"MINIGRAD_ISA": "avx2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "avx512": {"MINIGRAD_ISA": "avx512", "ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}
    | {"MKL_ENABLE_INSTRUCTIONS": "AVX512"},
}


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


def error(case: Case, dtype: str, arrays: tuple[np.ndarray, np.ndarray], call: Callable[[], object]) -> float:
    """Largest difference from float64 over the largest result, on at most 4 batch entries."""
    rounded = [mg.from_numpy(x[:4] if case.B else x).to(getattr(mg, DTYPES[dtype])).double().numpy() for x in arrays]
    a = rounded[0].swapaxes(-1, -2) if case.form == "TN" else rounded[0]
    b = rounded[1].swapaxes(-1, -2) if case.form == "NT" else rounded[1]
    want = a @ b
    got = call().double().numpy()
    return float(np.abs((got[:4] if case.B else got) - want).max() / max(np.abs(want).max(), 1e-30))


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


def measure(case: Case, dtype: str, budget: float, threads: int, peak: float, openblas: bool) -> dict[str, object]:
    """One row of the table."""
    arrays = operands(case, dtype)
    calls = {"minigrad": product(mg, case, dtype, arrays)}
    if torch is not None:
        calls["torch"] = product(torch, case, dtype, arrays)
    if openblas and dtype in ("f32", "f64") and not case.B:
        calls["openblas"] = blas_product(case, dtype, arrays)
    errors = {name: error(case, dtype, arrays, call) for name, call in calls.items()} if case.flops() < 5e9 else {}
    for name in ("minigrad", "openblas"):
        assert errors.get(name, 0) <= TOLERANCE[dtype], f"{case.name()} {dtype}: {name}'s error {errors[name]:.2e}"
    times = interleaved(calls, budget, threads)
    ours = statistics.median(times["minigrad"])
    rate = case.flops() / ours / 1e9
    row: dict[str, object] = {"group": case.group, "product": case.name(), "dtype": dtype, "us": round(ours * 1e6, 1)}
    row |= {"gflops": round(rate, 1), "peak_percent": round(100 * rate / peak)}
    if torch is not None:
        ratios = sorted(t / o for o, t in zip(times["minigrad"], times["torch"]))
        row |= {"torch_us": round(statistics.median(times["torch"]) * 1e6, 1), "ratio": round(statistics.median(ratios), 2)}
        row |= {"ratio_q1": round(ratios[len(ratios) // 4], 2), "ratio_q3": round(ratios[3 * len(ratios) // 4], 2)}
        row |= {"torch_error": f"{errors['torch']:.1e}" if errors.get("torch", 0) > TOLERANCE[dtype] else ""}
    if "openblas" in times:
        row |= {"openblas_us": round(statistics.median(times["openblas"]) * 1e6, 1)}
    return row


def blas_product(case: Case, dtype: str, arrays: tuple[np.ndarray, np.ndarray]) -> Callable[[], object]:
    """The call in scipy-openblas32, on the same operands."""
    import ctypes

    import scipy_openblas32

    lib = ctypes.CDLL(os.path.join(scipy_openblas32.get_lib_dir(), scipy_openblas32.get_library(fullname=True)))
    lib.scipy_openblas_set_num_threads(mg.get_num_threads())
    a, b = arrays
    c, real = np.empty((case.M, case.N), a.dtype), {"f32": ctypes.c_float, "f64": ctypes.c_double}[dtype]
    gemm = lib.scipy_cblas_sgemm if dtype == "f32" else lib.scipy_cblas_dgemm
    at = [ctypes.c_void_p(x.ctypes.data) for x in (a, b, c)]
    trans = [ctypes.c_int(112 if t else 111) for t in (case.form == "TN", case.form == "NT")]
    sizes = [ctypes.c_int(x) for x in (case.M, case.N, case.K)]
    lda, ldb, ldc = (ctypes.c_int(x.shape[-1]) for x in (a, b, c))

    def call() -> object:
        gemm(ctypes.c_int(101), *trans, *sizes, real(1), at[0], lda, at[1], ldb, real(0), at[2], ldc)
        return result

    result = mg.from_numpy(c)
    return call


def selected(case: Case, dtype: str, groups: list[str]) -> bool:
    """Whether the table has this row: bmm of int8 does not exist, and low precision is measured on fewer products."""
    if groups and case.group not in groups:
        return False
    return not (dtype == "i8" and case.B)


def write_csv(path: str, rows: list[dict[str, object]]) -> None:
    """Append the rows, with date, CPU and commit."""
    from benchmarks.overhead import cpu_name

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    new = not os.path.exists(path)
    with open(path, "a", newline="") as f:
        columns = ["isa", "threads", "group", "product", "dtype", "us", "gflops", "peak_percent"]
        columns += ["torch_us", "ratio", "ratio_q1", "ratio_q3", "torch_error", "openblas_us"]
        writer = csv.DictWriter(f, ["date", "host_cpu", "commit", *columns])
        if new:
            writer.writeheader()
        for row in rows:
            writer.writerow({"date": time.strftime("%Y-%m-%d"), "host_cpu": cpu_name(), "commit": commit} | row)


def run_limited(isa: str) -> None:
    """This run again, every library held to `isa`."""
    arguments = [a for i, a in enumerate(sys.argv[1:]) if a != "--isa" and sys.argv[i] != "--isa" and not a.startswith("--isa=")]
    env = os.environ | LIMITS[isa] | {"MINIGRAD_BENCHMARK_ISA": isa}
    sys.exit(subprocess.run([sys.executable, "-m", "benchmarks.gemm", *arguments], env=env).returncode)


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="groups, comma separated")
    parser.add_argument("--match", default="", help="part of a product's name")
    parser.add_argument("--dtypes", default="f32")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--budget", type=float, default=0.2, help="seconds per row")
    parser.add_argument("--csv", help="append the rows to this file")
    parser.add_argument("--isa", choices=LIMITS, help="hold all libraries to this instruction set")
    parser.add_argument("--openblas", action="store_true", help="measure scipy-openblas32 as well")
    parser.add_argument("--tune", action="store_true", help="find this machine's numbers for csrc/cpu/gemm_tuning.h and write them there")
    args = parser.parse_args()
    if args.isa:
        run_limited(args.isa)
    if args.tune:
        from benchmarks import gemm_tune

        return gemm_tune.main()
    isa = os.environ.get("MINIGRAD_BENCHMARK_ISA", "")
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
                row = measure(case, dtype, args.budget, threads, peak["f64" if dtype == "f64" else "f32"], args.openblas)
                line = f"{case.name():30}{dtype:>6}{row['us']:11}{row['gflops']:9}{row['peak_percent']:5}%"
                if "ratio" in row:
                    line += f"{row['torch_us']:11}{row['ratio']:12} [{row['ratio_q1']}, {row['ratio_q3']}]"
                    line += f"  torch is wrong: error {row['torch_error']}" if row["torch_error"] else ""
                if "openblas_us" in row:
                    line += f"  openblas {row['openblas_us']} us"
                print(line, flush=True)
                rows.append({"isa": isa, "threads": threads} | row)
    if args.csv:
        write_csv(args.csv, rows)


if __name__ == "__main__":
    main()
