"""One encoder and one decoder layer of a Transformer (Vaswani et al., arXiv 1706.03762), and their small helpers.

Shapes: S source and T target steps, N batch, E width; sequences are (S, N, E), (N, S, E) with batch_first, or (S, E).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import minigrad as mg

from .. import functional as F
from .container import ModuleList
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .multihead import MultiheadAttention
from .normalization import LayerNorm

__all__ = ["TransformerDecoderLayer", "TransformerEncoderLayer"]
Activation = str | Callable[[mg.Tensor], mg.Tensor]


def _get_clones(module: Module, N: int) -> ModuleList:
    return ModuleList([copy.deepcopy(module) for _ in range(N)])


def _get_activation_fn(activation: str) -> Callable[[mg.Tensor], mg.Tensor]:
    if activation in ("relu", "gelu"):
        return getattr(F, activation)
    raise RuntimeError(f"activation should be relu/gelu, not {activation}")


class _Layer(Module):
    """What both kinds of layer share: the feed-forward block and the meaning of `activation`."""

    __constants__ = ["norm_first"]

    def _make_rest(
        self, norms: int, d_model: int, dim_feedforward: int, dropout: float, norm_first: bool, eps: float, bias: bool, made: dict[str, Any]
    ) -> None:
        """Everything behind the attention, in PyTorch's order."""
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **made)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **made)
        self.norm_first = norm_first
        for i in range(1, norms + 1):
            setattr(self, f"norm{i}", LayerNorm(d_model, eps=eps, bias=bias, **made))
        for i in range(1, norms + 1):
            setattr(self, f"dropout{i}", Dropout(dropout))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if not hasattr(self, "activation"):  # pickles from before the argument existed
            self.activation = F.relu

    def _feed_forward(self, x: mg.Tensor, last_dropout: Module) -> mg.Tensor:
        return last_dropout(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class TransformerEncoderLayer(_Layer):
    """Self-attention and a feed-forward network, each with a residual connection and a LayerNorm.

    Args:
        d_model: E, width of input and output.
        nhead: heads of the attention; divides d_model.
        dim_feedforward: width inside the feed-forward network.
        dropout: probability of dropping, in four places.
        activation: "relu", "gelu" or a function of one tensor.
        layer_norm_eps: eps of the LayerNorms.
        batch_first: sequences come as (N, S, E).
        norm_first: normalise before the blocks instead of after them.
        bias: learn biases in Linear and LayerNorm.

    Example:
        >>> mg.nn.TransformerEncoderLayer(8, 2)(mg.zeros(5, 3, 8)).shape
        minigrad.Size([5, 3, 8])
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        made = {"device": device, "dtype": dtype}
        super().__init__()
        self.self_attn = MultiheadAttention(d_model, nhead, dropout=dropout, bias=bias, batch_first=batch_first, **made)
        self._make_rest(2, d_model, dim_feedforward, dropout, norm_first, layer_norm_eps, bias, made)
        if isinstance(activation, str):
            activation = _get_activation_fn(activation)
        is_relu = activation == F.relu or type(activation).__name__ == "ReLU"
        is_gelu = activation == F.gelu or type(activation).__name__ == "GELU"
        # ==, not is: a function wrapped for __torch_function__ (minigrad/overrides.py) is another object
        self.activation_relu_or_gelu = 1 if is_relu else 2 if is_gelu else 0
        self.activation = activation

    def forward(
        self,
        src: mg.Tensor,
        src_mask: mg.Tensor | None = None,
        src_key_padding_mask: mg.Tensor | None = None,
        is_causal: bool = False,
    ) -> mg.Tensor:
        """The layer's output, shaped like `src`.

        Args:
            src: (S, N, E), or (N, S, E) with batch_first, or (S, E).
            src_mask: (S, S) or (N nhead, S, S); True hides, floats are added to the scores.
            src_key_padding_mask: (N, S); True hides a step from everybody.
            is_causal: a hint that `src_mask` is the causal one.
        """
        padding = F._canonical_mask(
            src_key_padding_mask, "src_key_padding_mask", F._none_or_dtype(src_mask), "src_mask", src.dtype
        )
        mask = F._canonical_mask(src_mask, "src_mask", None, "", src.dtype, check_other=False)
        if self.norm_first:
            x = src + self._sa_block(self.norm1(src), mask, padding, is_causal=is_causal)
            return x + self._ff_block(self.norm2(x))
        x = self.norm1(src + self._sa_block(src, mask, padding, is_causal=is_causal))
        return self.norm2(x + self._ff_block(x))

    def _sa_block(
        self,
        x: mg.Tensor,
        attn_mask: mg.Tensor | None,
        key_padding_mask: mg.Tensor | None,
        is_causal: bool = False,
    ) -> mg.Tensor:
        masks = {"attn_mask": attn_mask, "key_padding_mask": key_padding_mask}
        return self.dropout1(self.self_attn(x, x, x, **masks, need_weights=False, is_causal=is_causal)[0])

    def _ff_block(self, x: mg.Tensor) -> mg.Tensor:
        return self._feed_forward(x, self.dropout2)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention over an encoder's output, and a feed-forward network; arguments as in the encoder's.

    Example:
        >>> mg.nn.TransformerDecoderLayer(8, 2)(mg.zeros(4, 3, 8), mg.zeros(5, 3, 8)).shape
        minigrad.Size([4, 3, 8])
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        made = {"device": device, "dtype": dtype}
        attention = {"dropout": dropout, "batch_first": batch_first, "bias": bias, **made}
        super().__init__()
        self.self_attn = MultiheadAttention(d_model, nhead, **attention)
        self.multihead_attn = MultiheadAttention(d_model, nhead, **attention)
        self._make_rest(3, d_model, dim_feedforward, dropout, norm_first, layer_norm_eps, bias, made)
        self.activation = _get_activation_fn(activation) if isinstance(activation, str) else activation

    def forward(
        self,
        tgt: mg.Tensor,
        memory: mg.Tensor,
        tgt_mask: mg.Tensor | None = None,
        memory_mask: mg.Tensor | None = None,
        tgt_key_padding_mask: mg.Tensor | None = None,
        memory_key_padding_mask: mg.Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> mg.Tensor:
        """The layer's output, shaped like `tgt`.

        Args:
            tgt: (T, N, E), or (N, T, E) with batch_first, or (T, E).
            memory: the encoder's output, (S, N, E) or likewise.
            tgt_mask, memory_mask: (T, T) and (T, S); True hides, floats are added to the scores.
            tgt_key_padding_mask, memory_key_padding_mask: (N, T) and (N, S); True hides a step from everybody.
            tgt_is_causal, memory_is_causal: hints that the masks are causal ones.
        """
        own = (tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        other = (memory_mask, memory_key_padding_mask, memory_is_causal)
        x = tgt
        if self.norm_first:
            x = x + self._sa_block(self.norm1(x), *own)
            x = x + self._mha_block(self.norm2(x), memory, *other)
            return x + self._ff_block(self.norm3(x))
        x = self.norm1(x + self._sa_block(x, *own))
        x = self.norm2(x + self._mha_block(x, memory, *other))
        return self.norm3(x + self._ff_block(x))

    def _sa_block(
        self,
        x: mg.Tensor,
        attn_mask: mg.Tensor | None,
        key_padding_mask: mg.Tensor | None,
        is_causal: bool = False,
    ) -> mg.Tensor:
        masks = {"attn_mask": attn_mask, "key_padding_mask": key_padding_mask}
        return self.dropout1(self.self_attn(x, x, x, **masks, is_causal=is_causal, need_weights=False)[0])

    def _mha_block(
        self,
        x: mg.Tensor,
        mem: mg.Tensor,
        attn_mask: mg.Tensor | None,
        key_padding_mask: mg.Tensor | None,
        is_causal: bool = False,
    ) -> mg.Tensor:
        masks = {"attn_mask": attn_mask, "key_padding_mask": key_padding_mask}
        return self.dropout2(self.multihead_attn(x, mem, mem, **masks, is_causal=is_causal, need_weights=False)[0])

    def _ff_block(self, x: mg.Tensor) -> mg.Tensor:
        return self._feed_forward(x, self.dropout3)
