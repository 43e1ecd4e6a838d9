"""Checks of the Triton kernels without a GPU: values in Triton's interpreter in this process, all that compiles in others.

Run alone (`pytest tests/kernels`): the interpreter is chosen when triton is imported. Without triton every test here skips.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("TRITON_INTERPRET", "1")


def without_triton() -> str:
    """Why the kernels cannot be tested here; empty if they can."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed: pip install 'triton>=3.6,<3.10'"
    if "triton" in sys.modules and os.environ["TRITON_INTERPRET"] != "1":
        return "triton was imported without TRITON_INTERPRET=1"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the tests of this folder where they cannot run."""
    if reason := without_triton():
        for item in items:
            if pathlib.Path(__file__).parent in pathlib.Path(item.fspath).parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def compiling() -> dict[str, str]:
    """The environment of a process that compiles kernels instead of interpreting them."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    return {**environment, "PYTHONPATH": os.pathsep.join([*sys.path, environment.get("PYTHONPATH", "")])}
