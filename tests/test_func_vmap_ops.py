"""vmap against a loop, and vmap(grad) against a loop, for every op of the registry on its own samples."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import func_cases
import pytest
from by_device import fewer

from minigrad.op import registry

SAMPLES = fewer(6, 1)  # of each op; `python func_cases.py` runs all


def _each(op: str, check: Callable[[str, int], None]) -> None:
    count = min(SAMPLES, len(func_cases.usable(registry[op])))
    if count == 0:
        pytest.skip("no small samples with tensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # ops without a batching rule say so once
        for number in range(count):
            check(op, number)


@pytest.mark.parametrize("op", func_cases.ops())
def test_vmap_equals_loop(op: str) -> None:
    _each(op, func_cases.check)


@pytest.mark.parametrize("op", func_cases.ops())
def test_vmap_of_grad_equals_loop(op: str) -> None:
    _each(op, func_cases.check_gradient)


@pytest.mark.parametrize("op", func_cases.ops())
def test_nested_vmap_equals_loops(op: str) -> None:
    _each(op, func_cases.check_nested)


@pytest.mark.parametrize("op", func_cases.ops())
def test_jvp_is_the_adjoint_of_vjp(op: str) -> None:
    _each(op, func_cases.check_jvp)


def test_exclusions_are_real() -> None:
    """Whatever is excluded exists, and is not excluded for nothing: it has a reason."""
    assert all(reason for reason in func_cases.EXCLUDED.values())
    assert not set(func_cases.EXCLUDED) - set(registry), set(func_cases.EXCLUDED) - set(registry)
