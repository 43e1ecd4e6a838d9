"""Equal elements: an unstable sort or a median may name another index than PyTorch, if the value there is the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compare import Tolerance, difference, values, worst
from .convert import Case, dtype_name

# Entry -> position of `dim` among the arguments.
TIED = {"sort": 1, "argsort": 1, "topk": 2, "kthvalue": 2, "median": 1, "nanmedian": 1, "mode": 1}


def tie_difference(name: str, case: Case, actual: Any, expected: Any, tol: Tolerance, found: str) -> str | None:
    """None when the selected values agree; `found` (the difference seen before) otherwise."""
    if name == "argsort":
        if case.kwargs.get("stable"):
            return found
        indices, theirs, selected = actual, expected, None
    else:
        if not isinstance(expected, tuple) or len(actual) != 2 or case.kwargs.get("stable"):
            return found
        selected, indices, theirs = expected[0], actual[1], expected[1]
        if difference(actual[0], selected, tol) is not None:
            return found
    if tuple(indices.shape) != tuple(theirs.shape) or dtype_name(indices.dtype) != "int64":
        return found
    every = [case.input, *case.args]
    position = TIED[name]
    dim = case.kwargs.get("dim", every[position] if len(every) > position and isinstance(every[position], int) else -1)
    x, ours, other = values(case.input), values(indices), values(theirs)
    if x.ndim == 0:
        return None if int(ours) == 0 else found
    if ours.ndim < x.ndim:
        ours, other = np.expand_dims(ours, dim), np.expand_dims(other, dim)
    if ours.size and (ours.min() < 0 or ours.max() >= x.shape[dim]):
        return found
    chosen, wanted = np.take_along_axis(x, ours, dim), np.take_along_axis(x, other, dim)
    return worst(chosen, wanted, dtype_name(case.input.dtype), tol, "selected values") and found
