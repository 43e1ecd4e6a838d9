"""What a compiled function sees of tensors besides their values: places in memory, gradients, history, autocast, who has them.

Like test_compile_guards.py: each case is run eagerly and compiled, and every result must be the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from test_compile_guards import Wrap, as_data, twice

import minigrad as mg
from minigrad import nn
from minigrad.compiler import CompiledFunction

Tensor = mg.Tensor
CASES: list[Callable[[Wrap], Iterator[Any]]] = []


def case(f: Callable[[Wrap], Iterator[Any]]) -> Callable:
    CASES.append(f)
    return f


@case
def places_in_memory(wrap: Wrap) -> Iterator[Any]:
    def write(t: Tensor) -> Tensor:
        t.as_strided((2,), (1,), 1).mul_(2)
        return t + 0

    for f in (wrap(lambda t: t * t.storage_offset()), wrap(lambda t: t.as_strided((2,), (1,), 1) * 2), wrap(write)):
        for at in (0, 2, 0, 3):
            base = mg.arange(6.0)
            yield as_data(f(base[at : at + 2])), base.tolist()


@case
def memory_that_is_shared_later(wrap: Wrap) -> Iterator[Any]:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("a", mg.ones(2))
            self.register_buffer("b", mg.ones(2))

        def forward(self, t: Tensor) -> tuple:
            self.a.add_(t)
            self.b.mul_(2)
            return self.a * 1, self.b * 1

    net = Net()
    f = wrap(net)
    yield twice(f)
    net.a.data = net.b.data
    yield twice(f)
    net.a.data = mg.zeros(2)
    yield twice(f)


@case
def data_of_a_parameter_is_replaced(wrap: Wrap) -> Iterator[Any]:
    weight = nn.Parameter(mg.ones(2))

    def f(t: Tensor) -> Tensor:
        weight.data = weight.data * 2 + t
        return weight * 1

    yield twice(wrap(f))
    yield weight.tolist()


@case
def gradients_that_the_code_looks_at(wrap: Wrap) -> Iterator[Any]:
    weight = nn.Parameter(mg.ones(2))
    f = wrap(lambda t: t * 2 if weight.grad is None else t * weight.grad)
    yield twice(f)
    weight.grad = mg.ones(2) * 3
    yield twice(f)
    weight.grad = mg.ones(2) * 5
    yield twice(f)
    weight.grad = None
    yield twice(f)
    f = wrap(lambda t: t.detach() * 2 if t.grad is None else t.detach() * t.grad)
    for k in range(6):
        leaf = mg.ones(2, requires_grad=True)
        leaf.grad = mg.ones(2) * k if k >= 2 else None
        yield as_data(f(leaf))


@case
def backward_on_arguments(wrap: Wrap) -> Iterator[Any]:
    def step(t: Tensor) -> Tensor:
        loss = (t**3).sum()
        loss.backward()
        return loss

    f = wrap(step)
    for _ in range(4):
        leaf = mg.ones(2, requires_grad=True)
        for _ in range(2):
            yield as_data(f(leaf)), leaf.grad.tolist()  # the second time it is added to the first
        below = mg.ones(2, requires_grad=True)
        yield as_data(f(below * 2)), below.grad.tolist()


@case
def questions_about_history(wrap: Wrap) -> Iterator[Any]:
    leaf = mg.ones(2, requires_grad=True)
    f = wrap(lambda t: t * (2 if t.is_leaf else 3) * (1 if t.grad_fn is None else 5))
    g = wrap(lambda t: t.detach() * t._version * (1 if t._base is None else 7))
    for t in (leaf, leaf * 1, leaf.detach(), leaf.exp(), leaf.detach()[:]):
        yield twice(f, t), twice(g, t)
    t = mg.ones(2)
    for _ in range(3):
        yield as_data(g(t))
        t.add_(1)


@case
def gradients_inside_and_outside(wrap: Wrap) -> Iterator[Any]:
    p, q = nn.Parameter(mg.ones(2)), nn.Parameter(mg.ones(2))

    def inside(t: Tensor) -> Tensor:
        (p * t).sum().backward()
        return q * t

    def given(t: Tensor) -> Tensor:
        p.grad = t * 2
        return p * 1

    for f in (wrap(inside), wrap(given)):
        for k in range(3):
            r = f(mg.ones(2) * k)
            r.sum().backward()
            yield as_data(r), p.grad.tolist(), q.grad.tolist()


@case
def one_result_twice(wrap: Wrap) -> Iterator[Any]:
    def double(t: Tensor) -> tuple:
        y = t * 2
        return y, [y], y

    f = wrap(double)
    for _ in range(3):
        leaf = mg.ones(2, requires_grad=True)
        a, (b,), c = f(leaf)
        (a.sum() + (c**2).sum()).backward()
        yield a is b is c, leaf.grad.tolist()


@case
def autocast_in_autocast(wrap: Wrap) -> Iterator[Any]:
    weight = nn.Parameter(mg.ones(2, 2))

    def f(t: Tensor) -> tuple:
        with mg.autocast("cpu", dtype=mg.bfloat16):
            low = t[None] @ weight
        with mg.autocast("cpu", enabled=False):
            full = t[None] @ weight
        return low, full

    f = wrap(f)
    yield twice(f)
    with mg.autocast("cpu", dtype=mg.bfloat16):
        yield twice(f)
        yield as_data((mg.ones(1, 2) @ weight,))
    yield twice(f)


@case
def an_optimizer_gets_other_parameters(wrap: Wrap) -> Iterator[Any]:
    a, b = nn.Parameter(mg.ones(2)), nn.Parameter(mg.ones(2))
    opt = mg.optim.SGD([a], lr=0.1)

    def step(t: Tensor) -> Tensor:
        opt.zero_grad()
        ((a + b) * t).sum().backward()
        opt.step()
        return a * 1

    f = wrap(step)
    yield twice(f)
    opt.param_groups[0]["params"] = [a, b]
    yield twice(f), a.grad.tolist(), b.grad.tolist(), b.tolist()


@pytest.mark.parametrize("how", ["plan", "mg.compile"])
@pytest.mark.parametrize("program", CASES, ids=lambda f: f.__name__)
def test_compiled_like_eager(program: Callable, how: str) -> None:
    wrap = CompiledFunction if how == "plan" else mg.compile
    for step, (got, want) in enumerate(zip(list(program(wrap)), list(program(lambda f: f)), strict=True)):
        assert got == want, f"{program.__name__}, step {step}"
