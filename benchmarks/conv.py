"""Convolution layers, forward and forward + backward, against torch eager on the same tensors: NCHW, or channels_last (2-d layers).

    python benchmarks/conv.py [--group cifar|imagenet|depthwise|other|pool] [--only TEXT] [--threads 1,2] [--seconds 0.4] [--channels-last]
                              [--csv FILE]

Rounds are interleaved (ours, torch, ours, …) and medians reported. Ratio = torch's time / ours, larger is better, with quartiles
over the rounds. GFLOP/s counts 2 * multiply-adds of the definition (forward + backward: three times the forward's, twice where the
input needs no gradient), and "%gemm" compares it with the best rate of a 768 x 768 x 768 product in this run: more than 100 % is
Winograd's doing. Results are checked against torch's first.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minigrad as mg

try:
    import torch
except ImportError:
    torch = None


@dataclass
class Layer:
    """One layer: input (N, C, *size), weight (O, C / groups, *kernel) and the layer's options."""

    name: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    op: str = "conv2d"
    first: bool = False  # the input needs no gradient


def conv(name: str, n: int, c: int, size: int, o: int, k: int = 3, stride: int = 1, first: bool = False) -> Layer:
    """A square 2-d layer as ResNet has them."""
    options = {"stride": stride, "padding": k // 2}
    return Layer(f"{name} {n}x{c}x{size}x{size} -> {o} k{k}s{stride}", (n, c, size, size), (o, c, k, k), options, first=first)


def resnet(name: str, n: int, sizes: tuple[int, ...]) -> list[Layer]:
    """The layers of ResNet-18 behind the stem, each kind once."""
    layers, channels = [conv(name, n, 64, sizes[0], 64)], 64
    for size in sizes[1:]:
        big, wide = 2 * size, 2 * channels
        layers += [conv(name, n, channels, big, wide, 3, 2), conv(name, n, channels, big, wide, 1, 2), conv(name, n, wide, size, wide)]
        channels = wide
    return layers


def depthwise(n: int, c: int, size: int, k: int = 3, stride: int = 1) -> Layer:
    options = {"stride": stride, "padding": k // 2, "groups": c}
    return Layer(f"depthwise {n}x{c}x{size}x{size} k{k}s{stride}", (n, c, size, size), (c, 1, k, k), options)


GROUPS = {
    "cifar": [conv("cifar", 32, 3, 32, 64, first=True), *resnet("cifar", 32, (32, 16, 8, 4))],
    "imagenet": [*(layer for n in (1, 4) for layer in (conv("224", n, 3, 224, 64, 7, 2, first=True), *resnet("224", n, (56, 28, 14, 7))))],
    "depthwise": [
        depthwise(4, 128, 56),
        depthwise(4, 256, 14),
        depthwise(4, 64, 112, stride=2),
        depthwise(4, 96, 56, 7),
        depthwise(32, 64, 7, 5),
    ],
    "other": [
        conv("mnist", 64, 1, 28, 32, first=True),
        conv("mnist", 64, 32, 26, 64),
        conv("bottleneck", 4, 64, 56, 256, 1),
        Layer("grouped 4x128x28x28 g32", (4, 128, 28, 28), (128, 4, 3, 3), {"padding": 1, "groups": 32}),
        Layer("dilated 4x64x56x56 d2", (4, 64, 56, 56), (64, 64, 3, 3), {"padding": 2, "dilation": 2}),
        Layer("1-d 16x64x512 k5", (16, 64, 512), (128, 64, 5), {"padding": 2}, "conv1d"),
        Layer("3-d 2x16x16x32x32 k3", (2, 16, 16, 32, 32), (32, 16, 3, 3, 3), {"padding": 1}, "conv3d"),
        Layer("transposed 4x128x14x14 k4s2", (4, 128, 14, 14), (128, 64, 4, 4), {"stride": 2, "padding": 1}, "conv_transpose2d"),
        Layer("transposed 4x128x28x28 k2s2", (4, 128, 28, 28), (128, 64, 2, 2), {"stride": 2}, "conv_transpose2d"),
        Layer("5x5 8x32x28x28 -> 64", (8, 32, 28, 28), (64, 32, 5, 5), {"padding": 2}),
        Layer("transposed 1-d 8x64x256 k4s2", (8, 64, 256), (64, 32, 4), {"stride": 2, "padding": 1}, "conv_transpose1d"),
    ],
    "pool": [
        Layer("max 32x64x32x32 k2", (32, 64, 32, 32), (), {"kernel_size": 2}, "max_pool2d"),
        Layer("max 4x64x112x112 k3s2", (4, 64, 112, 112), (), {"kernel_size": 3, "stride": 2, "padding": 1}, "max_pool2d"),
        Layer("avg 32x64x32x32 k2", (32, 64, 32, 32), (), {"kernel_size": 2}, "avg_pool2d"),
        Layer("avg 4x64x56x56 k3s1", (4, 64, 56, 56), (), {"kernel_size": 3, "stride": 1, "padding": 1}, "avg_pool2d"),
        Layer("adaptive avg 32x512x7x7 -> 1", (32, 512, 7, 7), (), {"output_size": 1}, "adaptive_avg_pool2d"),
    ],
}


def flops(layer: Layer, out_shape: tuple[int, ...]) -> int:
    """2 * multiply-adds of the forward pass; 0 for pooling."""
    if not layer.w:
        return 0
    pixels = layer.x if "transpose" in layer.op else out_shape
    return 2 * math.prod(pixels) * math.prod(layer.w[1:])


def calls(
    m: Any, layer: Layer, data: dict[str, np.ndarray], last: bool
) -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], list[Any]]]:
    """(forward, forward + backward, results) of one library; `last`: images and weight in channels_last."""
    tensors = {name: m.tensor(value) for name, value in data.items()}
    if last:
        tensors = {name: t.contiguous(memory_format=m.channels_last) for name, t in tensors.items()}
    g = tensors.pop("g")
    plain = list(tensors.values())
    leaves = [t.clone().requires_grad_(not (layer.first and name == "x")) for name, t in tensors.items()]
    fn = getattr(m.nn.functional, layer.op)

    def both() -> None:
        for leaf in leaves:
            leaf.grad = None
        fn(*leaves, **layer.options).backward(g)

    def results() -> list[Any]:
        both()
        return [fn(*plain, **layer.options), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    return lambda: fn(*plain, **layer.options), both, results


def measured(fns: dict[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Samples of every function, in interleaved blocks of three; as many rounds as fit into `seconds`, at least 3.

    Each block follows a pause and a call that does not count: OpenMP's workers go on spinning for milliseconds after torch's last
    region, and would take a core from whoever comes next.
    """
    times: dict[str, list[float]] = {name: [] for name in fns}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 3 or time.perf_counter() < end:
        for name, fn in fns.items():
            time.sleep(0.03)
            fn()
            for _ in range(3):
                start = time.perf_counter()
                fn()
                times[name].append(time.perf_counter() - start)
        rounds += 1
    return times


def gemm_rate() -> float:
    """GFLOP/s of the faster library's 768^3 product, best of several."""
    best = math.inf
    for m in filter(None, (mg, torch)):
        a, b = m.rand(768, 768), m.rand(768, 768)
        for _ in range(12):
            start = time.perf_counter()
            a @ b
            best = min(best, time.perf_counter() - start)
    return 2 * 768**3 / best / 1e9


def check(layer: Layer, ours: list[Any], theirs: list[Any]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        a, b = a.numpy(), b.numpy()
        error = float(np.abs(a - b).max()) / max(float(np.abs(b).max()), 1e-30)
        if a.shape != b.shape or not error < 1e-4:
            raise SystemExit(f"{layer.name}: results differ by {error:.2g} of the largest element")


def bench(layer: Layer, threads: int, seconds: float, peak: float, last: bool) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    data = {"x": rng.standard_normal(layer.x, np.float32)}
    if layer.w:
        data["w"] = rng.standard_normal(layer.w, np.float32) / math.sqrt(math.prod(layer.w[1:]))
    shape = tuple(getattr(mg.nn.functional, layer.op)(*(mg.tensor(v) for v in data.values()), **layer.options).shape)
    data["g"] = rng.standard_normal(shape, np.float32)
    libraries = {"minigrad": mg} | ({"torch": torch} if torch is not None else {})
    sides = {name: calls(m, layer, data, last) for name, m in libraries.items()}
    if torch is not None:
        check(layer, sides["minigrad"][2](), [t.detach() for t in sides["torch"][2]()])
    rows = []
    for k, what in enumerate(("fwd", "fwd+bwd")):
        times = measured({name: fns[k] for name, fns in sides.items()}, seconds)
        ours = statistics.median(times["minigrad"])
        work = flops(layer, shape) * (1 if k == 0 else 2 if layer.first else 3)
        row = {"layer": layer.name + " channels_last" * last, "what": what, "threads": threads, "minigrad_s": ours}
        row |= {"gflops": work / ours / 1e9, "of_gemm": work / ours / 1e9 / peak}
        if torch is not None:
            q = sorted(t / o for o, t in zip(times["minigrad"], times["torch"], strict=True))
            row |= {"torch_s": statistics.median(times["torch"]), "ratio": statistics.median(q)}
            row |= {"ratio_q1": q[len(q) // 4], "ratio_q3": q[3 * len(q) // 4]}
        rows.append(row)
    return rows


def line(row: dict[str, Any]) -> str:
    text = f"{row['layer']:54}{row['what']:>8}{row['threads']:3}{row['minigrad_s'] * 1e3:10.3f}{row['gflops']:8.1f}{row['of_gemm']:6.0%}"
    if "ratio" in row:
        text += f"{row['torch_s'] * 1e3:10.3f}{row['ratio']:8.2f} [{row['ratio_q1']:.2f}, {row['ratio_q3']:.2f}]"
    return text


def main() -> None:
    """Run and print the table; with --csv also append the rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--group", choices=GROUPS)
    parser.add_argument("--only", default="", help="layers whose name has this text")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--seconds", type=float, default=0.4, help="per layer and direction")
    parser.add_argument("--channels-last", action="store_true", help="the 2-d convolutions in channels_last")
    parser.add_argument("--csv", help="append the rows to this file")
    args = parser.parse_args()
    layers = [layer for group, list_ in GROUPS.items() if args.group in (None, group) for layer in list_ if args.only in layer.name]
    if args.channels_last:
        layers = [layer for layer in layers if len(layer.w) == 4]
    rows = []
    print(f"{'layer':54}{'what':>8}{'thr':>3}{'ours ms':>10}{'GFLOP/s':>8}{'%gemm':>6}{'torch ms':>10}{'ratio':>8} [quartiles]")
    for threads in map(int, args.threads.split(",")):
        for m in filter(None, (mg, torch)):
            m.set_num_threads(threads)
        peak = gemm_rate()
        for layer in layers:
            for row in bench(layer, threads, args.seconds, peak, args.channels_last):
                print(line(row), flush=True)
                rows.append(row)
    for threads in sorted({row["threads"] for row in rows}):
        for what in ("fwd", "fwd+bwd"):
            ratios = [row["ratio"] for row in rows if "ratio" in row and row["threads"] == threads and row["what"] == what]
            if ratios:
                mean = math.exp(statistics.fmean(map(math.log, ratios)))
                print(f"{threads} threads, {what}: geometric mean {mean:.2f} over {len(ratios)} layers, least {min(ratios):.2f}")
    if args.csv and rows:
        from overhead import cpu_name

        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
        new = not os.path.exists(args.csv)
        with open(args.csv, "a", newline="") as f:
            writer = csv.DictWriter(f, ["date", "host_cpu", "commit", *rows[0]])
            if new:
                writer.writeheader()
            for row in rows:
                writer.writerow({"date": time.strftime("%Y-%m-%d"), "host_cpu": cpu_name(), "commit": commit} | row)


if __name__ == "__main__":
    main()
