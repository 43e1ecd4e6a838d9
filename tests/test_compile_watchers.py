"""mg.compile and whoever wants to see each op: hooks, modes, transforms, subclasses, anomaly mode get what they get without it."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import minigrad as mg
from minigrad import nn
from minigrad.compiler import CompiledFunction

Tensor = mg.Tensor


def test_gradient_hooks() -> None:
    def run(f: Any, w: Tensor, hook: bool) -> list[float]:
        w.grad = None
        handle = w.register_hook(lambda g: g * 10) if hook else None
        f(mg.ones(2)).sum().backward()
        if handle is not None:
            handle.remove()
        return w.grad.tolist()

    w = mg.ones(2, requires_grad=True)
    compiled = CompiledFunction(lambda x: x * w * 3)
    for hook in (False, True, False, True):
        assert run(compiled, w, hook) == run(compiled.fn, w, hook)
    assert len(compiled.entries) == 1 and "gradient hooks" in compiled.reasons[0]

    inside = CompiledFunction(lambda x: (x * w).sum().backward())
    seen: list[int] = []
    for hook in (False, True, False):
        handle = w.register_hook(lambda g: g * 2) if hook else None
        after = w.register_post_accumulate_grad_hook(lambda p: seen.append(1)) if hook else None
        grads = []
        for f in (inside, inside.fn):
            w.grad = None
            f(mg.ones(2))
            grads.append(w.grad.tolist())
        assert grads[0] == grads[1]
        for h in (handle, after):
            if h is not None:
                h.remove()
    assert len(seen) == 2


def test_hooks_of_modules() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    compiled = mg.compile(model)
    x = mg.randn(3, 2)
    compiled(x)
    handle = model[0].register_forward_hook(lambda m, i, o: o * 2)
    assert mg.equal(compiled(x), model(x))
    handle.remove()
    assert mg.equal(compiled(x), model(x))


def test_transforms_and_modes() -> None:
    compiled = CompiledFunction(lambda x: (x.sin() * 2).sum())
    x = mg.randn(3, 4)
    compiled(x)
    assert mg.equal(mg.func.vmap(compiled)(x), mg.func.vmap(compiled.fn)(x))
    assert mg.allclose(mg.func.grad(compiled)(x), x.cos() * 2)
    assert mg.allclose(mg.func.jvp(compiled, (x,), (x,))[1], (x.cos() * 2 * x).sum())
    assert mg.allclose(mg.func.vmap(mg.func.grad(compiled))(x), x.cos() * 2)
    assert mg.allclose(mg.func.jacrev(CompiledFunction(lambda x: x.sin()))(x[0]), mg.diag(x[0].cos()))

    seen: list[str] = []

    class Mode(mg.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(getattr(func, "__name__", ""))
            return func(*args, **(kwargs or {}))

    with Mode():
        compiled(x)
    assert "sin" in seen
    with mg.autograd.detect_anomaly():
        assert compiled(x).shape == ()
    packed: list[int] = []
    w = mg.ones(4, requires_grad=True)
    square = CompiledFunction(lambda x: (x * w).pow(2).sum())
    square(x)
    with mg.autograd.graph.saved_tensors_hooks(lambda t: (packed.append(1), t)[1], lambda t: t):
        square(x).backward()
    assert packed and len(square.entries) == 1


def test_batched_gradients() -> None:
    w = mg.randn(3, requires_grad=True)
    compiled = CompiledFunction(lambda x: x * w.sin(), fullgraph=True)
    x, eye = mg.randn(3), mg.eye(3)
    got = mg.autograd.grad(compiled(x), [w], eye, is_grads_batched=True)[0]
    assert mg.allclose(got, mg.autograd.grad(compiled.fn(x), [w], eye, is_grads_batched=True)[0])


def test_subclasses_with_a_protocol() -> None:
    class Logged(mg.Tensor):
        names: list[str] = []

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            cls.names.append(getattr(func, "__name__", ""))
            return super().__torch_function__(func, types, args, kwargs or {})

    compiled = CompiledFunction(lambda x: x.sin() + 1)
    plain = mg.ones(2)
    compiled(plain)
    logged = plain.as_subclass(Logged)
    for _ in range(2):
        Logged.names.clear()
        assert type(compiled(logged)) is Logged and "sin" in Logged.names
    assert type(compiled(plain)) is mg.Tensor and len(compiled.entries) == 1


def test_what_backward_needs() -> None:
    w = mg.ones(2, requires_grad=True)
    compiled = CompiledFunction(lambda x: (x * w).exp(), fullgraph=True)
    y = compiled(mg.ones(2)).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert mg.allclose(w.grad, mg.full((2,), 2 * 2.7182817))
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()
    product = CompiledFunction(lambda x: x * w, fullgraph=True)
    x = mg.ones(2)
    y = product(x).sum()
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
    two = CompiledFunction(lambda x: (x * w, x + w, x), fullgraph=True)
    w.grad = None
    a, _, c = two(mg.full((2,), 3.0))
    a.sum().backward()
    assert w.grad.tolist() == [3, 3] and not c.requires_grad


def test_nothing_stays_alive() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x).sum()

    net = Net()
    compiled = mg.compile(net)
    for _ in range(12):
        compiled(mg.ones(2)).backward()
    gone = weakref.ref(net)
    del net, compiled
    gc.collect()
    assert gone() is None
