"""`mg.compile` against our eager code, PyTorch eager, torch.compile and jax.jit: first call, steady state, memory, kernels per step.

    python -m benchmarks.compile [--threads 1 2] [--only gpt chain/ ...] [--parts steady latency memory] [--against torch compile jax]
                                 [--rounds 11] [--seconds 6] [--slow-cache FILE] [--csv FILE] [--tiny]

steady   training steps of the six models and chains of pointwise ops on 4 Mi elements: what is asked for runs in turn, round by round,
         in one process; ratio = the other's time / compiled minigrad's of the same round, median and quartiles. The compiled results of
         chains are compared with eager's first. `kernels`: calls of kernels in one eager and one compiled step.
latency  seconds of the first call of a compiled step in a new process, with an empty cache (cold) and with the cache that this left (warm);
         beside it those of the first eager call, which is in both. Medians and extremes of --repeats processes each (torch.compile: one).
memory   peak of resident memory above the library's own, and of what the allocator gave out: eager, compiled, and compiled with
         options={"activation_memory_budget": 0.55}, each in a process of its own that finds its machine code on disk. The steady part
         has that one's time (`budget` = its time / compiled's).
`compile` is torch.compile: up to minutes a model. With --slow-cache its latency, and its time relative to torch eager's of the same rounds,
are kept in that file and used again by the next run on the same machine and versions.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import chains, compare, machine, models, report

BUDGET = 0.55  # of what a compiled step holds at most
NAMES = [*models.TRAINING, *chains.CHAINS]
FIELDS = ["date", "cpu", "commit", "threads", "name", "compiled_s", "eager_s", "ratio_eager", "ratio_eager_q1", "ratio_eager_q3", "torch_s",
          "ratio_torch", "ratio_torch_q1", "ratio_torch_q3", "compile_s", "ratio_compile", "ratio_compile_q1", "ratio_compile_q3", "jax_s",
          "ratio_jax", "ratio_jax_q1", "ratio_jax_q3", "rounds", "kernels_eager", "kernels_compiled", "cold_s", "cold_min", "cold_max",
          "warm_s", "warm_min", "warm_max", "plain_s", "plain_min", "plain_max",
          "torch_cold_s", "torch_warm_s", "eager_bytes", "compiled_bytes", "share_of_eager", "budget_bytes", "budget_share",
          "eager_allocated", "compiled_allocated", "allocated_share", "budget_allocated", "budget_allocated_share", "budget_s",
          "ratio_budget", "ratio_budget_q1", "ratio_budget_q3"]  # fmt: skip


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="cases whose name contains one of these")
    parser.add_argument("--parts", nargs="+", choices=("steady", "latency", "memory"), default=["steady", "latency", "memory"])
    parser.add_argument("--against", nargs="*", choices=("torch", "compile", "jax"), default=["torch"], help="besides our eager code")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=6.0, help="stop the rounds of a case after about this long (at least 3 rounds)")
    parser.add_argument("--repeats", type=int, default=5, help="processes whose first calls are timed, of each kind")
    parser.add_argument("--slow-cache", metavar="FILE", help="JSON file that keeps what torch.compile took")
    parser.add_argument("--csv", help="append the rows to this file")
    parser.add_argument("--tiny", action="store_true", help="everything shrunk to almost nothing: for tests")
    return parser.parse_args(argv)


# --- in the worker's process ----------------------------------------------------------------------------------------------------------
def _make(library: Any, name: str, tiny: bool) -> Callable[[], Any]:
    """The case's call, eager."""
    if name in models.TRAINING:
        work = models.TRAINING[name](library, tiny)
        return lambda: models.step(library, work)
    return chains.make(library, name, tiny)


def _compiled(library: Any, call: Callable[[], Any], **options: Any) -> Callable[[], Any]:
    return library.compile(call, **options)


def _kernels(mg: Any, name: str, tiny: bool) -> dict[str, int]:
    """Calls that run a kernel (not those that only make a view) in an eager and in a compiled step."""
    call = _make(mg, name, tiny)
    for _ in range(2):
        call()
    compiled = mg.compile(call)
    for _ in range(3):
        compiled()
    views = {info.name for info in mg.op.registry.values() if info.view}
    found = {}
    with mg.profiler.profile() as seen:
        call()
    ops = [(e.key.removeprefix("aten::"), e.count) for e in seen.key_averages() if e.key.startswith("aten::")]
    found["kernels_eager"] = sum(count for op, count in ops if op not in views) + (name in models.TRAINING)  # one for the optimizer's step
    entries = mg.compiler.explain(compiled)().entries
    if entries:
        found["kernels_compiled"] = entries[-1].plan.kernels
    return found


