"""Throughput of DataLoader with worker processes, minigrad against PyTorch on the same datasets.

    python benchmarks/dataloader.py [--rounds 7] [--workers 2] [--csv benchmarks/results/dataloader.csv]

Every round runs each workload in each library in turn, each (library, workload) in a fresh process, so that neither library's forks
carry the other's memory. A pass is timed from the first batch to the last (starting the processes is a row of its own). The table shows
batches per second (median of rounds) and the ratio ours / theirs (median and range; larger is better).
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import statistics
import subprocess
import sys
import time
import warnings

WORKLOADS = {
    # name: (kind of sample, samples, batch size)
    "images 3x64x64 float32": ("image", 4096, 64),
    "images 3x224x224 uint8": ("bytes", 2048, 32),
    "rows of 16 float32": ("row", 40000, 64),
    "tokens, dict of 3": ("dict", 20000, 32),
    "no tensors: text": ("text", 40000, 64),
    "large: 1x1024x1024 float32": ("large", 256, 4),
}


def make_dataset(library: str, kind: str, size: int):
    """A map-style dataset of the library; its samples are slices of one tensor, so that loading, not making, is measured."""
    if library == "torch":
        import torch as m
        from torch.utils.data import Dataset
    else:
        import minigrad as m
        from minigrad.data import Dataset
    shapes = {"image": (3, 64, 64), "bytes": (3, 224, 224), "row": (16,), "dict": (128,), "large": (1, 1024, 1024), "text": (1,)}
    kinds = {"bytes": m.uint8, "dict": m.int64}
    source = m.ones((64, *shapes[kind]), dtype=kinds.get(kind, m.float32))

    class Samples(Dataset):
        def __len__(self) -> int:
            return size

        def __getitem__(self, i: int):
            if kind == "text":
                return f"sample number {i}", i
            if kind == "dict":
                row = source[i % 64]
                return {"input_ids": row, "attention_mask": row, "label": i}
            return source[i % 64], i

    return Samples()


def one_run(library: str, workload: str, workers: int) -> dict[str, float]:
    """Seconds to the first batch and batches per second of the rest, in this process."""
    warnings.simplefilter("ignore")
    kind, size, batch = WORKLOADS[workload]
    dataset = make_dataset(library, kind, size)
    if library == "torch":
        from torch.utils.data import DataLoader
    else:
        from minigrad.data import DataLoader
    loader = DataLoader(dataset, batch_size=batch, num_workers=workers)
    began = time.perf_counter()
    iterator = iter(loader)
    held = next(iterator)
    first = time.perf_counter()
    count = 0
    for held in iterator:  # noqa: B007  a training step would hold the batch as well
        count += 1
    return {"start": first - began, "rate": count / (time.perf_counter() - first)}


def measure(rounds: int, workers: int, libraries: list[str]) -> dict[str, dict[str, list[dict[str, float]]]]:
    """All rounds, interleaved; each run in a process of its own."""
    results: dict[str, dict[str, list[dict[str, float]]]] = {w: {lib: [] for lib in libraries} for w in WORKLOADS}
    for round_number in range(rounds):
        for workload in WORKLOADS:
            for library in libraries if round_number % 2 == 0 else libraries[::-1]:
                command = [sys.executable, __file__, "--run", library, workload, "--workers", str(workers)]
                out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                results[workload][library].append(json.loads(out))
        print(f"round {round_number + 1} of {rounds}", file=sys.stderr)
    return results


def table(results: dict, path: str | None, workers: int) -> None:
    """Print the table, and append it to a CSV."""
    rows = []
    print(f"{'workload':28} {'ours /s':>10} {'torch /s':>10} {'ratio':>7} {'range':>14} {'start':>8} {'torch':>8}")
    for workload, runs in results.items():
        ours = statistics.median(run["rate"] for run in runs["minigrad"])
        start = statistics.median(run["start"] for run in runs["minigrad"])
        if not runs.get("torch"):
            print(f"{workload:28} {ours:10.0f} {'-':>10} {'-':>7} {'-':>14} {start * 1e3:6.0f}ms")
            continue
        theirs = statistics.median(run["rate"] for run in runs["torch"])
        ratios = sorted(a["rate"] / b["rate"] for a, b in zip(runs["minigrad"], runs["torch"], strict=True))
        other_start = statistics.median(run["start"] for run in runs["torch"])
        spread = f"{ratios[0]:.2f} - {ratios[-1]:.2f}"
        middle = statistics.median(ratios)
        print(f"{workload:28} {ours:10.0f} {theirs:10.0f} {middle:7.2f} {spread:>14} {start * 1e3:6.0f}ms {other_start * 1e3:6.0f}ms")
        machine = platform.processor() or platform.machine()
        rows.append([machine, workers, workload, f"{ours:.1f}", f"{theirs:.1f}", f"{middle:.3f}", spread])
    if path:
        with open(path, "a", newline="") as file:
            csv.writer(file).writerows(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--csv")
    parser.add_argument("--run", nargs=2, metavar=("LIBRARY", "WORKLOAD"), help="one run, as JSON (used by the rounds)")
    options = parser.parse_args()
    if options.run:
        print(json.dumps(one_run(*options.run, options.workers)))
        return
    libraries = ["minigrad"]
    try:
        import torch  # noqa: F401

        libraries.append("torch")
    except ImportError:
        print("torch is not installed: no ratios", file=sys.stderr)
    table(measure(options.rounds, options.workers, libraries), options.csv, options.workers)


if __name__ == "__main__":
    main()
