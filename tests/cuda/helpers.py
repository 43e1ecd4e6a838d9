"""What the hand-written tests of CUDA kernels share."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from minigrad.testing.compare import to_numpy

FLOATS = (mg.float32, mg.float64, mg.float16, mg.bfloat16)
INTS = (mg.uint8, mg.int8, mg.int16, mg.int32, mg.int64)


def layouts(t: Any) -> list[Any]:
    """The tensor on the device: contiguous, transposed memory, every second element, from an odd offset, stretched along dim 0."""
    d = t.to("cuda")
    doubled = mg.stack([d, d], -1).reshape(*t.shape[:-1], 2 * t.shape[-1])
    shifted = mg.cat([d.reshape(-1)[:1], d.reshape(-1)])[1:].reshape(t.shape)
    return [d, d.mT.contiguous().mT, doubled[..., ::2], shifted]


def equal(found: Any, expected: Any) -> None:
    """The same dtype, shape and bits (NaN equal to NaN)."""
    assert found.device.type == "cuda"
    assert (found.dtype, tuple(found.shape)) == (expected.dtype, tuple(expected.shape))
    np.testing.assert_array_equal(to_numpy(found.cpu()), to_numpy(expected))


def close(found: Any, expected: Any, rtol: float = 1e-5) -> None:
    """The same dtype and shape, values close."""
    assert (found.dtype, tuple(found.shape)) == (expected.dtype, tuple(expected.shape))
    np.testing.assert_allclose(to_numpy(found.cpu()), to_numpy(expected), rtol=rtol, atol=rtol)
