"""Ranges and patterns made of numbers: arange, linspace, logspace, eye, tril_indices, triu_indices. Kernels: csrc/cpu/create.cpp."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.op import composite, op
from minigrad.ops.creation.create import _ARGS, _NUMBERS, _dtype_of, _finish, _full, _number
from minigrad.ops.shared.struct_doc import numpy, shared_args

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


# --- ranges -----------------------------------------------------------------------------------------------------------
@composite(method=False, samples=lambda s: [s(5), s(1, 7, 2), s(0.0, 1.0, 0.25), s(5, 0, -2)], **_NUMBERS)
@shared_args(**_ARGS)
def arange(*args: Any, start: Any = None, end: Any = None, step: Any = None, out: Any = None, dtype: Any = None,
           layout: Any = None,
           device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """start, start + step … up to but without end.

    Args:
        start: first value, default 0.
        end: bound, excluded.
        step: difference, not 0, default 1.
    Returns:
        a 1-d tensor of ceil((end - start) / step) elements; int64 when all are integers, else the default dtype.
    Raises:
        RuntimeError for step 0 or of the wrong sign.
    Example:
        >>> mg.arange(1, 7, 2)
        tensor([1, 3, 5])
    """
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
@shared_args(**_ARGS)
def linspace(start: Any, end: Any, steps: int, *, out: Any = None, dtype: Any = None, layout: Any = None,
             device: Any = None,
             pin_memory: bool = False, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """`steps` evenly spaced numbers from start to end, both included.

    Args:
        start: first value.
        end: last value.
        steps: how many.
    Returns:
        a 1-d tensor.
    Raises:
        RuntimeError for negative steps.
    Example:
        >>> mg.linspace(0, 1, 3)
        tensor([0.0000, 0.5000, 1.0000])
    """
    dtype = _dtype_of(dtype, out)
    low, high = _ends(start, end, dtype)
    return _finish(_linspace(low, high, steps, dtype, device), out, requires_grad)


@composite(method=False, samples=lambda s: [s(0, 2, 3), s(-1.0, 1.0, 5, 2.0)], **_NUMBERS)
@shared_args(**_ARGS)
def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, out: Any = None, dtype: Any = None,
             layout: Any = None,
             device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """base to the power of `steps` evenly spaced exponents.

    Args:
        start: first exponent.
        end: last exponent.
        steps: how many.
        base: the base.
    Returns:
        a 1-d tensor.
    Raises:
        RuntimeError for negative steps.
    Example:
        >>> mg.logspace(0, 2, 3)
        tensor([  1.,  10., 100.])
    """
    dtype = _dtype_of(dtype, out)
    low, high = _ends(start, end, dtype)
    return _finish(_logspace(low, high, steps, dtype, device, float(base)), out, requires_grad)


@composite(method=False, samples=lambda s: [s(3), s(2, 4)], **_NUMBERS)
@shared_args(**_ARGS)
def eye(n: int, m: int | None = None, *, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
        pin_memory: bool = False, requires_grad: bool = False) -> mg.Tensor:  # fmt: skip
    """Ones on the main diagonal, zeros elsewhere.

    Args:
        n: rows.
        m: columns, default n.
    Returns:
        an (n, m) matrix.
    Raises:
        RuntimeError for negative sizes.
    Example:
        >>> mg.eye(2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
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
def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                 layout: Any = None) -> mg.Tensor:
    """Row and column numbers of the lower triangle of a matrix, row by row.

    Args:
        row: rows.
        col: columns.
        offset: diagonal up to which elements count.
        dtype: integer dtype, default int64.
        device: where the data lives.
    Returns:
        a (2, n) integer tensor.
    Raises:
        RuntimeError for negative sizes.
    Example:
        >>> mg.tril_indices(2, 2).tolist()
        [[0, 1, 1], [0, 0, 1]]
    """
    return _triangle_indices(row, col, offset, dtype, True)


@composite(method=False, samples=lambda s: [s(3, 4), s(4, 3, 1)], **_NUMBERS)
def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                 layout: Any = None) -> mg.Tensor:
    """Row and column numbers of the upper triangle of a matrix, row by row.

    Args:
        row: rows.
        col: columns.
        offset: diagonal from which elements count.
        dtype: integer dtype, default int64.
        device: where the data lives.
    Returns:
        a (2, n) integer tensor.
    Raises:
        RuntimeError for negative sizes.
    Example:
        >>> mg.triu_indices(2, 2).tolist()
        [[0, 0, 1], [0, 1, 1]]
    """
    return _triangle_indices(row, col, offset, dtype, False)
