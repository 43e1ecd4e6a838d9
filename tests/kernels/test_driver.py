"""The launcher and Triton's driver over minigrad's runtime, on the simulated device: see driver_worker.py, which does the work."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

import minigrad as mg

WORKER = pathlib.Path(__file__).with_name("driver_worker.py")
CHECKS = [line.split("(")[0].removeprefix("def ") for line in WORKER.read_text().splitlines() if line.startswith("def check_")]


@pytest.fixture(scope="module")
def results(compiling, tmp_path_factory):
    if not mg.cuda.is_simulated():
        pytest.skip("needs the simulated device: MINIGRAD_CUDASIM=1 and a build with MINIGRAD_CUDA=SIM")
    trap = tmp_path_factory.mktemp("trap")  # Triton imports torch where it finds it; here it would find this
    (trap / "torch.py").write_text("raise RuntimeError('torch was imported')")
    environment = {**compiling, "PYTHONPATH": f"{trap}{os.pathsep}{compiling['PYTHONPATH']}"}
    done = subprocess.run([sys.executable, str(WORKER)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", CHECKS)
def test_driver(name, results):
    assert not results[name], results[name]
