"""First and second gradients of a case in either library, for the same fixed random cotangents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

import minigrad as mg

from .compare import Tolerance, difference
from .convert import Case, Rebuild, tensors


@dataclass
class Gradients:
    """Gradients by leaf (None: no dependence), and what both sides must share: which outputs, which cotangents."""

    found: list[Any]
    outputs: list[int]
    cotangents: list[torch.Tensor]
    likes: list[Any]
    second_outputs: list[int] | None = None
    second_cotangents: list[torch.Tensor] | None = None


def _cotangents(outputs: list[Any], offset: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(17 + offset)
    return [torch.randn(o.shape, dtype=o.dtype, generator=generator) for o in outputs]


def _first(module: Any, f: Callable[..., Any], rebuild: Rebuild, case: Case, ref: Gradients | None, again: bool) -> Any:
    """(first gradients, leaves, cotangents as leaves) in `module`; None where nothing requires a gradient."""
    args, kwargs = rebuild.case(case)
    every = list(tensors(f(*args, **kwargs), module.Tensor))
    if ref is None:
        chosen = [i for i, t in enumerate(every) if t.requires_grad]
        cotangents = _cotangents([every[i] for i in chosen], 0)
    else:
        chosen, cotangents = ref.outputs, ref.cotangents
        if chosen and chosen[-1] >= len(every):
            raise RuntimeError(f"{len(every)} outputs, PyTorch has a gradient for output {chosen[-1]}")
    make = Rebuild(module, rebuild.rebind, True)
    theirs = [make(c.requires_grad_(again)) for c in cotangents]
    pairs = [(every[i], c) for i, c in zip(chosen, theirs) if every[i].requires_grad]
    if not pairs or not rebuild.leaves:
        return None
    outs, cots = [p[0] for p in pairs], [p[1] for p in pairs]
    for o, c in pairs:
        if tuple(o.shape) != tuple(c.shape):
            raise RuntimeError(f"output has shape {tuple(o.shape)}, PyTorch's {tuple(c.shape)}")
    found = module.autograd.grad(outs, rebuild.leaves, cots, create_graph=again, allow_unused=True)
    return Gradients(list(found), chosen, cotangents, list(rebuild.leaves)), theirs


def first_gradients(module: Any, f: Callable[..., Any], rebuild: Rebuild, case: Case, ref: Gradients | None) -> Gradients | None:
    """Gradients of the outputs for every leaf of the case."""
    done = _first(module, f, rebuild, case, ref, False)
    return None if done is None else done[0]


def second_gradients(module: Any, f: Callable[..., Any], rebuild: Rebuild, case: Case, ref: Gradients | None) -> Gradients | None:
    """Gradients of the first gradients, for every leaf and every cotangent; None where the first ones are constant."""
    done = _first(module, f, rebuild, case, ref, True)
    if done is None:
        return None
    first, theirs = done
    if ref is None:
        chosen = [i for i, t in enumerate(first.found) if t is not None and t.requires_grad]
        second = _cotangents([first.found[i] for i in chosen], 1)
        if not chosen:
            return None
    else:
        chosen, second = ref.second_outputs, ref.second_cotangents
    make = Rebuild(module, rebuild.rebind)
    wanted = rebuild.leaves + theirs
    pairs = [(first.found[i], make(c)) for i, c in zip(chosen, second) if first.found[i] is not None and first.found[i].requires_grad]
    found: list[Any] = [None] * len(wanted)
    if pairs:
        found = list(module.autograd.grad([p[0] for p in pairs], wanted, [p[1] for p in pairs], allow_unused=True))
    return Gradients(found, first.outputs, first.cotangents, wanted, chosen, second)


def gradient_difference(actual: Gradients, expected: Gradients, tol: Tolerance, exact_values: bool) -> str | None:
    """What differs first; None equals zeros."""
    if len(actual.found) != len(expected.found):
        return f"{len(actual.found)} inputs require a gradient, expected {len(expected.found)}"
    for i, (a, e) in enumerate(zip(actual.found, expected.found)):
        if a is None and e is None:
            continue
        like = expected.likes[i].detach()
        if a is None:
            a = mg.zeros(tuple(like.shape), dtype=getattr(mg, str(like.dtype).rsplit(".", 1)[-1]))
        if e is None:
            e = torch.zeros_like(like)
        if (found := difference(a, e.detach(), tol, exact_values, f"gradient {i}")) is not None:
            return found
    return None
