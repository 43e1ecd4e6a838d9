"""Dynamic shapes of the compiler: one program at many sizes is one form; what a size decides is seen; sizes 0 and 1 are themselves."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

import minigrad as mg
from minigrad import compiler, nn
from minigrad.compiler import CompiledFunction
from minigrad.compiler._dynamic import with_symbols
from minigrad.nn import functional as F

Tensor = mg.Tensor


@pytest.fixture(autouse=True)
def no_warnings() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def program(f: Callable, sizes: list[int], dynamic: bool | None = None, twice: bool = True) -> CompiledFunction:
    """The compiled form of f after calls with x: f32[n, 3]; each call gave what f gives."""
    compiled = CompiledFunction(f, dynamic=dynamic)
    for n in [size for size in sizes for _ in range(1 + twice)]:
        x = mg.randn(n, 3)
        got, want = compiled(x), f(x)
        assert type(got) is type(want)
        assert mg.allclose(got, want, rtol=1e-5, atol=1e-6) if isinstance(want, Tensor) else got == want
    return compiled


def test_many_sizes_are_one_form() -> None:
    compiled = program(lambda x: (x.reshape(-1) * x.shape[0] + mg.arange(3 * len(x))).view(len(x), 3).sum(1), [2, 5, 7, 11, 12, 3, 40])
    assert len(compiled.entries) == 1 and [f.n_sizes for f in compiled.sizes.families] == [7]


def test_more_sizes_than_the_limit_of_forms() -> None:
    compiled = program(lambda x: x.t() @ x, list(range(2, 40)))
    assert len(compiled.entries) == 1 and compiled.sizes.families[0].n_sizes == 38 and not compiled.reasons
    traces = len(compiled.traces)
    for n in range(2, 40):
        compiled(mg.randn(n, 3))
    assert len(compiled.traces) == traces == 38


def test_sizes_that_come_once_are_not_traced() -> None:
    compiled = program(lambda x: x.sin().sum(0), list(range(2, 40)), twice=False)
    assert len(compiled.traces) == 4


def test_a_branch_on_a_size_is_seen() -> None:
    def f(x: Tensor) -> Tensor:
        return x.sin() if x.shape[0] > 6 else x.cos()

    compiled = program(f, [2, 9, 5, 7, 6, 10, 3, 8])
    assert len(compiled.entries) == 2 and sorted(family.n_sizes for family in compiled.sizes.families) == [4, 4]


def test_a_loop_over_a_size() -> None:
    def f(x: Tensor) -> Tensor:
        total = x[0]
        for k in range(1, len(x)):
            total = total + x[k] * k
        return total

    compiled = program(f, [2, 3, 4, 5])
    assert len(compiled.entries) == 4


def test_numbers_that_no_formula_fits() -> None:
    table = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
    compiled = program(lambda x: x * table[len(x)], [2, 3, 4, 5, 6, 7, 8])
    assert len(compiled.entries) == 1 and "other=?" in compiled.sizes.families[0].text


def test_zero_and_one() -> None:
    compiled = program(lambda x: (x + mg.ones(x.shape[0], 1)).softmax(0).sum(), [4, 1, 0, 7, 1, 0])
    assert sum(family.n_sizes for family in compiled.sizes.families) == 4


def test_results_that_depend_on_a_size() -> None:
    compiled = program(lambda x: (len(x), x.shape[0] * 2.5, list(x.shape)), [2, 4, 6, 8, 2])
    assert len(compiled.entries) == 1


def test_static() -> None:
    with pytest.warns(UserWarning, match="the limit"):
        compiled = program(lambda x: x + 1, list(range(2, 14)), dynamic=False)
    assert len(compiled.entries) == compiled.limit


def test_marks() -> None:
    def f(x: Tensor) -> Tensor:
        return x.sin() if len(x) > 4 else x

    compiled = CompiledFunction(f)
    for n in (3, 6):
        x = mg.randn(n, 2)
        compiler.mark_dynamic(x, 0)
        compiled(x)
    assert "another program than before: " in compiled.sizes.notes[0]
    compiled = CompiledFunction(lambda x: x + 1)
    for n in (3, 6, 7):
        x = mg.randn(n, 2)
        compiler.mark_static(x, 0)
        compiled(x)
    assert len(compiled.entries) == 3
    compiled = CompiledFunction(lambda x: x + 1)
    for n in (3, 6, 7):
        x = mg.randn(n, 2)
        compiler.mark_static(x, 1)
        compiled(x)
    assert len(compiled.entries) == 1
    with pytest.raises(IndexError, match="dimension 2"):
        compiler.mark_dynamic(x, 2)


def test_numbers_as_arguments() -> None:
    compiled = CompiledFunction(lambda x, n, scale: x[:n] * scale)
    x = mg.randn(30, 2)
    for n in range(2, 30):
        for _ in range(2):
            assert mg.equal(compiled(x, n, n / 4), x[:n] * (n / 4))
    assert len(compiled.entries) == 1


def test_training_steps_at_many_batch_sizes() -> None:
    def make() -> tuple[nn.Module, Callable]:
        mg.manual_seed(1)
        model = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 2))
        opt = mg.optim.AdamW(model.parameters(), lr=1e-2)

        def step(x: Tensor, y: Tensor) -> Tensor:
            opt.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            return loss

        return model, step

    (ours, step), (theirs, eager) = make(), make()
    compiled = CompiledFunction(step)
    for n in [4, 5, 6, 7, 8, 9, 10] * 3:
        x, y = mg.randn(n, 3), mg.randint(0, 2, (n,))
        assert mg.allclose(compiled(x, y), eager(x, y), rtol=1e-5)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert mg.allclose(p, q, rtol=1e-4, atol=1e-6)
    assert len(compiled.entries) <= 2  # before and after there are gradients


def test_gradients_through_a_part_at_many_sizes() -> None:
    w = mg.randn(3, 4, requires_grad=True)
    compiled = CompiledFunction(lambda x: (x @ w).relu())
    for n in [3, 4, 5, 6, 7, 3, 4, 5, 6, 7]:
        x = mg.randn(n, 3)
        got, want = (mg.autograd.grad(f(x).pow(2).sum(), w)[0] for f in (compiled, compiled.fn))
        assert mg.allclose(got, want, rtol=1e-5)
    assert len(compiled.entries) == 1


def test_two_modules_at_the_same_sizes() -> None:
    compiled = CompiledFunction(lambda m, x: m(x))
    models = [nn.Linear(3, 2), nn.Linear(3, 2)]
    with mg.no_grad():
        for n in [2, 3, 4, 5, 2, 3, 4, 5]:
            x = mg.randn(n, 3)
            for m in models:
                assert mg.equal(compiled(m, x), m(x))
        traces = len(compiled.traces)
        for n in [2, 3, 4, 5]:
            for m in models:
                compiled(m, mg.randn(n, 3))
    assert len(compiled.traces) == traces and len(compiled.entries) <= 2


def test_text_with_symbols() -> None:
    compiled = program(lambda x: x.reshape(-1)[: 3 * len(x) - 2] * 2, [4, 6, 9])
    text = compiled.sizes.families[0].text
    assert "f32[s0, 3]" in text and "f32[3*s0]" in text and "f32[3*s0 - 2]" in text and "other=2" in text
    report = str(compiler.explain(compiled)(mg.ones(4, 3)))
    assert "one program at 3 sizes" in report and "f32[3*s0 - 2]" in report
    assert with_symbols(["a[8, 7]", "a[18, 14]", "a[50, 33]"], [[2, 4], [3, 6], [5, 10]]) != "a[8, 7]"
    assert with_symbols(["a[8]", "a[18]", "a[50]"], [[2], [3], [5]]) == "a[2*s0*s0]"
    assert with_symbols(["a[2]", "a[3]", "a[5]"], [[4], [7], [10]]) == "a[s0//2]"
