"""Graph breaks of mg.compile, op by op: what happens between them is computed as a graph, and the function is what it is eagerly."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable
from typing import Any

import pytest

import minigrad as mg
from minigrad import nn
from minigrad.compiler import CompiledFunction, explain
from minigrad.compiler._segments import DeferredRuns
from minigrad.nn import functional as F

Tensor = mg.Tensor


class Deferred:
    """A function that always runs in segments."""

    def __init__(self, fn: Callable) -> None:
        self.fn, self.runs = fn, DeferredRuns({})

    def __call__(self, *args: Any) -> Any:
        return self.runs.run_deferred(self.fn, args, {})

    @property
    def plans(self) -> int:
        return self.runs.segments.plans


def same(fn: Callable, *args: Any, times: int = 3, plans: int | None = None) -> Deferred:
    """The function gives in segments what it gives plainly, and settles on that many plans."""
    deferred = Deferred(fn)
    for k in range(times):
        mg.manual_seed(k)
        want = fn(*args)
        mg.manual_seed(k)
        got = deferred(*args)
        pairs = zip(got, want) if isinstance(got, (tuple, list)) else [(got, want)]
        assert all(mg.allclose(g, w) if isinstance(g, Tensor) else g == pytest.approx(w) for g, w in pairs), (got, want)
    assert plans is None or deferred.plans == plans
    return deferred


def test_item_bool_print_and_numpy() -> None:
    def f(x: Tensor) -> Any:
        y = (x * 2).tanh()
        scale = y.sum().item()
        z = y * scale
        if z.mean() > 0:
            z = z + 1
        with contextlib.redirect_stdout(io.StringIO()) as out:
            print(z)
        return z.exp(), float(z.numpy().sum()), len(out.getvalue())

    d = same(f, mg.randn(50), plans=None)
    reasons = [reason for _, reason, _ in d.runs.describe()]
    assert any(r.startswith("item, at") and "in f" in r for r in reasons) and any("numpy" in r for r in reasons)


def test_ops_between_breaks_are_one_kernel() -> None:
    def f(x: Tensor) -> float:
        return mg.tanh(x * 2 + 1).exp().sum().item()

    d = same(f, mg.randn(1000), plans=1)
    ((graph, _, runs),) = d.runs.describe()
    assert runs == 3 and len(graph.calls) == 1


def test_a_training_step_is_one_segment() -> None:
    def train(wrap: Callable) -> tuple[list[float], list[Tensor]]:
        mg.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Dropout(0.2), nn.Linear(16, 3))
        opt = mg.optim.AdamW(model.parameters(), lr=1e-2)

        def step(x: Tensor, y: Tensor) -> float:
            opt.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            return loss.item()

        run = wrap(step)
        mg.manual_seed(1)
        x, y = mg.randn(8, 6), mg.randint(0, 3, (8,))
        losses = [run(x, y) for _ in range(6)]
        if isinstance(run, Deferred):
            assert run.plans == 2  # the first call also makes the optimizer's state
        return losses, [p.detach().clone() for p in model.parameters()]

    (got, params), (want, plain) = train(Deferred), train(lambda f: f)
    assert got == pytest.approx(want, rel=1e-5) and all(mg.allclose(a, b, atol=1e-6) for a, b in zip(params, plain))


def test_gradients_accumulate_and_lie_as_eagerly() -> None:
    def f(x: Tensor) -> Any:
        w = mg.ones(3, 4).t().requires_grad_()
        v, u = mg.ones(3, requires_grad=True), mg.ones(5, 3, requires_grad=True)
        for _ in range(2):
            loss = ((x @ w * v) ** 2 + u.t().exp().t()).sum()
            loss.backward()
            if loss.item() < 0:
                break
        return w.grad, v.grad, u.grad

    x = mg.randn(5, 4)
    d = Deferred(f)
    for _ in range(2):
        for got, want in zip(d(x), f(x)):
            assert mg.allclose(got, want) and got.stride() == want.stride()


def test_writes_views_and_what_shares_memory() -> None:
    def f(x: Tensor) -> Any:
        y = x * 2
        row = y[0]
        row.add_(1)
        flat = y.view(-1)
        total = y.sum().item()
        flat[1:].mul_(total)
        x.add_(1)  # from outside: seen at once
        return y, row, flat, x * 1

    a, b = mg.ones(3, 2), mg.ones(3, 2)
    d = Deferred(f)
    for _ in range(3):
        got, want = d(a), f(b)
        assert all(mg.equal(g, w) for g, w in zip(got, want)) and got[0]._version == want[0]._version
        assert got[1].data_ptr() == got[0].data_ptr() == got[2].data_ptr() and got[1]._base is got[0] and mg.equal(a, b)


def test_random_numbers_are_those_of_the_function() -> None:
    def f(x: Tensor) -> Any:
        y = F.dropout(x, 0.5)
        state = mg.get_rng_state()
        a = mg.rand(3)
        mg.set_rng_state(state)
        b = mg.rand(3)
        z = y * (2 if a.sum().item() > 1 else 3)
        g = mg.Generator().manual_seed(3)
        return y, a, b, z, mg.randn(4), mg.rand(2, generator=g)

    mg.manual_seed(4)
    want = [*f(mg.ones(64)), mg.rand(1)]
    mg.manual_seed(4)
    got = [*Deferred(f)(mg.ones(64)), mg.rand(1)]
    assert all(mg.equal(g, w) for g, w in zip(got, want))


def test_errors_are_raised_where_they_can_be_caught() -> None:
    def f(x: Tensor, at: Tensor) -> Tensor:
        y = x * 2
        try:
            z = y[at]
        except IndexError:
            z = y + 100
        return z + 1

    same(f, mg.arange(4.0), mg.tensor([1, 2]))
    same(f, mg.arange(4.0), mg.tensor([1, 9]))

    def g(a: Tensor) -> Tensor:
        try:
            return mg.linalg.cholesky(a - 10) + 1
        except RuntimeError:
            return a * 3

    same(g, mg.eye(3))


def test_nothing_is_half_done_after_an_error() -> None:
    kept: list[Tensor] = []

    def f(x: Tensor, at: Tensor) -> Tensor:
        kept.clear()
        kept.append(x * 2)
        bad = x[at]
        kept.append(bad)
        kept.append(x + 5)
        return bad.sum()

    d, x = Deferred(f), mg.arange(4.0)
    with pytest.raises(IndexError, match="called at: .*test_compile_segments.py"):
        d(x, mg.tensor([7]))
    assert mg.equal(kept[0], x * 2)
    with pytest.raises(RuntimeError, match="could not be computed"):
        kept[1].tolist()
    with pytest.raises(RuntimeError, match="could not be computed"):
        kept[1] + 1
    assert d(x, mg.tensor([2])).item() == 2

    class Stop(Exception):
        pass

    def g(x: Tensor) -> None:
        kept[:] = [x + 1]
        raise Stop

    for _ in range(2):
        with pytest.raises(Stop):
            Deferred(g)(x)
        assert mg.equal(kept[0], x + 1)
    assert mg._core.handlers_alive() == 0 or kept


def test_early_returns_and_loops_of_any_length() -> None:
    def f(x: Tensor) -> Tensor:
        for k in range(20):
            x = x * 1.5 + 0.1
            if x.sum() > 30:
                return x * k
        return x

    for start in (0.5, 1.0, 3.0):
        same(f, mg.full((4,), start))


def test_what_hands_memory_out_is_computed_before() -> None:
    def f(x: Tensor) -> Any:
        y = x.clone()
        array = y.numpy()
        z = y * 1
        array[:] = 7  # NumPy writes after the call
        w = y * 2
        y.data = x + 1
        v = y * 2
        u = (x * 3).resize_(2)
        return z, w, v, u, (x + 1).untyped_storage().nbytes(), (x * 2).data_ptr() != 0

    same(f, mg.ones(3))


def test_compiled_functions_inside() -> None:
    inner = CompiledFunction(lambda x: x.sin() * 2)
    deferred = Deferred(lambda x: x.cos() + 1)

    def f(x: Tensor) -> Tensor:
        y = inner(x) + deferred(x)
        return y * y.sum().item()

    d = same(f, mg.randn(6))
    assert any("sin, mul, add, sum" in str(graph) for graph, _, _ in d.runs.describe())


def test_numbers_that_change_are_no_new_programs() -> None:
    def f(x: Tensor) -> Tensor:
        scale = x.sum().item()
        return (x * scale).tanh() + 1

    d = Deferred(f)
    for k in range(30):
        x = mg.randn(4) + k
        assert mg.allclose(d(x), f(x))
    assert d.plans < 8


def test_function_transforms_custom_functions_and_autocast_inside() -> None:
    class Double(mg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return g * 2 + ctx.saved_tensors[0] * 0

    def f(x: Tensor) -> Any:
        y = mg.func.vmap(lambda r: r * r.sum())(x)
        (g,) = mg.autograd.grad((Double.apply(x) ** 2).sum(), x)
        h = mg.func.grad(lambda t: (t**3).sum())(x.detach())
        with mg.autocast("cpu", dtype=mg.bfloat16):
            z = x @ x.t()
        k = 1 if y.sum().item() > 0 else 2
        return y * k, g, h, z.float(), z.dtype == mg.bfloat16

    same(f, mg.randn(3, 3, requires_grad=True))


def test_threads() -> None:
    def f(x: Tensor) -> Tensor:
        y = x * 2 + 1
        return y * (1 if y.sum().item() > 0 else 3)

    d, wrong = Deferred(f), []

    def work(seed: int) -> None:
        x = mg.full((100 + seed,), float(seed))
        for _ in range(50):
            if not mg.equal(d(x), f(x)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong

    def g(x: Tensor) -> Tensor:  # another thread asks for what this one has deferred
        y, found = x * 2, []
        t = threading.Thread(target=lambda: found.append((y + 1, y.sum().item())))
        t.start()
        t.join()
        return found[0][0] * found[0][1]

    same(g, mg.ones(5))


def test_what_is_disabled_is_not_deferred() -> None:
    @mg.compiler.disable
    def apart(x: Tensor) -> Tensor:
        return x * 3

    d = same(lambda x: apart(x + 1) + 2, mg.ones(4))
    assert any("compiler.disable" in reason for _, reason, _ in d.runs.describe())
    assert not any("mul" in str(graph) for graph, _, _ in d.runs.describe())


def test_nothing_stays_behind() -> None:
    before = mg._core.handlers_alive()

    def f(x: Tensor) -> Tensor:
        y = x * 2
        return y if y.sum().item() > 0 else x

    y = Deferred(f)(mg.ones(3))
    assert mg._core.handlers_alive() == before and y.tolist() == [2, 2, 2]
    y.add_(1)
    assert y.tolist() == [3, 3, 3] and y.untyped_storage().nbytes() == 12


def test_compile_chooses_and_explains() -> None:
    def f(x: Tensor) -> Tensor:
        y = mg.tanh(x) * 2
        if y.sum() > 0:
            y = y + 1
        return y.exp()

    compiled = mg.compile(f)
    x = mg.ones(2000)
    for _ in range(40):
        assert mg.allclose(compiled(x), f(x))
    assert compiled.pieces.choice in ("segments", "eager") and "us eagerly" in str(explain(compiled)(x))
    fixed = CompiledFunction(f, options={"pieces": "segments"})
    told = explain(fixed)(x)
    assert "-- segment 0:" in str(told) and "ends with item, at" in str(told) and told.graph_count == 2
    with pytest.raises(RuntimeError, match="asked for"):
        mg.compile(f, fullgraph=True)(x)


def test_a_program_that_is_new_every_time_is_left_alone() -> None:
    count = 0

    def f(x: Tensor) -> float:
        nonlocal count
        count += 1
        return (x * count).sum().item()

    compiled = mg.compile(f)
    for _ in range(120):
        compiled(mg.ones(2))
    assert compiled.pieces is None or compiled.pieces.choice == "eager"
    assert count >= 120
