"""`make_tensor`: random tensors for tests."""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg


def _range(dtype: Any, low: Any, high: Any) -> tuple[Any, Any]:
    floating = dtype.is_floating_point or dtype.is_complex
    default = (0, 2) if dtype == mg.bool else (0, 10) if dtype == mg.uint8 else (-9, 9) if floating else (-9, 10)
    low, high = default[0] if low is None else low, default[1] if high is None else high
    if any(isinstance(v, float) and math.isnan(v) for v in (low, high)):
        raise ValueError(f"`low` and `high` cannot be NaN, but got low={low!r} and high={high!r}")
    if floating:
        info = mg.finfo(dtype)
        low, high = min(max(low, info.min), info.max), min(max(high, info.min), info.max)
    elif dtype != mg.bool:
        info = mg.iinfo(dtype)
        low, high = math.ceil(max(low, info.min)), math.ceil(min(high, info.max + 1))
    if low > high or (low == high and not floating):
        raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
    return low, high


def _draw(shape: tuple[int, ...], dtype: Any, device: Any, low: Any, high: Any) -> mg.Tensor:
    if dtype.is_complex:
        real = mg.float32 if dtype == mg.complex64 else mg.float64
        return mg.complex(*(mg.empty(shape, dtype=real, device=device).uniform_(low, high) for _ in range(2)))
    if dtype.is_floating_point:
        return mg.empty(shape, dtype=dtype, device=device).uniform_(low, high)
    return mg.randint(int(low), int(high), shape, device=device).to(dtype)


def make_tensor(*shape: Any, dtype: Any, device: Any, low: float | None = None, high: float | None = None, requires_grad: bool = False,
                noncontiguous: bool = False, exclude_zero: bool = False, memory_format: Any = None) -> mg.Tensor:  # fmt: skip
    """A tensor of even random numbers of [low, high).

    Args:
        shape: sizes, as numbers or one sequence.
        dtype, device: of the tensor.
        low, high: default [-9, 9) for floating dtypes, [-9, 10) for integers, [0, 10) for uint8, [0, 2) for bool.
        requires_grad: True makes a leaf.
        noncontiguous: every second element of a tensor twice as wide.
        exclude_zero: zeros become the smallest positive number (1 for integers).
        memory_format: layout of 4-d and 5-d tensors; not together with noncontiguous.
    Raises:
        ValueError for an empty range, or for requires_grad of an integer dtype.
    """
    if len(shape) == 1 and not isinstance(shape[0], int):
        shape = tuple(shape[0])
    if noncontiguous and memory_format is not None:
        raise ValueError(f"The parameters `noncontiguous` and `memory_format` are mutually exclusive, but got {noncontiguous=} and "
                         f"{memory_format=}")  # fmt: skip
    floating = dtype.is_floating_point or dtype.is_complex
    if requires_grad and not floating:
        raise ValueError(f"`requires_grad=True` is not supported for boolean and integral dtypes, but got {dtype=}")
    low, high = _range(dtype, low, high)
    spread = noncontiguous and math.prod(shape) > 1
    made = _draw((*shape[:-1], 2 * shape[-1]) if spread else shape, dtype, device, low, high)
    if spread:
        made = made[..., ::2]
    elif memory_format is not None:
        made = made.contiguous(memory_format=memory_format)
    if exclude_zero:
        made[made == 0] = mg.finfo(dtype).tiny if floating else 1
    return made.requires_grad_() if requires_grad else made
