"""Runs an op's checks in a forked child: a crash or a hang is that check's failure, named with its case, and the others go on.

The parent must not have computed with minigrad or torch before (no thread pools in a forked child): run.py, report.py and server.py
are such parents; pytest talks to server.py.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

STALL_SECONDS = 20.0  # of CPU time: one case may take no longer, however busy the machine is
SILENT_SECONDS = 200.0  # of wall time, for a child that sleeps
MEMORY = 12 << 30

Cell = tuple[str, str]  # column, dtype


@functools.cache
def entries() -> dict[str, Any]:
    """The database by full name (imports it, and the library, for all children: some seconds)."""
    from torch.testing._internal.common_methods_invocations import op_db

    from . import checks  # noqa: F401

    return {op.full_name: op for op in op_db}


@dataclass
class Job:
    """A running child."""

    name: str
    cells: list[Cell]
    pid: int
    pipe: int
    results: dict[Cell, dict[str, Any]]
    buffer: bytes = b""
    at: Cell | None = None
    case: str = ""
    heard: float = field(default_factory=time.monotonic)
    cpu: float = 0.0  # of the child when it was last heard


def _child(name: str, cells: list[Cell], write: int) -> None:
    from minigrad import set_num_threads

    from .checks import check

    set_num_threads(1)

    def say(**what: Any) -> None:
        os.write(write, json.dumps(what).encode() + b"\n")

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    op = entries()[name]
    for column, dtype in cells:
        say(at=[column, dtype])
        try:
            outcome = asdict(check(op, column, dtype, lambda case: say(case=case[:400])))
        except Exception as error:  # the harness itself, or an op that cannot even be sampled
            where = traceback.extract_tb(error.__traceback__)[-1]
            outcome = {"status": "fail", "detail": f"harness: {type(error).__name__}: {error} ({where.name}:{where.lineno})", "cases": 0}
        say(cell=[column, dtype], outcome=outcome)


def _start(name: str, cells: list[Cell], results: dict[Cell, dict[str, Any]]) -> Job:
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read)
            quiet = os.open(os.devnull, os.O_WRONLY)
            if not os.environ.get("CONFORMANCE_STDERR"):
                os.dup2(quiet, 2)
            _child(name, cells, write)
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    return Job(name, cells, pid, read, results)


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process so far; 0 where /proc does not tell."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def _read(job: Job) -> bool:
    """Takes what the child said; False at its end."""
    data = os.read(job.pipe, 1 << 16)
    job.heard, job.cpu = time.monotonic(), _cpu_seconds(job.pid)
    *lines, job.buffer = (job.buffer + data).split(b"\n")
    for line in lines:
        what = json.loads(line)
        if "case" in what:
            job.case = what["case"]
        elif "at" in what:
            job.at, job.case = tuple(what["at"]), ""
        else:
            job.results[tuple(what["cell"])] = what["outcome"]
    return bool(data)


def _finish(job: Job, killed: str = "") -> Job | None:
    """Reaps the child; a new job for the remaining cells when it died."""
    if killed:
        os.kill(job.pid, signal.SIGKILL)
    _, status = os.waitpid(job.pid, 0)
    os.close(job.pipe)
    left = [c for c in job.cells if c not in job.results]
    if not left:
        return None
    death = killed or (f"signal {signal.Signals(os.WTERMSIG(status)).name}" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}")
    at = job.at if job.at in left else left[0]
    job.results[at] = {"status": "timeout" if killed else "crash", "detail": f"{death} at {job.case}", "cases": 0}
    left.remove(at)
    return _start(job.name, left, job.results) if left else None


def run_all(work: Iterable[tuple[str, list[Cell]]], jobs: int = 1) -> Iterator[tuple[str, dict[Cell, dict[str, Any]]]]:
    """(name, {cell: outcome}) for each op as it finishes, `jobs` children at a time."""
    entries()
    gc.collect()
    gc.freeze()  # or each child's first collection would copy the whole parent, page by page
    queue, running = iter(work), {}
    exhausted = False
    while running or not exhausted:
        while not exhausted and len(running) < jobs:
            item = next(queue, None)
            if item is None:
                exhausted = True
                break
            name, cells = item
            if name not in entries():
                outcome = {"status": "fail", "detail": "no such entry in this release's op_db: update names.txt", "cases": 0}
                yield name, dict.fromkeys(cells, outcome)
                continue
            job = _start(name, cells, {})
            running[job.pipe] = job
        ready, _, _ = select.select(list(running), [], [], 1.0) if running else ([], [], [])
        for pipe in list(running):
            job = running[pipe]
            killed = ""
            if pipe not in ready:
                silent = time.monotonic() - job.heard
                if silent > STALL_SECONDS and _cpu_seconds(job.pid) - job.cpu > STALL_SECONDS:
                    killed = f"over {STALL_SECONDS:.0f} s"
                elif silent > SILENT_SECONDS:
                    killed = f"silent for {SILENT_SECONDS:.0f} s"
                else:
                    continue
            elif _read(job):
                continue
            del running[pipe]
            again = _finish(job, killed)
            if again is not None:
                running[again.pipe] = again
            else:
                yield job.name, job.results
