"""mg.compile's tracer and plans: what is captured gives what the function gives, bit for bit, and what cannot be captured runs eagerly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from by_device import device_type

import minigrad as mg
from minigrad import nn
from minigrad.compiler import CompiledFunction, explain, is_compiling
from minigrad.nn import functional as F

Tensor = mg.Tensor


def forms(compiled: CompiledFunction) -> int:
    return sum(len(family.entries) for family in compiled.sizes.families)


def test_values_and_reuse() -> None:
    compiled = CompiledFunction(lambda x, y: (x * 2 + y).relu().sum(1), fullgraph=True)
    for _ in range(3):
        x, y = mg.randn(3, 4), mg.randn(4)
        assert mg.equal(compiled(x, y), compiled.fn(x, y))
    assert forms(compiled) == 1
    assert mg.equal(compiled(mg.ones(5, 4), y), compiled.fn(mg.ones(5, 4), y)) and forms(compiled) == 2


def make_step(model: nn.Module) -> tuple[Callable, Any]:
    opt = mg.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = mg.optim.lr_scheduler.StepLR(opt, 3, 0.5)

    def step(x: Tensor, y: Tensor) -> Tensor:
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        opt.step()
        scheduler.step()
        return loss

    return step, opt


def test_a_whole_training_step_is_one_graph() -> None:
    def make() -> nn.Module:
        mg.manual_seed(3)
        head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(4 * 36, 2))
        return nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), head)

    ours, theirs = make(), make()
    (step, opt), (eager, other) = make_step(ours), make_step(theirs)
    compiled = CompiledFunction(step, fullgraph=True)
    x, y = mg.randn(5, 1, 8, 8), mg.randint(0, 2, (5,))
    for k in range(8):
        mg.manual_seed(k)
        a = compiled(x, y)
        mg.manual_seed(k)
        assert mg.allclose(a, eager(x, y), rtol=1e-5)
    assert opt.param_groups[0]["lr"] == other.param_groups[0]["lr"] != 1e-2
    for name, value in ours.state_dict().items():
        assert mg.allclose(value, theirs.state_dict()[name], rtol=1e-4, atol=1e-6), name
    for p, q in zip(ours.parameters(), theirs.parameters()):
        assert mg.allclose(p.grad, q.grad, rtol=1e-4, atol=1e-6)
    assert forms(compiled) == 2  # before and after there are gradients


def test_leaves_that_get_one_gradient_have_two_buffers() -> None:
    """Both biases of an LSTM layer get the same tensor; clipping scales each of them once."""
    kept = []
    for compile in (lambda f: f, lambda f: CompiledFunction(f, fullgraph=True)):
        mg.manual_seed(0)
        layer = nn.LSTM(3, 4)
        opt = mg.optim.SGD(layer.parameters(), lr=1.0)
        x = mg.randn(5, 2, 3)

        def step(opt: Any = opt, layer: Any = layer, x: Any = x) -> None:
            opt.zero_grad()
            layer(x)[0].sum().backward()
            nn.utils.clip_grad_norm_(layer.parameters(), 0.01)
            opt.step()

        run = compile(step)
        for _ in range(3):
            run()
        kept.append(list(layer.parameters()))
    assert all(mg.allclose(a, b, rtol=1e-5) for a, b in zip(*kept))


def test_gradients_flow_through_a_compiled_part() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 3))
    compiled = CompiledFunction(lambda x: model(x), fullgraph=True)
    for needs in (False, True):
        x = mg.randn(5, 4, requires_grad=needs)
        history = x * 2
        for f in (compiled, compiled.fn):
            model.zero_grad()
            f(history).pow(2).sum().backward()
            got = [p.grad.clone() for p in model.parameters()] + ([x.grad.clone()] if needs else [])
            x.grad = None
            if f is compiled:
                want = got
        assert all(mg.allclose(g, w, rtol=1e-6, atol=1e-7) for g, w in zip(got, want))
    y = compiled(mg.randn(5, 4))
    assert y.requires_grad and not y.is_leaf
    x = mg.randn(2, 4)
    twice = []
    for f in (compiled, compiled.fn):  # gradients of gradients: the function runs again, recorded
        first = mg.autograd.grad(f(x).pow(2).sum(), [*model.parameters()], create_graph=True)
        twice.append(mg.autograd.grad(sum(g.pow(2).sum() for g in first), [*model.parameters()]))
    assert all(mg.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(*twice))


def test_gradients_accumulate_over_calls() -> None:
    w = mg.ones(3, requires_grad=True)
    compiled = CompiledFunction(lambda x: (w * x).sum().backward(), fullgraph=True)
    for k in range(4):
        compiled(mg.full((3,), float(k)))
        assert w.grad.tolist() == [sum(range(k + 1))] * 3
    w.grad = None
    compiled(mg.ones(3))
    assert w.grad.tolist() == [1, 1, 1]


def test_what_changes_is_seen() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    compiled = CompiledFunction(lambda x: model(x))
    x = mg.randn(2, 3)
    model.eval()
    assert mg.equal(compiled(x), model(x))
    model.train()
    mg.manual_seed(1)
    a = compiled(x)
    mg.manual_seed(1)
    assert mg.equal(a, model(x))
    model.eval()
    with mg.no_grad():
        model[0].weight.fill_(2.0)
    assert mg.equal(compiled(x), model(x))
    model[0].weight = nn.Parameter(mg.zeros(3, 3))
    assert mg.equal(compiled(x), model(x))
    model[0] = nn.Linear(3, 3)
    assert mg.equal(compiled(x), model(x))
    model.double()
    assert mg.equal(compiled(x.double()), model(x.double()))


def test_arguments_of_all_kinds() -> None:
    def f(pair: tuple, options: dict, *, scale: float, flag: bool) -> dict:
        a, b = pair
        return {"sum": a + b * scale, "same": a, "n": 3, "deep": [options["k"] @ a.T if flag else a]}

    compiled = CompiledFunction(f, fullgraph=True)
    a, b, k = mg.randn(2, 3), mg.randn(2, 3), mg.randn(4, 3)
    for scale, flag in ((1.5, True), (2.5, True), (2.5, False)):
        got, want = compiled((a, b), {"k": k}, scale=scale, flag=flag), f((a, b), {"k": k}, scale=scale, flag=flag)
        assert mg.equal(got["sum"], want["sum"]) and mg.equal(got["deep"][0], want["deep"][0])
        assert got["same"] is a and got["n"] == 3
    assert forms(compiled) == 3


def test_in_place_and_views() -> None:
    def f(x: Tensor, y: Tensor) -> Tensor:
        z = x.clone()
        z[1:] += 1
        z.t()[0].mul_(3)
        y.add_(1)
        return z + y

    compiled = CompiledFunction(f, fullgraph=True)
    for same in (False, True):
        x, y = mg.randn(3, 3), mg.randn(3, 3)
        x2, y2 = x.clone(), y.clone()
        if same:
            y, y2 = x, x2
        assert mg.equal(compiled(x, y), f(x2, y2)) and mg.equal(y, y2)
    base, base2 = mg.zeros(4), mg.zeros(4)  # arguments that overlap
    assert mg.equal(compiled(base[:3], base[1:]), f(base2[:3], base2[1:])) and mg.equal(base, base2)


def test_data_dependent_code_runs_eagerly() -> None:
    calls = []

    def f(x: Tensor) -> Tensor:
        calls.append(1)
        if x.sum() > 0:
            return x + 1
        return x - 1

    compiled = CompiledFunction(f)
    for sign in (1.0, -1.0):
        x = mg.full((3,), sign)
        assert compiled(x).tolist() == [2 * sign] * 3
        assert (x + 1).tolist() == [sign + 1] * 3  # the trace that failed left nothing behind
    assert "value of a tensor" in compiled.reasons[0] and forms(compiled) == 0 and len(calls) == 2  # as often as the calls
    with pytest.raises(RuntimeError, match="fullgraph=True"):
        CompiledFunction(f, fullgraph=True)(mg.ones(3))
    sized = CompiledFunction(lambda x: x.nonzero())
    assert sized(mg.ones(2)).shape == (2, 1) and "size" in sized.reasons[0]


def test_errors_are_those_of_the_function() -> None:
    compiled = CompiledFunction(lambda x: x @ mg.ones(3, 2))
    with pytest.raises(RuntimeError, match="matmul"):
        compiled(mg.ones(2, 4))
    assert compiled(mg.ones(2, 3)).tolist() == [[3, 3]] * 2


def test_what_is_kept_outside_is_not_compiled() -> None:
    kept = []

    def f(x: Tensor) -> Tensor:
        kept.append(x * 2)
        return x + 1

    compiled = CompiledFunction(f)
    assert compiled(mg.ones(2)).tolist() == [2, 2] and kept[-1].tolist() == [2, 2] and "kept had 0 entries" in compiled.reasons[0]
    assert len(kept) == 1


def test_no_grad_and_dtype_are_part_of_the_key() -> None:
    w = mg.ones(2, requires_grad=True)
    compiled = CompiledFunction(lambda x: x * w)
    assert compiled(mg.ones(2)).requires_grad
    with mg.no_grad():
        assert not compiled(mg.ones(2)).requires_grad
    with mg.autocast(device_type()):
        lower = CompiledFunction(lambda x: x @ x)
        assert lower(mg.ones(2, 2)).dtype == (mg.bfloat16 if device_type() == "cpu" else mg.float16)
    assert lower(mg.ones(2, 2)).dtype == mg.float32


def test_is_compiling() -> None:
    compiled = CompiledFunction(lambda x: x + (10 if is_compiling() else 1), fullgraph=True)
    assert compiled(mg.ones(2)).tolist() == [11, 11] and not is_compiling()


def test_limit_and_explanation() -> None:
    compiled = CompiledFunction(lambda x: x + 1, limit=2, dynamic=False)
    with pytest.warns(UserWarning, match="2 compiled forms, the limit"):
        for n in range(1, 5):
            assert compiled(mg.ones(n)).tolist() == [2] * n
    assert forms(compiled) == 2
    text = str(explain(lambda x: mg.tanh(x).sum())(mg.ones(2, 2)))
    assert "1 compiled forms" in text and "%1: f32[2, 2] = tanh(%0)" in text


def test_a_view_of_a_repeated_expression_keeps_its_memory() -> None:
    def f(x: Tensor) -> Tensor:
        a = (x + 1).cumsum(1)
        b = (x + 1).cumsum(1).unsqueeze(2)  # the same values: one call is left, and the view is the last to read it
        c = (a.exp().cumsum(0) * 2).cumsum(1).sin().cumsum(0)
        return c.unsqueeze(1) @ b

    compiled = CompiledFunction(f, fullgraph=True)
    x = mg.randn(3, 4)
    for _ in range(3):
        assert mg.allclose(compiled(x), f(x), rtol=1e-5)
