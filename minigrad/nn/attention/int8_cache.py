"""Keys and values kept as int8 with one factor per row: a cache for decoding of a quarter of float32's size and traffic.

Shapes: N… batch dims, Hq and H heads, L queries, S keys, E width, V width of the values.
"""

from __future__ import annotations

import minigrad as mg
from minigrad.op import functions

__all__ = ["int8_cache_attention", "quantize_int8"]


def quantize_int8(x: mg.Tensor) -> tuple[mg.Tensor, mg.Tensor]:
    """Rows as int8 numbers and a factor each: x is about numbers * factor.

    Args:
        x: (…, S, E), floating.

    Returns:
        ((…, S, E) int8, (…, S) float32); the error of an element is at most half a factor.

    Example:
        >>> numbers, factor = quantize_int8(mg.tensor([[1.0, -2.0]]))
        >>> numbers
        tensor([[  64, -127]], dtype=minigrad.int8)
    """
    x = x.detach().float()
    factor = x.abs().amax(-1) / 127
    safe = factor.clamp(min=mg.finfo(mg.float32).tiny)
    return (x / safe.unsqueeze(-1)).round().clamp(-127, 127).to(mg.int8), factor


def int8_cache_attention(
    query: mg.Tensor,
    key: mg.Tensor,
    value: mg.Tensor,
    key_scale: mg.Tensor,
    value_scale: mg.Tensor,
    attn_mask: mg.Tensor | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> mg.Tensor:
    """scaled_dot_product_attention over quantised keys and values, without gradient.

    Args:
        query: (N…, Hq, L, E), float32, float16 or bfloat16; meant for few queries: each streams the whole cache.
        key, value: (N…, H, S, E) and (N…, H, S, V), int8.
        key_scale, value_scale: (N…, H, S), the factors of their rows.
        attn_mask: broadcastable to (N…, Hq, L, S); bool (True takes part) or a float added to the scores.
        scale: 1/sqrt(E) by default.
        enable_gqa: let Hq/H query heads share one key and value head.

    Returns:
        (N…, Hq, L, V), of query's dtype.

    Raises:
        RuntimeError: shapes or dtypes that do not fit.
    """
    if scale is None:
        scale = query.shape[-1] ** -0.5 if query.dim() and query.shape[-1] else 1.0
    return functions["_attention_int8"](query, key, value, attn_mask, key_scale, value_scale, scale, enable_gqa)
