"""mg.compile and Python's own state: what a function changes or reads besides tensors is what it is without compile."""

from __future__ import annotations

import functools
import random
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.compiler import CompiledFunction

Tensor = mg.Tensor
SCALE = 2.0
COUNT = [0]


def ones(n: int = 2) -> Tensor:
    return mg.ones(n)


def test_counters_count_every_call() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls, self.seen = 3, []

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x * self.calls

    net = Net()
    compiled = CompiledFunction(net)
    assert [compiled(ones()).tolist()[0] for _ in range(5)] == [4, 5, 6, 7, 8]
    assert net.calls == 8 and "calls changed from 3 to 4" in compiled.reasons[0]


def test_every_place_a_function_can_write_to() -> None:
    count = 0
    log: dict[str, Any] = {"n": 0, "deep": [set()]}

    class Counter:
        total = 0

        def __init__(self) -> None:
            self.n = 0

    class Slots:
        __slots__ = ("n",)

    counter, slots = Counter(), Slots()
    slots.n = 0

    def closure(x: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return x + count

    def entries(x: Tensor) -> Tensor:
        log["n"] += 1
        return x + log["n"]

    def deep(x: Tensor) -> Tensor:
        log["deep"][0].add(len(log["deep"][0]))
        return x + len(log["deep"][0])

    def attribute(x: Tensor) -> Tensor:
        counter.n += 1
        return x + counter.n

    def of_class(x: Tensor) -> Tensor:
        Counter.total += 1
        return x + Counter.total

    def slot(x: Tensor) -> Tensor:
        slots.n += 1
        return x + slots.n

    def of_globals(x: Tensor) -> Tensor:
        global SCALE
        SCALE += 1
        return x + SCALE

    def through_a_helper(x: Tensor) -> Tensor:
        bump()
        return x + COUNT[0]

    def on_the_function(x: Tensor) -> Tensor:
        on_the_function.n = getattr(on_the_function, "n", 0) + 1
        return x + on_the_function.n

    for f in (closure, entries, deep, attribute, of_class, slot, of_globals, through_a_helper, on_the_function):
        compiled = CompiledFunction(f)
        got = [compiled(ones()).tolist()[0] for _ in range(4)]
        assert got == [got[0] + k for k in range(4)], f.__name__
        assert compiled.reasons and "changed" in compiled.reasons[0], f.__name__


def bump() -> None:
    COUNT[0] += 1


def test_what_is_read_is_guarded() -> None:
    factor, table = 2.0, {"a": 1.0}

    class Config:
        bias = 0.0

        def __init__(self) -> None:
            self.power, self.sizes = 1.0, [1, 2]

    config = Config()

    def f(x: Tensor) -> Tensor:
        return x * factor * SCALE * table["a"] ** config.power + config.bias + sum(config.sizes)

    compiled = CompiledFunction(f, fullgraph=True, limit=20)

    def check() -> None:
        assert mg.equal(compiled(ones()), f(ones()))

    check()
    factor = 3.0
    check()
    table["a"] = 2.0
    check()
    config.power = 2.0
    check()
    Config.bias = 1.0
    check()
    config.sizes.append(3)
    check()
    globals()["SCALE"] += 1
    check()
    assert len(compiled.entries) == 7
    check()
    assert len(compiled.entries) == 7
    words = " | ".join(compiled.recompiles)
    for word in ("factor: 2.0 is now 3.0", "power: 1.0 is now 2.0", "bias: 0.0 is now 1.0", "2 entries are now 3", "SCALE: "):
        assert word in words, words


def test_only_what_is_read_is_guarded() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.model, self.history, self.epoch = nn.Linear(2, 2), [], 0

        def step(self, x: Tensor) -> Tensor:
            return self.model(x).sum()

    trainer = Trainer()
    compiled = CompiledFunction(trainer.step, fullgraph=True)
    for _ in range(4):
        trainer.history.append(compiled(ones()).item())
        trainer.epoch += 1
    assert len(compiled.entries) == 1


def test_settings_of_modules_are_guarded() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.LayerNorm(4))
    compiled = CompiledFunction(lambda x: model(x), fullgraph=True)
    x = mg.randn(3, 4)
    changes = (lambda: None, lambda: setattr(model[0], "p", 0.0), lambda: setattr(model[1], "eps", 1.0), lambda: model.append(nn.ReLU()))
    for change in changes:
        change()
        mg.manual_seed(0)
        got = compiled(x)
        mg.manual_seed(0)
        assert mg.equal(got, model(x))
    seen: list[int] = []
    model[1].register_forward_hook(lambda *a: seen.append(1))
    with pytest.raises(RuntimeError, match="seen had 0 entries"):
        compiled(x)
    assert len(compiled.entries) == 4 and "_has_hooks" in compiled.recompiles[-1]


