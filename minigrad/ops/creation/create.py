"""Creation: empty, zeros, ones, full, arange, linspace, eye … and the *_like forms (new_*: create_new.py). Kernels:
csrc/cpu/create.cpp, copy_ops.cpp.

The ops with a leading underscore go through call() (so the tracer sees them); the public functions only sort PyTorch's
arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad.op import composite, op
from minigrad.ops.shared.struct_doc import card, numpy

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
_arange = op(
    "_arange(start: scalar, end: scalar, step: scalar, dtype: dtype? = None, device: device? = None) -> out",
    meta="arange", namespace=None,
    **_NUMBERS, ref=lambda start, end, step, dtype=None, device=None: numpy().arange(start, end, step),
    samples=lambda s: [s(0, 5, 1), s(5, 0, -2), s(0.5, 2.0, 0.5), s(3, 3, 1)], doc="start, start + step … before end.")
_linspace = op(
    "_linspace(start: scalar, end: scalar, steps: int, dtype: dtype? = None, device: device? = None) -> out",
    meta="linspace", namespace=None,
    **_NUMBERS, ref=lambda start, end, steps, dtype=None, device=None: numpy().linspace(start, end, steps),
    samples=lambda s: [s(0, 1, 5), s(-2.5, 3, 7), s(1, 2, 1), s(0, 1, 0)],
    doc="Evenly spaced numbers, both ends included.")
_logspace = op(
    "_logspace(start: scalar, end: scalar, steps: int, dtype: dtype? = None, device: device? = None, base: float = "
    "10.0) -> out",
    meta="linspace", namespace=None, **_NUMBERS,
    ref=lambda start, end, steps, dtype=None, device=None, base=10.0: numpy().logspace(start, end, steps, base=base),
    samples=lambda s: [s(0, 2, 3), s(-1, 1, 5, base=2.0)], doc="base to the power of evenly spaced numbers.")
_eye = op("_eye(n: int, m: int, dtype: dtype? = None, device: device? = None) -> out", meta="eye", namespace=None,
          **_NUMBERS,
          ref=lambda n, m, dtype=None, device=None: numpy().eye(n, m), samples=lambda s: [s(2, 3), s(3, 3), s(0, 2)],
          doc="Ones on the main diagonal, zeros elsewhere.")

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


def _documented(text: str) -> Callable[[Callable], Callable]:
    def attach(function: Callable) -> Callable:
        function.__doc__ = text
        return function

    return attach


# --- one value --------------------------------------------------------------------------------------------------------
@composite(method=False, no_samples_reason="uninitialised", **_NUMBERS)
@_documented(card("Uninitialised tensor: whatever the memory held.", "mg.empty(2, 3).shape -> minigrad.Size([2, 3])",
                  size="sizes, as numbers or one sequence.", returns="a tensor of that shape.",
                  raises="RuntimeError for negative sizes.", **_ARGS))
def empty(*args: Any, size: Any = None, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
          pin_memory: bool = False, memory_format: Any = None, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    if layout not in (None, mg.strided):
        return _no_values(_size(args, size), layout, dtype, device, requires_grad)
    made = _empty(_size(args, size), _dtype_of(dtype, out), device)
    if memory_format in (mg.channels_last, mg.channels_last_3d):
        made = made.contiguous(memory_format=memory_format)
    return made.requires_grad_() if requires_grad and out is None else made if out is None else _finish(made, out,
        False)


@composite(method=False, samples=lambda s: [s(2, 3), s((0, 2)), s(())], **_NUMBERS)
@_documented(card("Zeros.", "mg.zeros(2) -> tensor([0., 0.])", size="sizes, as numbers or one sequence.",
                  returns="a tensor of that shape.",
                  raises="RuntimeError for negative sizes.", **_ARGS))
def zeros(*args: Any, size: Any = None, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
          pin_memory: bool = False, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    if layout not in (None, mg.strided):
        return _no_values(_size(args, size), layout, dtype, device, requires_grad)
    made = _full(_size(args, size), 0, _dtype_of(dtype, out) or mg.get_default_dtype(), device)
    return made if out is None and not requires_grad else _finish(made, out, requires_grad)


@composite(method=False, samples=lambda s: [s(2, 3), s((0, 2)), s(())], **_NUMBERS)
@_documented(card("Ones.", "mg.ones(2) -> tensor([1., 1.])", size="sizes, as numbers or one sequence.",
                  returns="a tensor of that shape.",
                  raises="RuntimeError for negative sizes.", **_ARGS))
def ones(*args: Any, size: Any = None, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
         pin_memory: bool = False, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    made = _full(_size(args, size), 1, _dtype_of(dtype, out) or mg.get_default_dtype(), device)
    return made if out is None and not requires_grad else _finish(made, out, requires_grad)


@composite(method=False, samples=lambda s: [s((2, 3), 1.5), s((), 2)], **_NUMBERS)
@_documented(card("One value everywhere.", "mg.full((2,), 7) -> tensor([7, 7])", size="sizes.",
                  fill_value="number, or 0-d tensor.",
                  returns="a tensor of that shape; without dtype, that of the value.",
                  raises="RuntimeError for negative sizes.", **_ARGS))
def full(size: Any, fill_value: Any, *, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
         pin_memory: bool = False, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    dtype = _dtype_of(dtype, out)
    if isinstance(fill_value, mg.Tensor):
        made = _empty(_size((size,), None), dtype or fill_value.dtype, device).fill_(fill_value)
    else:
        made = _full(size if not isinstance(size, int) else (size,), fill_value, dtype, device)
    return _finish(made, out, requires_grad)


@composite(method=False, no_samples_reason="uninitialised", **_NUMBERS)
@_documented(card("Uninitialised tensor with given strides.", "mg.empty_strided((2, 3), (1, 2)).stride() -> (1, 2)",
                  size="sizes.",
                  stride="steps in elements.", returns="a tensor of that shape.",
                  raises="RuntimeError for negative strides.", **_ARGS))
def empty_strided(size: Any, stride: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
                  requires_grad: bool = False,
                  pin_memory: bool = False) -> mg.Tensor:  # fmt: skip
    return _finish(_empty_strided(size, stride, _TYPES.get(dtype, dtype), device), None, requires_grad)


@composite(method=False, no_samples_reason="uninitialised", **_NUMBERS)
@_documented(card("Uninitialised tensor whose dims lie in memory in the given order, the last one fastest.",
                  "mg.empty_permuted((2, 3), (1, 0)).stride() -> (1, 2)", size="sizes.",
                  physical_layout="the dims from outermost to innermost in memory.",
                  returns="a tensor of that shape.",
                  raises="RuntimeError when physical_layout is not a permutation of the dims.", **_ARGS))
def empty_permuted(size: Any, physical_layout: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
                   requires_grad: bool = False, pin_memory: bool = False) -> mg.Tensor:  # fmt: skip
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
@_documented(card("A 0-d tensor holding a number.", "mg.scalar_tensor(2) -> tensor(2.)", s="the number.",
                  returns="a 0-d tensor.", **_ARGS))
def scalar_tensor(s: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
                  pin_memory: bool = False) -> mg.Tensor:  # fmt: skip
    return _finish(_full((), s, _TYPES.get(dtype, dtype) or mg.get_default_dtype(), device), None, requires_grad)


# --- ranges -----------------------------------------------------------------------------------------------------------
def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


@composite(method=False, samples=lambda s: [s(5), s(1, 7, 2), s(0.0, 1.0, 0.25), s(5, 0, -2)], **_NUMBERS)
@_documented(card("start, start + step … up to but without end.", "mg.arange(1, 7, 2) -> tensor([1, 3, 5])",
                  start="first value, default 0.",
                  end="bound, excluded.", step="difference, not 0, default 1.",
                  returns="a 1-d tensor of ceil((end - start) / step) elements; int64 when all are integers, else "
                  "the default dtype.",
                  raises="RuntimeError for step 0 or of the wrong sign.", **_ARGS))
def arange(*args: Any, start: Any = None, end: Any = None, step: Any = None, out: Any = None, dtype: Any = None,
           layout: Any = None,
           device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    if len(args) == 1 and end is None:
        end = args[0]
    elif args:
        names = dict(zip(("start", "end", "step"), args))
        if len(args) > 3 or (start is not None and "start" in names):
            raise TypeError("arange: expected arange(end), arange(start, end) or arange(start, end, step)")
        start, end, step = names["start"], names.get("end", end), names.get("step", step)
    if end is None:
        raise TypeError("arange() missing 1 required positional argument: 'end'")
    low, high, by = (0 if start is None else _number(start)), _number(end), (1 if step is None else _number(step))
    dtype = _dtype_of(dtype, out)
    if dtype is mg.int64 and all(isinstance(v, (int, float)) and math.isfinite(v) for v in (low, high, by)):
        low, high, by = int(low), int(high), int(by)  # as PyTorch, which counts the elements of int64 in integers
    made = _arange(low, high, by, dtype, device)
    return made if out is None and not requires_grad else _finish(made, out, requires_grad)


def _ends(start: Any, end: Any, dtype: Any) -> tuple[Any, Any]:
    """The ends as numbers; for integer dtypes cut to integers first, as PyTorch does."""
    low, high = _number(start), _number(end)
    if dtype is None or dtype.is_floating_point or dtype.is_complex or dtype is mg.bool:
        return low, high
    return (int(low) if math.isfinite(low) else low), (int(high) if math.isfinite(high) else high)


@composite(method=False, samples=lambda s: [s(0, 1, 5), s(-2.0, 3.0, 4)], **_NUMBERS)
@_documented(card("`steps` evenly spaced numbers from start to end, both included.",
                  "mg.linspace(0, 1, 3) -> tensor([0.0000, 0.5000, 1.0000])",
                  start="first value.", end="last value.", steps="how many.", returns="a 1-d tensor.",
                  raises="RuntimeError for negative steps.",
                  **_ARGS))
def linspace(start: Any, end: Any, steps: int, *, out: Any = None, dtype: Any = None, layout: Any = None,
             device: Any = None,
             pin_memory: bool = False, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    dtype = _dtype_of(dtype, out)
    low, high = _ends(start, end, dtype)
    return _finish(_linspace(low, high, steps, dtype, device), out, requires_grad)


@composite(method=False, samples=lambda s: [s(0, 2, 3), s(-1.0, 1.0, 5, 2.0)], **_NUMBERS)
@_documented(card("base to the power of `steps` evenly spaced exponents.",
                  "mg.logspace(0, 2, 3) -> tensor([  1.,  10., 100.])",
                  start="first exponent.", end="last exponent.", steps="how many.", base="the base.",
                  returns="a 1-d tensor.",
                  raises="RuntimeError for negative steps.", **_ARGS))
def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, out: Any = None, dtype: Any = None,
             layout: Any = None,
             device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    dtype = _dtype_of(dtype, out)
    low, high = _ends(start, end, dtype)
    return _finish(_logspace(low, high, steps, dtype, device, float(base)), out, requires_grad)


@composite(method=False, samples=lambda s: [s(3), s(2, 4)], **_NUMBERS)
@_documented(card("Ones on the main diagonal, zeros elsewhere.", "mg.eye(2).tolist() -> [[1.0, 0.0], [0.0, 1.0]]",
                  n="rows.",
                  m="columns, default n.", returns="an (n, m) matrix.", raises="RuntimeError for negative sizes.",
                  **_ARGS))
def eye(n: int, m: int | None = None, *, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
        pin_memory: bool = False, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    return _finish(_eye(n, n if m is None else m, _dtype_of(dtype, out), device), out, requires_grad)


# --- triangles --------------------------------------------------------------------------------------------------------
def _triangle_indices(row: int, col: int, offset: int, dtype: Any, lower: bool) -> mg.Tensor:
    if row < 0 or col < 0:
        raise RuntimeError(f"tril_indices: row and col must be non-negative: got {row} and {col}")
    if lower:
        col = min(col, max(row + offset, 0))  # no row reaches further
    else:
        row = min(row, max(col - offset, 0))
    offset = min(max(offset, -row), col)
    ones = _full((row, col), True, mg.bool)
    kept = (ones.tril(offset) if lower else ones.triu(offset)).nonzero().t().contiguous()
    return kept if dtype in (None, mg.int64) else kept.to(dtype)


@composite(method=False, samples=lambda s: [s(3, 4), s(4, 3, -1)], **_NUMBERS)
@_documented(card("Row and column numbers of the lower triangle of a matrix, row by row.",
                  "mg.tril_indices(2, 2).tolist() -> [[0, 1, 1], [0, 0, 1]]",
                  row="rows.", col="columns.", offset="diagonal up to which elements count.",
                  returns="a (2, n) integer tensor.",
                  raises="RuntimeError for negative sizes.", dtype="integer dtype, default int64.",
                  device="where the data lives."))
def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                 layout: Any = None) -> mg.Tensor:
    return _triangle_indices(row, col, offset, dtype, True)


@composite(method=False, samples=lambda s: [s(3, 4), s(4, 3, 1)], **_NUMBERS)
@_documented(card("Row and column numbers of the upper triangle of a matrix, row by row.",
                  "mg.triu_indices(2, 2).tolist() -> [[0, 0, 1], [0, 1, 1]]",
                  row="rows.", col="columns.", offset="diagonal from which elements count.",
                  returns="a (2, n) integer tensor.",
                  raises="RuntimeError for negative sizes.", dtype="integer dtype, default int64.",
                  device="where the data lives."))
def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                 layout: Any = None) -> mg.Tensor:
    return _triangle_indices(row, col, offset, dtype, False)


# --- like another tensor ----------------------------------------------------------------------------------------------
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
@_documented(card("`empty` of another tensor's shape and dtype.",
                  "mg.empty_like(mg.zeros(2)).shape -> minigrad.Size([2])",
                  returns="a tensor of the same shape.", **_LIKE))
def empty_like(input: mg.Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
               requires_grad: bool = False, memory_format: Any = None) -> mg.Tensor:  # fmt: skip
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
@_documented(card("Zeros of another tensor's shape and dtype.", "mg.zeros_like(mg.tensor([1, 2])) -> tensor([0, 0])",
                  returns="a tensor of the same shape.", **_LIKE))
def zeros_like(input: mg.Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
               requires_grad: bool = False, memory_format: Any = None) -> mg.Tensor:  # fmt: skip
    if (layout or input.layout) is not mg.strided:
        return _no_values(input.shape, layout or input.layout, dtype or input.dtype, device or input.device, requires_grad)
    return _full_like(input, 0, dtype, device, requires_grad, memory_format)


@composite(method=False, samples=lambda s: [s(s.t(2, 3)), s(s.t(3, 2, layout="transposed"))], **_NUMBERS)
@_documented(card("Ones of another tensor's shape and dtype.", "mg.ones_like(mg.tensor([1, 2])) -> tensor([1, 1])",
                  returns="a tensor of the same shape.", **_LIKE))
def ones_like(input: mg.Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
              requires_grad: bool = False, memory_format: Any = None) -> mg.Tensor:  # fmt: skip
    return _full_like(input, 1, dtype, device, requires_grad, memory_format)


@composite(method=False, samples=lambda s: [s(s.t(2, 3), 1.5)], **_NUMBERS)
@_documented(card("One value in another tensor's shape and dtype.",
                  "mg.full_like(mg.tensor([1, 2]), 5) -> tensor([5, 5])",
                  fill_value="the number.", returns="a tensor of the same shape.", **_LIKE))
def full_like(input: mg.Tensor, fill_value: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
              pin_memory: bool = False,
              requires_grad: bool = False, memory_format: Any = None) -> mg.Tensor:  # fmt: skip
    return _full_like(input, _number(fill_value), dtype, device, requires_grad, memory_format)
