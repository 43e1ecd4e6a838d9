"""interpolate and grid_sample on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from both import agree, gradients

import minigrad as mg

F = mg.nn.functional
CASES = [
    ("nearest", (2, 3, 5), {"size": 9}),
    ("nearest-exact", (2, 3, 5, 4), {"scale_factor": 1.7}),
    ("linear", (2, 3, 5), {"size": 12, "align_corners": True}),
    ("bilinear", (2, 2, 5, 6), {"size": (3, 11)}),
    ("bilinear", (2, 2, 9, 8), {"size": (4, 3), "antialias": True}),
    ("bicubic", (1, 2, 5, 6), {"scale_factor": 2.0}),
    ("bicubic", (1, 2, 9, 8), {"size": (4, 3), "antialias": True}),
    ("trilinear", (1, 2, 3, 4, 3), {"size": (5, 3, 4)}),
]


@pytest.mark.parametrize(("mode", "shape", "options"), CASES, ids=str)
@pytest.mark.parametrize("dtype", [mg.float64, mg.float32], ids=str)
def test_interpolate(mode: str, shape: Any, options: dict[str, Any], dtype: Any) -> None:
    x = np.random.default_rng(0).standard_normal(shape)

    def compute(put: Any) -> list[mg.Tensor]:
        leaf = put(x, dtype, True)
        y = F.interpolate(leaf, mode=mode, **options)
        return [y, *gradients(y, [leaf])]

    agree(compute)


def test_low_precision_layouts_and_nothing() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 6))

    def compute(put: Any) -> list[mg.Tensor]:
        t = put(x, mg.bfloat16)
        nothing = F.interpolate(put(x[:0], mg.float32), size=(3, 3))
        return [F.interpolate(t, size=(4, 9), mode="bilinear"), F.interpolate(t.mT[..., ::2], size=(4, 9)), nothing]

    agree(compute)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("align_corners", [False, True])
def test_grid_sample(mode: str, padding: str, align_corners: bool) -> None:
    rng = np.random.default_rng(0)
    x, grid = rng.standard_normal((2, 3, 5, 4)), rng.uniform(-1.6, 1.6, (2, 6, 7, 2))
    grid[0, :3] = 1.4  # many points on one pixel
    grid[1, 0, 0] = np.nan

    def compute(put: Any) -> list[mg.Tensor]:
        leaves = [put(x, mg.float64, True), put(grid, mg.float64, True)]
        y = F.grid_sample(*leaves, mode=mode, padding_mode=padding, align_corners=align_corners)
        return [y, *gradients(y, leaves)]

    agree(compute)


def test_grid_sample_of_volumes_and_dtypes() -> None:
    rng = np.random.default_rng(0)
    x, grid = rng.standard_normal((1, 2, 3, 4, 5)), rng.uniform(-1.2, 1.2, (1, 2, 3, 4, 3))

    def compute(put: Any) -> list[mg.Tensor]:
        leaves = [put(x, mg.float32, True), put(grid, mg.float32, True)]
        y = F.grid_sample(*leaves, align_corners=False)
        half = F.grid_sample(put(x, mg.bfloat16), put(grid, mg.bfloat16), align_corners=False)
        return [y, *gradients(y, leaves), half, F.grid_sample(leaves[0][:0], leaves[1][:0], align_corners=False)]

    agree(compute)
