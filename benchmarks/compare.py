"""Two libraries on the same work: equal weights, results compared, then rounds in turn. Used by cpu.py's worker process.

`times()` runs the libraries one after the other within a round, in changing order, so that a drift of the machine meets both; before each
sample it waits until the threads of the other library have gone to sleep. A ratio is torch's time / ours, of the same round.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import models

SETTLE = 0.004  # seconds: torch's OpenMP threads spin for about a millisecond after their last region
SAMPLE = 0.02  # a sample repeats short calls until it lasts this long


class ResultsDiffer(Exception):
    """The libraries computed different things: no time is worth reporting."""


def array(x: Any) -> np.ndarray:
    """float64 values of a tensor of either library."""
    return np.asarray(x.detach().double().numpy())


def difference(ours: Any, theirs: Any) -> float:
    """Norm of the difference relative to the norm of `theirs`."""
    a, b = array(ours), array(theirs)
    if a.shape != b.shape:
        raise ResultsDiffer(f"shapes {a.shape} and {b.shape}")
    return float(np.linalg.norm(a - b) / (np.linalg.norm(b) + 1e-30)) if b.size else 0.0


def expect_close(what: str, ours: Any, theirs: Any, limit: float) -> float:
    """The relative difference, or ResultsDiffer where it exceeds `limit` (or is NaN)."""
    d = difference(ours, theirs)
    if not d <= limit:
        raise ResultsDiffer(f"{what}: relative difference {d:.1e}, allowed {limit:.0e}")
    return d


def copy_weights(source: Any, target: Any, torch: Any) -> None:
    """Parameters and buffers of our model into torch's of the same structure."""
    with torch.no_grad():
        state = target.state_dict()
        for name, value in source.state_dict().items():
            state[name].copy_(torch.from_numpy(np.array(value.detach().numpy())))


def check_model(libraries: dict[str, Any], works: dict[str, models.Work]) -> float:
    """Same loss, same gradients, and the same loss again after two steps of the optimizer; dropout is off meanwhile. Returns the largest
    relative difference of a gradient (of the output, for inference)."""
    ours, theirs, torch = works["minigrad"], works["torch"], libraries["torch"]
    copy_weights(ours.model, theirs.model, torch)
    if ours.optimizer is None:
        return expect_close("output", *(models.step(libraries[n], works[n]) for n in ("minigrad", "torch")), 1e-4)
    dropouts = [(m, m.p) for n in works for m in works[n].model.modules() if isinstance(m, libraries[n].nn.Dropout)]
    for module, _ in dropouts:
        module.p = 0.0
    worst = 0.0
    for k in range(3):
        losses = [models.step(libraries[n], works[n]) for n in ("minigrad", "torch")]
        # later steps start from weights where Adam has turned rounding differences of tiny gradients into differences of its step size
        expect_close(f"loss of step {k}", *losses, 1e-5 if k == 0 else 5e-3)
        if k == 0:
            grads = {n: p.grad for n, p in theirs.model.named_parameters()}
            scale = float(np.sqrt(sum(np.square(array(g)).sum() for g in grads.values())))
            for name, p in ours.model.named_parameters():
                # relative to the parameter's gradient, or to the whole where it is zero but for rounding (a bias before a normalisation)
                d = np.linalg.norm(array(p.grad) - array(grads[name])) / max(np.linalg.norm(array(grads[name])), 1e-4 * scale)
                worst = max(worst, float(d))
                if not d <= 1e-3:
                    raise ResultsDiffer(f"gradient of {name}: relative difference {d:.1e}")
    for module, p in dropouts:
        module.p = p
    return worst


@dataclass
class Times:
    """Seconds per call by library, one entry per round."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """Median seconds of a call."""
        return statistics.median(self.seconds[name])

    def ratio(self, name: str) -> tuple[float, float, float]:
        """(lower quartile, median, upper quartile) of the rounds' ratios time of `name` / ours."""
        q = sorted(t / o for o, t in zip(self.seconds["minigrad"], self.seconds[name]))
        return q[len(q) // 4], statistics.median(q), q[(3 * len(q)) // 4]


def times(calls: dict[str, Callable[[], Any]], rounds: int, seconds: float) -> Times:
    """Time every library's call `rounds` times, at most about `seconds` in all (but at least 3 rounds)."""
    repeat: dict[str, int] = {}
    for name, call in calls.items():  # warm up, then see how long one takes
        call()
        start = time.perf_counter()
        call()
        once = max(time.perf_counter() - start, 1e-7)
        repeat[name] = max(1, min(10_000, int(SAMPLE / once)))
    result = Times({name: [] for name in calls})
    order = list(calls)
    began = time.perf_counter()
    for r in range(rounds):
        for name in order if r % 2 == 0 else order[::-1]:
            time.sleep(SETTLE)
            if repeat[name] > 1:  # wakes our or their threads and brings the operands back to the cache
                calls[name]()
            call, n = calls[name], repeat[name]
            start = time.perf_counter()
            for _ in range(n):
                call()
            result.seconds[name].append((time.perf_counter() - start) / n)
        if r >= 2 and time.perf_counter() - began > seconds:
            break
    return result
