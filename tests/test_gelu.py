"""float32 gelu, its tanh form and their slopes: accuracy where the kernels of AVX-512 go from one polynomial to the next
(csrc/simd/gelu_pieces.h), independence of what else is in a register, special values. docs/accuracy_ulp.md has the whole range."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.op import registry
from minigrad.testing import ulp

NAMES = ("gelu_erf", "gelu_tanh", "gelu_erf_backward", "gelu_tanh_backward")
LOOKED_UP = mg._core.cpu_isa() == "avx512"


def pieces() -> ModuleType:
    """tools/gelu_pieces.py, which knows the intervals."""
    spec = importlib.util.spec_from_file_location("gelu_pieces", Path(__file__).parents[1] / "tools" / "gelu_pieces.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PIECES = pieces()


def end(name: str) -> float:
    return PIECES.TANH_END if "tanh" in name else PIECES.ERF_END


def run(name: str, x: np.ndarray) -> np.ndarray:
    """gelu(x), or its slope: the gradient of ones."""
    t = mg.from_numpy(x)
    args = (mg.ones_like(t), t) if name.endswith("backward") else (t,)
    return registry[name].function(*args).numpy()


def exact(name: str, x: np.ndarray) -> np.ndarray:
    """In float64; T and D of the tool are the functions left of zero."""
    a, right = np.abs(x.astype(np.float64)), x > 0
    if not name.endswith("backward"):
        t = (PIECES.gelu_tanh if "tanh" in name else PIECES.gelu)(a)
        return np.maximum(x, 0) - t
    d = (PIECES.gelu_tanh_slope if "tanh" in name else PIECES.gelu_slope)(a)
    return np.where(right, 1 - d, d)


def check(name: str, x: np.ndarray) -> None:
    """2 ulp; slopes left of the last interval, and everywhere without the look-up, lose digits where they are almost 0."""
    got, want = run(name, x).astype(np.float64), exact(name, x)
    error = ulp.distance(got, want)
    if name.endswith("backward"):
        loose = (x < -end(name)) | (not LOOKED_UP)
        error = np.where(loose, np.abs(got - want) / 2.0**-20, error)
    bound = 2.0 if name.endswith("backward") else ulp.promised(name)
    k = int(error.argmax())
    assert error[k] <= bound, f"{name}({x[k]!r}) = {got[k]!r}, exact {want[k]!r}: {error[k]:.2f} > {bound}"


def around(points: Any, steps: int) -> np.ndarray:
    """The floats up to `steps` steps from each point, and their opposites."""
    bits = np.asarray(points, np.float32).view(np.int32)[:, None] + np.arange(-steps, steps + 1, dtype=np.int32)
    x = bits[bits >= 0].view(np.float32)
    return np.concatenate([x, -x])


@pytest.mark.parametrize("name", NAMES)
def test_at_the_borders_of_the_intervals(name: str) -> None:
    borders = PIECES.edges(end(name))[1]
    check(name, around([*borders, end(name), 0.7517915, 0.7524614, 14.357], 300))


@pytest.mark.parametrize("name", NAMES)
def test_between_the_borders(name: str) -> None:
    x = np.arange(0x3C000000, 0x41800000, 997, dtype=np.int32).view(np.float32)  # 2^-7 to 16
    check(name, np.concatenate([x, -x]))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_float(name: str) -> None:
    """From 2^-30 to 16, of either sign: nearer to zero they are x/2 and 1/2, beyond constant."""
    for begin in range(0x30800000, 0x41800000, 1 << 20):
        x = np.arange(begin, min(begin + (1 << 20), 0x41800000), dtype=np.int32).view(np.float32)
        check(name, x)
        check(name, -x)


@pytest.mark.parametrize("name", NAMES)
def test_a_number_far_left_changes_nothing_beside_it(name: str) -> None:
    x = np.random.default_rng(3).normal(0, 2, 4096).astype(np.float32)
    alone = run(name, x)
    for lane in range(16):
        beside = x.copy()
        beside[lane::16] = -9
        same = run(name, beside) == alone
        same[lane::16] = True
        assert same.all(), lane


@pytest.mark.parametrize("name", NAMES)
def test_special_values(name: str) -> None:
    x = np.array([np.nan, np.inf, -0.0, 0.0, 1e-45, -3e-45, 3.4e38, -3.4e38, 1e-38], np.float32)
    got = run(name, x)
    if name.endswith("backward"):
        assert np.isnan(got[0]) and got[2:6].tolist() == [0.5] * 4 and got[8] == 0.5 and got[1] == got[6] == 1 and got[7] == 0
        return
    assert np.isnan(got[0]) and got[1] == np.inf and got[6] == x[6] and got[7] == 0
    assert got[2] == got[3] == 0 and not np.signbit(got[3]) and (np.signbit(got[2]) or not LOOKED_UP)
    assert abs(got[4]) <= 1.5e-45 and got[5] == np.float32(-1.5e-45) and got[8] == x[8] / 2


@pytest.mark.parametrize("name", NAMES[2:])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slopes_far_out_are_0_and_1(name: str, dtype: type) -> None:
    """PyTorch's are NaN where the square of x, or x itself, is infinite."""
    far = np.array([40, 60, 1e19, 1e30, np.finfo(dtype).max, np.inf], dtype)
    assert run(name, far).tolist() == [1] * 6 and run(name, -far).tolist() == [0] * 6
    assert run(name, np.repeat(far[-1:], 33)).tolist() == [1] * 33


@pytest.mark.parametrize("isa", ["avx2", "portable"])
def test_slopes_far_out_without_the_tables(isa: str) -> None:
    script = """
from minigrad import ones_like, op, tensor
for name in ("gelu_erf_backward", "gelu_tanh_backward"):
    x = tensor([1e30, float("inf"), -1e30, -float("inf")] * 5)
    assert op.registry[name].function(ones_like(x), x).tolist() == [1, 1, 0, 0] * 5, name
"""
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ | {"MINIGRAD_ISA": isa}, timeout=120)


@pytest.mark.parametrize("name", NAMES[:2])
def test_never_decreases_right_of_zero(name: str) -> None:
    for point in [*PIECES.edges(end(name))[1][1:], 1.0, 8.0]:
        x = around([point], 20000)
        y = run(name, np.sort(x[x > 0]))
        assert (np.diff(y) >= 0).all(), point
