"""`python -m benchmarks.cuda`: every case runs and is right; the simulator gives no figures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import minigrad as mg

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.cuda import __main__ as program  # noqa: E402
from benchmarks.report import write_csv  # noqa: E402


def run(*arguments: str) -> subprocess.CompletedProcess:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(mg.__file__).parents[1])])}
    command = [sys.executable, "-m", "benchmarks.cuda", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=300)


def test_every_case_runs() -> None:
    done = run("--smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.endswith(" ran")]
    assert len(lines) > 40 and all(any(line.startswith(g) for line in lines) for g in ("mem/", "gemm/", "launch/", "allocator/"))
    if mg.cuda.is_simulated():
        assert "simulated: times mean nothing" in done.stdout


def test_no_figures_of_the_simulator(tmp_path: Path) -> None:
    if not mg.cuda.is_simulated():
        return
    for arguments in ((), ("--csv", str(tmp_path / "x.csv")), ("--smoke", "--csv", str(tmp_path / "x.csv"))):
        done = run(*arguments)
        assert done.returncode != 0 and "simulated: times mean nothing" in done.stderr
    assert not (tmp_path / "x.csv").exists()


def test_rows_fit_table_and_file(tmp_path: Path, capsys: object) -> None:
    args = program.arguments(["--only", "mem/add", "gemm/", "launch/", "allocator/", "--rounds", "2", "--smoke"])
    rows = list(program.rows_of(args, {"minigrad": mg}))
    for row in rows:
        assert set(row) <= set(program.FIELDS) and row["minigrad_s"] > 0
        program.show(row, False)
    write_csv(str(tmp_path / "x.csv"), rows, program.FIELDS, device="none", torch="")
    assert len((tmp_path / "x.csv").read_text().splitlines()) == len(rows) + 1
