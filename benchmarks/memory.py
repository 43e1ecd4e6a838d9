"""Memory-bound ops, forward and backward, against PyTorch eager and against the memory's own speed.

    python benchmarks/memory.py [NAME ...] [--elements 16777216] [--rounds 7] [--threads 1,2] [--csv benchmarks/results/memory.csv]

minigrad and torch run each case in turn, round by round, with fresh outputs and, where torch has it, into a given `out=` (minigrad into a
fresh one where it has no such form: its allocator gives back the same memory). A sample follows a pause, in which the other library's
threads stop spinning, and calls that do not count, which wake the own ones. Results are compared before anything is timed. GB/s counts what
the op must move (operands read once, results written once); `triad` is this machine's STREAM triad (a = b + s c), measured in the same run.
Ratio = torch's time / ours, larger is better. NAME selects cases that contain it. Backward cases time the gradient alone, of a kept graph.
"""

from __future__ import annotations

import argparse
import csv
import gc
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

import minigrad as mg

COLUMNS = 1024
PAUSE = 0.01  # seconds for which torch's OpenMP threads may go on spinning after a region, and so take a core from ours
WARM = 0.003  # seconds of calls before a sample: a sleeping thread takes up to 2 ms to come on a virtual machine


@dataclass
class Case:
    """One call, how many bytes it must move, and the same into a given output."""

    name: str
    call: Callable[[], Any]
    moved: int
    into: Callable[[], Any] | None = None


def _backward(m: Any, y: Any, inputs: list[Any]) -> Callable[[], Any]:
    g = m.ones_like(y) if y.dim() == 0 else m.sin(m.arange(y.numel(), dtype=m.float32)).reshape(y.shape)
    return lambda: m.autograd.grad(y, inputs, g, retain_graph=True)


class Data:
    """The operands of one library: the same numbers in both."""

    def __init__(self, m: Any, n: int) -> None:
        self.m, self.n, self.rows = m, n, n // COLUMNS
        self.a, self.b = self.numbers(n, 1.0), self.numbers(n, 2.0)
        self.A, self.B = self.a.reshape(self.rows, COLUMNS), self.b.reshape(self.rows, COLUMNS)
        self.side = 1 << (n.bit_length() - 1) // 2
        self.Q = self.a[: self.side * self.side].reshape(self.side, self.side)
        self.w, self.v = self.numbers(COLUMNS, 3.0), self.numbers(COLUMNS, 4.0)
        self.out = m.ones(n)
        self.OUT = self.out.reshape(self.rows, COLUMNS)
        self.image = self.a.reshape(-1, 64, 32, 32)

    def numbers(self, n: int, seed: float) -> Any:
        """n numbers in [-2, 2] without order."""
        x = self.m.arange(n, dtype=self.m.float32).remainder(65521).mul_(12.9898 * seed)
        return x.sin_().mul_(2)

    def leaf(self, x: Any) -> Any:
        return x.detach().requires_grad_()


