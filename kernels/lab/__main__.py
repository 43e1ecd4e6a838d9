"""The kernel lab: one case of a kernel, seen from inside.

    python -m minigrad.kernels.lab softmax [--op NAME] [--case N] [--dtype float32] [--arch 90] [--html FILE] [--steps]

Runs the case in Triton's interpreter, forward and backward, and tells for each launch what each source line loads and stores, which
lanes are idle, whether neighbouring lanes touch neighbouring bytes, and what looks wrong: addresses out of bounds, programs that write
one address.
Then compiles the same case and puts TTIR, TTGIR, PTX and SASS beside the Python lines, with registers, spills and shared memory, and places
the benchmark case on the roofline of an H200. As text here, and with --html as one page that needs nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

PEAK = {80: ("A100 80 GB", 2039e9, 312e12, 19.5e12), 90: ("H200", 4800e9, 989e12, 67e12)}  # data sheets: bytes/s, bf16 and fp32 flops/s


def roofline(op: Any, arch: int) -> str:
    """Where the first benchmark case lies: what the memory and the arithmetic allow."""
    from minigrad.kernels import _checks

    if not op.bench or op.bytes is None:
        return "no benchmark case declared"
    name, bandwidth, cores, plain = PEAK[arch]
    entry = op.bench[0]
    values = op.bind((), {k: _checks.make(v, entry.dtypes[-1], "meta", None) for k, v in entry.args.items()})
    moved, flops = op.bytes(**values), op.flops(**values) if op.flops else 0
    peak = cores if op.tensor_cores else plain
    by_memory, by_flops = moved / bandwidth * 1e6, flops / peak * 1e6
    bound = "memory" if by_memory >= by_flops else "arithmetic"
    return (
        f"{entry} {entry.dtypes[-1]}: {moved / 1e6:.1f} MB, {flops / 1e9:.2f} GFLOP, {flops / moved:.1f} flop/byte "
        f"(ridge {peak / bandwidth:.0f}); {name} needs at least {max(by_memory, by_flops):.0f} µs, bound by {bound} "
        "(data sheet, not measured)"
    )


def run_case(op: Any, case: Any, dtype: str, steps: bool) -> tuple[list[Any], str]:
    """(runs, what the check said) of one case in the interpreter."""
    from minigrad.kernels import _checks
    from minigrad.kernels.lab import _trace

    said = "passed"
    with _trace.tracing() as runs:
        try:
            _checks.Check(op, case, dtype, "cpu").run()
        except AssertionError as error:
            said = f"FAILED: {error}"
    if steps:
        for run in runs:
            for a in run.accesses:
                where = run.buffer_of(int(a.addresses[0])) if a.addresses.size else None
                first = f"{where.name}[{(int(a.addresses[0]) - where.start) // where.width}]" if where else "-"
                print(f"  {run.launch.kernel.__name__} {a.program} line {a.line}: {a.kind} {a.addresses.size}/{a.lanes} lanes from {first}")
    return runs, said


def launch_report(run: Any) -> dict[str, Any]:
    """One launch as text parts."""
    from minigrad.kernels.lab import _trace

    one = run.launch
    source = pathlib.Path(one.kernel.fn.__code__.co_filename).read_text().splitlines()
    rows = [
        f"{s.line:5} {s.kind:6} {s.buffer[:18]:18} {s.programs:5} programs {s.times:6} times {s.bytes:10} B"
        f" {100 * s.idle:4.0f}% idle lanes {s.sectors:5.1f}x sectors   {source[s.line - 1].strip()[:70] if s.line else ''}"
        for s in _trace.by_line(run)
    ]
    constants = " ".join(f"{k}={v}" for k, v in {**one.constants, **one.options}.items())
    return {"title": f"{one.kernel.__name__} grid {one.grid} {constants}", "rows": rows, "wrong": _trace.suspicions(run)}


def compiled(file: str, op: str, case: str, arch: int) -> list[dict[str, Any]]:
    """What _code.py says in its own process."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "minigrad.kernels.lab._code", file, op, case, str(arch)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def show_code(variant: dict[str, Any]) -> None:
    """A variant's resources, and how many instructions each source line became."""
    source = pathlib.Path(variant["file"]).read_text().splitlines()
    print(f"\n{variant['variant']}")
    print(f"  sm_{variant['arch']}: {variant['registers']} registers, {variant['spills']} spills, {variant['shared']} B shared, "
          f"{variant['warps']} warps, tensor cores: {variant['tensor_core'] or 'none'}, {variant['vector_loads']} 16-byte loads")
    counts: dict[int, dict[str, int]] = {}
    for stage, lines in variant["listings"].items():
        for _, line in lines:
            counts.setdefault(line, dict.fromkeys(variant["listings"], 0))[stage] += 1
    for line, c in sorted(counts.items()):
        text = source[line - 1].strip()[:90] if line else "(not of the kernel's own text)"
        print(f"  {line:5} " + " ".join(f"{stage} {n:4}" for stage, n in c.items()) + f"   {text}")
    for problem in variant["problems"]:
        print(f"  PROBLEM: {problem}")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="a kernel file of this package, or a path")
    parser.add_argument("--op", help="which declaration of the file; the first by default")
    parser.add_argument("--case", type=int, default=0, help="index among its cases")
    parser.add_argument("--dtype", help="the case's first by default")
    parser.add_argument("--arch", type=int, default=90, choices=(80, 90))
    parser.add_argument("--html", help="write the page here")
    parser.add_argument("--steps", action="store_true", help="every access of every program")
    chosen = parser.parse_args()
    if os.environ.get("TRITON_INTERPRET") != "1":
        os.environ["TRITON_INTERPRET"] = "1"  # before triton is imported
    from minigrad.kernels import _checks

    ops = _checks.load(chosen.file)
    op = next((o for o in ops if chosen.op in (None, o.name)), None)
    if op is None or not 0 <= chosen.case < len(op.cases):
        raise SystemExit(f"lab: {chosen.file} declares {', '.join(f'{o.name} ({len(o.cases)} cases)' for o in ops)}")
    case = op.cases[chosen.case]
    runs, said = run_case(op, case, chosen.dtype or case.dtypes[0], chosen.steps)
    launches = [launch_report(run) for run in runs]
    print(f"{op.schema}\ncase {chosen.case}: {case}: {said}")
    for one in launches:
        print(f"\n{one['title']}", *one["rows"], sep="\n  ")
        print(*(f"  ! {w}" for w in one["wrong"]), sep="\n", end="\n" if one["wrong"] else "")
    variants = compiled(chosen.file, op.name, str(chosen.case), chosen.arch)
    for variant in variants:
        show_code(variant)
    place = roofline(op, chosen.arch)
    print(f"\nroofline: {place}")
    if chosen.html:
        from minigrad.kernels.lab import _page

        facts = {"schema": op.schema, "case": str(case), "said": said, "roofline": place, "launches": launches, "variants": variants}
        pathlib.Path(chosen.html).write_text(_page.page(facts))
        print(f"page: {chosen.html}")


if __name__ == "__main__":
    main()
