"""Rounding error of every op beside PyTorch's, forward and backward, against PyTorch in float64.

    python benchmarks/accuracy.py [--ops softmax,sum] [--elements 262144] [--markdown docs/accuracy.md]

Operands are the op's samples grown as in benchmarks/ops.py, in float32; the reference computes from the same float32 numbers in float64.
The error is the root mean square of the differences over that of the reference, the largest over an op's results (or gradients). Larger
than PyTorch's by more than a tenth, and larger than rounding the exact result may cost (2^-24), is marked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ops import arguments, counterpart, grown

import minigrad as mg
from minigrad.op import OpInfo, registry
from minigrad.testing.samples import Sample, Spec, samples

UNIT = 2.0**-24  # what rounding the exact result may cost


def tensors_of(result: Any, module: Any) -> list[Any]:
    """The floating tensors of a result."""
    parts = result if isinstance(result, (tuple, list)) else [result]
    return [t for t in parts if isinstance(t, module.Tensor) and t.is_floating_point()]


def evaluate(function: Callable[..., Any], sample: Sample, module: Any) -> tuple[list[Any], list[Any]]:
    """(results, gradients of the floating operands) as float64 arrays."""
    args, kwargs = arguments(sample, module)
    leaves = [a.requires_grad_() for a in args if isinstance(a, module.Tensor) and a.is_floating_point()]
    results = tensors_of(function(*args, **kwargs), module)
    gradients: list[Any] = []
    roots = [r for r in results if r.requires_grad]
    if roots and leaves:
        weights = [module.tensor(np.cos(np.arange(r.numel())).astype("float32").reshape(tuple(r.shape))).to(r.dtype) for r in roots]
        try:
            gradients = list(module.autograd.grad(roots, leaves, weights, allow_unused=True))
        except (RuntimeError, NotImplementedError):
            gradients = []
    return [r.detach().double().numpy() for r in results], [None if g is None else g.double().numpy() for g in gradients]


def error(found: list[Any], wanted: list[Any]) -> float | None:
    """Largest relative root mean square difference; None where nothing can be compared."""
    worst = None
    for x, y in zip(found, wanted):
        if x is None or y is None or x.shape != y.shape or y.size == 0:
            continue
        fine = np.isfinite(y) & np.isfinite(x)
        size = np.sqrt(np.mean(np.square(y[fine]))) if fine.any() else 0.0
        if size:
            worst = max(worst or 0.0, float(np.sqrt(np.mean(np.square(x[fine] - y[fine]))) / size))
    return worst


def widened(sample: Sample, dtype: str) -> Sample:
    """The same float32 numbers held as `dtype`."""

    rng = np.random.default_rng(0)

    def change(s: Spec) -> Spec:
        if s.dtype != "float32":
            return s
        apart = s.values * (1 - 1e-3 * rng.random(s.values.shape))  # growing repeats values: ties have no unique gradient
        return replace(s, values=apart.astype("float32").astype("float64"), dtype=dtype)

    args, kwargs = sample.map(change)
    return Sample(tuple(args), kwargs)


def compare(info: OpInfo, elements: int) -> tuple[Any, ...] | None:
    """Errors (ours, PyTorch's) of the results and of the gradients of the largest sample that both take."""
    theirs = counterpart(info)
    if theirs is None:
        return None
    for sample in sorted(samples(info, "float32"), key=lambda s: -max((x.values.size for x in s.specs()), default=0))[:6]:
        big = grown(sample, elements)
        if big is None:
            continue
        try:
            exact = evaluate(theirs, widened(big, "float64"), torch)
            other = evaluate(theirs, widened(big, "float32"), torch)
            ours = evaluate(info.function, widened(big, "float32"), mg)
        except Exception:  # the arguments do not fit the larger shapes, or one library refuses them
            continue
        pairs = [(error(ours[k], exact[k]), error(other[k], exact[k])) for k in (0, 1)]
        if pairs[0][0] is None or max(pairs[0][1] or 0.0, pairs[0][0]) > 0.5:  # random results, indices
            continue
        return repr(big), *pairs
    return None


def worse(pair: tuple[float | None, float | None]) -> bool:
    mine, other = pair
    return mine is not None and other is not None and mine > 1.1 * other and mine > UNIT


def shown(pair: tuple[float | None, float | None]) -> str:
    return " | ".join("" if e is None else f"{e:.1e}" for e in pair) + (" !" if worse(pair) else "")


def write(path: str, lines: list[str], marked: int, elements: int) -> None:
    """The table as a page."""
    text = f"""# Rounding error beside PyTorch's

{len(lines)} ops on about {elements} float32 elements, against float64; {marked} are less accurate than PyTorch (marked !).
Root mean square of the error over that of the result. Written by `python benchmarks/accuracy.py --markdown docs/accuracy.md`.

| op | value: ours | PyTorch | gradient: ours | PyTorch |
|---|---|---|---|---|
"""
    with open(path, "w") as f:
        f.write(text + "\n".join(lines) + "\n")


def main() -> int:
    """Measure, print what is worse, optionally write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--ops", default="", help="comma-separated names; default: all")
    parser.add_argument("--elements", type=int, default=1 << 18)
    parser.add_argument("--markdown", help="write the table to this file")
    args = parser.parse_args()
    wanted = {n for n in args.ops.split(",") if n}
    lines, marked = [], 0
    for name, info in sorted(registry.items()):
        if wanted and name not in wanted:
            continue
        if name.endswith("_") or (not wanted and (name[0] == "_" or not (info.namespace or info.method))):
            continue
        try:
            found = compare(info, args.elements)
        except Exception as e:  # no float32 samples
            found = None
            if wanted:
                print(name, e)
        if found is None:
            continue
        label, values, gradients = found
        bad = worse(values) or worse(gradients)
        marked += bad
        lines.append(f"| {name} | {shown(values)} | {shown(gradients)} |")
        if bad or wanted:
            print(f"{name:28} {shown(values):24} gradients {shown(gradients):24} {label[:70]}", flush=True)
    print(f"{len(lines)} ops compared, {marked} less accurate than PyTorch")
    if args.markdown:
        write(args.markdown, lines, marked, args.elements)
    return 0


if __name__ == "__main__":
    sys.exit(main())
