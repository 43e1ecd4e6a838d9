"""Random spellings of attention by hand: compiled as eager, values, gradients and layouts, whatever becomes of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_compile_attention import calls, heads

import minigrad as mg
from minigrad.compiler import CompiledFunction

Tensor = mg.Tensor
LENGTHS = (1, 16, 20, 33)
SCALES: list[Callable] = [
    lambda s: s * 0.5, lambda s: 0.5 * s, lambda s: s / 3, lambda s: s, lambda s: s.mul(-0.5), lambda s: s.clone().mul_(0.5),
]  # fmt: skip
HIDES = [-float("inf"), -1e9, -3e38, -4.0]
found: set[tuple[str, ...]] = set()


def masked(kind: str, hide: float, hidden: Tensor) -> Callable:
    """How scores are masked. Every query sees a key."""
    bias = mg.zeros(hidden.shape).masked_fill(hidden, hide)
    return {
        "none": lambda s, m: s,
        "fill": lambda s, m: s.masked_fill(m, hide),
        "fill buffer": lambda s, m: s.masked_fill(hidden, hide),
        "fill not": lambda s, m: s.masked_fill(m.logical_not() == 0, hide),
        "where": lambda s, m: mg.where(m, mg.full([], hide, dtype=s.dtype), s),
        "where not": lambda s, m: mg.where(~m, s, hide),
        "bias": lambda s, m: s + bias.to(s.dtype),
        "bias first": lambda s, m: bias + s,
        "made": lambda s, m: s + mg.full(s.shape[-2:], hide).triu(1),
    }[kind]


KINDS = ["none", "fill", "fill buffer", "fill not", "where", "where not", "bias", "bias first", "made"]
ENDS: list[Callable] = [
    lambda y: y, lambda y: y.transpose(1, 2).contiguous().flatten(2), lambda y: y.transpose(1, 2).reshape(*y.shape[:1], -1),
    lambda y: y + y.sin(), lambda y: y.mul_(2) if not y.requires_grad else y * 2, lambda y: y.view(-1, y.shape[-1]),
]  # fmt: skip


@st.composite
def programs(draw: Any) -> dict[str, Any]:
    return {
        "lengths": (draw(st.sampled_from(LENGTHS)), draw(st.sampled_from(LENGTHS))), "kind": draw(st.sampled_from(KINDS)),
        "hide": draw(st.sampled_from(HIDES)), "causal": draw(st.booleans()), "scale": draw(st.sampled_from(range(len(SCALES)))),
        "late": draw(st.booleans()), "wide": draw(st.booleans()), "end": draw(st.sampled_from(range(len(ENDS)))),
        "needs": draw(st.sampled_from([0, 0, 7, 7, 1, 6])), "seen": draw(st.sampled_from([False, False, False, True])),
        "dtype": draw(st.sampled_from([mg.float32, mg.float32, mg.float64, mg.bfloat16])),
        "layout": draw(st.sampled_from(["split", "dense"])),
        "rank": draw(st.sampled_from([2, 4])), "seed": draw(st.integers(0, 99)),
    }  # fmt: skip


def build(p: dict[str, Any]) -> tuple[Callable, list[Tensor]]:
    mg.manual_seed(p["seed"])
    queries, keys = p["lengths"]
    q = heads(p["dtype"], 1, p["layout"], queries)[0]
    tensors = [q, *heads(p["dtype"], 2, p["layout"], keys)]
    tensors = [t.detach().requires_grad_(bool(p["needs"] >> k & 1)) for k, t in enumerate(tensors)]
    hidden = mg.ones(queries, keys, dtype=mg.bool).triu(1) if p["causal"] else mg.rand(queries, keys) < 0.4
    hidden[:, 0] = False
    mask = hidden if p["rank"] == 2 else hidden.view(1, 1, queries, keys)
    hide, scale = masked(p["kind"], p["hide"], mask), SCALES[p["scale"]]

    def attend(q: Tensor, k: Tensor, v: Tensor, m: Tensor) -> Tensor:
        s = q @ k.transpose(-2, -1)
        s = scale(hide(s, m)) if p["late"] else hide(scale(s), m)
        w = s.softmax(-1, dtype=mg.float32).to(q.dtype) if p["wide"] else s.softmax(-1)
        y = ENDS[p["end"]](w.to(v.dtype) @ v)
        return y + w.mean() if p["seen"] else y

    def f(*args: Tensor) -> tuple[Tensor, ...]:
        y = attend(*args)
        variables = [t for t in args if t.requires_grad]
        return (y.detach(), *mg.autograd.grad((y * y.cos()).sum(), variables)) if variables else (y,)

    return f, [*tensors, mask]


def check(p: dict[str, Any]) -> None:
    f, args = build(p)
    c = CompiledFunction(f)
    results = c(*args)
    assert len(c.entries) == 1, c.reasons
    found.add(tuple(calls(c.entries[0].plan.graph)))
    eps = 2e-2 if p["dtype"] == mg.bfloat16 else 2e-5 if p["dtype"] == mg.float32 or p["wide"] else 1e-10
    for got, want in zip(results, f(*args), strict=True):
        assert got.shape == want.shape and got.stride() == want.stride() and got.dtype == want.dtype
        assert mg.equal(got.isnan(), want.isnan())  # -inf times a negative number
        g, w = (t.double().nan_to_num(0.0) for t in (got, want))
        assert (g - w).abs().max().item() <= 4 * eps * max(w.abs().max().item(), 1.0)


EXAMPLES = int(os.environ.get("MINIGRAD_COMPILE_FUZZ", "120"))


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(programs())
def test_spellings(p: dict[str, Any]) -> None:
    check(p)


def test_what_the_spellings_became() -> None:
    if not found:
        pytest.skip("test_spellings did not run")
    assert found >= {(), ("_attention",), ("_attention", "_attention_backward")}
