"""Every registered op passes every generated check. One op: `pytest tests/test_ops.py -k sigmoid`; one check: `-k
sigmoid-value`.
"""

from __future__ import annotations

import pytest

import minigrad as mg  # noqa: F401  fills the registry
from minigrad.op import registry
from minigrad.testing import CHECKS, Skip, run_check
from minigrad.testing.checks import sweep

CASES = [(op, check) for op in sorted(registry) for check in CHECKS]


@pytest.mark.parametrize(("op", "check"), CASES, ids=[f"{op}-{check}" for op, check in CASES])
def test_op(op: str, check: str) -> None:
    try:
        run_check(op, check)
    except Skip as reason:
        pytest.skip(str(reason))


@pytest.mark.slow
@pytest.mark.parametrize("op", sorted(registry))
def test_sweep(op: str) -> None:
    """Every sample in every dtype and layout: `pytest tests/test_ops.py --slow -k sweep`."""
    try:
        sweep(registry[op])
    except Skip as reason:
        pytest.skip(str(reason))
