"""Judging a result of minigrad by PyTorch's: structure, shape, dtype, values within the op's tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import minigrad as mg

from .convert import dtype_name

# torch.testing's defaults, float32 ten times wider: two correct float32 kernels differ by more than one does from itself.
DEFAULTS = {
    "float64": (1e-7, 1e-7),
    "float32": (1.3e-5, 1e-4),
    "bfloat16": (1.6e-2, 1e-5),
    "float16": (1e-3, 1e-5),
    "complex64": (1.3e-5, 1e-4),
    "complex128": (1e-7, 1e-7),
}
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10, "complex64": 2.0**-23, "complex128": 2.0**-52}


@dataclass(frozen=True)
class Tolerance:
    """Bounds per dtype name; integers and bools compare exactly."""

    overrides: dict[str, tuple[float, float]]
    factor: float = 1.0

    def of(self, dtype: str) -> tuple[float, float]:
        rtol, atol = DEFAULTS.get(dtype, (0.0, 0.0))
        more = self.overrides.get(dtype, (0.0, 0.0))
        return self.factor * max(rtol, more[0]), self.factor * max(atol, more[1])


def tolerance(op: Any, factor: float = 1.0) -> Tolerance:
    """The defaults, or the entry's own toleranceOverride decorators where they are looser."""
    found: dict[str, tuple[float, float]] = {}
    for entry in op.decorators or ():
        if getattr(entry, "device_type", None) not in (None, "cpu"):
            continue
        for decorator in getattr(entry, "decorators", (entry,)):
            for dtype, tol in getattr(decorator, "d", {}).items():
                name = dtype_name(dtype)
                rtol, atol = found.get(name, (0.0, 0.0))
                more = (0.0, tol) if isinstance(tol, float) else (tol.rtol, tol.atol)  # precisionOverride gives atol alone
                found[name] = (max(rtol, more[0]), max(atol, more[1]))
    return Tolerance(found)


def values(t: Any) -> np.ndarray:
    """A tensor of either library as float64, complex128, int64 or bool."""
    t = t.detach()
    name = dtype_name(t.dtype)
    if isinstance(t, torch.Tensor):
        t = torch.zeros(t.shape, dtype=t.dtype) if t._is_zerotensor() else t.resolve_conj().resolve_neg()
        if name == "complex32":
            return t.to(torch.complex64).numpy().astype(np.complex128)
        a = (t.float() if name == "bfloat16" else t).numpy()
    else:
        a = (t.to(mg.float32) if name == "bfloat16" else t).numpy()
    kind = np.asarray(a).dtype.kind
    return np.array(a).astype({"f": np.float64, "c": np.complex128, "b": np.bool_}.get(kind, np.int64))


def difference(actual: Any, expected: Any, tol: Tolerance, exact_values: bool = True, path: str = "result") -> str | None:
    """None when equal; else what differs first. With `exact_values` off only structure, shape and dtype count."""
    if isinstance(expected, torch.Tensor):
        return _tensor_difference(actual, expected, tol, exact_values, path)
    if isinstance(expected, (tuple, list)):
        if not isinstance(actual, (tuple, list)) or len(actual) != len(expected):
            return f"{path}: got {_kind(actual)}, expected {type(expected).__name__} of {len(expected)}"
        for i, (a, e) in enumerate(zip(actual, expected)):
            if (found := difference(a, e, tol, exact_values, f"{path}[{i}]")) is not None:
                return found
        return None
    if isinstance(expected, (torch.dtype, torch.device)):
        same = dtype_name(actual) == dtype_name(expected) if isinstance(expected, torch.dtype) else str(actual) == str(expected)
        return None if same else f"{path}: got {actual}, expected {expected}"
    if isinstance(expected, (bool, int, float, complex)):
        if type(actual) is not type(expected):
            return f"{path}: got {_kind(actual)}, expected the {type(expected).__name__} {expected}"
        if not exact_values or actual == expected or (actual != actual and expected != expected):
            return None
        close = isinstance(expected, (float, complex)) and np.isclose(actual, expected, *tol.of("float32"))
        return None if close else f"{path}: got {actual}, expected {expected}"
    return None if actual == expected else f"{path}: got {_kind(actual)}, expected {expected!r}"


