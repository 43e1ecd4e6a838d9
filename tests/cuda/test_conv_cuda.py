"""Convolutions and their gradients on the device: 1 to 3 dims, strides, padding, dilation, groups, layouts, dtypes, slices of long sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from both import agree, gradients

import minigrad as mg

F = mg.nn.functional
CASES = [  # input, weight, options
    ((2, 3, 9), (4, 3, 3), {}),
    ((2, 4, 9), (6, 2, 3), {"stride": 2, "padding": 1, "groups": 2}),
    ((2, 3, 8, 7), (5, 3, 3, 2), {"padding": (1, 0), "stride": (2, 1)}),
    ((3, 7, 6), (4, 3, 3, 3), {"dilation": 2, "padding": 2}),
    ((2, 6, 5, 5), (6, 1, 3, 3), {"groups": 6, "padding": 1}),
    ((1, 2, 4, 5, 4), (3, 2, 2, 3, 2), {"padding": 1, "stride": (1, 2, 1)}),
    ((1, 40, 6, 6), (36, 40, 3, 3), {"padding": 1}),
    ((6, 3, 12, 12), (5, 3, 3, 3), {}),
]


def values(*shape: int, dtype: Any = mg.float64) -> Any:
    rng = np.random.default_rng(shape)
    return rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if dtype.is_complex else 0)


@pytest.mark.parametrize(("x", "w", "options"), CASES, ids=str)
def test_forward_and_gradients(x: Any, w: Any, options: dict[str, Any]) -> None:
    def compute(put: Any) -> list[mg.Tensor]:
        leaves = [put(values(*x), mg.float64, True), put(values(*w), mg.float64, True), put(values(w[0]), mg.float64, True)]
        y = getattr(F, f"conv{len(w) - 2}d")(*leaves, **options)
        return [y, *gradients(y, leaves)]

    agree(compute)


@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((2, 3, 5), (3, 4, 3), {"stride": 2, "output_padding": 1}),
        ((2, 4, 4, 3), (4, 2, 3, 2), {"groups": 2, "stride": (2, 3), "padding": 1, "output_padding": (1, 2), "dilation": 2}),
        ((1, 2, 3, 2, 3), (2, 3, 2, 2, 2), {"stride": 2}),
    ],
    ids=str,
)
def test_transposed(x: Any, w: Any, options: dict[str, Any]) -> None:
    def compute(put: Any) -> list[mg.Tensor]:
        channels = w[1] * options.get("groups", 1)
        leaves = [put(values(*x), mg.float64, True), put(values(*w), mg.float64, True), put(values(channels), mg.float64, True)]
        y = getattr(F, f"conv_transpose{len(w) - 2}d")(*leaves, **options)
        return [y, *gradients(y, leaves)]

    agree(compute)


@pytest.mark.parametrize("dtype", [mg.float32, mg.float16, mg.bfloat16, mg.complex64, mg.complex128], ids=str)
def test_dtypes(dtype: Any) -> None:
    def compute(put: Any) -> list[mg.Tensor]:
        x, w = put(values(2, 3, 6, 6, dtype=dtype), dtype), put(values(4, 3, 3, 3, dtype=dtype), dtype)
        b = put(values(4, dtype=dtype), dtype)
        return [F.conv2d(x, w, b, padding=1), F.conv_transpose2d(F.conv2d(x, w), w)]

    agree(compute)


def test_layouts() -> None:
    def compute(put: Any) -> list[mg.Tensor]:
        x, w = put(values(2, 4, 6, 10)), put(values(5, 4, 3, 3))
        last = x.to(memory_format=mg.channels_last)
        return [F.conv2d(last, w), F.conv2d(x[:, :, :, ::2], w), F.conv2d(x.mT, w.flip(0)), F.conv_transpose2d(last, w.transpose(0, 1))]

    agree(compute)


def test_nothing_to_do() -> None:
    def compute(put: Any) -> list[mg.Tensor]:
        leaves = [put(np.zeros((0, 3, 6, 6)), mg.float64, True), put(values(4, 3, 3, 3), mg.float64, True)]
        y = F.conv2d(*leaves)
        return [y, *gradients(y, leaves)]

    agree(compute)
