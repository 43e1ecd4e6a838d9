"""Random numbers: the CPU's bits on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers import FLOATS, INTS, close, equal

import minigrad as mg
from minigrad.op import registry

SHAPES = ((0,), (1,), (7,), (64,), (3, 5, 11))
# By op of the registry (a name, and a word where an op has several calls).
SAME_BITS: dict[str, Callable[..., Any]] = {
    "uniform_ rand": lambda shape, where: mg.rand(shape, device=where),
    "uniform_": lambda shape, where: mg.empty(shape, device=where).uniform_(-3, 5),
    "_randint_": lambda shape, where: mg.randint(-5, 1000, shape, device=where),
    "_bernoulli": lambda shape, where: mg.full(shape, 0.3, device=where).bernoulli(),
    "bernoulli_": lambda shape, where: mg.empty(shape, device=where).bernoulli_(0.7),
    "bernoulli_ tensor": lambda shape, where: mg.empty(shape, device=where).bernoulli_(mg.ones(shape, device=where) * 0.4),
    "_dropout": lambda shape, where: mg.nn.functional.dropout(mg.ones(shape, device=where), 0.4),
    "_randperm": lambda shape, where: mg.randperm(mg.Size(shape).numel(), device=where),
    "multinomial": lambda shape, where: mg.multinomial(mg.arange(1, mg.Size(shape).numel() + 2, device=where).float(), 4, True),
}
# The same bits, then logarithms, roots and rejections, whose rounding is each device's own.
CLOSE: dict[str, Callable[..., Any]] = {
    "normal_": lambda shape, where: mg.randn(shape, device=where),
    "normal_ float64": lambda shape, where: mg.randn(shape, device=where, dtype=mg.float64),
    "normal_ complex64": lambda shape, where: mg.randn(shape, device=where, dtype=mg.complex64),
    "_normal_of": lambda shape, where: mg.normal(mg.zeros(shape, device=where), mg.ones(shape, device=where)),
    "exponential_": lambda shape, where: mg.empty(shape, device=where).exponential_(2.0),
    "log_normal_": lambda shape, where: mg.empty(shape, device=where).log_normal_(),
    "cauchy_": lambda shape, where: mg.empty(shape, device=where).cauchy_(),
    "geometric_": lambda shape, where: mg.empty(shape, device=where).geometric_(0.2),
    "poisson": lambda shape, where: mg.poisson(mg.full(shape, 14.0, device=where)),
    "binomial": lambda shape, where: mg.binomial(mg.full(shape, 30.0, device=where), mg.full(shape, 0.3, device=where)),
    "_standard_gamma": lambda shape, where: registry["_standard_gamma"].function(mg.full(shape, 0.7, device=where)),
    "_sample_dirichlet": lambda shape, where: registry["_sample_dirichlet"].function(mg.full((*shape, 3), 0.7, device=where)),
    "_standard_von_mises": lambda shape, where: registry["_standard_von_mises"].function(mg.full(shape, 1.3, device=where)),
    "_attention": lambda shape, where: mg.nn.functional.scaled_dot_product_attention(*(mg.ones(2, 9, 4, device=where),) * 3, dropout_p=0.4),
}


def drawn(draw: Callable[[str], Any]) -> list[list[Any]]:
    """Two results on each device; the second shows that both generators moved on alike."""
    found = []
    for where in ("cpu", "cuda"):
        mg.manual_seed(3)
        found.append([draw(where), draw(where)])
    return found


def test_every_random_op_is_here() -> None:
    random = {name for name, info in registry.items() if any(a.name == "generator" for a in info.args)}
    assert random == {name.partition(" ")[0] for name in (*SAME_BITS, *CLOSE)}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SAME_BITS)
def test_same_bits(name: str, shape: tuple[int, ...]) -> None:
    for expected, found in zip(*drawn(lambda where: SAME_BITS[name](shape, where)), strict=True):
        equal(found, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CLOSE)
def test_same_up_to_rounding(name: str, shape: tuple[int, ...]) -> None:
    for expected, found in zip(*drawn(lambda where: CLOSE[name](shape, where)), strict=True):
        close(found, expected, 1e-6)


@pytest.mark.parametrize("dtype", (*FLOATS, *INTS))
@pytest.mark.parametrize("method", ("random_", "bernoulli_", "uniform_"))
def test_same_bits_in_every_dtype(method: str, dtype: mg.dtype) -> None:
    if method == "uniform_" and not dtype.is_floating_point:
        pytest.skip("uniform_ is for floating dtypes")
    for expected, found in zip(*drawn(lambda where: getattr(mg.zeros(1031, dtype=dtype, device=where), method)()), strict=True):
        equal(found, expected)


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
