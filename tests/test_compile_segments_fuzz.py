"""Random programs with breaks in them, as segments and plain: see test_compile_fuzz.py, whose programs these are.

A break asks a tensor for a value (and computes with it), runs backward() in the middle, writes to an argument, or takes a number of the
random generator. Values, gradients, layouts and what shares memory are the same. MINIGRAD_COMPILE_FUZZ=20000 for a long run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_compile_fuzz import EXAMPLES, JOINS, NAMES, REDUCTIONS, SHAPES, Step, equal, make, outcome, step, writable

import minigrad as mg
from minigrad.compiler._segments import DeferredRuns

Tensor = mg.Tensor


def asks_item(pool: list[Tensor], x: Tensor) -> Tensor:
    return x * (1.0 if x.sum().item() > 0 else 2.0)


def asks_numpy(pool: list[Tensor], x: Tensor) -> Tensor:
    y = x.detach().float().clone()
    view = y.numpy()
    z = y + 1
    view[...] = 0  # after z was computed
    return z + y


def asks_text(pool: list[Tensor], x: Tensor) -> Tensor:
    return x + float(len(repr(x)) % 3)


def runs_backward(pool: list[Tensor], x: Tensor) -> Tensor:
    if x.requires_grad:
        (x * x).float().sum().backward(retain_graph=True)
        found = [t.grad for t in pool if t.requires_grad and t.is_leaf and t.grad is not None]
        return found[0] + 1 if found else x
    return x


def writes_argument(pool: list[Tensor], x: Tensor) -> Tensor:
    y = pool[0] * 2
    if writable(pool[0]) and pool[0].is_floating_point():
        pool[0].mul_(0.5)
    return y


def seeds(pool: list[Tensor], x: Tensor) -> Tensor:
    before = mg.rand(2)
    mg.manual_seed(int(x.numel()))
    return before + mg.rand(2)


def gives_data(pool: list[Tensor], x: Tensor) -> Tensor:
    y = x.detach().clone()
    other = x.detach() * 3
    z = y * 2
    y.data = other
    return y + z


def counts(pool: list[Tensor], x: Tensor) -> Tensor:
    return x.detach()[x.detach() > 0].sum() + 1


def turns(pool: list[Tensor], x: Tensor) -> Tensor:
    y = x.detach().clone()
    z = y + 1
    return y.t_() if y.dim() == 2 else z


def falls(pool: list[Tensor], x: Tensor) -> Tensor:
    try:
        return x.detach().flatten()[mg.full((1,), x.numel() + 5, dtype=mg.int64)]
    except IndexError:
        return x + 1


BREAKS: dict[str, Callable] = {
    f.__name__: f for f in (asks_item, asks_numpy, asks_text, runs_backward, writes_argument, seeds, gives_data, counts, turns, falls)
}  # fmt: skip


def program(steps: list[Step], results: list[int]) -> Callable:
    def f(*inputs: Tensor) -> Any:
        pool = list(inputs)
        for name, a, b, c in steps:
            made = BREAKS[name](pool, pool[a % len(pool)]) if name in BREAKS else step(pool, name, a, b, c)
            if made is not None:
                pool.append(made)
        for t in inputs:  # what backward() left
            if t.grad is not None:
                pool.append(t.grad)
        return [pool[-1 - k % len(pool)] for k in results]

    return f


def lies(layout: list[Any]) -> list[Any]:
    """Without the strides that mean nothing (empty tensors, dimensions of size 1): a leaf's gradient is the first that comes, or a copy."""

    def taken(size: Any, strides: Any) -> tuple:
        return tuple(s for s, n in zip(strides, size) if n > 1 and size.numel())

    return [*layout[:2], [(size, taken(size, strides), *rest) for size, strides, *rest in layout[2]]] if layout else []


ONE = st.tuples(st.sampled_from([*NAMES, *BREAKS, *BREAKS]), st.integers(0, 9), st.integers(0, 9), st.integers(0, 3))
STEPS = st.lists(ONE, min_size=1, max_size=12)
INPUTS = st.lists(st.tuples(st.integers(0, len(SHAPES) - 1), st.booleans()), min_size=1, max_size=3)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES <= 120, suppress_health_check=list(HealthCheck))
@given(STEPS, st.lists(st.integers(0, 9), min_size=1, max_size=3), INPUTS)
def test_segments_do_what_the_function_does(steps: list[Step], results: list[int], inputs: list[tuple[int, bool]]) -> None:
    f, runs = program(steps, results), DeferredRuns({})
    exact = not any(name in REDUCTIONS or name in JOINS or name in BREAKS for name, *_ in steps) and not any(g for _, g in inputs)
    for seed in (0, 1, 0):
        args = ([k for k, _ in inputs], [g for _, g in inputs], mg.float32, 0, seed)
        got = outcome(lambda *a: runs.run_deferred(f, a, {}), make(*args))
        want = outcome(f, make(*args))
        text = f"{steps} results={results} inputs={inputs} seed={seed}"
        assert got[2] == want[2], text
        assert lies(got[0]) == lies(want[0]), f"{text}\nlayout {got[0]} {want[0]}"
        for k, (g, w) in enumerate(zip(got[1], want[1], strict=True)):
            assert equal(g, w, exact), f"{text}\nvalue {k}: {g} {w}"
