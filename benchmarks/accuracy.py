"""Rounding error of every op beside PyTorch's, forward and backward, against PyTorch in float64.

    python benchmarks/accuracy.py [--ops softmax,sum] [--elements 262144] [--markdown docs/accuracy.md]

Operands are the op's samples grown as in benchmarks/ops.py, in float32, all numbers different (ties have no unique gradient); the
reference computes from the same float32 numbers in float64: PyTorch's, or SciPy's for functions that PyTorch's float64 knows to 7 digits
only. The error of a draw is the root mean square of the differences over that of the reference, the largest over an op's results (or
gradients); the table has the median of several draws, of more where one of them is small. An error counts as larger than PyTorch's when
it is larger by a tenth, by more than 2^-25 (the root mean square of one more rounding is about that) and than 2^-24 (rounding the exact
result may cost that). Left out: results without digits in float32 (PyTorch's error is above 1e-3), and what PyTorch defines otherwise.
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
from minigrad.testing.ulp import reference

UNIT = 2.0**-24  # what rounding the exact result may cost
DRAWS, MORE_DRAWS, FEW = 3, 15, 64  # draws of the operands; of ops with few results or gradients of few elements
DOUBTFUL_DRAWS = 24  # more of them where PyTorch seems to be better
NO_DIGITS = 1e-3
IMPRECISE = ("bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "airy_ai")  # PyTorch's float64 forms err by 1e-7


def tensors_of(result: Any, module: Any) -> list[Any]:
    """The floating tensors of a result."""
    parts = result if isinstance(result, (tuple, list)) else [result]
    return [t for t in parts if isinstance(t, module.Tensor) and t.is_floating_point()]


def evaluate(function: Callable[..., Any], sample: Sample, module: Any, draw: int) -> tuple[list[Any], list[Any]]:
    """(results, gradients of the floating operands) as float64 arrays."""
    args, kwargs = arguments(sample, module)
    leaves = [a.requires_grad_() for a in args if isinstance(a, module.Tensor) and a.is_floating_point()]
    results = tensors_of(function(*args, **kwargs), module)
    gradients: list[Any] = []
    roots = [r for r in results if r.requires_grad]
    if roots and leaves:
        weights = [module.tensor(np.random.default_rng(draw).uniform(-1, 1, tuple(r.shape)).astype("float32")).to(r.dtype) for r in roots]
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


def all_different(x: Any) -> Any:
    """float32 numbers moved up by as few units in the last place as make them different; zeros stay."""
    flat = x.astype("float32").reshape(-1)
    for side in (flat > 0, flat < 0):
        bits = flat[side].view("int32").astype("int64")
        order, count = np.argsort(bits, kind="stable"), np.arange(bits.size)
        bits[order] = np.maximum.accumulate(bits[order] - count) + count
        flat[side] = bits.astype("int32").view("float32")
    return flat.reshape(x.shape).astype("float64")


def widened(sample: Sample, dtype: str, draw: int) -> Sample:
    """The same float32 numbers held as `dtype`."""
    rng = np.random.default_rng(draw)

    def change(s: Spec) -> Spec:
        if s.dtype != "float32":
            return s
        return replace(s, values=all_different(s.values * (1 - 1e-3 * rng.random(s.values.shape))), dtype=dtype)

    args, kwargs = sample.map(change)
    return Sample(tuple(args), kwargs)


def drawn(info: OpInfo, theirs: Callable[..., Any], sample: Sample, draw: int) -> tuple[list[Any], int]:
    """[ours, PyTorch's] errors of the results and of the gradients, and the size of the smallest of them."""
    wide = widened(sample, "float64", draw)
    exact = evaluate(theirs, wide, torch, draw)
    if info.name in IMPRECISE:
        exact = [reference(info.name)(wide.args[0].values)], []
    other = evaluate(theirs, widened(sample, "float32", draw), torch, draw)
    ours = evaluate(info.function, widened(sample, "float32", draw), mg, draw)
    size = min(y.size for y in exact[0] + exact[1] if y is not None)
    return [(error(ours[k], exact[k]), error(other[k], exact[k])) for k in (0, 1)], size


def median(pairs: list[tuple[float | None, float | None]]) -> tuple[float | None, float | None]:
    """The middle errors, ours and PyTorch's."""
    if any(x is None or y is None for x, y in pairs):
        return None, None
    return float(np.median([x for x, _ in pairs])), float(np.median([y for _, y in pairs]))


def compare(info: OpInfo, elements: int) -> tuple[Any, ...] | None:
    """Errors (ours, PyTorch's) of the results and of the gradients of the largest sample that both take."""
    theirs = counterpart(info)
    if theirs is None or "no_torch_reason" in info.info:
        return None
    for sample in sorted(samples(info, "float32"), key=lambda s: -max((x.values.size for x in s.specs()), default=0))[:6]:
        big = grown(sample, elements)
        if big is None:
            continue
        try:
            first, size = drawn(info, theirs, big, 0)
            if first[0][0] is None or max(first[0][1] or 0.0, first[0][0]) > 0.5:  # random results, indices
                continue
            pairs = [first, *(drawn(info, theirs, big, draw)[0] for draw in range(1, DRAWS if size > FEW else MORE_DRAWS))]
            if any(worse(median([pair[k] for pair in pairs])) for k in (0, 1)):  # is it, or was it the draws?
                pairs += [drawn(info, theirs, big, draw)[0] for draw in range(len(pairs), len(pairs) + DOUBTFUL_DRAWS)]
        except Exception:  # the arguments do not fit the larger shapes, or one library refuses them
            continue
        values, gradients = (median([pair[k] for pair in pairs]) for k in (0, 1))
        if (values[1] or 0.0) > NO_DIGITS:
            continue
        return repr(big), values, (None, None) if (gradients[1] or 0.0) > NO_DIGITS else gradients
    return None


def worse(pair: tuple[float | None, float | None]) -> bool:
    mine, other = pair
    return mine is not None and other is not None and mine > max(1.1 * other, other + UNIT / 2, UNIT)


def shown(pair: tuple[float | None, float | None]) -> str:
    return " | ".join("" if e is None else f"{e:.1e}" for e in pair) + (" !" if worse(pair) else "")


def write(path: str, lines: list[str], elements: int) -> None:
    """The table as a page; rows of ops that were not measured stay."""
    rows = {line.split(" ")[1]: line for line in lines}
    try:
        with open(path) as f:
            rows = {line.split(" ")[1]: line.rstrip("\n") for line in f if line.startswith("| ") and not line.startswith("| op")} | rows
    except FileNotFoundError:
        pass
    lines, marked = [row for _, row in sorted(rows.items())], sum("!" in row for row in rows.values())
    text = f"""# Rounding error beside PyTorch's

{len(lines)} ops on about {elements} float32 elements, against float64; {marked} are less accurate than PyTorch (marked !).
Root mean square of the error over that of the result, median of several draws. Written by
`python benchmarks/accuracy.py --elements {elements} --markdown docs/accuracy.md`, which says what counts as less
accurate; with --ops it replaces the rows of those ops.

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
        if args.markdown:
            write(args.markdown, lines[-1:], args.elements)
        if bad or wanted:
            print(f"{name:28} {shown(values):24} gradients {shown(gradients):24} {label[:70]}", flush=True)
    print(f"{len(lines)} ops compared, {marked} less accurate than PyTorch")
    return 0


if __name__ == "__main__":
    sys.exit(main())
