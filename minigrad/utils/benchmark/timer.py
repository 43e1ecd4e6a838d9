"""`Timer`: the time of a Python statement."""

from __future__ import annotations

import enum
import textwrap
import timeit
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad.utils.benchmark.measurement import Measurement, TaskSpec

timer = timeit.default_timer


class Language(enum.Enum):
    """Language of the statement; only Python is supported."""

    PYTHON = 0
    CPP = 1


class Timer:
    """Times a statement, like timeit.Timer, with the number of threads fixed and with statistics.

    Args:
        stmt: the code. setup: code that runs once before. globals: names both see (minigrad and torch mean minigrad).
        timer: the clock. num_threads: threads of the library while it runs.
        label, sub_label, description, env: names for Compare.
    Raises:
        NotImplementedError for C++.
    """

    def __init__(self, stmt: str = "pass", setup: str = "pass", global_setup: str = "", timer: Callable[[], float] = timer,
                 globals: dict[str, Any] | None = None, label: str | None = None, sub_label: str | None = None,
                 description: str | None = None, env: str | None = None, num_threads: int = 1,
                 language: Language | str = Language.PYTHON) -> None:  # fmt: skip
        if not isinstance(stmt, str):
            raise ValueError("Currently only a `str` stmt is supported.")
        if language not in (Language.PYTHON, "py", "python") or global_setup:
            raise NotImplementedError("Timer: only Python statements are supported")
        self._globals = {"minigrad": mg, "torch": mg, **(globals or {})}
        stmt, setup = textwrap.dedent(stmt).strip(), textwrap.dedent(setup).strip()
        self._timer = timeit.Timer(stmt, setup, timer, self._globals)
        self._task_spec = TaskSpec(stmt, setup, global_setup, label, sub_label, description, env, num_threads)

    def _run(self, number: int) -> float:
        return max(self._timer.timeit(number), 1e-9)

    def _threads(self) -> _Threads:
        return _Threads(self._task_spec.num_threads)

    def timeit(self, number: int = 1000000) -> Measurement:
        """One measurement of `number` runs, after a warm-up of a hundredth of them."""
        with self._threads():
            self._run(max(number // 100, 2))
            return Measurement(number, [self._run(number)], self._task_spec)

    def repeat(self, repeat: int = -1, number: int = -1) -> None:
        """Not supported, as in PyTorch."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def autorange(self, callback: Callable | None = None) -> None:
        """Not supported, as in PyTorch."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def _block_size(self, min_run_time: float) -> int:
        """Runs per measurement, so that the clock's own time is below 0.1 % of it."""
        overhead = sorted(self._timer_overhead() for _ in range(5))[2]
        number = 1
        while True:
            taken = self._run(number)
            if overhead / taken <= 1e-4 and taken >= min_run_time / 1000:
                return number
            if taken > min_run_time:
                return number
            number *= 10

    def _timer_overhead(self) -> float:
        return timeit.Timer("pass", timer=self._timer.timer).timeit(0)

    def blocked_autorange(self, callback: Callable[[int, float], Any] | None = None, min_run_time: float = 0.2) -> Measurement:
        """Measurements of equal blocks until min_run_time seconds are over; the median of them is robust against interruptions."""
        with self._threads():
            number, times = self._block_size(min_run_time), []
            while sum(times) < min_run_time or len(times) < 2:
                taken = self._run(number)
                times.append(taken)
                if callback is not None:
                    callback(number, taken)
            return Measurement(number, times, self._task_spec)

    def adaptive_autorange(self, threshold: float = 0.1, *, min_run_time: float = 0.01, max_run_time: float = 10.0,
                           callback: Callable[[int, float], Any] | None = None) -> Measurement:  # fmt: skip
        """Measurements until the quartiles are within `threshold` of the median, or max_run_time is over."""
        with self._threads():
            number, times = self._block_size(0.05), []
            while True:
                taken = self._run(number)
                times.append(taken)
                if callback is not None:
                    callback(number, taken)
                found = Measurement(number, times, self._task_spec)
                if sum(times) >= max_run_time or (sum(times) >= min_run_time and len(times) > 3 and found.iqr / found.median < threshold):
                    return found


class _Threads:
    """The library's number of threads inside of a block."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __enter__(self) -> None:
        self.before = mg.get_num_threads()
        mg.set_num_threads(self.count)

    def __exit__(self, *exc: Any) -> None:
        mg.set_num_threads(self.before)
