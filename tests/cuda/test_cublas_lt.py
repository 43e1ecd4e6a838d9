"""What cuBLASLt is told: layouts, transposes, batches, alpha and beta, bias, alignment. A library of the same names stands in for it (it is
compiled here), so this needs no GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import minigrad as mg

HERE = Path(__file__).parent


def test_products_are_described_rightly(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    fake = tmp_path / "libcublasLt_fake.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(fake), str(HERE / "fake_cublas_lt.c")], check=True)
    env = os.environ | {"MINIGRAD_CUBLASLT": str(fake), "PYTHONPATH": str(Path(mg.__file__).parents[1])}
    done = subprocess.run([sys.executable, str(HERE / "lt_program.py"), str(fake)], capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0 and "cublas_lt: right" in done.stdout, done.stdout + done.stderr
