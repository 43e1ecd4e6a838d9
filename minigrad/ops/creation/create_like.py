"""Tensors of another tensor's shape and dtype: empty_like, zeros_like, ones_like, full_like."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite
from minigrad.ops.creation.create import _NUMBERS, _TYPES, _empty, _finish, _full, _no_values, _number
from minigrad.ops.shared.struct_doc import shared_args


def _like_strides(input: mg.Tensor, made: mg.Tensor, memory_format: Any) -> mg.Tensor:
    """PyTorch's preserve_format: dense permuted inputs give results of the same order."""
    if memory_format is mg.contiguous_format or input.is_contiguous():
        return made
    stride, shape = input.stride(), input.shape
    expected = 1
    for step, size in sorted((st, sz) for st, sz in zip(stride, shape) if sz != 1):
        if step != expected:
            return made
        expected *= size
    return made.as_strided(shape, stride)


_LIKE = dict(input="gives shape, dtype and device.", dtype="another dtype.", device="another device.",
             requires_grad="True makes a leaf.",
             memory_format="contiguous_format for row-major; default keeps the input's order.")  # fmt: skip


@composite(method=False, no_samples_reason="uninitialised", **_NUMBERS)
@shared_args(**_LIKE)
def empty_like(input: mg.Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
               requires_grad: bool = False, memory_format: Any = None) -> mg.Tensor:  # fmt: skip
    """`empty` of another tensor's shape and dtype.

    Returns:
        a tensor of the same shape.
    Example:
        >>> mg.empty_like(mg.zeros(2)).shape
        minigrad.Size([2])
    """
    if (layout or input.layout) is not mg.strided:
        return _no_values(input.shape, layout or input.layout, dtype or input.dtype, device or input.device, requires_grad)
    made = mg.op.batched_as(_empty(input.shape, _TYPES.get(dtype, dtype) or input.dtype, device or input.device), input)
    return _finish(_like_strides(input, made, memory_format), None, requires_grad)


def _full_like(input: mg.Tensor, value: Any, dtype: Any, device: Any, requires_grad: bool,
               memory_format: Any) -> mg.Tensor:
    made = _full(input.shape, value, _TYPES.get(dtype, dtype) or input.dtype, device or input.device)
    if not input.is_contiguous():
        made = _like_strides(input, made, memory_format)
    made = mg.op.batched_as(made, input)
    return made.requires_grad_() if requires_grad else made


@composite(method=False, samples=lambda s: [s(s.t(2, 3)), s(s.t(3, 2, layout="transposed"))], **_NUMBERS)
@shared_args(**_LIKE)
def zeros_like(input: mg.Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
               requires_grad: bool = False, memory_format: Any = None) -> mg.Tensor:  # fmt: skip
    """Zeros of another tensor's shape and dtype.

    Returns:
        a tensor of the same shape.
    Example:
        >>> mg.zeros_like(mg.tensor([1, 2]))
        tensor([0, 0])
    """
    if (layout or input.layout) is not mg.strided:
        return _no_values(input.shape, layout or input.layout, dtype or input.dtype, device or input.device, requires_grad)
    return _full_like(input, 0, dtype, device, requires_grad, memory_format)


@composite(method=False, samples=lambda s: [s(s.t(2, 3)), s(s.t(3, 2, layout="transposed"))], **_NUMBERS)
@shared_args(**_LIKE)
def ones_like(input: mg.Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
              requires_grad: bool = False, memory_format: Any = None) -> mg.Tensor:  # fmt: skip
    """Ones of another tensor's shape and dtype.

    Returns:
        a tensor of the same shape.
    Example:
        >>> mg.ones_like(mg.tensor([1, 2]))
        tensor([1, 1])
    """
    return _full_like(input, 1, dtype, device, requires_grad, memory_format)


@composite(method=False, samples=lambda s: [s(s.t(2, 3), 1.5)], **_NUMBERS)
@shared_args(**_LIKE)
def full_like(input: mg.Tensor, fill_value: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
              pin_memory: bool = False,
              requires_grad: bool = False, memory_format: Any = None) -> mg.Tensor:  # fmt: skip
    """One value in another tensor's shape and dtype.

    Args:
        fill_value: the number.
    Returns:
        a tensor of the same shape.
    Example:
        >>> mg.full_like(mg.tensor([1, 2]), 5)
        tensor([5, 5])
    """
    return _full_like(input, _number(fill_value), dtype, device, requires_grad, memory_format)
