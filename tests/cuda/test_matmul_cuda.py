"""Matrix products on the device: every way of gemm.h (direct, small, middle and large tiles, slices), dtypes, layouts, batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from both import agree

import minigrad as mg

FLOATS = [mg.float32, mg.float64, mg.float16, mg.bfloat16]
INTS = [mg.uint8, mg.int8, mg.int16, mg.int32, mg.int64]
COMPLEX = [mg.complex64, mg.complex128]


def array(*shape: int, dtype: Any = mg.float32, seed: int = 0) -> Any:
    rng = np.random.default_rng([seed, *shape])
    if not (dtype.is_floating_point or dtype.is_complex):
        return rng.integers(0, 100, shape)
    return rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if dtype.is_complex else 0)


@pytest.mark.parametrize("dtype", FLOATS + INTS + COMPLEX, ids=str)
@pytest.mark.parametrize("sizes", [(3, 5, 7), (33, 40, 65), (70, 20, 17), (5, 600, 3)], ids=str)
def test_dtypes(dtype: Any, sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    agree(lambda put: put(array(m, k, dtype=dtype), dtype) @ put(array(k, n, dtype=dtype), dtype))


@pytest.mark.parametrize("sizes", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 2000, 1), (20, 1000, 20), (1, 9, 300), (300, 3, 1)], ids=str)
def test_extreme_shapes(sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    agree(lambda put: put(array(m, k), mg.float32) @ put(array(k, n), mg.float32), 1e-5)


@pytest.mark.parametrize("dtype", [mg.float32, mg.float64, mg.bfloat16, mg.int32, mg.uint8, mg.complex64], ids=str)
@pytest.mark.parametrize("sizes", [(9, 40), (37, 300), (3, 9000), (1, 20000), (70, 1500)], ids=str)
def test_vectors(sizes: tuple[int, int], dtype: Any) -> None:
    """Every way of gemv.h: across and down, by warps, blocks and slices."""

    def compute(put: Any) -> list[mg.Tensor]:
        a, x = put(array(*sizes, dtype=dtype), dtype), put(array(sizes[1], dtype=dtype), dtype)
        down = put(array(*sizes[::-1], dtype=dtype), dtype)
        return [a @ x, down.mT @ x, x @ down, x @ a.mT, a @ x.flip(0), x[::2] @ down[::2, ::3], a[:, 1::2] @ x[1::2], x.dot(x.flip(0))]

    agree(compute, {mg.float32: 1e-5, mg.complex64: 1e-5}.get(dtype))


def test_vectors_in_batches_and_sums() -> None:
    def compute(put: Any) -> list[mg.Tensor]:
        cube, rows, w = put(array(3, 11, 90), mg.float32), put(array(3, 1, 90), mg.float32), put(array(40, 90), mg.float32)
        bias, y = put(array(40), mg.float32), put(array(11), mg.float32)
        return [
            cube @ rows.mT,
            rows @ cube.mT,
            mg.nn.functional.linear(rows[0], w, bias),
            mg.addmv(y, cube[1], rows[2, 0], beta=-0.5, alpha=3.0),
            mg.baddbmm(put(array(3, 1, 11), mg.float32), rows, cube.mT, beta=2.0),
            mg.addmm(y[:, None], cube[0], rows[1].mT)[:, 0],
        ]

    agree(compute, 1e-5)


def test_the_large_tile() -> None:
    agree(lambda put: put(array(64, 129, 3), mg.float32) @ put(array(3, 20), mg.float32))  # middle tiles
    agree(lambda put: put(array(1, 33, 9), mg.float32) @ put(array(130, 9, 34), mg.float32))  # a large tile each


def test_layouts() -> None:
    def compute(put: Any) -> list[mg.Tensor]:
        a, b = put(array(9, 20), mg.float32), put(array(9, 33), mg.float32)
        wide = put(array(18, 66), mg.float32)
        return [a.mT @ b, a.mT @ wide[::2, ::2], wide.mT[::3, ::2] @ b, wide[3:12].mT @ wide[:9], a @ a.mT, a.flip(1) @ a.mT]

    agree(compute)


def test_batches() -> None:
    def compute(put: Any) -> list[mg.Tensor]:
        x, y = put(array(2, 1, 3, 4, 5), mg.float64), put(array(6, 1, 5, 7), mg.float64)
        v = put(array(5), mg.float64)
        cube = put(array(3, 4, 5), mg.float64)
        return [x @ y, x @ v, v @ y, cube.permute(2, 0, 1) @ cube.permute(2, 1, 0), cube[:, :0] @ cube.mT, mg.bmm(cube, cube.mT), v @ v]

    agree(compute)


@pytest.mark.parametrize("dtype", [mg.float32, mg.bfloat16, mg.int32, mg.complex64], ids=str)
def test_addends(dtype: Any) -> None:
    def compute(put: Any) -> list[mg.Tensor]:
        a, b = put(array(6, 8, dtype=dtype), dtype), put(array(8, 40, dtype=dtype), dtype)
        full, row, column = (put(array(*s, dtype=dtype), dtype) for s in ((6, 40), (40,), (6, 1)))
        batch = put(array(3, 6, 8, dtype=dtype), dtype)
        kwargs = {"beta": 2, "alpha": 3}
        inplace = full.clone()
        inplace.addmm_(a, b, **kwargs)
        out = put(np.zeros((40, 6)), dtype).mT
        mg.addmm(full, a, b, out=out)
        return [
            mg.addmm(full, a, b, **kwargs),
            mg.addmm(row, a, b, **kwargs),
            mg.addmm(column, a, b),
            mg.addmv(column[:, 0], a, b[:, 0], **kwargs),
            mg.baddbmm(column, batch, b.expand(3, 8, 40), **kwargs),
            inplace,
            out,
        ]

    agree(compute)


def test_beta_zero_ignores_nan() -> None:
    def compute(put: Any) -> mg.Tensor:
        return mg.addmm(put(np.full((2, 2), np.nan)), put(array(2, 3)), put(array(3, 2)), beta=0)

    agree(compute)


def test_out_may_be_a_factor() -> None:
    def compute(put: Any) -> mg.Tensor:
        a = put(array(5, 5), mg.float32)
        mg.mm(a, a.mT, out=a)
        return a

    agree(compute)


def test_linear() -> None:
    def compute(put: Any) -> list[mg.Tensor]:
        x, w, b = put(array(2, 3, 8), mg.float32, True), put(array(5, 8), mg.float32, True), put(array(5), mg.float32, True)
        y = mg.nn.functional.linear(x, w, b)
        return [y, mg.nn.functional.linear(x, w), mg.nn.functional.linear(x[0, 0], w, b), mg.nn.functional.linear(x, w[0])]

    agree(compute)


def test_bytes_with_sums_of_32_bits() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-128, 128, (17, 33)), rng.integers(-128, 128, (33, 18))
    agree(lambda put: mg._int_mm(put(a, mg.int8), put(b, mg.int8)))


def test_specials_pass_through() -> None:
    a = np.eye(4)
    a[1, 2], a[2, 2], a[3, 0] = np.nan, np.inf, -np.inf
    agree(lambda put: put(a) @ put(np.arange(16.0).reshape(4, 4)))
