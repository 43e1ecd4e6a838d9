"""grouped_mm: products of groups of rows or columns with matrices of their own (mixtures of experts); the names of scaled products."""

from __future__ import annotations

import enum
from typing import Any

import minigrad as mg

Tensor = mg.Tensor


class ScalingType(enum.IntEnum):
    """How the scales of `scaled_mm` lie."""

    TensorWise, RowWise, BlockWise1x16, BlockWise1x32, BlockWise1x128, BlockWise128x128 = range(6)


class SwizzleType(enum.IntEnum):
    """How the scales of `scaled_mm` are ordered in memory."""

    NO_SWIZZLE, SWIZZLE_32_4_4 = range(2)


def assert_int_or_pair(arg: list[int], arg_name: str, message: str) -> None:
    """Assert that `arg` is an int or has two elements; `message` has a place for the name."""
    assert isinstance(arg, int) or len(arg) == 2, message.format(arg_name)


def grouped_mm(
    mat_a: Tensor, mat_b: Tensor, *, offs: Tensor | None = None, bias: Tensor | None = None, out_dtype: Any = None
) -> Tensor:
    """One product per group; a 2-d operand is split at `offs` along the dimension that the groups share.

    Args:
        mat_a: (G, M, K); or (M, K), whose rows (mat_b 3-d) or columns (mat_b 2-d) are split.
        mat_b: (G, K, N); or (K, N), whose columns (mat_a 3-d) or rows (mat_a 2-d) are split.
        offs: int32 (G,), the end of each group; needed when an operand is 2-d.
        bias: not supported, as in PyTorch.
        out_dtype: dtype of the result; default that of mat_a.
    Returns:
        (G, M, N) for two 3-d or two 2-d operands, (M, N) otherwise.
    Raises:
        RuntimeError: other ranks, missing offs. NotImplementedError: bias.
    Source: torch.nn.functional.grouped_mm.
    """
    if bias is not None:
        raise NotImplementedError("grouped_mm: bias is not supported")
    if mat_a.dim() not in (2, 3) or mat_b.dim() not in (2, 3):
        raise RuntimeError(f"grouped_mm: operands must be 2-d or 3-d: got {mat_a.dim()}-d and {mat_b.dim()}-d")
    if mat_a.dim() == 3 and mat_b.dim() == 3:
        return _cast(mg.bmm(mat_a, mat_b), out_dtype)
    if offs is None:
        raise RuntimeError("grouped_mm: offs is needed when an operand is 2-d")
    ends = offs.tolist()
    spans = list(zip([0, *ends[:-1]], ends))
    if mat_a.dim() == 2 and mat_b.dim() == 2:
        return _cast(mg.stack([mat_a[:, i:j] @ mat_b[i:j] for i, j in spans]), out_dtype)
    if mat_a.dim() == 2:
        parts = [mat_a[i:j] @ mat_b[g] for g, (i, j) in enumerate(spans)]
        rest = mat_a.shape[0] - ends[-1]
        return _cast(mg.cat([*parts, mat_a.new_zeros(rest, mat_b.shape[2])] if rest else parts), out_dtype)
    parts = [mat_a[g] @ mat_b[:, i:j] for g, (i, j) in enumerate(spans)]
    rest = mat_b.shape[1] - ends[-1]
    return _cast(mg.cat([*parts, mat_a.new_zeros(mat_a.shape[1], rest)] if rest else parts, 1), out_dtype)


def _cast(out: Tensor, dtype: Any) -> Tensor:
    return out if dtype is None else out.to(dtype)
