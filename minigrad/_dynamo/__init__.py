"""torch._dynamo's names that eager programs touch; see minigrad.compiler."""

from __future__ import annotations

from typing import Any

from minigrad.compiler import (
    _Config,
    allow_in_graph,
    assume_constant_result,
    disable,
    is_compiling,
    list_backends,
    lookup_backend,
    mark_dynamic,
    mark_static,
    register_backend,
    reset,
)  # noqa: F401

config = _Config()


def graph_break(msg: str = "") -> None:
    """End a capture here: the function that is being compiled is not one graph."""
    if is_compiling():
        from minigrad.compiler._api import stop

        stop(f"graph_break({msg!r})" if msg else "graph_break()")


def disallow_in_graph(fn: Any) -> Any:
    """The function as one that is never captured."""
    return disable(fn)


def forbid_in_graph(fn: Any) -> Any:
    """The function itself."""
    return fn


def mark_static_address(t: Any, guard: bool = False) -> None:
    """Nothing to mark."""


maybe_mark_dynamic = mark_dynamic


def optimize(backend: Any = "inductor", *, nopython: bool = False, dynamic: bool | None = None, **kwargs: Any) -> Any:
    """`minigrad.compile` as a decorator."""
    from minigrad._settings import compile as build

    return build(backend=backend, fullgraph=nopython, dynamic=dynamic)


def explain(fn: Any, *args: Any, **kwargs: Any) -> Any:
    """See `minigrad.compiler.explain`."""
    from minigrad.compiler._compiled import explain as of_compiler

    return of_compiler(fn, *args, **kwargs)


def __getattr__(name: str) -> Any:
    if name == "OptimizedModule":  # it needs nn
        from minigrad.compiler._api import OptimizedModule

        return OptimizedModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class utils:  # noqa: N801  torch._dynamo.utils, as far as programs reset counters
    """Counters of the compiler: empty."""

    counters: dict[str, Any] = {}


__all__ = ["allow_in_graph", "assume_constant_result", "config", "disable", "disallow_in_graph", "explain", "forbid_in_graph",
           "graph_break", "is_compiling", "list_backends", "lookup_backend", "mark_dynamic", "mark_static", "mark_static_address",
           "maybe_mark_dynamic", "optimize", "OptimizedModule",
           "register_backend", "reset"]  # fmt: skip
