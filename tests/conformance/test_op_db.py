"""PyTorch's op_db through minigrad, one test per (entry, dtype, column). docs/testing.md, "Conformance", has the options.

By default the core runs: tier 1 in float64. `--conformance=main` runs every entry in float32 and float64, `--conformance=all` every dtype.
Reproduce a failure with `python -m tests.conformance.run NAME`.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .judge import Lists
from .lists import COLUMNS, MAIN_DTYPES, NO_DTYPE, column_dtypes, reasons, tiers

ABSENT = [m for m in ("torch", "expecttest") if importlib.util.find_spec(m) is None]
pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(bool(ABSENT), reason=f"op_db needs {' and '.join(ABSENT)}: pip install -e '.[conformance]'"),
]
LISTS = Lists()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    level = metafunc.config.getoption("--conformance")
    excluded = reasons("excluded.txt")
    names = [n for n, tier in tiers().items() if n not in excluded and (level != "core" or tier == 1)]
    dtypes = {"core": ("float64", NO_DTYPE), "main": (*MAIN_DTYPES, NO_DTYPE)}.get(level)
    params = [(n, d, c) for n in names for c in COLUMNS for d in column_dtypes(c) if dtypes is None or d in dtypes]
    metafunc.parametrize("name,dtype,column", params, ids=[f"{n}-{d}-{c}" for n, d, c in params])


class Answers:
    """Starts the clean parent over all selected cells on first use; waits for the op that is asked for."""

    def __init__(self, work: dict[str, list[list[str]]], jobs: int) -> None:
        package = __package__ or "conformance"
        top = Path(__file__).parents[package.count(".") + 1]
        command = [sys.executable, "-m", f"{package}.server", str(jobs)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=top)
        self.process.stdin.write(json.dumps(list(work.items())))
        self.process.stdin.close()
        self.found: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
        self.arrived = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            name, cells = json.loads(line)
            with self.arrived:
                self.found[name] = {(c, d): outcome for c, d, outcome in cells}
                self.arrived.notify_all()
        with self.arrived:
            self.process.wait()
            self.arrived.notify_all()

    def of(self, name: str, column: str, dtype: str) -> dict[str, Any]:
        with self.arrived:
            self.arrived.wait_for(lambda: name in self.found or self.process.returncode is not None)
            if name not in self.found:
                pytest.fail(f"the conformance server ended with {self.process.returncode} before {name}")
            return self.found[name][column, dtype]


@pytest.fixture(scope="module")
def answers(request: pytest.FixtureRequest) -> Iterator[Answers]:
    work: dict[str, list[list[str]]] = {}
    for item in request.session.items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if item.module is request.module and "column" in params:
            work.setdefault(params["name"], []).append([params["column"], params["dtype"]])
    server = Answers(work, request.config.getoption("--conformance-jobs"))
    yield server
    server.process.terminate()
    server.process.wait()


def test_conforms(name: str, dtype: str, column: str, answers: Answers) -> None:
    status, reason = LISTS.verdict(name, column, dtype, answers.of(name, column, dtype))
    if status == "n/a":
        pytest.skip(reason or "PyTorch has no such form")
    if status == "missing":
        pytest.skip(f"missing: {reason}")
    if status == "known wrong":
        pytest.xfail(reason)
    assert status == "pass", f"{name} {column} {dtype}: {reason}\nrerun: python -m tests.conformance.run {name} -c {column}"
