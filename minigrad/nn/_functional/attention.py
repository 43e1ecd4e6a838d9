"""scaled_dot_product_attention (Vaswani et al., arXiv 1706.03762).

It is one op, `_attention` (minigrad/ops/layers/attention.py), whose kernel never holds the scores as a whole. The same
function of public ops is kept as `composite_attention`: function transforms batch it, and the tests compare the two.

Shapes: N batch dimensions (any number), H heads, L queries, S keys, E width, V width of the values.
"""

from __future__ import annotations

import math

import minigrad as mg
from minigrad.op import functions, is_batch

from .dropout import dropout

Tensor = mg.Tensor
_BLOCK = 1 << 24  # scores held at once when no gradient will need them


def _check(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, is_causal: bool) -> None:
    name = "scaled_dot_product_attention"
    if query.dim() < 2 or key.dim() < 2 or value.dim() < 2:
        raise RuntimeError(
            f"{name}: expected query, key and value of at least 2 dims: got {query.dim()}, {key.dim()} and {value.dim()}."
        )
    if query.dtype != key.dtype or query.dtype != value.dtype:
        raise RuntimeError(
            f"{name}: expected query, key and value of one dtype: got {query.dtype}, {key.dtype} and {value.dtype}."
        )
    if is_causal and attn_mask is not None:
        raise RuntimeError(f"{name}: explicit attn_mask should not be set when is_causal=True.")
    if attn_mask is not None and attn_mask.dtype not in (mg.bool, mg.float32, query.dtype):
        raise RuntimeError(f"{name}: attn_mask must be bool or of query's dtype {query.dtype}: got {attn_mask.dtype}.")


def _allowed(query: Tensor, key: Tensor, attn_mask: Tensor | None, is_causal: bool) -> Tensor | None:
    """Which keys a query may see, as a bool tensor; None: decided by the scores alone."""
    if is_causal:
        return mg.ones((query.shape[-2], key.shape[-2]), dtype=mg.bool, device=query.device).tril()
    return attn_mask if attn_mask is not None and attn_mask.dtype == mg.bool else None


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query keyᵀ scale + mask) value.

    Args:
        query: (N…, Hq, L, E).
        key: (N…, H, S, E).
        value: (N…, H, S, V).
        attn_mask: broadcastable to (N…, Hq, L, S); bool (True takes part) or a float added to the scores.
        dropout_p: probability of dropping an attention weight; applied whenever it is above 0.
        is_causal: query i sees keys 0…i only; excludes attn_mask.
        scale: 1/sqrt(E) by default.
        enable_gqa: let Hq/H query heads share one key and value head.

    Returns:
        (N…, Hq, L, V). A query that may see no key gets zeros.
    """
    if any(is_batch(x) for x in (query, key, value, attn_mask) if x is not None):
        return composite_attention(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
    if scale is None:
        scale = query.shape[-1] ** -0.5 if query.dim() and query.shape[-1] else 1.0
    return functions["_attention"](query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)[0]


def composite_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`scaled_dot_product_attention` made of public ops, with all scores in memory."""
    _check(query, key, value, attn_mask, is_causal)
    if enable_gqa:
        key, value = _shared_heads(query, key), _shared_heads(query, value)
    query = query * (1.0 / math.sqrt(query.shape[-1]) if scale is None else scale)
    allowed = _allowed(query, key, attn_mask, is_causal)
    scores = query.numel() // max(query.shape[-1], 1) * key.shape[-2]
    if scores <= _BLOCK or (mg.is_grad_enabled() and any(x.requires_grad for x in (query, key, value))):
        return _attend(query, key, value, attn_mask, allowed, dropout_p)
    rows = max(_BLOCK * query.shape[-2] // scores, 1)
    pieces = []
    for start in range(0, query.shape[-2], rows):
        mask, seen = (_rows(x, start, rows) for x in (attn_mask, allowed))
        some = query.narrow(-2, start, min(rows, query.shape[-2] - start))
        pieces.append(_attend(some, key, value, mask, seen, dropout_p))
    return mg.cat(pieces, -2)


def _rows(mask: Tensor | None, start: int, count: int) -> Tensor | None:
    """The part of a mask that belongs to some of the queries."""
    if mask is None or mask.dim() < 2 or mask.shape[-2] == 1:
        return mask
    return mask.narrow(-2, start, min(count, mask.shape[-2] - start))


def _attend(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, allowed: Tensor | None, dropout_p: float
) -> Tensor:
    scores = query @ key.transpose(-2, -1)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = scores.softmax(-1)
    if attn_mask is not None and scores.shape[-1]:  # a query that may see no key: zeros, not 0 / 0
        weights = weights.masked_fill((scores == -math.inf).all(-1, keepdim=True), 0.0)
    if dropout_p > 0.0:
        weights = dropout(weights, dropout_p)
    return weights @ value


def _shared_heads(query: Tensor, heads: Tensor) -> Tensor:
    if query.dim() < 3 or query.shape[-3] % heads.shape[-3]:
        raise RuntimeError(
            f"scaled_dot_product_attention: {query.shape[-3] if query.dim() > 2 else 1} query heads cannot share"
            f" {heads.shape[-3] if heads.dim() > 2 else 1} key and value heads."
        )
    return heads.repeat_interleave(query.shape[-3] // heads.shape[-3], -3)
