"""torch.fx.node: the names that annotations use."""

from __future__ import annotations

from typing import Any

from minigrad.fx import Node, has_side_effect, map_arg  # noqa: F401

Target = Argument = BaseArgumentTypes = Any
base_types = (str, int, float, bool, complex)


def map_aggregate(a: Any, fn: Any) -> Any:
    """fn applied to the leaves of tuples, lists, dicts and slices."""
    if isinstance(a, tuple):
        items = [map_aggregate(item, fn) for item in a]
        return type(a)(*items) if hasattr(a, "_fields") else tuple(items)
    if isinstance(a, list):
        return [map_aggregate(item, fn) for item in a]
    if isinstance(a, dict):
        return {key: map_aggregate(item, fn) for key, item in a.items()}
    if isinstance(a, slice):
        return slice(map_aggregate(a.start, fn), map_aggregate(a.stop, fn), map_aggregate(a.step, fn))
    return fn(a)