def pointwise(d: Data) -> Iterator[Case]:
    m, a, b, A, out, OUT = d.m, d.a, d.b, d.A, d.out, d.OUT
    four = 4 * d.n
    yield Case("add", lambda: a + b, 3 * four, lambda: m.add(a, b, out=out))
    yield Case("mul scalar", lambda: a * 2.0, 2 * four, lambda: m.mul(a, 2.0, out=out))
    for name in ("exp", "sigmoid", "tanh", "relu", "log1p", "abs"):
        f = getattr(m, name)
        x = b.abs() if name == "log1p" else a
        into = (lambda f=f, x=x: f(x, out=out)) if name != "relu" else (lambda: m.clamp_min(a, 0, out=out))
        yield Case(name, lambda f=f, x=x: f(x), 2 * four, into)
    F = m.nn.functional
    yield Case("gelu", lambda: F.gelu(a), 2 * four)
    yield Case("gelu tanh", lambda: F.gelu(a, approximate="tanh"), 2 * four)
    yield Case("silu", lambda: F.silu(a), 2 * four)
    mask = a > 0
    yield Case("where", lambda: m.where(mask, a, b), 3 * four + d.n, lambda: m.where(mask, a, b, out=out))
    yield Case("compare", lambda: a > b, 2 * four + d.n)
    yield Case("addcmul", lambda: m.addcmul(a, b, b, value=0.5), 3 * four, lambda: m.addcmul(a, b, b, value=0.5, out=out))
    yield Case("clamp", lambda: a.clamp(-1, 1), 2 * four, lambda: m.clamp(a, -1, 1, out=out))
    yield Case("bias add", lambda: A + d.w, 2 * four, lambda: m.add(A, d.w, out=OUT))
    column = d.A[:, :1].contiguous()
    yield Case("mul column", lambda: A * column, 2 * four, lambda: m.mul(A, column, out=OUT))
    scale = d.w[:64].reshape(1, 64, 1, 1).contiguous()
    yield Case("mul channel", lambda: d.image * scale, 2 * four)
    yield Case("add transposed", lambda: d.Q + d.Q.T, 3 * 4 * d.side**2)
    half = a.to(m.bfloat16)
    yield Case("add bf16", lambda: half + half, 2 * 2 * d.n)
    yield Case("to bf16", lambda: a.to(m.bfloat16), 4 * d.n + 2 * d.n)
    yield Case("from bf16", lambda: half.float(), 4 * d.n + 2 * d.n)
    place = a.clone()
    yield Case("mul_ in place", lambda: place.mul_(1.0), 2 * four)
    for name in ("exp", "tanh", "sigmoid", "relu"):
        x = d.leaf(a)
        yield Case(f"{name} backward", _backward(m, getattr(m, name)(x), [x]), 3 * four)
    for name, moved in (("gelu", 3), ("silu", 3), ("leaky_relu", 3)):
        x = d.leaf(a)
        yield Case(f"{name} backward", _backward(m, getattr(F, name)(x), [x]), moved * four)
    x, y = d.leaf(a), d.leaf(b)
    yield Case("mul backward", _backward(m, x * y, [x, y]), 5 * four)
    X, w = d.leaf(A), d.leaf(d.w)
    yield Case("bias add backward", _backward(m, X + w, [X, w]), four)


def layer_norm_into(d: Data) -> Callable[[], Any] | None:
    """torch's layer_norm has no `out=`; the op under it has."""
    if d.m is not torch:
        return None
    kept = {"out0": d.OUT, "out1": torch.ones(d.rows, 1), "out2": torch.ones(d.rows, 1)}
    return lambda: torch.ops.aten.native_layer_norm.out(d.A, [COLUMNS], d.w, d.v, 1e-5, **kept)


