"""python -m benchmarks.kernels without a GPU: it writes no figure; and what it times beside the kernels is the same computation."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return subprocess.run([sys.executable, *arguments], env={**os.environ, "PYTHONPATH": path, **variables}, capture_output=True, text=True)


@pytest.mark.parametrize("interpret", ["0", "1"])
def test_refuses_without_a_gpu(interpret, tmp_path):
    done = run("-m", "benchmarks.kernels", "softmax", "--csv", str(tmp_path / "rows.csv"), TRITON_INTERPRET=interpret)
    assert done.returncode != 0 and "needs a GPU" in done.stderr and not done.stdout, done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_rivals_compute_the_same():
    done = run(str(pathlib.Path(__file__).with_name("rivals_worker.py")), TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stderr[-2000:]
