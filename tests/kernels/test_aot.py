"""Every shipped configuration compiled for sm_80 and sm_90 (kernels/_aot.py): parameters, shared memory, spills, tensor cores."""

from __future__ import annotations

import concurrent.futures
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install 'triton>=3.6,<3.10'", allow_module_level=True)

from minigrad import kernels
from minigrad.kernels import _aot, _checks
from minigrad.kernels._specialize import parameter_widths


def _compile(name: str, environment: dict[str, str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "minigrad.kernels._aot", "--json", name]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def compiled(compiling, request):
    """{kernel file: future of its process}; as many at a time as there are processors."""
    mine = (item for item in request.session.items if item.path.name == "test_aot.py" and hasattr(item, "callspec"))
    wanted = {item.callspec.params["name"] for item in mine}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {name: pool.submit(_compile, name, compiling) for name in sorted(wanted)}


@pytest.mark.parametrize("name", kernels.names())
def test_configurations(name, compiled):
    done = compiled[name].result()
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout.splitlines()[-1]), "no configuration was compiled"


@pytest.mark.parametrize("name", kernels.names())
def test_report_is_current(name, compiled):
    """docs/kernels_aot.md says what this Triton makes of the kernels: registers, spills, shared memory, instructions."""
    report = (pathlib.Path(__file__).resolve().parents[2] / "docs/kernels_aot.md").read_text()
    if f"with Triton {importlib.metadata.version('triton')}:" not in report:
        pytest.skip("the report is another Triton version's")
    facts = [_aot.Facts(**f) for f in json.loads(compiled[name].result().stdout.splitlines()[-1])]
    expected = _aot.section(name, _checks.load(name), facts)
    assert f"{expected}\n" in report, "out of date: python -m minigrad.kernels._aot --report docs/kernels_aot.md"


def test_mistakes_are_named(compiling):
    done = _compile(str(pathlib.Path(__file__).with_name("aot_faults.py")), compiling)
    assert done.returncode == 1, done.stderr
    facts = [f for f in json.loads(done.stdout.splitlines()[-1]) if f["arch"] == 90]
    problems = {f["op"]: " ".join(f["problems"]) for f in facts}
    assert "register spills" in problems["crowded"], done.stderr
    assert "bytes of shared memory" in problems["greedy"], done.stderr
    assert problems["fine"] == "" and any("HGMMA" in f["tensor_core"] for f in facts if f["op"] == "fine")


def test_parameters_of_ptx():
    ptx = """.visible .entry f(\n\t.param .u64 .ptr .global .align 1 f_param_0,\n\t.param .u32 f_param_1,\n\t.param .f32 f_param_2,
\t.param .u8 f_param_3,\n\t.param .align 64 .b8 f_param_4[128]\n)\n.reqntid 128\n{"""
    assert parameter_widths(ptx) == [8, 4, 4, 1, 128]
