"""Cost of one op, not of its arithmetic: tiny tensors, interleaved rounds against numpy and (if installed) torch.

    python benchmarks/overhead.py [--rounds 15] [--csv benchmarks/results/overhead.csv]

Each round times every workload in every library in turn, so that drifts of the machine hit all alike; the table shows the median over
rounds and the ratio's median and interquartile range (ratio = ours / theirs, smaller is better). All libraries run one thread.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import minigrad as mg

try:
    import torch

    torch.set_num_threads(1)
except ImportError:
    torch = None
mg.set_num_threads(1)

Workload = Callable[[], object]


def engine_workloads(m, from_numpy) -> dict[str, Workload]:
    """The workloads of a PyTorch-like library `m`."""
    a, b = from_numpy(np.arange(8, dtype=np.float32)), from_numpy(np.ones(8, dtype=np.float32))
    ag, bg = a.clone().requires_grad_(), b.clone().requires_grad_()
    matrix = from_numpy(np.zeros((16, 16), dtype=np.float32))
    scalar = from_numpy(np.zeros((), dtype=np.float32))

    def backward():
        (ag * bg).sum().backward()

    def chain() -> None:
        x = ag
        for _ in range(100):
            x = x * 1.01
        x.sum().backward()

    net = m.nn.Sequential(m.nn.Linear(2, 16), m.nn.ReLU(), m.nn.Linear(16, 16), m.nn.ReLU(), m.nn.Linear(16, 1))
    opt = m.optim.SGD(net.parameters(), lr=1e-3)
    loss_fn = m.nn.MSELoss()
    x, y = from_numpy(np.random.rand(8, 2).astype(np.float32)), from_numpy(np.random.rand(8, 1).astype(np.float32))

    def mlp() -> None:
        opt.zero_grad()
        loss = loss_fn(net(x), y)
        loss.backward()
        opt.step()

    return {
        "add": lambda: a + b,
        "mul": lambda: a * b,
        "add scalar": lambda: a + 1.0,
        "add with grad": lambda: ag + bg,
        "(a*b).sum().backward()": backward,
        "chain of 100 fwd+bwd": chain,
        "x[3]": lambda: matrix[3],
        "x[2:9]": lambda: matrix[2:9],
        "x.transpose(0, 1)": lambda: matrix.transpose(0, 1),
        "x.reshape(4, 64)": lambda: matrix.reshape(4, 64),
        "x.item()": lambda: scalar.item(),
        "matmul 16x16": lambda: matrix @ matrix,
        "zeros(8)": lambda: m.zeros(8),
        "MLP 2-16-16-1 step": mlp,
    }


def numpy_workloads() -> dict[str, Workload]:
    """What numpy can do of the same."""
    a, b = np.arange(8, dtype=np.float32), np.ones(8, dtype=np.float32)
    matrix, scalar = np.zeros((16, 16), dtype=np.float32), np.zeros((), dtype=np.float32)
    return {
        "add": lambda: a + b,
        "mul": lambda: a * b,
        "add scalar": lambda: a + 1.0,
        "x[3]": lambda: matrix[3],
        "x[2:9]": lambda: matrix[2:9],
        "x.transpose(0, 1)": lambda: matrix.transpose(1, 0),
        "x.reshape(4, 64)": lambda: matrix.reshape(4, 64),
        "x.item()": lambda: scalar.item(),
        "matmul 16x16": lambda: matrix @ matrix,
        "zeros(8)": lambda: np.zeros(8, dtype=np.float32),
    }


def time_once(fn: Workload, target_s: float = 0.01) -> float:
    """Seconds per call over a batch of about `target_s`, after enough calls to warm caches and branch predictors again."""
    fn()
    warm = 1
    while True:  # the first calls after another library's turn are several times slower: they must not size the batch
        start = time.perf_counter()
        for _ in range(warm):
            fn()
        spent = time.perf_counter() - start
        if spent > target_s / 10:
            break
        warm *= 2
    n = max(3, int(target_s * warm / spent))
    start = time.perf_counter()
    for _ in range(n):
        fn()
    return (time.perf_counter() - start) / n


def measure(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds per call: library -> workload -> one entry per round, interleaved."""
    libraries = {"minigrad": engine_workloads(mg, mg.from_numpy), "numpy": numpy_workloads()}
    if torch is not None:
        libraries["torch"] = engine_workloads(torch, torch.from_numpy)
    times: dict[str, dict[str, list[float]]] = {lib: {w: [] for w in work} for lib, work in libraries.items()}
    for r in range(rounds + 2):
        for name in libraries["minigrad"]:
            for lib, work in libraries.items():
                if name in work:
                    t = time_once(work[name])
                    if r >= 2:  # two rounds of warm-up
                        times[lib][name].append(t)
        print(f"\rround {r + 1}/{rounds + 2}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return times


def ratio(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Median and quartiles of ours / theirs, round by round."""
    q = sorted(a / b for a, b in zip(ours, theirs))
    return statistics.median(q), q[len(q) // 4], q[(3 * len(q)) // 4]


def _unit(seconds: float) -> str:
    return f"{seconds * 1e9:8.0f} ns" if seconds < 1e-5 else f"{seconds * 1e6:8.1f} us"


def main() -> None:
    """Run and print the table; with --csv also append the rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--csv", help="append the rows to this file")
    args = parser.parse_args()
    times = measure(args.rounds)
    others = [lib for lib in ("numpy", "torch") if lib in times]
    print(f"{'workload':26}{'minigrad':>12}" + "".join(f"{o:>12}{'ours/' + o + ' [quartiles]':>26}" for o in others))
    rows = []
    for name, ours in times["minigrad"].items():
        line = f"{name:26}{_unit(statistics.median(ours)):>12}"
        row = {"workload": name, "minigrad_s": statistics.median(ours)}
        for o in others:
            if name not in times[o]:
                line += " " * 38
                continue
            mid, low, high = ratio(ours, times[o][name])
            line += f"{_unit(statistics.median(times[o][name])):>12}{mid:14.3f} [{low:.3f}, {high:.3f}]".ljust(38)
            row |= {f"{o}_s": statistics.median(times[o][name]), f"ratio_{o}": mid, f"ratio_{o}_q1": low, f"ratio_{o}_q3": high}
        print(line)
        rows.append(row)
    if args.csv:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
        fields = ["date", "host_cpu", "commit", "workload", "minigrad_s", "numpy_s", "ratio_numpy", "ratio_numpy_q1", "ratio_numpy_q3"]
        fields += ["torch_s", "ratio_torch", "ratio_torch_q1", "ratio_torch_q3"]
        new = not os.path.exists(args.csv)
        with open(args.csv, "a", newline="") as f:
            writer = csv.DictWriter(f, fields)
            if new:
                writer.writeheader()
            for row in rows:
                writer.writerow({"date": time.strftime("%Y-%m-%d"), "host_cpu": cpu_name(), "commit": commit} | row)


def cpu_name() -> str:
    """Processor model, for the results file."""
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(":")[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
