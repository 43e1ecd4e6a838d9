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
    reset,
)  # noqa: F401

config = _Config()


def graph_break(msg: str = "") -> None:
    """Nothing to break."""


def disallow_in_graph(fn: Any) -> Any:
    """The function itself."""
    return fn


def forbid_in_graph(fn: Any) -> Any:
    """The function itself."""
    return fn


def mark_dynamic(t: Any, index: Any, *args: Any, **kwargs: Any) -> None:
    """Nothing to mark."""


def mark_static(t: Any, index: Any = None) -> None:
    """Nothing to mark."""


def mark_static_address(t: Any, guard: bool = False) -> None:
    """Nothing to mark."""


maybe_mark_dynamic = mark_dynamic


def optimize(*args: Any, **kwargs: Any) -> Any:
    """A decorator that returns its function: it runs eagerly."""
    return lambda fn: fn


class OptimizedModule:
    """The type of a compiled module in PyTorch; nothing is one here."""


class utils:  # noqa: N801  torch._dynamo.utils, as far as programs reset counters
    """Counters of the compiler: empty."""

    counters: dict[str, Any] = {}


__all__ = ["allow_in_graph", "assume_constant_result", "config", "disable", "disallow_in_graph", "forbid_in_graph", "graph_break",
           "is_compiling", "list_backends", "mark_dynamic", "mark_static", "mark_static_address",
           "maybe_mark_dynamic", "optimize", "OptimizedModule",
           "reset"]  # fmt: skip
