"""What a compiled function reads of Python's state: when it changes between calls, the next call sees it.

Each case is run eagerly and compiled, and every result must be the same."""

from __future__ import annotations

import contextvars
import functools
import os
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import minigrad as mg
from minigrad import nn
from minigrad.compiler import CompiledFunction

Tensor = mg.Tensor
Wrap = Callable[[Callable], Callable]
X = [1.0, 2.0]
CASES: list[Callable[[Wrap], Iterator[Any]]] = []


def case(f: Callable[[Wrap], Iterator[Any]]) -> Callable:
    CASES.append(f)
    return f


def twice(f: Callable, *args: Any) -> list[Any]:
    """Of three calls: so that a compiled form is made and used."""
    return [as_data(f(*(args or (mg.tensor(X),)))) for _ in range(3)]


def as_data(value: Any) -> Any:
    if isinstance(value, Tensor):
        return str(value.dtype), value.detach().tolist()
    return [as_data(v) for v in value] if isinstance(value, (list, tuple)) else value


@case
def methods_are_replaced(wrap: Wrap) -> Iterator[Any]:
    class Net(nn.Module):
        def forward(self, t: Tensor) -> Tensor:
            return self.inner(t)

        def inner(self, t: Tensor) -> Tensor:
            return t * 2

    f = wrap(Net())
    yield twice(f)
    Net.inner = lambda self, t: t * 3
    yield twice(f)
    Net.forward = lambda self, t: t * 7
    yield twice(f)


@case
def functions_change(wrap: Wrap) -> Iterator[Any]:
    def helper(t: Tensor, k: int = 2, *, j: int = 1) -> Tensor:
        return t * k + j

    def other(t: Tensor, k: int = 2, *, j: int = 1) -> Tensor:
        return t - k

    f = wrap(lambda t: helper(t))
    yield twice(f)
    helper.__defaults__ = (5,)
    yield twice(f)
    helper.__kwdefaults__["j"] = 7
    yield twice(f)
    helper.__kwdefaults__ = {"j": 9}
    yield twice(f)
    helper.__code__ = other.__code__
    yield twice(f)
    part = functools.partial(lambda t, k: t * k, k=2)
    f = wrap(part)
    yield twice(f)
    part.keywords["k"] = 5
    yield twice(f)


@case
def other_modules_hold_settings(wrap: Wrap) -> Iterator[Any]:
    module = types.ModuleType("settings_of_a_program")
    module.options, module.table = types.SimpleNamespace(scale=2.0), [1, 2]
    module.mask, module.helper = mg.ones(2), lambda t: t + 1
    space = {"settings": module, "__name__": "program"}
    exec("def f(t): return settings.helper(t * settings.options.scale) + settings.mask + settings.table[0]", space)
    f = wrap(space["f"])
    yield twice(f)
    module.options.scale = 3.0
    yield twice(f)
    module.mask = mg.zeros(2)
    yield twice(f)
    module.helper = lambda t: t - 1
    yield twice(f)
    module.table[0] = 50
    yield twice(f)
    module.options = types.SimpleNamespace(scale=9.0)
    yield twice(f)


@case
def classes_hold_settings(wrap: Wrap) -> Iterator[Any]:
    class Settings:
        table, options, mask, k = [1, 2], types.SimpleNamespace(bias=2.0), mg.ones(2), 3

    settings = Settings()
    f = wrap(lambda t: t * settings.table[1] * settings.k + Settings.mask + settings.options.bias)
    yield twice(f)
    Settings.table[1] = 5
    yield twice(f)
    Settings.mask = mg.zeros(2)
    yield twice(f)
    Settings.options.bias = 10.0
    yield twice(f)
    Settings.k = 7
    yield twice(f)
    settings.k = 11  # hides the class's
    yield twice(f)
    del settings.k
    yield twice(f)


@case
def an_attribute_hides_that_of_a_module_class(wrap: Wrap) -> Iterator[Any]:
    class Net(nn.Module):
        temperature = 1.0

        def forward(self, t: Tensor) -> Tensor:
            return t / self.temperature * (3 if hasattr(self, "extra") else 1)

    net = Net()
    f = wrap(net)
    yield twice(f)
    net.temperature = 2.0
    yield twice(f)
    net.extra = True
    yield twice(f)
    del net.temperature
    yield twice(f)


