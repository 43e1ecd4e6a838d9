"""How much faster a training step could become if everything but products, convolutions, attention and recurrences took no time.

    python -m benchmarks.bound [--threads 1] [--only gpt ...] [--rounds 5] [--tiny]

A compiled step calls the kernels of these ops that eager code calls, so total / theirs bounds what fusion, planning and graphs can give.
Times are the profiler's self times per op, summed over the step; median and extremes over the rounds.
"""

from __future__ import annotations

import argparse
import math
import statistics
from typing import Any

from benchmarks import machine, models

HEAVY = ("linear", "matmul", "_attention", "_attention_backward", "_conv", "_conv_transpose", "_conv_weight_grad", "_rnn_layer",
         "_rnn_layer_backward")  # fmt: skip


def shares(mg: Any, name: str, rounds: int, tiny: bool) -> list[float]:
    """Of each round: seconds of the step's ops over seconds of the heavy ones."""
    work = models.TRAINING[name](mg, tiny)
    for _ in range(2):
        models.step(mg, work)
    found = []
    for _ in range(rounds):
        with mg.profiler.profile() as run:
            models.step(mg, work)
        times = {e.key.removeprefix("aten::"): e.self_cpu_time_total for e in run.key_averages()}
        found.append(sum(times.values()) / sum(times[op] for op in HEAVY if op in times))
    return found


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Print a line per model, and the geometric mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=list(models.TRAINING), choices=list(models.TRAINING))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="shrunk models, for tests")
    args = parser.parse_args(argv)
    import minigrad as mg

    mg.set_num_threads(args.threads)
    print(f"{machine.cpu_name()}, {args.threads} threads: largest possible eager / compiled, median [least, most]")
    bounds = {}
    for name in args.only:
        found = shares(mg, name, args.rounds, args.tiny)
        bounds[name] = statistics.median(found)
        print(f"{name:14} {bounds[name]:.2f} [{min(found):.2f}, {max(found):.2f}]", flush=True)
    print(f"geometric mean {math.exp(statistics.mean(map(math.log, bounds.values()))):.2f}")
    return bounds


if __name__ == "__main__":
    main()
