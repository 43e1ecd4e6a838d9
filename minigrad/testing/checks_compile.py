"""The compiler: an op captured in a graph and run from it gives what it gives by itself, forwards and backwards."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.testing.calls import Skip, accepted_dtypes, as_tuple, same, tensors, writes
from minigrad.testing.compare import message
from minigrad.testing.samples import Sample, samples


def _gradients(results: tuple[Any, ...], leaves: list[Any]) -> list[Any]:
    roots = [r for r in results if r.requires_grad]
    if not roots:
        return []
    return [g for g in mg.autograd.grad(roots, leaves, [mg.ones_like(r) for r in roots], allow_unused=True) if g is not None]


def compiled(info: Any) -> None:
    """Samples run twice through one compiled function, against the plain call with the same random numbers."""
    from minigrad.compiler._compiled import CompiledFunction

    dtypes = accepted_dtypes(info)
    if not dtypes:
        raise Skip(info.info.get("no_samples_reason") or "no samples")
    dtype = "float64" if "float64" in dtypes else dtypes[0]
    found = [s for s in samples(info, dtype) if s.specs()]
    eager = CompiledFunction(info.function)
    for sample in found[:: max(1, len(found) // 6)]:
        eager = CompiledFunction(info.function)
        _compare(info, eager, sample, dtype)
    if eager.reasons:
        raise Skip(f"runs eagerly: {eager.reasons[-1]}")


def _compare(info: Any, function: Any, sample: Sample, dtype: str) -> None:
    graph = not writes(info) and not info.info.get("no_grad_reason") and (info.differentiable or info.composite)
    found = []
    for f in (info.function, function, function):
        args, kwargs, leaves = tensors(info, sample, requires_grad=graph)
        mg.manual_seed(0)
        results = as_tuple(f(*args, **kwargs))
        found.append((results, _gradients(results, leaves)))
    for what, at in (("value", 0), ("gradient", 1)):
        want = found[0][at]
        for got in (found[1][at], found[2][at]):
            equal = len(got) == len(want) and all(_equal(a, b, exact=at == 0) for a, b in zip(got, want))
            assert equal, message(info.name, sample, dtype, "compiled", f"the {what} differs: got {got}, expected {want}")


def _equal(a: Any, b: Any, exact: bool) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return same(a, b) or (not exact and mg.allclose(a.detach(), b.detach(), rtol=1e-9, atol=1e-12, equal_nan=True))
