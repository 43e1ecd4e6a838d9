"""What the examples share: command line, the digits, pictures. Each example is otherwise complete in itself."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg


def command_line(doc: str, steps: int, unit: str = "steps") -> argparse.ArgumentParser:
    """A parser with the options all examples have; `doc` is the example's docstring."""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("--steps", type=int, default=steps, metavar="N", help=f"training {unit} (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of weights, data and order (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="where the files go (default %(default)s)")
    return parser


def start(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse, seed everything, make the folder; the clock starts."""
    options = parser.parse_args()
    if options.steps < 1:
        parser.error("--steps must be at least 1")
    options.out.mkdir(parents=True, exist_ok=True)
    options.started = time.perf_counter()
    mg.manual_seed(options.seed)
    return options


def finish(options: argparse.Namespace, path: Path) -> None:
    """Say where the result is and how long it took."""
    print(f"wrote {path}; {time.perf_counter() - options.started:.1f} s")


def progress(items: Iterable[Any], **labels: Any) -> Any:
    """A progress bar."""
    from tqdm import tqdm

    return tqdm(items, mininterval=0.5, **labels)


def endless(loader: Iterable[Any]) -> Iterator[Any]:
    """Batches, pass after pass."""
    while True:
        yield from loader


def digits(seed: int, test_share: float = 0.2) -> tuple[mg.Tensor, mg.Tensor, mg.Tensor, mg.Tensor]:
    """scikit-learn's 1797 real scans of handwritten digits as (train x, train y, test x, test y); x (N, 1, 8, 8) from 0 to 1."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.images))
    x = mg.from_numpy((data.images[order, None] / 16).astype(np.float32))
    y = mg.from_numpy(data.target[order].astype(np.int64))
    cut = round(len(x) * (1 - test_share))
    return x[:cut], y[:cut], x[cut:], y[cut:]


def figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (6, 4), **layout: Any) -> tuple[Any, Any]:
    """A matplotlib figure that needs no display, and its axes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=size, layout="constrained", **layout)


def show_grid(axes: Any, images_NHW: Any, columns: int, title: str) -> None:
    """Images side by side, in rows of `columns`, with a pixel of space between."""
    images = np.asarray(images_NHW).clip(0, 1)
    n, h, w = images.shape
    rows = -(-n // columns)
    canvas = np.full((rows * (h + 1) + 1, columns * (w + 1) + 1), 0.35)
    for k in range(n):
        top, left = (k // columns) * (h + 1) + 1, (k % columns) * (w + 1) + 1
        canvas[top : top + h, left : left + w] = images[k]
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title)
    axes.axis("off")
