"""In-place calls in graphs: which become ordinary ones (and so join groups), and that what a user sees of the others stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from test_compile_fusion import calls_of, same_bits
from test_compile_passes import traced

import minigrad as mg
from minigrad import _core, nn
from minigrad.compiler import CompiledFunction
from minigrad.nn import functional as F

Tensor = mg.Tensor
X = mg.tensor([[1.5, -0.0, 0.0], [float("nan"), float("inf"), -2.5], [1e-40, -3e38, 7.0]])


def body(graph: Any) -> list[str]:
    """The graph's lines without its head and the lines' ends."""
    return [line.split("  #")[0].strip() for line in str(graph).splitlines()[1:]]


def inplace(graph: Any) -> list[str]:
    """Names of the calls that write."""
    return [call["op"] for call in graph.calls if call["inplace"]]


def after(f: Callable, *args: Tensor) -> Any:
    """The graph after the pass; plans before and after it give the same bits and write the same."""
    graph, inputs = traced(f, *args)
    better = graph.run_pass("inplace")
    outcomes = []
    for g in (graph, better, graph.optimized()):
        own = [t.detach().clone() for t in inputs]
        outcomes.append([*_core.Plan(g).run(own), *own])
    for got in outcomes[1:]:
        for g, w in zip(got, outcomes[0], strict=True):
            assert same_bits(g, w), f"{graph}\n{better}"
        assert sharing(got) == sharing(outcomes[0])
    return better


def sharing(tensors: list[Tensor]) -> list[list[bool]]:
    """Which of them lie in one memory, and which are one tensor."""
    at = [t.untyped_storage().data_ptr() for t in tensors]
    return [[p == q for q in at] for p in at] + [[a is b for b in tensors] for a in tensors]


def test_text() -> None:
    def f(x: Tensor) -> Tensor:
        y = x @ x
        y.relu_()
        y += x
        return y.sum() * y

    graph, _ = traced(f, X)
    assert body(graph)[1:3] == ["relu_(%1)", "add_(%1, %0, alpha=1)"]
    assert body(after(f, X))[:4] == [
        "%1: f32[3, 3] = matmul(%0, %0)", "%4: f32[3, 3] = relu(%1)", "%5: f32[3, 3] = add(%4, %0, alpha=1)",
        "%2: f32[] = sum(%5, keepdim=False)",
    ]  # fmt: skip


WRITES: dict[str, Callable] = {
    "relu_": lambda y, x: y.relu_(), "add_": lambda y, x: y.add_(x, alpha=3), "mul_": lambda y, x: y.mul_(2),
    "itself": lambda y, x: y.mul_(y), "clamp_": lambda y, x: y.clamp_(-1, 1), "pow_": lambda y, x: y.pow_(2),
    "clamp_min_": lambda y, x: y.clamp_min_(0),
    "leaky": lambda y, x: F.leaky_relu(y, 0.1, inplace=True), "lerp_": lambda y, x: y.lerp_(x, 0.3),
    "addcmul_": lambda y, x: y.addcmul_(x, y), "copy_": lambda y, x: y.copy_(y * 2 + x), "cast": lambda y, x: y.copy_(y.double() * 2),
    "masked_fill_": lambda y, x: y.masked_fill_(x > 0, 1.5),
    "row": lambda y, x: y.sub_(x[0]), "number": lambda y, x: y.sub_(y.sum()), "all": lambda y, x: y.__setitem__(..., x + 1),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITES)
def test_writes_to_a_result_of_the_graph_become_ordinary_calls(name: str) -> None:
    def f(x: Tensor) -> tuple[Tensor, Tensor]:
        y = x @ x
        before = y * 3
        WRITES[name](y, x)
        return y + before, y

    assert inplace(after(f, X)) == []
    assert inplace(after(f, mg.randn(5, 5))) == []
    assert inplace(after(lambda x: f(x)[0], mg.randn(4, 4, dtype=mg.bfloat16))) == []


def test_several_names_and_later_views() -> None:
    def f(x: Tensor) -> tuple[Tensor, ...]:
        y = x @ x
        name = y.detach()
        name.mul_(2)
        rows = y[1:]
        y += 1
        return y, rows.sin() if x.shape[0] == 0 else y[:1], y.t().sin(), name.sum()

    assert inplace(after(f, X)) == []


@pytest.mark.parametrize("f", [
    lambda x: ((y := x @ x), (v := y.view(9)), y.add_(1), v + 0.5)[3], lambda x: ((y := x @ x), (v := y.t()), v.relu_(), y * v)[3],
    lambda x: ((y := x @ x), (v := y[1:]), (w := v.t()), y.mul_(2), w.sin().sum() + v.sum() + y.sum())[4],
    lambda x: ((y := x @ x), y.add_(y.t()), y.sub_(y[0]), y + 0.5)[3],
])  # fmt: skip
def test_views_from_before_are_made_once_more(f: Callable) -> None:
    assert inplace(after(f, X)) == [] and inplace(after(f, mg.randn(3, 3))) == []


@pytest.mark.parametrize("f", [
    lambda x: (x.add_(1), x * 2)[1],  # an argument
    lambda x: ((y := x @ x), y[1:].mul_(2), y * 1)[2],  # a part
    lambda x: ((y := x @ x), (v := y.t()), v.relu_(), y)[3],
    lambda x: ((y := x @ x), (v := y.view(-1)), y.relu_(), (v, y))[3],
    lambda x: ((y := x @ x), y.fill_(2), y + 1)[2],
])  # fmt: skip
def test_other_writes_stay(f: Callable) -> None:
    graph, _ = traced(f, X)
    assert inplace(after(f, X)) == inplace(graph) != []


def test_dtypes_that_differ_stay() -> None:
    def f(x: Tensor) -> Tensor:
        y = x @ x
        y += x.double()
        return y

    assert inplace(after(f, X)) == ["add"]


def test_what_an_optimizer_has_seen_stays() -> None:
    w = mg.randn(3, 3, requires_grad=True)
    opt = mg.optim.SGD([w], lr=0.1)

    def step(x: Tensor) -> Tensor:
        opt.zero_grad()
        loss = (x @ w).sin().sum()
        loss.backward()
        opt.step()
        with mg.no_grad():
            w.grad.mul_(2)
        return loss

    seen = []
    for run in (CompiledFunction(step), step):
        with mg.no_grad():
            w.fill_(0.5)
        for _ in range(3):
            run(mg.ones(3, 3))
        seen.append((w.detach().clone(), w.grad.clone()))
    assert all(mg.allclose(a, b) for a, b in zip(*seen))


def block(inplace: bool) -> nn.Module:
    """A residual block."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=inplace)

        def forward(self, x: Tensor) -> Tensor:
            y = self.relu(self.conv(x))
            y = self.conv(y)
            y += x
            return self.relu(y)

    return nn.Sequential(Block(), Block(), Block())


