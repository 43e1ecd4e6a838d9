"""Every registered op that has samples, at about a million elements, against PyTorch eager: which are slower than 1.5 x?

    python benchmarks/ops.py [--ops add,sum] [--rounds 7] [--threads 1] [--limit 1.5] [--csv benchmarks/results/ops_slow.csv]

The inputs are the op's own samples (minigrad/testing/samples.py), their dimensions grown until the largest tensor has about `--elements`
elements. Ours and PyTorch's run in turn, round by round, so that drifts of the machine hit both; a ratio is the median over rounds.
Ops slower than the limit are printed and written to the CSV with host, device and commit; ops that cannot be grown, or that PyTorch
does not have, are counted at the end.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import minigrad as mg
from minigrad.op import OpInfo, registry
from minigrad.testing.samples import Sample, Spec, build, samples


def grown(sample: Sample, elements: int) -> Sample | None:
    """The sample with all its dimensions multiplied alike, so that shapes stay compatible; None if it cannot be."""
    specs = sample.specs()
    if not specs or any(0 in s.shape for s in specs) or max(s.values.size for s in specs) < 2:
        return None
    largest = max(specs, key=lambda s: s.values.size)
    sizes = sorted({n for n in largest.shape if n > 1}, reverse=True)
    if not sizes:
        return None
    factor = (elements / largest.values.size) ** (1 / sum(n > 1 for n in largest.shape))
    scale = {n: max(n, int(n * factor)) for n in sizes}
    rng = np.random.default_rng(0)

    def grow(s: Spec) -> Spec:
        shape = tuple(scale.get(n, n) for n in s.shape)
        values = rng.permutation(np.resize(s.values, math.prod(shape))).reshape(shape) if shape != s.shape else s.values
        return replace(s, values=values, layout="contiguous")

    args, kwargs = sample.map(grow)
    return Sample(tuple(args), kwargs)


def counterpart(info: OpInfo) -> Callable[..., Any] | None:
    """PyTorch's function or method of the same name."""
    for space in info.namespace:
        holder: Any = torch
        for part in filter(None, space.split(".")):
            holder = getattr(holder, part, None)
        if holder is not None and hasattr(holder, info.name):
            return getattr(holder, info.name)
    if info.method and info.name[0] != "_" and not info.namespace:
        return getattr(torch.Tensor, info.name, None)
    return None


def arguments(sample: Sample, module: Any) -> tuple[list[Any], dict[str, Any]]:
    """The sample's arguments built with a library."""

    def build_for(s: Spec) -> Any:
        return build(s, module)

    args, kwargs = sample.map(build_for)

    def own(v: Any) -> Any:
        if module is torch and isinstance(v, mg.dtype):
            return getattr(torch, str(v).rsplit(".", 1)[-1])
        return v

    return [own(a) for a in args], {k: own(v) for k, v in kwargs.items()}


def workloads(info: OpInfo, elements: int) -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """(label, ours, theirs) for the largest samples of an op that both libraries take."""
    theirs = counterpart(info)
    if theirs is None:
        return
    for dtype in ("float32", "int64", "bool", "complex64"):
        try:
            found = sorted(samples(info, dtype), key=lambda s: -max((x.values.size for x in s.specs()), default=0))
        except Exception:  # no samples of this dtype
            continue
        for sample in found[:6]:
            big = grown(sample, elements)
            if big is None:
                continue
            try:
                a, ka = arguments(big, mg)
                b, kb = arguments(big, torch)
                info.function(*a, **ka)
                theirs(*b, **kb)
            except Exception:  # the arguments do not fit the larger shapes: try the next sample
                continue
            yield repr(big), (lambda a=a, ka=ka: info.function(*a, **ka)), (lambda b=b, kb=kb: theirs(*b, **kb))
            return


def seconds(work: Callable[[], Any], repeat: int) -> float:
    """Time of one call."""
    began = time.perf_counter()
    for _ in range(repeat):
        work()
    return (time.perf_counter() - began) / repeat


def measure(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> tuple[float, float, float]:
    """Median seconds of ours and of theirs, and the median of the rounds' ratios."""
    first = max(seconds(ours, 1), seconds(theirs, 1))
    repeat = max(1, min(50, int(0.02 / max(first, 1e-6))))
    times = [(seconds(ours, repeat), seconds(theirs, repeat)) for _ in range(rounds)]
    return statistics.median(t[0] for t in times), statistics.median(t[1] for t in times), statistics.median(t[0] / t[1] for t in times)


def reasons() -> dict[str, str]:
    """Why known ops are slow, from slow_ops.txt."""
    lines = (Path(__file__).parent / "slow_ops.txt").read_text().splitlines()
    return dict(line.split(" ", 1) for line in lines if line and line[0] != "#")


def commit() -> str:
    """Short hash of the checkout."""
    here = Path(__file__).resolve().parent
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=False).stdout.strip()


def main() -> int:
    """Command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ops", default="", help="comma-separated names; default: all")
    p.add_argument("--elements", type=int, default=1 << 20)
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--limit", type=float, default=1.5, help="report ops slower than this many times PyTorch")
    p.add_argument("--csv", default="", help="append the slow ones to this file")
    p.add_argument("--all", action="store_true", help="report every op")
    args = p.parse_args()
    mg.set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    wanted = {n for n in args.ops.split(",") if n}
    rows, skipped, count, why = [], [], 0, reasons()
    print(f"{'op':28} {'minigrad ms':>12} {'torch ms':>10} {'ratio':>7}  arguments")
    for name, info in sorted(registry.items()):
        if wanted and name not in wanted:
            continue
        if not wanted and (name[0] == "_" or (not info.namespace and not info.method)):
            continue
        case = next(workloads(info, args.elements), None)
        if case is None:
            skipped.append(name)
            continue
        label, ours, theirs = case
        mine, other, ratio = measure(ours, theirs, args.rounds)
        count += 1
        slow = ratio > args.limit
        if slow or args.all or wanted:
            print(f"{name:28} {mine * 1e3:12.3f} {other * 1e3:10.3f} {ratio:7.2f}  {label[:90]}", flush=True)
            if slow:
                print(f"{'':28} {why.get(name, 'UNEXPLAINED')}", flush=True)
        if slow:
            host = platform.processor() or platform.machine()
            figures = [f"{mine:.3e}", f"{other:.3e}", f"{ratio:.2f}"]
            rows.append([name, label, *figures, args.threads, host, "cpu", commit(), why.get(name, "")])
    print(f"{count} ops measured, {len(rows)} slower than {args.limit} x; not measured: {len(skipped)} ({', '.join(skipped)})")
    if args.csv and rows:
        fresh = not os.path.exists(args.csv)
        with open(args.csv, "a", newline="") as f:
            writer = csv.writer(f)
            if fresh:
                writer.writerow(["op", "arguments", "minigrad_s", "torch_s", "ratio", "threads", "host", "device", "commit", "reason"])
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
