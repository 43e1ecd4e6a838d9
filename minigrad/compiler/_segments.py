"""Graph breaks: the ops between them as graphs, whatever Python stands around them.

A function that cannot be captured whole runs as it is written, each time, but its ops are deferred (csrc/graph/defer.h): what happened
since the last break is computed as one fused graph when somebody asks for a value, or at the function's end. Nothing is replayed, so
nothing about Python's state has to be known. `Pieces` decides by time between that, the modules as regions (_regions.py), and plain
eager.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad import _core

from ._code import backend, give_code, pending
from ._entry import UNPREDICTABLE
from ._regions import Regions

_ROUNDS = 4  # calls of each way that count
_WARM = {"segments": 3, "modules": 12, "eager": 2}  # calls of each way before that; regions try out their own forms meanwhile
_SLOWEST = 24  # calls after which segments that are still new each time are given up
_SLACK = 1.02
# Ops that are computed when they are called: their result's size depends on values, or Python is asked.
_ALONE = UNPREDICTABLE
# Ops whose kernels may refuse values: inside of try they are computed at once. Those that take indices are known by their dtype.
_PROBABILITIES = ("bernoulli", "binomial", "multinomial", "poisson")
_LINALG = [name for name, info in mg.op.registry.items() if "/ops/linalg/" in info.where.replace("\\", "/")]
_RAISING = [*_LINALG, *(name for name in mg.op.registry if name.strip("_") in _PROBABILITIES)]


class DeferredRuns:
    """A function's calls with its ops deferred.

    Attributes:
        segments: what it does between its breaks, and the plans for that.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self.segments = _core.Segments(self._make_plan, _ALONE, _RAISING)

    def _make_plan(self, graph: Any) -> Any:
        with backend(self._options.get("backend")):
            plan = _core.Plan(graph.optimized())
            if not self._options.get("prepack", True):
                plan.prepare_no_weights()
            give_code(plan)
        return plan

    def run_deferred(self, fn: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        """The function's result; everything that it made has been computed."""
        deferral = self.segments.begin()
        try:
            return fn(*args, **kwargs)
        finally:
            deferral.end()

    def describe(self) -> list[tuple[Any, str, int]]:
        """(graph, why the segment ends there, how often it ran) of each segment."""
        return [(plan.graph, reason, runs) for plan, reason, runs in self.segments.endings]


class Pieces:
    """How a function with breaks runs: 'segments', 'modules' or 'eager', whichever its first calls found to be fastest.

    Attributes:
        modules: the regions. deferred: the segments. choice: the way that it runs, None while that is tried out. verdict: in words.
    """

    def __init__(self, modules: Regions | None, options: dict[str, Any], forced: str | None) -> None:
        self.modules = modules
        self.deferred = DeferredRuns(options)
        self.choice = "eager" if forced == "modules" and modules is None else forced
        self.verdict = ""
        self._ways = ["segments", *(["modules"] if modules is not None else []), "eager"]
        self._warm = {way: 0 for way in self._ways}
        self._times: dict[str, list[float]] = {way: [] for way in self._ways}
        self._calls = 0

    def run(self, fn: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        """The function's result, one way or another."""
        if self.choice is not None:
            return self._run(self.choice, fn, args, kwargs)
        from minigrad._settings import are_deterministic_algorithms_enabled

        if are_deterministic_algorithms_enabled():  # what runs must not depend on a clock
            return self._run("segments", fn, args, kwargs)
        way = self._ways[self._calls % len(self._ways)]
        self._calls += 1
        made, busy = self.deferred.segments.plans, pending()
        start = time.perf_counter()
        result = self._run(way, fn, args, kwargs)
        spent = time.perf_counter() - start
        self._warm[way] += 1
        if self._warm[way] > _WARM[way] and self.deferred.segments.plans == made and not busy:
            self._times[way].append(spent)
        self._decide()
        return result

    def _run(self, way: str, fn: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        if way == "segments":
            return self.deferred.run_deferred(fn, args, kwargs)
        return fn(*args, **kwargs) if way == "eager" or self.modules is None else self.modules.run(fn, args, kwargs)

    def _decide(self) -> None:
        if self._warm["segments"] > _SLOWEST and len(self._times["segments"]) < _ROUNDS and "segments" in self._ways:
            self._ways.remove("segments")  # another program every time
        if any(len(self._times[way]) < _ROUNDS for way in self._ways):
            return
        usual = {way: (min(self._times[way]) + statistics.median(self._times[way])) / 2 for way in self._ways}
        best = min(usual, key=usual.__getitem__)
        self.choice = best if usual[best] * _SLACK < usual["eager"] else "eager"
        told = ", ".join(f"{usual[way] * 1e6:.1f} us {_WORDS[way]}" for way in self._ways)
        self.verdict = f"{told}: {_VERDICTS[self.choice]}"

    def prune(self) -> None:
        """Leave alone what trials found faster as it is."""
        if self.modules is not None:
            self.modules.prune()

    @property
    def pointless(self) -> bool:
        """Whether it runs as if it were not compiled."""
        self.prune()
        return self.choice == "eager" or (self.choice == "modules" and (self.modules is None or not self.modules.parts))


_WORDS = {"segments": "in segments", "modules": "with modules as regions", "eager": "eagerly"}
_VERDICTS = {"segments": "the segments stay", "modules": "the regions stay", "eager": "runs eagerly"}
