"""Creation: empty, zeros, ones, full …, and what all creating ops share. Ranges and patterns: create_ranges.py, *_like: create_like.py, new_*:
create_new.py. Kernels: csrc/cpu/create.cpp, copy_ops.cpp.

The ops with a leading underscore go through call() (so the tracer sees them); the public functions only sort PyTorch's
arguments.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, op
from minigrad.ops.shared.struct_doc import numpy, shared_args

_NUMBERS = dict(no_grad_reason="made of numbers", dtypes=("float32",))
_empty = op("_empty(size: ints, dtype: dtype? = None, device: device? = None) -> out", meta="create_empty",
            namespace=None,
            **_NUMBERS, no_ref_reason="uninitialised", no_samples_reason="uninitialised", doc="Uninitialised tensor.")
_empty_strided = op(
    "_empty_strided(size: ints, stride: ints, dtype: dtype? = None, device: device? = None) -> out",
    meta="create_strided", namespace=None,
    **_NUMBERS, no_ref_reason="uninitialised", no_samples_reason="uninitialised",
    doc="Uninitialised tensor with given strides.")
_full = op("_full(size: ints, value: scalar, dtype: dtype? = None, device: device? = None) -> out", meta="create_full",
           namespace=None,
           **_NUMBERS, ref=lambda size, value, dtype=None, device=None: numpy().full(size, value),
           samples=lambda s: [s((2, 3), 1.5), s((), 2), s((0,), True)], doc="Tensor of one value.")
_TYPES = {float: mg.float64, int: mg.int64, bool: mg.bool}


def _size(args: tuple[Any, ...], size: Any) -> Any:
    """Sizes given as zeros(2, 3), zeros((2, 3)) or zeros(size=(2, 3))."""
    if size is not None:
        return size
    if not args:
        raise TypeError("missing 1 required positional argument: 'size'. Try () for a 0-d tensor.")
    return args[0] if len(args) == 1 and not isinstance(args[0], int) else args


def _finish(made: mg.Tensor, out: mg.Tensor | None, requires_grad: bool) -> mg.Tensor:
    if out is not None:
        if not mg.can_cast(made.dtype, out.dtype):
            raise RuntimeError(f"result type {made.dtype} can't be cast to the desired output type {out.dtype}")
        if out.shape != made.shape:
            out.resize_(made.shape)
        return out.copy_(made)
    return made.requires_grad_() if requires_grad else made


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _dtype_of(dtype: Any, out: mg.Tensor | None) -> Any:
    if out is None:
        return _TYPES.get(dtype, dtype)
    if dtype is not None and _TYPES.get(dtype, dtype) != out.dtype:
        raise RuntimeError(f"dtype {dtype} does not match the dtype of out: got {out.dtype}. Try without dtype=.")
    return out.dtype


def _no_values(size: Any, layout: Any, dtype: Any, device: Any, requires_grad: bool) -> mg.Tensor:
    from minigrad.sparse._create import without_values

    return without_values(size, layout, _TYPES.get(dtype, dtype), device, requires_grad)


_ARGS = dict(
    out="tensor to write into; it is resized when the shape differs.",
    dtype="element type; None takes the default dtype.",
    device="where the data lives.", requires_grad="True makes a leaf that collects gradients.",
    others="layout, pin_memory and memory_format are accepted for PyTorch's sake and change nothing.",
)  # fmt: skip


# --- one value --------------------------------------------------------------------------------------------------------
@composite(method=False, no_samples_reason="uninitialised", **_NUMBERS)
@shared_args(**_ARGS)
def empty(*args: Any, size: Any = None, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
          pin_memory: bool = False, memory_format: Any = None, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """Uninitialised tensor: whatever the memory held.

    Args:
        size: sizes, as numbers or one sequence.
    Returns:
        a tensor of that shape.
    Raises:
        RuntimeError for negative sizes.
    Example:
        >>> mg.empty(2, 3).shape
        minigrad.Size([2, 3])
    """
    if layout not in (None, mg.strided):
        return _no_values(_size(args, size), layout, dtype, device, requires_grad)
    made = _empty(_size(args, size), _dtype_of(dtype, out), device)
    if memory_format in (mg.channels_last, mg.channels_last_3d):
        made = made.contiguous(memory_format=memory_format)
    return made.requires_grad_() if requires_grad and out is None else made if out is None else _finish(made, out,
        False)


@composite(method=False, samples=lambda s: [s(2, 3), s((0, 2)), s(())], **_NUMBERS)
@shared_args(**_ARGS)
def zeros(*args: Any, size: Any = None, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
          pin_memory: bool = False, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """Zeros.

    Args:
        size: sizes, as numbers or one sequence.
    Returns:
        a tensor of that shape.
    Raises:
        RuntimeError for negative sizes.
    Example:
        >>> mg.zeros(2)
        tensor([0., 0.])
    """
    if layout not in (None, mg.strided):
        return _no_values(_size(args, size), layout, dtype, device, requires_grad)
    made = _full(_size(args, size), 0, _dtype_of(dtype, out) or mg.get_default_dtype(), device)
    return made if out is None and not requires_grad else _finish(made, out, requires_grad)


@composite(method=False, samples=lambda s: [s(2, 3), s((0, 2)), s(())], **_NUMBERS)
@shared_args(**_ARGS)
def ones(*args: Any, size: Any = None, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
         pin_memory: bool = False, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """Ones.

    Args:
        size: sizes, as numbers or one sequence.
    Returns:
        a tensor of that shape.
    Raises:
        RuntimeError for negative sizes.
    Example:
        >>> mg.ones(2)
        tensor([1., 1.])
    """
    made = _full(_size(args, size), 1, _dtype_of(dtype, out) or mg.get_default_dtype(), device)
    return made if out is None and not requires_grad else _finish(made, out, requires_grad)


@composite(method=False, samples=lambda s: [s((2, 3), 1.5), s((), 2)], **_NUMBERS)
@shared_args(**_ARGS)
def full(size: Any, fill_value: Any, *, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
         pin_memory: bool = False, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """One value everywhere.

    Args:
        size: sizes.
        fill_value: number, or 0-d tensor.
    Returns:
        a tensor of that shape; without dtype, that of the value.
    Raises:
        RuntimeError for negative sizes.
    Example:
        >>> mg.full((2,), 7)
        tensor([7, 7])
    """
    dtype = _dtype_of(dtype, out)
    if isinstance(fill_value, mg.Tensor):
        made = _empty(_size((size,), None), dtype or fill_value.dtype, device).fill_(fill_value)
    else:
        made = _full(size if not isinstance(size, int) else (size,), fill_value, dtype, device)
    return _finish(made, out, requires_grad)


@composite(method=False, no_samples_reason="uninitialised", **_NUMBERS)
@shared_args(**_ARGS)
def empty_strided(size: Any, stride: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
                  requires_grad: bool = False,
                  pin_memory: bool = False) -> mg.Tensor:  # fmt: skip
    """Uninitialised tensor with given strides.

    Args:
        size: sizes.
        stride: steps in elements.
    Returns:
        a tensor of that shape.
    Raises:
        RuntimeError for negative strides.
    Example:
        >>> mg.empty_strided((2, 3), (1, 2)).stride()
        (1, 2)
    """
    return _finish(_empty_strided(size, stride, _TYPES.get(dtype, dtype), device), None, requires_grad)


@composite(method=False, no_samples_reason="uninitialised", **_NUMBERS)
@shared_args(**_ARGS)
def empty_permuted(size: Any, physical_layout: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
                   requires_grad: bool = False, pin_memory: bool = False) -> mg.Tensor:  # fmt: skip
    """Uninitialised tensor whose dims lie in memory in the given order, the last one fastest.

    Args:
        size: sizes.
        physical_layout: the dims from outermost to innermost in memory.
    Returns:
        a tensor of that shape.
    Raises:
        RuntimeError when physical_layout is not a permutation of the dims.
    Example:
        >>> mg.empty_permuted((2, 3), (1, 0)).stride()
        (1, 2)
    """
    if sorted(physical_layout) != list(range(len(size))):
        raise RuntimeError(
            f"empty_permuted: physical_layout must name every dim once: got {tuple(physical_layout)} for {len(size)} "
            f"sizes. Try {tuple(range(len(size)))}."
        )
    stride, step = [0] * len(size), 1
    for dim in reversed(physical_layout):
        stride[dim], step = step, step * max(size[dim], 1)
    return empty_strided(size, stride, dtype=dtype, device=device, requires_grad=requires_grad)


@composite(method=False, samples=lambda s: [s(2.5)], **_NUMBERS)
@shared_args(**_ARGS)
def scalar_tensor(s: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
                  pin_memory: bool = False) -> mg.Tensor:  # fmt: skip
    """A 0-d tensor holding a number.

    Args:
        s: the number.
    Returns:
        a 0-d tensor.
    Example:
        >>> mg.scalar_tensor(2)
        tensor(2.)
    """
    return _finish(_full((), s, _TYPES.get(dtype, dtype) or mg.get_default_dtype(), device), None, requires_grad)
