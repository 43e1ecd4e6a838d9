"""pad: constant, reflect, replicate, circular, all by views, cat and index_select."""

from __future__ import annotations

from collections.abc import Sequence

import minigrad as mg

Tensor = mg.Tensor


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Pad the last dimensions.

    Args:
        input: any shape; the other modes than "constant" need (N, C, spatial…) or (C, spatial…).
        pad: (left, right) of the last dimension, then of the one before it, and so on; negative crops.
        mode: "constant", "reflect", "replicate" or "circular".
        value: fill of "constant", 0 by default.
    """
    pad = tuple(int(p) for p in pad)
    if len(pad) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(pad) // 2 > input.dim():
        raise RuntimeError(
            f"Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(pad)} and input of dimension {input.dim()}"
        )
    if mode == "constant":
        return mg.constant_pad_nd(input, pad, 0 if value is None else value)
    if mode not in _INDEX:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value is not None:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    spatial = len(pad) // 2
    if not 1 <= spatial <= 3 or input.dim() not in (spatial + 1, spatial + 2):
        raise NotImplementedError(
            "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now, "
            f"got padding length {len(pad)} and input of dimension {input.dim()}"
        )
    for i in range(spatial):
        input = _index_dim(input, input.dim() - 1 - i, pad[2 * i], pad[2 * i + 1], mode)
    return input


def _reflect(size: int, left: int, right: int) -> list[int]:
    if left >= size or right >= size:
        raise RuntimeError(
            "Padding size should be less than the corresponding input dimension, "
            f"but got: padding ({left}, {right}) at a dimension of size {size}"
        )
    return [abs(i) if i < size else 2 * (size - 1) - i for i in range(-left, size + right)]


def _replicate(size: int, left: int, right: int) -> list[int]:
    if size == 0:
        raise RuntimeError("replicate padding: expected a non-empty dimension to pad")
    return [min(max(i, 0), size - 1) for i in range(-left, size + right)]


def _circular(size: int, left: int, right: int) -> list[int]:
    if left > size or right > size:
        raise RuntimeError("Padding value causes wrapping around more than once.")
    kept = list(range(max(-left, 0), size - max(-right, 0)))  # negative padding crops before the rest wraps around
    return kept[len(kept) - max(left, 0) :] + kept + kept[: max(right, 0)]


_INDEX = {"reflect": _reflect, "replicate": _replicate, "circular": _circular}


def _index_dim(input: Tensor, dim: int, left: int, right: int, mode: str) -> Tensor:
    if left == 0 and right == 0:
        return input
    index = _INDEX[mode](input.shape[dim], left, right)
    return input.index_select(dim, mg.tensor(index, dtype=mg.int64, device=input.device))
