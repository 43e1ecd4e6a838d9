"""How the benchmark's rows are shown: the table on the terminal, CSV rows, a picture."""

from __future__ import annotations

import csv
import os
import sys
import time
from typing import Any

from benchmarks import machine

FIELDS = ["date", "cpu", "commit", "threads", "name", "minigrad_s", "torch_s", "ratio_torch", "ratio_torch_q1", "ratio_torch_q3", "rate",
          "unit", "of_peak", "rounds", "difference", "error", "error_torch", "minigrad_bytes", "torch_bytes", "share_of_torch",
          "compile_s", "numpy_s", "jax_s", "tensorflow_s"]


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}" if seconds / scale < 1000 else f"{seconds / scale:.0f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


class Progress:
    """One line on a terminal's stderr: [#####.....] 5/20 name. Nothing where stderr is not a terminal."""

    def __init__(self, total: int):
        self.total, self.done, self.live = max(total, 1), 0, sys.stderr.isatty()

    def clear(self) -> None:
        """Make room for a row of the table."""
        if self.live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def step(self, name: str) -> None:
        """One more case is done."""
        self.done += 1
        if self.live:
            filled = 30 * self.done // self.total
            print(f"[{'#' * filled}{'.' * (30 - filled)}] {self.done}/{self.total} {name}", end="", file=sys.stderr, flush=True)


def print_header(threads: int, first: dict[str, Any], also: list[str]) -> None:
    """The machine, its limits, and the names of the columns."""
    peaks, versions = first["peaks"], first["versions"]
    print(f"\n{machine.cpu_name()}, {threads} thread{'s' * (threads > 1)}, torch {versions.get('torch', 'not installed')}; "
          f"triad {peaks['GB/s']:.1f} GB/s, GEMM {peaks['GFLOP/s']:.0f} GFLOP/s")
    others = "".join(f"{peer:>18}" for peer in also)
    print(f"{'case':34}{'minigrad':>10}{'torch':>10}{'ratio [quartiles]':>22}{'rate':>16}{'% peak':>8}{others}", flush=True)


def print_row(row: dict[str, Any], also: list[str]) -> None:
    """A line of the table."""
    name = row["name"]
    if "failed" in row:
        print(f"{name:34}{row['failed'][:100]}", flush=True)
        return
    if "minigrad_bytes" in row:
        line = f"{name:34}{row['minigrad_bytes'] / 2**20:7.0f}MiB"
        if "torch_bytes" in row:
            line += f"{row['torch_bytes'] / 2**20:7.0f}MiB   ours / torch's: {row['share_of_torch']:.2f}"
        print(line, flush=True)
        return
    if "error_torch" in row:
        print(f"{name:34}error against float64: ours {row['error']:.1e}, torch's {row['error_torch']:.1e}", flush=True)
        return
    line = f"{name:34}{duration(row['minigrad_s']):>10}"
    if "torch_s" in row:
        ratio = f"{row['ratio_torch']:.2f} [{row['ratio_torch_q1']:.2f}, {row['ratio_torch_q3']:.2f}]"
        line += f"{duration(row['torch_s']):>10}{ratio:>22}"
    else:
        line += " " * 32
    rate = f"{row['rate']:.1f} {row['unit']}"
    line += f"{rate:>16}{100 * row['of_peak']:7.0f}%"
    for peer in also:
        text = f"{duration(row[f'{peer}_s'])} ({row[f'ratio_{peer}']:.2f}x)" if f"{peer}_s" in row else ""
        line += f"{text:>18}"
    print(line, flush=True)


def write_csv(path: str, rows: list[dict[str, Any]], fields: list[str] = FIELDS, **also: str) -> None:
    """Append the rows, with date, processor, commit and what is named besides; a new file starts with the names of the fields."""
    new = not os.path.exists(path)
    common = {"date": time.strftime("%Y-%m-%d"), "cpu": machine.cpu_name(), "commit": machine.commit()} | also
    with open(path, "a", newline="") as f:
        writer = csv.DictWriter(f, fields, extrasaction="ignore")
        if new:
            writer.writeheader()
        for row in rows:
            if "failed" not in row:
                writer.writerow(common | {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()})


def draw(path: str, rows: list[dict[str, Any]]) -> None:
    """Bars of the ratios (1 = torch eager) and every case's share of this machine's measured limits."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        print("no picture: matplotlib is not installed (pip install 'minigrad[demo]')", file=sys.stderr)
        return
    timed = [r for r in rows if "ratio_torch" in r]
    names, threads = list(dict.fromkeys(r["name"] for r in timed)), sorted({r["threads"] for r in timed})
    figure, (bars, roof) = plt.subplots(1, 2, figsize=(14, 2 + 0.28 * max(len(names), 8)), sharey=True)
    height = 0.8 / max(len(threads), 1)
    for k, t in enumerate(threads):
        mine = {r["name"]: r for r in timed if r["threads"] == t}
        at = [names.index(n) + (k - (len(threads) - 1) / 2) * height for n in mine]
        label = f"{t} thread{'s' * (t > 1)}"
        ratio = [r["ratio_torch"] for r in mine.values()]
        spread = [[abs(r["ratio_torch"] - r[f"ratio_torch_{q}"]) for r in mine.values()] for q in ("q1", "q3")]
        bars.barh(at, ratio, height, xerr=spread, label=label, error_kw={"linewidth": 0.7})
        roof.barh(at, [100 * r["of_peak"] for r in mine.values()], height, label=label)
    bars.set_xscale("log", base=2)
    bars.axvline(1, color="black", linewidth=0.8)
    bars.set_xlabel("torch eager's time / minigrad's (log scale; quartiles)")
    bars.xaxis.set_major_formatter(lambda v, _: f"{v:g}x")
    roof.axvline(100, color="black", linewidth=0.8)
    roof.set_xlabel("% of the measured limit: GEMM rate, or STREAM triad for memory-bound cases")
    bars.set_yticks(range(len(names)), names, fontsize=7)
    bars.invert_yaxis()
    bars.legend()
    figure.suptitle(f"{machine.cpu_name()}, minigrad {machine.commit()}")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
