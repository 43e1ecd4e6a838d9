"""Scaled dot-product attention as one op. Kernels: csrc/cpu/attention.h; public function: nn.functional.

Nothing of size queries x keys is saved: the backward pass computes weights again from `logsumexp`, and those that dropout
zeroed from the two numbers `rng` says where its random stream began. The gradient is written twice, as for the norms:
`grads` over public ops (differentiable) and `fast_grads`, a call of the blocked kernel.
Shapes: N… batch, Hq and H heads (Hq = H without enable_gqa), L queries, S keys, E width, V width of the values.
"""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.op import functions, op
from minigrad.ops.reductions.reduce import _np

from .norm import _NO_GRAD, _wide

_SCHEMA = "dropout_p: float, is_causal: bool, scale: float, enable_gqa: bool"


def _shared(x: Any, heads: int) -> Any:
    """Every key head as often as query heads share it."""
    return x if x.shape[-3] == heads else x.repeat_interleave(heads // x.shape[-3], -3)


def _gathered(d: Any, shape: tuple[int, ...]) -> Any:
    """Sum over the query heads that share a key head."""
    if d.shape[-3] == shape[-3]:
        return d
    return d.reshape(*d.shape[:-3], shape[-3], d.shape[-3] // shape[-3], *d.shape[-2:]).sum(-3)


def _weights(query: Any, key: Any, attn_mask: Any, is_causal: bool, scale: float) -> Any:
    scores = query @ key.mT * scale
    if is_causal:
        allowed = mg.ones(scores.shape[-2:], dtype=mg.bool, device=scores.device).tril()
        scores = scores.masked_fill(~allowed, -math.inf)
    elif attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == mg.bool else scores + attn_mask
    weights = scores.softmax(-1)
    if attn_mask is None or not scores.shape[-1]:
        return weights
    return weights.masked_fill((scores == -math.inf).all(-1, keepdim=True), 0.0)


def _attention_grads(
    g: Any, query: Any, key: Any, value: Any, attn_mask: Any, rng: Any, dropout_p: float, is_causal: bool, scale: float,
    enable_gqa: bool, needs: tuple[bool, ...],
) -> tuple[Any, ...]:  # fmt: skip
    g, q, k, v = (_wide(x) for x in (g, query, key, value))
    if enable_gqa:
        k, v = (_shared(x, q.shape[-3]) for x in (k, v))
    weights = _weights(q, k, attn_mask, is_causal, scale)
    used, dweights = weights, g @ v.mT
    if dropout_p > 0:
        kept = functions["_attention_keep"](rng, dropout_p, tuple(weights.shape))
        kept = kept.to(weights.dtype) * (1 / (1 - dropout_p) if dropout_p < 1 else 0.0)
        used, dweights = weights * kept, dweights * kept
    dscores = weights * (dweights - (dweights * weights).sum(-1, keepdim=True))
    dquery = dscores @ k * scale if needs[0] else None
    dkey = dscores.mT @ q * scale if needs[1] else None
    dvalue = used.mT @ g if needs[2] else None
    if enable_gqa:
        dkey = dkey if dkey is None else _gathered(dkey, key.shape)
        dvalue = dvalue if dvalue is None else _gathered(dvalue, value.shape)
    return dquery, dkey, dvalue, dscores if needs[3] else None


def _attention_fast_grads(
    g: Any, query: Any, key: Any, value: Any, attn_mask: Any, out: Any, logsumexp: Any, rng: Any, dropout_p: float,
    is_causal: bool, scale: float, enable_gqa: bool, needs: tuple[bool, ...],
) -> tuple[Any, ...]:  # fmt: skip
    options = (dropout_p, is_causal, scale, enable_gqa)
    if needs[3]:  # the gradient of a bias is of the scores' size anyway
        return _attention_grads(g, query, key, value, attn_mask, rng, *options, needs)
    return *functions["_attention_backward"](g, query, key, value, attn_mask, out, logsumexp, rng, *options), None


def _np_attention(
    query: Any, key: Any, value: Any, attn_mask: Any, dropout_p: float, is_causal: bool, scale: float, enable_gqa: bool,
    generator: Any = None, unseen: float = 0.0,
) -> tuple[Any, ...]:  # fmt: skip
    np = _np()
    if enable_gqa:
        key, value = (np.repeat(x, query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    scores = query @ np.swapaxes(key, -1, -2) * scale
    if is_causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    elif attn_mask is not None:
        scores = np.where(attn_mask, scores, -np.inf) if attn_mask.dtype == bool else scores + attn_mask
    top = scores.max(-1, keepdims=True)
    weights = np.exp(scores - top)
    total = weights.sum(-1, keepdims=True)
    return weights / total @ value, (top + np.log(total))[..., 0], np.zeros(0)


op(
    f"_attention(query, key, value, attn_mask?, {_SCHEMA}, *, generator: generator? = None, unseen: float = 0) -> out, logsumexp, rng",
    meta="attention",
    namespace=None,
    nondiff=("logsumexp", "rng"),
    grads=_attention_grads,
    fast_grads=_attention_fast_grads,
    flops=lambda query, key, value, *_, **__: (
        2 * math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    ),
    samples=lambda s: [
        s(s.f(2, 3, 5, 4), s.f(2, 3, 7, 4), s.f(2, 3, 7, 6), None, 0.0, False, 0.5, False),
        s(s.f(1, 2, 6, 3), s.f(1, 2, 6, 3), s.f(1, 2, 6, 3), None, 0.0, True, 0.7, False),
        s(s.f(2, 4, 3, 4), s.f(2, 2, 5, 4), s.f(2, 2, 5, 4), s.f(3, 5), 0.0, False, 0.5, True),
        s(s.f(5, 4), s.f(3, 4), s.f(3, 2), None, 0.0, False, 1.0, False),
    ],
    ref=_np_attention,
    doc="softmax(scale query keyᵀ + attn_mask) value, its logsumexp (N…, Hq, L) and where dropout's random stream began. "
    "`unseen` is the result of a query that sees no key: 0, or NaN as softmax has it (compiled programs; CPU alone) "
    "(Dao et al., arXiv 2205.14135).",
)

op(
    f"_attention_backward(g, query, key, value, attn_mask?, out, logsumexp, rng, {_SCHEMA}) -> dquery, dkey, dvalue",
    meta="attention_backward",
    namespace=None,
    no_grad_reason=_NO_GRAD,
    no_samples_reason="tested as the fast gradient of _attention",
    no_ref_reason="tested against the plain formula of _attention, which finite differences check",
    doc="Gradients of attention, weights computed again block by block (Dao, arXiv 2307.08691).",
)

op(
    "_attention_keep(rng, dropout_p: float, sizes: ints) -> kept",
    meta="attention_keep",
    namespace=None,
    no_grad_reason="booleans",
    no_samples_reason="tested with the dropout of attention (tests/test_attention_kernels.py)",
    no_ref_reason="random numbers",
    doc="Which weights (N…, Hq, L, S) the dropout of an attention kept.",
)

op(
    "_attention_int8(query, key, value, attn_mask?, key_scale, value_scale, scale: float, enable_gqa: bool) -> out",
    meta="attention_int8",
    namespace=None,
    no_grad_reason="decoding: integers carry no gradient",
    no_samples_reason="tested in tests/test_attention_kernels.py",
    no_ref_reason="tested against _attention on the keys and values that the integers stand for",
    doc="Attention over keys and values kept as int8, one factor per row; streams them once (nn.attention.int8_cache).",
)
