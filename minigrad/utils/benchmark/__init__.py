"""Timing of small pieces of code: `Timer`, `Measurement`, `Compare`, with PyTorch's names.

    t = Timer("x @ x", globals={"x": minigrad.randn(64, 64)})
    print(t.blocked_autorange())
"""

from minigrad.utils.benchmark.compare import Compare
from minigrad.utils.benchmark.measurement import (
    Measurement,
    TaskSpec,
    select_unit,
    trim_sigfig,
    unit_to_english,
)
from minigrad.utils.benchmark.timer import Language, Timer, timer

__all__ = ["Compare", "Language", "Measurement", "TaskSpec", "Timer", "select_unit", "timer", "trim_sigfig", "unit_to_english"]
