"""Pooling and its gradients on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from both import agree, gradients

import minigrad as mg

F = mg.nn.functional
CASES = [
    ("max_pool1d", (2, 3, 9), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("max_pool2d", (2, 3, 7, 6), {"kernel_size": (3, 2), "dilation": (2, 1), "ceil_mode": True}),
    ("max_pool3d", (2, 4, 5, 6), {"kernel_size": 2, "stride": 1}),
    ("avg_pool1d", (2, 3, 9), {"kernel_size": 4, "padding": 2}),
    ("avg_pool2d", (2, 3, 7, 6), {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False, "ceil_mode": True}),
    ("avg_pool2d", (2, 3, 7, 6), {"kernel_size": 3, "stride": 1, "divisor_override": 5}),
    ("avg_pool3d", (1, 2, 4, 5, 4), {"kernel_size": (2, 3, 2), "stride": (1, 2, 2), "padding": 1}),
    ("adaptive_avg_pool2d", (2, 3, 7, 5), {"output_size": (3, 4)}),
    ("adaptive_avg_pool3d", (2, 3, 4, 5), {"output_size": (5, 2, 3)}),
    ("adaptive_max_pool2d", (2, 3, 7, 5), {"output_size": (3, 2)}),
    ("adaptive_max_pool1d", (2, 3, 7), {"output_size": 9}),
]


@pytest.mark.parametrize(("name", "shape", "options"), CASES, ids=str)
def test_forward_and_gradient(name: str, shape: Any, options: dict[str, Any]) -> None:
    x = np.random.default_rng(0).integers(-9, 9, shape) / 4  # ties

    def compute(put: Any) -> list[mg.Tensor]:
        leaf = put(x, mg.float64, True)
        extra = {"return_indices": True} if "max" in name else {}
        y = getattr(F, name)(leaf, **options, **extra)
        return [y, gradients(y, [leaf])]

    agree(compute)


@pytest.mark.parametrize("dtype", [mg.float32, mg.float16, mg.bfloat16], ids=str)
def test_low_precision(dtype: Any) -> None:
    x = np.random.default_rng(0).standard_normal((2, 2, 8, 8))

    def compute(put: Any) -> list[mg.Tensor]:
        leaf = put(x, dtype, True)
        ys = [F.max_pool2d(leaf, 3, 1), F.avg_pool2d(leaf, 3, 2), F.adaptive_avg_pool2d(leaf, 3)]
        return [ys, gradients(ys, [leaf])]

    agree(compute)


def test_nan_and_layouts() -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 6))
    x[0, 0, 2, 2] = x[0, 0, 2, 3] = np.nan
    x[1, 1] = -np.inf

    def compute(put: Any) -> list[Any]:
        t = put(x, mg.float32)
        last = t.to(memory_format=mg.channels_last)
        strided = [F.max_pool2d(t.mT, 2), F.avg_pool2d(t[..., ::2], 2)]
        return [F.max_pool2d(t, 2, return_indices=True), F.max_pool2d(last, 3, 2), F.avg_pool2d(last, 3, 2), *strided]

    agree(compute)


def test_integers_and_nothing() -> None:
    x = np.random.default_rng(0).integers(-50, 50, (2, 3, 6, 6))

    def compute(put: Any) -> list[mg.Tensor]:
        t = put(x)
        return [F.avg_pool2d(t, 3), F.max_pool2d(t.to(mg.int32), 2), F.max_pool2d(t[:0].float(), 2), F.avg_pool2d(t[:0].float(), 2)]

    agree(compute)


def test_fractional() -> None:
    x, samples = np.random.default_rng(0).standard_normal((2, 3, 9, 8)), np.random.default_rng(1).random((2, 3, 2))

    def compute(put: Any) -> list[Any]:
        leaf = put(x, mg.float64, True)
        pair = F.fractional_max_pool2d(leaf, 2, output_size=(4, 5), return_indices=True, _random_samples=put(samples))
        return [pair, gradients(pair[0], [leaf])]

    agree(compute)


def test_an_index_outside_of_its_plane_is_named() -> None:
    grad, indices = mg.ones(1, 1, 2, device="cuda"), mg.tensor([[[0, 9]]]).to("cuda")
    with pytest.raises(IndexError, match="9"):
        mg.op.functions["_pool_scatter"](grad, indices, (4,)).cpu()
