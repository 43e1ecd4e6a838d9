"""multi_head_attention_forward: projections, heads and masks around scaled dot-product attention.

Shapes: L queries, S keys, N batch, E width, H heads, e = E / H; sequences first, (L, N, E), as in PyTorch.
"""

from __future__ import annotations

import math

import minigrad as mg

from ._registry import registered
from .attention import scaled_dot_product_attention
from .dropout import dropout
from .internals import (
    _canonical_mask,
    _check_key_padding_mask,
    _in_projection,
    _in_projection_packed,
    _mha_shape_check,
    _none_or_dtype,
)

Tensor = mg.Tensor
linear = registered("linear")
_HINT = (
    "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
    "`generate_square_subsequent_mask` to create this mask."
)


def _require(condition: bool, what: str, error: type[Exception] = AssertionError) -> None:
    if not condition:
        raise error(what)


def _project(
    query: Tensor, key: Tensor, value: Tensor, packed: Tensor | None, separate: tuple[Tensor | None, ...],
    bias: Tensor | None, use_separate: bool,
) -> list[Tensor] | tuple[Tensor, ...]:  # fmt: skip
    """Query, key and value after their projections; `packed` holds the three weights below each other."""
    if not use_separate:
        _require(key.shape == value.shape, f"key shape {key.shape} does not match value shape {value.shape}")
        _require(packed is not None, "use_separate_proj_weight is False but in_proj_weight is None")
        return _in_projection_packed(query, key, value, packed, bias)
    same = key.shape[:2] == value.shape[:2]
    _require(same, f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}")
    for name, weight in zip("qkv", separate, strict=True):
        _require(weight is not None, f"use_separate_proj_weight is True but {name}_proj_weight is None")
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    return _in_projection(query, key, value, *separate, *biases)


def _heads(x: Tensor, batch: int, heads: int) -> Tensor:
    """(length, N, E) to (N, H, length, e)."""
    return x.reshape(x.shape[0], batch, heads, -1).permute(1, 2, 0, 3)


def _static(given: Tensor | None, name: str, batch: int, heads: int, width: int) -> Tensor | None:
    if given is None:
        return None
    _require(given.shape[0] == batch * heads, f"expecting {name}.size(0) of {batch * heads}, but got {given.shape[0]}")
    _require(given.shape[2] == width, f"expecting {name}.size(2) of {width}, but got {given.shape[2]}")
    return given.reshape(batch, heads, -1, width)


def _mask(attn_mask: Tensor | None, batch: int, heads: int, queries: int, keys: int) -> Tensor | None:
    """attn_mask as (1 or N, 1 or H, L, S)."""
    if attn_mask is None:
        return None
    shape = tuple(attn_mask.shape)
    if attn_mask.dim() == 2:
        what = f"The shape of the 2D attn_mask is {attn_mask.shape}, but should be {(queries, keys)}."
        _require(shape == (queries, keys), what, RuntimeError)
        return attn_mask.reshape(1, 1, queries, keys)
    wanted = (batch * heads, queries, keys)
    what = f"The shape of the 3D attn_mask is {attn_mask.shape}, but should be {wanted}."
    _require(shape == wanted, what, RuntimeError)
    return attn_mask.reshape(batch, heads, queries, keys)