def _steady(options: dict[str, Any]) -> dict[str, Any]:
    import minigrad as mg

    name, tiny, threads = options["name"], options["tiny"], options["threads"]
    mg.set_num_threads(threads)
    mg.manual_seed(0)
    calls = {"minigrad": _compiled(mg, _make(mg, name, tiny)), "eager": _make(mg, name, tiny)}
    if name in models.TRAINING:
        calls["budget"] = _compiled(mg, _make(mg, name, tiny), options={"activation_memory_budget": BUDGET})
    if name in chains.CHAINS:
        compare.expect_close("compiled", calls["minigrad"](), calls["eager"](), 1e-5)
    if "torch" in options["against"] or "compile" in options["against"]:
        import torch

        torch.set_num_threads(threads)
        calls["torch"] = _make(torch, name, tiny)
        if "compile" in options["against"]:
            calls["compile"] = _compiled(torch, _make(torch, name, tiny))
    if "jax" in options["against"]:
        from benchmarks import jax_models

        jax_call = jax_models.step(name, tiny) if name in models.TRAINING else chains.make_jax(name, tiny)
        if jax_call is not None:
            calls["jax"] = jax_call
    for call in calls.values():  # compiled code has settled after these
        for _ in range(12):
            call()
    times = compare.times(calls, options["rounds"], options["seconds"])
    row: dict[str, Any] = {
        "name": name,
        "threads": threads,
        "compiled_s": times.median("minigrad"),
        "rounds": len(times.seconds["minigrad"]),
    }
    for other in calls:
        if other != "minigrad":
            low, mid, high = times.ratio(other)
            row |= {f"{other}_s": times.median(other), f"ratio_{other}": mid, f"ratio_{other}_q1": low, f"ratio_{other}_q3": high}
    return row | _kernels(mg, name, tiny)


def _latency(options: dict[str, Any]) -> dict[str, Any]:
    """The first call: tracing, compiling and one run; the library is imported and the model made before."""
    import importlib
    import time

    library = importlib.import_module(options["library"])
    library.set_num_threads(options["threads"])
    call = _make(library, options["name"], options["tiny"])
    call = _compiled(library, call) if options["compiled"] else call
    start = time.perf_counter()
    call()
    return {"seconds": time.perf_counter() - start}


def _memory(options: dict[str, Any]) -> dict[str, Any]:
    """Peak above what the library takes after a tiny model's step."""
    import gc

    import minigrad as mg
    from benchmarks.peak_memory import resident

    mg.set_num_threads(options["threads"])
    # Without mg.compile's trial, which runs the function itself and leaves its memory in the allocator's cache.
    def wrap(f: Callable[[], Any]) -> Callable[[], Any]:
        return mg.compiler.CompiledFunction(f, options={"activation_memory_budget": options["budget"]}) if options["budget"] else f

    small = wrap(_make(mg, options["name"], True))
    for _ in range(3):
        small()
    del small
    gc.collect()
    baseline = resident("VmRSS")
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")  # VmHWM starts again from here
    call = wrap(_make(mg, options["name"], options["tiny"]))
    for _ in range(4):
        call()
    return {"bytes": max(resident("VmHWM") - baseline, 0), "allocated": mg.memory_stats()["peak_allocated"]}


