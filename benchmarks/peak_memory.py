"""Peak memory of one library's training step, in a process of its own: VmHWM after three steps minus what was resident before.

    python -m benchmarks.peak_memory minigrad|torch [MODEL] [--threads 1]

Linux only (/proc). The library is warmed up on a tiny model first, so that its code pages and thread stacks count as baseline.
"""

from __future__ import annotations

import argparse
import gc
import importlib

from benchmarks import models


def resident(field: str) -> int:
    """A field of /proc/self/status in bytes: VmRSS (now) or VmHWM (largest so far)."""
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith(field))


def peak(library: str, model: str, threads: int, tiny: bool = False) -> int:
    """Bytes above the baseline."""
    torch = importlib.import_module(library)
    torch.set_num_threads(threads)
    models.step(torch, models.MODELS[model](torch, True))
    gc.collect()
    baseline = resident("VmRSS")
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")  # VmHWM starts again from here
    work = models.MODELS[model](torch, tiny)
    for _ in range(3):
        models.step(torch, work)
    return resident("VmHWM") - baseline


def main() -> None:
    """Print the bytes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("library", choices=("minigrad", "torch"))
    parser.add_argument("model", nargs="?", default="gpt", choices=list(models.MODELS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="shrunk model, for tests")
    args = parser.parse_args()
    print(peak(args.library, args.model, args.threads, args.tiny))


if __name__ == "__main__":
    main()
