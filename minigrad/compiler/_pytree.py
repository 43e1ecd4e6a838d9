"""Containers in arguments and results of compiled functions, in the order in which csrc/python/form_shape.cpp walks them.

Lists, tuples, named tuples, dicts, ordered and default dicts and dataclasses are containers; everything else is a leaf. A dataclass is
built again by copying it and setting its fields, so `__init__` and `__post_init__` do not run twice; dict-like ones are built by their
class.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import OrderedDict, defaultdict
from typing import Any

LEAF = None


class Spec:
    """Shape of a container: its type, the keys of a dict or fields of a dataclass, its parts' specs, and a dataclass's other state."""

    __slots__ = ("kind", "keys", "parts", "model")

    def __init__(self, kind: type, keys: Any, parts: list, model: Any = None) -> None:
        self.kind, self.keys, self.parts, self.model = kind, keys, parts, model


def is_record(tree: Any) -> bool:
    """Whether it is an instance of a dataclass that stands for its fields."""
    kind = type(tree)
    return hasattr(kind, "__dataclass_fields__") and not isinstance(tree, type) and not hasattr(kind, "forward")


def parts_of(tree: Any) -> tuple[Any, list] | None:
    """(keys, children) of a container, None for a leaf."""
    kind = type(tree)
    if kind in (list, tuple) or (isinstance(tree, tuple) and hasattr(kind, "_fields")):
        return None, list(tree)
    if kind in (dict, OrderedDict, defaultdict):
        return list(tree), list(tree.values())
    if is_record(tree):
        names = [field.name for field in dataclasses.fields(tree)]
        return (names, [getattr(tree, name, None) for name in names]) if names else None
    return None


def flatten(tree: Any, containers: list | None = None) -> tuple[list, Any]:
    """(leaves, spec) of a tree; the containers that were met are appended to `containers`."""
    found = parts_of(tree)
    if found is None:
        return [tree], LEAF
    if containers is not None:
        containers.append(tree)
    keys, children = found
    leaves, specs = [], []
    for child in children:
        more, spec = flatten(child, containers)
        leaves += more
        specs.append(spec)
    return leaves, Spec(type(tree), keys, specs, _model(tree, keys) if is_record(tree) else getattr(tree, "default_factory", None))


def _model(tree: Any, names: list[str]) -> Any:
    if isinstance(tree, dict):
        return None
    model = copy.copy(tree)
    for name in names:
        object.__setattr__(model, name, None)
    return model


def unflatten(leaves: list, spec: Any) -> Any:
    """The tree of that spec with these leaves."""
    return _build(iter(leaves), spec)


def _build(leaves: Any, spec: Any) -> Any:
    if spec is LEAF:
        return next(leaves)
    children = [_build(leaves, part) for part in spec.parts]
    if spec.keys is None:
        return spec.kind(children) if spec.kind in (list, tuple) else spec.kind(*children)
    pairs = zip(spec.keys, children)
    if spec.kind is defaultdict:
        return defaultdict(spec.model, pairs)
    if spec.model is not None:
        record = copy.copy(spec.model)
        for name, value in pairs:
            object.__setattr__(record, name, value)
        return record
    if hasattr(spec.kind, "__dataclass_fields__"):  # a dict that is a dataclass too
        return spec.kind(**{name: value for name, value in pairs if value is not None})
    return spec.kind(pairs)
