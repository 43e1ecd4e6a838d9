"""Values that break things: extremes of each dtype, absurd integers, arguments of the wrong kind."""

from __future__ import annotations

import random
from typing import Any

from minigrad.testing.fuzz.program import Text

FLOATS = ("float32", "float64", "bfloat16", "float16")
INTS = ("int64", "int32", "int16", "int8", "uint8")
COMPLEX = ("complex64", "complex128")
inf, nan = float("inf"), float("nan")

# Sizes between 1e7 and 1e12 elements are left out of dimension-like integers: they would only measure the allocator.
ABSURD_INTS = (
    -(2**63), -(2**63) + 1, -(2**31) - 1, -(2**31), -129, -7, -3, -2, -1, 0, 1, 2, 3, 5, 7, 64, 65, 127, 128, 255, 256,
    32768, 65536, 2**40, 2**61, 2**62, 2**63 - 1,
)  # fmt: skip
TOO_LARGE = (2**63, 2**64 - 1, 2**64, 10**30, -(2**63) - 1)
SMALL_INTS = (-3, -2, -1, 0, 1, 2, 3, 4)
FLOAT_EXTREMES = {
    "float64": (5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1.7976931348623157e308, 1e-300),
    "float32": (1e-45, -1e-45, 1.1754943508222875e-38, 3.4028234663852886e38, -3.4028234663852886e38, 1e-30),
    "bfloat16": (9.183549615799121e-41, 1.1754943508222875e-38, 3.3895313892515355e38, -3.3895313892515355e38, 1e-30),
    "float16": (5.960464477539063e-08, 6.103515625e-05, 65504.0, -65504.0, 1e-4),
}
COMMON_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 3.0, -3.0, 1.5, 2.5, -2.5, inf, -inf, nan, 1e-7, 20.0, -20.0, 100.0, 127.0)
INT_EXTREMES = {
    "int64": (-(2**63), -(2**63) + 1, 2**63 - 1, 2**53 + 1, -(2**53) - 1, 2**31, 64, 63),
    "int32": (-(2**31), -(2**31) + 1, 2**31 - 1, 2**24 + 1, 32, 31),
    "int16": (-(2**15), 2**15 - 1, 16, 15),
    "int8": (-128, -127, 127, 8, 7),
    "uint8": (255, 254, 128, 8, 7),
}


def extreme_values(rng: random.Random, dtype: str, n: int) -> tuple[Any, ...]:
    """n numbers that a tensor of that dtype can hold, most of them awkward."""
    if dtype == "bool":
        return tuple(rng.random() < 0.5 for _ in range(n))
    if dtype in INTS:
        pool: tuple[Any, ...] = (0, 1, 2, 3, *INT_EXTREMES[dtype]) if dtype == "uint8" else (-1, 0, 1, -2, 3, *INT_EXTREMES[dtype])
        return tuple(rng.choice(pool) for _ in range(n))
    if dtype in COMPLEX:
        part = COMMON_FLOATS
        return tuple(complex(rng.choice(part), rng.choice(part)) for _ in range(n))
    pool = COMMON_FLOATS + FLOAT_EXTREMES[dtype]
    return tuple(rng.choice(pool) for _ in range(n))


def plain_values(rng: random.Random, dtype: str, n: int) -> tuple[Any, ...]:
    """n unremarkable numbers."""
    if dtype == "bool":
        return tuple(rng.random() < 0.5 for _ in range(n))
    if dtype in INTS:
        return tuple(rng.randint(0 if dtype == "uint8" else -5, 9) for _ in range(n))
    if dtype in COMPLEX:
        return tuple(complex(round(rng.uniform(-2, 2), 2), round(rng.uniform(-2, 2), 2)) for _ in range(n))
    return tuple(round(rng.uniform(-3, 3), 2) for _ in range(n))


def any_values(rng: random.Random, dtype: str, n: int) -> tuple[Any, ...]:
    """Plain or extreme numbers, by chance."""
    return (extreme_values if rng.random() < 0.35 else plain_values)(rng, dtype, n)


def bad_argument(rng: random.Random) -> Any:
    """Something that is rarely what an argument should be."""
    return rng.choice((
        None, True, False, "", "abc", "mean", 1.5, -0.0, nan, inf, -inf, 1e308, -1, 0, 1, 3, 2**31, 2**62, 2**63 - 1, -(2**63),
        2**63, 10**30, [], (), [0], [1, 2], (0, 0), [-1], [2**62], [1.5], ["x"], [None], [[1]], 1j, {}, b"x", Text("m"), Text("..."),
        Text("object()"), Text("m.float32"), Text("m.int64"), Text("m.float16"), Text("np.float32(1.5)"), Text("np.int64(2)"),
        Text("np.array([1, 2])"), Text("m.zeros(0)"), Text("m.zeros(2, 3)"), Text("m.tensor(1)"), Text("m.ones(1, dtype=m.bool)"),
        Text("m.tensor(-1.5)"), Text("slice(None)"), Text("range(2)"), Text("int"), Text("m.device('cpu')"),
        Text("m.zeros(1).expand(3, 4)"),
    ))  # fmt: skip


def odd_int(rng: random.Random) -> int:
    """An integer, small two times out of three."""
    r = rng.random()
    return rng.choice(SMALL_INTS) if r < 0.62 else rng.choice(ABSURD_INTS) if r < 0.96 else rng.choice(TOO_LARGE)


def odd_scalar(rng: random.Random) -> Any:
    """A Python number of any kind."""
    r = rng.random()
    if r < 0.45:
        return rng.choice(COMMON_FLOATS)
    if r < 0.85:
        return odd_int(rng)
    return rng.choice((True, False, 5e-324, 1.7976931348623157e308, 3.5e38, 1e-46, 0.1))


def random_shape(rng: random.Random) -> tuple[int, ...]:
    """Mostly small, sometimes with zero, around vector widths, or one large dimension."""
    r = rng.random()
    if r < 0.08:
        return ()
    if r < 0.13:
        return (rng.choice((1023, 1025, 2049, 4097, 65537)),)
    if r < 0.16:
        return tuple(rng.sample((33, 1, 1025, 2), 2))
    sizes = (0, 1, 1, 2, 2, 3, 3, 4, 5, 7, 8, 9, 16, 17)
    return tuple(rng.choice(sizes if k < 2 else sizes[1:7]) for k in range(rng.choice((1, 1, 2, 2, 2, 3, 3, 4, 5))))
