"""Timing a kernel on a GPU and placing it on the roofline; benchmarks/kernels.py is the command. Nothing here runs on the simulator.

The rules, printed with every table: fresh random operands; the L2 cache is flushed before each call; times are medians between events
of the device; bandwidth is compared with that of a copy measured in the same run, arithmetic with a bfloat16 matrix product measured in
the same run; clocks are left alone; the other library computes the same thing on equal operands in the same process.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.kernels import _checks
from minigrad.kernels._autotune import measure
from minigrad.kernels._harness import Case, KernelOp

RULES = __doc__.split("\n\n")[1].replace("\n", " ")


@dataclasses.dataclass
class Row:
    """One line of the table: milliseconds, achieved rate, share of the measured peak."""

    kernel: str
    case: str
    dtype: str
    direction: str
    ms: float
    gb_per_s: float | None
    of_bandwidth: float | None
    tflop_per_s: float | None
    of_matmul: float | None
    peak_mib: float
    torch_calls: str = ""  # the library behind torch's eager form
    torch_ms: float | None = None
    torch_compile_ms: float | None = None
    cupy_ms: float | None = None
    composite_ms: float | None = None


def require_gpu() -> None:
    """Refuses where there is no GPU: the simulator's times mean nothing."""
    if not mg.cuda.is_available() or mg.cuda.is_simulated():
        raise SystemExit("this benchmark needs a GPU; the simulator and the interpreter say nothing about speed")


@functools.cache
def copy_bandwidth() -> float:
    """GB/s, read and write counted, of copying 1 GiB."""
    x = mg.empty(1 << 30, dtype=mg.uint8, device="cuda")
    y = mg.empty_like(x)
    return 2 * x.numel() / measure(lambda: y.copy_(x)) / 1e6


@functools.cache
def matmul_rate() -> float:
    """TFLOP/s of a bfloat16 product of 8192 x 8192 matrices by this build's matmul."""
    a, b = (mg.randn(8192, 8192, device="cuda", dtype=mg.bfloat16) for _ in range(2))
    return 2 * 8192**3 / measure(lambda: a @ b) / 1e9


def _peak_of(call: Callable[[], Any]) -> float:
    mg.cuda.synchronize()
    before = mg.cuda.memory_allocated()
    mg.cuda.reset_peak_memory_stats()
    call()
    mg.cuda.synchronize()
    return (mg.cuda.max_memory_allocated() - before) / 2**20


def _row(op: KernelOp, entry: Case, dtype: str, direction: str, call: Callable[[], Any], values: dict[str, Any]) -> Row:
    ms = measure(call)
    factor = 1 if direction == "forward" else op.backward_cost
    moved = factor * op.bytes(**values) if op.bytes else None
    flops = factor * op.flops(**values) if op.flops and op.tensor_cores else None
    bandwidth = moved / ms / 1e6 if moved else None
    rate = flops / ms / 1e9 if flops else None
    return Row(op.name, str(entry), dtype, direction, ms, bandwidth, bandwidth and bandwidth / copy_bandwidth(), rate,
               rate and rate / matmul_rate(), _peak_of(call))  # fmt: skip


Rivals = Callable[[KernelOp, dict[str, Any], str], dict[str, Any]]  # op, parameters, direction -> fields of Row


def rows_of(op: KernelOp, rivals: Rivals | None) -> Iterable[Row]:
    """Forward and backward of each `bench` case in each of its dtypes."""
    for entry in op.bench:
        for dtype in entry.dtypes:
            generator = np.random.default_rng(0)
            values = op.bind((), {k: _checks.make(v, dtype, "cuda", generator) for k, v in entry.args.items()})
            row = _row(op, entry, dtype, "forward", lambda values=values: op.compute(values), values)
            row = _beside(row, rivals, op, values)
            if op.reference is not None:
                with mg.no_grad():
                    row.composite_ms = measure(lambda values=values: op.reference(**values), budget=30.0)
            yield row
            if op.backward is not None and entry.backward:
                results = op.compute(values)
                grads = [mg.randn_like(r) if r.is_floating_point() else None for r in results[: op.visible]]
                row = _row(op, entry, dtype, "backward", lambda a=(grads, values, results): op.gradients(*a), values)
                yield _beside(row, rivals, op, values)


def _beside(row: Row, rivals: Rivals | None, op: KernelOp, values: dict[str, Any]) -> Row:
    return row if rivals is None else dataclasses.replace(row, **rivals(op, values, row.direction))


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def report(ops: Iterable[KernelOp], file: str | None = None, rivals: Rivals | None = None) -> list[Row]:
    """Prints the table, writes it to a CSV file. `rivals` times other libraries on a case's operands."""
    require_gpu()
    names = [f.name for f in dataclasses.fields(Row)]
    print(f"{mg.cuda.get_device_name()}: copy {copy_bandwidth():.0f} GB/s, bfloat16 matmul 8192^3 {matmul_rate():.0f} TFLOP/s\n{RULES}\n")
    print(" | ".join(names))
    rows = []
    for op in ops:
        for row in rows_of(op, rivals):
            rows.append(row)
            print(" | ".join(_cell(v) for v in dataclasses.astuple(row)), flush=True)
    if file is not None:
        with pathlib.Path(file).open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["device", *names])
            writer.writerows([mg.cuda.get_device_name(), *map(_cell, dataclasses.astuple(r))] for r in rows)
    return rows
