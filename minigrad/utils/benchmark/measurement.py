"""`Measurement`: what a Timer measured, with robust statistics."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from functools import cached_property
from statistics import fmean
from typing import Any

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
MIN_CONFIDENCE_INTERVAL = 25e-9
_IQR_WARNING, _IQR_GROSS_WARNING = 0.1, 0.25


def select_unit(t: float) -> tuple[str, float]:
    """The unit in which a time in seconds is shown, and its length in seconds."""
    name = next((u for u in ("s", "ms", "us") if t >= 0.95 * _UNITS[u]), "ns")
    return name, _UNITS[name]


def unit_to_english(u: str) -> str:
    """A unit's full name."""
    return {"ns": "nanosecond", "us": "microsecond", "ms": "millisecond", "s": "second"}[u]


def trim_sigfig(x: float, n: int) -> float:
    """x rounded to n significant digits."""
    return x if x == 0 or not math.isfinite(x) else round(x, n - 1 - math.floor(math.log10(abs(x))))


def quantile(values: list[float], q: float) -> float:
    """Linear quantile of sorted values."""
    at = q * (len(values) - 1)
    low = math.floor(at)
    return values[low] + (at - low) * (values[min(low + 1, len(values) - 1)] - values[low])


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """What was measured."""

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """label: sub_label, or the statement."""
        if self.label is not None:
            return self.label + (f": {self.sub_label}" if self.sub_label else "")
        return self.stmt if "\n" not in self.stmt else "stmt:" + (f" ({self.sub_label})" if self.sub_label else "") + "\n" + self.stmt

    def summarize(self) -> str:
        """Title, setup and threads as text."""
        parts = [self.title, self.description or "", f"setup: {self.setup}" if self.setup and self.setup != "pass" else "",
                 self.global_setup]  # fmt: skip
        return "\n".join(p for p in parts if p)


@dataclasses.dataclass(init=True, repr=False)
class Measurement:
    """Times of repeated runs.

    Args:
        number_per_run: how often the statement ran in each of them.
        raw_times: seconds per run.
        task_spec: what was measured.
    """

    number_per_run: int
    raw_times: list[float]
    task_spec: TaskSpec
    metadata: dict[Any, Any] | None = None

    @cached_property
    def times(self) -> list[float]:
        """Seconds per statement."""
        return [t / self.number_per_run for t in self.raw_times]

    @cached_property
    def _sorted(self) -> list[float]:
        if not self.raw_times:
            raise ValueError("Measurement: no times")
        return sorted(self.times)

    @property
    def median(self) -> float:
        """Median of the times."""
        return quantile(self._sorted, 0.5)

    @property
    def mean(self) -> float:
        """Mean of the times."""
        return fmean(self._sorted)

    @property
    def iqr(self) -> float:
        """Distance of the quartiles."""
        return quantile(self._sorted, 0.75) - quantile(self._sorted, 0.25)

    @property
    def significant_figures(self) -> int:
        """How many digits of the median the spread allows (1 to 5), taking the noise as normal."""
        relative = max(self.iqr / 1.35 / math.sqrt(len(self.times)) * 2, MIN_CONFIDENCE_INTERVAL) / self.median if self.median else 1.0
        return max(1, min(5, 1 - math.floor(math.log10(relative)) - 1 if relative < 1 else 1))

    @property
    def has_warnings(self) -> bool:
        """Whether the spread is large."""
        return self.iqr / self.median > _IQR_WARNING if self.median else False

    @property
    def title(self) -> str:
        """Title of the task."""
        return self.task_spec.title

    @property
    def env(self) -> str:
        """Environment of the task."""
        return "Unspecified env" if self.task_spec.env is None else self.task_spec.env

    @property
    def as_row_name(self) -> str:
        """Name of its row in a Compare table."""
        return self.task_spec.sub_label or self.task_spec.stmt or "[Unknown]"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in {f.name for f in dataclasses.fields(TaskSpec)}:
            raise AttributeError(f"'Measurement' object has no attribute '{name}'")
        return getattr(self.task_spec, name)

    def __repr__(self) -> str:
        unit, scale = select_unit(self.median)
        lines = [f"<minigrad.utils.benchmark.utils.common.Measurement object at {hex(id(self))}>", self.task_spec.summarize()]
        number = f"{self.median / scale:.2f} {unit}"
        n, threads = len(self.times), f"{self.num_threads} thread" + "s" * (self.num_threads > 1)
        if n == 1:
            lines.append(f"  {number}\n  1 measurement, {self.number_per_run} runs , {threads}")
            return "\n".join(lines)
        quartiles = f"{quantile(self._sorted, 0.25) / scale:.2f} to {quantile(self._sorted, 0.75) / scale:.2f}"
        lines.append(f"  Median: {number}\n  IQR:    {self.iqr / scale:.2f} {unit} ({quartiles})")
        lines.append(f"  {n} measurements, {self.number_per_run} runs per measurement, {threads}")
        if self.has_warnings:
            strength = "could indicate system fluctuation" if self.iqr / self.median < _IQR_GROSS_WARNING else "suggests significant"
            lines.append(f"  WARNING: Interquartile range is {100 * self.iqr / self.median:.1f}% of the median measurement.\n"
                         f"           This {strength}{' environmental influence' * strength.endswith('significant')}.")  # fmt: skip
        return "\n".join(lines)

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """Joins the measurements of the same task."""
        groups: dict[tuple[int, TaskSpec], list[float]] = {}
        for m in measurements:
            groups.setdefault((m.number_per_run, m.task_spec), []).extend(m.raw_times)
        return [Measurement(number, times, spec) for (number, spec), times in groups.items()]