def _kind(x: Any) -> str:
    return f"{type(x).__name__} of {len(x)}" if isinstance(x, (tuple, list)) else f"{type(x).__name__} {x!r}"[:200]


def _tensor_difference(actual: Any, expected: torch.Tensor, tol: Tolerance, exact_values: bool, path: str) -> str | None:
    if not isinstance(actual, mg.Tensor):
        return f"{path}: got {_kind(actual)}, expected a {dtype_name(expected.dtype)} tensor of shape {tuple(expected.shape)}"
    if tuple(actual.shape) != tuple(expected.shape):
        return f"{path}: shape is {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    name = dtype_name(expected.dtype)
    if dtype_name(actual.dtype) != name:
        return f"{path}: dtype is {dtype_name(actual.dtype)}, expected {name}"
    return worst(values(actual), values(expected), name, tol, path) if exact_values else None


def worst(a: np.ndarray, e: np.ndarray, name: str, tol: Tolerance, path: str) -> str | None:
    """The worst element outside the tolerance, in words."""
    if a.size == 0:
        return None
    with np.errstate(all="ignore"):
        same = (a == e) | (np.isnan(a) & np.isnan(e))
        if a.dtype.kind in "fc":
            rtol, atol = tol.of(name)
            finite = np.abs(e[np.isfinite(e)])
            largest = finite.max() if finite.size else 0.0
            error = np.abs(a - e)
            bad = ~same & ~(error <= atol + rtol * np.abs(e) + 16 * EPS.get(name, 0.0) * largest)
            if a.dtype.kind == "c":
                bad &= ~(_close_part(a.real, e.real, rtol, atol) & _close_part(a.imag, e.imag, rtol, atol))
            else:
                bad |= ~same & (np.isinf(e) | np.isinf(a))
        else:
            error, bad = np.abs(a.astype(np.float64) - e), ~same
    if not bad.any():
        return None
    at = np.unravel_index(int(np.where(bad, np.where(np.isnan(error), np.inf, error), -1.0).argmax()), a.shape)
    where = [int(i) for i in at]
    return f"{path}{where}: got {a[at]}, expected {e[at]} ({name}; {int(bad.sum())} of {a.size} elements differ)"


def as_precise(actual: Any, expected: Any, exact: Any) -> bool:
    """Whether our worst error against PyTorch's float64 result is at most twice PyTorch's own.

    Where a result is all cancellation (the gradient of a norm over one element), float32 numbers are noise in both libraries and no
    fixed tolerance separates right from wrong; the double of PyTorch's own error does.
    """
    if isinstance(expected, (tuple, list)):
        sized = isinstance(actual, (tuple, list)) and isinstance(exact, (tuple, list)) and len(actual) == len(expected) == len(exact)
        return sized and all(map(as_precise, actual, expected, exact))
    if not isinstance(expected, torch.Tensor) or not isinstance(exact, torch.Tensor) or not isinstance(actual, mg.Tensor):
        return actual is None and expected is None
    if tuple(actual.shape) != tuple(expected.shape) or dtype_name(actual.dtype) != dtype_name(expected.dtype):
        return False
    a, e, x = values(actual), values(expected), values(exact)
    if e.dtype.kind not in "fc":
        return bool((a == e).all())
    with np.errstate(all="ignore"):
        odd = ~np.isfinite(e) | ~np.isfinite(x)
        if not ((a == e) | (np.isnan(a) & np.isnan(e)) | ~odd).all():
            return False
        ours, theirs = np.abs(a - x)[~odd], np.abs(e - x)[~odd]
    return ours.size == 0 or bool(ours.max() <= 2 * theirs.max())


def _close_part(a: np.ndarray, e: np.ndarray, rtol: float, atol: float) -> np.ndarray:
    """Real or imaginary parts: infinities and NaN must agree part by part."""
    return (a == e) | (np.isnan(a) & np.isnan(e)) | (np.abs(a - e) <= atol + rtol * np.abs(e))
