"""Passes that make a compiled step hold less: linear and cross entropy on some rows at a time, values made later, values made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import test_compile_fuzz as fuzz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_compile_passes import ops, outcomes, same_bits, traced

import minigrad as mg
from minigrad import _core, nn
from minigrad.compiler import CompiledFunction
from minigrad.nn import functional as F

Tensor = mg.Tensor
CHUNKED = "_linear_cross_entropy"
N, C, K = 1200, 2000, 24  # logits of 9.6 MB, in two blocks


def data(bias: bool = True, three: bool = False, dtype: Any = mg.float32) -> tuple[Tensor, ...]:
    mg.manual_seed(3)
    x = mg.randn(*((3, N // 3, K) if three else (N, K)), dtype=dtype).requires_grad_()
    w = (mg.randn(C, K, dtype=dtype) * 0.2).requires_grad_()
    b = mg.randn(C, dtype=dtype).requires_grad_()
    target = mg.randint(0, C, (N,))
    target[4] = -100
    return (x, w, target, b) if bias else (x, w, target)


def loss_of(x: Tensor, w: Tensor, target: Tensor, b: Tensor | None = None, **kwargs: Any) -> Tensor:
    return F.cross_entropy(F.linear(x, w, b).reshape(-1, w.shape[0]), target, **kwargs)


def step(x: Tensor, w: Tensor, target: Tensor, b: Tensor | None = None, **kwargs: Any) -> tuple[Tensor, ...]:
    loss = loss_of(x, w, target, b, **kwargs)
    return loss, *mg.autograd.grad(loss, [t for t in (x, w, b) if t is not None])


def float64_step(args: tuple[Tensor, ...], **kwargs: Any) -> list[np.ndarray]:
    wide = [a.detach().double().requires_grad_() if a.is_floating_point() else a for a in args]
    kwargs = {k: v.double() if isinstance(v, Tensor) else v for k, v in kwargs.items()}
    return [t.detach().numpy() for t in step(*wide, **kwargs)]


def test_linear_and_cross_entropy_become_one_call() -> None:
    graph, _ = traced(step, *data())
    better = graph.run_pass("linear_cross_entropy")
    assert ops(better)[-1] == "view" and ops(better).count(CHUNKED) == 1, better
    assert "needs=7" in str(better) and not {"linear", "_cross_entropy", "_cross_entropy_backward", "matmul"} & set(ops(better))
    forward, _ = traced(lambda *a: loss_of(*(t.detach() for t in a)), *data())
    assert "needs=0" in str(forward.run_pass("linear_cross_entropy"))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("three", [False, True])
@pytest.mark.parametrize("kwargs", [{}, {"reduction": "sum"}, {"label_smoothing": 0.1}, {"weight": True},
                                    {"weight": True, "ignore_index": 7, "label_smoothing": 0.2}])  # fmt: skip
def test_values_and_gradients(bias: bool, three: bool, kwargs: dict) -> None:
    args = data(bias, three)
    args[2][4] = kwargs.get("ignore_index", -100)
    kwargs = kwargs | ({"weight": mg.rand(C) + 0.5} if kwargs.get("weight") else {})
    graph, inputs = traced(lambda *a: step(*a, **kwargs), *args)
    better = graph.run_pass("linear_cross_entropy")
    assert CHUNKED in ops(better)
    with mg.no_grad():
        want, got = _core.Plan(graph, False).run(inputs), _core.Plan(better, False).run(inputs)
    exact = float64_step(args, **kwargs)
    assert same_bits(got[0], want[0]) and same_bits(got[1], want[1])  # the loss and the input's gradient
    for g, plain, true in zip(got, want, exact):
        error, usual = (np.abs(t.numpy() - true).max() / np.abs(true).max() for t in (g, plain))
        assert error <= 2 * usual + 1e-6


def test_threads_leave_the_bits() -> None:
    graph, inputs = traced(step, *data())
    plan, before = _core.Plan(graph), mg.get_num_threads()
    assert CHUNKED in ops(plan.graph)
    found = []
    with mg.no_grad():
        for threads in (1, 2, 3):
            mg.set_num_threads(threads)
            found.append(plan.run(inputs))
    mg.set_num_threads(before)
    assert all(same_bits(a, b) for other in found[1:] for a, b in zip(found[0], other))


def uses_logits(x: Tensor, w: Tensor, t: Tensor, b: Tensor) -> Any:
    logits = F.linear(x, w, b)
    return F.cross_entropy(logits, t), logits.max()


def steers_by_loss(x: Tensor, w: Tensor, t: Tensor, b: Tensor) -> Any:
    loss = loss_of(x, w, t, b)
    return mg.autograd.grad(loss * loss, [x, w])


def writes_between(x: Tensor, w: Tensor, t: Tensor, b: Tensor) -> Any:
    loss = loss_of(x, w, t, b)
    with mg.no_grad():
        t.clamp_(max=3)
    return loss


@pytest.mark.parametrize("f", [uses_logits, steers_by_loss, writes_between, lambda x, w, t, b: loss_of(x[:1000], w, t[:1000], b),
                               lambda x, w, t, b: loss_of(x.half(), w.half(), t, b.half())])  # fmt: skip
def test_what_is_left_alone(f: Callable) -> None:
    graph, _ = traced(f, *data())
    chunked = CHUNKED in ops(graph.run_pass("linear_cross_entropy"))
    assert chunked == (f is writes_between), graph  # a write after the loss harms nobody


def test_a_scaled_loss_and_what_stands_between() -> None:
    def f(x: Tensor, w: Tensor, t: Tensor, b: Tensor, scale: Tensor) -> Any:
        loss = loss_of(x * 2, w, t, b)
        shown = loss * 3
        return shown, *mg.autograd.grad(loss * (scale + 1), [x, w, b])

    args = (*data(), mg.tensor(2.0))
    graph, inputs = traced(f, *args)
    better = graph.run_pass("linear_cross_entropy")
    assert CHUNKED in ops(better)
    with mg.no_grad():
        for g, w in zip(_core.Plan(better, False).run(inputs), _core.Plan(graph, False).run(inputs)):
            np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=1e-4, atol=1e-6)


def test_a_class_out_of_range_raises() -> None:
    x, w, t, b = data()
    graph, inputs = traced(step, x, w, t, b)
    t[7] = C
    with pytest.raises(IndexError, match="target out of bounds: got class 2000 at sample 7"):
        _core.Plan(graph).run(inputs)


def test_a_write_after_the_value_is_made_again() -> None:
    """A view of a value that was made again does not see what is written to it later: such values are kept."""

    def f(x: Tensor) -> Tensor:
        y = x.sigmoid()
        first = y[0]
        z = x.sum()
        for _ in range(30):
            z = z.sin()
        z = z + (y * 2).sum()
        y.mul_(3)
        return z + (first + 1).sum()

    graph, inputs = traced(f, mg.randn(600, 600))
    want = f(inputs[0])
    got = _core.Plan(graph.recomputed()).run(inputs)[0]
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-5)


class Net(nn.Module):
    """Three residual blocks with normalisation, dropout and attention."""

    def __init__(self) -> None:
        super().__init__()
        block = lambda: nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 512), nn.GELU(), nn.Dropout(0.1), nn.Linear(512, 64))  # noqa: E731
        self.blocks = nn.ModuleList(block() for _ in range(4))
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            y = F.scaled_dot_product_attention(x, x, x, is_causal=True)
            x = x + block(x + y)
        return self.head(x.mean(1))


def training(budget: float) -> tuple[list[Tensor], Any]:
    mg.manual_seed(0)
    model = Net()
    optimizer = mg.optim.AdamW(model.parameters(), lr=1e-3)
    x, y = mg.randn(8, 128, 64), mg.randint(0, 10, (8,))

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    compiled = mg.compile(step, fullgraph=True, options={"activation_memory_budget": budget} if budget < 1 else None)
    losses = [compiled().detach() for _ in range(3)]
    return [*losses, *(p.detach() for p in model.parameters())], compiled


def test_a_budget_leaves_the_bits_and_lowers_the_peak() -> None:
    """Dropout's masks are not drawn again either."""
    with_trial = mg.are_deterministic_algorithms_enabled()
    mg.use_deterministic_algorithms(True)  # the plan runs, not the function by turns
    try:
        want, compiled = training(1.0)
        graph = compiled.entries[0].graph
        before = None
        for budget in (0.8, 0.5, 0.0):
            got, other = training(budget)
            assert all(same_bits(a, b) for a, b in zip(want, got))
            held = other.entries[0].plan.graph
            assert before is None or len(held.calls) >= before
            before = len(held.calls)
        ordered = graph.run_pass("sink")
        peaks = [ordered.recomputed(budget).peak_bytes for budget in (1.0, 0.8, 0.5, 0.0)]
        assert peaks[1] <= 0.8 * peaks[0] and peaks[3] <= peaks[2] <= peaks[1] and peaks[3] <= 0.6 * peaks[0], peaks
    finally:
        mg.use_deterministic_algorithms(with_trial)


