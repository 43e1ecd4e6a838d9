"""Sorting and order statistics on the device: equal bits with the CPU, in values and in positions (all algorithms are stable)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from both import agree

import minigrad as mg

DTYPES = [mg.float32, mg.float64, mg.float16, mg.bfloat16, mg.bool, mg.uint8, mg.int8, mg.int16, mg.int32, mg.int64]
SHAPES = [(1,), (2,), (6, 5), (3, 700), (700, 3), (2, 3, 50), (5000,), (2, 4099)]


def array(shape: tuple[int, ...], dtype: Any) -> Any:
    rng = np.random.default_rng(list(shape))
    if dtype.is_floating_point:
        a = np.round(rng.standard_normal(shape) * 8) / 4  # many ties
        flat = a.reshape(-1)
        flat[:: max(flat.size // 5, 1)] = [np.nan, -0.0, 0.0, np.inf, -np.inf, np.nan][: len(flat[:: max(flat.size // 5, 1)])]
        return a
    low = {mg.bool: 0, mg.uint8: 0}.get(dtype, -100)
    return rng.integers(low, 2 if dtype == mg.bool else 100, shape)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sort(shape: tuple[int, ...], dtype: Any) -> None:
    if dtype not in (mg.float32, mg.int64) and np.prod(shape) > 3000:
        pytest.skip("long rows in two dtypes: one of each key width")

    def compute(put: Any) -> list[Any]:
        x = put(array(shape, dtype), dtype)
        return [mg.sort(x, d, descending=down) for d in range(len(shape)) for down in (False, True)]

    agree(compute, 0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1,), (6, 5), (3, 700), (5000,)], ids=str)
def test_order_statistics(shape: tuple[int, ...], dtype: Any) -> None:
    if dtype not in (mg.float32, mg.int64) and np.prod(shape) > 3000:
        pytest.skip("long rows in two dtypes: one of each key width")

    def compute(put: Any) -> list[Any]:
        x = put(array(shape, dtype), dtype)
        n = shape[-1]
        found = [[mg.topk(x, k, -1, largest=big) for k in {0, 1, min(3, n), n // 2, n} for big in (True, False)]]
        if dtype == mg.bool:
            return found
        found.append([mg.kthvalue(x, k, -1) for k in {1, (n + 1) // 2, n}])
        found.append([[mg.median(x, d), mg.mode(x, d)] for d in range(len(shape))])
        return [*found, [mg.nanmedian(x, d) for d in range(len(shape))]] if dtype.is_floating_point else found

    agree(compute, 0)


def test_integers_at_their_ends() -> None:
    def compute(put: Any) -> list[Any]:
        small = put(np.array([2**31 - 1, -(2**31), 0, 2**31 - 1, -1]), mg.int32)
        large = put(np.array([2**63 - 1, -(2**63), 0, 2**63 - 1, -1]), mg.int64)
        return [[mg.sort(x, 0), mg.median(x, 0), mg.mode(x, 0), mg.topk(x, 2)] for x in (small, large)]

    agree(compute, 0)


def test_layouts_and_nothing() -> None:
    def compute(put: Any) -> list[Any]:
        x = put(array((6, 8, 10), mg.float32), mg.float32)
        y = x.permute(2, 0, 1)[::2]
        empty = put(np.zeros((0, 3)), mg.float32)
        return [mg.sort(y, 1), mg.topk(y, 2, 0), mg.median(y, 2), mg.sort(empty, 0), mg.sort(empty, 1), mg.topk(empty, 2, 1)]

    agree(compute, 0)


@pytest.mark.parametrize("dtype", [mg.float32, mg.float64, mg.int32], ids=str)
@pytest.mark.parametrize("right", [False, True])
def test_searchsorted(dtype: Any, right: bool) -> None:
    def compute(put: Any) -> list[Any]:
        keys = np.sort(np.random.default_rng(0).integers(-20, 20, (4, 50)), axis=-1)
        values = np.random.default_rng(1).integers(-25, 25, (4, 30))
        k, v = put(keys, dtype), put(values, dtype)
        shuffled = np.random.default_rng(2).permutation(50)
        sorter = put(np.argsort(keys[0][shuffled]), mg.int64)
        one = put(keys[0][shuffled], dtype)
        return [
            mg.searchsorted(k, v, right=right),
            mg.searchsorted(k[0], v, right=right, out_int32=True),
            mg.searchsorted(one, v, right=right, sorter=sorter),
            mg.bucketize(v, k[1], right=right),
        ]

    agree(compute, 0)
