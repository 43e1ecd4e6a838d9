"""Line search for the strong Wolfe conditions by cubic interpolation (Nocedal and Wright, Numerical Optimization, algorithms 3.5, 3.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import minigrad as mg

Tensor = mg.Tensor


class Trial(NamedTuple):
    """A step length with the loss, the gradient and the slope along the direction found there."""

    t: Any
    loss: float
    grad: Tensor
    slope: Any


def cubic_minimum(a: Trial, b: Trial, bounds: tuple[Any, Any] | None = None) -> Any:
    """The minimiser of the cubic through two trials with their slopes, inside `bounds` (default: between them)."""
    low, high = bounds if bounds is not None else (min(a.t, b.t), max(a.t, b.t))
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1**2 - a.slope * b.slope
    if square < 0:
        return (low + high) / 2.0
    d2 = square**0.5
    left, right = (a, b) if a.t <= b.t else (b, a)
    best = right.t - (right.t - left.t) * ((right.slope + d2 - d1) / (right.slope - left.slope + 2 * d2))
    return min(max(best, low), high)


def strong_wolfe(
    evaluate: Callable[[Any], tuple[float, Tensor]],
    t: Any,
    direction: Tensor,
    loss: float,
    grad: Tensor,
    slope: Any,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
    max_trials: int = 25,
) -> tuple[float, Tensor, Any, int]:
    """A step length with sufficient decrease and a flat enough slope.

    Args:
        evaluate: (loss, flat gradient) at a step length.
        t: first step length to try.
        direction: where to go, flat.
        loss, grad, slope: loss, flat gradient and slope at 0.
        c1, c2: constants of the conditions.
        tolerance_change: the bracket is small enough when no parameter moves more than this in it.
        max_trials: number of evaluations after the first.

    Returns:
        loss, gradient and step length of the best trial, and the number of evaluations.
    """
    start = Trial(0, loss, grad.clone(), slope)
    search = _Search(evaluate, direction, start, c1, c2)
    bracket, trials = search.bracket(t, max_trials)
    best = bracket[0] if len(bracket) == 1 else search.zoom(bracket, trials, max_trials, tolerance_change)
    return best.loss, best.grad, best.t, search.evaluations


class _Search:
    def __init__(self, evaluate: Any, direction: Tensor, start: Trial, c1: float, c2: float) -> None:
        self.evaluate, self.direction, self.start, self.c1, self.c2 = evaluate, direction, start, c1, c2
        self.evaluations = 0

    def at(self, t: Any) -> Trial:
        self.evaluations += 1
        loss, grad = self.evaluate(t)
        return Trial(t, loss, grad.clone(), grad.dot(self.direction))

    def too_high(self, trial: Trial) -> bool:
        return bool(trial.loss > self.start.loss + self.c1 * trial.t * self.start.slope)

    def flat(self, trial: Trial) -> bool:
        return bool(abs(trial.slope) <= -self.c2 * self.start.slope)

    def bracket(self, t: Any, max_trials: int) -> tuple[list[Trial], int]:
        """Go further until a minimum lies between two trials, or one meets the conditions (then it stands alone)."""
        last, new = self.start, self.at(t)
        for trials in range(max_trials):
            if self.too_high(new) or (trials > 1 and new.loss >= last.loss):
                return [last, new], trials
            if self.flat(new):
                return [new], trials
            if new.slope >= 0:
                return [last, new], trials
            t = cubic_minimum(last, new, (new.t + 0.01 * (new.t - last.t), new.t * 10))
            last, new = new, self.at(t)
        return [self.start, new], max_trials

    def zoom(self, bracket: list[Trial], trials: int, max_trials: int, tolerance: float) -> Trial:
        """Make the bracket smaller until a trial meets the conditions; returns its lower end."""
        low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
        largest = self.direction.abs().max()
        stuck = False
        while trials < max_trials and not abs(bracket[1].t - bracket[0].t) * largest < tolerance:
            t = cubic_minimum(bracket[0], bracket[1])
            left, right = min(bracket[0].t, bracket[1].t), max(bracket[0].t, bracket[1].t)
            margin = 0.1 * (right - left)
            # A trial at the edge of the bracket, twice in a row or outside, is moved in by a tenth.
            if min(right - t, t - left) < margin:
                if stuck or t >= right or t <= left:
                    t = right - margin if abs(t - right) < abs(t - left) else left + margin
                    stuck = False
                else:
                    stuck = True
            else:
                stuck = False
            new = self.at(t)
            trials += 1
            if self.too_high(new) or new.loss >= bracket[low].loss:
                bracket[high] = new
                low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
                continue
            done = self.flat(new)
            if not done and new.slope * (bracket[high].t - bracket[low].t) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = new
            if done:
                break
        return bracket[low]
