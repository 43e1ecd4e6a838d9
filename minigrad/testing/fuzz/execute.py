"""Runs a program on a module and records what every step gave: a snapshot of the result, or the error.

Snapshots are NumPy copies, taken right after the step and again at the end, when all tensors of the program are still alive: a write
that reached memory it should not have shows up there.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LARGEST = 3_000_000  # elements; a program stops at a larger result, which would only measure the memory


class Stop(Exception):
    """Ends a program early (a result too large to look at)."""


class Invalid(Exception):
    """The program itself is wrong: a name that no step defined (only while shrinking)."""


@dataclass
class Snapshot:
    """A tensor's visible state."""

    dtype: str
    shape: tuple[int, ...]
    values: np.ndarray | None
    requires_grad: bool


@dataclass
class Outcome:
    """What a step gave: `value` (snapshots in the structure of the result), or the error's class and text."""

    label: str
    value: Any = None
    error: str = ""
    text: str = ""


@dataclass
class Record:
    """All outcomes, then the final state of every tensor and of the gradients."""

    outcomes: list[Outcome] = field(default_factory=list)
    final: list[Any] = field(default_factory=list)
    grads: list[Any] = field(default_factory=list)
    stopped: bool = False


def snapshot(t: Any, module: Any) -> Snapshot:
    """State of a tensor of either library, as NumPy."""
    name, shape = str(t.dtype).rsplit(".", 1)[-1], tuple(t.shape)
    plain = t.detach().to_dense() if t.is_sparse else t.detach()
    if name == "bfloat16":
        plain = plain.to(module.float32)
    elif name.startswith("complex") and hasattr(plain, "resolve_conj"):
        plain = plain.resolve_conj().resolve_neg() if hasattr(plain, "resolve_neg") else plain.resolve_conj()
    try:
        values = np.array(plain.numpy())
    except ValueError:  # sizes that NumPy cannot express, without elements
        values = np.empty(0)
    return Snapshot(name, shape, values, bool(t.requires_grad))


def describe(value: Any, module: Any, depth: int = 0) -> Any:
    """Snapshots in the structure of `value`; what is neither tensor nor number becomes its type's name."""
    if isinstance(value, module.Tensor):
        return snapshot(value, module)
    if isinstance(value, (list, tuple)) and depth < 3:
        return [describe(x, module, depth + 1) for x in value]
    if value is None or isinstance(value, (bool, int, float, complex, str)):
        return value
    return type(value).__name__


def _too_large(value: Any, module: Any) -> bool:
    if isinstance(value, module.Tensor):
        return value.numel() > LARGEST
    return isinstance(value, (list, tuple)) and (len(value) > 10_000 or any(_too_large(x, module) for x in value))


def compiled(source: str) -> Callable[..., None]:
    """The function `program` of the source."""
    space: dict[str, Any] = {"np": np, "inf": float("inf"), "nan": float("nan")}
    exec(compile(source, "<fuzz>", "exec"), space)
    return space["program"]


def run(program: Callable[..., None], module: Any, light: bool = False) -> Record:
    """Run a program.

    Args:
        program: function of (m, step).
        module: minigrad or torch.
        light: record errors only (nothing is compared, e.g. for ops that only minigrad has).
    Returns:
        the Record.
    """
    record, alive = Record(), []

    def step(label: str, make: Callable[[], Any]) -> Any:
        try:
            value = make()
            if _too_large(value, module):
                record.outcomes.append(Outcome(label, "large"))
                record.stopped = True
                raise Stop
            record.outcomes.append(Outcome(label, None if light else describe(value, module)))
            alive.append(value)
            return value
        except Stop:
            raise
        except NameError as error:
            raise Invalid(str(error)) from None
        except RecursionError as error:
            record.outcomes.append(Outcome(label, None, "RecursionError", str(error)))
        except Exception as error:
            record.outcomes.append(Outcome(label, None, type(error).__name__, str(error)))
        alive.append(None)
        return None

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        module.manual_seed(0)
        try:
            program(module, step)
        except Stop:
            return record
        if not light:
            record.final = [describe(x, module) for x in alive]
            record.grads = [_gradient(x, module) for x in alive]
    return record


def _gradient(x: Any, module: Any) -> Any:
    if isinstance(x, module.Tensor) and x.requires_grad and x.is_leaf and x.grad is not None:
        return snapshot(x.grad, module)
    return None
