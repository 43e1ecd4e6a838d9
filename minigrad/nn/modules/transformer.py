"""Transformer: stacks of encoder and decoder layers (Vaswani et al., arXiv 1706.03762).

The layers are in `transformer_layers.py`; shapes and masks are explained there.
"""

from __future__ import annotations

import warnings
from typing import Any

import minigrad as mg

from .. import functional as F
from ..init import xavier_uniform_
from .module import Module
from .normalization import LayerNorm
from .transformer_layers import (
    Activation,
    TransformerDecoderLayer,
    TransformerEncoderLayer,
    _get_activation_fn,  # noqa: F401  public programs import the helpers from here
    _get_clones,
)

__all__ = ["Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer"]


def _generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> mg.Tensor:
    """(sz, sz): 0 on and below the diagonal, -inf above."""
    return mg.triu(mg.full((sz, sz), float("-inf"), dtype=dtype, device=device), diagonal=1)


def _get_seq_len(src: mg.Tensor, batch_first: bool) -> int | None:
    size = src.size()
    return size[0] if len(size) == 2 else size[1 if batch_first else 0]


def _detect_is_causal_mask(mask: mg.Tensor | None, is_causal: bool | None = None, size: int | None = None) -> bool:
    """Whether `mask` is the causal one: as told by `is_causal`, otherwise by comparing."""
    if is_causal is not None or mask is None:
        return is_causal is True
    sz = size if size is not None else mask.size(-2)
    causal = _generate_square_subsequent_mask(sz, device=mask.device, dtype=mask.dtype)
    return mask.size() == causal.size() and bool((mask == causal).all())


