"""Attention written by hand in a compiled function: it becomes scaled_dot_product_attention's kernel where that changes nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from test_compile_passes import traced

import minigrad as mg
from minigrad import nn
from minigrad.compiler import CompiledFunction
from minigrad.nn import functional as F

Tensor = mg.Tensor
INF = float("inf")
B, H, T, D = 2, 3, 24, 16
TRIANGLE = mg.tril(mg.ones(40, 40)).view(1, 1, 40, 40)


def nano_gpt(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
    att = att.masked_fill(mg.tril(mg.ones(T, T)).view(1, 1, T, T)[:, :, :T, :T] == 0, -INF)
    att = F.dropout(F.softmax(att, dim=-1), 0.0)
    return att @ v


def hugging_face(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    weights = mg.matmul(q, k.transpose(2, 3)) * 0.25
    weights = weights + mask[:, :, :, : k.shape[-2]]
    weights = F.softmax(weights, dim=-1, dtype=mg.float32).to(q.dtype)
    weights = F.dropout(weights, p=0.1, training=False)
    return mg.matmul(weights, v).transpose(1, 2).contiguous()


def gpt2(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    w = mg.matmul(q, k.transpose(-1, -2))
    w = w / mg.full([], v.size(-1) ** 0.5, dtype=w.dtype)
    causal = mg.ones(T, T, dtype=mg.bool).tril().view(1, 1, T, T)
    w = mg.where(causal, w.to(w.dtype), mg.full([], mg.finfo(w.dtype).min, dtype=w.dtype))
    return mg.matmul(F.softmax(w, dim=-1).type(v.dtype), v)


def added_triangle(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return mg.softmax(q @ k.mT / 4 + mg.triu(mg.full((T, T), -INF), diagonal=1).to(q.dtype), -1) @ v


def scaled_before(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (t.reshape(B * H, T, D) for t in (q * 0.25, k, v))
    hidden = mg.ones(T, T, dtype=mg.bool).triu(1)
    return mg.bmm(F.softmax(mg.bmm(q, k.transpose(1, 2)).masked_fill(hidden, -INF), -1), v).view(B, H, T, D)


def by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return mg.softmax(q @ k.mT * 0.25, -1) @ v


def given_mask(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor) -> Tensor:
    return (q @ k.mT).masked_fill(hidden, -INF).mul(0.25).softmax(-1) @ v


def written_in_place(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    att = q @ k.mT
    att *= 0.25
    att.masked_fill_(mg.ones(T, T, dtype=mg.bool).triu(1), -INF)
    return att.softmax(-1) @ v


CAUSAL = [nano_gpt, gpt2, added_triangle, scaled_before]


def heads(dtype: mg.dtype = mg.float32, n: int = 3, layout: str = "split", length: int = T) -> list[Tensor]:
    """Queries, keys and values, leaves: heads of (B, T, H * D) as models make them, or dense ones."""
    if layout == "dense":
        return [mg.randn(B, H, length, D, dtype=dtype).requires_grad_() for _ in range(n)]
    return [mg.randn(B, length, H, D, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(n)]


def step(f: Callable, *args: Tensor) -> tuple[Tensor, ...]:
    """The result, and gradients of something made of it."""
    y = f(*args)
    variables = [t for t in args if t.requires_grad]
    return (y.detach(), *mg.autograd.grad((y * y.cos()).sum(), variables)) if variables else (y,)


def calls(graph: Any) -> list[str]:
    """Names of the attention ops in it."""
    return [call["op"] for call in graph.calls if call["op"] in ("_attention", "_attention_backward")]


def compiled(f: Callable, *args: Tensor) -> tuple[CompiledFunction, Any]:
    c = CompiledFunction(f)
    results = c(*args)
    assert len(c.entries) == 1, c.reasons
    return c, results


def plan_calls(c: CompiledFunction) -> list[str]:
    return calls(c.entries[0].plan.graph) + (calls(c.entries[0].backward.graph) if c.entries[0].backward else [])


BOTH = ["_attention", "_attention_backward"]


def as_good(got: Tensor, eager: Tensor, exact: Tensor) -> None:
    """The error against float64 is no worse than the function's own, but for a rounding or two."""
    assert got.dtype == eager.dtype and got.shape == eager.shape and got.stride() == eager.stride()
    size = exact.abs().max().item()
    error, own = ((t.double() - exact).abs().max().item() for t in (got, eager))
    assert error <= 1.5 * own + 16 * mg.finfo(got.dtype).eps * size, (error, own, size)


