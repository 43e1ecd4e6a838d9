"""`out=`: written and returned, whatever its strides; resized when it is empty; other dtypes accepted or refused as in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import minigrad as mg

from .compare import Tolerance, difference
from .convert import Case, NoCounterpart, Rebuild

OTHER_DTYPES = (torch.float32, torch.float64, torch.int64)


def _targets(result: torch.Tensor) -> dict[str, torch.Tensor]:
    """Kinds of out= tensors for one result."""
    shape, dtype = tuple(result.shape), result.dtype
    found = {"the result's shape": torch.empty(shape, dtype=dtype), "shape (0,)": torch.empty(0, dtype=dtype)}
    if result.dim():
        found["stride 2"] = torch.empty((*shape[:-1], 2 * shape[-1]), dtype=dtype)[..., ::2]
    for other in OTHER_DTYPES:
        if other != dtype:
            found[str(other)] = torch.empty(shape, dtype=other)
    return found


def out_difference(
    theirs: Callable[..., Any], ours: Callable[..., Any], case: Case, rebind: Any, tol: Tolerance, random: bool
) -> str | None:
    """What differs first between the two libraries' `out=` forms of the case."""
    args, kwargs = Rebuild(torch, rebind).case(case)
    result = theirs(*args, **kwargs)
    results = result if isinstance(result, (tuple, list)) else (result,)
    if not results or not all(isinstance(r, torch.Tensor) for r in results):
        return None
    kinds = [_targets(r) for r in results]
    for kind in kinds[0]:
        if all(kind in k for k in kinds):
            targets = [k[kind] for k in kinds]
            castable = all(torch.can_cast(r.dtype, t.dtype) and r.dtype != t.dtype for r, t in zip(results, targets))
            found = _one(theirs, ours, case, rebind, tol, random, targets, isinstance(result, (tuple, list)), castable, results)
            if found is not None:
                return f"out= of {kind}: {found}"
    return None


def _one(
    theirs: Callable[..., Any], ours: Callable[..., Any], case: Case, rebind: Any, tol: Tolerance, random: bool,
    targets: list[torch.Tensor], several: bool, castable: bool, results: Any,
) -> str | None:  # fmt: skip
    our_targets = [Rebuild(mg, rebind)(t) for t in targets]
    args, kwargs = Rebuild(torch, rebind).case(case)
    error = None
    try:
        theirs(*args, **kwargs, out=tuple(targets) if several else targets[0])
    except Exception as caught:
        error = caught
    args, kwargs = Rebuild(mg, rebind).case(case)
    strides = [tuple(t.stride()) for t in our_targets]
    shapes = [tuple(t.shape) for t in our_targets]
    try:
        returned = ours(*args, **kwargs, out=tuple(our_targets) if several else our_targets[0])
    except AttributeError as absent:
        raise NoCounterpart(str(absent)) from absent
    except Exception as caught:
        brief = " ".join(str(caught).split())[:200]
        return None if error is not None else f"raised {type(caught).__name__}: {brief}"
    if error is not None:
        if castable:  # PyTorch is of two minds here: add(out=) casts, abs(out=) raises
            return None
        return f"accepted; PyTorch raises {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    for k, (got, want) in enumerate(zip(our_targets, targets)):
        # A wider target holds a value of the result's own precision.
        if castable and results[k].is_floating_point() and results[k].element_size() < want.element_size():
            got_value, want_value = got.to(getattr(mg, str(results[k].dtype).split(".")[1])), want.to(results[k].dtype)
        else:
            got_value, want_value = got, want
        if (found := difference(got_value, want_value, tol, not random, f"out {k}")) is not None:
            return found
        if tuple(got.shape) == shapes[k] and tuple(got.stride()) != strides[k]:
            return f"out {k} has other strides after the call"
        if (returned[k] if several else returned) is not got:
            return f"out {k} is not what the call returns"
    return None
