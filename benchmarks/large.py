"""Memory-bound ops on large tensors, outputs fresh each time, in steady state: what the caching allocator is for.

    python benchmarks/large.py [--elements 16777216] [--rounds 9] [--csv benchmarks/results/large.csv]

For 1 and 2 threads, minigrad and torch (if installed) run each op in turn, round by round. Ratio = torch's time / ours, larger is better.
GB/s counts the bytes that the op must move: operands read once, result written once.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import time
from collections.abc import Callable

import minigrad as mg

try:
    import torch
except ImportError:
    torch = None


def workloads(m, n: int) -> dict[str, tuple[Callable[[], object], int]]:
    """op name -> (call, tensors moved)."""
    a, b = m.rand(n), m.rand(n)
    return {
        "add": (lambda: a + b, 3),
        "mul scalar": (lambda: a * 2.0, 2),
        "exp": (lambda: a.exp(), 2),
        "sigmoid": (lambda: a.sigmoid(), 2),
        "relu": (lambda: a.relu(), 2),
        "sum": (lambda: a.sum(), 1),
    }


def timed(fn: Callable[[], object]) -> float:
    """Seconds of one call, the result dropped inside the measurement as in a training loop."""
    start = time.perf_counter()
    fn()
    return time.perf_counter() - start


def main() -> None:
    """Run and print the table; with --csv also append the rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--elements", type=int, default=1 << 24)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--csv", help="append the rows to this file")
    args = parser.parse_args()
    libraries = {"minigrad": mg} | ({"torch": torch} if torch is not None else {})
    calls = {name: workloads(m, args.elements) for name, m in libraries.items()}
    rows = []
    print(f"{args.elements} float32 elements, fresh output each call")
    print(f"{'op':12}{'threads':>8}{'minigrad ms':>13}{'GB/s':>8}{'torch ms':>10}{'torch/ours [quartiles]':>26}")
    for threads in (1, 2):
        for m in libraries.values():
            m.set_num_threads(threads)
        for op, (_, moved) in calls["minigrad"].items():
            times: dict[str, list[float]] = {name: [] for name in libraries}
            for r in range(args.rounds + 2):
                for name in libraries:
                    t = timed(calls[name][op][0])
                    if r >= 2:
                        times[name].append(t)
            ours = statistics.median(times["minigrad"])
            line = f"{op:12}{threads:8}{ours * 1e3:13.2f}{moved * 4 * args.elements / ours / 1e9:8.1f}"
            row = {"op": op, "threads": threads, "elements": args.elements, "minigrad_s": ours}
            if torch is not None:
                q = sorted(t / o for o, t in zip(times["minigrad"], times["torch"]))
                low, mid, high = q[len(q) // 4], statistics.median(q), q[3 * len(q) // 4]
                line += f"{statistics.median(times['torch']) * 1e3:10.2f}{mid:12.2f} [{low:.2f}, {high:.2f}]"
                row |= {"torch_s": statistics.median(times["torch"]), "ratio": mid, "ratio_q1": low, "ratio_q3": high}
            print(line, flush=True)
            rows.append(row)
    if args.csv:
        from overhead import cpu_name

        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
        fields = ["date", "host_cpu", "commit", *rows[0]]
        new = not os.path.exists(args.csv)
        with open(args.csv, "a", newline="") as f:
            writer = csv.DictWriter(f, fields)
            if new:
                writer.writeheader()
            for row in rows:
                writer.writerow({"date": time.strftime("%Y-%m-%d"), "host_cpu": cpu_name(), "commit": commit} | row)


if __name__ == "__main__":
    main()