def test_a_residual_block_has_groups_and_eagers_gradients() -> None:
    mg.manual_seed(0)
    model = block(True)

    def step(x: Tensor) -> Tensor:
        loss = model(x).square().mean()
        loss.backward()
        return loss

    x = mg.randn(2, 4, 8, 8)
    grads = []
    for run in (compiled := CompiledFunction(step, fullgraph=True), step):
        for _ in range(2):
            model.zero_grad()
            run(x)
        grads.append([p.grad.clone() for p in model.parameters()])
    assert all(mg.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(*grads))
    names = calls_of(compiled.entries[0].plan)
    assert sum(name.startswith("fused[add, relu") for name in names) >= 3
    assert not any(name.endswith("_") for name in names)


def peak_of(f: Callable, *args: Tensor) -> int:
    """Bytes that a call needs at most, beside what is there."""
    for _ in range(3):
        f(*args)
    before = _core.memory_stats()["allocated"]
    _core.reset_peak_memory()
    f(*args)
    return _core.memory_stats()["peak_allocated"] - before


@pytest.mark.parametrize("f", [
    lambda x: (x @ x).relu_(), lambda x: ((x @ x).relu_() @ x).add_(1).sigmoid_(), lambda x: (x @ x).relu_().mul_(x).sum(),
    lambda x: ((y := x @ x), y.relu_(), y.add_(x), y @ x)[3],
])  # fmt: skip
def test_memory_is_used_again(f: Callable) -> None:
    """A chain of writes to a large value allocates nothing, neither where it stays inside nor where it is the result."""
    x = mg.randn(600, 600)
    compiled = CompiledFunction(f, fullgraph=True)
    got, wanted = compiled(x), f(x)
    assert same_bits(got, wanted) or (wanted.dim() == 0 and mg.allclose(got, wanted, rtol=1e-6, atol=0))  # a group's sum has its own order
    assert peak_of(compiled.entries[0].plan.run, [x]) <= peak_of(f, x) + 4096


# --- writes to what comes from outside: in place, by a group


def both(f: Callable, *args: Tensor, calls: int = 3) -> Any:
    """The function compiled and plain on copies of the arguments: results, what is written and versions agree. The plan."""
    mine, theirs = [t.clone() for t in args], [t.clone() for t in args]
    plan = _core.Plan((found := traced(f, *args))[0].optimized())
    for _ in range(calls):
        got, want = plan.run([mine[next(k for k, a in enumerate(args) if a is t)] for t in found[1]]), f(*theirs)
        for g, w in zip([*got, *mine], [*(want if isinstance(want, tuple) else [want]), *theirs], strict=True):
            assert same_bits(g, w)
        assert [t._version for t in mine] == [t._version for t in theirs]
    return plan


@pytest.mark.parametrize("dtype", [mg.float32, mg.float64, mg.bfloat16, mg.float16])
@pytest.mark.parametrize("shape", [(7,), (40, 30), (5, 1200), (1, 1)])
def test_an_optimizer_by_hand(dtype: mg.dtype, shape: tuple[int, ...]) -> None:
    def adam(p: Tensor, m: Tensor, v: Tensor, g: Tensor) -> Tensor:
        m.mul_(0.9).add_(g, alpha=0.1)
        v.mul_(0.99).addcmul_(g, g, value=0.01)
        p.addcdiv_(m, v.sqrt() + 1e-8, value=-0.1)
        return g * 2

    plan = both(adam, *(mg.rand(shape, dtype=dtype) for _ in range(4)))
    assert [name.split("[")[0] for name in calls_of(plan)] == ["fused"], calls_of(plan)
    assert "addcdiv_, mul](" in str(plan.graph) and " into %" in str(plan.graph)


