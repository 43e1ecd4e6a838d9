"""What a trace has to be for its graph to stand for the function: each check raises `GaveUp` with the reason."""

from __future__ import annotations

import gc
from typing import Any

from minigrad import _core
from minigrad._core import Tensor

from ._pytree import LEAF, flatten
from ._reach import GaveUp, Reach
from ._witness import Witness


def containers_of(tree: Any) -> list:
    """Lists, dicts and dataclasses of a tree."""
    found: list[Any] = []
    flatten(tree, found)
    return [c for c in found if not isinstance(c, tuple)]


def refuse(leaves: list) -> None:
    """Raise GaveUp for arguments that no replay could stand for."""
    for leaf in leaves:
        if isinstance(leaf, Tensor) and _core.any_overrides((leaf,)):
            raise GaveUp(f"an argument is a {type(leaf).__name__}, whose __torch_function__ wants to see each op")
        if hasattr(type(leaf), "__next__"):
            raise GaveUp(f"an argument is a {type(leaf).__name__}, which moves on when it is read. Try a list")
        if type(leaf).__module__ == "numpy" and getattr(leaf, "ndim", 0):
            raise GaveUp("an argument is a NumPy array, whose elements may change. Try a tensor")


def unchanged(given: Any, leaves: list, spec: Any) -> None:
    """Raise GaveUp when the function changed a container among its arguments."""
    now, now_spec = flatten(given)
    if len(now) != len(leaves) or any(a is not b for a, b in zip(now, leaves)) or repr_of(spec) != repr_of(now_spec):
        raise GaveUp("a list, dict or dataclass among the arguments was changed. Try returning the new one")


def repr_of(spec: Any) -> Any:
    """A spec as plain data, to compare."""
    return None if spec is LEAF else (spec.kind, spec.keys, [repr_of(part) for part in spec.parts])


def no_effects(witness: Witness, reach: Reach, needs: list[bool], bare: list[Tensor]) -> None:
    """Raise GaveUp when Python's state changed; it is then as it was before."""
    dressed = [t for t in bare if _core.attributes_of(t)]
    for t in dressed:
        t.__dict__.clear()
    if dressed:
        raise GaveUp("an attribute of a tensor from outside was set", later=True)
    changed = [t for t, before in zip(reach.tensors, needs) if t.requires_grad != before]
    for t in changed:
        t.requires_grad_(not t.requires_grad)
    if changed:
        raise GaveUp("requires_grad of a tensor from outside was changed", later=True)
    if reach.capped:
        raise GaveUp("the function reaches more Python state than can be watched for changes")
    effects = witness.effects(put_back=True)
    if effects:
        raise GaveUp(f"Python state changed, which a replay would not repeat: {effects}", later=True)


def no_history_is_needed(witness: Witness, inside: list[Tensor]) -> None:
    """Arguments with a history are traced as if they had none."""
    if any(t.grad is not None for t in inside):
        raise GaveUp("backward() goes on into the history of an argument")
    if inside and (asked := {"is_leaf", "grad_fn"} & witness.names):
        raise GaveUp(f"{min(asked)} of an argument with a history is asked for, maybe")
    if asked := {"_version", "_base", "_is_view"} & witness.names:
        raise GaveUp(f"{min(asked)} of a tensor is asked for, maybe")


def nothing_escaped(trace: Any) -> None:
    """Raise GaveUp when a tensor of the trace is kept somewhere."""
    if trace.escaped:
        gc.collect()  # a cycle may hold what nobody can reach
    if trace.escaped:
        raise GaveUp("a tensor that the function makes is kept outside of it, somewhere in Python. Try returning it", later=True)
