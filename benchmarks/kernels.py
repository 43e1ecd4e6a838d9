"""The fused Triton kernels on a GPU: each kernel's `bench` cases, forward and backward, on the roofline of this device.

    python -m benchmarks.kernels [NAME…] [--csv FILE] [--png FILE]

Beside each: PyTorch eager and torch.compile where torch is installed (the declaration's `rival`), and the same computation in plain ops
("composite"). Refuses on the simulator.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
from typing import Any

import minigrad as mg
from minigrad import kernels
from minigrad.kernels import _bench, _checks
from minigrad.kernels._autotune import measure


def torch_times(op: Any, values: dict[str, Any]) -> tuple[float | None, float | None]:
    """Milliseconds of torch, eager and compiled, on the same operands; None without torch or without a `rival`."""
    if op.rival is None or importlib.util.find_spec("torch") is None:
        return None, None
    import torch

    if not torch.cuda.is_available():
        return None, None
    torch.cuda.set_stream(torch.cuda.ExternalStream(mg.cuda.current_stream().cuda_stream))
    operands = {k: _checks.map_tensors(v, torch.from_dlpack) for k, v in values.items()}
    eager = functools.partial(op.rival, torch, **operands)
    compiled = functools.partial(torch.compile(functools.partial(op.rival, torch), dynamic=False), **operands)
    compiled()
    return measure(eager), measure(compiled)


def plot(rows: list[Any], file: str) -> None:
    """Share of the measured peak, a bar a row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [(r, r.of_matmul or r.of_bandwidth) for r in rows if r.of_matmul or r.of_bandwidth]
    figure, axes = pyplot.subplots(figsize=(10, 1 + 0.25 * len(shown)))
    axes.barh([f"{r.kernel} {r.case} {r.dtype} {r.direction}" for r, _ in shown], [100 * share for _, share in shown])
    axes.axvline(100, color="black", linewidth=0.8)
    axes.set_xlabel("% of the copy bandwidth (matrix products: of the bfloat16 matmul) measured in the same run")
    axes.invert_yaxis()
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="kernel files; all by default")
    parser.add_argument("--csv")
    parser.add_argument("--png")
    chosen = parser.parse_args()
    _bench.require_gpu()
    ops = [op for name in chosen.names or kernels.names() for op in _checks.load(name)]
    rows = _bench.report(ops, chosen.csv, torch_times)
    if chosen.png:
        plot(rows, chosen.png)


if __name__ == "__main__":
    main()
