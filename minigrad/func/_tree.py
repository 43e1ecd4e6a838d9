"""Nested containers of tensors: flatten to a list of leaves, build again, broadcast a prefix (in_dims=…) over them.

Lists, tuples, named tuples, dicts and ordered dicts are containers; everything else (also None) is a leaf, as in PyTorch.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

LEAF = None  # the spec of a leaf


class Spec:
    """Shape of a container: its type, the keys of a dict, the specs of its parts."""

    __slots__ = ("kind", "keys", "parts")

    def __init__(self, kind: type, keys: Any, parts: list) -> None:
        self.kind, self.keys, self.parts = kind, keys, parts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and (self.kind, self.keys, self.parts) == (other.kind, other.keys, other.parts)

    def __repr__(self) -> str:
        name = self.kind.__name__
        return f"{name}({', '.join('*' if p is LEAF else repr(p) for p in self.parts)})"


def _parts(tree: Any) -> tuple[Any, list] | None:
    """(keys, children) of a container, None for a leaf."""
    kind = type(tree)
    if kind in (dict, OrderedDict, defaultdict):
        return list(tree), list(tree.values())
    if kind in (list, tuple) or (isinstance(tree, tuple) and hasattr(kind, "_fields")):
        return None, list(tree)
    return None


def flatten(tree: Any) -> tuple[list, Any]:
    """(leaves, spec) of a tree."""
    found = _parts(tree)
    if found is None:
        return [tree], LEAF
    keys, children = found
    leaves, specs = [], []
    for child in children:
        more, spec = flatten(child)
        leaves += more
        specs.append(spec)
    return leaves, Spec(type(tree), keys, specs)


def unflatten(leaves: list, spec: Any) -> Any:
    """The tree of that spec with these leaves."""
    tree, rest = _build(leaves, 0, spec)
    if rest != len(leaves):
        raise ValueError(f"tree: got {len(leaves)} leaves for {spec}, expected {rest}")
    return tree


def _build(leaves: list, at: int, spec: Any) -> tuple[Any, int]:
    if spec is LEAF:
        return leaves[at], at + 1
    children = []
    for part in spec.parts:
        child, at = _build(leaves, at, part)
        children.append(child)
    if spec.keys is not None:
        pairs = zip(spec.keys, children)
        return (defaultdict(None, pairs) if spec.kind is defaultdict else spec.kind(pairs)), at
    if spec.kind in (list, tuple):
        return spec.kind(children), at
    return spec.kind(*children), at


def tree_map(fn: Callable, tree: Any) -> Any:
    """fn applied to every leaf."""
    leaves, spec = flatten(tree)
    return unflatten([fn(leaf) for leaf in leaves], spec)


def broadcast_prefix(prefix: Any, spec: Any) -> list | None:
    """One value per leaf of `spec` from a tree that is `spec` or stops earlier; None when they do not fit."""
    if spec is LEAF:
        return [prefix] if _parts(prefix) is None else None
    found = _parts(prefix)
    if found is None:
        return [prefix] * count(spec)
    keys, children = found
    if type(prefix) is not spec.kind or len(children) != len(spec.parts):
        return None
    if keys is not None:
        if set(keys) != set(spec.keys):
            return None
        children = [prefix[key] for key in spec.keys]
    out: list = []
    for child, part in zip(children, spec.parts):
        values = broadcast_prefix(child, part)
        if values is None:
            return None
        out += values
    return out


def count(spec: Any) -> int:
    """Number of leaves."""
    return 1 if spec is LEAF else sum(count(part) for part in spec.parts)
