"""Every shipped configuration compiled for sm_80 and sm_90 (kernels/_aot.py): parameters, shared memory, spills, tensor cores."""

from __future__ import annotations

import concurrent.futures
import json
import os
import subprocess
import sys

import pytest

from minigrad import kernels


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
