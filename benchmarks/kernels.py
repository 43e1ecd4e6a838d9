"""The fused Triton kernels on a GPU: each kernel's `bench` cases, forward and backward, on the roofline of this device.

    python -m benchmarks.kernels [NAME…] [--csv FILE] [--png FILE]

Beside each, where they are installed: PyTorch eager (cuBLAS, cuDNN or SDPA is what it calls; the table says), torch.compile, CuPy; and the
same computation in plain ops ("composite"). Writes no figure without a GPU: it refuses on the simulator and in the interpreter.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
from collections.abc import Callable
from typing import Any

from benchmarks import kernel_rivals
from minigrad import kernels


def _torch_here() -> Any:
    """torch with the device, its work on minigrad's stream; None without."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    import minigrad as mg

    if not torch.cuda.is_available():
        return None
    torch.cuda.set_stream(torch.cuda.ExternalStream(mg.cuda.current_stream().cuda_stream))
    return torch


def _cupy_here() -> Any:
    """The same of CuPy."""
    if importlib.util.find_spec("cupy") is None:
        return None
    import cupy

    import minigrad as mg

    cupy.cuda.ExternalStream(mg.cuda.current_stream().cuda_stream).use()
    return cupy


def _torch_backward(torch: Any, call: Callable[..., Any], operands: dict[str, Any]) -> Callable[[], Any] | None:
    leaves = [v for v in operands.values() if isinstance(v, torch.Tensor) and v.is_floating_point()]
    for leaf in leaves:
        leaf.requires_grad_()
    results = call(**operands)
    results = [r for r in (results if isinstance(results, tuple) else (results,)) if r.requires_grad]
    grads = [torch.randn_like(r) for r in results]
    if not results:
        return None
    return lambda: torch.autograd.grad(results, leaves, grads, retain_graph=True, allow_unused=True)


def torch_times(op: Any, values: dict[str, Any], direction: str) -> dict[str, Any]:
    """Milliseconds of torch, eager and compiled, on the same operands; nothing without torch or a rival."""
    from minigrad.kernels import _checks
    from minigrad.kernels._autotune import measure

    rival, torch = op.rival or kernel_rivals.TORCH.get(op.name), _torch_here()
    if rival is None or torch is None:
        return {}
    found: dict[str, Any] = {"torch_calls": kernel_rivals.BEHIND.get(op.name, "")}
    eager = functools.partial(rival, torch)
    for name, call in (("torch_ms", eager), ("torch_compile_ms", torch.compile(eager, dynamic=False))):
        operands = {k: _checks.map_tensors(v, lambda t: torch.from_dlpack(t).detach()) for k, v in values.items()}
        run = functools.partial(call, **operands) if direction == "forward" else _torch_backward(torch, call, operands)
        if run is not None:
            run()
            found[name] = measure(run)
    return found


def cupy_time(op: Any, values: dict[str, Any], direction: str) -> dict[str, Any]:
    """Milliseconds of CuPy, forward; it has no gradients and no bfloat16."""
    from minigrad.kernels import _checks
    from minigrad.kernels._autotune import measure

    rival, cupy = kernel_rivals.CUPY.get(op.name), _cupy_here()
    tensors = [t for v in values.values() for t in _checks._each(v)]
    if rival is None or cupy is None or direction != "forward" or any("bfloat16" in str(t.dtype) for t in tensors):
        return {}
    operands = {k: _checks.map_tensors(v, cupy.from_dlpack) for k, v in values.items()}
    return {"cupy_ms": measure(functools.partial(rival, cupy, **operands))}


def rivals(op: Any, values: dict[str, Any], direction: str) -> dict[str, Any]:
    """Columns of the table that other libraries fill."""
    return {**torch_times(op, values, direction), **cupy_time(op, values, direction)}


def plot(rows: list[Any], file: str) -> None:
    """Share of the measured peak, a bar a row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [(r, r.of_matmul or r.of_bandwidth) for r in rows if r.of_matmul or r.of_bandwidth]
    figure, axes = pyplot.subplots(figsize=(10, 1 + 0.25 * len(shown)))
    names = [f"{r.kernel} {r.case} {r.dtype} {r.direction}" for r, _ in shown]
    axes.barh(names, [100 * share for _, share in shown], label="minigrad")
    torch = [(n, 100 * share * r.ms / r.torch_ms) for n, (r, share) in zip(names, shown) if r.torch_ms]
    if torch:
        axes.plot([share for _, share in torch], [n for n, _ in torch], "k|", markersize=9, label="torch")
        axes.legend()
    axes.axvline(100, color="black", linewidth=0.8)
    axes.set_xlabel("% of the copy bandwidth (matrix products: of the bfloat16 matmul) measured in the same run")
    axes.invert_yaxis()
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="kernel files; all by default")
    parser.add_argument("--csv")
    parser.add_argument("--png")
    chosen = parser.parse_args()
    if not kernels.available():
        raise SystemExit("this benchmark needs a GPU (sm_80 or later) and Triton 3.6 to 3.9; without them there is nothing to measure")
    from minigrad.kernels import _bench, _checks

    _bench.require_gpu()
    ops = [op for name in chosen.names or kernels.names() for op in _checks.load(name)]
    rows = _bench.report(ops, chosen.csv, rivals)
    if chosen.png:
        plot(rows, chosen.png)


if __name__ == "__main__":
    main()
