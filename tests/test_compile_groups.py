"""Groups that end in a number, and groups with views inside: what they give is what the calls give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import minigrad as mg
from minigrad import _core
from minigrad.compiler import CompiledFunction
from minigrad.compiler.codegen import llvm, native
from minigrad.nn import functional as F

Tensor = mg.Tensor
FLOATS = [mg.float32, mg.float64, mg.float16, mg.bfloat16]
CLOSE = {mg.float16: 2e-2, mg.bfloat16: 1e-1, mg.float32: 1e-5, mg.float64: 1e-12}


@pytest.fixture(autouse=True, params=["0", "wait"])
def machine_code(request: pytest.FixtureRequest) -> Any:
    """The blocked interpreter, then generated code."""
    if request.param == "wait" and not llvm.available():
        pytest.skip("no llvmlite")
    with native.using(request.param):
        yield


def compiled_of(f: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    """The second call's result (the first one traces), and the plan."""
    compiled = CompiledFunction(f, fullgraph=True)
    compiled(*args)
    entry = compiled.entries[0]
    return entry.run(args, {}), entry.plan


def calls_of(plan: Any) -> list[str]:
    """What the plan runs: `fused[mul, add]`, `matmul` …"""
    texts = (call["text"].split(" = ", 1)[-1].strip() for call in plan.graph.calls)
    return [text.split("(")[0] for text in texts]


def bits(x: Tensor) -> list[Any]:
    return [repr(v) for v in x.reshape(-1).tolist()]


def all_close(got: Any, want: Any, tolerance: float) -> None:
    for g, w in zip(got, want, strict=True):
        assert g.shape == w.shape and g.dtype == w.dtype
        assert mg.allclose(g.double(), w.double(), rtol=tolerance, atol=tolerance, equal_nan=True), (g, w)


# --- groups that end in a number


def totals(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    d = x - y
    return (d * d).mean(), (x * y).sum(), d.abs().amax(), d.amin(), d


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(1,), (1, 1), (7,), (3, 5), (40, 130), (2, 3, 700), (9000,), (3, 20011), (400, 500)])
def test_totals(dtype: mg.dtype, shape: tuple[int, ...]) -> None:
    x, y = mg.randn(*shape).to(dtype), mg.randn(*shape).to(dtype)
    got, plan = compiled_of(totals, x, y)
    assert len(_core.fused_programs(plan.graph)) == 1 and plan.kernels == 1, calls_of(plan)
    all_close(got, totals(x, y), CLOSE[dtype] * max(1, x.numel() ** 0.5))
    assert bits(got[4]) == bits(x - y) and bits(got[2]) == bits((x - y).abs().amax())


def test_sums_are_as_exact_as_eager_ones() -> None:
    x = mg.rand(3_000_001) + 0.5
    got, plan = compiled_of(lambda x: ((x * 1.5).sum(), (x * 1.5).mean()), x)
    assert calls_of(plan) == ["fused[mul, sum, mean]"]
    exact = (x * 1.5).double().sum()
    assert abs(float((got[0].double() - exact) / exact)) < 2e-7 and abs(float((got[1].double() - exact / x.numel()) / got[1])) < 2e-7


@pytest.mark.parametrize("dtype", [mg.int64, mg.int32, mg.uint8])
def test_totals_of_integers(dtype: mg.dtype) -> None:
    def f(x: Tensor) -> tuple[Tensor, ...]:
        y = x * x + 1
        return y.sum(), y.amax(), y.amin()

    x = mg.randint(0, 200, (70, 333)).to(dtype)
    got, plan = compiled_of(f, x)
    assert plan.kernels == 1
    assert [(g.dtype, g.item()) for g in got] == [(w.dtype, w.item()) for w in f(x)]
    big = mg.full((9, 5), 2**62, dtype=mg.int64)  # wraps
    assert compiled_of(f, big)[0][0].item() == f(big)[0].item()


def test_totals_of_nan_and_inf() -> None:
    def f(x: Tensor) -> tuple[Tensor, ...]:
        y = x * 2
        return y.amax(), y.amin(), y.sum(), y.mean()

    for at, value in ((0, "nan"), (4999, "nan"), (77, "inf"), (4000, "-inf")):
        x = mg.randn(50, 100)
        x.view(-1)[at] = float(value)
        got, _ = compiled_of(f, x)
        assert bits(mg.stack(got)) == bits(mg.stack(f(x)))
    both = mg.tensor([float("inf"), -float("inf"), 1.0])
    assert bits(mg.stack(compiled_of(f, both)[0])) == bits(mg.stack(f(both)))


