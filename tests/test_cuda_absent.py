"""minigrad.cuda where the CUDA backend was not built: it imports, has no device, and says so."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import sys


class WithoutBackend:
    def find_spec(self, name, path=None, target=None):
        if name == "minigrad._cuda":
            raise ModuleNotFoundError(name, name=name)


sys.meta_path.insert(0, WithoutBackend())
import minigrad as mg
import minigrad.cuda

print(mg.cuda.is_available(), mg.cuda.device_count(), mg.cuda.is_simulated(), mg.cuda.is_built())
try:
    mg.ones(3, device="cuda")
except AssertionError as error:
    print("refused:", error)
"""


def test_import_without_the_backend() -> None:
    environment = {**os.environ, "MINIGRAD_CUDASIM": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.startswith("False 0 False False\nrefused: "), done.stdout + done.stderr
