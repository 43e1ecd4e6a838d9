"""Programs run in a process of their own, on the simulated device: some of them must die."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap


def run_program(text: str, **environment: str) -> subprocess.CompletedProcess:
    """Run Python source with `mg` and `cuda` imported; returns the finished process."""
    env = {**os.environ, "MINIGRAD_CUDASIM": "1", **environment}
    source = "import minigrad as mg\nfrom minigrad import _cuda as sim, cuda\n"
    return subprocess.run(
        [sys.executable, "-c", source + textwrap.dedent(text)], env=env, capture_output=True, text=True, timeout=120
    )
