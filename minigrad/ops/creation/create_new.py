"""Methods that create tensors of another tensor's dtype: new_empty, new_zeros, new_ones, new_full, new_tensor …"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad.op import composite
from minigrad.ops.creation.create import _NUMBERS, _size, empty, empty_strided, full, ones, zeros
from minigrad.ops.shared.struct_doc import card, shared_args

_NEW = dict(input="gives dtype and device.", dtype="another dtype.", device="another device.",
            requires_grad="True makes a leaf.")


def _new(make: Callable[..., mg.Tensor], text: str, example: str) -> None:
    def method(input: mg.Tensor, *args: Any, size: Any = None, dtype: Any = None, device: Any = None,
               requires_grad: bool = False,
               layout: Any = None, pin_memory: bool = False) -> mg.Tensor:  # fmt: skip
        made = make(_size(args, size), dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)
        return mg.op.batched_as(made, input)

    method.__name__ = method.__qualname__ = "new_" + make.__name__
    method.__doc__ = card(text, example, size="sizes, as numbers or one sequence.", returns="a tensor of that shape.",
                          **_NEW)
    samples = {"samples": lambda s: [s(s.t(1), 2, 3), s(s.t(1), (0, 2))]}
    reason = {"no_samples_reason": "uninitialised"}
    composite(namespace=(), method=True, **(reason if make is empty else samples), **_NUMBERS)(method)


_new(empty, "`empty` of this tensor's dtype.", "mg.tensor([1]).new_empty(2).dtype -> minigrad.int64")
_new(zeros, "`zeros` of this tensor's dtype.", "mg.tensor([1]).new_zeros(2) -> tensor([0, 0])")
_new(ones, "`ones` of this tensor's dtype.", "mg.tensor([1]).new_ones(2) -> tensor([1, 1])")


@composite(namespace=(), method=True, no_samples_reason="uninitialised", **_NUMBERS)
@shared_args(**_NEW)
def new_empty_strided(input: mg.Tensor, size: Any, stride: Any, *, dtype: Any = None, device: Any = None,
                      requires_grad: bool = False, layout: Any = None, pin_memory: bool = False) -> mg.Tensor:  # fmt: skip
    """`empty_strided` of this tensor's dtype.

    Args:
        size: sizes.
        stride: steps in elements.
    Returns:
        a tensor of that shape.
    Example:
        >>> mg.tensor([1]).new_empty_strided((2, 3), (1, 2)).stride()
        (1, 2)
    """
    return empty_strided(size, stride, dtype=dtype or input.dtype, device=device or input.device,
                         requires_grad=requires_grad)


@composite(namespace=(), method=True, samples=lambda s: [s(s.t(1), (2, 3), 1.5)], **_NUMBERS)
@shared_args(**_NEW)
def new_full(input: mg.Tensor, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None,
             requires_grad: bool = False,
             layout: Any = None, pin_memory: bool = False) -> mg.Tensor:  # fmt: skip
    """`full` of this tensor's dtype.

    Args:
        size: sizes.
        fill_value: the number.
    Returns:
        a tensor of that shape.
    Example:
        >>> mg.tensor([1]).new_full((2,), 3)
        tensor([3, 3])
    """
    made = full(size, fill_value, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)
    return mg.op.batched_as(made, input)


@composite(namespace=(), method=True, samples=lambda s: [s(s.t(1), [1.0, 2.0])], **_NUMBERS)
@shared_args(**_NEW)
def new_tensor(input: mg.Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
               layout: Any = None, pin_memory: bool = False) -> mg.Tensor:  # fmt: skip
    """`tensor(data)` of this tensor's dtype.

    Args:
        data: numbers or lists.
    Returns:
        a tensor.
    Example:
        >>> mg.zeros(1).new_tensor([1, 2])
        tensor([1., 2.])
    """
    return mg.tensor(data, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)
