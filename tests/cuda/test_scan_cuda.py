"""Cumulative ops on the device: rows by tiles and by pieces, columns by stretches, NaN, ties, integers that wrap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from both import agree, gradients

import minigrad as mg

SHAPES = [(1,), (5, 6), (3, 200), (200, 3), (2, 3000), (40000,), (3, 130, 40), (0, 4), (4, 0)]


def array(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(list(shape)).standard_normal(shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_floats(shape: tuple[int, ...]) -> None:
    def compute(put: Any) -> list[Any]:
        x = put(array(shape), mg.float32)
        near = 1 + x * 1e-3
        dims = range(len(shape))
        return [[x.cumsum(d), near.cumprod(d), mg.logcumsumexp(x, d), *mg.cummax(x, d), *mg.cummin(x, d)] for d in dims]

    agree(compute, 1e-5)


@pytest.mark.parametrize("dtype", [mg.float64, mg.float16, mg.bfloat16, mg.bool, mg.uint8, mg.int16, mg.int32, mg.int64], ids=str)
def test_dtypes(dtype: Any) -> None:
    def compute(put: Any) -> list[Any]:
        x = put(array((6, 70)) * 3, dtype)
        found = [x.cumsum(1), x.cumsum(0)]
        if dtype != mg.bool:
            found += [*mg.cummax(x, 1), *mg.cummin(x.mT, 0)]
        return found if dtype.is_floating_point else [*found, (x.to(mg.int64) * 2**40).cumprod(1)]

    agree(compute)


@pytest.mark.parametrize("dim", [0, 1])
def test_nan_and_ties(dim: int) -> None:
    def compute(put: Any) -> list[Any]:
        a = np.random.default_rng(1).integers(0, 4, (300, 300)).astype(float)
        a[a == 3] = -np.inf
        a[200, 100:110] = np.nan
        x = put(a, mg.float32)
        return [x.cumsum(dim), mg.logcumsumexp(x, dim), *mg.cummax(x, dim), *mg.cummin(x, dim)]

    agree(compute, 1e-5)


def test_layouts_and_gradients() -> None:
    def compute(put: Any) -> list[Any]:
        x = put(array((6, 8, 10)), mg.float64, True)
        y = x.permute(2, 0, 1)[::2]
        outs = [y.cumsum(1), mg.logcumsumexp(y, 0), y.cumprod(2)]
        return [outs, gradients(outs, [x])]

    agree(compute, 1e-11)


def test_complex() -> None:
    def compute(put: Any) -> list[Any]:
        x = put(array((5, 70)) + 1j * array((70, 5)).T, mg.complex64)
        return [[x.cumsum(d), (1 + x * 0.01).cumprod(d), mg.logcumsumexp(x, d)] for d in (0, 1)]

    agree(compute, 1e-5)
