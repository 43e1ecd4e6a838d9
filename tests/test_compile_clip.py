"""Clipping inside of a compiled step: what it gives is eager's, and each part of it is one call of the plan for all parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import minigrad as mg
from minigrad import nn
from minigrad.compiler import CompiledFunction

utils = nn.utils
WAYS: dict[str, Callable[[Any], Any]] = {
    "norm": lambda p: utils.clip_grad_norm_(p, 0.1),
    "norm, not reached": lambda p: utils.clip_grad_norm_(p, 1e4),
    "foreach": lambda p: utils.clip_grad_norm_(list(p), 0.1, foreach=True),
    "largest": lambda p: utils.clip_grad_norm_(p, 0.01, norm_type=math.inf),
    "first order": lambda p: utils.clip_grad_norm_(p, 0.1, norm_type=1.0),
    "value": lambda p: utils.clip_grad_value_(p, 0.02),
    "both": lambda p: (utils.clip_grad_value_(q := list(p), 0.05), utils.clip_grad_norm_(q, 0.1))[1],
    "by parts": lambda p: utils.clip_grads_with_norm_(q := list(p), 0.2, utils.get_total_norm([t.grad for t in q if t.grad is not None])),
}


class Model(nn.Module):
    """Parameters of several sizes, one without a gradient, one that lies across its memory; `wide`: float64 beside float32."""

    def __init__(self, wide: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Linear(n, m) for n, m in ((6, 33), (33, 5), (5, 70), (70, 3))))
        self.unused = nn.Parameter(mg.ones(3))
        self.across = nn.Parameter(mg.randn(4, 3).t())
        self.number = nn.Parameter(mg.tensor(0.5, dtype=mg.float64 if wide else mg.float32))

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        return (self.body(x) @ self.across).sin().sum() * self.number


def trained(way: Callable[[Any], Any], compiled: bool, wide: bool = False, accumulate: bool = False) -> list[Any]:
    mg.manual_seed(0)
    model = Model(wide)
    optimizer = mg.optim.AdamW(model.parameters(), lr=1e-2)

    def step(x: mg.Tensor) -> Any:
        if not accumulate:
            optimizer.zero_grad()
        loss = model(x)
        loss.backward()
        norm = way(model.parameters())
        optimizer.step()
        return loss, norm

    run = CompiledFunction(step, fullgraph=True) if compiled else step
    results = [t for _ in range(5) for t in run(mg.randn(4, 6)) if t is not None]
    return [*results, *(p.detach() for p in model.parameters()), *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_as_eager(way: str, wide: bool, accumulate: bool) -> None:
    for a, b in zip(*(trained(WAYS[way], compiled, wide, accumulate) for compiled in (True, False)), strict=True):
        assert a.dtype == b.dtype and mg.allclose(a, b, rtol=1e-5, atol=1e-7)


def test_same_bits_on_one_and_two_threads() -> None:
    before, got = mg.get_num_threads(), []
    try:
        for threads in (1, 2):
            mg.set_num_threads(threads)
            got.append(trained(WAYS["both"], True))
    finally:
        mg.set_num_threads(before)
    assert all(mg.equal(a, b) for a, b in zip(*got, strict=True))


def plan_of(f: Callable[..., Any], *args: Any) -> Any:
    compiled = CompiledFunction(f, fullgraph=True)
    compiled(*args)
    return compiled.entries[-1].plan


def calls_of(plan: Any) -> list[str]:
    return [call["text"].split(" = ", 1)[-1].strip().split("(")[0] for call in plan.graph.calls]


def test_one_call_for_all_gradients() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(8)))

    def step(x: mg.Tensor) -> mg.Tensor:
        model.zero_grad()
        model(x).sum().backward()
        utils.clip_grad_value_(model.parameters(), 0.5)
        return utils.clip_grad_norm_(model.parameters(), 0.1)

    calls = calls_of(plan_of(step, mg.randn(3, 4)))
    assert calls.count("_total_norm") == calls.count("mul_ of each") == calls.count("clamp_both_ of each") == 1
    assert "mul" not in calls and "clamp_both" not in calls


def test_the_profiler_sees_one_call() -> None:
    def f(a: mg.Tensor, b: mg.Tensor, s: mg.Tensor) -> tuple[mg.Tensor, mg.Tensor]:
        a, b = a.sum(0), b.sum(0)
        return a.mul_(s), b.mul_(s)

    compiled, args = CompiledFunction(f, fullgraph=True), (mg.randn(3, 4), mg.randn(3, 5), mg.tensor(0.3))
    want = [compiled(*args), compiled(*args)][1]
    with mg.profiler.profile() as seen:
        got = compiled(*args)
    assert "aten::mul_ of 2" in {row.key for row in seen.key_averages()}
    assert all(mg.equal(a, b) for a, b in zip(got, want, strict=True))


def halves(x: mg.Tensor, s: mg.Tensor) -> Any:
    a, b = x.cumsum(0), x.cumsum(1)
    first = a.cumsum(0)  # read before: no reason to keep it
    return a * s, b * s, first


def read_later(x: mg.Tensor, s: mg.Tensor) -> Any:
    a, b = x.sum(0), x.sum(1)
    return a * s, b * s, a.cumsum(0), b.cumsum(0)


def of_parts(x: mg.Tensor, s: mg.Tensor) -> Any:
    a, b = x.cumsum(0), x.cumsum(1)
    return a[0] * s, b[1] * s


def one_memory(x: mg.Tensor, s: mg.Tensor) -> Any:
    a = x.cumsum(0)
    return a * s, a * s


def one_after_the_other(x: mg.Tensor, s: mg.Tensor) -> Any:
    a, b = x.cumsum(0), x.cumsum(1)
    return a * s, (b * s).cumsum(0) * s


def with_others_between(x: mg.Tensor, s: mg.Tensor) -> Any:
    a, b, c = x.cumsum(0), x.cumsum(1), x.sum(0).cumsum(0)
    first = a * s
    other = c.cumprod(0)
    return first, b * s, other * s, c * s


def with_another_factor(x: mg.Tensor, s: mg.Tensor) -> Any:
    a, b, t = x.cumsum(0), x.cumsum(1), s.cumsum(0)
    first = a * t
    t.zero_()
    return first, b * t


def by_its_own_part(x: mg.Tensor, s: mg.Tensor) -> Any:
    a, b = x.cumsum(0).sum(), x.cumsum(1).sum()
    return a * b, (b * b) * s


def of_arguments(x: mg.Tensor, s: mg.Tensor) -> Any:
    return x * s, x.cumsum(1) * s


JOINS = [halves, one_after_the_other, with_others_between]
STAY = [with_another_factor, read_later, of_parts, one_memory, by_its_own_part, of_arguments]


@pytest.mark.parametrize("f, joins", [*((f, True) for f in JOINS), *((f, False) for f in STAY)])
def test_only_what_nobody_reads_afterwards(f: Callable[..., Any], joins: bool) -> None:
    x, s = mg.randn(5, 7), mg.tensor(0.37)
    kept = x.clone()
    plan = plan_of(f, x, s)
    assert ("mul_ of each" in calls_of(plan)) is joins
    compiled = CompiledFunction(f, fullgraph=True)
    for _ in range(3):
        for a, b in zip(compiled(x, s), f(x, s), strict=True):
            assert mg.allclose(a, b, rtol=1e-6)
    assert mg.equal(x, kept)


def test_a_norm_that_is_not_finite_raises() -> None:
    p = nn.Parameter(mg.ones(3))

    @mg.compile
    def step(x: mg.Tensor) -> mg.Tensor:
        p.grad = None
        (p * x).sum().backward()
        return utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)

    for _ in range(3):
        assert math.isclose(step(mg.tensor([3.0, 0.0, 4.0])).item(), 5.0, rel_tol=1e-6)
        with pytest.raises(RuntimeError, match="non-finite"):
            step(mg.tensor([3.0, math.inf, 4.0]))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_infinity_as_eager(bad: float) -> None:
    def f(x: mg.Tensor, largest: bool) -> mg.Tensor:
        return utils.get_total_norm([x * 2, x.sum(0)], math.inf if largest else 2.0)

    x = mg.randn(40, 30)
    x[7, 11] = bad
    for largest in (False, True):
        assert CompiledFunction(f, fullgraph=True)(x, largest).tolist() == pytest.approx(f(x, largest).tolist(), nan_ok=True)
