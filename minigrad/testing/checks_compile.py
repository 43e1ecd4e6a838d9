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


def compiled_llvm(info: Any) -> None:
    """The op between pointwise ops that fuse with it (and its gradients with theirs), on machine code made by LLVM."""
    from minigrad.compiler._compiled import CompiledFunction
    from minigrad.compiler.codegen import llvm, native

    if not llvm.available():
        raise Skip("needs llvmlite")
    dtypes = accepted_dtypes(info)
    if not dtypes or writes(info):
        raise Skip(info.info.get("no_samples_reason") or "no samples, or none that can be called twice")
    dtype = "float32" if "float32" in dtypes else dtypes[0]
    found = [s for s in samples(info, dtype) if s.specs()]
    if not found:
        raise Skip("no samples with tensors")

    def neighbours(*args: Any, **kwargs: Any) -> Any:
        results = as_tuple(info.function(*args, **kwargs))
        return tuple(r * 0.5 + r.abs() if r.dtype.is_floating_point else r for r in results)

    with native.using("wait"):
        for sample in found[:: max(1, len(found) // 2)]:
            eager = CompiledFunction(neighbours, trial=False)
            _compare(info, eager, sample, dtype, neighbours)
    if eager.reasons:
        raise Skip(f"runs eagerly: {eager.reasons[-1]}")


def _compare(info: Any, function: Any, sample: Sample, dtype: str, plain: Any = None) -> None:
    graph = not writes(info) and not info.info.get("no_grad_reason") and (info.differentiable or info.composite)
    found = []
    for f in (plain or info.function, function, function):
        args, kwargs, leaves = tensors(info, sample, requires_grad=graph)
        mg.manual_seed(0)
        results = as_tuple(f(*args, **kwargs))
        found.append((results, _gradients(results, leaves)))
    for what, at in (("value", 0), ("gradient", 1)):
        want = found[0][at]
        for got in (found[1][at], found[2][at]):
            exact = at == 0 and plain is None
            tolerance = 1e-9 if dtype == "float64" else 2e-5
            equal = len(got) == len(want) and all(_equal(a, b, exact, tolerance) for a, b in zip(got, want))
            assert equal, message(info.name, sample, dtype, "compiled", f"the {what} differs: got {got}, expected {want}")


def _equal(a: Any, b: Any, exact: bool, tolerance: float) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return same(a, b) or (not exact and mg.allclose(a.detach(), b.detach(), rtol=tolerance, atol=tolerance * 1e-3, equal_nan=True))
