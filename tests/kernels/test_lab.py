"""The lab (python -m minigrad.kernels.lab): what it notes of a run, the mistakes it must name, the command and its page."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install 'triton>=3.6,<3.10'", allow_module_level=True)

import triton
import triton.language as tl

import minigrad as mg
from minigrad.kernels._harness import launch
from minigrad.kernels.lab import _trace


@triton.jit
def copying(y_ptr, x_ptr, n, step, BLOCK: tl.constexpr):
    at = tl.program_id(0) * step + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n, other=0.0)
    tl.store(y_ptr + at, x, mask=at < n)


@triton.jit
def shifting(x_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at + 1, mask=at + 1 < n, other=0.0)
    tl.store(x_ptr + at, x, mask=at < n)


@triton.jit
def counting(c_ptr, BLOCK: tl.constexpr):
    tl.atomic_add(c_ptr + tl.arange(0, BLOCK), 1.0)


def traced(kernel, grid, *args, **constants):
    with _trace.tracing() as runs:
        launch(kernel, grid, *args, **constants)
    return runs[0]


def test_accesses_by_line():
    x, y = mg.randn(40), mg.zeros(40)
    run = traced(copying, (3,), y, x, 40, 16, BLOCK=16)
    load, store = _trace.by_line(run)
    assert (load.kind, load.buffer, load.programs, load.bytes) == ("load", "x_ptr", 3, 160)
    assert (store.kind, store.buffer) == ("store", "y_ptr") and store.line == load.line + 1
    assert load.idle == pytest.approx(1 - 40 / 48) and load.sectors < 1.5
    assert _trace.suspicions(run) == [] and (x == y).all()


def test_strided_access_shows_in_the_sectors():
    x, y = mg.randn(40, 8), mg.zeros(16)

    @triton.jit
    def column(y_ptr, x_ptr, stride, BLOCK: tl.constexpr):
        at = tl.arange(0, BLOCK)
        tl.store(y_ptr + at, tl.load(x_ptr + at * stride))

    assert _trace.by_line(traced(column, (1,), y, x, 8, BLOCK=16))[0].sectors >= 8


def test_out_of_bounds_is_named():
    room = mg.zeros(64)
    x, y = mg.randn(64), room[:40]
    (text,) = [s for s in _trace.suspicions(traced(copying, (3,), y, x, 45, 16, BLOCK=16)) if "store" in s]
    assert "program (2, 0, 0)" in text and "y_ptr[40] of 40 elements" in text and "5 lanes" in text


def test_two_writers_are_named():
    (text,) = _trace.suspicions(traced(copying, (3,), mg.zeros(40), mg.randn(40), 40, 12, BLOCK=16))
    assert text.startswith("race?") and "(0, 0, 0) and (1, 0, 0) both store to y_ptr[12]" in text


def test_reading_what_another_writes_is_named():
    (text,) = _trace.suspicions(traced(shifting, (2,), mg.randn(32), 32, BLOCK=16))
    assert "program (0, 0, 0): load of x_ptr[16], which program (1, 0, 0) stores to" in text


def test_atomics_are_no_race():
    c = mg.zeros(8)
    run = traced(counting, (3,), c, BLOCK=8)
    assert _trace.suspicions(run) == [] and {a.kind for a in run.accesses} == {"atomic"} and (c == 3).all()


def test_command(tmp_path, compiling):
    page = tmp_path / "lab.html"
    command = [sys.executable, "-m", "minigrad.kernels.lab", "softmax", "--dtype", "bfloat16", "--html", str(page)]
    done = subprocess.run(command, env=compiling, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "passed" in done.stdout and "registers" in done.stdout and "roofline: " in done.stdout
    text = page.read_text()
    assert "ex2.approx" in text and "MUFU.EX2" in text and "tt.reduce" in text and "http" not in text