def test_outside_world_is_not_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    def prints(x: Tensor) -> Tensor:
        print("called")
        return x + 1

    def draws(x: Tensor) -> Tensor:
        return x + random.random()

    def draws_numpy(x: Tensor) -> Tensor:
        return x + float(np.random.rand())

    def reads_clock(x: Tensor) -> Tensor:
        return x + time.perf_counter()

    for f in (prints, draws, draws_numpy, reads_clock):
        compiled = CompiledFunction(f)
        random.seed(0), np.random.seed(0)
        got = [compiled(ones()).tolist()[0] for _ in range(3)]
        assert compiled.reasons, f.__name__
        if f in (draws, draws_numpy):
            random.seed(0), np.random.seed(0)
            assert got == [f(ones()).tolist()[0] for _ in range(3)]
    assert capsys.readouterr().out == "called\n" * 3


def test_numpy_arrays_and_iterators_from_outside() -> None:
    array, numbers = np.ones(2, np.float32), iter(range(100))

    def reads(x: Tensor) -> Tensor:
        return x + mg.tensor(array)

    def moves(x: Tensor) -> Tensor:
        return x + next(numbers)

    reading, moving = CompiledFunction(reads), CompiledFunction(moves)
    assert reading(ones()).tolist() == [2, 2]
    array[:] = 5
    assert reading(ones()).tolist() == [6, 6] and "NumPy array" in reading.reasons[0]
    assert [moving(ones()).tolist()[0] for _ in range(3)] == [1, 2, 3] and "iterator" in moving.reasons[0]
    given = CompiledFunction(lambda x, n: x + sum(n))
    assert given(ones(), (k for k in range(3))).tolist() == [4, 4] and "generator" in given.reasons[0]


def test_caches_are_filled_eagerly_then_compiled() -> None:
    @functools.lru_cache
    def mask(n: int) -> Tensor:
        return mg.ones(n, n).tril()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cache: dict[int, Tensor] = {}

        def forward(self, x: Tensor) -> Tensor:
            if len(x) not in self.cache:
                self.cache[len(x)] = mg.arange(len(x)) * 1.0
            return x + self.cache[len(x)]

    for f in (lambda x: x @ mask(3), Net()):
        compiled = CompiledFunction(f)
        for _ in range(4):
            assert mg.equal(compiled(ones(3)), f(ones(3)))
        assert len(compiled.entries) == 1 and len(compiled.reasons) == 1


def test_arguments_that_are_changed() -> None:
    def f(x: Tensor, out: list) -> Tensor:
        out.append(x * 2)
        return x

    compiled = CompiledFunction(f)
    for _ in range(3):
        out: list[Tensor] = []
        compiled(ones(), out)
        assert out[0].tolist() == [2, 2]
    assert "was changed" in compiled.reasons[0]
    same = CompiledFunction(lambda x, d: d)
    d = {"a": ones()}
    assert same(ones(), d) is d


@dataclass
class Batch:
    x: Tensor
    y: Tensor
    weight: float = 1.0


def test_dataclasses_and_named_tuples() -> None:
    def f(batch: Batch) -> Batch:
        return Batch(batch.x * batch.weight, batch.y + 1)

    compiled = CompiledFunction(f, fullgraph=True)
    for k in range(3):
        got = compiled(Batch(mg.full((2,), float(k)), ones(), 3.0))
        assert isinstance(got, Batch) and got.x.tolist() == [3 * k] * 2 and got.y.tolist() == [2, 2] and got.weight == 1.0
    assert len(compiled.entries) == 1
    assert compiled(Batch(ones(), ones(), 4.0)).x.tolist() == [4, 4] and "batch.weight: 3.0 is now 4.0" in compiled.recompiles[0]


def test_a_tensor_made_from_numbers_is_new_in_every_call() -> None:
    def f(x: Tensor) -> tuple[Tensor, Tensor]:
        total = mg.tensor(0.0)
        total += x.sum()
        return total, mg.tensor([1.0, 2.0])

    compiled = CompiledFunction(f, fullgraph=True)
    for _ in range(3):
        total, two = compiled(ones())
        assert total.item() == 2 and two.tolist() == [1, 2]
        two += 5
        total += 5


def test_objects_in_results() -> None:
    class Stats:
        pass

    compiled = CompiledFunction(lambda x: (x, Stats()))
    a, b = compiled(ones())[1], compiled(ones())[1]
    assert a is not b and "Stats" in compiled.reasons[0]
