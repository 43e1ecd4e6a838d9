"""The fuzzer itself, and every script of its corpus: what was found once stays fixed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.testing.fuzz import corpus
from minigrad.testing.fuzz.execute import compiled, run
from minigrad.testing.fuzz.generate import Generator
from minigrad.testing.fuzz.oracle import Finding, compare, judge, worst
from minigrad.testing.fuzz.program import Call, Make, Program, Ref
from minigrad.testing.fuzz.reference import reference_record
from minigrad.testing.fuzz.shrink import shrink

CORPUS = Path(__file__).parent / "fuzz_corpus"


@pytest.fixture(scope="module")
def replayed() -> dict[str, str]:
    """Results of all scripts, run in one fresh process (each script in a fork of it)."""
    command = [sys.executable, "-m", "minigrad.testing.fuzz", "--replay", str(CORPUS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode in (0, 1), done.stderr[-2000:]
    results, name = {}, ""
    for line in done.stdout.splitlines():
        if line.startswith(("ok", "FAIL")):
            name = line.split()[-1]
            results[name] = "" if line.startswith("ok") else "FAIL"
        elif name:
            results[name] += line
    return results


@pytest.mark.parametrize("name", sorted(p.name for p in CORPUS.glob("*.py")))
def test_corpus(name: str, replayed: dict[str, str]) -> None:
    assert replayed[name] == "", f"{name}: {replayed[name]}\nrun: python -m minigrad.testing.fuzz --replay {CORPUS / name}"


def test_same_seed_same_cases() -> None:
    a, b = Generator(5), Generator(5)
    texts = [a.case(k).render() for k in range(60)]
    assert texts == [b.case(k).render() for k in range(60)]
    assert len(set(texts)) > 55 and texts != [Generator(6).case(k).render() for k in range(60)]


def test_programs_run() -> None:
    """The generated text is Python, and a good part of the calls is valid."""
    g, calls, good = Generator(1), 0, 0
    for k in range(150):
        program = g.case(k)
        if program.op in ("sequence",) or not program.private:
            record = run(compiled(program.render()), mg)
            calls += sum(o.label != "make" for o in record.outcomes)
            good += sum(o.label != "make" and not o.error for o in record.outcomes)
    assert calls > 150 and good > calls / 3


def _program(dtype: str = "float32", layout: str = "contiguous") -> Program:
    steps: list[Make | Call] = [
        Make("a", dtype, (3, 4), (1.0, 2.0, -3.0), layout), Make("b", dtype, (5,), (1.0,)), Call("c", "m.neg", (Ref("a"),)),
        Call("d", ".add_", (Ref("c"), 2), {"alpha": 3}),
    ]  # fmt: skip
    return Program(steps, op="neg")


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "expanded", "offset", "step", "overlap"])
def test_layouts_keep_their_values(layout: str) -> None:
    program = _program(layout=layout)
    a, b = (run(compiled(program.render(plain=p)), mg) for p in (False, True))
    assert compare(program, a, b) is None
    assert not any(o.error for o in a.outcomes)


def test_oracle_sees_differences() -> None:
    """A wrong value, dtype, shape, a missing and a surplus error are each found."""
    program = _program()
    right = run(compiled(program.render()), mg)
    kinds = {}
    for kind, change in {
        "value": ("m.neg(a)", "m.abs(a)"), "dtype": ("m.neg(a)", "m.neg(a).double()"), "shape": ("m.neg(a)", "m.neg(a)[:2]"),
        "refuses": ("m.neg(a)", "m.neg(a, a, a)"),
    }.items():  # fmt: skip
        wrong = run(compiled(program.render().replace(*change)), mg)
        found = compare(program, wrong, right)
        kinds[kind] = found.kind if found else None
    assert kinds == {k: k for k in kinds}
    surplus = compare(program, right, run(compiled(program.render().replace("m.neg(a)", "m.neg(a, a, a)")), mg))
    assert surplus is not None and surplus.kind == "accepts"


def test_tolerance() -> None:
    one = np.ones(2, np.float32)
    assert worst(one, one * (1 + 1e-6), "float32", 1.0, True) is None
    assert worst(one, np.array([1.0, 1.1], np.float32), "float32", 1.0, True) == (1,)
    assert worst(one, np.array([1.0, np.nan], np.float32), "float32", 1.0, True) == (1,)
    assert worst(np.array([3]), np.array([4]), "int64", 1.0, True) == (0,)


def test_shrinking() -> None:
    """What does not matter goes: other steps, layouts, sizes, values."""
    small = shrink(_program(layout="transposed"), lambda p: any(isinstance(s, Call) and s.target == "m.neg" for s in p.steps))
    assert len(small.steps) == 2
    make = small.steps[0]
    assert isinstance(make, Make) and make.layout == "contiguous" and make.shape == () and make.values == (1.0,)


def test_a_crash_is_a_finding(tmp_path: Path) -> None:
    """A process that dies is reported, and a script that passes says so."""
    path = tmp_path / "x.py"
    path.write_text("OP, TAINTED = 'x', False\n\n\ndef program(m, step):\n    import os\n    os.abort()\n")
    script = f"from minigrad.testing.fuzz.corpus import replay; f = replay({str(path)!r}, None); print(f.kind)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "crash", done.stderr
    written = corpus.write(tmp_path, _program(), Finding("value", "neg", "text"), seed=0, case=1)
    assert written.read_text().startswith('"""value in neg')
    done = subprocess.run([sys.executable, str(written)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "passes", done.stdout + done.stderr


def test_command_line() -> None:
    command = [sys.executable, "-m", "minigrad.testing.fuzz", "--minutes", "0.05", "--ops", "neg,add", "--no-torch", "--no-write"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "cases in" in done.stdout, done.stdout + done.stderr
    done = subprocess.run([*command[:3], "--help"], capture_output=True, text=True, check=False)
    assert "--minutes" in done.stdout and done.returncode == 0
    with pytest.raises(ValueError, match="no such op"):
        Generator(0, ["nonsense"])


def test_laws_without_torch() -> None:
    """Without PyTorch the law of layouts still judges."""
    for layout in ("transposed", "step", "expanded"):
        assert judge(Program(_program(layout=layout).steps[:3], op="neg"), None) is None


def test_huge_counts_end() -> None:
    """Found as hangs; PyTorch cannot be asked about them."""
    with pytest.raises(RuntimeError, match="too many"):
        mg.combinations(mg.ones(1), 2**40, True)
    assert mg.combinations(mg.ones(2), 2**40).shape == (0, 2**40)


def test_numpy_reference() -> None:
    """The NumPy oracle agrees with a right result and sees a wrong one."""
    program = Program(_program().steps[:3], op="neg")
    right = run(compiled(program.render()), mg)
    reference = reference_record(program, right)
    assert reference is not None and compare(program, right, reference) is None
    wrong = run(compiled(program.render().replace("m.neg", "m.abs")), mg)
    assert compare(program, wrong, reference) is not None
    assert reference_record(_program(), right) is None  # two calls: no reference
