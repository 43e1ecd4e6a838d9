"""softmax and the losses on the device: lines of every length (warp, block, beyond registers), columns, ignored and weighted classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from both import agree, gradients

import minigrad as mg
import minigrad.nn.functional as F

FLOATS = [mg.float32, mg.float64, mg.float16, mg.bfloat16]
SHAPES = [(5,), (6, 7), (3, 64), (9, 300), (300, 9), (2, 9001), (9001, 2), (3, 1024), (2, 50, 40)]


def array(*shape: int) -> Any:
    return np.random.default_rng(list(shape)).standard_normal(shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax(shape: tuple[int, ...]) -> None:
    def compute(put: Any) -> list[Any]:
        x = put(array(*shape), mg.float32, True)
        outs = [f(x, d) for f in (F.softmax, F.log_softmax) for d in range(len(shape))]
        return [outs, [gradients(o, [x]) for o in outs]]

    agree(compute, 1e-5)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_softmax_dtypes(dtype: Any) -> None:
    def compute(put: Any) -> list[Any]:
        x = put(array(6, 80), dtype, True)
        outs = [F.softmax(x, 1), F.log_softmax(x.mT, 0), F.softmax(x[:, 1::2], 1)]
        return [F.softmax(x, 0, dtype=mg.float32), outs, gradients(outs, [x])]

    agree(compute)


def test_softmax_of_infinities_and_nothing() -> None:
    def compute(put: Any) -> list[Any]:
        a = array(6, 50)
        a[0] = -np.inf
        a[1, 3] = np.inf
        a[2, 4] = np.nan
        a[3, 5:] = -np.inf
        x, empty = put(a, mg.float32), put(np.zeros((3, 0)), mg.float32)
        long = put(np.tile(a, (1, 200)), mg.float32)
        return [F.softmax(x, 1), F.softmax(x, 0), F.log_softmax(x, 1), F.softmax(long, 1), F.softmax(empty, 1), F.softmax(empty, 0)]

    agree(compute, 1e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(6, 5), (70, 300), (3, 9001), (4, 7, 3, 5), (9,)], ids=str)
def test_cross_entropy(shape: tuple[int, ...], reduction: str) -> None:
    classes = shape[0] if len(shape) == 1 else shape[1]
    target = np.random.default_rng(0).integers(0, classes, () if len(shape) == 1 else (shape[0], *shape[2:]))
    if target.ndim:
        target.reshape(-1)[1] = -100

    def compute(put: Any) -> list[Any]:
        x, t = put(array(*shape), mg.float32, True), put(target, mg.int64)
        w = put(np.abs(array(classes)), mg.float32)
        outs = [
            F.cross_entropy(x, t, reduction=reduction),
            F.cross_entropy(x, t, w, reduction=reduction, label_smoothing=0.1),
            F.cross_entropy(x, t, reduction=reduction, label_smoothing=0.2),
        ]
        return [outs, [gradients(o, [x]) for o in outs]]

    agree(compute, 1e-5)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_dtypes(dtype: Any) -> None:
    def compute(put: Any) -> list[Any]:
        x, y = put(array(20, 11), dtype, True), put(array(20, 11) + 1, dtype)
        t = put(np.arange(20) % 11, mg.int64)
        outs = [F.cross_entropy(x, t), F.mse_loss(x, y), F.mse_loss(x, y, reduction="none"), F.mse_loss(x, y, reduction="sum")]
        return [outs, [gradients(o, [x]) for o in outs]]

    agree(compute)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nll(reduction: str) -> None:
    def compute(put: Any) -> list[Any]:
        x, t = put(array(9, 7, 4), mg.float32), put(np.arange(36).reshape(9, 4) % 7, mg.int64)
        w = put(np.abs(array(7)), mg.float32)
        return [F.nll_loss(x, t, reduction=reduction), F.nll_loss(x, t, w, reduction=reduction, ignore_index=3)]

    agree(compute, 1e-6)


@pytest.mark.parametrize("n", [0, 1, 40000])
def test_mse(n: int) -> None:
    def compute(put: Any) -> list[Any]:
        x, y = put(array(n), mg.float32), put(array(n + 1)[1:], mg.float32)
        return [F.mse_loss(x, y), F.mse_loss(x, y, reduction="sum"), F.mse_loss(x, y, reduction="none")]

    agree(compute, 1e-6)


def test_class_out_of_range_is_reported() -> None:
    x = mg.zeros(3, 4, device="cuda")
    loss = F.cross_entropy(x, mg.tensor([0, 4, 1]).to("cuda"))
    with pytest.raises(IndexError, match="index 4 is out of bounds"):
        loss.item()


@pytest.mark.parametrize("padded", [True, False])
def test_ctc(padded: bool) -> None:
    labels = np.array([[1, 2, 2, 3], [4, 1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]])
    lengths = [4, 2, 1, 0]
    flat = np.concatenate([row[:n] for row, n in zip(labels, lengths, strict=True)])

    def compute(put: Any) -> list[Any]:
        x = put(array(12, 4, 6), mg.float64, True)
        t = put(labels if padded else flat, mg.int64)
        frames, many = [12, 9, 5, 3], lengths
        ways = [(r, z) for r in ("mean", "sum", "none") for z in (False, True)]
        outs = [F.ctc_loss(F.log_softmax(x, 2), t, frames, many, reduction=r, zero_infinity=z) for r, z in ways]
        short = F.ctc_loss(F.log_softmax(x[:3], 2), t, [3, 3, 3, 3], many, reduction="none", zero_infinity=True)
        return [outs, short, [gradients(o, [x]) for o in [*outs, short]]]

    agree(compute, 1e-11)
