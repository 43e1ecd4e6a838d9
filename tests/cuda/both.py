"""One computation on the CPU and on the device: `agree(f)` calls f(place) with place = a function that puts arrays on a device, compares
all tensors of the results, and returns how far they were apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg

# Largest difference over the largest magnitude: both sides round a sum of some hundred terms in their own order.
TOLERANCE = {mg.float64: 1e-13, mg.complex128: 1e-13, mg.float32: 3e-6, mg.complex64: 3e-6, mg.float16: 3e-3, mg.bfloat16: 2e-2}


def flatten(result: Any) -> list[mg.Tensor]:
    """The tensors of a result, None left out."""
    if result is None:
        return []
    if isinstance(result, (tuple, list)):
        return [t for r in result for t in flatten(r)]
    return [result]


def wide(t: mg.Tensor) -> Any:
    """A tensor as an array of double or integer numbers."""
    t = t.detach().cpu()
    return (t.to(mg.float64) if t.is_floating_point() else t.to(mg.int64) if t.dtype == mg.bool else t).numpy()


def agree(compute: Callable[[Callable[..., mg.Tensor]], Any], tolerance: float | None = None) -> None:
    """Asserts that `compute(place)` gives the same on both devices. `place(array, dtype=None, grad=False)` makes a tensor."""

    def run(device: str) -> list[mg.Tensor]:
        mg.manual_seed(11)

        def place(array: Any, dtype: Any = None, grad: bool = False) -> mg.Tensor:
            t = mg.tensor(np.asarray(array))
            return (t if dtype is None else t.to(dtype)).to(device).requires_grad_(grad)

        return flatten(compute(place))

    here, there = run("cpu"), run("cuda")
    assert len(here) == len(there)
    for k, (a, b) in enumerate(zip(here, there, strict=True)):
        assert b.device.type == "cuda", f"result {k} is not on the device"
        assert (a.dtype, tuple(a.shape), a.stride()) == (b.dtype, tuple(b.shape), b.stride()), f"result {k}: {a.shape} {b.shape}"
        x, y = wide(a), wide(b)
        limit = TOLERANCE.get(a.dtype, 0.0) if tolerance is None else tolerance
        finite = np.isfinite(x) & np.isfinite(y)
        assert np.array_equal(x[~finite], y[~finite], equal_nan=True), f"result {k}: not finite in different places"
        scale = max(float(np.abs(x[finite]).max(initial=0)), 1.0)
        worst = float(np.abs(x[finite].astype(y.dtype) - y[finite]).max(initial=0)) / scale
        assert worst <= limit, f"result {k} ({a.dtype}): {worst:.2e} apart, allowed {limit:.2e}"


def gradients(outputs: Any, leaves: list[mg.Tensor]) -> list[mg.Tensor]:
    """Gradients for output gradients that are not all alike."""
    outs = [o for o in flatten(outputs) if o.requires_grad]
    seeds = [mg.tensor(np.cos(np.arange(o.numel())).reshape(o.shape)).to(o.dtype).to(o.device) for o in outs]
    return [g for g in mg.autograd.grad(outs, leaves, seeds, allow_unused=True) if g is not None]
