"""scaled_dot_product_attention against torch's: forward, forward + backward, and decoding with a cache of keys and values.

    python -m benchmarks.attention [--only TEXT] [--threads 1 2] [--rounds 15] [--seconds 1.0] [--csv FILE]

Operands are (B, S, H, D) tensors seen as (B, H, S, D), as a model has them. Rounds are interleaved (ours, torch, …); ratio = torch's time /
ours, larger is better, with the quartiles of the rounds. GFLOP/s counts the pairs of query and key that take part (half of them where
causal) with 4 D multiply-adds forward and 2.5 times that backward; "% FMA" compares it with the rate of independent fused multiply-adds on
the same threads. "error" is the largest relative error against float64 of output and gradients, ours and torch's.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from benchmarks import compare, machine

try:
    import torch
except ImportError:
    torch = None


@dataclass(frozen=True)
class Case:
    """B batches of H heads of width D; L queries (None: as many as keys) and S keys."""

    batch: int
    heads: int
    keys: int
    width: int
    causal: bool = False
    queries: int | None = None
    backward: bool = False
    dtype: str = "float32"
    key_heads: int | None = None
    mask: str = ""

    def name(self) -> str:
        """As in the table."""
        groups = f"/{self.key_heads}" if self.key_heads else ""
        kind = "causal" if self.causal else self.mask or "full"
        what = f"decode {self.queries}" if self.queries else "fb" if self.backward else "forward"
        return f"{self.batch}x{self.heads}{groups}x{self.keys}x{self.width} {kind} {self.dtype} {what}"

    def flops(self) -> float:
        """Of the pairs that take part."""
        rows = self.queries or self.keys
        return 4 * self.batch * self.heads * rows * self.keys * self.width * (0.5 if self.causal else 1) * (3.5 if self.backward else 1)

    def bytes(self) -> int:
        """Keys and values, read once."""
        item = 2 if "16" in self.dtype else 4
        return 2 * self.batch * (self.key_heads or self.heads) * self.keys * self.width * item


def both(*args: Any, **options: Any) -> list[Case]:
    """A case forward, and with its gradients."""
    return [Case(*args, **options, backward=b) for b in (False, True)]


CASES = [
    *both(12, 4, 64, 32, True),  # char-GPT
    *both(4, 6, 256, 64, True),  # GPT
    *both(1, 12, 1024, 64, True),  # GPT-2, one long sequence
    *both(1, 12, 1024, 64),
    *both(2, 8, 512, 128, True),
    *both(8, 12, 197, 64),  # ViT
    *both(4, 6, 256, 64, mask="bool mask"),
    *both(4, 6, 256, 64, mask="float mask"),
    *both(2, 8, 512, 64, True, key_heads=2),
    *both(4, 6, 256, 64, True, dtype="bfloat16"),
    *(Case(1, 12, s, 64, queries=1) for s in (128, 1024, 4096)),
    Case(1, 12, 1024, 64, queries=1, dtype="bfloat16"),
    Case(1, 32, 2048, 128, queries=1, key_heads=8),
    Case(8, 12, 1024, 64, queries=1),
    Case(1, 12, 1024, 64, queries=4),
]


def call_of(library: Any, case: Case, double: bool = False) -> Callable[[], Any]:
    """The call to time; it returns what is compared."""
    rng = np.random.default_rng(0)
    dtype = library.float64 if double else getattr(library, case.dtype)

    def tensor(*shape: int) -> Any:  # through the case's dtype, so that float64 sees the same numbers
        return library.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(getattr(library, case.dtype)).to(dtype)

    rows, kv = case.queries or case.keys, case.key_heads or case.heads
    leaves = [tensor(case.batch, n, h, case.width) for n, h in ((rows, case.heads), (case.keys, kv), (case.keys, kv))]
    cotangent = tensor(case.batch, rows, case.heads, case.width).transpose(1, 2)
    options: dict[str, Any] = {"is_causal": case.causal, "enable_gqa": kv != case.heads}
    if case.mask:
        options["attn_mask"] = tensor(rows, case.keys) > -0.5 if "bool" in case.mask else tensor(rows, case.keys)
    if case.queries:  # a cache lies by heads
        leaves[1:] = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in leaves[1:]]
    q, k, v = (x.requires_grad_(case.backward).transpose(1, 2) for x in leaves)
    attend = library.nn.functional.scaled_dot_product_attention

    def forward() -> Any:
        return attend(q, k, v, **options)

    def backward() -> Any:
        out = attend(q, k, v, **options)
        return (out, *library.autograd.grad(out, leaves, cotangent))

    return backward if case.backward else forward


def relative_errors(case: Case) -> tuple[float, float]:
    """(ours, torch's) against torch in float64."""
    truth = compare.results_of(call_of(torch, case, double=True))
    worst = []
    for library in (mg, torch):
        pairs = zip(compare.results_of(call_of(library, case)), truth, strict=True)
        worst.append(max(compare.difference(a, b) for a, b in pairs))
    limit = 2e-2 if case.dtype != "float32" else 1e-5
    if not worst[0] <= limit:
        raise compare.ResultsDiffer(f"{case.name()}: relative error {worst[0]:.1e}, allowed {limit:.0e}")
    return worst[0], worst[1]


def measure(case: Case, threads: int, peak: float, rounds: int, seconds: float) -> dict[str, Any]:
    """One row of the table."""
    ours, theirs = relative_errors(case)
    times = compare.times({"minigrad": call_of(mg, case), "torch": call_of(torch, case)}, rounds, seconds)
    took, (low, ratio, high) = times.median("minigrad"), times.ratio("torch")
    rate = case.flops() / took / 1e9
    row = {
        "case": case.name(), "threads": threads, "ours_us": took * 1e6, "torch_us": times.median("torch") * 1e6, "ratio": ratio,
        "low": low, "high": high, "gflops": rate, "fma_percent": 100 * rate / peak, "gb_s": case.bytes() / took / 1e9,
        "error": ours, "error_torch": theirs,
    }  # fmt: skip
    last = f"{row['gb_s']:6.1f} GB/s" if case.queries else f"{rate:6.1f} GF {row['fma_percent']:3.0f} % FMA"
    print(
        f"{threads}  {case.name():40} {row['ours_us']:9.1f} us {row['torch_us']:9.1f} us {ratio:5.2f}x [{low:.2f}, {high:.2f}]  {last:22}"
        f"  {ours:.1e} {theirs:.1e}",
        flush=True,
    )
    return row


def main() -> None:
    """Runs the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0, help="per case and thread count")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    rows = []
    for threads in options.threads:
        mg.set_num_threads(threads)
        torch.set_num_threads(threads)
        peak = mg._core.fma_rate(False) / 1e9
        print(f"threads {threads}: {peak:.0f} GFLOP/s of fused multiply-adds")
        for case in CASES:
            if options.only in case.name():
                rows.append(measure(case, threads, peak, options.rounds, options.seconds))
    if options.csv and rows:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0], "cpu", "commit"])
            writer.writeheader()
            for row in rows:
                rounded = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
                writer.writerow(rounded | {"cpu": machine.cpu_name(), "commit": machine.commit()})


if __name__ == "__main__":
    main()
