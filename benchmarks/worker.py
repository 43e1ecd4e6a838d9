"""One thread count of the benchmark in a process of its own: measures the machine, then case after case, one JSON line each on stdout.

Started by cpu.py: `python -m benchmarks.worker '{"threads": 2, "names": [...], ...}'`. A clean process per thread count, because thread
pools, OpenMP settings and allocators remember what they did before.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from benchmarks import compare, cpu_kernels, machine, models, peers


def libraries(threads: int) -> dict[str, Any]:
    """minigrad and, if installed, torch: both with this many threads."""
    import minigrad

    found: dict[str, Any] = {"minigrad": minigrad}
    try:
        import torch

        found["torch"] = torch
    except ImportError:
        pass
    for m in found.values():
        m.set_num_threads(threads)
    return found


def op_calls(libs: dict[str, Any], name: str) -> tuple[dict[str, Any], float, dict[str, float]]:
    """Calls by library, largest difference of the results, and what the rate counts."""
    case = cpu_kernels.CASES[name]
    calls = {n: case.make(m) for n, m in libs.items()}
    worst = compare.check_op(calls, case.limit) if "torch" in calls else 0.0
    return calls, worst, {"flops": case.flops, "moved": case.moved}


def model_calls(libs: dict[str, Any], name: str, tiny: bool) -> tuple[dict[str, Any], float, dict[str, float]]:
    """The same for a model's step."""
    works = {n: models.MODELS[name](m, tiny) for n, m in libs.items()}
    worst = compare.check_model(libs, name, works, tiny) if "torch" in libs else 0.0
    ours = works["minigrad"]
    flops = models.step_flops(libs["minigrad"], ours)
    work = {"moved": ours.weights_bytes * ours.per} if ours.weights_bytes else {"flops": flops}
    return {n: (lambda m=m, w=works[n]: models.step(m, w)) for n, m in libs.items()}, worst, work | {"per": ours.per}


def measure(libs: dict[str, Any], name: str, options: dict[str, Any], peaks: dict[str, float]) -> dict[str, Any]:
    """The row of one case."""
    is_model = name in models.MODELS
    libs["minigrad"].manual_seed(0)  # the weights, which torch's model gets as well
    if options["errors"]:
        return {"name": name} | dict(zip(("error", "error_torch"), compare.errors(libs, name, options["tiny"])))
    calls, worst, work = model_calls(libs, name, options["tiny"]) if is_model else op_calls(libs, name)
    calls |= peers.calls(name, libs, options["also"], options["threads"])
    times = compare.times(calls, options["rounds"], options["seconds"])
    per = work.get("per", 1)
    ours = times.median("minigrad")
    row: dict[str, Any] = {"name": name, "minigrad_s": ours / per, "rounds": len(times.seconds["minigrad"]), "difference": worst}
    unit, amount = ("GFLOP/s", work["flops"]) if work.get("flops") else ("GB/s", work["moved"])
    row |= {"rate": amount / ours / 1e9, "unit": unit, "of_peak": amount / ours / 1e9 / peaks[unit]}
    for other in times.seconds:
        if other != "minigrad":
            low, mid, high = times.ratio(other)
            row |= {f"{other}_s": times.median(other) / per, f"ratio_{other}": mid, f"ratio_{other}_q1": low, f"ratio_{other}_q3": high}
    if is_model and "torch" in libs:
        row["torch_of_peak"] = amount / times.median("torch") / 1e9 / peaks[unit]
    return row


def main() -> None:
    """Measure what the JSON argument asks for."""
    options = json.loads(sys.argv[1])
    # a library may print: keep the protocol's channel to ourselves
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(row: dict[str, Any]) -> None:
        channel.write(json.dumps(row) + "\n")
        channel.flush()

    libs = libraries(options["threads"])
    peaks = machine.peaks(libs, options["tiny"] or options["errors"])
    send({"peaks": peaks, "versions": {n: getattr(m, "__version__", "") for n, m in libs.items()}})
    for name in options["names"]:
        try:
            send(measure(libs, name, options, peaks))
        except (compare.ResultsDiffer, RuntimeError, AttributeError, NotImplementedError, TypeError, ValueError) as e:
            send({"name": name, "failed": f"{type(e).__name__}: {e}"})


if __name__ == "__main__":
    main()
