"""scaled_dot_product_attention, the plain mathematical version (Vaswani et al., arXiv 1706.03762).

Shapes: N batch dimensions (any number), H heads, L queries, S keys, E width, V width of the values.
"""

from __future__ import annotations

import math

import minigrad as mg

from .dropout import dropout

Tensor = mg.Tensor


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
    if query.dim() < 2 or key.dim() < 2 or value.dim() < 2:
        raise RuntimeError(
            "scaled_dot_product_attention: Expected query, key, and value to all be  at least 2 dimensional, but got "
            f"query.dim: {query.dim()}, key.dim: {key.dim()} and value.dim: {value.dim()} instead."
        )
    if query.dtype != key.dtype or query.dtype != value.dtype:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{query.dtype} key.dtype: {key.dtype} and value.dtype: {value.dtype} instead."
        )
    if is_causal and attn_mask is not None:
        raise RuntimeError("scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        if groups * key.shape[-3] != query.shape[-3]:
            raise RuntimeError(
                f"scaled_dot_product_attention: {query.shape[-3]} query heads cannot share {key.shape[-3]} key heads"
            )
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * factor) @ key.transpose(-2, -1)
    allowed = None
    if is_causal:
        size = (query.shape[-2], key.shape[-2])
        allowed = mg.ones(size, dtype=mg.bool, device=query.device).tril()
    elif attn_mask is not None and attn_mask.dtype == mg.bool:
        allowed = attn_mask
    elif attn_mask is not None:
        scores = scores + attn_mask
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    weights = scores.softmax(-1)
    if allowed is not None and not is_causal:
        weights = weights.masked_fill(~allowed.any(-1, keepdim=True), 0.0)
    if dropout_p > 0.0:
        weights = dropout(weights, dropout_p)
    return weights @ value
