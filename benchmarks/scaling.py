"""How much faster two threads are than one, on this machine, next to what the machine itself gives.

    python -m benchmarks.scaling                                 # everything: about four minutes
    python -m benchmarks.scaling --only gemm/ models/mlp --csv benchmarks/results/scaling.csv

A row is time(1 thread) / time(N threads) of the same call in the same process, samples in turn; median and quartiles of the rounds. Before
it is timed, the results of 1 and N threads are compared bit by bit. The first lines say what N processes of one thread reach together,
measured likewise: what is bound by arithmetic cannot scale better than their GEMM, what is bound by memory not better than their triad
(results written around the caches) or their reading. Rounds during which other processes were busy are taken again, a few times.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import minigrad as mg
from benchmarks import cpu_kernels, machine, models, report

FIELDS = ["date", "cpu", "commit", "threads", "bound", "name", "seconds_1", "seconds_n", "scaling", "scaling_q1", "scaling_q3", "rate_1",
          "rate_n", "unit", "rounds", "disturbed"]  # fmt: skip
SAMPLE = 0.03  # a sample repeats short calls until it lasts this long
BUSY = 0.1  # cores that other processes may use during a round
PATIENCE = 3  # times as many rounds as wanted are tried
MEMORY = ("mem/add_out", "mem/exp_out", "mem/softmax", "mem/layer_norm_fb", "mem/sum_rows", "mem/sum_columns", "optim/adamw")
PROCESSES = ("gemm", "triad", "read")


@dataclass
class Case:
    """`make()` returns (the call, a function that gives the arrays to compare); work is in flops or bytes."""

    make: Callable[[], tuple[Callable[[], Any], Callable[[], list[Any]]]]
    bound: str  # "compute" or "memory"
    work: float
    unit: str


def of_kernel(name: str, bound: str) -> Case:
    """A case of cpu_kernels.py."""
    case = cpu_kernels.CASES[name]

    def make():
        def results():
            out = case.make(mg)()  # anew: the call of an optimizer changes its operands
            return [x.detach() for x in (out if isinstance(out, tuple) else (out,))]

        return case.make(mg), results

    return Case(make, bound, case.flops or case.moved, "GFLOP/s" if case.flops else "GB/s")


def of_gemm(n: int) -> Case:
    """A square product."""
    def make():
        a, b = models.numbers(mg, (n, n)), models.numbers(mg, (n, n), 1)
        return lambda: a @ b, lambda: [a @ b]

    return Case(make, "compute", 2.0 * n**3, "GFLOP/s")


def of_model(name: str) -> Case:
    """A training step, or an inference, of models.py."""
    work = models.MODELS[name](mg, False)
    moved, flops = work.weights_bytes * work.per, models.step_flops(mg, work)

    def make():
        mg.manual_seed(0)
        work = models.MODELS[name](mg, False)

        def results():
            mg.manual_seed(0)  # dropout
            if work.optimizer is None:
                return [models.step(mg, work)]
            work.optimizer.zero_grad()
            loss = work.loss()
            loss.backward()
            return [loss.detach(), *(p.grad.clone() for p in work.model.parameters())]

        return lambda: models.step(mg, work), results

    return Case(make, "memory" if moved else "compute", moved or flops, "GB/s" if moved else "GFLOP/s")


def cases() -> dict[str, Callable[[], Case]]:
    """All cases by name."""
    found: dict[str, Callable[[], Case]] = {f"models/{n}": lambda n=n: of_model(n) for n in models.MODELS}
    found |= {f"gemm/{n}": lambda n=n: of_gemm(n) for n in (64, 96, 128, 192, 256, 384, 512, 1024, 2048)}
    for name in cpu_kernels.CASES:
        if name.startswith(("conv/", "attention/", "rnn/")):
            found[name] = lambda n=name: of_kernel(n, "memory" if "depthwise" in n else "compute")
        elif name in MEMORY:
            found[name] = lambda n=name: of_kernel(n, "memory")
    return found


def busy_seconds() -> float:
    """CPU seconds that all processes of the machine have used; 0 where the system does not say."""
    try:
        with open("/proc/stat") as f:
            ticks = [int(x) for x in f.readline().split()[1:9]]
    except OSError:
        return 0.0
    return (sum(ticks[:3]) + sum(ticks[5:8])) / os.sysconf("SC_CLK_TCK")


def time_of(call: Callable[[], Any], repeat: int) -> float:
    """Seconds per call."""
    start = time.perf_counter()
    for _ in range(repeat):
        call()
    return (time.perf_counter() - start) / repeat


def same_bits(results: Callable[[], list[Any]], threads: int) -> None:
    """Raises where the results of 1 and `threads` threads differ in any bit."""
    both = []
    for n in (1, threads):
        mg.set_num_threads(n)
        both.append([x.numpy().copy() for x in results()])
    if any(a.tobytes() != b.tobytes() for a, b in zip(*both)):
        raise SystemExit(f"1 and {threads} threads give different bits")


def measure(case: Case, threads: int, rounds: int) -> dict[str, Any]:
    """The row of a case."""
    call, results = case.make()
    same_bits(results, threads)
    repeat = max(1, min(10_000, int(SAMPLE / min(time_of(call, 1) for _ in range(2)))))
    ones: list[float] = []
    many: list[float] = []
    disturbed = 0
    for _ in range(PATIENCE * rounds):
        began, busy, mine = time.perf_counter(), busy_seconds(), time.process_time()
        pair = {}
        for n in (1, threads) if len(ones) % 2 else (threads, 1):
            mg.set_num_threads(n)
            time_of(call, 1 + repeat // 8)  # threads awake, operands where they will be
            pair[n] = time_of(call, repeat)
        elapsed = time.perf_counter() - began
        if busy and busy_seconds() - busy - (time.process_time() - mine) > BUSY * elapsed + 0.02:
            disturbed += 1
            continue
        ones.append(pair[1])
        many.append(pair[threads])
        if len(ones) == rounds:
            break
    if not ones:
        return {"failed": "other processes kept the machine busy"}
    ratios = sorted(a / b for a, b in zip(ones, many))
    one, n = statistics.median(ones), statistics.median(many)
    return {"bound": case.bound, "seconds_1": one, "seconds_n": n, "scaling": statistics.median(ratios), "rounds": len(ones),
            "scaling_q1": ratios[len(ratios) // 4], "scaling_q3": ratios[3 * len(ratios) // 4], "rate_1": case.work / one / 1e9,
            "rate_n": case.work / n / 1e9, "unit": case.unit, "disturbed": disturbed}  # fmt: skip


def process_work() -> dict[str, tuple[Callable[[], Any], float]]:
    """What a process of one thread does to find the machine's limits: (call, flops or bytes)."""
    n, length = 512, 1 << 24
    a, out = mg.ones(n, n), mg.zeros(n, n)
    x, y, z = mg.ones(length), mg.ones(length), mg.zeros(length)
    return {"gemm": (lambda: mg.matmul(a, a, out=out), 2.0 * n**3), "triad": (lambda: mg.add(x, y, alpha=3.0, out=z), 12.0 * length),
            "read": (lambda: x.sum(), 4.0 * length)}  # fmt: skip


