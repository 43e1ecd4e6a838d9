"""Every case of every kernel, in every dtype: values and gradients against float64, guard zones, inputs untouched (kernels/_checks.py)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from minigrad import kernels

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install 'triton>=3.6,<3.10'", allow_module_level=True)

from minigrad.kernels import _checks  # noqa: E402

OPS = [op for name in kernels.names() for op in _checks.load(name)]
CHECKS = [check for op in OPS for check in _checks.checks_of(op, _checks.devices_here())]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.name)
def test_case(check):
    check.run()


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_declaration_is_complete(op):
    assert op.reference is not None, "a kernel needs a reference"
    assert op.cases, "a kernel needs cases for the interpreter"
    assert op.aot, "a kernel needs the configurations that ship"
    assert op.bench and op.bytes, "a kernel needs benchmark cases and a byte count"
    assert op.__doc__, "a kernel needs a docstring"
    assert sum(str(c) == str(d) and c is not d for c in op.cases for d in op.cases) == 0, "two cases are the same"


def test_torch_is_not_imported(tmp_path):
    (tmp_path / "torch.py").write_text("raise RuntimeError('torch was imported')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "minigrad.kernels._checks", "softmax", "3x64"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout + done.stderr
