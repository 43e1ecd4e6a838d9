"""MultiheadAttention (Vaswani et al., arXiv 1706.03762)."""

from __future__ import annotations

from typing import Any

import minigrad as mg

from .. import functional as F
from .. import init
from ..parameter import Parameter
from .linear import NonDynamicallyQuantizableLinear
from .module import Module

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """Attention of several heads with learned projections.

    Args:
        embed_dim: width of queries and of the result.
        num_heads: divides embed_dim.
        dropout: probability of dropping an attention weight while training.
        bias: learn biases of the projections.
        add_bias_kv: learn one more key and value.
        add_zero_attn: append a key and a value of zeros.
        kdim, vdim: widths of keys and values, embed_dim by default.
        batch_first: tensors come as (N, L, E), not (L, N, E).

    Example:
        >>> x = mg.zeros(5, 2, 8)
        >>> out, weights = mg.nn.MultiheadAttention(8, 2)(x, x, x)
        >>> out.shape, weights.shape
        (minigrad.Size([5, 2, 8]), minigrad.Size([2, 5, 5]))
    """

    __constants__ = ["batch_first"]
    bias_k: mg.Tensor | None
    bias_v: mg.Tensor | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and num_heads={num_heads} instead"
            )
        if embed_dim % num_heads:
            raise AssertionError("embed_dim must be divisible by num_heads")
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        self.add_zero_attn = add_zero_attn
        made = {"device": device, "dtype": dtype}
        packed = {"in_proj_weight": (3 * embed_dim, embed_dim)}
        separate = {
            "q_proj_weight": (embed_dim, embed_dim),
            "k_proj_weight": (embed_dim, self.kdim),
            "v_proj_weight": (embed_dim, self.vdim),
        }
        used = packed if self._qkv_same_embed_dim else separate
        for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_weight"):
            self.register_parameter(name, Parameter(mg.empty(used[name], **made)) if name in used else None)
        self.register_parameter("in_proj_bias", Parameter(mg.empty(3 * embed_dim, **made)) if bias else None)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, **made)
        for name in ("bias_k", "bias_v"):
            self.register_parameter(name, Parameter(mg.empty((1, 1, embed_dim), **made)) if add_bias_kv else None)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_weight"):
            if getattr(self, name) is not None:
                init.xavier_uniform_(getattr(self, name))
        if self.in_proj_bias is not None:
            init.constant_(self.in_proj_bias, 0.0)
            init.constant_(self.out_proj.bias, 0.0)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(
        self,
        query: mg.Tensor,
        key: mg.Tensor,
        value: mg.Tensor,
        key_padding_mask: mg.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: mg.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[mg.Tensor, mg.Tensor | None]:
        """Result and attention weights; the masks are those of F.multi_head_attention_forward."""
        swapped = self.batch_first and query.dim() == 3
        if swapped:  # equal tensors stay one object: the projection then is one product
            moved = {id(x): x.transpose(0, 1) for x in (query, key, value) if x.dim() == 3}
            query, key, value = (moved.get(id(x), x) for x in (query, key, value))
        out, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias, self.bias_k,
            self.bias_v, self.add_zero_attn, self.dropout, self.out_proj.weight, self.out_proj.bias,
            training=self.training, key_padding_mask=key_padding_mask, need_weights=need_weights, attn_mask=attn_mask,
            use_separate_proj_weight=not self._qkv_same_embed_dim, q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight, v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights, is_causal=is_causal,
        )  # fmt: skip
        return out.transpose(0, 1) if swapped else out, weights

    def merge_masks(
        self, attn_mask: mg.Tensor | None, key_padding_mask: mg.Tensor | None, query: mg.Tensor
    ) -> tuple[mg.Tensor | None, int | None]:
        """Both masks as one, and its kind: 0 for (L, L), 1 for a padding mask, 2 for (N, H, L, L) of both."""
        if attn_mask is None:
            return key_padding_mask, None if key_padding_mask is None else 1
        batch, length, _ = query.shape
        if attn_mask.dim() == 3:
            merged = attn_mask.view(batch, -1, length, length)
        else:
            merged = attn_mask.view(1, 1, length, length).expand(batch, self.num_heads, -1, -1)
        if key_padding_mask is not None:
            merged = merged + key_padding_mask.view(batch, 1, 1, length).expand(-1, self.num_heads, -1, -1)
        return merged, 2

    def __setstate__(self, state: dict[str, Any]) -> None:
        state.setdefault("_qkv_same_embed_dim", True)  # pickles from before separate widths existed
        super().__setstate__(state)
