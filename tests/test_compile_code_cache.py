"""Generated code on disk (minigrad/compiler/codegen/store.py, native.py) and its loader (csrc/cpu/code_loader.cpp)."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import minigrad as mg
from minigrad import _cache, _core
from minigrad.compiler.codegen import llvm, native, store
from minigrad.compiler.codegen.fused import Operand, Program, Step

pytestmark = pytest.mark.skipif(not llvm.available(), reason="needs llvmlite")
N = 1003


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path))


def program(number: float) -> Program:
    steps = (Step("load", operand=0), Step("constant", number=number), Step("apply", op="mul", args=(0, 1)),
             Step("store", args=(2,), operand=1))  # fmt: skip
    return Program((N,), (Operand("float32", (1,)), Operand("float32", (1,), True)), steps, 1)


def run(code: Any, number: float) -> None:
    x, out = mg.arange(N).float(), mg.zeros(N)
    code.call([x.data_ptr(), out.data_ptr()], [N], [1, 1], (0, 1, 0, N))
    assert mg.equal(out, x * number)


def forget() -> None:
    native._loaded.clear()


def test_code_comes_from_disk_and_damaged_files_are_replaced(tmp_path: Path) -> None:
    key = native.key_of(program(3.0).structure())
    forget()
    run(native.compiled(key, program(3.0)), 3.0)
    path = Path(store.directory()) / key
    whole = path.read_bytes()
    for broken in (None, whole[:100], whole[: len(whole) // 2], b"", whole[:-1] + b"x", b"junk" * 100):
        if broken is not None:
            path.write_bytes(broken)
        before = (native.report.compiled, native.report.from_disk)
        forget()
        run(native.compiled(key, program(3.0)), 3.0)
        made, read = native.report.compiled - before[0], native.report.from_disk - before[1]
        assert (made, read) == ((0, 1) if broken is None else (1, 0))
        assert path.read_bytes()[: len(whole)] == whole
    assert [p.name for p in path.parent.iterdir()] == [key]  # nothing half-written stays


def test_loader_refuses_damaged_objects() -> None:
    data = llvm.compile_text(llvm.module_text({"f": program(2.0)}))
    assert set(_core.load_code(data)) == {"f"}
    for bad in (b"", data[:20], data[:200], data[:-200], b"\0" * len(data)):
        with pytest.raises(RuntimeError, match="cannot be loaded"):
            _core.load_code(bad)
    mg.manual_seed(0)
    for _ in range(300):  # any damaged byte: refused or loaded, never a crash
        at, value = mg.randint(0, len(data), (2,)).tolist()
        damaged = bytearray(data)
        damaged[at] = value % 256
        try:
            _core.load_code(bytes(damaged))
        except RuntimeError:
            pass


def test_oldest_files_go(monkeypatch: pytest.MonkeyPatch) -> None:
    where = Path(store.directory())
    for k in range(10):
        store.write(f"k{k}", b"x" * 1000)
        os.utime(where / f"k{k}", (1000 + k, 1000 + k))
    assert store.read("k0") == b"x" * 1000  # used now
    monkeypatch.setenv("MINIGRAD_CACHE_SIZE", "5K")
    assert store.size_limit() == 5120
    store.trim()
    assert sorted(p.name for p in where.iterdir()) == ["k0", "k7", "k8", "k9"]


def test_no_cache_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in ("0", str(tmp_path / "file")):
        monkeypatch.setenv("MINIGRAD_CACHE_DIR", place)
        forget()
        run(native.compiled(native.key_of(program(5.0).structure()), program(5.0)), 5.0)


def test_one_folder_for_all_that_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _cache.folder("kernels") == str(tmp_path / "kernels")  # the fixture's
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "old name"))
    assert _cache.folder("triton") == str(tmp_path / "triton")
    monkeypatch.delenv("MINIGRAD_CACHE_DIR")
    assert _cache.folder("triton") == str(tmp_path / "old name" / "triton") and store.directory() == str(tmp_path / "old name" / "code")
    monkeypatch.delenv("MINIGRAD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert _cache.folder("triton") == str(tmp_path / "xdg" / "minigrad" / "triton")
    for none in ("", "0"):
        monkeypatch.setenv("MINIGRAD_CACHE_DIR", none)
        assert _cache.folder("triton") is None and store.directory() is None


def _write_many(place: str, number: int) -> None:
    os.environ["MINIGRAD_CACHE_DIR"] = place
    for k in range(200):
        store.write(f"k{k % 5}", bytes([number]) * 5000)
        found = store.read(f"k{(k + 1) % 5}")
        assert found is None or len(set(found)) == 1


def test_concurrent_writers(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_write_many, args=(str(tmp_path), n)) for n in range(4)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
        assert p.exitcode == 0
    assert sorted(p.name for p in Path(store.directory()).iterdir()) == [f"k{k}" for k in range(5)]


def test_a_warm_process_does_not_import_llvmlite(tmp_path: Path) -> None:
    script = """
import sys
from test_compile_code_cache import program, run
from minigrad.compiler.codegen import native
for n in (2.0, 7.0):
    run(native.compiled(native.key_of(program(n).structure()), program(n)), n)
print(native.report.compiled, native.report.from_disk, "llvmlite" in sys.modules)
"""
    found = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
        found.append(done.stdout.split())
    assert found == [["2", "0", "True"], ["0", "2", "False"]]