def rows(d: Data) -> Iterator[Case]:
    m, F, A, OUT = d.m, d.m.nn.functional, d.A, d.OUT
    four = 4 * d.n
    X, w, v = d.leaf(A), d.leaf(d.w), d.leaf(d.v)
    target = (m.arange(d.rows) * 7919) % COLUMNS
    image, cw, cv = d.leaf(d.image), d.leaf(d.w[:64]), d.leaf(d.v[:64])
    mean, var = m.zeros(64), m.ones(64)
    yield Case("softmax", lambda: m.softmax(A, -1), 2 * four, lambda: m.softmax(A, -1, out=OUT))
    yield Case("log_softmax", lambda: m.log_softmax(A, -1), 2 * four)
    yield Case("softmax dim 0", lambda: m.softmax(A, 0), 2 * four)
    yield Case("softmax channels", lambda: m.softmax(d.image, 1), 2 * four)
    short = d.a.reshape(-1, 32)
    yield Case("softmax rows of 32", lambda: m.softmax(short, -1), 2 * four)
    yield Case("layer_norm", lambda: F.layer_norm(A, [COLUMNS], d.w, d.v), 2 * four, layer_norm_into(d))
    yield Case("rms_norm", lambda: F.rms_norm(A, [COLUMNS], d.w), 2 * four)
    yield Case("batch_norm", lambda: F.batch_norm(d.image, mean, var, cw.detach(), cv.detach(), True), 3 * four)
    yield Case("batch_norm eval", lambda: F.batch_norm(d.image, mean, var, cw.detach(), cv.detach(), False), 2 * four)
    yield Case("group_norm", lambda: F.group_norm(d.image, 8, cw.detach(), cv.detach()), 2 * four)
    yield Case("cross_entropy", lambda: F.cross_entropy(A, target), four)
    yield Case("nll_loss", lambda: F.nll_loss(A, target), 64 * d.rows)
    yield Case("mse_loss", lambda: F.mse_loss(d.a, d.b), 2 * four)
    yield Case("bce_with_logits", lambda: F.binary_cross_entropy_with_logits(d.a, d.b), 2 * four)
    yield Case("smooth_l1_loss", lambda: F.smooth_l1_loss(d.a, d.b), 2 * four)
    yield Case("kl_div", lambda t=d.b.abs(): F.kl_div(d.a, t, reduction="sum"), 2 * four)
    yield Case("softmax backward", _backward(m, m.softmax(X, -1), [X]), 3 * four)
    yield Case("log_softmax backward", _backward(m, m.log_softmax(X, -1), [X]), 3 * four)
    yield Case("softmax dim 0 backward", _backward(m, m.softmax(X, 0), [X]), 3 * four)
    yield Case("layer_norm backward", _backward(m, F.layer_norm(X, [COLUMNS], w, v), [X, w, v]), 3 * four)
    yield Case("rms_norm backward", _backward(m, F.rms_norm(X, [COLUMNS], w), [X, w]), 3 * four)
    yield Case("batch_norm backward", _backward(m, F.batch_norm(image, None, None, cw, cv, True), [image, cw, cv]), 5 * four)
    yield Case("batch_norm eval backward", _backward(m, F.batch_norm(image, mean, var, cw, cv, False), [image, cw, cv]), 3 * four)
    yield Case("group_norm backward", _backward(m, F.group_norm(image, 8, cw, cv), [image, cw, cv]), 3 * four)
    yield Case("cross_entropy backward", _backward(m, F.cross_entropy(X, target), [X]), 2 * four)
    x = d.leaf(d.a)
    yield Case("mse_loss backward", _backward(m, F.mse_loss(x, d.b), [x]), 3 * four)
    yield Case("bce_with_logits backward", _backward(m, F.binary_cross_entropy_with_logits(x, d.b), [x]), 3 * four)


def reductions(d: Data) -> Iterator[Case]:
    m, a, A = d.m, d.a, d.A
    four = 4 * d.n
    yield Case("sum", lambda: a.sum(), four)
    yield Case("sum rows", lambda: A.sum(1), four)
    yield Case("sum columns", lambda: A.sum(0), four)
    yield Case("mean columns", lambda: A.mean(0), four)
    yield Case("sum middle", lambda: d.a.reshape(64, -1, 256).sum(1), four)
    yield Case("sum channels", lambda: d.image.sum((0, 2, 3)), four)
    yield Case("var rows", lambda: A.var(1), four)
    yield Case("var columns", lambda: A.var(0), four)
    yield Case("amax columns", lambda: A.amax(0), four)
    yield Case("max rows", lambda: A.max(1), four)
    yield Case("max columns", lambda: A.max(0), four)
    yield Case("argmax rows", lambda: A.argmax(1), four)
    yield Case("logsumexp", lambda: A.logsumexp(1), four)
    yield Case("norm", lambda: a.norm(), four)
    yield Case("any", lambda: (a > 3).any(), 0)
    yield Case("sum bf16", lambda h=a.to(m.bfloat16): h.sum(), 2 * d.n)
    yield Case("cumsum rows", lambda: A.cumsum(1), 2 * four)
    yield Case("cumsum columns", lambda: A.cumsum(0), 2 * four)
    yield Case("cumsum flat", lambda: a.cumsum(0), 2 * four)
    yield Case("cumprod rows", lambda: A.cumprod(1), 2 * four)
    yield Case("cummax rows", lambda: A.cummax(1), 4 * four)
    X = d.leaf(A)
    yield Case("sum backward", _backward(m, X.sum(), [X]), four)
    yield Case("mean columns backward", _backward(m, X.mean(0), [X]), four)
    yield Case("amax backward", _backward(m, X.amax(1), [X]), 2 * four)
    yield Case("cumsum backward", _backward(m, X.cumsum(1), [X]), 2 * four)


