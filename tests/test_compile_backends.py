"""mg.compile(backend=callable): what a backend is given, what it may return, and what is said when it is wrong."""

from __future__ import annotations

from typing import Any

import pytest

import minigrad as mg
from minigrad import _dynamo, nn
from minigrad.compiler import explain, list_backends, lookup_backend, register_backend

Tensor = mg.Tensor


def test_a_backend_sees_the_graph_and_the_inputs() -> None:
    seen: list[Any] = []

    def look(graph: Any, inputs: list[Tensor]) -> Any:
        seen.append((graph, inputs))
        return graph.forward

    def f(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y).relu().sum(0)

    x, y = mg.randn(4, 3), mg.randn(3, 2)
    compiled = mg.compile(f, backend=look)
    for _ in range(3):
        assert mg.equal(compiled(x, y), f(x, y))
    ((graph, inputs),) = seen
    assert [call.op for call in graph] == ["matmul", "relu", "sum"] and inputs[0] is x and inputs[1] is y
    assert "relu(" in str(graph) and graph.calls[1].args["input"].index == graph.calls[0].outputs[0].index
    assert tuple(graph.calls[2].args["dim"]) == (0,) and "test_compile_backends.py" in graph.calls[0].line
    compiled(mg.randn(5, 3), y)
    assert len(seen) == 2


def test_gradients_come_through_what_a_backend_runs() -> None:
    def own(graph: Any, inputs: list[Tensor]) -> Any:
        def run(*now: Tensor) -> tuple[Tensor, ...]:
            return tuple(t * 2 for t in graph(*now))

        return run

    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x = mg.randn(5, 3, requires_grad=True)
    for _ in range(2):
        model.zero_grad()
        mg.compile(model, backend=own)(x).sum().backward()
        got, gx = model[0].weight.grad.clone(), x.grad.clone()
        model.zero_grad()
        x.grad = None
        (2 * model(x).sum()).backward()
        assert mg.allclose(got, model[0].weight.grad) and mg.allclose(gx, x.grad)
        x.grad = None


def test_the_graph_as_this_compiler_runs_it() -> None:
    compiled = mg.compile(lambda x: mg.tanh(x * 2) + 1, backend=lambda graph, inputs: graph.compiled())
    x = mg.randn(7, requires_grad=True)
    for _ in range(3):
        y = compiled(x)
        assert mg.equal(y, mg.tanh(x * 2) + 1)
        assert mg.autograd.grad(y.sum(), x)[0].shape == (7,)


def test_structures_writes_and_what_is_handed_on() -> None:
    def f(x: Tensor, state: dict[str, Tensor]) -> Any:
        state["n"].add_(1)
        return {"y": x + state["n"], "x": x, "k": 3}

    compiled = mg.compile(f, backend=lambda graph, inputs: graph)
    x, state = mg.ones(2), {"n": mg.zeros(2)}
    for k in range(3):
        out = compiled(x, state)
        assert out["y"].tolist() == [k + 2.0] * 2 and out["x"] is x and out["k"] == 3 and state["n"].tolist() == [k + 1.0] * 2


def test_mode_and_options_reach_the_backend() -> None:
    given: list[Any] = []

    def own(graph: Any, inputs: list[Tensor], **options: Any) -> Any:
        given.append(options)
        return graph

    mg.compile(lambda x: x + 1, backend=own, options={"tile": 4})(mg.ones(1))
    mg.compile(lambda x: x + 1, backend=own, mode="max-autotune")(mg.ones(1))
    assert given == [{"options": {"tile": 4}}, {"mode": "max-autotune"}]


def test_backward_inside_is_no_part_of_it() -> None:
    model = nn.Linear(3, 1)
    seen: list[Any] = []

    def own(graph: Any, inputs: list[Tensor]) -> Any:
        seen.append(graph)
        return graph

    @mg.compile(backend=own)
    def step(x: Tensor) -> Tensor:
        model.zero_grad()
        loss = model(x).sum()
        loss.backward()
        return loss

    x = mg.randn(2, 3)
    for _ in range(3):
        step(x)
        assert mg.allclose(model.weight.grad, x.sum(0, keepdim=True))
    assert seen and all(call.op == "linear" for graph in seen for call in graph)  # the module is a region
    assert "does not see" in str(explain(step)(x))


def test_errors_name_the_backend() -> None:
    def broken(graph: Any, inputs: list[Tensor]) -> Any:
        raise KeyError("tile")

    def lazy(graph: Any, inputs: list[Tensor]) -> Any:
        return None

    def wrong(graph: Any, inputs: list[Tensor]) -> Any:
        return lambda *now: now[0]

    broken_text, lazy_text = "backend='broken' raised:\nKeyError", "'lazy' returned a NoneType"
    wrong_text = "'wrong' made a function .* a Tensor"
    for backend, text in ((broken, broken_text), (lazy, lazy_text), (wrong, wrong_text)):
        with pytest.raises(RuntimeError, match=text) as info:
            mg.compile(lambda x: x + 1, backend=backend)(mg.ones(2))
        assert info.value.backend_name == backend.__name__
    with pytest.raises(RuntimeError, match="Invalid backend: 'nonsense'"):
        mg.compile(lambda x: x, backend="nonsense")
    with pytest.raises(RuntimeError, match="name or a function"):
        mg.compile(lambda x: x, backend=3)


def test_names() -> None:
    @register_backend
    def my_backend(graph: Any, inputs: list[Tensor]) -> Any:
        return graph

    register_backend(name="my_debugger", tags=("debug",))(my_backend)
    try:
        assert "my_backend" in list_backends() and "my_debugger" not in list_backends() and "my_debugger" in _dynamo.list_backends(None)
        assert lookup_backend("my_backend") is my_backend and _dynamo.lookup_backend is lookup_backend
        assert mg.compile(lambda x: x * 3, backend="my_backend")(mg.ones(1)).item() == 3
        with pytest.raises(ValueError, match="there is a backend 'inductor'"):
            _dynamo.register_backend(my_backend, name="inductor")
        with pytest.raises(RuntimeError, match="Invalid backend"):
            lookup_backend("nonsense")
        for name in ("inductor", "eager"):
            assert mg.compile(lambda x: x * 3, backend=lookup_backend(name))(mg.ones(1)).item() == 3
    finally:
        from minigrad.compiler import _backends

        _backends._registered.clear()
