"""Tests of the CUDA backend: on a GPU, or on the simulated device (docs/simulated-device.md) with MINIGRAD_CUDASIM=1."""

from __future__ import annotations

from pathlib import Path

import pytest

import minigrad as mg

HERE = Path(__file__).parent


def _missing() -> str:
    """Why CUDA tensors cannot be made here, or ""."""
    try:
        mg.empty(0, device="cuda")
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        return str(error).splitlines()[0]
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if HERE in item.path.parents]
    reason = _missing() if ours else ""
    if reason:
        skip = pytest.mark.skip(reason=f"no CUDA device, and MINIGRAD_CUDASIM=1 is not set or minigrad._cuda not built for it: {reason}")
        for item in ours:
            item.add_marker(skip)