@case
def a_class_of_classes(wrap: Wrap) -> Iterator[Any]:
    class Meta(type):
        scale = 2.0

    class Scaled(metaclass=Meta):
        pass

    f = wrap(lambda t: t * Scaled.scale)
    yield twice(f)
    Meta.scale = 5.0
    yield twice(f)


@case
def a_tensor_that_is_only_handed_on(wrap: Wrap) -> Iterator[Any]:
    state = types.SimpleNamespace(h=mg.zeros(2))
    f = wrap(lambda t: (state.h, t * 2))
    yield twice(f), f(mg.ones(2))[0] is state.h
    state.h = mg.ones(2)
    yield twice(f), f(mg.ones(2))[0] is state.h


@case
def names_come_and_go(wrap: Wrap) -> Iterator[Any]:
    class Slots:
        __slots__ = ("v", "w")

    slots, plain = Slots(), types.SimpleNamespace()
    slots.v = 2
    f = wrap(lambda t: t * slots.v + getattr(slots, "w", 0) + getattr(plain, "w", 0))
    yield twice(f)
    slots.w = 100
    yield twice(f)
    plain.w = 1000
    yield twice(f)
    space = {"__name__": "program"}
    exec("def f(t): return t * len(t)", space)
    f = wrap(space["f"])
    yield twice(f)
    space["len"] = lambda t: 50
    yield twice(f)


@case
def classes_of_containers(wrap: Wrap) -> Iterator[Any]:
    class Table(dict):
        pass

    class Row(list):
        pass

    table, row = Table(a=1), Row([1])
    table.scale = row.scale = 2.0
    f = wrap(lambda t: t * table.scale * table["a"] + row.scale * row[0])
    yield twice(f)
    table.scale = 3.0
    yield twice(f)
    row.scale = 5.0
    yield twice(f)


@case
def weak_references(wrap: Wrap) -> Iterator[Any]:
    class Owner:
        scale = 2.0

    owner = Owner()
    reference, table = weakref.ref(owner), weakref.WeakKeyDictionary({owner: 2.0})
    f = wrap(lambda t: t * reference().scale + table[owner])
    yield twice(f)
    owner.scale = 3.0
    yield twice(f)
    table[owner] = 10.0
    yield twice(f)


@case
def threads_contexts_and_the_environment(wrap: Wrap) -> Iterator[Any]:
    local, variable, name = threading.local(), contextvars.ContextVar("scale", default=2.0), "MINIGRAD_A_TEST"
    local.v = 1.0
    f = wrap(lambda t: t * local.v * variable.get() + float(os.environ.get(name, 0)))
    yield twice(f)
    found: list[Any] = []

    def elsewhere() -> None:
        local.v = 5.0
        found.append(twice(f))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    yield found
    yield twice(f)
    token = variable.set(4.0)
    yield twice(f)
    variable.reset(token)
    os.environ[name] = "100"
    yield twice(f)
    del os.environ[name]
    yield twice(f)


@case
def attributes_of_tensors(wrap: Wrap) -> Iterator[Any]:
    kept = mg.ones(2)
    kept.scale, kept.calls = 2.0, 0
    f = wrap(lambda t: t * kept.scale * getattr(t, "weight", 1.0))
    yield twice(f)
    kept.scale = 3.0
    yield twice(f)
    marked = mg.tensor(X)
    marked.weight = 5.0
    yield twice(f, marked)
    marked.weight = 6.0
    yield twice(f, marked)
    yield twice(f)

    def counts(t: Tensor) -> Tensor:
        kept.calls += 1
        t.seen = getattr(t, "seen", 0) + 1
        return t * kept.calls * t.seen

    yield twice(wrap(counts))
    yield kept.calls


@pytest.mark.parametrize("how", ["plan", "mg.compile"])
@pytest.mark.parametrize("program", CASES, ids=lambda f: f.__name__)
def test_compiled_like_eager(program: Callable, how: str) -> None:
    wrap = CompiledFunction if how == "plan" else mg.compile
    for step, (got, want) in enumerate(zip(list(program(wrap)), list(program(lambda f: f)), strict=True)):
        assert got == want, f"{program.__name__}, step {step}"
