"""minigrad against PyTorch eager on the CPU: ops, models, training steps, peak memory.

    python -m benchmarks.cpu [--threads 1 2] [--only gpt gemm/ ...] [--groups models gemm conv mem attention rnn optim memory]
                             [--rounds 11] [--seconds 6] [--also compile numpy jax tensorflow] [--errors] [--csv FILE] [--png FILE] [--list]

Every case computes the same from the same numbers in both libraries; results and gradients are compared first, and a case that differs has
no time. Then the libraries run in turn, round by round. ratio = torch's time / ours of the same round (larger is better): the median and,
in brackets, the quartiles. Rate and %: of the STREAM triad or of the best GEMM rate measured at the start of the same run with the same
number of threads. A training step is zero_grad, forward, loss, backward, clipping where the model has it, and the optimizer.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks import cpu_kernels, models, peers, report

GROUPS = ("models", "memory", *dict.fromkeys(name.split("/")[0] for name in cpu_kernels.CASES))


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu", description=__doc__, formatter_class=layout)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="cases whose name contains one of these")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="GROUP", help=f"of {' '.join(GROUPS)}")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=6.0, help="stop the rounds of a case after about this long (at least 3 rounds)")
    parser.add_argument("--also", nargs="+", choices=peers.NAMES, default=[], help="other frameworks, where installed")
    parser.add_argument("--errors", action="store_true", help="instead of times: errors of results and gradients against float64")
    parser.add_argument("--csv", help="append the rows to this file")
    parser.add_argument("--png", help="draw bars of the ratios and a roofline (needs matplotlib)")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    parser.add_argument("--tiny", action="store_true", help="models shrunk to almost nothing: for tests")
    return parser.parse_args(argv)


def chosen(args: argparse.Namespace) -> list[str]:
    """Names of the cases to run, models first."""
    names = [(n, "models") for n in models.MODELS] + [(n, n.split("/")[0]) for n in cpu_kernels.CASES]
    return [n for n, group in names if group in args.groups and (not args.only or any(text in n for text in args.only))]


def run_worker(args: argparse.Namespace, threads: int, names: list[str]) -> Iterator[dict[str, Any]]:
    """The JSON lines of a worker process, as they come."""
    options = {"threads": threads, "names": names} | {k: getattr(args, k) for k in ("rounds", "seconds", "also", "tiny", "errors")}
    env = os.environ | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "benchmarks.worker", json.dumps(options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) as worker:
        assert worker.stdout is not None
        for line in worker.stdout:
            yield json.loads(line)
    if worker.returncode:
        raise SystemExit(f"the worker for {threads} threads ended with status {worker.returncode}")


def peak_memory(args: argparse.Namespace, threads: int) -> Iterator[dict[str, Any]]:
    """Rows with the peak memory of the GPT's training step, each library in its own process."""
    for name in ("gpt",):
        bytes_of = {}
        for library in ("minigrad", "torch"):
            command = [sys.executable, "-m", "benchmarks.peak_memory", library, name, "--threads", str(threads)]
            done = subprocess.run(command + ["--tiny"] * args.tiny, capture_output=True, text=True)
            if done.returncode == 0:
                bytes_of[library] = int(done.stdout)
        if "minigrad" in bytes_of:
            row = {"name": f"memory/{name}", "minigrad_bytes": bytes_of["minigrad"]}
            if "torch" in bytes_of:
                row |= {"torch_bytes": bytes_of["torch"], "share_of_torch": bytes_of["minigrad"] / max(bytes_of["torch"], 1)}
            yield row


def geometric_mean(rows: list[dict[str, Any]], names: list[str] | dict[str, Any]) -> float | None:
    """Of the ratios to torch of those rows, if every one of the names is there."""
    ratios = [r["ratio_torch"] for r in rows if r["name"] in names and "ratio_torch" in r]
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if len(ratios) == len(names) else None


def main(argv: list[str] | None = None) -> list[dict[str, Any]]:
    """Run, print and write what the command line asks for; returns the rows."""
    args = arguments(argv)
    names = chosen(args)
    if args.list:
        print("\n".join(names))
        return []
    with_memory = "memory" in args.groups and not args.errors and (not args.only or any(text in "memory/gpt" for text in args.only))
    rows: list[dict[str, Any]] = []
    progress = report.Progress(len(args.threads) * (len(names) + with_memory))
    for threads in args.threads:
        mine: list[dict[str, Any]] = []
        if names:
            lines = run_worker(args, threads, names)
            report.print_header(threads, next(lines), args.also)
            for row in lines:
                mine.append(row)
                progress.clear()
                report.print_row(row, args.also)
                progress.step(row["name"])
        if with_memory:
            for row in peak_memory(args, threads):
                mine.append(row)
                progress.clear()
                report.print_row(row, args.also)
                progress.step(row["name"])
        mean = geometric_mean(mine, models.TRAINING)
        if mean is not None:
            print(f"geometric mean of the training steps, {threads} thread{'s' * (threads > 1)}: {mean:.2f}")
        rows += [{"threads": threads} | row for row in mine]
    progress.clear()
    if args.csv:
        report.write_csv(args.csv, rows)
    if args.png:
        report.draw(args.png, rows)
    return rows


if __name__ == "__main__":
    main()
