"""Every case of every kernel, in every dtype: values and gradients against float64, guard zones, inputs untouched (kernels/_checks.py)."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

from minigrad import kernels

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install 'triton>=3.6,<3.10'", allow_module_level=True)

import minigrad as mg  # noqa: E402
from minigrad.kernels import _checks, _launch  # noqa: E402
from minigrad.kernels._harness import Random  # noqa: E402

OPS = [op for name in kernels.names() for op in _checks.load(name)]
CHECKS = [check for op in OPS for check in _checks.checks_of(op, _checks.devices_here())]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.name)
def test_case(check):
    check.run()
    assert "torch" not in sys.modules, "a kernel imported torch"


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_declaration_is_complete(op):
    assert op.reference is not None, "a kernel needs a reference"
    assert op.cases, "a kernel needs cases for the interpreter"
    assert op.aot, "a kernel needs the configurations that ship"
    assert op.bench and op.bytes, "a kernel needs benchmark cases and a byte count"
    assert op.__doc__, "a kernel needs a docstring"
    assert sum(str(c) == str(d) and c is not d for c in op.cases for d in op.cases) == 0, "two cases are the same"


LOW = ("float16", "bfloat16")


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_low_precision_is_compared_with_the_naive_form(op):
    """Error at most twice that of the reference in the same precision (and one rounding of the result), both against float64; for its
    gradient too, where it has one. What takes integers alone must be exact."""
    half = [c for c in CHECKS if c.op is op and c.dtype in LOW]
    given = [v for c in op.cases for a in c.args.values() for v in (a if isinstance(a, list) else [a])]
    floating = any(isinstance(v, Random) and v.dtype is None for v in given)
    assert half or (op.exact and not floating), "no case in float16 or bfloat16"
    assert all(c.case.tolerance <= 2 for c in half), "a tolerance above 2"
    assert not half or op.backward is None or any(c.case.backward for c in half), "the gradient is never checked in low precision"


def launched_in_low_precision(op):
    """Names of the kernels that the cases in float16 and bfloat16, or of integers, launch; nothing runs."""
    names = set()
    for c in op.cases:
        for dtype in {*LOW} & {*c.dtypes}:
            with _launch.recording(90) as launches:
                given = {k: _checks.make(v, dtype, "meta", None) for k, v in c.args.items()}
                values = op.bind((), given)
                results = op.compute(values)
                if op.backward is not None and c.backward:
                    op.gradients([mg.empty_like(r) if r.is_floating_point() else None for r in results[: op.visible]], values, results)
            names |= {one.kernel.fn.__name__ for one in launches}
    return names


@pytest.mark.parametrize("name", kernels.names())
def test_every_kernel_of_a_file_is_checked_in_low_precision(name):
    mine = [op for op in OPS if op.module == f"minigrad.kernels.{name}"]
    assert mine, "this file declares no op"
    module = sys.modules[f"minigrad.kernels.{name}"]
    started = set(re.findall(r"launch\(\s*(\w+)", pathlib.Path(module.__file__).read_text()))
    started = {n for n in started if hasattr(getattr(module, n, None), "fn")}
    missing = started - set().union(*map(launched_in_low_precision, mine))
    assert not missing, f"no case in float16 or bfloat16 launches {sorted(missing)}"


def test_torch_is_not_imported(tmp_path):
    (tmp_path / "torch.py").write_text("raise RuntimeError('torch was imported')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "minigrad.kernels._checks", "softmax", "3x64"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout + done.stderr
