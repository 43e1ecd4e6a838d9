"""Fusion: which calls become one, and that a fused kernel gives what the calls give: bit for bit where nothing is summed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import minigrad as mg
from minigrad import _core, nn
from minigrad.compiler import CompiledFunction
from minigrad.nn import functional as F

Tensor = mg.Tensor
FLOATS = [mg.float32, mg.float64, mg.float16, mg.bfloat16]
TOLERANCE = {mg.float16: 2e-2, mg.bfloat16: 1e-1, mg.float32: 1e-4, mg.float64: 1e-9}


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocked interpreter; generated code has tests of its own."""
    monkeypatch.setenv("MINIGRAD_COMPILE", "0")


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


def same_bits(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape or a.stride() != b.stride():
        return False
    both_nan = (a != a) & (b != b)
    signs = a.signbit() == b.signbit() if a.is_floating_point() else mg.ones_like(a, dtype=mg.bool)
    return bool((((a == b) & signs) | both_nan).all())


def check(f: Callable[..., Any], *args: Any, groups: int | None = 1) -> Any:
    """Bits equal the plain function's; `groups`: how many fused calls there are."""
    got, plan = compiled_of(f, *args)
    want = f(*args)
    pairs = zip(got, want) if isinstance(want, tuple) else [(got, want)]
    for g, w in pairs:
        assert same_bits(g, w), (g - w.to(g.dtype)).abs().max()
    if groups is not None:
        assert len(_core.fused_programs(plan.graph)) == groups, calls_of(plan)
    return plan


def test_text_of_a_group() -> None:
    plan = check(lambda x, y: (x * 2 + y).relu(), mg.randn(64, 384), mg.randn(64, 384))
    assert calls_of(plan) == ["fused[mul, add, relu]"]
    assert "f32[64, 384] = fused[mul, add, relu](%" in str(plan.graph)
    (kernel,) = _core.fused_programs(plan.graph)
    assert kernel.sizes == (64 * 384,) and [o["written"] for o in kernel.operands] == [False, False, True]
    assert [s["row"] for s in kernel.steps if s["kind"] == "apply"] == ["mul", "add_unit", "relu"]
    assert "%2: float32 = mul %0, %1" in str(kernel)


@pytest.mark.parametrize("dtype", [*FLOATS, mg.int64, mg.int32, mg.int16, mg.int8, mg.uint8])
@pytest.mark.parametrize("shape", [(5,), (1, 1), (3, 7), (33, 130), (4, 1500), (2, 3, 4100)])
def test_bits_of_pointwise_programs(dtype: mg.dtype, shape: tuple[int, ...]) -> None:
    def f(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        a = x * y + 3
        b = mg.where(a > x, a, y - 1)
        return b.clamp(-4, 9), a > 2, (a.float() * 0.3).to(mg.float16), b.abs().square()

    make = (lambda: mg.randn(*shape).to(dtype)) if dtype.is_floating_point else (lambda: mg.randint(0, 7, shape).to(dtype))
    check(f, make(), make(), groups=1)


@pytest.mark.parametrize("dtype", FLOATS)
def test_bits_of_transcendental_chains(dtype: mg.dtype) -> None:
    x = mg.randn(37, 90).to(dtype)
    x[0, :4] = mg.tensor([float("nan"), float("inf"), -float("inf"), -0.0], dtype=dtype)
    check(lambda x: F.gelu(x.tanh() * 1.5 + x.sigmoid()).exp() - mg.log1p(x.abs()), x)


def test_masks_and_mixed_dtypes() -> None:
    x, k, m = mg.randn(50, 60), mg.randint(-3, 3, (50, 60)), mg.rand(50, 60) > 0.5
    check(lambda x, k, m: mg.where(m & (x > 0), x + k, k.double() * 2), x, k, m)
    check(lambda m, k: (m.to(mg.uint8) + k).to(mg.bool) ^ m, m, k)


def test_broadcast_and_strided_operands() -> None:
    x = mg.randn(40, 100)
    shapes = [(100,), (40, 1), (1, 1), ()]
    for y in (*(mg.randn(s) for s in shapes), mg.randn(40, 200)[:, ::2], mg.randn(100, 40).t(), mg.randn(1).expand(40, 100)):
        check(lambda x, y: (x + y) * y - 2, x, y)
    image = mg.randn(2, 3, 8, 9).contiguous(memory_format=mg.channels_last)
    check(lambda x, b: (x * b + 1).relu(), image, mg.randn(1, 3, 1, 1))
    check(lambda q: (q.narrow(2, 8, 16) * 2).relu(), mg.randn(4, 300, 48))
    check(lambda q: (q.transpose(1, 2) * 2 + 1), mg.randn(3, 40, 50, 6))


def test_zero_sizes_are_left_alone() -> None:
    plan = check(lambda x: (x * 2 + 1).relu(), mg.zeros(0, 5), groups=0)
    assert calls_of(plan) == ["mul", "add", "relu"]


def test_what_may_fail_is_left_alone() -> None:
    f = CompiledFunction(lambda a, b: (a + 1) // b * 2, fullgraph=True)
    one = mg.ones(4, dtype=mg.int64)
    assert f(one, one).tolist() == [4] * 4
    with pytest.raises(RuntimeError, match="ZeroDivision"):
        f(one, one * 0)
    assert f(one, one).tolist() == [4] * 4


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("cols", [2, 7, 100, 1500, 5000])
def test_sums_of_rows(dtype: mg.dtype, cols: int) -> None:
    def norm(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        centred = x - x.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        return centred * scale * w, scale, x.amax(-1), (x * w).sum(-1)

    x, w = mg.randn(21, cols).to(dtype), mg.randn(cols).to(dtype)
    got, plan = compiled_of(norm, x, w)
    assert len(_core.fused_programs(plan.graph)) == 1, calls_of(plan)
    for g, want in zip(got, norm(x.double(), w.double())):
        assert g.dtype == dtype
        assert mg.allclose(g.double(), want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * (cols**0.5))


@pytest.mark.parametrize("dtype", [mg.float32, mg.float64, mg.bfloat16])
@pytest.mark.parametrize("rows", [1, 3, 64, 1000])
def test_sums_over_rows(dtype: mg.dtype, rows: int) -> None:
    def f(g: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        d = g * (1 - x * x)
        return d, d.sum((0, 1))

    g, x = mg.randn(rows, 5, 96).to(dtype), mg.randn(rows, 5, 96).to(dtype)
    (d, total), plan = compiled_of(f, g, x)
    assert calls_of(plan) == ["fused[mul, rsub, mul, sum]"] or len(plan.graph.calls) == 1
    assert same_bits(d, f(g, x)[0])
    assert mg.allclose(total.double(), d.double().sum((0, 1)), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * rows)


def test_results_do_not_depend_on_threads() -> None:
    def f(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        a = (x * y).tanh()
        return a, a.sum(-1), (a * x).sum(0)

    x, y = mg.randn(700, 300), mg.randn(700, 300)
    before = mg.get_num_threads()
    try:
        results = []
        for n in (1, 2, 3):
            mg.set_num_threads(n)
            results.append(compiled_of(f, x, y)[0])
    finally:
        mg.set_num_threads(before)
    for other in results[1:]:
        assert all(same_bits(a, b) for a, b in zip(results[0], other))


def test_no_read_moves_over_a_write() -> None:
    def f(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a = x * 2
        b = a + y
        a.add_(1)
        return a, b, a * y

    got, _ = compiled_of(f, *(args := (mg.randn(30, 40), mg.randn(30, 40))))
    assert all(same_bits(g, w) for g, w in zip(got, f(*args)))

    def writes_input(x: Tensor, y: Tensor) -> Tensor:
        before = x * 3
        x.mul_(2)
        return before + x * y

    x, y = mg.randn(8, 9), mg.randn(8, 9)
    twin = x.clone()
    compiled = CompiledFunction(writes_input, fullgraph=True)
    for _ in range(3):
        assert same_bits(compiled(x, y), writes_input(twin, y)) and same_bits(x, twin)


def test_what_others_read_is_stored() -> None:
    w = mg.randn(50, 50)
    plan = check(lambda x: ((a := (x * 2).tanh()), a @ w, a + 1), mg.randn(50, 50))
    (kernel,) = _core.fused_programs(plan.graph)
    assert sum(o["written"] for o in kernel.operands) == 2


def test_no_group_around_other_calls() -> None:
    w = mg.randn(20, 20)

    def f(x: Tensor) -> Tensor:
        a = x * 2
        return (a @ w) + a + (a * a).sum()

    got, plan = compiled_of(f, mg.ones(20, 20))
    assert mg.allclose(got, f(mg.ones(20, 20)))
    assert "matmul" in calls_of(plan)


def test_random_draws_keep_their_order() -> None:
    def f(x: Tensor) -> tuple[Tensor, Tensor]:
        a = F.dropout(x * 2, 0.5) + 1
        return a, F.dropout(a * 3, 0.3) - 2

    x = mg.randn(30, 30)
    compiled = CompiledFunction(f, fullgraph=True)
    compiled(x)
    mg.manual_seed(7)
    got = compiled(x)
    mg.manual_seed(7)
    assert all(same_bits(g, w) for g, w in zip(got, f(x)))


def test_gradients_through_fused_groups() -> None:
    net = nn.Sequential(nn.Linear(12, 40), nn.GELU(), nn.LayerNorm(40), nn.Linear(40, 40), nn.SiLU(), nn.Linear(40, 3))
    x, y = mg.randn(16, 12), mg.randn(16, 3)

    def f(x: Tensor, y: Tensor) -> Tensor:
        loss = ((net(x) - y).abs() + 0.1).log().mean()
        loss.backward()
        return loss

    grads = []
    for run in (CompiledFunction(f, fullgraph=True), f):
        for _ in range(2):
            net.zero_grad()
            run(x, y)
        grads.append([p.grad.clone() for p in net.parameters()])
    assert all(mg.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(*grads))


def test_results_are_not_the_next_runs_memory() -> None:
    scale = mg.randn(30, 30)
    inner = CompiledFunction(lambda x: (x * scale).tanh() + 1, fullgraph=True)
    x = mg.randn(30, 30)
    kept = [inner(x + k) for k in range(5)]
    for k, result in enumerate(kept):
        assert same_bits(result, inner.fn(x + k))


def test_small_values_share_one_block() -> None:
    def f(x: Tensor, w: Tensor) -> Tensor:
        for _ in range(10):
            x = (x @ w).tanh() * 2
        return x

    got, plan = compiled_of(f, *(args := (mg.randn(32, 32), mg.randn(32, 32) * 0.1)))
    assert same_bits(got, f(*args))
    assert 0 < plan.arena_bytes <= 3 * 32 * 32 * 4  # not ten times


def test_large_activations_are_computed_again() -> None:
    layers = [nn.Linear(256, 256) for _ in range(16)]
    x = mg.randn(2048, 256)

    def f(x: Tensor) -> Tensor:
        for layer in layers:
            x = F.gelu(layer(x))
        loss = x.sum()
        loss.backward()
        return loss

    compiled = CompiledFunction(f, fullgraph=True)
    compiled(x)
    compiled(x)
    names = [name for call in calls_of(compiled.entries[0].plan) for name in call.removeprefix("fused[").removesuffix("]").split(", ")]
    assert names.count("gelu_erf") > 16
    grads = [p.grad.clone() for layer in layers for p in layer.parameters()]
    for layer in layers:
        layer.zero_grad()
    f(x)
    f(x)
    assert all(mg.allclose(a, p.grad, rtol=1e-4, atol=1e-4) for a, p in zip(grads, (p for layer in layers for p in layer.parameters())))


def test_errors_leave_the_plan_usable() -> None:
    table = mg.randn(5, 64)

    def f(x: Tensor, at: Tensor) -> Tensor:
        return (x * 2 + 1).relu() + F.embedding(at, table)

    compiled = CompiledFunction(f, fullgraph=True)
    x, good, bad = mg.randn(3, 64), mg.tensor([0, 4, 2]), mg.tensor([0, 9, 2])
    want = f(x, good)
    for _ in range(2):
        assert same_bits(compiled(x, good), want)
        with pytest.raises(IndexError):
            compiled(x, bad)
    assert same_bits(compiled(x, good), want)
