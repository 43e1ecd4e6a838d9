"""Row lookup whose gradient by the table is a sparse tensor of the rows that were used."""

from __future__ import annotations

from typing import Any

from minigrad import _core
from minigrad._layout import sparse_coo
from minigrad.autograd import Function
from minigrad.op import functions
from minigrad.sparse._tensor import make

Tensor = _core.Tensor


class EmbeddingSparse(Function):
    """apply(weight (rows, width), input, padding_idx or None) -> (*input.shape, width)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, input: Tensor, padding_idx: int | None) -> Tensor:
        """Look the rows up."""
        ctx.save_for_backward(input)
        ctx.padding_idx, ctx.size = padding_idx, tuple(weight.shape)
        return functions["embedding"](input, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        """Entry k of the sparse gradient belongs to the k-th lookup; rows may repeat (an uncoalesced tensor)."""
        (input,) = ctx.saved_tensors
        rows, values = input.reshape(-1).long(), grad.reshape(-1, ctx.size[1])
        if ctx.padding_idx is not None:
            kept = (rows != ctx.padding_idx).nonzero().squeeze(1)
            rows, values = rows.index_select(0, kept), values.index_select(0, kept)
        return make(sparse_coo, (rows.unsqueeze(0),), values, ctx.size, False), None, None