def test_text_of_a_group_that_writes() -> None:
    def f(w: Tensor, g: Tensor) -> Tensor:
        w.mul_(0.5)
        old = w + 1
        w.add_(g)
        return old

    plan = both(f, mg.randn(3, 4), mg.randn(3, 4))
    assert body(plan.graph)[0] == "%1: f32[3, 4] = fused[mul_, add, add_](%0, %2) into %0"
    (kernel,) = _core.fused_programs(plan.graph)
    assert [o["written"] for o in kernel.operands] == [False, False, True, True]


@pytest.mark.parametrize("f", [
    lambda x, y: (x.add_(y), x[1:] * 2)[1], lambda x, y: ((v := x.t()), x.mul_(y), v + 1)[2],
    lambda x, y: (x.t().add_(1), x.mul_(y), x * 2)[2], lambda x, y: (x[0].add_(1), x[1].mul_(2), x + y)[2],
    lambda x, y: (x.add_(x.t()), x * 1.5)[1], lambda x, y: ((a := x * 2), x.add_(a), y.sub_(x), a + x)[3],
    lambda x, y: (x[:, 0].add_(y[:, 1]), x[:, 0] * 3)[1],
    lambda x, y: (x.add_(y.sum(-1, keepdim=True)), x.mean(-1, keepdim=True) * y)[1],
    lambda x, y: ((s := x.sum(-1, keepdim=True)), s.add_(x.amax(-1, keepdim=True)), x - s)[2],
    lambda x, y: (x.mul_(y), (x @ y).add_(x), x.add_(1))[1], lambda x, y: ((b := x * 3), (c := b.t()), b.add_(y), c + b)[3],
    lambda x, y: (x.add_(1), y.copy_(x), x.mul_(y), x + y)[3], lambda x, y: (x.add_(y.double()), x.mul_(2), x + 0.5)[2],
    lambda x, y: (x.zero_(), x.add_(y), x.mul_(3), y + 1)[3],
])  # fmt: skip
def test_orders_of_reads_and_writes(f: Callable) -> None:
    both(f, mg.randn(6, 6), mg.randn(6, 6))


def test_running_statistics_and_averages() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Linear(8, 1))
    average = [p.detach().clone() for p in model.parameters()]

    def step(x: Tensor) -> Tensor:
        loss = model(x).square().mean()
        loss.backward()
        with mg.no_grad():
            for p, a in zip(model.parameters(), average):
                p.add_(p.grad, alpha=-0.1)
                a.lerp_(p, 0.5)
        model.zero_grad()
        return loss

    x, start = mg.randn(16, 6), {k: v.clone() for k, v in model.state_dict().items()}
    seen = []
    for run in (compiled := CompiledFunction(step, fullgraph=True), step):
        model.load_state_dict(start)
        for p, a in zip(model.parameters(), average):
            a.copy_(p.detach())
        for _ in range(4):
            run(x)
        seen.append([*(v.clone() for v in model.state_dict().values()), *(a.clone() for a in average)])
    assert all(mg.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(*seen)) and not compiled.reasons
    names = calls_of(compiled.entries[0].plan)
    assert sum(name.startswith("fused[mul_, add_") for name in names) == 2  # the running mean and variance
    assert sum("lerp_" in name for name in names) == len(average) and "lerp_" not in names


@pytest.mark.parametrize("dtype", [mg.float32, mg.float64, mg.bfloat16, mg.float16])
@pytest.mark.parametrize("value", [float("-inf"), 0, 0.1, True])
def test_masked_fill_in_groups(dtype: mg.dtype, value: float) -> None:
    def f(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        y = (x * 2).masked_fill(mask, value) + 1
        z = x @ x
        z.masked_fill_(mask[0], value)
        z *= 3
        return y, z

    mask = mg.rand(7, 7) > 0.5
    plan = both(f, mg.randn(7, 7).to(dtype), mask)
    assert sorted(name for name in calls_of(plan) if "fill" in name) == ["fused[masked_fill, mul]", "fused[mul, masked_fill, add]"]
    assert "masked_fill" in calls_of(both(lambda x, m: x.masked_fill(m, x.sum()) * 2, mg.randn(7, 7).to(dtype), mask))


def test_what_masked_fill_moves_stays_bit_for_bit() -> None:
    x = mg.tensor([0x7FA00001, 0x7FC00123, -1, 5], dtype=mg.int32).view(mg.float32)
    got = both(lambda x: x.masked_fill(x > 0, 1.0).neg(), mg.tensor([1.0, -0.0, 0.0, -3.0])).run([x])[0]
    assert got.view(mg.int32).tolist()[:3] == x.neg().view(mg.int32).tolist()[:3]
