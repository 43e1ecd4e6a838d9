"""The pointwise driver: dense words with a rest, strided and broadcast operands, promotion, numbers, integers that wrap."""

from __future__ import annotations

import pytest
from helpers import FLOATS, INTS, close, equal, layouts

import minigrad as mg


@pytest.mark.parametrize("dtype", FLOATS + INTS + (mg.bool,))
@pytest.mark.parametrize("n", (0, 1, 3, 4, 7, 8, 9, 31, 64, 65, 1027))
def test_lengths(dtype: mg.dtype, n: int) -> None:
    a, b = (mg.arange(n) % 11).to(dtype), (mg.arange(n) % 5 + 1).to(dtype)
    equal(a.cuda() + b.cuda(), a + b)
    equal(a.cuda() > b.cuda(), a > b)
    equal(mg.where((a > b).cuda(), a.cuda(), b.cuda()), mg.where(a > b, a, b))


@pytest.mark.parametrize("dtype", (mg.float32, mg.bfloat16, mg.int32, mg.uint8))
def test_layouts_and_broadcasting(dtype: mg.dtype) -> None:
    a, row, column = (mg.arange(35).reshape(5, 7) % 13).to(dtype), (mg.arange(7) + 1).to(dtype), mg.arange(5).reshape(5, 1).to(dtype)
    for x in layouts(a):
        equal(x * row.cuda() + column.cuda(), a * row + column)
        equal(x * 3, a * 3)
        equal(x.expand(2, 5, 7) + x, a.expand(2, 5, 7) + a)
        out = mg.zeros(7, 5, dtype=dtype, device="cuda").mT
        equal(mg.add(x, row.cuda(), alpha=2, out=out), mg.add(a, row, alpha=2))


@pytest.mark.parametrize("a", FLOATS + INTS + (mg.bool, mg.complex64))
@pytest.mark.parametrize("b", FLOATS + INTS + (mg.bool, mg.complex64))
def test_promotion(a: mg.dtype, b: mg.dtype) -> None:
    x, y = (mg.arange(6) % 4).to(a), (mg.arange(6) % 3 + 1).to(b)
    equal(x.cuda() * y.cuda(), x * y)
    equal(x.cuda() == y[0], x == y[0])  # a number on the CPU
    equal(x.cuda() * 2.5, x * 2.5)


@pytest.mark.parametrize("dtype", INTS)
def test_integers_wrap_as_in_their_own_width(dtype: mg.dtype) -> None:
    info = mg.iinfo(dtype)
    x = mg.tensor([info.min, info.min + 1, 0 if info.min else 5, 7, info.max - 1, info.max], dtype=dtype)
    y = mg.tensor([1, 2, 3, 5, 7, 9], dtype=dtype)
    shifts = (mg.bitwise_left_shift, mg.bitwise_right_shift)
    for f in (mg.add, mg.sub, mg.mul, mg.floor_divide, mg.remainder, mg.fmod, mg.bitwise_and, mg.pow, mg.gcd, *shifts):
        equal(f(x.cuda(), y.cuda()), f(x, y))
    for f in (mg.neg, mg.abs, mg.bitwise_not, mg.square, mg.sign):
        equal(f(x.cuda()), f(x))
    equal(~mg.tensor([True, False]).cuda(), mg.tensor([False, True]))


def test_integer_division_by_zero_raises() -> None:
    bad = mg.tensor([4, 2]).cuda() // mg.tensor([2, 0]).cuda()
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        bad.cpu()
    equal(mg.tensor([4]).cuda() // 2, mg.tensor([2]))  # and is over then


def test_powers_and_complex() -> None:
    x = mg.tensor([0.0, -0.0, 1.5, 4.0, float("inf"), float("nan")])
    for e in (2, 3, 0.5, -0.5, -1, 0, 1.7):
        close(x.cuda() ** e, x**e)
    z = mg.complex(mg.tensor([0.5, -1.0, 3.0]), mg.tensor([2.0, -0.25, 0.0]))
    for f in (mg.exp, mg.log, mg.sin, mg.tanh, mg.sqrt, mg.acos, mg.asinh, mg.atanh, mg.abs, mg.angle, mg.sigmoid):
        close(f(z.cuda()), f(z))
    close(z.cuda() / (1 + 2j), z / (1 + 2j))


@pytest.mark.parametrize("dims", (11, 14))
def test_many_dims(dims: int) -> None:
    x = mg.arange(float(2**dims)).reshape((2,) * dims)
    order = tuple(range(0, dims, 2)) + tuple(range(1, dims, 2))
    equal(x.cuda().permute(order) + x.cuda(), x.permute(order) + x)