class TransformerEncoder(Module):
    """A stack of encoder layers.

    Args:
        encoder_layer: the layer that is copied `num_layers` times.
        num_layers: how many.
        norm: a module applied to the result.
        enable_nested_tensor: in inference, give zeros for padded steps at the ends, as PyTorch's packed form does.
        mask_check: check that the padding is at the ends before doing so.

    Example:
        >>> layer = mg.nn.TransformerEncoderLayer(8, 2, batch_first=True)
        >>> mg.nn.TransformerEncoder(layer, 2)(mg.zeros(3, 5, 8)).shape
        minigrad.Size([3, 5, 8])
    """

    __constants__ = ["norm"]

    def __init__(
        self,
        encoder_layer: TransformerEncoderLayer,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _get_clones(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm
        self.enable_nested_tensor = enable_nested_tensor
        reason = _why_not_packed(encoder_layer)
        self.use_nested_tensor = enable_nested_tensor and not reason
        self.mask_check = mask_check
        if enable_nested_tensor and reason:
            warnings.warn(
                f"enable_nested_tensor is True, but self.use_nested_tensor is False because {reason}", stacklevel=2
            )

    def forward(
        self,
        src: mg.Tensor,
        mask: mg.Tensor | None = None,
        src_key_padding_mask: mg.Tensor | None = None,
        is_causal: bool | None = None,
    ) -> mg.Tensor:
        """Feed `src` through the layers; the arguments are those of the layer.

        `is_causal=None` compares `mask` with the causal one.
        """
        given_padding = src_key_padding_mask
        padding = F._canonical_mask(
            src_key_padding_mask, "src_key_padding_mask", F._none_or_dtype(mask), "mask", src.dtype
        )
        mask = F._canonical_mask(mask, "mask", None, "", src.dtype, check_other=False)
        drops_padding = self._drops_padding(src, mask, given_padding)
        batch_first = getattr(getattr(self.layers[0], "self_attn", None), "batch_first", False) if len(self.layers) else False
        is_causal = _detect_is_causal_mask(mask, is_causal, _get_seq_len(src, batch_first))
        output = src
        for layer in self.layers:
            output = layer(output, src_mask=mask, is_causal=is_causal, src_key_padding_mask=padding)
        if drops_padding:
            output = output.masked_fill(given_padding.bool().unsqueeze(-1), 0.0)
        return output if self.norm is None else self.norm(output)

    def _drops_padding(self, src: mg.Tensor, mask: mg.Tensor | None, padding: mg.Tensor | None) -> bool:
        """Whether PyTorch would run the packed ("nested") form, which leaves zeros in place of padded steps."""
        if padding is None or mask is not None or not self.use_nested_tensor or self.layers[0].training or src.dim() != 3:
            return False
        if padding.dtype != mg.bool or padding.dim() != 2:
            return False
        if mg.is_grad_enabled() and (src.requires_grad or any(p.requires_grad for p in self.layers[0].parameters())):
            return False
        return not (self.mask_check and bool((padding[:, :-1] & ~padding[:, 1:]).any()))


def _why_not_packed(layer: Module) -> str:
    """What keeps PyTorch from its packed form for this layer; empty if nothing does."""
    if not isinstance(layer, TransformerEncoderLayer):
        return "encoder_layer was not an TransformerEncoderLayer"
    attention = layer.self_attn
    for holds, reason in (
        (layer.norm_first, "encoder_layer.norm_first was True"),
        (
            not attention.batch_first,
            "encoder_layer.self_attn.batch_first was not True(use batch_first for better inference performance)",
        ),
        (not attention._qkv_same_embed_dim, "encoder_layer.self_attn._qkv_same_embed_dim was not True"),
        (attention.in_proj_bias is None, "encoder_layer.self_attn was passed bias=False"),
        (not layer.activation_relu_or_gelu, "encoder_layer.activation_relu_or_gelu was not True"),
        (layer.norm1.eps != layer.norm2.eps, "encoder_layer.norm1.eps was not equal to encoder_layer.norm2.eps"),
        (attention.num_heads % 2 == 1, "encoder_layer.self_attn.num_heads is odd"),
    ):
        if holds:
            return reason
    return ""


class TransformerDecoder(Module):
    """A stack of decoder layers.

    Args:
        decoder_layer: the layer that is copied `num_layers` times.
        num_layers: how many.
        norm: a module applied to the result.
    """

    __constants__ = ["norm"]

    def __init__(self, decoder_layer: TransformerDecoderLayer, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _get_clones(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: mg.Tensor,
        memory: mg.Tensor,
        tgt_mask: mg.Tensor | None = None,
        memory_mask: mg.Tensor | None = None,
        tgt_key_padding_mask: mg.Tensor | None = None,
        memory_key_padding_mask: mg.Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> mg.Tensor:
        """Feed `tgt` through the layers; the arguments are those of the layer."""
        batch_first = getattr(getattr(self.layers[0], "self_attn", None), "batch_first", False) if len(self.layers) else False
        tgt_is_causal = _detect_is_causal_mask(tgt_mask, tgt_is_causal, _get_seq_len(tgt, batch_first))
        output = tgt
        for layer in self.layers:
            output = layer(
                output,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=tgt_is_causal,
                memory_is_causal=memory_is_causal,
            )
        return output if self.norm is None else self.norm(output)


class Transformer(Module):
    """Encoder and decoder.

    Args:
        d_model: width of inputs and outputs.
        nhead: heads of every attention.
        num_encoder_layers, num_decoder_layers: sizes of the stacks.
        dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias: as in the layers.
        custom_encoder, custom_decoder: modules used instead.

    Example:
        >>> mg.nn.Transformer(8, 2, 1, 1, 16, batch_first=True)(mg.zeros(3, 5, 8), mg.zeros(3, 4, 8)).shape
        minigrad.Size([3, 4, 8])
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        custom_encoder: Any | None = None,
        custom_decoder: Any | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        layer = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)
        norm = {"eps": layer_norm_eps, "bias": bias, "device": device, "dtype": dtype}
        if custom_encoder is None:
            custom_encoder = TransformerEncoder(
                TransformerEncoderLayer(*layer, device=device, dtype=dtype), num_encoder_layers, LayerNorm(d_model, **norm)
            )
        self.encoder = custom_encoder
        if custom_decoder is None:
            custom_decoder = TransformerDecoder(
                TransformerDecoderLayer(*layer, device=device, dtype=dtype), num_decoder_layers, LayerNorm(d_model, **norm)
            )
        self.decoder = custom_decoder
        self._reset_parameters()
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def forward(
        self,
        src: mg.Tensor,
        tgt: mg.Tensor,
        src_mask: mg.Tensor | None = None,
        tgt_mask: mg.Tensor | None = None,
        memory_mask: mg.Tensor | None = None,
        src_key_padding_mask: mg.Tensor | None = None,
        tgt_key_padding_mask: mg.Tensor | None = None,
        memory_key_padding_mask: mg.Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> mg.Tensor:
        """The decoder's output, shaped like `tgt`; the masks are those of the layers."""
        is_batched = src.dim() == 3
        batch_dim = 0 if self.batch_first else 1
        if is_batched and src.size(batch_dim) != tgt.size(batch_dim):
            raise RuntimeError("the batch number of src and tgt must be equal")
        if src.size(-1) != self.d_model or tgt.size(-1) != self.d_model:
            raise RuntimeError("the feature number of src and tgt must be equal to d_model")
        memory = self.encoder(
            src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal
        )
        return self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> mg.Tensor:
        """(sz, sz): 0 on and below the diagonal, -inf above."""
        return _generate_square_subsequent_mask(sz, dtype=dtype, device=device)

    def _reset_parameters(self) -> None:
        for parameter in self.parameters():
            if parameter.dim() > 1:
                xavier_uniform_(parameter)
