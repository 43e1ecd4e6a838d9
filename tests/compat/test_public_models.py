"""Public packages written for PyTorch, run on PyTorch and on minigrad (through minigrad.compat) with the same
weights: equal outputs and gradients.

`pip install -e '.[public-models]'` brings the packages; a case whose package is not installed skips. Which package
needed what: docs/compat.md.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
CASES = importlib.import_module("cases").CASES
TOLERANCE = (
    2e-3  # of the largest value of each array: float32 sums in another order, through up to 20 layers and one SGD step
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the arrays of all cases that can run here, from one process per framework."""
    pytest.importorskip("torch", reason="the reference is PyTorch")
    folder = tmp_path_factory.mktemp("public_models")
    names = [name for name, case in CASES.items() if not case.missing()]
    for framework in ("torch", "minigrad"):
        subprocess.run(
            [sys.executable, str(HERE / "runner.py"), framework, str(folder), *names],
            cwd=folder,
            check=True,
            timeout=1500,
        )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CASES))
def test_same_as_torch(name: str, request: pytest.FixtureRequest) -> None:
    missing = CASES[name].missing()
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    folder = request.getfixturevalue("results")
    arrays = {}
    for framework in ("torch", "minigrad"):
        error = folder / f"{name}.{framework}.err"
        if error.exists() and framework == "torch":
            pytest.skip("does not run on PyTorch here: " + error.read_text().strip().splitlines()[-1])
        assert not error.exists(), error.read_text()
        arrays[framework] = dict(np.load(folder / f"{name}.{framework}.npz"))
    assert arrays["torch"].keys() == arrays["minigrad"].keys()
    for key, expected in arrays["torch"].items():
        check(arrays["minigrad"][key], expected, f"{name}: {key}")


def check(got: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Same shape, dtype, places of nan, and values within TOLERANCE."""
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype), what
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    got, expected = got.astype(wide), expected.astype(wide)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), err_msg=what)
    scale = np.nanmax(np.abs(expected)) if expected.size else 0.0
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE * (1e-3 + scale), err_msg=what)