def test_totals_of_nothing() -> None:
    got, plan = compiled_of(lambda x: ((x * 2).sum(), (x * 2).mean()), mg.zeros(0, 4))
    assert float(got[0]) == 0 and bool(got[1].isnan()) and not _core.fused_programs(plan.graph)


@pytest.mark.parametrize("shape", [(1_000_003,), (700, 300), (3, 200_001), (40_000, 3), (100, 64, 64)])
def test_totals_do_not_depend_on_threads(shape: tuple[int, ...]) -> None:
    def f(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        a = (x * w).tanh()
        return a, a.sum(), a.amax(), (a * x).mean(), a.sum(-1), a.sum(tuple(range(a.dim() - 1)))

    x, w = mg.randn(*shape), mg.randn(shape[-1])
    before, found = mg.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            mg.set_num_threads(n)
            found.append([bits(t) for t in compiled_of(f, x, w)[0][1:]])
    finally:
        mg.set_num_threads(before)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("shape", [(5,), (1_000_003,), (700, 300), (40, 20_011), (4000, 40), (3, 64, 600)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_code_and_interpreter_give_the_same_bits(shape: tuple[int, ...], dtype: mg.dtype) -> None:
    def f(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        a = x * w + 1
        return a.sum(), a.amin(), (a * a).mean(), a.sigmoid().sum()

    x, w = mg.randn(*shape).to(dtype), mg.randn(shape[-1]).to(dtype)
    here = [bits(t) for t in compiled_of(f, x, w)[0]]
    with native.using("0"):
        assert here == [bits(t) for t in compiled_of(f, x, w)[0]]


def test_what_is_computed_from_a_total_is_of_another_group() -> None:
    def f(x: Tensor) -> Tensor:
        y = x * 2
        return (y - y.mean()) / (y.square().sum() + 1).sqrt()

    x = mg.randn(30, 40)
    got, plan = compiled_of(f, x)
    assert calls_of(plan)[0] == "fused[mul, mean, square, sum]" or calls_of(plan)[0].startswith("fused[mul"), calls_of(plan)
    all_close([got], [f(x)], 1e-5)
    keep, _ = compiled_of(lambda x: (x * 2) / (x * 2).sum((0, 1), keepdim=True), x)
    all_close([keep], [(x * 2) / (x * 2).sum()], 1e-5)


def test_loss_and_gradient_are_one_pass() -> None:
    def f(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        d = x - y
        loss = mg.where(d.abs() < 1, 0.5 * d * d, d.abs() - 0.5).mean()
        return loss, mg.autograd.grad(loss, x)[0]

    x, y = mg.randn(60, 70, requires_grad=True), mg.randn(60, 70)
    got, plan = compiled_of(f, x, y)
    assert sum("mean" in call for call in calls_of(plan)) == 1 and any("mean" in c and c.startswith("fused") for c in calls_of(plan))
    all_close(got, f(x, y), 1e-6)


def test_sums_of_columns_and_of_everything() -> None:
    def f(x: Tensor, g: Tensor) -> tuple[Tensor, ...]:
        d = g * (1 - x * x)
        return d, d.sum(0), (d * d).sum(), d.amax(-1, keepdim=True)

    x, g = mg.randn(333, 90), mg.randn(333, 90)
    got, plan = compiled_of(f, x, g)
    assert plan.kernels == 1, calls_of(plan)
    all_close(got, f(x, g), 1e-4)


def test_total_of_what_is_written_in_place() -> None:
    def f(p: Tensor, g: Tensor) -> Tensor:
        p.mul_(0.5).add_(g)
        return (p * p).sum()

    p, g = mg.randn(50, 60), mg.randn(50, 60)
    twin = p.clone()
    compiled = CompiledFunction(f, fullgraph=True)
    for _ in range(3):
        assert mg.allclose(compiled(p, g), f(twin, g), rtol=1e-5) and mg.equal(p, twin)


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.binary_cross_entropy_with_logits])
def test_losses_of_the_library(loss: Callable) -> None:
    x, y = mg.randn(20, 30), mg.rand(20, 30)
    all_close([compiled_of(lambda x, y: loss(x * 2, y), x, y)[0]], [loss(x * 2, y)], 1e-5)
