"""Comparison of a result with its float64 reference, and failure messages one can act on.

A message names the op, the sample, the dtype, the worst element with both values,
   and the command that reruns just this check.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from minigrad.testing.samples import COMPLEX, FLOATS, as_stored
from minigrad.testing.tolerances import Tolerance, tolerance


def dtype_name(dtype: Any) -> str:
    """ "float32" for minigrad.float32 (and for torch.float32)."""
    return str(dtype).rsplit(".", 1)[-1]


def to_numpy(t: Any) -> np.ndarray:
    """Values of a tensor as float64 (floating), complex128, int64 (integers) or bool, whatever its layout."""
    t = t.detach()
    name = dtype_name(t.dtype)
    if name == "bfloat16":  # NumPy has none
        t = t.to(mg.float32)
    a = np.array(t.numpy())
    if name in COMPLEX:
        return a.astype(np.complex128)
    return a.astype(np.float64) if name in FLOATS else a if name == "bool" else a.astype(np.int64)


def cast_reference(expected: Any, dtype: str) -> np.ndarray:
    """The reference, converted to what a tensor of that dtype can hold (integers wrap)."""
    with np.errstate(all="ignore"):
        if dtype in FLOATS:
            return as_stored(np.asarray(expected, dtype=np.float64), dtype)
        if dtype in COMPLEX:
            return as_stored(np.asarray(expected, dtype=np.complex128), dtype)
        if dtype == "bool":
            return np.asarray(expected).astype(bool)
        return np.asarray(expected).astype(np.int64).astype(dtype).astype(np.int64)


def worst(actual: np.ndarray, expected: np.ndarray, tol: Tolerance) -> tuple[int, ...] | None:
    """Index of the worst element outside the tolerance, or None. NaN equals NaN; infinities must match."""
    if actual.dtype.kind in "fc":
        with np.errstate(all="ignore"):
            error = np.abs(actual - expected) - (tol.rtol * np.abs(expected) + tol.atol)
        same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
        bad = np.where(same, -1.0, np.where(np.isnan(error), np.inf, error))
        bad = np.where(~same & (np.isinf(expected) | np.isinf(actual)), np.inf, bad)
    else:
        bad = np.where(actual == expected, -1.0, 1.0)
    if bad.size == 0 or bad.max() <= 0:
        return None
    return tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))


def message(op: str, sample: Any, dtype: str, check: str, what: str) -> str:
    """Failure text in the house form, ending with the rerun command."""
    return (
        f"{op}: {what}\n  check:  {check}\n  sample: {op}{sample!r}\n  dtype:  {dtype}\n"
        f'  rerun:  python -m pytest tests/test_ops.py -k "{op}-{check}"'
    )


def assert_close(
    actual: Any,
    expected: Any,
    *,
    op: str,
    sample: Any,
    check: str,
    dtype: str | None = None,
    length: int = 1,
    scale: float = 1.0,
    tol: Tolerance | None = None,
) -> None:
    """Compare a tensor with its NumPy reference.

    Args:
        actual: minigrad tensor (or a NumPy array).
        expected: array-like, the float64 reference.
        op, sample, check: named in the message.
        dtype: dtype of the result; read from the tensor when None.
        length, scale: number and magnitude of the terms summed for one element, see tolerances.tolerance.
        tol: instead of the table's entry.
    Raises:
        AssertionError with op, sample, dtype, worst index, both values and the rerun command.
    """
    dtype = dtype or dtype_name(actual.dtype)
    a = actual if isinstance(actual, np.ndarray) else to_numpy(actual)
    e = cast_reference(expected, dtype)
    if a.shape != e.shape:
        raise AssertionError(message(op, sample, dtype, check, f"shape {a.shape}, expected {e.shape}"))
    tol = tol or tolerance(dtype, length, scale)
    index = worst(a, e, tol)
    if index is not None:
        what = (
            f"worst at index {index}: got {a[index]!r}, expected {e[index]!r} "
            f"(difference {abs(a[index].item() - e[index].item()):.3g}, allowed rtol {tol.rtol:.3g}, atol "
            f"{tol.atol:.3g})"
        )
        raise AssertionError(message(op, sample, dtype, check, what))
