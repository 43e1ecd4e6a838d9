"""Softmax, log_softmax and picked log probabilities by hand in a compiled function: they become the ops where that changes nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from test_compile_passes import body, ops, outcomes, traced

import minigrad as mg
from minigrad.compiler import CompiledFunction
from minigrad.nn import functional as F

Tensor = mg.Tensor
INF, NAN = float("inf"), float("nan")
STRUCTURED = ("softmax", "log_softmax", "_softmax_backward", "_log_softmax_backward", "_cross_entropy", "_cross_entropy_backward")


def amax(x: Tensor) -> Tensor:
    e = mg.exp(x - x.amax(-1, keepdim=True))
    return e / e.sum(-1, keepdim=True)


def by_position(x: Tensor) -> Tensor:
    e = (x - x.max(-1, keepdim=True).values).exp()
    return e / e.sum(-1, keepdim=True)


def detached(x: Tensor) -> Tensor:
    e = mg.exp(x - x.amax(-1, keepdim=True).detach())
    return e * e.sum(-1, keepdim=True).reciprocal()


def without_keepdim(x: Tensor) -> Tensor:
    e = mg.exp(x - x.max(x.dim() - 1)[0].unsqueeze(-1))
    return e / e.sum(-1)[..., None]


def shifted_back(x: Tensor) -> Tensor:
    e = mg.exp(-(x.amax(-1, True) - x))
    return (1 / e.sum(-1, True)) * e


def exp_of_log(x: Tensor) -> Tensor:
    return log_amax(x).exp()


def log_amax(x: Tensor) -> Tensor:
    z = x - x.amax(-1, keepdim=True)
    return z - z.exp().sum(-1, keepdim=True).log()


def log_apart(x: Tensor) -> Tensor:
    m = x.max(-1, keepdim=True).values.detach()
    return x - m - mg.log(mg.exp(x - m).sum(-1, keepdim=True))


def less_logsumexp(x: Tensor) -> Tensor:
    return x - x.logsumexp(-1, keepdim=True)


SOFT = [amax, by_position, detached, without_keepdim, shifted_back, exp_of_log]
LOG = [log_amax, log_apart]


def step(f: Callable, *args: Tensor) -> tuple[Tensor, ...]:
    """The result, and gradients of something made of it."""
    y = f(*args)
    variables = [t for t in args if t.requires_grad]
    weights = mg.arange(float(y.numel())).view(y.shape).cos()
    return (y.detach(), *mg.autograd.grad((y * weights + y.sigmoid()).sum(), variables)) if variables else (y,)


def found(c: CompiledFunction) -> list[str]:
    entry = c.entries[0]
    return [op for plan in (entry.plan, entry.backward) if plan is not None for op in ops(plan.graph) if op in STRUCTURED]


def compiled(f: Callable, *args: Tensor) -> tuple[list[str], Any]:
    c = CompiledFunction(f)
    results = c(*args)
    assert len(c.entries) == 1, c.reasons
    return found(c), results


def close(got: Tensor, want: Tensor, scale: float = 1.0) -> None:
    assert got.dtype == want.dtype and got.shape == want.shape and got.stride() == want.stride()
    eps = {mg.float64: 1e-13, mg.float32: 3e-6, mg.bfloat16: 2e-2}[want.dtype]
    assert mg.allclose(got, want, rtol=eps, atol=eps * scale, equal_nan=True), (got, want)


def leaf(*shape: int, dtype: mg.dtype = mg.float32, scale: float = 2.0) -> Tensor:
    return (mg.randn(*shape, dtype=dtype) * scale).requires_grad_()


@pytest.mark.parametrize("shape", [(6, 5), (5, 5), (2, 3, 8), (1, 40), (3, 2, 2, 2)])
@pytest.mark.parametrize("dtype", [mg.float32, mg.float64])
@pytest.mark.parametrize("f", SOFT + LOG)
def test_values_and_gradients(f: Callable, dtype: mg.dtype, shape: tuple[int, ...]) -> None:
    x = leaf(*shape, dtype=dtype)
    names, got = compiled(lambda x: step(f, x), x)
    op = "softmax" if f in SOFT else "log_softmax"
    assert names == [op, f"_{op}_backward"]
    for g, w in zip(got, step(f, x), strict=True):
        close(g, w)
    names, got = compiled(lambda x: f(x * 0.5), x.detach())
    assert names == [op]
    close(got, f(x.detach() * 0.5))


def test_the_pass() -> None:
    graph, inputs = traced(lambda x: step(amax, x), leaf(4, 6))
    better = graph.run_pass("softmax")
    assert [op for op in ops(better) if op in (*STRUCTURED, "amax", "exp", "eq")] == ["softmax", "_softmax_backward"]
    for g, w in zip(outcomes(better, inputs), outcomes(graph, inputs), strict=True):
        close(g, w)
    graph, _ = traced(amax, mg.randn(4, 6))
    assert body(graph.run_pass("softmax")) == ["%5: f32[4, 6] = softmax(%0, dim=-1)", "return %5"]


ROWS = mg.tensor([[1.0, 2, 3], [-INF, 0, 1], [-INF, -INF, -INF], [INF, 0, 1], [NAN, 0, 1], [4, 4, 4], [4, 4, 1], [-INF, -INF, 2],
                  [90, -90, 0], [1e4, -1e4, 0], [-3e38, 1, -3e38], [3e38, -3e38, 0]])  # fmt: skip


@pytest.mark.parametrize("f", SOFT + LOG)
def test_ties_masked_rows_infinities_and_nan(f: Callable) -> None:
    x = ROWS.clone().requires_grad_()
    names, (y, dx) = compiled(lambda x: step(f, x), x)
    assert len(names) == 2
    want = step(f, x)
    close(y, want[0])
    for k, (g, w) in enumerate(zip(dx, want[1], strict=True)):  # NaN in the same rows
        assert g.isnan().any() == w.isnan().any(), k
        if not w.isnan().any():
            close(g, w)


def overflows(x: Tensor) -> Tensor:
    e = x.exp()
    return e / e.sum(-1, keepdim=True)


@pytest.mark.parametrize("f", [
    overflows, lambda x: mg.exp(x - x.mean(-1, True)) / mg.exp(x - x.mean(-1, True)).sum(-1, True),
    lambda x: mg.exp(x - x.amin(-1, True)) / mg.exp(x - x.amin(-1, True)).sum(-1, True),
    lambda x: mg.exp(x - x.amax(-1, True)) / (mg.exp(x - x.amax(-1, True)).sum(-1, True) + 1e-6),
    lambda x: mg.exp(x - x.amax(-1, True)) / mg.exp(x - x.amax(-1, True)).mean(-1, True) / x.shape[-1],
    lambda x: mg.exp((x - x.amax(-1, True)) / 2) / mg.exp(x - x.amax(-1, True)).sum(-1, True),
    lambda x: mg.exp(x - x.amax(-1)) / mg.exp(x - x.amax(-1)).sum(-1),  # a square: along the other dimension
    lambda x: mg.exp(x - x.amax(0, True)) / mg.exp(x - x.amax(0, True)).sum(0, True),
])  # fmt: skip
def test_what_is_something_else_stays(f: Callable) -> None:
    x = leaf(5, 5)
    names, got = compiled(f, x.detach())
    assert names == []
    close(got, f(x.detach()))
    names, got = compiled(lambda x: step(f, x), x)
    assert names == []
    for g, w in zip(got, step(f, x), strict=True):
        close(g, w, 30)


def test_the_logarithm_of_a_softmax_is_none_of_log_softmax() -> None:
    x = mg.tensor([[0.0, -200, 1], [3, 2, 1]])
    names, got = compiled(lambda x: amax(x).log(), x)
    assert names == ["softmax"]  # exp(-201) is 0
    assert got[0, 1].item() == -INF
    close(got, amax(x).log())


def test_row_of_nothing_but_minus_infinity() -> None:
    x = ROWS.clone().requires_grad_()
    names, got = compiled(less_logsumexp, x.detach())
    assert names == ["log_softmax"]
    names, got = compiled(lambda x: step(less_logsumexp, x), x)
    assert names == []  # such a row's gradient is 1 * g, log_softmax's is NaN
    for g, w in zip(got, step(less_logsumexp, x), strict=True):
        close(g, w)


@pytest.mark.parametrize("what", ["exponentials", "sum", "maximum", "shifted"])
def test_what_somebody_else_reads_stays(what: str) -> None:
    def f(x: Tensor) -> Tensor:
        m = x.amax(-1, keepdim=True)
        z = x - m
        e = z.exp()
        s = e.sum(-1, keepdim=True)
        return e / s + {"exponentials": e, "sum": s, "maximum": m, "shifted": z}[what].cos()

    x = leaf(4, 6)
    names, got = compiled(lambda x: step(f, x), x)
    assert names == []
    for g, w in zip(got, step(f, x), strict=True):
        close(g, w)


def test_small_types_empty_ones_and_single_columns_stay() -> None:
    for x in (leaf(4, 6, dtype=mg.bfloat16), leaf(0, 6), leaf(4, 1), leaf(7)):
        names, got = compiled(lambda x: step(amax, x), x)
        assert names == []
        for g, w in zip(got, step(amax, x), strict=True):
            close(g, w)


def test_written_between() -> None:
    def source(x: Tensor) -> Tensor:
        m = x.amax(-1, keepdim=True)
        x += 1
        e = mg.exp(x - m)
        return e / e.sum(-1, keepdim=True)

    def late(x: Tensor) -> Tensor:
        e = mg.exp(x - x.amax(-1, keepdim=True))
        x += 1
        return e / e.sum(-1, keepdim=True)

    def result(x: Tensor) -> Tensor:
        y = amax(x)
        y[0] = 3.0
        return y

    for f in (source, late, result):
        x = leaf(4, 6)
        _, got = compiled(lambda x: f(x.clone()), x.detach())  # noqa: B023
        close(got, f(x.detach().clone()))
        a, b = x.detach().clone(), x.detach().clone()
        _, got = compiled(f, a)
        close(got, f(b))
        close(a, b)
    x = leaf(4, 6)
    for g, w in zip(compiled(lambda x: step(result, x), x)[1], step(result, x), strict=True):
        close(g, w)


def test_function_and_gradients_in_two_parts() -> None:
    x, w = leaf(6, 5), mg.randn(6, 5)
    for f, op in ((amax, "softmax"), (log_amax, "log_softmax")):
        c = CompiledFunction(f)
        y = c(x)
        assert found(c) == [op, f"_{op}_backward"]
        close(y.detach(), f(x).detach())
        close(mg.autograd.grad(y, [x], w)[0], mg.autograd.grad(f(x), [x], w)[0])


def test_gradients_of_gradients() -> None:
    def twice(x: Tensor) -> tuple[Tensor, ...]:
        y = amax(x)
        (g,) = mg.autograd.grad((y * y).sum(), [x], create_graph=True)
        return y.detach(), g.detach(), *mg.autograd.grad((g * g.cos()).sum(), [x])

    x = leaf(5, 4)
    for g, w in zip(compiled(twice, x)[1], twice(x), strict=True):
        close(g, w)


def test_where_it_pays() -> None:
    for columns, f, names in ((384, lambda x: amax(x), ["softmax"]), (384, lambda x: amax(x * 0.5), []), (384, lambda x: amax(x) * 2, []),
                              (384, lambda x: amax(x * 0.5) @ x.mT, ["softmax"]),
                              (40, lambda x: amax(x * 0.5) * 2, ["softmax"])):  # fmt: skip
        x = leaf(3, columns)
        assert compiled(f, x.detach())[0] == names
        assert compiled(lambda x: step(f, x), x)[0] == ["softmax", "_softmax_backward"]  # noqa: B023


def test_other_layouts_stay() -> None:
    x = leaf(5, 7)
    names, got = compiled(lambda x: step(lambda x: amax(x.t()), x), x)
    assert names == []
    assert mg.allclose(got[1], step(lambda x: amax(x.t()), x)[1], atol=1e-6)


def test_one_after_another_and_of_one_tensor() -> None:
    for f in (lambda x: amax(amax(x) * 3), lambda x: amax(x) + log_amax(x), lambda x: amax(x) + amax(x),
              lambda x: amax(x - x.amax(-1, True))):  # fmt: skip
        x = leaf(5, 4)
        for g, w in zip(compiled(lambda x: step(f, x), x)[1], step(f, x), strict=True):  # noqa: B023
            close(g, w)


def test_attention_all_by_hand() -> None:
    q, k, v = (leaf(2, 20, 8) for _ in range(3))
    c = CompiledFunction(lambda q, k, v: amax(q @ k.mT * 0.25) @ v)
    with mg.no_grad():
        close(c(q, k, v), amax(q @ k.mT * 0.25) @ v)
    assert ops(c.entries[0].plan.graph).count("_attention") == 1


# --- cross entropy

PICKED: dict[str, Callable] = {
    "nll": lambda p, t: F.nll_loss(p, t),
    "nll sum": lambda p, t: F.nll_loss(p, t, reduction="sum") * 0.3,
    "nll none": lambda p, t: (F.nll_loss(p, t, reduction="none") * mg.arange(6.0)).sum(),
    "nll ignores": lambda p, t: F.nll_loss(p, t, ignore_index=2),
    "index": lambda p, t: -p[mg.arange(6), t].mean(),
    "index weighed": lambda p, t: -(p[mg.arange(len(t)), t] * mg.arange(6.0)).sum(),
    "gather": lambda p, t: -p.gather(1, t[:, None]).mean(),
    "gather squeezed": lambda p, t: -p.gather(-1, t.unsqueeze(-1)).squeeze(-1).mean(),
}


def loss_op(name: str) -> str:
    return "_cross_entropy" if "nll" in name else "log_softmax"


@pytest.mark.parametrize("log", [lambda x: F.log_softmax(x, -1), log_amax])
@pytest.mark.parametrize("dtype", [mg.float32, mg.float64])
@pytest.mark.parametrize("name", PICKED)
def test_picked_rows(name: str, dtype: mg.dtype, log: Callable) -> None:
    def loss(x: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        y = PICKED[name](log(x), t)
        return y.detach(), *mg.autograd.grad(y, [x])

    x, t = leaf(6, 5, dtype=dtype), mg.tensor([1, 2, 0, 4, 2, 3])
    names, got = compiled(loss, x, t)
    assert names == [loss_op(name), "_cross_entropy_backward"]
    for g, w in zip(got, loss(x, t), strict=True):
        close(g, w)
    x = ROWS[:6, [0, 1, 2, 2, 1]].detach().requires_grad_()  # a row of -inf, inf, NaN
    for g, w in zip(compiled(loss, x, t)[1], loss(x, t), strict=True):
        close(g, w)


def test_picked_from_the_end_and_out_of_range() -> None:
    def loss(pick: Callable, x: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        y = pick(F.log_softmax(x, -1), t)
        return y.detach(), *mg.autograd.grad(y, [x])

    x = leaf(6, 5)
    for name, pick in PICKED.items():
        c = CompiledFunction(lambda x, t: loss(pick, x, t))  # noqa: B023
        c(x, mg.tensor([1, 2, 0, 4, 2, 3]))
        for target in ([1, 2, 0, 4, 2, -1], [1, -5, 0, 4, 2, -2], [1, 2, 0, 4, 2, 5], [0, 0, 0, 0, 0, -6], [-100, 2, 2, 2, 2, 2]):
            t = mg.tensor(target)
            try:
                want = loss(pick, x, t)
            except (IndexError, RuntimeError) as error:
                with pytest.raises(type(error)) as raised:
                    c(x, t)
                assert str(raised.value).startswith(str(error).replace("nll_loss", "cross_entropy")), name
                continue
            for g, w in zip(c(x, t), want, strict=True):
                close(g, w)
        assert len(c.entries) == 1 and found(c) == [loss_op(name), "_cross_entropy_backward"], name


def test_picked_in_three_dimensions() -> None:
    def loss(x: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        y = F.log_softmax(x, -1).gather(-1, t[..., None]).squeeze(-1)
        return y.detach(), *mg.autograd.grad((y * mask).sum() / mask.sum(), [x])

    x, t, mask = leaf(2, 3, 5), mg.tensor([[1, 4, 0], [2, 2, 3]]), mg.tensor([[1.0, 0, 1], [1, 1, 0]])
    names, got = compiled(loss, x, t)
    assert names == ["log_softmax", "_cross_entropy_backward"]
    for g, w in zip(got, loss(x, t), strict=True):
        close(g, w)


@pytest.mark.parametrize("f", [
    lambda p, t: -p[mg.arange(6).flip(0), t].mean(), lambda p, t: -p[mg.arange(6) // 2, t].sum(),
    lambda p, t: -p.gather(1, t.view(3, 2)).mean(), lambda p, t: -p.gather(0, t[None]).mean(),
    lambda p, t: F.nll_loss(p, t, weight=mg.arange(6.0)), lambda p, t: -(p * mg.eye(6)[t]).sum(-1).mean(),
    lambda p, t: 0.1 * p.mean() - p[mg.arange(6), t].mean(), lambda p, t: -p[:, t].mean(),
])  # fmt: skip
def test_other_choices_stay(f: Callable) -> None:
    def loss(x: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        y = f(F.log_softmax(x, -1), t)
        return y.detach(), *mg.autograd.grad(y, [x])

    x, t = leaf(6, 6), mg.tensor([1, 2, 0, 4, 2, 3])
    names, got = compiled(loss, x, t)
    assert names == ["log_softmax", "_log_softmax_backward"]
    for g, w in zip(got, loss(x, t), strict=True):
        close(g, w)


def test_the_gradients_pass() -> None:
    def loss(x: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        y = -F.log_softmax(x, -1).gather(1, t).mean()
        return y.detach(), *mg.autograd.grad(y, [x])

    graph, inputs = traced(loss, leaf(3, 5), mg.tensor([[1], [2], [0]]))
    better = graph.run_pass("cross_entropy_gradient")
    assert "_cross_entropy_backward" in ops(better) and not {"scatter_add", "_log_softmax_backward"} & set(ops(better)), better
    for g, w in zip(outcomes(better, inputs), outcomes(graph, inputs), strict=True):
        close(g.float(), w.float())