def rate_for(call: Callable[[], Any], work: float, seconds: float) -> float:
    """Work per second over about that time."""
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call()
        count += 1
    return count * work / (time.perf_counter() - start)


def partner() -> None:
    """The other process: reads the name of a work per line, does it for a while and answers with its rate."""
    mg.set_num_threads(1)
    work = process_work()
    print("ready", flush=True)
    for line in sys.stdin:
        name, seconds = json.loads(line)
        print(rate_for(*work[name], seconds), flush=True)


def limits(threads: int, rounds: int, seconds: float = 0.06) -> dict[str, float]:
    """By name of the work: the rate of all processes together / the rate of one alone, median."""
    mg.set_num_threads(1)
    work = process_work()
    command = [sys.executable, "-m", "benchmarks.scaling", "--partner"]
    others = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(threads - 1)]
    found: dict[str, list[float]] = {n: [] for n in PROCESSES}
    try:
        for p in others:
            p.stdout.readline()
        for _ in range(rounds):
            for name in PROCESSES:
                alone = rate_for(*work[name], seconds)
                for p in others:
                    p.stdin.write(json.dumps([name, 2 * seconds]) + "\n")
                    p.stdin.flush()
                rate_for(*work[name], seconds / 2)  # all are under way
                together = rate_for(*work[name], seconds)
                rate_for(*work[name], seconds)  # nobody ends alone
                found[name].append((together + sum(float(p.stdout.readline()) for p in others)) / alone)
    finally:
        for p in others:
            p.stdin.close()
            p.wait()
    return {n: statistics.median(v) for n, v in found.items()}


def main(argv: list[str] | None = None) -> list[dict[str, Any]]:
    """Run what the command line asks for; returns the rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--only", nargs="*", default=[], help="cases whose name contains one of these")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--csv", help="append the rows to this file")
    parser.add_argument("--partner", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.partner:
        partner()
        return []
    rows = [{"name": f"machine/{n}", "bound": n, "scaling": v} for n, v in limits(args.threads, args.rounds).items()]
    print(f"{machine.cpu_name()}: {args.threads} processes of one thread reach "
          + ", ".join(f"{r['scaling']:.2f} x one's {r['bound']}" for r in rows))  # fmt: skip
    for name, build in cases().items():
        if args.only and not any(text in name for text in args.only):
            continue
        row = {"name": name} | measure(build(), args.threads, args.rounds)
        if "failed" in row:
            print(f"{name:34}{row['failed']}", flush=True)
            continue
        rows.append(row)
        rates = f"{row['rate_1']:.1f} -> {row['rate_n']:.1f} {row['unit']}"
        print(f"{name:34}{row['bound']:8}{report.duration(row['seconds_1']):>9} -> {report.duration(row['seconds_n']):>8}"
              f"   {row['scaling']:.2f} [{row['scaling_q1']:.2f}, {row['scaling_q3']:.2f}]{rates:>28}", flush=True)  # fmt: skip
    if args.csv:
        write_csv(args.csv, args.threads, rows)
    return rows


def write_csv(path: str, threads: int, rows: list[dict[str, Any]]) -> None:
    """Append the rows, with date, processor and commit; a new file starts with the names."""
    new = not os.path.exists(path)
    common = {"date": time.strftime("%Y-%m-%d"), "cpu": machine.cpu_name(), "commit": machine.commit(), "threads": threads}
    with open(path, "a", newline="") as f:
        writer = csv.DictWriter(f, FIELDS)
        if new:
            writer.writeheader()
        for row in rows:
            writer.writerow(common | {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
