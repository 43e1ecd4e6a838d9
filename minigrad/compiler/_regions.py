"""Graph breaks: what of a function is captured all the same when the whole of it cannot be.

A function that asks for a value, prints, or changes Python state runs eagerly, and the modules it calls are its regions: while it runs,
each outermost module that it reaches has a compiled forward. A module whose forward cannot be captured either is divided in the same way,
so the graphs are as large as the breaks allow, and everything between them happens as it is written. Modules that turn out to be faster
eagerly are left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad.nn import Module

from ._pytree import flatten
from ._reach import Reach


class Regions:
    """The compiled modules of a function that is not captured whole.

    Attributes:
        parts: (module, its path, its compiled forward).
    """

    def __init__(self, fn: Callable[..., Any], args: tuple, kwargs: dict, make: Callable[..., Any]) -> None:
        self.parts: list[tuple[Module, str, Any]] = []
        self._calls = 0
        reach = Reach(fn, {str(k): leaf for k, leaf in enumerate(flatten((args, kwargs))[0])})
        owner = fn if isinstance(fn, Module) else getattr(fn, "__self__", None)
        below = {id(inner) for module in reach.modules if module is not owner for inner in module.modules() if inner is not module}
        names = {id(node.thing): node.label for node in reach.nodes.values() if node.kind == "module"}
        for module in reach.modules:
            if module is owner or id(module) in below or "forward" in module.__dict__ or type(module).forward is Module.forward:
                continue
            if owner is not None and isinstance(owner, Module) and any(inner is owner for inner in module.modules()):
                continue
            self.parts.append((module, names.get(id(module), ""), make(module.forward)))

    def prune(self) -> None:
        """Leave alone what trials found faster as it is."""
        self.parts = [part for part in self.parts if not part[2].pointless]

    def run(self, fn: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        """The function's result, its modules running as graphs."""
        put = []
        self._calls += 1
        if self._calls in (16, 64):
            self.prune()
        try:
            for module, _, forward in self.parts:
                if "forward" not in module.__dict__:
                    module.__dict__["forward"] = forward
                    put.append(module)
            return fn(*args, **kwargs)
        finally:
            for module in put:
                module.__dict__.pop("forward", None)
