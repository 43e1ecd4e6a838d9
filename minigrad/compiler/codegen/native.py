"""Machine code for the fused kernels of a graph: from the cache where it is there, else compiled, up to a point before the first run.

    attach(graph)          every kernel of the graph gets its code, now or as soon as it is compiled
    MINIGRAD_COMPILE=0     the interpreter only
    MINIGRAD_COMPILE=wait  every kernel is compiled before the first run
    otherwise              for 0.2 s, largest first; a thread does the rest while the interpreter runs. It gets its turn between the steps
                           of the program only (Python runs one thread at a time). Kernels too small to pay back stay with the interpreter

Code and interpreter give the same bits (llvm_kernel.py), so it does not matter when a kernel changes over. Without llvmlite, and for
programs that no code is generated for, the interpreter stays.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any

from minigrad import _core

from . import llvm, store
from .fused import Operand, Program, Step, Unsupported

_SOURCES = ("fused", "rows", "schedule", "llvm_text", "llvm_kernel", "llvm_loops", "llvm_columns", "llvm")
_PATIENCE = 0.2  # seconds of compilation before the first run of a graph
_PAYS = 1 << 15  # elements x ops of a kernel below which 20 ms of compilation take some 10^4 runs to come back
_SHORT_ROW = 32  # columns: below, the interpreter, which takes many rows at once, is faster (1000 x 4: 2.6 us, code 4.4)
_loaded: dict[str, Any] = {}  # key -> Code, or the reason (str) why there is none
_lock = threading.Lock()


class Report:
    """What became of kernels: counts of this process, for the benchmark and for people."""

    def __init__(self) -> None:
        self.compiled = self.from_disk = self.in_memory = 0
        self.seconds = 0.0
        self.refused: dict[str, int] = {}  # reason -> kernels

    def __repr__(self) -> str:
        return (f"{self.compiled} kernels compiled in {self.seconds:.3f} s, {self.from_disk} from disk, {self.in_memory} known already, "
                f"refused: {self.refused or 'none'}")  # fmt: skip


report = Report()


_chosen: list[str] = []


@contextlib.contextmanager
def using(how: str) -> Iterator[None]:
    """In this block: "0" (no code), "wait" or "", whatever the environment says."""
    _chosen.append(how)
    try:
        yield
    finally:
        _chosen.pop()


def mode() -> str:
    """One of "off", "wait" and "some"."""
    wish = _chosen[-1] if _chosen else os.environ.get("MINIGRAD_COMPILE", "")
    return "off" if wish == "0" or not llvm.available() else "wait" if wish == "wait" else "some"


def program_of(kernel: Any) -> Program:
    """A FusedKernel of the core as data."""
    operands = tuple(Operand(_name(o["dtype"]), tuple(o["strides"]), o["written"]) for o in kernel.operands)
    steps = tuple(
        Step(s["kind"], s["level"], s["op"] or "", s["row"] or "", _name(s["dtype"]), _name(s["compute"]), tuple(s["args"]), s["operand"],
             0 if s["number"] is None else s["number"])
        for s in kernel.steps
    )  # fmt: skip
    return Program(tuple(kernel.sizes), operands, steps, kernel.n_inputs, kernel.large)


def _name(dtype: Any) -> str:
    return str(dtype).rpartition(".")[2]


@functools.cache
def _generator() -> bytes:
    """What code depends on besides its program: generator, formulas, instruction set, LLVM."""
    digest = hashlib.sha256(repr(llvm.machine()).encode())
    here = os.path.dirname(__file__)
    sources = [os.path.join(here, f"{name}.py") for name in _SOURCES]
    spec = find_spec("llvmlite")
    if spec is not None and spec.origin:
        sources.append(os.path.join(os.path.dirname(spec.origin), "_version.py"))  # without importing it
    for source in sources:
        with contextlib.suppress(OSError), open(source, "rb") as file:
            digest.update(file.read())
    digest.update(repr(_core.pointwise_lines()).encode())
    return digest.digest()


def key_of(structure: str) -> str:
    """Name of a program's code on disk and in memory."""
    return hashlib.sha256(_generator() + structure.encode()).hexdigest()[:32]


def _from_disk(key: str) -> Any:
    data = store.read(key)
    if data is None:
        return None
    try:
        return _core.load_code(data)["fused"]
    except (RuntimeError, KeyError):
        return None


