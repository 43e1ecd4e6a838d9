"""Run by test_cublas_lt.py with MINIGRAD_CUBLASLT=<the fake library>: products, each followed by what the recorded call means.

A record names addresses, column-major layouts and flags. `meaning` turns it into what cuBLASLt would have written, from the operands'
memory alone; that must be the product.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg

Floats = {0: (mg.float32, 4), 1: (mg.float64, 8), 2: (mg.float16, 2), 14: (mg.bfloat16, 2)}


class Layout(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("batch", ctypes.c_int32), ("rows", ctypes.c_uint64), ("cols", ctypes.c_uint64),
                ("ld", ctypes.c_int64), ("offset", ctypes.c_int64)]  # fmt: skip


class Desc(ctypes.Structure):
    _fields_ = [*[(n, ctypes.c_int32) for n in ("compute", "scale", "trans_a", "trans_b", "epilogue", "bias_type")],
                ("bias", ctypes.c_void_p)]  # fmt: skip


class Call(ctypes.Structure):
    _fields_ = [("desc", Desc), *[(n, Layout) for n in "abcd"], *[(f"p{n}", ctypes.c_void_p) for n in "abcd"], ("alpha", ctypes.c_double),
                ("beta", ctypes.c_double), ("workspace", ctypes.c_uint64), ("alignment", ctypes.c_uint32 * 4)]  # fmt: skip


FAKE = ctypes.CDLL(sys.argv[1])
CALLS = (Call * 64).in_dll(FAKE, "fake_calls")
COUNT, STATUS, PLANS, COMPLAINTS = (ctypes.c_int.in_dll(FAKE, f"fake_{n}") for n in ("count", "status", "plans", "complaints"))


class Memory:
    """The operands' allocations, by address, as flat arrays of double."""

    def __init__(self, bases: list[mg.Tensor]):
        self.parts = [(b.data_ptr(), b.numel() * b.element_size(), b.detach().cpu().to(mg.float64).numpy().reshape(-1)) for b in bases]

    def matrices(self, address: int, layout: Layout) -> np.ndarray:
        """(batch, rows, cols) as the layout says."""
        item = Floats[layout.type][1]
        for start, size, values in self.parts:
            if start <= address < start + size:
                flat = values[(address - start) // item :]
                shape, strides = (layout.batch, layout.rows, layout.cols), (layout.offset, 1, layout.ld)
                last = sum((n - 1) * s for n, s in zip(shape, strides))
                assert last < flat.size, "the layout reaches beyond the operand's memory"
                return np.lib.stride_tricks.as_strided(flat, shape, [8 * s for s in strides])
        raise AssertionError("an address of no operand")


def meaning(call: Call, memory: Memory, out: mg.Tensor) -> np.ndarray:
    """What the call writes to `out`'s memory, seen as `out`."""
    for layout, address, alignment in zip((call.a, call.b, call.c, call.d), (call.pa, call.pb, call.pc, call.pd), call.alignment):
        distances = [layout.ld, layout.offset if layout.batch > 1 else 0]
        assert all(n % alignment == 0 for n in (address, *(d * Floats[layout.type][1] for d in distances))), "less aligned than promised"
    a, b = memory.matrices(call.pa, call.a), memory.matrices(call.pb, call.b)
    a, b = (a.swapaxes(1, 2) if call.desc.trans_a else a), (b.swapaxes(1, 2) if call.desc.trans_b else b)
    result = call.alpha * (a @ b)
    if call.beta != 0:
        result = result + call.beta * memory.matrices(call.pc, call.c)
    if call.desc.epilogue == 4:
        row = Layout(call.desc.bias_type, 1, call.d.rows, 1, call.d.rows, 0)
        result = result + memory.matrices(call.desc.bias, row)
    assert call.pd == out.data_ptr()
    flat = np.full(call.d.batch * max(call.d.offset, call.d.ld * call.d.cols), np.nan)
    strides = [8 * s for s in (call.d.offset, 1, call.d.ld)]
    np.lib.stride_tricks.as_strided(flat, (call.d.batch, call.d.rows, call.d.cols), strides)[...] = result
    return np.lib.stride_tricks.as_strided(flat, tuple(out.shape), [8 * s for s in out.stride()])


def check(what: str, bases: list[mg.Tensor], compute: Callable[..., mg.Tensor], expect_call: bool = True) -> Any:
    """One product on the device and on the CPU."""
    before = COUNT.value
    out = compute(*[b.to("cuda") for b in bases]) if not expect_call else None
    if expect_call:
        there = [b.to("cuda") for b in bases]
        memory = Memory(there)
        out = compute(*there)
    assert COUNT.value == before + expect_call, f"{what}: {COUNT.value - before} calls"
    expected = compute(*[b.to(mg.float64) for b in bases]).numpy()
    found = meaning(CALLS[before % 64], memory, out) if expect_call else out.cpu().to(mg.float64).numpy()
    tolerance = {mg.float64: 1e-12, mg.float32: 1e-4}.get(out.dtype, 3e-2 if not expect_call else 1e-6)
    worst = np.abs(found - expected).max() / np.abs(expected).max()
    assert worst < tolerance, f"{what}: {worst:.1e} apart"
    assert COMPLAINTS.value == 0, f"{what}: the library was called wrongly"
    return CALLS[before % 64]


def normal(*shape: int, dtype: Any = mg.float32) -> mg.Tensor:
    return mg.randn(*shape).to(dtype)


def products() -> None:
    """Forms, layouts and dtypes."""
    for dtype in (mg.float32, mg.float64, mg.float16, mg.bfloat16):
        call = check(f"mm {dtype}", [normal(80, 96, dtype=dtype), normal(96, 112, dtype=dtype)], lambda a, b: a @ b)
        assert Floats[call.d.type][0] is dtype and (call.desc.compute, call.desc.scale) == ((70, 1) if dtype == mg.float64 else (68, 0))
        assert call.workspace == 4096 and list(call.alignment) == [16] * 4
    check("transposed a", [normal(96, 80), normal(96, 112)], lambda a, b: a.t() @ b)
    check("transposed b", [normal(80, 96), normal(112, 96)], lambda a, b: a @ b.t())
    check("both", [normal(96, 80), normal(112, 96)], lambda a, b: a.t() @ b.t())
    check("parts of larger matrices", [normal(90, 128), normal(128, 130)], lambda a, b: a[4:84, 16:112] @ b[8:104, 1:113])
    call = check("odd sizes", [normal(81, 97), normal(97, 113)], lambda a, b: a @ b)
    assert list(call.alignment) == [4] * 4
    check("batch", [normal(3, 80, 96), normal(3, 96, 112)], lambda a, b: mg.bmm(a, b))
    check("batch of transposes", [normal(3, 96, 80), normal(3, 112, 96)], lambda a, b: a.mT @ b.mT)
    check("one matrix for all", [normal(3, 80, 96), normal(96, 112)], lambda a, b: mg.matmul(a, b.expand(3, 96, 112)))
    check("heads inside", [normal(2, 64, 3, 80), normal(2, 64, 3, 80)], lambda a, b: a[1].transpose(0, 1) @ b[1].permute(1, 2, 0))


def addends() -> None:
    """alpha, beta, bias."""
    shapes = [normal(80, 112), normal(80, 96), normal(96, 112)]
    check("addmm", shapes, lambda c, a, b: mg.addmm(c, a, b, beta=0.5, alpha=2.0))
    check("baddbmm", [normal(3, 80, 112), normal(3, 80, 96), normal(3, 96, 112)], lambda c, a, b: mg.baddbmm(c, a, b, beta=-1.0))
    for dtype in (mg.float32, mg.bfloat16):
        operands = [normal(*shape, dtype=dtype) for shape in ((80, 96), (112, 96), (112,))]
        call = check("linear", operands, mg.nn.functional.linear)
        assert call.desc.epilogue == 4
    plans = PLANS.value
    check("linear with another bias", [normal(80, 96), normal(112, 96), normal(112)], mg.nn.functional.linear)
    assert PLANS.value == plans, "the same problem is planned once"


def refusals() -> None:
    """What the library does not get, and what it fails at, is computed all the same."""
    check("every second column", [normal(80, 192), normal(96, 112)], lambda a, b: a[:, ::2] @ b, False)
    check("small", [normal(8, 8), normal(8, 8)], lambda a, b: a @ b, False)
    STATUS.value = 15
    a, b = normal(80, 96), normal(96, 112)
    found = (a.to("cuda") @ b.to("cuda")).cpu()
    assert float((found - a @ b).abs().max()) < 1e-4


if __name__ == "__main__":
    mg.manual_seed(0)
    products()
    addends()
    refusals()
    print("cublas_lt: right")
