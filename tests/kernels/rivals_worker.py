"""Run by test_benchmark.py in a process of its own, because it imports torch: what benchmarks/kernel_rivals.py times beside each kernel
computes what the kernel's reference does. On a kernel's first case, on the CPU.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks import kernel_rivals
from minigrad import kernels
from minigrad.kernels import _checks

RANDOM = ("dropout", "uniform")
NOT_ON_A_CPU = ("float8_linear",)
IN_RANGE = ("histogram",)  # its first case has numbers outside the bins, which torch refuses


def check(op):
    """Raises where the rival's result differs."""
    rival = kernel_rivals.TORCH[op.name]
    given = {k: _checks.make(v, "float32", "cpu", np.random.default_rng(0)) for k, v in op.cases[0].args.items()}
    values = op.bind((), given)
    expected = op.reference(**values)
    found = rival(torch, **{k: _checks.map_tensors(v, torch.from_dlpack) for k, v in values.items()})
    expected, found = (r if isinstance(r, tuple) else (r,) for r in (expected, found))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b.float().numpy(), a.float().numpy(), rtol=1e-3, atol=1e-4, err_msg=op.name)


if __name__ == "__main__":
    ops = {op.name: op for name in kernels.names() for op in _checks.load(name)}
    assert set(kernel_rivals.TORCH) | set(kernel_rivals.CUPY) <= set(ops)
    for name in kernel_rivals.TORCH:
        if name not in (*RANDOM, *NOT_ON_A_CPU, *IN_RANGE):
            check(ops[name])
    print(len(kernel_rivals.TORCH), "rivals")
