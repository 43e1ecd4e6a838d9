"""`python -m benchmarks.cpu` end to end on models shrunk to almost nothing."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

import minigrad as mg

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import compare, cpu, cpu_kernels, models  # noqa: E402


def run(*arguments: str) -> subprocess.CompletedProcess:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(mg.__file__).parents[1])])}
    return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, cwd=ROOT, env=env, timeout=300)


def test_table_and_csv(tmp_path):
    """Two models and an op: a line each, no line of an error, a row each in the file."""
    path = tmp_path / "rows.csv"
    only = ("--only", "mlp", "gpt2_decode", "gemm/32", "--csv", str(path))
    done = run("benchmarks.cpu", "--tiny", "--threads", "1", "--rounds", "3", "--seconds", "0.1", *only)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in csv.DictReader(path.open())}
    assert {"mlp", "gpt2_decode", "gemm/32"} <= set(rows)
    for row in rows.values():
        assert float(row["minigrad_s"]) > 0 and float(row["of_peak"]) > 0 and row["unit"] in ("GB/s", "GFLOP/s")
    assert all(name in done.stdout for name in rows)


@pytest.mark.parametrize("name", models.MODELS)
def test_model_equals_torch(name):
    """Same loss, gradients and steps in both libraries; the counted work is the same."""
    torch = pytest.importorskip("torch")
    libraries = {"minigrad": mg, "torch": torch}
    works = {n: models.MODELS[name](m, True) for n, m in libraries.items()}
    assert compare.check_model(libraries, name, works, True) < 1e-3
    assert models.step_flops(mg, works["minigrad"]) == models.step_flops(torch, works["torch"]) > 0


def test_wrong_gradient_is_refused():
    """A model whose result differs gets no time."""
    torch = pytest.importorskip("torch")
    libraries = {"minigrad": mg, "torch": torch}
    works = {n: models.mlp(m, True) for n, m in libraries.items()}
    right = works["minigrad"].loss
    works["minigrad"].loss = lambda: right() * 1.1
    with pytest.raises(compare.ResultsDiffer, match="error against float64"):
        compare.check_model(libraries, "mlp", works, True)


def test_choice_of_cases():
    """--only and --groups select by name."""
    assert cpu.chosen(cpu.arguments(["--groups", "models"])) == list(models.MODELS)
    assert cpu.chosen(cpu.arguments(["--only", "gemm/256"])) == ["gemm/256"]
    assert set(cpu.chosen(cpu.arguments([]))) == set(models.MODELS) | set(cpu_kernels.CASES)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_peak_memory():
    """The process prints bytes."""
    done = run("benchmarks.peak_memory", "minigrad", "mlp")
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout) < 1 << 30


def test_scaling(tmp_path):
    """The machine's limits and a case, with equal bits for one and two threads."""
    path = tmp_path / "rows.csv"
    done = run("benchmarks.scaling", "--only", "gemm/128", "models/mlp", "--rounds", "1", "--csv", str(path))
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in csv.DictReader(path.open())}
    assert {"machine/gemm", "machine/triad", "machine/read"} <= set(rows)
    assert all(float(row["scaling"]) > 0 for row in rows.values())
    assert "gemm/128" in done.stdout and "models/mlp" in done.stdout  # as a row, or as one that other processes prevented
