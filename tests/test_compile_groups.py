"""Groups that end in a number, and groups with views inside: what they give is what the calls give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from test_compile_fusion import calls_of, compiled_of
from test_compile_passes import traced

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


# --- views inside of groups


def one_group(f: Callable[..., Any], *args: Any, kernels: int = 1, tolerance: float = 1e-5) -> Any:
    got, plan = compiled_of(f, *args)
    want = f(*args)
    all_close(got if isinstance(got, tuple) else [got], want if isinstance(want, tuple) else [want], tolerance)
    assert plan.kernels == kernels, calls_of(plan)
    return plan


def test_shapes_that_number_the_same_elements() -> None:
    w, v, u = mg.randn(40), mg.randn(6, 1), mg.randn(24)
    x = mg.randn(5, 6, 40)
    one_group(lambda x: (x * 2 + 1).view(30, 40).relu() * w, x)
    one_group(lambda x: ((x * 2).flatten() + 1).view(5, 240).sigmoid(), x)
    one_group(lambda x: ((x * w).view(30, 40) * 2).view(5, 6, 40) * v, x)  # two operands along different axes
    one_group(lambda x: (x * 2).unsqueeze(1).squeeze().reshape(1, 1200).tanh() - 1, x)
    plan = one_group(lambda x: ((x * w).view(5, 10, 24) * u).exp(), x, kernels=2)  # 40 and 24: no common axes
    assert len(_core.fused_programs(plan.graph)) >= 1


def test_the_view_is_kept_where_it_is_shown() -> None:
    w = mg.randn(4, 4)
    x = mg.randn(8, 6)
    one_group(lambda x: ((y := (x * 2).view(48)), y + 1), x)
    got, plan = compiled_of(lambda x: ((y := (x * 2).view(12, 4)) @ w, (y + 1).exp()), x)
    all_close(got, ((x * 2).view(12, 4) @ w, ((x * 2).view(12, 4) + 1).exp()), 1e-5)
    assert sorted(calls_of(plan)) == sorted(["fused[mul, add, exp]", "view", "matmul"])
    y, z = compiled_of(lambda x: ((y := x * 2), y.view(48)), x)[0]
    assert y.data_ptr() == z.data_ptr()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(7, 33), (4, 5, 130), (1, 300), (600, 3), (5, 1)])
def test_statistics_of_rows_in_any_shape(shape: tuple[int, ...], dtype: mg.dtype) -> None:
    def norm(x: Tensor) -> Tensor:
        m = x.mean(-1)
        d = x - m.unsqueeze(-1)
        return d * ((d * d).mean(-1) + 1e-5).rsqrt().unsqueeze(-1)

    def expanded(x: Tensor) -> Tensor:
        return x / (x.abs().amax(-1, keepdim=True) + 1).expand(x.shape)

    def flat(x: Tensor) -> Tensor:
        rows = (x * 2).view(-1, x.shape[-1])
        return (rows - rows.mean(1).view(-1, 1)).view(x.shape).sigmoid()

    x = mg.randn(*shape).to(dtype)
    for f in (norm, expanded, flat):
        got, plan = compiled_of(f, x)
        all_close([got], [f(x.double()).to(dtype)], CLOSE[dtype] * 30)
        assert plan.kernels == 1 or 1 in shape, calls_of(plan)


def test_numbers_of_rows_are_not_numbers_of_columns() -> None:
    """Square: the same shape, read along the other axis."""
    x = mg.randn(24, 24)
    all_close([compiled_of(lambda x: x * 2 + (x * 2).sum(-1), x)[0]], [x * 2 + (x * 2).sum(-1)], 1e-5)
    all_close([compiled_of(lambda x: x * 2 + (x * 2).sum(-1).view(1, 24), x)[0]], [x * 2 + (x * 2).sum(-1).view(1, 24)], 1e-5)
    all_close([compiled_of(lambda x: x * 2 + (x * 2).sum(0), x)[0]], [x * 2 + (x * 2).sum(0)], 1e-5)
    all_close([compiled_of(lambda x: (x * 2).t() + x * 2, x)[0]], [(x * 2).t() + x * 2], 1e-5)
    w = mg.randn(24)
    all_close([compiled_of(lambda x, w: (x * w) + (x * w.view(24, 1)), x, w)[0]], [x * w + x * w.view(24, 1)], 1e-5)


def test_parts_of_what_a_group_makes_are_read_outside() -> None:
    x = mg.randn(10, 12)
    for f in (lambda x: (x * 2)[1:] + 1, lambda x: (x * 2)[:, 3:9] * 2, lambda x: (x * 2).view(-1)[::2] + 1,
              lambda x: (x * 2)[0].view(3, 4) + 1,
              lambda x: (y := (x * 2 + 1).view(120))[:60] + y[60:], lambda x: (x * 2 + 1).view(mg.int32) + 1):  # fmt: skip
        got, _ = compiled_of(f, x)
        assert bits(got) == bits(f(x))


def test_groups_by_hand() -> None:
    w = mg.randn(24)

    def group_norm(x: Tensor) -> Tensor:
        g = x.view(4, 6, -1)
        g = (g - g.mean(-1, keepdim=True)) * (g.var(-1, keepdim=True) + 1e-5).rsqrt()
        return g.view(x.shape) * w.view(1, -1, 1)

    x = mg.randn(4, 24, 10)
    all_close([compiled_of(group_norm, x)[0]], [group_norm(x)], 1e-4)


def test_gradients_of_statistics_of_rows() -> None:
    def f(x: Tensor) -> tuple[Tensor, Tensor]:
        d = x - x.mean(-1).unsqueeze(-1)
        loss = ((d * (d.square().mean(-1) + 1e-5).rsqrt()[:, None]).flatten() ** 3).mean()
        return loss, mg.autograd.grad(loss, x)[0]

    x = mg.randn(60, 70, requires_grad=True)
    got, plan = compiled_of(f, x)
    all_close(got, f(x), 1e-5)
    assert plan.kernels <= 3, calls_of(plan)


def test_no_write_is_passed_by_a_view() -> None:
    def through_a_view(x: Tensor) -> tuple[Tensor, ...]:
        a = x * 2
        v = a.view(-1)
        b = v + 1
        v.add_(5)
        return a, b, a * 3, v * 2

    def of_an_argument(x: Tensor) -> tuple[Tensor, ...]:
        before = x.view(-1) * 2
        x.view(-1).mul_(3)
        return before.view(x.shape) + x, x.view(-1) + 1

    for f in (through_a_view, of_an_argument):
        x = mg.randn(6, 7)
        twin, compiled = x.clone(), CompiledFunction(f, fullgraph=True)
        for _ in range(3):
            assert all(bits(g) == bits(w) for g, w in zip(compiled(x), f(twin), strict=True)) and bits(x) == bits(twin)


def test_views_do_not_change_bits_with_threads() -> None:
    x = mg.randn(30, 20, 300)

    def f(x: Tensor) -> tuple[Tensor, ...]:
        d = (x - x.mean(-1).unsqueeze(-1)).view(600, 300)
        return d.sigmoid(), (d * d).sum(), d.sum(0)

    before, found = mg.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            mg.set_num_threads(n)
            found.append([bits(t) for t in compiled_of(f, x)[0]])
    finally:
        mg.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_totals_that_nobody_reads() -> None:
    """Plans of graphs whose dead calls were not removed."""
    x, y = mg.randn(3, 4, requires_grad=True), mg.randn(3, 4)
    graph, inputs = traced(lambda x, y: mg.autograd.grad((x.sin() * y).sum() + (x * y).sum(0).mean(), x)[0], x, y)
    with mg.no_grad():
        want = x.cos() * y + y / 4
        assert mg.allclose(_core.Plan(graph).run(inputs)[0], want, rtol=1e-5)
