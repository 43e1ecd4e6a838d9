"""What the tests of minigrad.func share: random tensors and a comparison of nested results."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg


def randn(*shape: int, seed: int = 0) -> mg.Tensor:
    return mg.from_numpy(np.random.default_rng(seed + sum(shape)).standard_normal(shape))


def close(a: Any, b: Any, tol: float = 1e-9) -> None:
    if isinstance(a, (tuple, list)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            close(x, y, tol)
    elif isinstance(a, dict):
        assert set(a) == set(b)
        for k in a:
            close(a[k], b[k], tol)
    else:
        a, b = (t.detach().numpy() if hasattr(t, "detach") else t for t in (a, b))
        assert np.shape(a) == np.shape(b), f"{np.shape(a)} != {np.shape(b)}"
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol)
