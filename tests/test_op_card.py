"""`python -m minigrad.op`: cards and the list of ops."""

from __future__ import annotations

import subprocess
import sys

import pytest

from minigrad import op


def run(*args: str) -> subprocess.CompletedProcess:
    """The command line, away from the checkout."""
    return subprocess.run([sys.executable, "-m", "minigrad.op", *args], capture_output=True, text=True, timeout=60)


def test_card_of_an_op():
    """Schema, doc, gradients, place; nothing on stderr."""
    done = run("sigmoid")
    assert done.returncode == 0 and done.stderr == ""
    for part in ("sigmoid(input) -> out", "declared", "pytest tests/test_ops.py -k 'sigmoid'", "gradients"):
        assert part in done.stdout


def test_list_and_unknown_name():
    """Every op has a line; a typo gets suggestions and exit code 1."""
    listed = run().stdout.splitlines()
    assert len(listed) == len(op.registry)
    wrong = run("sigmiod")
    assert wrong.returncode == 1 and "sigmoid" in wrong.stderr


@pytest.mark.parametrize("name", sorted(op.registry))
def test_every_card_renders(name):
    """No declaration breaks its own card."""
    assert "declared" in op.card(name)
