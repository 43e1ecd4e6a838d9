"""Matrix products on every path of csrc/cpu/gemm.cpp, seen from Python: layouts, dtypes, low precision, int8, threads.

The C++ side (epilogues, guards around C, all instruction sets) is tests/cpp/test_gemm.cpp.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import minigrad as mg

SHAPES = [
    (1, 300, 700), (300, 1, 700), (2, 65, 33), (4, 257, 129), (7, 513, 400), (8, 48, 320), (9, 700, 641), (33, 515, 330),
    (64, 128, 784), (129, 47, 77), (128, 129, 130), (200, 65, 64), (200, 193, 321), (260, 401, 650),
    (128, 784, 64), (110, 500, 40),  # as a weight's gradient: rows for each thread, B in place
]  # fmt: skip
EPS = {mg.float32: 2.0**-23, mg.float64: 2.0**-52, mg.float16: 2.0**-10, mg.bfloat16: 2.0**-7}


def matrix(rng: np.random.Generator, rows: int, columns: int, layout: str) -> mg.Tensor:
    """A random matrix whose memory lies as `layout` says."""
    if layout == "transposed":
        return mg.from_numpy(rng.standard_normal((columns, rows))).mT
    if layout == "padded":
        return mg.from_numpy(rng.standard_normal((rows, columns + 3)))[:, 1 : columns + 1]
    if layout == "step":
        return mg.from_numpy(rng.standard_normal((rows, 2 * columns)))[:, ::2]
    return mg.from_numpy(rng.standard_normal((rows, columns)))


def assert_close(got: mg.Tensor, a: mg.Tensor, b: mg.Tensor) -> None:
    """Against float64, by the size of the sums: rounding of the sums in float32, of low precision once at the end."""
    x, y = a.double().numpy(), b.double().numpy()
    size = np.abs(x) @ np.abs(y)
    sums = EPS[mg.float64 if got.dtype == mg.float64 else mg.float32]
    want = x @ y
    error = np.abs(got.double().numpy() - want)
    assert (error <= 4 * sums * size + 0.51 * EPS[got.dtype] * np.abs(want) + 1e-30).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("layouts", ["rows rows", "rows transposed", "transposed rows", "padded step", "step padded"])
def test_against_float64(dtype: str, layouts: str) -> None:
    rng = np.random.default_rng(1)
    for m, n, k in SHAPES:
        left, right = layouts.split()
        a, b = matrix(rng, m, k, left), matrix(rng, k, n, right)
        kind = getattr(mg, dtype)
        # keep the strides while changing the dtype
        a, b = (mg.empty_strided(x.shape, x.stride(), dtype=kind).copy_(x) for x in (a, b))
        assert_close(a @ b, a, b)


@pytest.mark.parametrize("m, n, k", [(198, 330, 198), (209, 209, 313), (256, 256, 256), (100, 100, 2000), (3, 200, 250), (1, 500, 250)])
def test_error_is_no_worse_than_pytorchs(m: int, n: int, k: int) -> None:
    torch = pytest.importorskip("torch")
    errors = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        a, b = (rng.standard_normal(shape).astype("float32") for shape in ((m, k), (k, n)))
        exact = a.astype("float64") @ b
        chain = np.zeros((m, n), "float32")
        for i in range(k):  # a float64 holds the product of two floats, so that this rounds once a term
            chain = (chain + a[:, i, None].astype("float64") * b[i]).astype("float32")
        errors.append([np.linalg.norm(y - exact) for y in (*((x.tensor(a) @ x.tensor(b)).numpy() for x in (mg, torch)), chain)])
    ours, theirs, chained = np.median(errors, axis=0)
    # How many partial sums PyTorch's product of a vector has is up to the processor's vendor; ours is one chain of fused multiply-adds.
    assert ours <= 1.1 * theirs or (m == 1 and ours <= 1.02 * chained)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int8"])
def test_same_bits_for_any_number_of_threads(dtype: str) -> None:
    rng = np.random.default_rng(2)
    threads = mg.get_num_threads()
    try:
        for m, n, k in [*SHAPES, (520, 300, 700)]:
            for form in ("NN", "NT", "TN"):
                a, b = (mg.from_numpy(rng.standard_normal(s) * 50).to(getattr(mg, dtype)) for s in ((m, k), (k, n)))
                a = a.mT.contiguous().mT if form == "TN" else a
                b = b.mT.contiguous().mT if form == "NT" else b
                results = []
                for count in (1, 2, 3):
                    mg.set_num_threads(count)
                    results.append(a @ b)
                assert all((r == results[0]).all() for r in results[1:]), (m, n, k, form)
    finally:
        mg.set_num_threads(threads)


@pytest.mark.parametrize("left", ["int8", "uint8"])
def test_int_mm_is_exact(left: str) -> None:
    rng = np.random.default_rng(3)
    for m, n, k in [*SHAPES, (0, 4, 5), (4, 0, 5), (4, 5, 0), (1, 1, 1), (65, 64, 4096)]:
        a = rng.integers(0, 256, (m, k), dtype=np.uint8) if left == "uint8" else rng.integers(-128, 128, (m, k), dtype=np.int8)
        b = rng.integers(-128, 128, (k, n), dtype=np.int8)
        want = a.astype(np.int64) @ b.astype(np.int64)
        ours = mg._int_mm(mg.from_numpy(a), mg.from_numpy(b))
        assert ours.dtype == mg.int32 and (ours.numpy() == want).all()
        turned = mg._int_mm(mg.from_numpy(a), mg.from_numpy(np.ascontiguousarray(b.T)).mT)
        assert (turned.numpy() == want).all()
    extreme = mg.full((40, 3000), -128, dtype=mg.int8)
    assert (mg._int_mm(extreme, extreme.mT) == 128 * 128 * 3000).all()


def test_int_mm_refuses() -> None:
    a, b = mg.ones(2, 3, dtype=mg.int8), mg.ones(3, 2, dtype=mg.int8)
    for left, right in ((a, b.int()), (a.float(), b.float()), (a, b.byte()), (a, a), (a[0], b), (a, b[None])):
        with pytest.raises(RuntimeError):
            mg._int_mm(left, right)


def test_int8_matmul_wraps_as_bytes() -> None:
    rng = np.random.default_rng(4)
    for m, n, k in SHAPES:
        a, b = rng.integers(-128, 128, (m, k), dtype=np.int8), rng.integers(-128, 128, (k, n), dtype=np.int8)
        want = (a.astype(np.int64) @ b.astype(np.int64)).astype(np.int8)
        assert ((mg.from_numpy(a) @ mg.from_numpy(b)).numpy() == want).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_nan_and_inf_reach_only_their_rows_and_columns(dtype: str) -> None:
    kind = getattr(mg, dtype)
    for m, n, k in [(3, 70, 40), (20, 70, 40), (150, 70, 400), (8, 100, 400), (40, 100, 400)]:
        a, b = mg.ones(m, k, dtype=kind), mg.ones(k, n, dtype=kind)
        a[m - 1, k - 1] = float("nan")
        b[k - 1, n - 1] = float("inf")
        c = (a @ b).float()
        assert c[m - 1].isnan().all() and (c[: m - 1, : n - 1] == (mg.tensor(float(k)).to(kind)).float()).all()
        assert c[: m - 1, n - 1].isinf().all()


@pytest.mark.parametrize("isa", ["avx512", "avx2", "portable"])
def test_low_precision_of_every_instruction_set(isa: str) -> None:
    """MINIGRAD_ISA also switches the bfloat16 and int8 instructions off: conversion while packing is tested on every machine."""
    script = (
        "import minigrad as mg; mg.manual_seed(0)\n"
        "for m, n, k in ((5, 40, 33), (70, 130, 700), (200, 100, 90)):\n"
        "    for dtype in (mg.bfloat16, mg.float16):\n"
        "        a, b = mg.randn(m, k).to(dtype), mg.randn(n, k).to(dtype)\n"
        "        want = a.double() @ b.double().mT\n"
        "        assert ((a @ b.mT).double() - want).abs().max() < 2e-2 * want.abs().max()\n"
        "    a, b = mg.randint(-128, 128, (m, k), dtype=mg.int8), mg.randint(-128, 128, (k, n), dtype=mg.int8)\n"
        "    assert (mg._int_mm(a, b) == a.int() @ b.int()).all()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ | {"MINIGRAD_ISA": isa}, timeout=120)


def test_every_number_of_the_tuning_table_gives_the_product() -> None:
    """Whatever the table says, only speed and last bits may change."""
    tuning = mg._core.gemm_tuning()
    rng = np.random.default_rng(3)
    try:
        for name, value in tuning.items():
            for other in (max(1, value // 3), 3 * value):
                mg._core.set_gemm_tuning(name, other)
                for layout in ("rows", "transposed"):
                    for m, n, k in ((3, 70, 257), (64, 48, 300), (200, 60, 130)):
                        a, b = (matrix(rng, r, c, x).float() for r, c, x in ((m, k, "rows"), (k, n, layout)))
                        assert_close(a @ b, a, b)
            mg._core.set_gemm_tuning(name, value)
        assert mg._core.gemm_tuning() == tuning
        with pytest.raises(ValueError):
            mg._core.set_gemm_tuning("block_k", 0)
        with pytest.raises(ValueError):
            mg._core.set_gemm_tuning("no such number", 1)
    finally:
        for name, value in tuning.items():
            mg._core.set_gemm_tuning(name, value)
