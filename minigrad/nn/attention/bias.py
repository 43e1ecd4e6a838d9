"""Causal masks as objects: which corner the triangle starts from when there are more keys than queries."""

from __future__ import annotations

import warnings
from enum import IntEnum, auto
from typing import Any

import minigrad as mg
from minigrad._tensor_more import _disabled_torch_function_impl

__all__ = ["CausalBias", "CausalVariant", "causal_lower_right", "causal_upper_left"]


class CausalVariant(IntEnum):
    """UPPER_LEFT: query i sees keys 0…i. LOWER_RIGHT: the last query sees all keys, each one before it one less."""

    UPPER_LEFT = auto()
    LOWER_RIGHT = auto()


class CausalBias(mg.Tensor):
    """A causal mask of shape (seq_len_q, seq_len_kv) for scaled_dot_product_attention's attn_mask: a bool tensor, True takes part.

    Args:
        variant: see CausalVariant.
        seq_len_q, seq_len_kv: numbers of queries and keys.
    """

    __torch_function__ = _disabled_torch_function_impl

    variant: CausalVariant
    seq_len_q: int
    seq_len_kv: int

    def __new__(cls, variant: CausalVariant, seq_len_q: int, seq_len_kv: int) -> CausalBias:
        if not isinstance(variant, CausalVariant):
            raise AssertionError(f"variant must be a CausalVariant, got {type(variant).__name__}")
        shift = seq_len_kv - seq_len_q if variant is CausalVariant.LOWER_RIGHT else 0
        mask = mg.ones((seq_len_q, seq_len_kv), dtype=mg.bool).tril(shift)
        made = mg.Tensor._make_subclass(cls, mask, False)
        made.variant, made.seq_len_q, made.seq_len_kv = variant, seq_len_q, seq_len_kv
        return made

    def __init__(self, variant: CausalVariant, seq_len_q: int, seq_len_kv: int) -> None:
        if seq_len_q > seq_len_kv and variant is CausalVariant.LOWER_RIGHT:
            warnings.warn("Lower right causal bias will produce NaNs in the output when seq_len_q > seq_len_kv!", stacklevel=3)

    def _materialize(self, device: Any = None) -> mg.Tensor:
        return mg.Tensor._make_subclass(mg.Tensor, self, False).to(device or "cpu")

    def __repr__(self) -> str:
        return repr(self._materialize())


def causal_upper_left(*size: int) -> CausalBias:
    """The triangle that starts at the first query and the first key; size: (queries, keys)."""
    if len(size) != 2:
        raise AssertionError("causal_upper_left only supports 2D tensors")
    return CausalBias(CausalVariant.UPPER_LEFT, *size)


def causal_lower_right(*size: int) -> CausalBias:
    """The triangle that ends at the last query and the last key; size: (queries, keys)."""
    if len(size) != 2:
        raise AssertionError("causal_lower_right only supports 2D tensors")
    return CausalBias(CausalVariant.LOWER_RIGHT, *size)
