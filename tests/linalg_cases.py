"""Matrices and comparisons for the linalg tests."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg

L = mg.linalg
SHAPES = [(3, 3), (2, 4, 4), (5, 3), (3, 5), (2, 3, 6, 2), (1, 1), (40, 40), (70, 33)]
SQUARES = [s for s in SHAPES if s[-1] == s[-2]]
DTYPES = ["float32", "float64", "complex64", "complex128"]


def matrix(*shape: int, dtype: str = "float64", seed: int = 0) -> mg.Tensor:
    """Random, well-conditioned: noise on a scaled identity."""
    rng = np.random.default_rng(seed + sum(shape))
    a = rng.uniform(-0.5, 0.5, shape) + 2 * np.eye(*shape[-2:])
    if dtype.startswith("complex"):
        a = a + 1j * rng.uniform(-0.5, 0.5, shape)
    return mg.from_numpy(a.astype(dtype))


def positive(*shape: int, dtype: str = "float64") -> mg.Tensor:
    a = matrix(*shape, dtype=dtype)
    return a @ a.mH + mg.eye(shape[-1]).to(a.dtype)


def close(a: Any, b: Any, scale: float = 1.0) -> bool:
    a, b = np.asarray(a.detach().numpy()), np.asarray(b.detach().numpy())
    eps = 1e-4 if a.dtype in (np.float32, np.complex64) else 1e-11
    assert a.shape == b.shape
    return bool(np.allclose(a, b, rtol=eps, atol=eps * scale))


def eye_like(a: mg.Tensor) -> mg.Tensor:
    return mg.eye(a.shape[-1], dtype=a.dtype).expand(a.shape)
