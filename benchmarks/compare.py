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

from benchmarks import cpu_kernels, models

SETTLE = 0.004  # seconds: torch's OpenMP threads spin for about a millisecond after their last region
SAMPLE = 0.02  # a sample repeats short calls until it lasts this long


class ResultsDiffer(Exception):
    """The libraries computed different things: no time is worth reporting."""


def array(x: Any) -> np.ndarray:
    """float64 values of a tensor of either library."""
    return np.asarray(x.detach().cpu().double().numpy())


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


def results_of(call: Callable[[], Any]) -> tuple[Any, ...]:
    """What an op's call returns, as a tuple."""
    r = call()
    return r if isinstance(r, tuple) else (r,)


def check_op(calls: dict[str, Callable[[], Any]], limit: float) -> float:
    """The largest relative difference of a result between ours and torch's, or ResultsDiffer."""
    pairs = enumerate(zip(results_of(calls["minigrad"]), results_of(calls["torch"])))
    return max(expect_close(f"result {i}", a, b, limit) for i, (a, b) in pairs)


def without_dropout(library: Any, work: models.Work) -> list[tuple[Any, float]]:
    """Switches dropout off (its random numbers differ between libraries); returns what to restore."""
    found = [(m, m.p) for m in work.model.modules() if isinstance(m, library.nn.Dropout)]
    for module, _ in found:
        module.p = 0.0
    return found


def gradients(library: Any, work: models.Work) -> dict[str, np.ndarray]:
    """Gradients of the loss by parameter name; of inference the output."""
    if work.optimizer is None:
        return {"output": array(models.step(library, work))}
    work.optimizer.zero_grad()
    work.loss().backward()
    return {n: array(p.grad) for n, p in work.model.named_parameters()}


def gradient_difference(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """The largest over the parameters: relative to the parameter's gradient, or to the whole where that is zero but for rounding (a bias
    before a normalisation)."""
    floor = 1e-4 * float(np.sqrt(sum(np.square(g).sum() for g in b.values())))
    return max(float(np.linalg.norm(a[n] - b[n]) / max(np.linalg.norm(b[n]), floor, 1e-30)) for n in b)


def reference_gradients(torch: Any, name: str, work: models.Work, tiny: bool) -> dict[str, np.ndarray]:
    """The gradients in float64, by torch, from the weights of `work`."""
    torch.set_default_dtype(torch.float64)
    try:
        reference = models.MODELS[name](torch, tiny)
        reference.model.load_state_dict(work.model.state_dict())
        without_dropout(torch, reference)
        return gradients(torch, reference)
    finally:
        torch.set_default_dtype(torch.float32)


def check_model(libraries: dict[str, Any], name: str, works: dict[str, models.Work], tiny: bool) -> float:
    """Same loss and gradients, and the same loss again after two steps of the optimizer; dropout is off meanwhile. Gradients that differ by
    more than rounding explains (units of a ReLU flip where its input is rounded to the other side of zero, a few in a million) must be as
    close to float64's as torch's are, or within a hundredth. Returns the largest relative difference of a gradient (inference: output)."""
    ours, theirs, torch = works["minigrad"], works["torch"], libraries["torch"]
    copy_weights(ours.model, theirs.model, torch)
    off = [pair for n in works for pair in without_dropout(libraries[n], works[n])]
    of = {n: gradients(libraries[n], works[n]) for n in works}
    worst = gradient_difference(of["minigrad"], of["torch"])
    if not worst <= 1e-4:
        truth = reference_gradients(torch, name, theirs, tiny)
        error, error_torch = (gradient_difference(of[n], truth) for n in ("minigrad", "torch"))
        if not error <= max(2 * error_torch, 1e-2):
            raise ResultsDiffer(f"gradients: error against float64 {error:.1e}, torch's {error_torch:.1e}")
    if ours.optimizer is not None:
        for k in range(3):
            # later steps start from weights where Adam has turned rounding differences of tiny gradients into differences of its step size
            expect_close(f"loss of step {k}", *(models.step(libraries[n], works[n]) for n in works), 1e-5 if k == 0 else 5e-3)
    for module, p in off:
        module.p = p
    return worst


def errors(libraries: dict[str, Any], name: str, tiny: bool) -> tuple[float, float]:
    """(ours, torch's) largest relative error against float64, of a case's results and gradients."""
    torch = libraries["torch"]
    if name in models.MODELS:
        works = {n: models.MODELS[name](m, tiny) for n, m in libraries.items()}
        copy_weights(works["minigrad"].model, works["torch"].model, torch)
        for n in works:
            without_dropout(libraries[n], works[n])
        truth = reference_gradients(torch, name, works["torch"], tiny)
        return tuple(gradient_difference(gradients(libraries[n], works[n]), truth) for n in works)
    case = cpu_kernels.CASES[name]
    torch.set_default_dtype(torch.float64)
    try:
        truth = [array(r) for r in results_of(case.make(torch))]
    finally:
        torch.set_default_dtype(torch.float32)
    pairs = {n: zip(results_of(case.make(m)), truth) for n, m in libraries.items()}
    return tuple(max(float(np.linalg.norm(array(a) - t) / (np.linalg.norm(t) + 1e-30)) for a, t in p) for p in pairs.values())


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