@pytest.mark.parametrize("layout", ["split", "dense"])
@pytest.mark.parametrize("dtype", [mg.float32, mg.float64, mg.bfloat16])
@pytest.mark.parametrize("f", CAUSAL)
def test_values_and_gradients(f: Callable, dtype: mg.dtype, layout: str) -> None:
    args = heads(dtype, layout=layout)
    c, got = compiled(lambda *a: step(f, *a), *args)
    assert plan_calls(c) == BOTH and "is_causal=True" in str(c.entries[0].plan.graph)
    exact = step(f, *(a.detach().double().requires_grad_() for a in args))
    for g, e, x in zip(got, step(f, *args), exact, strict=True):
        as_good(g, e, x)
    with mg.no_grad():
        c, got = compiled(f, *args)
        assert plan_calls(c) == ["_attention"]
        as_good(got, f(*args), exact[0])


@pytest.mark.parametrize("dtype", [mg.float32, mg.float64, mg.bfloat16])
def test_added_mask(dtype: mg.dtype) -> None:
    mask = mg.randn(B, 1, 520, 520).to(dtype)
    mask[..., 300:] = mg.finfo(dtype).min
    args = [*heads(dtype, length=520), mask]
    c, got = compiled(lambda *a: step(hugging_face, *a), *args)
    assert plan_calls(c) == BOTH
    exact = step(lambda q, k, v, m: (mg.softmax(q @ k.mT * 0.25 + m, -1) @ v).transpose(1, 2).contiguous(),
                 *(a.detach().double().requires_grad_(a.requires_grad) for a in args))  # fmt: skip
    for g, e, x in zip(got, step(hugging_face, *args), exact, strict=True):
        as_good(g, e, x)


@pytest.mark.parametrize("length", [20, 70])
@pytest.mark.parametrize("shape", [(1, 1, 0, 0), (B, 1, 1, 0), (B, H, 0, 0), (0, 0)])
def test_boolean_mask(shape: tuple[int, ...], length: int) -> None:
    hidden = mg.rand(*(s or length for s in shape)) < 0.5
    hidden[..., 3] = False
    args = [*heads(length=length), hidden]
    c, got = compiled(lambda *a: step(given_mask, *a), *args)
    assert plan_calls(c) == BOTH
    exact = step(given_mask, *(a.detach().double().requires_grad_() for a in args[:3]), hidden)
    for g, e, x in zip(got, step(given_mask, *args), exact, strict=True):
        as_good(g, e, x)


