"""Random numbers: the CPU's bits on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers import FLOATS, close, equal

import minigrad as mg

SHAPES = ((0,), (1,), (7,), (64,), (3, 5, 11))
SAME_BITS: dict[str, Callable[..., Any]] = {
    "rand": lambda shape, where: mg.rand(shape, device=where),
    "uniform": lambda shape, where: mg.empty(shape, device=where).uniform_(-3, 5),
    "randint": lambda shape, where: mg.randint(-5, 1000, shape, device=where),
    "bernoulli": lambda shape, where: mg.full(shape, 0.3, device=where).bernoulli(),
    "bernoulli_": lambda shape, where: mg.empty(shape, device=where).bernoulli_(0.7),
    "dropout": lambda shape, where: mg.nn.functional.dropout(mg.ones(shape, device=where), 0.4),
    "randperm": lambda shape, where: mg.randperm(mg.Size(shape).numel(), device=where),
}
CLOSE: dict[str, Callable[..., Any]] = {
    "randn": lambda shape, where: mg.randn(shape, device=where),
    "randn64": lambda shape, where: mg.randn(shape, device=where, dtype=mg.float64),
    "randn_complex": lambda shape, where: mg.randn(shape, device=where, dtype=mg.complex64),
    "normal": lambda shape, where: mg.normal(mg.zeros(shape, device=where), mg.ones(shape, device=where)),
    "exponential": lambda shape, where: mg.empty(shape, device=where).exponential_(2.0),
    "log_normal": lambda shape, where: mg.empty(shape, device=where).log_normal_(),
    "cauchy": lambda shape, where: mg.empty(shape, device=where).cauchy_(),
    "geometric": lambda shape, where: mg.empty(shape, device=where).geometric_(0.2),
    "poisson": lambda shape, where: mg.poisson(mg.full(shape, 14.0, device=where)),
    "gamma": lambda shape, where: mg._standard_gamma(mg.full(shape, 0.7, device=where)),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SAME_BITS)
def test_same_bits(name: str, shape: tuple[int, ...]) -> None:
    drawn = []
    for where in ("cpu", "cuda"):
        mg.manual_seed(3)
        drawn.append([SAME_BITS[name](shape, where), SAME_BITS[name](shape, where)])  # the second shows that both moved on alike
    for expected, found in zip(*drawn, strict=True):
        equal(found, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CLOSE)
def test_same_up_to_rounding(name: str, shape: tuple[int, ...]) -> None:
    if not hasattr(mg, "_standard_gamma") and name == "gamma":
        pytest.skip("internal op without a public name")
    drawn = []
    for where in ("cpu", "cuda"):
        mg.manual_seed(3)
        drawn.append(CLOSE[name](shape, where))
    close(drawn[1], drawn[0], 1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
def test_dtypes_and_strides(dtype: mg.dtype) -> None:
    drawn = []
    for where in ("cpu", "cuda"):
        mg.manual_seed(1)
        drawn.append(mg.zeros(5, 6, dtype=dtype, device=where).mT.uniform_())
    equal(drawn[1], drawn[0])


@pytest.mark.parametrize("replacement", (False, True))
def test_multinomial(replacement: bool) -> None:
    p = mg.tensor([[0.1, 0.0, 3.0, 2.0], [1.0, 1.0, 1.0, 0.5]])
    drawn = []
    for where in ("cpu", "cuda"):
        mg.manual_seed(5)
        drawn.append(mg.multinomial(p.to(where), 3, replacement))
    equal(drawn[1], drawn[0])
    bad = mg.multinomial(mg.tensor([0.0, 0.0]).cuda(), 1, True)
    with pytest.raises(RuntimeError, match="distribution"):
        bad.cpu()


def test_own_generator() -> None:
    g = [mg.Generator(where).manual_seed(9) for where in ("cpu", "cuda")]
    equal(mg.rand(10, generator=g[1], device="cuda"), mg.rand(10, generator=g[0]))
