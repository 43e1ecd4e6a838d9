"""Never slower: the first calls of a compiled form go to the plan and to the function by turns, and the faster of the two stays.

Either gives the call's result, so a trial costs nothing but the slower one's time in a few calls. Under
use_deterministic_algorithms() there is no trial: which one runs must not depend on the clock.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from ._code import pending

_ROUNDS = 4  # calls of each that count; one of each before does not
_MOST = 12  # when the shortest times say one thing and the usual ones another
_CLEAR = 0.8  # so much faster after two rounds is enough
_SLACK = 1.02


class Trial:
    """Stands in for `entry.call` until it is decided."""

    def __init__(self, entry: Any) -> None:
        from minigrad._settings import are_deterministic_algorithms_enabled

        self.entry = entry
        self.turn = 0
        self.plan: list[float] = []
        self.eager: list[float] = []
        if not are_deterministic_algorithms_enabled():
            entry.call = self.call

    def call(self, args: tuple, kwargs: dict) -> Any:
        """The result of the call, from one or the other."""
        entry = self.entry
        if self.turn > 0 and pending():  # its code is not all there, and the processor is shared with the compiler
            return entry.run(args, kwargs)
        eager = self.turn % 2 == 1
        start = time.perf_counter()
        result = entry.run_function(args, kwargs) if eager else entry.run(args, kwargs)
        spent = time.perf_counter() - start
        if result is entry.MISS:
            return result
        self.turn += 1
        if self.turn > 2:
            (self.eager if eager else self.plan).append(spent)
        if self.eager:
            self._decide()
        return result

    def _decide(self) -> None:
        plan, eager, rounds = min(self.plan), min(self.eager), len(self.eager)
        if rounds < 2 or (rounds < _ROUNDS and plan > eager * _CLEAR):
            return
        keep = plan <= eager * _SLACK
        usual = statistics.median(self.plan) <= statistics.median(self.eager) * _SLACK
        if keep != usual and rounds < _MOST:  # something else ran meanwhile
            return
        times = f"{plan * 1e6:.1f} us as a plan, {eager * 1e6:.1f} us eagerly"
        self.entry.verdict = f"; {times}: {'the plan stays' if keep else 'runs eagerly'}"
        self.entry.call = self.entry.run if keep else self.entry.run_function
