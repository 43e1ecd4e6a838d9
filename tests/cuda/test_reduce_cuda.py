"""Reductions on the device: every way of reduce_plan.h (a thread, a warp, a block per output, cut lines), dims, layouts, dtypes, NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from both import agree, gradients

import minigrad as mg

FLOATS = [mg.float32, mg.float64, mg.float16, mg.bfloat16]
INTS = [mg.bool, mg.uint8, mg.int8, mg.int16, mg.int32, mg.int64]
# Short lines, warps, blocks, cut rows; columns, cut columns; both mixed.
SHAPES = [(7,), (5, 6), (40, 300), (300, 40), (3, 5000), (70000,), (4000, 3), (4, 50, 6, 7)]


def array(shape: tuple[int, ...], dtype: Any = mg.float32) -> Any:
    rng = np.random.default_rng(list(shape))
    return rng.standard_normal(shape) if dtype.is_floating_point else rng.integers(0, 2 if dtype == mg.bool else 50, shape)


def dims_of(shape: tuple[int, ...]) -> list[Any]:
    some = [None, *range(len(shape))]
    return some + [(0, 2), (1, 3), (0, 1, 3)] if len(shape) == 4 else some


def each_dim(x: mg.Tensor, f: Any) -> list[mg.Tensor]:
    return [f(x, dim) for dim in dims_of(tuple(x.shape))]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_floats(shape: tuple[int, ...]) -> None:
    def compute(put: Any) -> list[Any]:
        x = put(array(shape), mg.float32)
        return [
            each_dim(x, lambda x, dim: x.sum(dim)),
            each_dim(x, lambda x, dim: x.mean(dim, keepdim=True)),
            each_dim(x, lambda x, dim: mg.amax(x, dim if dim is not None else ())),
            each_dim(x, lambda x, dim: mg.var(x, dim)),
            each_dim(x, lambda x, dim: mg.std(x, dim, correction=0)),
            each_dim(x, lambda x, dim: mg.logsumexp(x, dim if dim is not None else tuple(range(x.dim())))),
            [mg.linalg.vector_norm(x, p, dim) for p in (0, 1, 2, 3, float("inf"), -float("inf")) for dim in dims_of(shape)],
        ]

    agree(compute, 1e-5)


@pytest.mark.parametrize("dtype", FLOATS + INTS, ids=str)
@pytest.mark.parametrize("shape", [(5, 6), (9, 70), (3000,), (130, 20)], ids=str)
def test_dtypes(dtype: Any, shape: tuple[int, ...]) -> None:
    def compute(put: Any) -> list[Any]:
        x = put(array(shape, dtype), dtype)
        small = put(array(shape, dtype) % 3, dtype)
        found = [each_dim(x, lambda x, dim: x.sum(dim) if dim is not None else x.sum())]
        found.append([small[..., :4].prod(-1), x.any(), x.all(-1), mg.count_nonzero(x, 0), mg.amin(x, 0), mg.amax(x, -1)])
        if dtype != mg.bool:
            found.append([mg.argmax(x), mg.argmin(x, 0), *mg.max(x, -1), *mg.min(x, 0)])
        return found

    agree(compute, None if dtype not in (mg.float16, mg.bfloat16) else 2e-2)


@pytest.mark.parametrize("shape", [(9, 70), (200, 33), (5, 3000), (40000,)], ids=str)
def test_nan(shape: tuple[int, ...]) -> None:
    def compute(put: Any) -> list[Any]:
        a = np.asarray(array(shape))
        a.reshape(-1)[[3, 11, -5]] = [np.nan, np.inf, np.nan]
        x = put(a, mg.float32)
        return [[mg.nansum(x, d), mg.amax(x, d), mg.argmax(x, d), mg.argmin(x, d), mg.logsumexp(x, d), mg.var(x, d)] for d in (0, -1)]

    agree(compute, 1e-5)


def test_infinite_rows() -> None:
    def compute(put: Any) -> list[Any]:
        x = put(np.full((4, 900), -np.inf), mg.float32)
        return [mg.logsumexp(x, 1), mg.logsumexp(x, 0), mg.logsumexp(-x, 1), mg.amax(x, 1), mg.argmax(x, 1)]

    agree(compute)


def test_ties_go_to_the_first() -> None:
    def compute(put: Any) -> list[Any]:
        x = put(np.arange(60000).reshape(6, 10000) % 7, mg.int32)
        return [mg.argmax(x), mg.argmax(x, 1), mg.argmin(x, 0), mg.max(x.mT, 0).indices, mg.argmax(x.mT)]

    agree(compute)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)], ids=str)
def test_nothing(shape: tuple[int, ...]) -> None:
    def compute(put: Any) -> list[Any]:
        x = put(np.zeros(shape), mg.float32)
        found = [each_dim(x, lambda x, dim: x.sum(dim)), each_dim(x, lambda x, dim: x.mean(dim)), x.prod(), x.any(), x.all()]
        return [*found, each_dim(x, lambda x, dim: mg.var(x, dim)), each_dim(x, lambda x, dim: mg.count_nonzero(x, dim))]

    agree(compute)


def test_layouts() -> None:
    def compute(put: Any) -> list[Any]:
        x = put(array((6, 8, 10, 12)), mg.float32)
        views = [x.permute(3, 1, 0, 2), x[::2, 1:, ::3], x[:, :1].expand(6, 5, 10, 12), x.contiguous(memory_format=mg.channels_last)]
        return [[v.sum((0, 2, 3)), v.sum(1), v.mean((1, 2)), mg.var(v, (0, 3)), mg.argmax(v), mg.argmax(v, 2), v.sum()] for v in views]

    agree(compute, 1e-5)


def test_out_and_dtype() -> None:
    def compute(put: Any) -> list[Any]:
        x = put(array((20, 30)), mg.float32)
        room = mg.zeros(40, device=x.device)[::2]
        mg.sum(x, 1, out=room)
        return [x.sum(1, dtype=mg.float64), x.to(mg.float16).sum(0, dtype=mg.float32), x.to(mg.int32).sum(dtype=mg.float32), room]

    agree(compute, 1e-5)


def test_gradients() -> None:
    def compute(put: Any) -> list[Any]:
        x = put(array((7, 40)), mg.float64, True)
        return gradients([x.sum(1), x.mean(0), mg.var(x, 1), mg.logsumexp(x, 0), mg.linalg.vector_norm(x, 2, 1)], [x])

    agree(compute, 1e-12)


@pytest.mark.parametrize("shape", [(5, 6), (3, 700), (9000,)], ids=str)
def test_complex(shape: tuple[int, ...]) -> None:
    def compute(put: Any) -> list[Any]:
        a = array(shape) + 1j * array((*shape[:-1], shape[-1] + 1))[..., 1:]
        x = put(a, mg.complex64)
        found = [[x.sum(d), x.mean(d), mg.var(x, d), mg.std(x, d), mg.logsumexp(x, d), mg.linalg.vector_norm(x, 2, d)] for d in (0, -1)]
        return [*found, x[..., :4].prod(-1), x.any(0), x.all(), mg.count_nonzero(x, -1)]

    agree(compute, 1e-5)


def test_variance_far_from_zero() -> None:
    a = np.random.default_rng(0).standard_normal((3, 20000)) + 1000

    def compute(put: Any) -> list[Any]:
        x = put(a, mg.float32)
        return [mg.var(x, 1), mg.var(x.mT.contiguous(), 0)]

    agree(compute, 1e-5)