def _compile(key: str, program: Program) -> Any:
    """Code of one program, or the reason why there is none."""
    start = time.perf_counter()
    try:
        text = llvm.module_text({"fused": program})
    except Unsupported as reason:
        return str(reason)
    data = llvm.compile_text(text)
    store.write(key, data)
    report.seconds += time.perf_counter() - start
    report.compiled += 1
    return _core.load_code(data)["fused"]


def readable(kernel: Any, notes: list[str]) -> str:
    """Path of a kernel's LLVM IR, written for people; or why there is none.

    Args:
        notes: lines to stand above it: the call in the graph, the user's line.
    """
    program = program_of(kernel)
    try:
        text = llvm.module_text({"fused": program})
    except Unsupported as reason:
        return f"the interpreter: {reason}"
    where = store.directory()
    if where is None:
        return text
    name = f"{key_of(kernel.structure)}.ll"
    head = "".join(f"; {line}\n" for note in (*notes, program.structure()) for line in note.splitlines())
    store.write(name, (head + text).encode(), plain=True)
    return os.path.join(where, name)


def known(key: str) -> Any:
    """Code in memory or on disk: Code, a reason, or None."""
    if key in _loaded:
        report.in_memory += 1
        return _loaded[key]
    code = _from_disk(key)
    if code is not None:
        report.from_disk += 1
        with _lock:
            code = _loaded.setdefault(key, code)
    return code


def compiled(key: str, program: Program) -> Any:
    """Code, made now where it is not known; or the reason why there is none."""
    code = known(key)
    if code is None:
        code = _compile(key, program)
        if isinstance(code, str):
            report.refused[code] = report.refused.get(code, 0) + 1
        with _lock:
            code = _loaded.setdefault(key, code)
    return code


def _set(kernel: Any, code: Any) -> None:
    if code is not None and not isinstance(code, str):
        kernel.set_code(code.address, code)


class _Worker:
    """Compiles in the background: one thread, which ends when there is nothing left to do or the program ends."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._open = 0
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()

    def add(self, jobs: list[tuple[Any, str, Program]]) -> None:
        with self._lock:
            self._idle.clear()
            self._open += len(jobs)
            for job in jobs:
                self._work.put(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="minigrad compiler")
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._open == 0 or not threading.main_thread().is_alive():
                    self._thread = None
                    self._idle.set()
                    break
            kernel, key, program = self._work.get()
            try:
                _set(kernel, compiled(key, program))
            except Exception as error:  # a bug: the interpreter goes on, and people are told
                report.refused[f"{type(error).__name__}: {error}"] = report.refused.get(f"{type(error).__name__}: {error}", 0) + 1
            finally:
                with self._lock:
                    self._open -= 1
            del kernel
        store.trim()

    def wait(self, seconds: float | None = None) -> bool:
        return self._idle.wait(seconds)


_worker = _Worker()
os.register_at_fork(after_in_child=lambda: globals().__setitem__("_worker", _Worker()))


def wait(seconds: float | None = None) -> bool:
    """Until everything is compiled; False after `seconds`."""
    return _worker.wait(seconds)


def attach(*graphs: Any) -> None:
    """Gives the fused kernels of graphs their code."""
    attach_kernels(kernel for graph in graphs for kernel in _core.fused_programs(graph))


def attach_kernels(kernels: Iterable[Any], how: str | None = None) -> None:
    """Gives FusedKernels their code; `how`: see mode()."""
    kernels = [k for k in kernels if k.takes_code]
    how = how or mode()
    if how != "wait":
        kernels = [k for k in kernels if len(k.sizes) == 1 or k.sizes[-1] >= _SHORT_ROW]
    if not kernels or how == "off":
        return
    jobs = []
    for kernel in kernels:
        key = key_of(kernel.structure)
        code = known(key)
        if code is not None:
            _set(kernel, code)
            continue
        program = program_of(kernel)
        work = math.prod(program.sizes) * len(program.steps)
        if how == "wait" or work >= _PAYS:
            jobs.append((work, kernel, key, program))
    jobs.sort(key=lambda job: -job[0])
    start, rest = time.perf_counter(), []
    for _, *job in jobs:
        if how == "wait" or time.perf_counter() - start < _PATIENCE:
            _set(job[0], compiled(*job[1:]))
        else:
            rest.append(tuple(job))
    if rest:
        _worker.add(rest)
    elif jobs:
        store.trim()
