"""The door from nn.functional to the op registry.

`own(fn)` keeps the Python body `fn` only while the registry has no op of that name: a later native op takes over
without an edit here, and the body stays reachable as `fn.composite` … the oracle of its test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad.op import functions


def registered(name: str) -> Callable[..., Any]:
    """The op `name` of the registry, looked up at the first call when it is not declared yet."""
    found = functions.get(name)
    if found is not None:
        return found

    def late(*args: Any, **kwargs: Any) -> Any:
        op = functions.get(name)
        if op is None:
            raise NotImplementedError(f"{name}: not in the op registry of this build")
        return op(*args, **kwargs)

    late.__name__ = name
    return late
