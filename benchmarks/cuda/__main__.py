"""minigrad's CUDA kernels against the device's measured limits and against PyTorch, where it is installed and finds the device.

    python -m benchmarks.cuda [--only TEXT ...] [--groups kernels launch allocator] [--rounds 25] [--seconds 3] [--csv FILE] [--list]

kernels: GB/s or GFLOP/s and the share of the limit measured in the same run, a copy of 1 GiB or the best product of 8192 x 8192 (any
library's) in the same dtype; times are the device's own (events), L2 is overwritten before each call, numbers are random. launch: host
seconds of an eager op until it returns. allocator: host seconds of an allocation with its free, and the share of the memory taken that was
in use. Results are compared with the CPU's first: a case that differs has no time. ratio = torch's time / ours of the same round, median
[quartiles].

A simulated device has no speed: there the run stops, and with --smoke it goes through everything once, tiny, and prints no figure.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import compare, machine, report
from benchmarks.cuda import cases, clock, host

FIELDS = ["date", "device", "cpu", "commit", "torch", "name", "minigrad_s", "torch_s", "ratio_torch", "ratio_torch_q1", "ratio_torch_q3",
          "rate", "unit", "of_peak", "rounds", "difference", "reserved_mib", "used_share", "retries", "torch_reserved_mib",
          "torch_used_share"]
GROUPS = ("kernels", "launch", "allocator")
SIMULATED = "simulated: times mean nothing"


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda", description=__doc__, formatter_class=layout)
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="cases whose name contains one of these")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="GROUP", help=f"of {' '.join(GROUPS)}")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=3.0, help="stop the rounds of a case after about this long (at least 5 rounds)")
    parser.add_argument("--csv", help="append the rows to this file")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    parser.add_argument("--smoke", action="store_true", help="everything once, tiny, without figures: for tests")
    return parser.parse_args(argv)


def libraries() -> dict[str, Any]:
    """minigrad, and torch where it has this device."""
    import minigrad

    found: dict[str, Any] = {"minigrad": minigrad}
    if not minigrad.cuda.is_simulated():
        try:
            import torch

            if torch.cuda.is_available():
                found["torch"] = torch
        except ImportError:
            pass
    return found


def _ratios(times: compare.Times) -> dict[str, Any]:
    row: dict[str, Any] = {"minigrad_s": times.median("minigrad"), "rounds": len(times.seconds["minigrad"])}
    if "torch" in times.seconds:
        low, middle, high = times.ratio("torch")
        row |= {"torch_s": times.median("torch"), "ratio_torch": middle, "ratio_torch_q1": low, "ratio_torch_q3": high}
    return row


def kernel_row(libs: dict[str, Any], name: str, case: Any, clocks: dict[str, Any], peaks: dict[str, float], args: Any) -> dict[str, Any]:
    """One kernel: checked against the CPU, then timed."""
    expected = compare.results_of(case.make(libs["minigrad"]))
    calls = {n: cases.make_on_device(case, m) for n, m in libs.items()}
    worst = 0.0
    for n, call in calls.items():
        found = compare.results_of(call)
        pairs = enumerate(zip(found, expected))
        differences = [compare.expect_close(f"{n}, result {i}", a, b, max(case.limit, 1e-4)) for i, (a, b) in pairs]
        worst = max([worst, *differences]) if n == "minigrad" else worst
    row = {"name": name, "difference": worst} | _ratios(clock.device_times(calls, clocks, args.rounds, args.seconds))
    unit, amount = ("GFLOP/s", case.flops) if case.flops else ("GB/s", case.moved)
    dtype = next((d for d in cases.DTYPES if name.endswith("_" + d)), "f32")
    limit = peaks["GB/s"] if unit == "GB/s" else peaks.get(f"GFLOP/s {dtype}", float("nan"))
    rate = amount / row["minigrad_s"] / 1e9
    return row | {"rate": rate, "unit": unit, "of_peak": rate / limit}


def allocator_row(libs: dict[str, Any], name: str, load: Any) -> dict[str, Any]:
    """One load of the allocator, both libraries."""
    found = {n: load(m) for n, m in libs.items()}
    row = {"name": f"allocator/{name}", "minigrad_s": found["minigrad"].pop("seconds")} | found["minigrad"]
    if "torch" in found:
        row |= {"torch_s": found["torch"]["seconds"], "ratio_torch": found["torch"]["seconds"] / row["minigrad_s"]}
        row |= {f"torch_{k}": found["torch"][k] for k in ("reserved_mib", "used_share")}
    return row


def show(row: dict[str, Any], smoke: bool) -> None:
    """A line of the table."""
    if smoke:
        print(f"{row['name']:32}{row.get('failed', 'ran')}", flush=True)
        return
    if "failed" in row:
        print(f"{row['name']:32}{row['failed'][:100]}", flush=True)
        return
    line = f"{row['name']:32}{report.duration(row['minigrad_s']):>10}"
    if "torch_s" in row:
        spread = f" [{row['ratio_torch_q1']:.2f}, {row['ratio_torch_q3']:.2f}]" if "ratio_torch_q1" in row else ""
        line += f"{report.duration(row['torch_s']):>10}{row['ratio_torch']:.2f}{spread}".rjust(22)
    if "rate" in row:
        line += f"{row['rate']:.0f} {row['unit']}".rjust(16) + f"{100 * row['of_peak']:7.0f}%"
    if "used_share" in row:
        line += f"{row['reserved_mib']:10.0f} MiB taken, {100 * row['used_share']:.0f}% in use"
    print(line, flush=True)


def rows_of(args: argparse.Namespace, libs: dict[str, Any]) -> Any:
    """The rows, as they come."""
    def wanted(name: str) -> bool:
        return not args.only or any(text in name for text in args.only)

    if "kernels" in args.groups:
        flush = clock.flush_size(libs["minigrad"], args.smoke)
        clocks = {n: clock.Clock(m, flush) for n, m in libs.items()}
        peaks = clock.peaks(libs, clocks, args.smoke)
        if not args.smoke:
            print("measured limits: " + ", ".join(f"{rate:.0f} {what}" for what, rate in peaks.items()))
        for name, case in cases.cases(args.smoke).items():
            if wanted(name):
                try:
                    yield kernel_row(libs, name, case, clocks, peaks, args)
                except compare.ResultsDiffer as reason:
                    yield {"name": name, "failed": f"results differ: {reason}"}
    if "launch" in args.groups and wanted("launch/"):
        for op, times in host.launch_times(libs, args.rounds, 4 if args.smoke else host.BATCH).items():
            yield {"name": f"launch/{op}"} | _ratios(times)
    if "allocator" in args.groups and wanted("allocator/"):
        for name, load in host.allocator_loads(args.smoke).items():
            yield allocator_row(libs, name, load)


def main(argv: list[str] | None = None) -> list[dict[str, Any]]:
    """Run, print and write what the command line asks for; returns the rows."""
    args = arguments(argv)
    if args.list:
        print("\n".join(cases.cases(False)))
        return []
    libs = libraries()
    m = libs["minigrad"]
    if not m.cuda.is_available():
        raise SystemExit("benchmarks.cuda: no CUDA device (MINIGRAD_CUDASIM=1 with --smoke runs on the simulator)")
    if m.cuda.is_simulated():
        if args.csv or not args.smoke:
            raise SystemExit(f"{SIMULATED}. Try --smoke, without --csv.")
        print(SIMULATED)
    if args.smoke:
        args.rounds, args.seconds = 1, 0.0
    versions = getattr(libs.get("torch"), "__version__", "not installed")
    print(f"{m.cuda.get_device_name()}, torch {versions}, minigrad {machine.commit()}", flush=True)
    if "torch" in libs:
        libs["torch"].backends.cuda.matmul.allow_tf32 = False
    rows = []
    for row in rows_of(args, libs):
        rows.append(row)
        show(row, args.smoke)
    if args.csv:
        report.write_csv(args.csv, rows, FIELDS, device=m.cuda.get_device_name(), torch=versions)
    failed = [row["name"] for row in rows if "failed" in row]
    if failed:
        raise SystemExit(f"wrong results: {', '.join(failed)}")
    return rows


if __name__ == "__main__":
    main()