@pytest.fixture
def small_programs_too(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever can be is made late and again."""
    monkeypatch.setattr(fuzz, "CompiledFunction", partial(CompiledFunction, options={"activation_memory_budget": -1.0}))
    before = _core.set_least_bytes(0)
    yield
    _core.set_least_bytes(before)


@settings(fuzz.QUIET, suppress_health_check=list(HealthCheck))
@given(fuzz.STEPS, fuzz.RESULTS, fuzz.INPUTS)
def test_random_programs(small_programs_too: None, steps: list, results: list[int], inputs: Any) -> None:
    fuzz.check(steps, results, inputs, mg.float32, (0, 0, 0))


@settings(fuzz.QUIET, suppress_health_check=list(HealthCheck))
@given(fuzz.WRITING, fuzz.RESULTS, fuzz.INPUTS, st.booleans())
def test_random_programs_that_write(small_programs_too: None, steps: list, results: list[int], inputs: Any, grads: bool) -> None:
    fuzz.check(steps, results, (inputs[0], [grads and g for g in inputs[1]]), mg.float32, (0, 0, 0))


def test_sink_makes_a_gradient_wait() -> None:
    def f(x: Tensor, w: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        a = x.sigmoid()
        dx = g @ w
        dw = g.mT @ a
        return dx * 2, dw

    args = mg.randn(512, 512), mg.randn(512, 512), mg.randn(512, 512)
    graph, inputs = traced(f, *args)
    better = graph.run_pass("sink")
    products = [c["outs"] for c in graph.calls if c["op"] == "matmul"]
    assert [c["outs"] for c in better.calls if c["op"] == "matmul"] == products[::-1], better
    assert better.peak_bytes < graph.peak_bytes
    assert all(same_bits(a, b) for a, b in zip(outcomes(better, inputs), outcomes(graph, inputs)))


@pytest.mark.parametrize("wrong", [-0.1, 1.5, "half", True, None])
def test_a_budget_is_a_share(wrong: Any) -> None:
    with pytest.raises(ValueError, match="activation_memory_budget is a share of the usual peak"):
        mg.compile(lambda x: x, options={"activation_memory_budget": wrong})


def test_state_of_an_optimizer_lies_apart() -> None:
    """What stays after the first step leaves no holes among what comes and goes: the second step needs no more memory than it holds."""
    x, model = mg.randn(64, 1024), nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(4)))
    optimizer = mg.optim.Adam(model.parameters())
    for _ in range(3):
        model(x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    held = sum(t.numel() * 4 for own in optimizer.state.values() for t in own.values() if t.dim() == 2)
    del x
    before = mg.memory_stats()["reserved"]
    optimizer.state.clear()
    assert before - mg.memory_stats()["reserved"] >= held  # whole segments, given back at once


def residual_step(x: Tensor, *weights: Tensor) -> Any:
    weights = [w.detach().requires_grad_() for w in weights]
    for a, b in zip(weights[::2], weights[1::2]):
        x = x + F.linear(x.sin(), a)
        x = x + F.linear(F.gelu(F.linear(x.cos(), b)), b.T)
    return mg.autograd.grad(x.sum(), weights)


def test_a_chosen_value_is_made_again_only_after_the_peak() -> None:
    """Values that lie idle in the forward part for a few calls too: made again there they would be there no shorter."""
    args = mg.randn(1024, 256), *(mg.randn(n, 256) for _ in range(4) for n in (256, 1024))
    graph, inputs = traced(residual_step, *args)
    products = lambda g: [c["op"] for c in g.calls].count("linear")  # noqa: E731
    better = graph.run_pass("sink").recomputed(0.6)
    assert products(better) > products(graph)
    names = [c["op"] for c in better.calls]
    turn = names.index("gelu_erf_backward")
    assert names[:turn].count("linear") <= products(graph) + 1, better
    assert all(same_bits(a, b) for a, b in zip(outcomes(better, inputs), outcomes(graph, inputs)))


def test_beyond_what_is_possible_no_more_is_made_again_than_helps() -> None:
    args = mg.randn(1024, 256), *(mg.randn(n, 256) for _ in range(4) for n in (256, 1024))
    graph = traced(residual_step, *args)[0].run_pass("sink")
    least = graph.recomputed(0.0)
    enough = graph.recomputed(least.peak_bytes / graph.recomputed().peak_bytes)
    assert enough.peak_bytes == least.peak_bytes
    assert abs(len(enough.calls) - len(least.calls)) <= 3


def test_what_is_made_again_is_gone_before_the_next_is_made() -> None:
    """Below a budget of 1 it does not wait for a group with what is made after its reader."""

    def f(x: Tensor, w: Tensor, g: Tensor) -> tuple[Tensor, ...]:
        h = x @ w
        a = F.gelu(h)
        s = (a @ w).sum()
        for _ in range(30):
            s = s.sin()
        dw = a.mT @ g
        return s, dw.sum(), (g @ w) * h

    graph, inputs = traced(f, *(mg.randn(600, 600) for _ in range(3)))
    usual, lean = _core.Plan(graph), _core.Plan(graph, budget=0.99)
    assert "fused[gelu_erf, mul" in str(usual.graph) and "fused[gelu_erf, mul" not in str(lean.graph)
    assert all(same_bits(a, b) for a, b in zip(usual.run(inputs), lean.run(inputs)))
