"""mg.compile's call forms, what it makes of modules, and the names that steer it."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest

import minigrad as mg
from minigrad import nn
from minigrad.compiler import CompiledFunction, OptimizedModule
from minigrad.nn import functional as F

Tensor = mg.Tensor


def double(x: Tensor) -> Tensor:
    return x * 2


def test_call_forms() -> None:
    @mg.compile
    def a(x: Tensor) -> Tensor:
        """Its text."""
        return x + 1

    @mg.compile(fullgraph=True, mode="max-autotune")
    def b(x: Tensor) -> Tensor:
        return x + 1

    c = mg.compile(double, backend="interpreter", dynamic=False, options={"budget": 5.0})
    for f, want in ((a, 2), (b, 2), (c, 2)):
        assert isinstance(f, CompiledFunction) and f(mg.ones(1)).item() == want
    assert a.__doc__ == "Its text." and a.__name__ == "a" and b.fullgraph and c.budget == 5.0
    assert mg.compile(c) is c and mg.compile(double, disable=True) is double and mg.compile(double, backend="eager") is double
    for wrong in ({"mode": "fast"}, {"backend": "nothing"}, {"mode": "default", "options": {}}):
        with pytest.raises(RuntimeError):
            mg.compile(double, **wrong)
    assert mg.compile(double, backend=lambda graph, inputs: graph)(mg.ones(1)).item() == 2
    with pytest.raises(RuntimeError, match="expected a function"):
        mg.compile(3)


def test_compiled_module() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    compiled = mg.compile(model)
    assert isinstance(compiled, OptimizedModule) and isinstance(compiled, nn.Module) and compiled._orig_mod is model
    assert list(compiled.state_dict()) == ["_orig_mod." + k for k in model.state_dict()]
    assert [p is q for p, q in zip(compiled.parameters(), model.parameters())] == [True] * 4
    assert compiled[0] is model[0] and len(compiled) == 3
    compiled.eval()
    assert not model.training and not compiled.training and not model[1].training
    x = mg.randn(5, 3)
    assert mg.equal(compiled(x), model(x))
    compiled.train()
    mg.manual_seed(0)
    got = compiled(x)
    mg.manual_seed(0)
    assert mg.equal(got, model(x)) and model[2].num_batches_tracked == 2
    compiled.note = 7
    assert model.note == 7 and compiled.note == 7
    other = mg.compile(copy.deepcopy(model))
    other.load_state_dict(compiled.state_dict())
    assert mg.equal(other[0].weight, model[0].weight)
    compiled.zero_grad()
    compiled(x).sum().backward()
    assert model[0].weight.grad is not None
    for again in (copy.deepcopy(compiled.eval()), pickle.loads(pickle.dumps(compiled))):
        assert again._orig_mod is not model and mg.equal(again(x), compiled(x))
    with pytest.raises(AttributeError):
        compiled.nothing  # noqa: B018


def test_module_compiled_in_place() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    keys, x = list(model.state_dict()), mg.randn(2, 3)
    want = model(x)
    model.compile(fullgraph=True)
    assert mg.equal(model(x), want) and list(model.state_dict()) == keys and isinstance(model.forward, CompiledFunction)
    assert len(model.forward.entries) == 1
    seen: list[int] = []
    model.register_forward_hook(lambda *a: seen.append(1))
    assert mg.equal(model(x), want) and seen == [1]
    twin = copy.deepcopy(model)
    with mg.no_grad():
        twin[0].weight.zero_()
    assert mg.equal(model(x), want) and not mg.equal(twin(x), want)
    file = io.BytesIO()
    mg.save(nn.Sequential(nn.Linear(2, 2)).state_dict(), file)


def test_methods_and_callables() -> None:
    class Model(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.scale = scale

        @mg.compile
        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    for scale in (2.0, 3.0):
        assert Model(scale)(mg.ones(2)).tolist() == [scale] * 2


def test_nested_and_recursive() -> None:
    inner = mg.compile(lambda x: x.sin())

    @mg.compile(fullgraph=True)
    def outer(x: Tensor, n: int) -> Tensor:
        return inner(x) if n == 0 else outer(x + 1, n - 1)

    x = mg.randn(3)
    for _ in range(2):
        assert mg.equal(outer(x, 3), (x + 1 + 1 + 1).sin())
    assert outer.entries


def test_disable_and_stance() -> None:
    calls: list[int] = []

    @mg.compiler.disable
    def outside(x: Tensor) -> Tensor:
        calls.append(1)
        return x + 1

    compiled = mg.compile(lambda x: outside(x) * 2)
    assert [compiled(mg.ones(1)).item() for _ in range(3)] == [4, 4, 4] and len(calls) == 3
    assert "outside is disabled" in compiled.reasons[0] and "test_compile_frontend.py" in compiled.reasons[0]
    assert mg.compile(outside) is outside
    f = mg.compile(double)
    with mg.compiler.set_stance("force_eager"):
        assert f(mg.ones(1)).item() == 2
    assert not f.entries
    f(mg.ones(1))
    with mg.compiler.set_stance("fail_on_recompile"):
        f(mg.ones(1))
        with pytest.raises(RuntimeError, match="fail_on_recompile"):
            f(mg.ones(1, dtype=mg.float64))
    with mg.compiler.set_stance("eager_on_recompile"):
        assert f(mg.ones(1, dtype=mg.float64)).item() == 2
    assert len(f.entries) == 1
    mg.compiler.reset()
    assert not f.entries
    with pytest.raises(RuntimeError, match="expected one of"):
        mg.compiler.set_stance("fast")
    assert "inductor" in mg.compiler.list_backends()


def test_graph_break_by_name() -> None:
    import minigrad._dynamo as dynamo

    def f(x: Tensor) -> Tensor:
        y = x + 1
        dynamo.graph_break()
        return y * 2

    compiled = mg.compile(f)
    assert compiled(mg.ones(1)).item() == 4 and "graph_break(), at" in compiled.reasons[0]


def test_explanation_names_lines_and_reasons() -> None:
    def f(x: Tensor, flag: bool) -> Tensor:
        y = x.sin()
        if flag:
            return y + y.sum().item()
        return y * 2

    explained = mg.compile.explain(f)(mg.ones(2), False)
    assert explained.graph_count == 1 and explained.graph_break_count == 0 and explained.op_count == 2
    assert "test_compile_frontend.py:" in str(explained) and " in f" in str(explained)
    broken = mg.compile.explain(f)(mg.ones(2), True)
    assert broken.graph_break_count == 1 and "test_compile_frontend.py:" in broken.break_reasons[0]
    compiled = mg.compile(f)
    for n in (2, 3):
        compiled(mg.ones(n), False)
    compiled(mg.ones(2, 2, dtype=mg.float64), False)
    assert any("x: shape [2] is now [2, 2]" in r or "x: dtype float32 is now float64" in r for r in compiled.recompiles)


def test_recompiles_in_words() -> None:
    compiled = CompiledFunction(lambda x, options, n=1: x * n * options["k"], dynamic=False)
    x = mg.ones(2)
    compiled(x, {"k": 1.0})
    compiled(x, {"k": 2.0})
    assert compiled.recompiles[-1] == "options['k']: 1.0 is now 2.0"
    compiled(mg.ones(3), {"k": 2.0})
    assert compiled.recompiles[-1] == "x: shape [2] is now [3]"
    with mg.no_grad():
        compiled(mg.ones(3), {"k": 2.0})
    assert compiled.recompiles[-1] == "grad mode is now off"
    compiled(mg.ones(3), {"k": 2.0}, n=2)
    assert "keyword" in compiled.recompiles[-1] or "grad mode" in compiled.recompiles[-1]


def test_trial_keeps_the_faster_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from minigrad.compiler import _trial

    clock: list[float] = [0.0]
    monkeypatch.setattr(_trial.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(_trial, "pending", lambda: False)

    def make(plan: float, eager: float) -> Any:
        compiled = mg.compile(lambda x: x.sin() + 1, fullgraph=True)
        compiled(mg.ones(3))
        entry = compiled.entries[0]
        run, function = entry.run, entry.function

        def timed(f: Any, cost: float) -> Any:
            def call(*args: Any) -> Any:
                clock[0] += cost
                return f(*args)

            return call

        entry.run, entry.function = timed(run, plan), timed(function, eager)
        for _ in range(20):
            assert mg.equal(compiled(mg.ones(3)), compiled.fn(mg.ones(3)))
        return entry

    slow, fast = make(2.0, 1.0), make(1.0, 2.0)
    assert slow.call == slow.run_function and "runs eagerly" in slow.verdict
    assert fast.call == fast.run and "the plan stays" in fast.verdict


def test_random_ops_draw_what_eager_draws() -> None:
    def f(x: Tensor) -> Tensor:
        return F.dropout(x, 0.5) + mg.rand(3) + mg.randn_like(x) * mg.randint(0, 5, (3,))

    compiled = CompiledFunction(f, fullgraph=True)
    for seed in range(3):
        mg.manual_seed(seed)
        got = [compiled(mg.ones(3)) for _ in range(3)]
        mg.manual_seed(seed)
        assert all(mg.equal(a, f(mg.ones(3))) for a in got)


def test_generators_and_seeds() -> None:
    def reseeds(x: Tensor) -> Tensor:
        mg.manual_seed(3)
        return x + mg.rand(2)

    compiled = CompiledFunction(reseeds)
    a, b = compiled(mg.zeros(2)), compiled(mg.zeros(2))
    assert mg.equal(a, b) and "manual_seed() of the random generator" in compiled.reasons[0]
    generator = mg.Generator().manual_seed(1)
    own = CompiledFunction(lambda x: x + mg.rand(2, generator=generator))
    assert not mg.equal(own(mg.zeros(2)), own(mg.zeros(2)))


def test_second_derivatives_with_random_numbers() -> None:
    w = mg.randn(4, requires_grad=True)

    def f(x: Tensor) -> Tensor:
        return (F.dropout(x, 0.5) * w.sin()).sum()

    compiled = CompiledFunction(f, fullgraph=True)
    x, found = mg.randn(4), []
    for g in (compiled, f):
        mg.manual_seed(7)
        (first,) = mg.autograd.grad(g(x), [w], create_graph=True)
        found.append(mg.autograd.grad(first.sum(), [w])[0])
    assert mg.allclose(*found)


@pytest.mark.parametrize("update", [lambda d, x: d.copy_(x), lambda d, x: d.mul_(x)])
def test_written_through_detach_with_gradients(update: Any) -> None:
    """The result has a history, as without compile, though it is an argument's memory."""

    def f(x: Tensor) -> Tensor:
        d = x.detach()
        update(d, x * 2)
        return d

    x, y = (mg.arange(1.0, 4.0).requires_grad_() for _ in range(2))
    plain, compiled = f(x), mg.compile(f)(y)
    assert compiled.requires_grad and mg.equal(plain, compiled)
    plain.sum().backward(), compiled.sum().backward()
    assert mg.equal(x.grad, y.grad) and mg.equal(x, y)


def test_a_trace_refuses_what_is_no_tensor() -> None:
    trace = mg._core.Trace([])
    trace.enter()
    try:
        with pytest.raises(TypeError, match="None"):
            trace.leave([None])
    finally:
        trace.abandon()
