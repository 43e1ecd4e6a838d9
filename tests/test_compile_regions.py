"""The memory of a plan's runs: regions laid out by life times, from which what leaves the run is cut out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from test_compile_passes import same_bits, traced

import minigrad as mg
from minigrad import _core
from minigrad.nn import functional as F

Tensor = mg.Tensor


def allocated() -> int:
    return mg.memory_stats()["allocated"]


def test_a_run_holds_nothing_and_a_result_only_itself() -> None:
    """Results are cut out of the memory that a run lies in; the rest goes back."""

    def f(x: Tensor) -> tuple[Tensor, Tensor]:
        y = (x @ x).sin()
        z = (y @ x).relu()
        return z @ y, z.sum(0)

    x = mg.randn(512, 512)
    graph, inputs = traced(f, x)
    plan = _core.Plan(graph)
    assert plan.arena_bytes <= 4 * 512 * 512 * 4 + (64 << 10)
    want = [t.clone() for t in plan.run(inputs)]
    plan.run(inputs)
    before = allocated()
    first, sums = plan.run(inputs)
    assert 512 * 512 * 4 <= allocated() - before <= 512 * 512 * 4 + (64 << 10)
    again = plan.run(inputs)  # does not lie in the first one's memory
    assert all(same_bits(a, b) for a, b in zip((first, sums, *again), (*want, *want)))
    del first, again
    assert allocated() - before <= 64 << 10
    assert same_bits(sums, want[1])


def test_a_run_that_raises_holds_nothing() -> None:
    def f(x: Tensor, index: Tensor) -> Tensor:
        y = (x @ x).sin()
        return y @ F.embedding(index, y)

    x, index = mg.randn(512, 512), mg.arange(512)
    graph, inputs = traced(f, x, index)
    plan = _core.Plan(graph)
    want = plan.run(inputs)[0].clone()
    before = allocated()
    index[7] = 512
    with pytest.raises(IndexError):
        plan.run(inputs)
    assert allocated() - before <= 64 << 10
    index[7] = 7
    assert same_bits(plan.run(inputs)[0], want)


def test_runs_at_the_same_time() -> None:
    def f(x: Tensor) -> tuple[Tensor, Tensor]:
        y = x
        for _ in range(6):
            y = (y @ x).sin() + y
        return y, y.exp()

    args = [mg.randn(256, 256) for _ in range(4)]
    graph, _ = traced(f, args[0])
    plan = _core.Plan(graph)
    want = [[t.clone() for t in plan.run([x])] for x in args]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for got, w in zip(list(pool.map(lambda x: plan.run([x]), args)), want):
                assert all(same_bits(a, b) for a, b in zip(got, w))


def test_a_result_takes_the_place_of_what_dies() -> None:
    """Also where it leaves the run: one block for both, and the result is no view."""
    graph, inputs = traced(lambda x: (x @ x).sin(), mg.randn(512, 512))
    plan = _core.Plan(graph)
    assert plan.arena_bytes == 512 * 512 * 4
    (got,) = plan.run(inputs)
    assert got.untyped_storage().nbytes() == 512 * 512 * 4 and not got._is_view()
    np.testing.assert_allclose(got.numpy(), np.sin(inputs[0].numpy() @ inputs[0].numpy()), atol=1e-4)
