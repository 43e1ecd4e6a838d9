"""torch.autograd.profiler_util: the classes of the profiler's results."""

from __future__ import annotations

from minigrad.profiler.events import EventList, FunctionEvent, FunctionEventAvg, Interval

__all__ = ["EventList", "FunctionEvent", "FunctionEventAvg", "Interval"]
