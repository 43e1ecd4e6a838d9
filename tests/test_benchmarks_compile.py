"""`python -m benchmarks.compile` end to end on models shrunk to almost nothing."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import minigrad as mg

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import chains, compare, compile, models  # noqa: A004, E402


def test_table_and_csv(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    against = ["torch"] if compare.__name__ and _has("torch") else []
    command = ["-m", "benchmarks.compile", "--tiny", "--threads", "1", "--only", "mlp", "chain/swiglu", "--rounds", "3", "--seconds", "0.1"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(mg._core.__file__).parents[1])])}
    done = subprocess.run([sys.executable, *command, "--against", *against, "--csv", str(path)], capture_output=True, text=True, cwd=ROOT,
                          env=env, timeout=600)  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in csv.DictReader(path.open())}
    assert set(rows) == {"mlp", "chain/swiglu"}, done.stdout
    for row in rows.values():
        assert all(float(row[k]) > 0 for k in ("compiled_s", "ratio_eager", "cold_s", "warm_s", *(f"ratio_{a}" for a in against)))
        assert int(row["kernels_eager"]) >= int(row["kernels_compiled"]) > 0
    if sys.platform.startswith("linux"):
        assert float(rows["mlp"]["eager_bytes"]) >= 0


def _has(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def test_what_torch_compile_took_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its column comes from the file when it is there, relative to torch eager of this run."""
    pytest.importorskip("torch")
    file = tmp_path / "slow.json"
    slow = compile.SlowCache(str(file), True)
    slow.put(1, "mlp", {"of_torch": 0.5, "torch_cold_s": 20.0})
    assert json.loads(file.read_text())
    asked = []

    def worker(part: str, cache: str | None = None, **options: object) -> dict:
        asked.append((part, options.get("against")))
        return {"name": "mlp", "torch_s": 4.0, "compiled_s": 1.0, "ratio_torch": 4.0, "ratio_torch_q1": 3.0, "ratio_torch_q3": 5.0}

    monkeypatch.setattr(compile, "_worker", worker)
    args = compile.arguments(["--tiny", "--parts", "steady", "--against", "compile", "--slow-cache", str(file)])
    row = compile.measure(args, 1, "mlp", compile.SlowCache(str(file), True))
    assert asked == [("steady", ["torch"])] and row["ratio_compile"] == 2.0 and row["compile_s"] == 2.0 and row["torch_cold_s"] == 20.0


@pytest.mark.parametrize("name", chains.CHAINS)
def test_chains_equal_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    compare.expect_close(name, chains.make(mg, name, True)(), chains.make(torch, name, True)(), 1e-5)


def test_jax_models_are_these() -> None:
    """The same names; a step of the smallest lowers its loss."""
    pytest.importorskip("jax")
    from benchmarks import jax_models

    step = jax_models.step("mlp", True)
    losses = [float(step()) for _ in range(20)]
    assert losses[-1] < losses[0] and set(models.TRAINING) == set(jax_models._MODELS)


def test_bound() -> None:
    """What remains when everything else is free is a part of the step."""
    from benchmarks import bound

    found = bound.main(["--tiny", "--rounds", "1", "--only", "mlp", "chargpt"])
    assert list(found) == ["mlp", "chargpt"]
    assert all(b > 1 for b in found.values())
