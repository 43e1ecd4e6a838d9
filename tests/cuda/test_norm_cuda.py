"""Normalisations and distances on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from both import agree, gradients

import minigrad as mg
import minigrad.nn.functional as F

FLOATS = [mg.float32, mg.float64, mg.float16, mg.bfloat16]


def array(*shape: int) -> Any:
    return np.random.default_rng(list(shape)).standard_normal(shape)


ROWS = [((4, 6), (6,)), ((3, 4, 8), (4, 8)), ((5, 301), (301,)), ((2, 9001), (9001,)), ((700, 40), (40,)), ((3, 2048), (2048,))]


@pytest.mark.parametrize(("shape", "n"), ROWS, ids=str)
def test_rows(shape: tuple[int, ...], n: tuple[int, ...]) -> None:
    def compute(put: Any) -> list[Any]:
        x, w, b = put(array(*shape), mg.float32, True), put(array(*n), mg.float32, True), put(array(*n) + 1, mg.float32, True)
        layer, plain, rms = F.layer_norm(x, n, w, b), F.layer_norm(x, n), F.rms_norm(x, n, w)
        return [layer, plain, rms, gradients(layer, [x, w, b]), gradients(plain, [x]), gradients(rms, [x, w])]

    agree(compute, 2e-5)


@pytest.mark.parametrize("shape", [(8, 6), (4, 6, 5), (3, 6, 8, 8), (300, 40), (2, 8, 40, 33), (1, 4, 3, 3, 3)], ids=str)
def test_channels(shape: tuple[int, ...]) -> None:
    c = shape[1]

    def compute(put: Any) -> list[Any]:
        x, w, b = put(array(*shape), mg.float32, True), put(array(c), mg.float32, True), put(array(c) + 1, mg.float32, True)
        mean, var = put(np.zeros(c), mg.float32), put(np.ones(c), mg.float32)
        batch, plain = F.batch_norm(x, mean, var, w, b, True), F.batch_norm(x, None, None, None, None, True)
        group, one = F.group_norm(x, 2, w, b), F.group_norm(x, 1)
        found = [gradients(y, [x, w, b]) for y in (batch, group)] + [gradients(y, [x]) for y in (plain, one)]
        return [batch, plain, group, one, mean, var, found]

    agree(compute, 2e-5)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_dtypes(dtype: Any) -> None:
    def compute(put: Any) -> list[Any]:
        x, w = put(array(6, 8, 16), dtype, True), put(array(16), dtype, True)
        channel = put(array(8), dtype, True)
        outs = [F.layer_norm(x, (16,), w), F.rms_norm(x, (16,), w), F.group_norm(x, 4, channel)]
        outs.append(F.batch_norm(x, None, None, channel, None, True))
        return [outs, gradients(outs, [x, w, channel])]

    agree(compute, {mg.float16: 1e-2, mg.bfloat16: 6e-2}.get(dtype))


def test_layouts_and_far_from_zero() -> None:
    def compute(put: Any) -> list[Any]:
        x = put(array(6, 8, 10, 12) + 100, mg.float32)
        last = x.contiguous(memory_format=mg.channels_last)
        views = [x.permute(3, 1, 0, 2), x[::2, :, ::3], last]
        return [[F.batch_norm(v, None, None, None, None, True), F.group_norm(v, 4), F.layer_norm(v, v.shape[-1:])] for v in views]

    agree(compute, 2e-4)


@pytest.mark.parametrize("shape", [(0, 6), (3, 6, 0)], ids=str)
def test_nothing(shape: tuple[int, ...]) -> None:
    def compute(put: Any) -> list[Any]:
        x = put(np.zeros(shape), mg.float32, True)
        y = F.group_norm(x, 2)
        return [y, gradients(y, [x])]

    agree(compute)
    agree(lambda put: F.layer_norm(put(np.zeros((0, 5)), mg.float32), (5,)))


@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, 1.5, 0.5, float("inf")])
@pytest.mark.parametrize("shape", [(5, 7, 3), (40, 33, 20), (2, 3, 0), (0, 3, 2)], ids=str)
def test_cdist(shape: tuple[int, int, int], p: float) -> None:
    n, r, m = shape

    def compute(put: Any) -> list[Any]:
        a, b = put(array(2, n, m), mg.float64, True), put(array(2, r, m), mg.float64, True)
        d = mg.cdist(a, b, p, "donot_use_mm_for_euclid_dist")
        return [d, gradients(d, [a, b])]

    agree(compute, 1e-12)
