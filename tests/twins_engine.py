"""Run one small autograd program in minigrad and in torch and compare everything it returns."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg


def leaf(m, values, dtype="float64"):
    """A leaf that requires grad in library `m`."""
    return m.tensor(values, dtype=getattr(m, dtype), requires_grad=True)


def same(program) -> None:
    """Run `program(m)` with minigrad and torch; every returned tensor (or None, or value) must agree."""
    torch = pytest.importorskip("torch", reason="needs torch==2.13.0 as reference")
    ours, theirs = program(mg), program(torch)
    assert len(ours) == len(theirs)
    for k, (a, b) in enumerate(zip(ours, theirs)):
        if b is None or isinstance(b, (bool, int, float, str)):
            assert a == b, f"result {k}: {a} != {b}"
            continue
        assert tuple(a.shape) == tuple(b.shape), f"result {k}"
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-12, err_msg=f"result {k}")