def moves(d: Data) -> Iterator[Case]:
    m, F, A, Q, a = d.m, d.m.nn.functional, d.A, d.Q, d.a
    four, square = 4 * d.n, 4 * d.side**2
    heads = d.a.reshape(-1, 256, 8, 64)
    yield Case("clone", lambda: a.clone(), 2 * four)
    yield Case("zeros", lambda: m.zeros(d.n), four)
    yield Case("transposed copy", lambda: Q.T.contiguous(), 2 * square)
    yield Case("transposed copy f64", lambda q=Q[: d.side // 2].double(): q.T.contiguous(), 2 * square)
    yield Case("transposed copy bf16", lambda q=Q.to(m.bfloat16): q.T.contiguous(), square)
    yield Case("transposed copy tall", lambda: A.T.contiguous(), 2 * four)
    yield Case("heads (0 2 1 3)", lambda: heads.transpose(1, 2).contiguous(), 2 * four)
    yield Case("NCHW to NHWC", lambda: d.image.permute(0, 2, 3, 1).contiguous(), 2 * four)
    yield Case("NHWC to NCHW", lambda x=d.a.reshape(-1, 32, 32, 64): x.permute(0, 3, 1, 2).contiguous(), 2 * four)
    yield Case("every other", lambda: A[:, ::2].contiguous(), four)
    yield Case("flip", lambda: A.flip(1), 2 * four)
    yield Case("cat rows", lambda: m.cat([A, A]), 4 * four)
    yield Case("cat columns", lambda: m.cat([A, A], 1), 4 * four)
    yield Case("stack", lambda: m.stack([a, a], -1), 4 * four)
    yield Case("repeat", lambda w=d.w: w.repeat(d.rows, 1), four)
    yield Case("pad", lambda: F.pad(d.image, (1, 1, 1, 1)), 2 * four)
    yield Case("roll", lambda: A.roll(1, 1), 2 * four)
    yield Case("tril", lambda: Q.tril(), square * 3 // 2)
    yield Case("masked_fill", lambda k=a > 0: a.masked_fill(k, 0.0), 2 * four + d.n)
    table = A[:50304]
    ids = (m.arange(8192) * 7919) % table.shape[0]
    yield Case("embedding", lambda: F.embedding(ids, table), 2 * 4 * 8192 * COLUMNS)
    weight = d.leaf(table)
    yield Case("embedding backward", _backward(m, F.embedding(ids, weight), [weight]), 4 * (8192 + table.shape[0]) * COLUMNS)
    where = (m.arange(d.rows) * 7919) % d.rows
    yield Case("index_select", lambda: A.index_select(0, where), 2 * four)
    yield Case("index rows", lambda: A[where], 2 * four)
    yield Case("index_add", lambda: m.zeros(d.rows // 4, COLUMNS).index_add_(0, where // 4, A), 3 * four // 2)
    spots = (m.arange(d.n) * 7919).reshape(d.rows, COLUMNS) % COLUMNS
    yield Case("gather rows", lambda: A.gather(1, spots), 4 * four)
    yield Case("scatter_add rows", lambda: m.zeros(d.rows, COLUMNS).scatter_add_(1, spots, A), 5 * four)
    yield Case("scatter rows", lambda: m.zeros(d.rows, COLUMNS).scatter_(1, spots, A), 5 * four)
    X = d.leaf(A)
    yield Case("gather backward", _backward(m, X.gather(1, spots), [X]), 4 * four)
    part = a[: d.n // 8]
    yield Case("masked_select", lambda k=part > 0: part.masked_select(k), 7 * four // 32)
    yield Case("nonzero", lambda k=part > 0: k.nonzero(), 5 * four // 32)
    yield Case("sort rows", lambda x=A[:2048]: x.sort(1)[0], 4 * 2048 * COLUMNS * 4)
    yield Case("topk rows", lambda x=A[:8192]: x.topk(10)[0], 4 * 8192 * COLUMNS)
    yield Case("sort", lambda x=a[: d.n // 16]: x.sort()[0], 4 * four // 16)
    yield Case("dropout", lambda: F.dropout(a, 0.1, True), 2 * four + d.n)
    x = d.leaf(a)
    yield Case("dropout backward", _backward(m, F.dropout(x, 0.1, True), [x]), 2 * four + d.n)
    yield Case("rand", lambda: m.rand(d.n), four)
    yield Case("randn", lambda: m.randn(d.n), four)
    small = d.image[: max(d.image.shape[0] // 4, 1)]
    for mode in ("nearest", "bilinear"):
        extra = {} if mode == "nearest" else {"align_corners": False}
        yield Case(f"interpolate {mode}", lambda e=extra, k=mode: F.interpolate(small, scale_factor=2, mode=k, **e), 5 * four // 4)
        s = d.leaf(small)
        yield Case(f"interpolate {mode} backward", _backward(m, F.interpolate(s, scale_factor=2, mode=mode, **extra), [s]), 5 * four // 4)
    yield Case("max_pool2d", lambda: F.max_pool2d(d.image, 2), 5 * four // 4)
    yield Case("avg_pool2d", lambda: F.avg_pool2d(d.image, 2), 5 * four // 4)
    s = d.leaf(d.image)
    yield Case("max_pool2d backward", _backward(m, F.max_pool2d(s, 2), [s]), 7 * four // 4)


GROUPS = {"pointwise": pointwise, "rows": rows, "reductions": reductions, "moves": moves}
RANDOM = ("dropout", "rand", "randn")


def triad(n: int, threads: int) -> float:
    """Bytes per second of a = b + s c, three streams, the better of the two libraries, out= given."""
    best = 0.0
    for m in (mg, torch):
        m.set_num_threads(threads)
        a, b, c = m.empty(n), m.rand(n), m.rand(n)
        for _ in range(8):
            start = time.perf_counter()
            m.add(b, c, alpha=0.5, out=a)
            best = max(best, 12 * n / (time.perf_counter() - start))
    return best


def flat(result: Any) -> list[Any]:
    return [x for part in result for x in flat(part)] if isinstance(result, (tuple, list)) else [result]


def check(name: str, ours: Any, theirs: Any) -> None:
    """Both libraries computed the same."""
    if name.split()[0] in RANDOM:
        return
    for x, y in zip(flat(ours), flat(theirs)):
        found, wanted = x.detach().double().numpy(), y.detach().double().numpy()
        size = max(abs(wanted).max(initial=0.0), 1e-30)
        difference = abs(found - wanted).max(initial=0.0)
        if not difference <= 1e-3 * size + (1e-2 * size if "bf16" in name else 0):
            print(f"! {name}: differs from torch by {difference:.3g} of {size:.3g}", flush=True)


def timed(fn: Callable[[], object]) -> float:
    """Seconds of one call, the result dropped inside the measurement as in a training loop."""
    time.sleep(PAUSE)
    begin = time.perf_counter()
    fn()
    while (start := time.perf_counter()) - begin < WARM:
        fn()
    fn()
    return time.perf_counter() - start


def measure(ours: Case, theirs: Case, threads: list[int], rounds: int, peak: dict[int, float]) -> Iterator[dict[str, Any]]:
    check(ours.name, ours.call(), theirs.call())
    calls = {"minigrad": ours.call, "torch": theirs.call}
    if theirs.into is not None:
        calls |= {"minigrad out": ours.into or ours.call, "torch out": theirs.into}
    for n in threads:
        mg.set_num_threads(n)
        torch.set_num_threads(n)
        found = [{key: timed(call) for key, call in calls.items()} for _ in range(rounds)]
        mine = statistics.median(f["minigrad"] for f in found)
        row = {"op": ours.name, "threads": n, "minigrad_s": mine, "gb_s": ours.moved / mine / 1e9, "of_triad": ours.moved / mine / peak[n]}
        row |= {"torch_s": statistics.median(f["torch"] for f in found)} | quartiles(found, "", "ratio")
        yield row | (quartiles(found, " out", "out") if theirs.into is not None else dict.fromkeys(("out", "out_q1", "out_q3"), ""))


def quartiles(found: list[dict[str, float]], form: str, name: str) -> dict[str, Any]:
    """torch's time over ours within each round: median, lower and upper quartile."""
    ratios = sorted(f["torch" + form] / f["minigrad" + form] for f in found)
    return {name: statistics.median(ratios), name + "_q1": ratios[len(ratios) // 4], name + "_q3": ratios[3 * len(ratios) // 4]}


def show(row: dict[str, Any]) -> None:
    into = f"{row['out']:8.2f} [{row['out_q1']:.2f}, {row['out_q3']:.2f}]" if row["out"] else ""
    times = f"{row['minigrad_s'] * 1e3:10.2f}{row['gb_s']:8.1f}{row['of_triad']:7.0%}{row['torch_s'] * 1e3:10.2f}"
    ratio = f"{row['ratio']:8.2f} [{row['ratio_q1']:.2f}, {row['ratio_q3']:.2f}]{into}"
    print(f"{row['op']:30}{row['threads']:3}{times}{ratio}", flush=True)


def main() -> None:
    """Run and print the table; with --csv also append the rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="only cases whose name contains one of these, or groups: " + ", ".join(GROUPS))
    parser.add_argument("--elements", type=int, default=1 << 24)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--csv", help="append the rows to this file")
    args = parser.parse_args()
    threads = [int(t) for t in args.threads.split(",")]
    peak = {n: triad(max(args.elements, 1 << 24), n) for n in threads}
    print(f"{args.elements} float32 elements; triad " + ", ".join(f"{p / 1e9:.1f} GB/s with {n}" for n, p in peak.items()))
    print(f"{'case':29}thr{'ours ms':>11}{'GB/s':>8}{'triad':>7}{'torch ms':>10}{'ratio':>8} [quartiles] both into out=", flush=True)
    results = []
    for group, make in GROUPS.items():
        pairs = zip(make(Data(mg, args.elements)), make(Data(torch, args.elements)))
        for ours, theirs in pairs:
            if args.names and not any(name == group or name in ours.name for name in args.names):
                continue
            for row in measure(ours, theirs, threads, args.rounds, peak):
                show(row)
                results.append(row)
        gc.collect()
    if args.csv and results:
        write(args.csv, results, args.elements)


def write(path: str, results: list[dict[str, Any]], elements: int) -> None:
    from overhead import cpu_name

    here = os.path.dirname(os.path.abspath(__file__))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True).stdout.strip()
    stamp = {"date": time.strftime("%Y-%m-%d"), "host_cpu": cpu_name(), "commit": commit, "elements": elements}
    new = not os.path.exists(path)
    with open(path, "a", newline="") as f:
        writer = csv.DictWriter(f, [*stamp, *results[0]])
        if new:
            writer.writeheader()
        writer.writerows(stamp | row for row in results)


if __name__ == "__main__":
    main()
