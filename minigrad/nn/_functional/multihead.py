"""multi_head_attention_forward: projections, heads and masks around scaled dot-product attention.

Shapes: L queries, S keys, N batch, E width, H heads, e = E / H; sequences first, (L, N, E), as in PyTorch.
"""

from __future__ import annotations

import math

import minigrad as mg

from ._registry import registered
from .attention import scaled_dot_product_attention
from .dropout import dropout

Tensor = mg.Tensor
linear = registered("linear")
_NAME = "multi_head_attention_forward"


def _require(condition: bool, what: str, error: type[Exception] = AssertionError) -> None:
    if not condition:
        raise error(f"{_NAME}: {what}.")


def _additive(mask: Tensor | None, name: str, dtype: mg.dtype) -> Tensor | None:
    """A bool mask (True is hidden) as a float one; float masks as they are."""
    if mask is None or mask.is_floating_point():
        return mask
    _require(mask.dtype == mg.bool, f"only bool and floating types of {name} are supported: got {mask.dtype}")
    return mg.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(mask, -math.inf)


def _project(
    query: Tensor, key: Tensor, value: Tensor, packed: Tensor | None, separate: tuple[Tensor | None, ...],
    bias: Tensor | None,
) -> list[Tensor]:  # fmt: skip
    """Query, key and value after their projections; `packed` holds the three weights below each other."""
    width = query.shape[-1]
    if packed is not None:
        weights = [packed.narrow(0, i * width, width) for i in range(3)]
    else:
        _require(all(w is not None for w in separate), "use_separate_proj_weight needs q, k and v_proj_weight")
        weights = list(separate)
    biases = [None] * 3 if bias is None else [bias.narrow(0, i * width, width) for i in range(3)]
    return [linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]


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
        _require(shape == (queries, keys), f"the 2D attn_mask is {shape}, but should be {(queries, keys)}", RuntimeError)
        return attn_mask.reshape(1, 1, queries, keys)
    wanted = (batch * heads, queries, keys)
    _require(attn_mask.dim() == 3, f"attn_mask's dimension {attn_mask.dim()} is not supported", RuntimeError)
    _require(shape == wanted, f"the 3D attn_mask is {shape}, but should be {wanted}", RuntimeError)
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
    batched = query.dim() == 3
    _require(query.dim() in (2, 3), f"query should be unbatched 2D or batched 3D: got {query.dim()}D")
    _require(key.dim() == value.dim() == query.dim(), f"key and value should be {query.dim()}D: got {key.dim()}D and {value.dim()}D")
    if not batched:
        query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    _require(not is_causal or attn_mask is not None, "need attn_mask if specifying the is_causal hint", RuntimeError)
    queries, batch, width = query.shape
    _require(width == embed_dim_to_check, f"was expecting embedding dimension of {embed_dim_to_check}, but got {width}")
    _require(width % num_heads == 0, f"embed_dim {width} not divisible by num_heads {num_heads}")
    same = key.shape[:2] == value.shape[:2] if use_separate_proj_weight else key.shape == value.shape
    _require(same, f"key shape {tuple(key.shape)} does not match value shape {tuple(value.shape)}")
    _require(use_separate_proj_weight or in_proj_weight is not None, "in_proj_weight is None")
    _require((bias_k is None) == (bias_v is None), "bias_k and bias_v go together")
    q, k, v = _project(
        query, key, value, None if use_separate_proj_weight else in_proj_weight,
        (q_proj_weight, k_proj_weight, v_proj_weight), in_proj_bias,
    )  # fmt: skip
    mask = _mask(_additive(attn_mask, "attn_mask", q.dtype), batch, num_heads, queries, key.shape[0])
    padding = _additive(key_padding_mask, "key_padding_mask", q.dtype)
    if bias_k is not None and bias_v is not None:
        _require(static_k is None and static_v is None, "bias cannot be added to static key or value")
        k, v = mg.cat([k, bias_k.expand(1, batch, -1)]), mg.cat([v, bias_v.expand(1, batch, -1)])
        mask, padding = _widened(mask), _widened(padding)
    head = width // num_heads
    fixed_k, fixed_v = (_static(x, n, batch, num_heads, head) for x, n in ((static_k, "static_k"), (static_v, "static_v")))
    q = _heads(q, batch, num_heads)
    k = _heads(k, batch, num_heads) if fixed_k is None else fixed_k
    v = _heads(v, batch, num_heads) if fixed_v is None else fixed_v
    if add_zero_attn:
        k, v = (mg.cat([x, x.new_zeros((batch, num_heads, 1, head))], 2) for x in (k, v))
        mask, padding = _widened(mask), _widened(padding)
    if padding is not None:
        _require(
            tuple(padding.shape) == (batch, k.shape[2]),
            f"key_padding_mask should be {(batch, k.shape[2])}: got {tuple(padding.shape)}",
        )
        hidden = padding.reshape(batch, 1, 1, -1)
        mask = hidden if mask is None else mask + hidden
    out, weights = _attend(q, k, v, mask, dropout_p if training else 0.0, need_weights)
    out = linear(out.permute(2, 0, 1, 3).reshape(queries, batch, width), out_proj_weight, out_proj_bias)
    if weights is not None and average_attn_weights:
        weights = weights.mean(1)
    if not batched:
        out, weights = out.squeeze(1), None if weights is None else weights.squeeze(0)
    return out, weights


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float, need_weights: bool
) -> tuple[Tensor, Tensor | None]:
    if not need_weights:
        return scaled_dot_product_attention(q, k, v, mask, dropout_p), None
    scores = (q * math.sqrt(1.0 / q.shape[-1])) @ k.transpose(-2, -1)
    weights = (scores if mask is None else scores + mask).softmax(-1)
    if dropout_p > 0.0:
        weights = dropout(weights, dropout_p)
    return weights @ v, weights