# --- in the process of the command -----------------------------------------------------------------------------------------------------
def _worker(part: str, cache: str | None = None, **options: Any) -> dict[str, Any]:
    """One part in a process of its own; {"failed": …} when it did not work."""
    env = os.environ | {k: str(options["threads"]) for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    if options["threads"] == 1:
        env["XLA_FLAGS"] = env.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    if cache is not None:
        env |= {
            "MINIGRAD_CACHE_DIR": f"{cache}/minigrad",
            "TORCHINDUCTOR_CACHE_DIR": f"{cache}/torch",
        }
    command = [sys.executable, "-m", "benchmarks.compile", "--worker", part, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def _first_calls(args: argparse.Namespace, threads: int, name: str, library: str) -> dict[str, float]:
    """Seconds cold and warm; ours also without compiling: what the step itself takes the first time."""
    ours = library == "minigrad"
    seconds: dict[str, list[float]] = {}
    for _ in range(args.repeats if ours else 1):
        with tempfile.TemporaryDirectory() as cache:
            for when in ("cold", "warm", *["plain"] * ours):
                row = _worker("latency", cache, library=library, name=name, threads=threads, tiny=args.tiny, compiled=when != "plain")
                if "seconds" in row:
                    seconds.setdefault(when, []).append(row["seconds"])
    if not ours:
        return {f"torch_{when}_s": some[0] for when, some in seconds.items()}
    found = {}
    for when, some in seconds.items():
        found |= {f"{when}_s": statistics.median(some), f"{when}_min": min(some), f"{when}_max": max(some)}
    return found


def _memory_of_each(name: str, threads: int, tiny: bool) -> dict[str, float]:
    """Peaks in bytes, and their shares of eager's."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as cache:
        for kind, budget in (("eager", 0.0), ("compiled", 1.0), ("budget", BUDGET)):
            for _ in range(1 + (budget > 0)):  # the first one leaves its machine code
                row = _worker("memory", cache, name=name, threads=threads, tiny=tiny, budget=budget)
            if "bytes" not in row:
                return {}
            found |= {f"{kind}_bytes": row["bytes"], f"{kind}_allocated": row["allocated"]}
    for share, kind in (("share_of_eager", "compiled_bytes"), ("budget_share", "budget_bytes")):
        found[share] = found[kind] / max(found["eager_bytes"], 1)
    for share, kind in (("allocated_share", "compiled_allocated"), ("budget_allocated_share", "budget_allocated")):
        found[share] = found[kind] / max(found["eager_allocated"], 1)
    return found


class SlowCache:
    """What torch.compile took, by machine, version, case and threads."""

    def __init__(self, path: str | None, tiny: bool) -> None:
        self.path, self.tiny = Path(path) if path else None, tiny
        self.data = json.loads(self.path.read_text()) if self.path and self.path.exists() else {}

    def key(self, threads: int, name: str) -> str:
        """Of one row."""
        from importlib.metadata import version

        return f"{machine.cpu_name()} torch {version('torch')} {threads} {name}{' tiny' * self.tiny}"

    def get(self, threads: int, name: str) -> dict[str, float] | None:
        """What is known."""
        return self.data.get(self.key(threads, name)) if self.path else None

    def put(self, threads: int, name: str, found: dict[str, float]) -> None:
        """Keep it."""
        if self.path:
            self.data[self.key(threads, name)] = found
            self.path.write_text(json.dumps(self.data, indent=1))


def measure(args: argparse.Namespace, threads: int, name: str, slow: SlowCache) -> dict[str, Any]:
    """The row of one case."""
    row: dict[str, Any] = {"name": name, "threads": threads}
    known = slow.get(threads, name) if "compile" in args.against else None
    against = [a for a in args.against if a != "compile" or known is None]
    against += ["torch"] if "compile" in args.against and "torch" not in against else []
    if "steady" in args.parts:
        row |= _worker("steady", name=name, threads=threads, tiny=args.tiny, rounds=args.rounds, seconds=args.seconds, against=against)
    if "latency" in args.parts and "failed" not in row:
        row |= _first_calls(args, threads, name, "minigrad")
        if "compile" in against:
            row |= _first_calls(args, threads, name, "torch")
    if "memory" in args.parts and name in models.TRAINING and sys.platform.startswith("linux"):
        row |= _memory_of_each(name, threads, args.tiny)
    if known is not None:
        row |= {k: v for k, v in known.items() if k.endswith("_s")}
        if "ratio_torch" in row:
            row |= {f"ratio_compile{q}": row[f"ratio_torch{q}"] * known["of_torch"] for q in ("", "_q1", "_q3")}
            row["compile_s"] = row["torch_s"] * known["of_torch"]
    elif "ratio_compile" in row:
        found = {k: row[k] for k in ("torch_cold_s", "torch_warm_s") if k in row}
        slow.put(threads, name, found | {"of_torch": row["ratio_compile"] / row["ratio_torch"]})
    return row


def print_row(row: dict[str, Any]) -> None:
    """One line of the table."""
    if "failed" in row:
        print(f"{row['name']:28}{row['failed'][:110]}", flush=True)
        return
    line = f"{row['name']:28}"
    if "compiled_s" in row:
        line += f"{report.duration(row['compiled_s']):>10}"
        for other in ("eager", "torch", "compile", "jax", "budget"):
            key = f"ratio_{other}"
            line += f"  {other} {row[key]:.2f} [{row[key + '_q1']:.2f}, {row[key + '_q3']:.2f}]" if key in row else ""
        line += f"  kernels {row.get('kernels_eager', '?')} -> {row.get('kernels_compiled', '?')}"
    firsts = {"plain_s": "first call eager", "cold_s": "cold", "warm_s": "warm", "torch_cold_s": "torch cold", "torch_warm_s": "torch warm"}
    for key, text in firsts.items():
        line += f"  {text} {report.duration(row[key])}" if key in row else ""
        low, high = key.replace("_s", "_min"), key.replace("_s", "_max")
        line += f" [{report.duration(row[low])}, {report.duration(row[high])}]" if low in row else ""
    if "share_of_eager" in row:
        line += f"  memory {row['compiled_bytes'] / 2**20:.0f} MiB, {row['share_of_eager']:.2f} of eager's"
        line += f" ({row['allocated_share']:.2f} allocated)"
        line += f"  with a budget of {BUDGET} {row['budget_share']:.2f} ({row['budget_allocated_share']:.2f} allocated)"
    print(line, flush=True)


def rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Row after row, as they are measured."""
    slow = SlowCache(args.slow_cache, args.tiny)
    for threads in args.threads:
        print(
            f"\n{machine.cpu_name()}, {threads} thread{'s' * (threads > 1)}: time of a compiled step; the others' time / ours [quartiles]",
            flush=True,
        )
        for name in NAMES:
            if not args.only or any(text in name for text in args.only):
                yield measure(args, threads, name, slow)


def main(argv: list[str] | None = None) -> list[dict[str, Any]]:
    """Run, print and write what the command line asks for; returns the rows."""
    args = arguments(argv)
    found = []
    for row in rows(args):
        print_row(row)
        found.append(row)
    if args.csv:
        report.write_csv(args.csv, found, FIELDS)
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        channel = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # a library may print: keep the protocol's channel to ourselves
        result = {"steady": _steady, "latency": _latency, "memory": _memory}[sys.argv[2]](json.loads(sys.argv[3]))
        channel.write(json.dumps(result) + "\n")
        channel.close()
    else:
        main()