@pytest.mark.parametrize("length", [1, 20, 70])
@pytest.mark.parametrize("fill", [-INF, -1e9, float(mg.finfo(mg.float32).min)])
def test_queries_that_see_nothing(fill: float, length: int) -> None:
    hidden = mg.rand(B, 1, length, length) < 0.3
    hidden[1, :, length // 2] = True
    f = lambda q, k, v, m: mg.softmax((q @ k.mT).masked_fill(m, fill), -1) @ v  # noqa: E731
    bias = lambda q, k, v, m: mg.softmax(q @ k.mT + m, -1) @ v  # noqa: E731
    added = mg.zeros(hidden.shape).masked_fill(hidden, fill)
    for g, mask in ((f, hidden), (bias, added)):
        args = [t.detach() for t in heads(length=length)]
        c, got = compiled(g, *args, mask)
        assert plan_calls(c) == ["_attention"]
        want = g(*args, mask)
        assert bool(want.isnan().any()) == (fill == -INF)
        assert mg.allclose(got, want, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_one_query_over_a_cache() -> None:
    q, k, v = mg.randn(2, 4, 1, 32), mg.randn(2, 4, 300, 32), mg.randn(2, 4, 300, 32)
    mask = mg.zeros(2, 1, 1, 300)
    mask[1, ..., :17] = mg.finfo(mg.float32).min
    c, got = compiled(hugging_face, q, k, v, mask)
    assert plan_calls(c) == ["_attention"] and mg.allclose(got, hugging_face(q, k, v, mask), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("f", [
    lambda q, k, v: (lambda w: (w @ v, w))(mg.softmax(q @ k.mT, -1)),  # the weights are a result
    lambda q, k, v: (lambda s: mg.softmax(s, -1) @ v + s.sum())(q @ k.mT),  # somebody reads the scores
    lambda q, k, v: mg.softmax(q @ k.mT, -2) @ v,
    lambda q, k, v: F.dropout(mg.softmax(q @ k.mT, -1), 0.3) @ v,
    lambda q, k, v: (q @ k.mT).double().softmax(-1).float() @ v,
    lambda q, k, v: mg.softmax((q @ k.mT).masked_fill(mg.ones(T, T, dtype=mg.bool).triu(1), -5.0), -1) @ v,
    lambda q, k, v: mg.softmax((q @ k.mT + mg.ones(T, T).triu(1)) * 2, -1) @ v,
    lambda q, k, v: mg.softmax(-(q @ k.mT), -1) @ v,
    lambda q, k, v: mg.softmax(q @ k[:, :1].mT, -1) @ v[:, :1],  # keys that heads share by broadcasting
    lambda q, k, v: mg.softmax(q[:, :, :8] @ k.mT, -1) @ v,  # too few queries for a block
])  # fmt: skip
def test_left_as_it_is(f: Callable) -> None:
    with mg.no_grad():
        args = [t.detach() for t in heads()]
        graph, _ = traced(f, *args)
        assert str(graph.run_pass("attention")) == str(graph)


def test_writes_between_are_seen() -> None:
    def written(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = q * 1.5
        weights = mg.softmax(q @ k.mT, -1)
        q.mul_(2)
        return weights @ v + q

    with mg.no_grad():
        args = [t.detach() for t in heads()]
        graph, _ = traced(written, *args)
        assert not calls(graph.run_pass("attention"))


@pytest.mark.parametrize("f", [
    lambda q, k, v: mg.softmax(q @ k.mT * 0.25, -1) @ v,  # short and unmasked: as fast as it is
    lambda q, k, v: mg.softmax(q @ k.mT + (q[..., :1] * 0).expand(B, H, T, T), -1) @ v,  # what is added has a gradient
])  # fmt: skip
def test_gradients_left_as_they_are(f: Callable) -> None:
    graph, _ = traced(lambda *a: step(f, *a), *heads())
    assert str(graph.run_pass("attention")) == str(graph)


@pytest.mark.parametrize("n", range(1, 8))
def test_some_of_the_gradients(n: int) -> None:
    args = [t.detach().requires_grad_(bool(n >> k & 1)) for k, t in enumerate(heads())]
    c, got = compiled(lambda *a: step(nano_gpt, *a), *args)
    assert plan_calls(c) == BOTH
    for g, w in zip(got, step(nano_gpt, *args), strict=True):
        assert mg.allclose(g, w, rtol=1e-4, atol=1e-5) and g.stride() == w.stride()


def test_text() -> None:
    graph, _ = traced(lambda *a: (nano_gpt(*a).sum().backward(), a[0] + 1)[1], *heads(layout="dense"))
    better = graph.run_pass("attention").run_pass("dead_code")
    lines = [line.split("  #")[0].strip() for line in str(better).splitlines()[1:]]
    kept = [line for line in lines if "= transpose" not in line]
    options = "dropout_p=0, is_causal=True, scale=0.25, enable_gqa=False"
    assert [line.split("= ")[1].split("(")[0] for line in kept[:4]] == ["_attention", "expand", "_attention_backward", "add"]
    assert all("attn_mask=None" in line and options in line for line in (kept[0], kept[2])) and len(kept) == 8


class Attention(nn.Module):
    """nanoGPT's, without flash attention."""

    def __init__(self) -> None:
        super().__init__()
        self.c_attn, self.c_proj, self.drop = nn.Linear(48, 144), nn.Linear(48, 48), nn.Dropout(0.0)
        self.register_buffer("bias", TRIANGLE.clone())

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.size()
        q, k, v = (p.view(b, t, 3, 16).transpose(1, 2) for p in self.c_attn(x).split(c, dim=2))
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :t, :t] == 0, -INF)
        y = self.drop(F.softmax(att, dim=-1)) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c))


def run_module(f: Callable, model: nn.Module, x: Tensor) -> list[Tensor]:
    for t in (x, *model.parameters()):
        t.grad = None
    y = f(x)
    y.sin().sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in model.parameters())]


def close(got: list[Tensor], want: list[Tensor]) -> bool:
    return all(mg.allclose(g, w, rtol=1e-4, atol=1e-5) and g.stride() == w.stride() for g, w in zip(got, want, strict=True))


