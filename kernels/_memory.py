"""Memory for results: minigrad's own, or, while a check runs, with guard zones on both sides that are looked at afterwards.

A kernel with a wrong mask writes beside its buffer, and the interpreter lets it: addresses are just addresses. Inside `guarded()` every
buffer made here stands in the middle of a larger one filled with a pattern; `verify()` finds what is not the pattern any more. The
pattern is NaN in every floating dtype, so that a read out of bounds shows in the values.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import minigrad as mg

_ZONE = 512  # bytes on each side: a kernel that forgets a mask goes wrong by up to a block, of which the first elements are what counts
_PATTERN = 0xFF
_guards: list[tuple[Any, int, int]] | None = None  # (bytes of the larger buffer, first byte of the inner one, one past its last)


class _Offer(threading.local):
    tensors: list[Any] | None = None


_offer = _Offer()


@contextlib.contextmanager
def offering(outs: Sequence[Any]) -> Iterator[None]:
    """Inside, memory that is asked for is that of `outs`, where count, dtype and device agree and nobody has it yet: the outputs of an op
    whose kernel the launcher is (_overrides.py)."""
    _offer.tensors = [t for t in outs if t.is_contiguous()]
    try:
        yield
    finally:
        _offer.tensors = None


def _offered(shape: Sequence[int], dtype: Any, device: Any) -> Any:
    count = math.prod(shape)
    for k, t in enumerate(_offer.tensors):
        if t.dtype == dtype and t.numel() == count and t.device == device:
            return _offer.tensors.pop(k).view(tuple(shape))
    return None


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Inside, buffers have guard zones; leaving looks at them."""
    global _guards
    previous, _guards = _guards, []
    try:
        yield
        verify()
    finally:
        _guards = previous


def verify() -> None:
    """Raises if a guard zone was written to."""
    for outer, start, stop in _guards or ():
        data = outer.cpu().numpy()
        for zone, name in ((data[:start], "before"), (data[stop:], "behind")):
            if (zone != _PATTERN).any():
                at = int((zone != _PATTERN).nonzero()[0][0])
                where = start - at if name == "before" else at
                raise AssertionError(f"a kernel wrote {where} bytes {name} a buffer of {stop - start} bytes")


def place(shape: Sequence[int], dtype: Any, device: Any, strides: Sequence[int] | None = None, skip: int = 0) -> Any:
    """A guarded, uninitialised (all ones: NaN, -1) tensor of the given strides, `skip` elements behind a 256-byte boundary."""
    shape = tuple(shape)
    if strides is None:
        strides, n = [], 1
        for size in reversed(shape):
            strides.insert(0, n)
            n *= max(size, 1)
    items = 0 if 0 in shape else 1 + sum((s - 1) * t for s, t in zip(shape, strides))
    width = dtype.itemsize
    outer = mg.full((2 * _ZONE + (items + skip) * width,), _PATTERN, dtype=mg.uint8, device=device)
    start = _ZONE + skip * width
    if _guards is not None:
        _guards.append((outer, start, start + items * width))
    return outer.view(dtype).as_strided(shape, tuple(strides), start // width)


def empty(shape: Sequence[int], dtype: Any, device: Any) -> Any:
    """Uninitialised and contiguous."""
    if _guards is not None and mg.device(device).type != "meta":
        return place(shape, dtype, device)
    if _offer.tensors and (found := _offered(shape, dtype, device)) is not None:
        return found
    return mg.empty(tuple(shape), dtype=dtype, device=device)


def empty_like(x: Any, dtype: Any = None) -> Any:
    """Uninitialised and contiguous, of x's shape and device."""
    return empty(x.shape, dtype or x.dtype, x.device)


def full(shape: Sequence[int], value: float, dtype: Any, device: Any) -> Any:
    """Filled with `value`."""
    return empty(shape, dtype, device).fill_(value)


def zeros(shape: Sequence[int], dtype: Any, device: Any) -> Any:
    """Zeros."""
    return full(shape, 0, dtype, device)


def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Zeros of x's shape and device."""
    return zeros(x.shape, dtype or x.dtype, x.device)
