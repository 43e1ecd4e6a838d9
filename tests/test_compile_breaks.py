"""Graph breaks of mg.compile: what cannot be captured whole gives eager's results, its modules run as graphs, and the line is reported."""

from __future__ import annotations

from typing import Any

import pytest

import minigrad as mg
from minigrad import nn
from minigrad.compiler import CompiledFunction, explain
from minigrad.nn import functional as F

Tensor = mg.Tensor


def make() -> tuple[nn.Module, Any]:
    mg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    return model, mg.optim.AdamW(model.parameters(), lr=1e-2)


def test_a_step_that_gives_a_number() -> None:
    losses: list[list[float]] = []
    for compile_it in (True, False):
        model, opt = make()

        def step(x: Tensor, y: Tensor) -> float:
            opt.zero_grad()  # noqa: B023
            loss = F.cross_entropy(model(x), y)  # noqa: B023
            loss.backward()
            opt.step()  # noqa: B023
            return loss.item()

        compiled = CompiledFunction(step) if compile_it else step
        mg.manual_seed(1)
        x, y = mg.randn(16, 4), mg.randint(0, 3, (16,))
        losses.append([compiled(x, y) for _ in range(12)])
        if compile_it:
            assert "test_compile_breaks.py" in compiled.reasons[0] and " in step" in compiled.reasons[0]
            ((module, name, part),) = compiled.regions.parts
            assert module is model and name == "model" and len(part.entries) == 1 and "forward" not in model.__dict__
            text = str(explain(compiled)(x, y))
            assert "-- region model:" in text and "ran eagerly: the value of a tensor" in text
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_regions_are_as_large_as_breaks_allow() -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.other, self.calls = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 4), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            h = self.inner(x)
            return self.other(h) if h.sum() > 0 else h

    net = nn.Sequential(nn.Linear(4, 4), Gate())
    compiled = CompiledFunction(net)
    for k in range(6):
        x = mg.randn(2, 4)
        assert mg.equal(compiled(x), net(x)) and net[1].calls == 2 * k + 2
    parts = {name: part for _, name, part in compiled.regions.parts}
    assert len(parts["self.0"].entries) == 1
    inner = {name.rpartition(".")[2]: part for _, name, part in parts["self.1"].regions.parts}
    assert set(inner) == {"inner", "other"} and len(inner["inner"].entries) == 1
    assert explain(compiled)(mg.randn(2, 4)).graph_count >= 2


def test_branches_on_values_take_the_right_way() -> None:
    @mg.compile
    def f(x: Tensor) -> Tensor:
        total = mg.zeros(())
        while total < 10:
            total = total + x.sum()
        return total if total.item() % 2 == 0 else -total

    for value in (1.0, 2.0, 3.0):
        x = mg.full((2,), value)
        for _ in range(3):
            assert f(x).item() == f.fn(x).item()


def test_errors_come_out_as_they_are() -> None:
    class Wrong(Exception):
        pass

    calls: list[int] = []

    def f(x: Tensor, bad: bool) -> Tensor:
        if bad:
            calls.append(1)
            raise Wrong("no")
        return x @ mg.ones(3, 2)

    for fullgraph in (False, True):
        calls.clear()
        compiled = CompiledFunction(f, fullgraph=fullgraph)
        with pytest.raises(Wrong):
            compiled(mg.ones(2, 3), True)
        assert len(calls) == 1
        with pytest.raises(RuntimeError, match="matmul"):
            compiled(mg.ones(2, 4), False)
        assert compiled(mg.ones(2, 3), False).shape == (2, 2)


def test_a_caught_error_is_the_functions_business() -> None:
    def f(x: Tensor) -> Tensor:
        try:
            scale = float(x.sum())
        except RuntimeError:
            scale = -1.0
        return x * scale

    compiled = CompiledFunction(f)
    assert [compiled(mg.ones(2)).tolist() for _ in range(2)] == [[2, 2], [2, 2]] and "asked for" in compiled.reasons[0]


def test_clipping_and_schedules_are_no_breaks() -> None:
    model, opt = make()
    scheduler = mg.optim.lr_scheduler.CosineAnnealingLR(opt, 10)

    def step(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        opt.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        nn.utils.clip_grad_value_(model.parameters(), 0.5)
        opt.step()
        scheduler.step()
        return loss.detach(), norm

    compiled = mg.compile(step, fullgraph=True)
    x, y = mg.randn(16, 4), mg.randint(0, 3, (16,))
    first = compiled(x, y)[0].item()
    for _ in range(20):
        last = compiled(x, y)[0].item()
    assert last < first and 1 <= len(compiled.entries) <= 2


def test_what_keeps_changing_ends_in_eager() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = None

        def forward(self, x: Tensor) -> Tensor:
            out = x * 2 if self.last is None else x * 2 + self.last
            self.last = out.detach()
            return out

    a, b = Net(), Net()
    compiled = CompiledFunction(a)
    for k in range(12):
        x = mg.full((2,), float(k))
        assert mg.equal(compiled(x), b(x)) and mg.equal(a.last, b.last)
    assert "last changed" in compiled.reasons[0]


def test_rewritten_buffers() -> None:
    class Average(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", mg.zeros(2))

        def forward(self, x: Tensor) -> Tensor:
            self.mean = self.mean * 0.5 + x.mean(0) * 0.5
            return x - self.mean

    a, b = Average(), Average()
    compiled = CompiledFunction(a)
    for _ in range(6):
        x = mg.randn(3, 2)
        assert mg.equal(compiled(x), b(x)) and mg.equal(a.mean, b.mean)


def test_threads_have_compiled_functions_too() -> None:
    import threading

    model, _ = make()
    compiled = [CompiledFunction(lambda x, k=k: model(x) * k, fullgraph=True) for k in range(8)]
    x, got = mg.randn(5, 4), {}
    with mg.no_grad():
        want = model(x)

        def run(k: int) -> None:
            with mg.no_grad():  # it belongs to the thread
                got[k] = [compiled[k](x) for _ in range(5)][-1]

        threads = [threading.Thread(target=run, args=(k,)) for k in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert all(mg.allclose(got[k], want * k, rtol=1e-6) for k in range(8))


def test_no_more_is_tried_when_nothing_was_ever_captured() -> None:
    compiled = CompiledFunction(lambda x: x * x.sum().item())
    for _ in range(80):
        assert compiled(mg.ones(2)).tolist() == [2, 2]
    assert compiled._off and len(compiled.reasons) == 1


def test_wrong_calls_do_not_spoil_right_ones() -> None:
    compiled = CompiledFunction(lambda x: x @ mg.ones(3, 2))
    for n in range(4, 10):
        with pytest.raises(RuntimeError, match="matmul"):
            compiled(mg.ones(2, n))
    assert compiled(mg.ones(2, 3)).tolist() == [[3, 3]] * 2 and len(compiled.entries) == 1
