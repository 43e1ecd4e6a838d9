"""`spawn` and `start_processes`: run one function in several processes, and raise in the parent what one of them raised."""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from minigrad import _core

log = logging.getLogger(__name__)


class ProcessException(Exception):
    """A process of a group failed: `error_index` says which, `error_pid` its process id."""

    def __init__(self, msg: str, error_index: int, pid: int) -> None:
        super().__init__(msg)
        self.msg = msg
        self.error_index = error_index
        self.pid = self.error_pid = pid

    def __reduce__(self) -> tuple:
        return type(self), (self.msg, self.error_index, self.pid)


class ProcessRaisedException(ProcessException):
    """A process raised; the message has its traceback."""

    def __init__(self, msg: str, error_index: int, error_pid: int) -> None:
        super().__init__(msg, error_index, error_pid)


class ProcessExitedException(ProcessException):
    """A process ended with `exit_code`, or by the signal `signal_name`."""

    def __init__(self, msg: str, error_index: int, error_pid: int, exit_code: int, signal_name: str | None = None) -> None:
        super().__init__(msg, error_index, error_pid)
        self.exit_code = exit_code
        self.signal_name = signal_name

    def __reduce__(self) -> tuple:
        return type(self), (self.msg, self.error_index, self.error_pid, self.exit_code, self.signal_name)


def _run(fn: Callable, index: int, args: tuple, report: Any, parent: int | None) -> None:
    if parent is not None:
        _core.exit_with_parent(parent)  # no process outlives the one that started it
    try:
        fn(index, *args)
    except KeyboardInterrupt:
        pass  # the parent is interrupted too
    except Exception:
        report.send(traceback.format_exc())
        report.close()
        sys.exit(1)


class ProcessContext:
    """Processes started together."""

    def __init__(self, processes: list[Any], reports: list[Any]) -> None:
        self.processes = processes
        self._reports = reports
        self.sentinels = {process.sentinel: index for index, process in enumerate(processes)}

    def pids(self) -> list[int]:
        """The process ids."""
        return [int(process.pid) for process in self.processes]

    def _join_all(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait for the processes; at the first failure end the others and raise.

        Args:
            timeout: seconds to wait now; None waits for an end.
            grace_period: seconds the others get to end by themselves, then after SIGTERM.

        Returns:
            whether all have ended.

        Raises:
            ProcessRaisedException: with the traceback of the one that raised.
            ProcessExitedException: for an exit code or a signal.
        """
        if not self.sentinels:
            return True
        for sentinel in multiprocessing.connection.wait(list(self.sentinels), timeout=timeout):
            index = self.sentinels.pop(sentinel)  # type: ignore[call-overload]
            self.processes[index].join()
            if self.processes[index].exitcode != 0:
                self._end_others(grace_period)
                self._raise(index)
        return not self.sentinels

    def _end_others(self, grace_period: float | None) -> None:
        if grace_period is not None:
            self._join_all(grace_period)
        for process in self.processes:
            if process.is_alive():
                log.warning("Terminating process %s via signal SIGTERM", process.pid)
                process.terminate()
        self._join_all(30 if grace_period is None else grace_period)
        for process in self.processes:
            if process.is_alive():
                log.warning("Unable to shutdown process %s via SIGTERM , forcefully exiting via SIGKILL", process.pid)
                process.kill()
            process.join()

    def _raise(self, index: int) -> None:
        pid, code = self.processes[index].pid, self.processes[index].exitcode
        try:
            text = self._reports[index].recv() if self._reports[index].poll() else None
        except (EOFError, OSError):  # it died without a word
            text = None
        if text is not None:
            raise ProcessRaisedException(f"\n\n-- Process {index} terminated with the following error:\n{text}", index, pid)
        if code >= 0:
            raise ProcessExitedException(f"process {index} terminated with exit code {code}", index, pid, code)
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"<Unknown signal {-code}>"
        raise ProcessExitedException(f"process {index} terminated with signal {name}", index, pid, code, name)


class SpawnContext(ProcessContext):
    """The name that ProcessContext once had."""

    def __init__(self, processes: list[Any], reports: list[Any]) -> None:
        warnings.warn("SpawnContext is renamed to ProcessContext since 1.4 release.", stacklevel=2)
        super().__init__(processes, reports)


def start_processes(
    fn: Callable, args: tuple = (), nprocs: int = 1, join: bool = True, daemon: bool = False, start_method: str = "spawn"
) -> ProcessContext | None:
    """Run `fn(i, *args)` for i in range(nprocs), each in a process of its own.

    Args:
        fn: importable by name, unless `start_method` is "fork".
        join: wait for the end of all; otherwise return the ProcessContext.
        daemon: the processes' daemon flag.

    Source: torch.multiprocessing.start_processes.
    """
    import os

    from . import reductions  # noqa: F401  tensors among the arguments are shared

    context: Any = multiprocessing.get_context(start_method)
    parent = None if start_method == "forkserver" else os.getpid()
    processes, reports = [], []
    for index in range(nprocs):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(fn, index, args, theirs, parent), daemon=daemon)
        process.start()
        theirs.close()
        processes.append(process)
        reports.append(ours)
    group = ProcessContext(processes, reports)
    if not join:
        return group
    while not group.join():
        pass
    return None


def spawn(
    fn: Callable, args: tuple = (), nprocs: int = 1, join: bool = True, daemon: bool = False, start_method: str = "spawn"
) -> ProcessContext | None:
    """`start_processes` with fresh interpreters.

    Raises:
        ProcessRaisedException, ProcessExitedException: one of the processes failed; the others were ended.
    """
    if start_method != "spawn":
        warnings.warn(
            f"This method only supports start_method=spawn (got: {start_method}).\nTo use a different start_method use:\n\t\t"
            " minigrad.multiprocessing.start_processes(...)",
            FutureWarning,
            stacklevel=2,
        )
    return start_processes(fn, args, nprocs, join, daemon, start_method="spawn")
