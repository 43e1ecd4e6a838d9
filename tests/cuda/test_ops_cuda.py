"""Every registered op gives on the device what it gives on the CPU; ops without a kernel stand in without_kernel.txt, which can only
shrink (`python tests/cuda/shrink.py [part of a name]` takes out what has become able to run).
"""

from __future__ import annotations

import pytest
from op_cases import CHECKS, NoKernel, listed, run_case

import minigrad as mg
from minigrad.op import registry
from minigrad.testing.calls import Skip

KNOWN = listed()


@pytest.mark.parametrize(("op", "check"), [(op, check) for op in sorted(registry) for check in CHECKS])
def test_op(op: str, check: str) -> None:
    known = f"{op}-{check}" in KNOWN
    try:
        run_case(op, check)
    except Skip as reason:
        assert not known, f"remove {op}-{check} from without_kernel.txt: {reason}"
        pytest.skip(str(reason))
    except NoKernel as missing:
        if not known:
            raise
        pytest.skip(f"listed in without_kernel.txt: {missing}")
    assert not known, f"{op}-{check} runs now: take it out of without_kernel.txt (tests/cuda/shrink.py {op})"


def test_every_op_of_the_cpu_has_a_kernel() -> None:
    mg.empty(0, device="cuda")  # loads the backend
    kernels = {op: mg._core.op_kernels(op) for op, info in registry.items() if not info.composite}
    without = [op for op, devices in sorted(kernels.items()) if "cpu" in devices and "cuda" not in devices]
    assert not [op for op in without if f"{op}-forward" not in KNOWN]


def test_the_list_names_ops() -> None:
    cases = {f"{op}-{check}" for op in registry for check in CHECKS}
    assert not sorted(KNOWN - cases)
