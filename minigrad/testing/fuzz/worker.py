"""Processes that run cases: a crash, a hang or a sanitizer's line ends the process, never the fuzzer, and is traced to its case.

The parent only forks, watches and shrinks; it never runs an op itself, so that every child starts with an untouched library. A
worker runs thousands of cases; before each it writes the case's number into memory shared with the parent.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import pickle
import resource
import select
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad.testing.fuzz.generate import Generator
from minigrad.testing.fuzz.oracle import Finding, judge
from minigrad.testing.fuzz.program import Program

CASES_PER_PROCESS = 3000
_STATE = struct.Struct("qqqd")  # case, phase, cases done, time the case began
PHASES = ("generate", "minigrad", "torch")
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")


def _begin_child(stderr: Any, torch: Any, memory: int) -> None:
    os.dup2(stderr.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not SANITIZED:
        faulthandler.enable(all_threads=False)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    mg.set_num_threads(2)
    if torch is not None:
        torch.set_num_threads(1)


def complaint(text: str) -> str:
    """The telling line of a sanitizer's or Python's crash report, or ''."""
    lines = text.splitlines()
    for k, line in enumerate(lines):
        if "runtime error:" in line:
            return line[line.find("csrc/") if "csrc/" in line else 0 :]
        if "AddressSanitizer" in line and "ERROR" in line:
            ours = next((x for x in lines[k:] if "/csrc/" in x), "")
            return f"{line.split('ERROR: ')[-1][:120]} {ours[ours.find('csrc/') :] if ours else ''}"
    return ""


class Worker:
    """One child and what the parent knows about it."""

    def __init__(self, number: int, jobs: int, generator: Generator, torch: Any, start: int, memory: int = 3 << 30) -> None:
        self.number, self.jobs, self.generator, self.torch, self.memory = number, jobs, generator, torch, memory
        self.shared = mmap.mmap(-1, 64)
        self.errors: Any = tempfile.TemporaryFile(mode="w+b")
        self.done_before = 0
        self.start(start)

    def start(self, case: int) -> None:
        """Fork a child that begins at `case`."""
        self.first = case
        self.errors.seek(0)
        self.errors.truncate()
        self._mark(case, 0, 0)
        self.pipe, write = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self.pipe)
                _begin_child(self.errors, self.torch, self.memory)
                self._loop(case, write)
                status = 0
            except BaseException:
                traceback.print_exc()  # a fault of the fuzzer: it is reported like a crash
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(write)

    def _mark(self, case: int, phase: int, done: int) -> None:
        self.shared[: _STATE.size] = _STATE.pack(case, phase, done, time.time())

    @property
    def state(self) -> tuple[int, str, int, float]:
        """(case, phase, cases done by this child, when the case began)."""
        case, phase, done, began = _STATE.unpack(self.shared[: _STATE.size])
        return case, PHASES[phase], done, began

    def _loop(self, case: int, write: int) -> None:
        written = 0
        for done in range(CASES_PER_PROCESS):
            self._mark(case, 0, done)
            program = self.generator.case(case)
            found = judge(program, self.torch, lambda phase, c=case, d=done: self._mark(c, PHASES.index(phase), d))
            size = os.fstat(2).st_size
            if size != written:
                self.errors.seek(written)
                text = complaint(self.errors.read().decode(errors="replace"))
                written = size
                found = Finding("sanitizer", program.op, text) if text else found
            if found is not None:
                data = pickle.dumps((case, found))
                os.write(write, struct.pack("q", len(data)) + data)
            case += self.jobs
        self._mark(case, 0, CASES_PER_PROCESS)

    def poll(self, patience: float) -> tuple[list[tuple[int, Finding]], bool]:
        """Findings that arrived, and whether the child is still running; a hang is killed and reported."""
        found = self._read()
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        case, phase, done, began = self.state
        if pid == 0:
            if time.time() - began < patience:
                return found, True
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._finish(case + self.jobs, done)
            if phase == "minigrad":
                found.append((case, Finding("hang", self.generator.case(case).op, f"no result after {patience:.0f} s")))
            return found, False
        found += self._read()
        if status == 0:
            self._finish(case, done)
        else:
            if phase != "torch":
                found.append((case, Finding("crash", self.generator.case(case).op, self._epitaph(status))))
            self._finish(case + self.jobs, done)
        return found, False

    def _finish(self, next_case: int, done: int) -> None:
        os.close(self.pipe)
        self.done_before += done
        self.next_case = next_case

    def _epitaph(self, status: int) -> str:
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace")
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        lines = [line for line in text.splitlines() if line.strip()]
        return f"{how}: {complaint(text) or ' | '.join(lines[:6])[:300]}"

    def _read(self) -> list[tuple[int, Finding]]:
        found = []
        while select.select([self.pipe], [], [], 0)[0]:
            head = os.read(self.pipe, 8)
            if len(head) < 8:
                break
            data, n = b"", struct.unpack("q", head)[0]
            while len(data) < n:
                data += os.read(self.pipe, n - len(data))
            found.append(pickle.loads(data))
        return found

    def stop(self) -> None:
        """End the child."""
        self.done_before += self.state[2]
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def isolated(work: Callable[[Any], Any], torch: Any, patience: float = 20.0, memory: int = 3 << 30) -> Any:
    """Run `work(mark)` in a forked child and return its (picklable) result, or a crash or hang Finding without an op."""
    errors: Any = tempfile.TemporaryFile(mode="w+b")
    phase = mmap.mmap(-1, 8)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _begin_child(errors, torch, memory)
            result = work(lambda name: phase.__setitem__(0, PHASES.index(name)))
            if SANITIZED:
                errors.seek(0)
                text = complaint(errors.read().decode(errors="replace"))
                result = Finding("sanitizer", "", text) if text else result
            with os.fdopen(write, "wb") as f:
                pickle.dump(result, f)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(write)
    data, deadline = b"", time.time() + patience
    with os.fdopen(read, "rb", buffering=0) as f:
        while (left := deadline - time.time()) > 0 and select.select([f], [], [], left)[0]:
            chunk = f.read(1 << 16)
            if not chunk:
                break
            data += chunk
        else:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return Finding("hang", "", f"no result after {patience:.0f} s") if PHASES[phase[0]] != "torch" else None
    _, status = os.waitpid(pid, 0)
    if status == 0:
        return pickle.loads(data)
    if PHASES[phase[0]] == "torch":
        return None
    errors.seek(0)
    text = errors.read().decode(errors="replace")
    return Finding("crash", "", complaint(text) or f"status {status}: {text[:300]}")


def judge_isolated(program: Program, torch: Any, patience: float = 20.0) -> Finding | None:
    """`judge` in a child of its own."""
    return isolated(lambda mark: judge(program, torch, mark), torch, patience)