def _widened(mask: Tensor | None) -> Tensor | None:
    """The mask with one more key, which everybody sees."""
    return None if mask is None else mg.nn.functional.pad(mask, (0, 1))


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Multi-head attention with its projections (Vaswani et al., arXiv 1706.03762).

    Args:
        query, key, value: (L, N, E), (S, N, E), (S, N, E), or the same without N.
        embed_dim_to_check: E.
        num_heads: H, divides E.
        in_proj_weight, in_proj_bias: (3 E, E) and (3 E), the projections of query, key and value.
        bias_k, bias_v: (1, 1, E) rows appended to keys and values.
        add_zero_attn: append a key and a value of zeros.
        dropout_p: probability of dropping an attention weight while training.
        out_proj_weight, out_proj_bias: (E, E) and (E).
        training: apply dropout.
        key_padding_mask: (N, S); True hides a key, floats are added to its scores.
        need_weights: return the attention weights too.
        attn_mask: (L, S) or (N H, L, S); True hides, floats are added to the scores.
        use_separate_proj_weight: use q_proj_weight, k_proj_weight and v_proj_weight.
        static_k, static_v: (N H, S, e) keys and values used instead of the projected ones.
        average_attn_weights: the mean of the weights over the heads, not each head's.
        is_causal: a hint that attn_mask is the causal one.

    Returns:
        ((L, N, E) result, (N, L, S) or (N, H, L, S) weights or None).
    """
    batched = _mha_shape_check(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    queries, batch, width = query.shape
    padding = _canonical_mask(key_padding_mask, "key_padding_mask", _none_or_dtype(attn_mask), "attn_mask", query.dtype)
    _require(not is_causal or attn_mask is not None, _HINT, RuntimeError)
    # PyTorch: where the hint alone can decide, the mask is not looked at (nor widened for appended keys)
    causal = is_causal and key_padding_mask is None and not need_weights
    mask = None if causal else _canonical_mask(attn_mask, "attn_mask", None, "", query.dtype, check_other=False)
    _require(width == embed_dim_to_check, f"was expecting embedding dimension of {embed_dim_to_check}, but got {width}")
    _require(width % num_heads == 0, f"embed_dim {width} not divisible by num_heads {num_heads}")
    q, k, v = _project(
        query, key, value, None if use_separate_proj_weight else in_proj_weight,
        (q_proj_weight, k_proj_weight, v_proj_weight), in_proj_bias, use_separate_proj_weight,
    )  # fmt: skip
    mask = _mask(mask, batch, num_heads, queries, key.shape[0])
    if padding is not None:
        _check_key_padding_mask(padding, key.shape[0], batch)
    if bias_k is not None and bias_v is not None:
        _require(static_k is None, "bias cannot be added to static key.")
        _require(static_v is None, "bias cannot be added to static value.")
        k, v = mg.cat([k, bias_k.expand(1, batch, -1)]), mg.cat([v, bias_v.expand(1, batch, -1)])
        mask, padding = _widened(mask), _widened(padding)
    else:
        _require(bias_k is None, "bias_k is not None")
        _require(bias_v is None, "bias_v is not None")
    head = width // num_heads
    fixed_k, fixed_v = (_static(x, n, batch, num_heads, head) for x, n in ((static_k, "static_k"), (static_v, "static_v")))
    q = _heads(q, batch, num_heads)
    k = _heads(k, batch, num_heads) if fixed_k is None else fixed_k
    v = _heads(v, batch, num_heads) if fixed_v is None else fixed_v
    if add_zero_attn:
        k, v = (mg.cat([x, x.new_zeros((batch, num_heads, 1, head))], 2) for x in (k, v))
        mask, padding = _widened(mask), _widened(padding)
    if padding is not None:
        hidden = padding.reshape(batch, 1, 1, -1)
        mask = hidden if mask is None else mask + hidden
    out, weights = _attend(q, k, v, mask, dropout_p if training else 0.0, need_weights, causal)
    out = linear(out.permute(2, 0, 1, 3).reshape(queries, batch, width), out_proj_weight, out_proj_bias)
    if weights is not None and average_attn_weights:
        weights = weights.mean(1)
    if not batched:
        out, weights = out.squeeze(1), None if weights is None else weights.squeeze(0)
    return out, weights


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float, need_weights: bool, causal: bool
) -> tuple[Tensor, Tensor | None]:
    if not need_weights:
        return scaled_dot_product_attention(q, k, v, mask, dropout_p, causal), None
    scores = (q * math.sqrt(1.0 / q.shape[-1])) @ k.transpose(-2, -1)
    weights = (scores if mask is None else scores + mask).softmax(-1)
    if dropout_p > 0.0:
        weights = dropout(weights, dropout_p)
    return weights @ v, weights