def test_a_module_and_its_gradients_apart() -> None:
    model, x = Attention(), mg.randn(2, T, 48).requires_grad_()
    c = CompiledFunction(model)
    assert close(run_module(c, model, x), run_module(model, model, x))
    entry = c.entries[0]
    assert calls(entry.graph) == ["_attention"] and calls(entry.backward_graph) == ["_attention_backward"] and not entry.draws
    assert "is_causal=True" in str(entry.graph) and "softmax" not in str(entry.graph)
    square = f"[2, 3, {T}, {T}]"
    assert square not in str(entry.graph) and square not in str(entry.backward_graph)


def test_a_buffer_is_watched() -> None:
    model, x = Attention(), mg.randn(2, T, 48).requires_grad_()
    c = CompiledFunction(model)
    run_module(c, model, x)
    assert len(c.entries) == 1
    model.bias.fill_(1)
    assert close(run_module(c, model, x), run_module(model, model, x))
    assert "was written to" in c.recompiles[-1] and len(c.entries) == 2
    model.bias.data.copy_(TRIANGLE)  # what changes again is not looked at any more
    assert close(run_module(c, model, x), run_module(model, model, x))
    assert len(c.entries) == 2
    model.bias = TRIANGLE.flip(-2, -1)
    assert close(run_module(c, model, x), run_module(model, model, x))


def test_memory_that_others_may_write_is_not_assumed() -> None:
    model, x = Attention(), mg.randn(2, T, 48)
    array = model.bias.numpy()
    with mg.no_grad():
        c = CompiledFunction(model)
        c(x)
        assert "is_causal=False" in str(c.entries[0].plan.graph)
        array[:] = 1
        assert mg.allclose(c(x), model(x), atol=1e-6)
        other = Attention()
        c = CompiledFunction(other)
        c(x)
        assert "is_causal=True" in str(c.entries[0].plan.graph)
        other.bias.numpy()[:] = 1
        assert mg.allclose(c(x), other(x), atol=1e-6)


def test_under_autocast() -> None:
    model, x = Attention(), mg.randn(2, T, 48).requires_grad_()

    def f(x: Tensor) -> Tensor:
        with mg.autocast("cpu", dtype=mg.bfloat16):
            return model(x)

    want = run_module(f, model, x)  # first: autocast imports what it needs
    c = CompiledFunction(f)
    got = run_module(c, model, x)
    assert c.entries, c.reasons
    assert calls(c.entries[0].graph) == ["_attention"]
    exact = run_module(model, model, x)
    for g, w, x in zip(got, want, exact, strict=True):
        assert (g.float() - x).norm().item() <= 1.5 * (w.float() - x).norm().item() + 1e-6 * x.norm().item()


def test_written_in_place() -> None:
    with mg.no_grad():
        args = [t.detach() for t in heads()]
        c, got = compiled(written_in_place, *args)
        assert plan_calls(c) == ["_attention"] and mg.allclose(got, written_in_place(*args), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("f", [nano_gpt, by_hand])
def test_bits_do_not_depend_on_threads(f: Callable) -> None:
    args = heads()
    c = CompiledFunction(lambda *a: step(f, *a))
    before, outcomes = mg.get_num_threads(), []
    try:
        for n in (1, 2):
            mg.set_num_threads(n)
            outcomes.append(c(*args))
    finally:
        mg.set_num_threads(before)
    assert all(mg.equal(a, b) for a, b in zip(*outcomes, strict=True))


def test_like_torch() -> None:
    torch = pytest.importorskip("torch")
    args = heads()
    theirs = [torch.tensor(t.tolist(), requires_grad=True) for t in args]
    y = torch.nn.functional.scaled_dot_product_attention(*theirs, is_causal=True)
    want = [y, *torch.autograd.grad((y * y.cos()).sum(), theirs)]
    for got, w in zip(compiled(lambda *a: step(nano_gpt, *a), *args)[1], want, strict=True):
        torch.testing.assert_close(torch.tensor(got.tolist()), w, rtol=1e-4, atol=1e-5)


def test_second_derivatives() -> None:
    args = heads()
    c = CompiledFunction(nano_gpt)
    found = []
    for f in (c, nano_gpt):
        first = mg.autograd.grad(f(*args).sin().sum(), args, create_graph=True)
        found.append(mg.autograd.grad(sum((g * g).sum() for g in first), args))
    assert close(*found)
