"""torch.fx's names for eager programs: `wrap` works (it marks nothing), symbolic tracing is not there and says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad.nn import Module

__all__ = ["CodeGen", "Graph", "GraphModule", "Interpreter", "Node", "Proxy", "PH", "ProxyableClassMeta", "Tracer", "Transformer",
           "has_side_effect", "map_arg", "replace_pattern", "subgraph_rewriter", "symbolic_trace", "wrap"]  # fmt: skip


def wrap(fn_or_name: str | Callable) -> str | Callable:
    """The function (or name) itself: in PyTorch it marks a leaf for the tracer."""
    if not isinstance(fn_or_name, str) and not callable(fn_or_name):
        raise RuntimeError("Unsupported type for global function! Must be either a callable or string name")
    return fn_or_name


def has_side_effect(fn: Callable) -> Callable:
    """The function itself."""
    return fn


def _refuse(name: str) -> Any:
    raise NotImplementedError(f"fx.{name}: minigrad has no symbolic tracer. Try the eager module.")


def symbolic_trace(root: Any, concrete_args: dict[str, Any] | None = None) -> Any:
    """Not here.

    Raises:
        NotImplementedError: always.
    """
    _refuse("symbolic_trace")


def replace_pattern(gm: Any, pattern: Any, replacement: Any) -> Any:
    """Not here: raises NotImplementedError."""
    _refuse("replace_pattern")


def map_arg(a: Any, fn: Callable) -> Any:
    """Not here: raises NotImplementedError."""
    _refuse("map_arg")


class _Absent:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse(type(self).__name__)


class GraphModule(Module):
    """A module made by the tracer; nothing is one here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse("GraphModule")


class Graph(_Absent):
    """A traced program; nothing is one here."""


class Node(_Absent):
    """A step of a traced program; nothing is one here."""


class Proxy(_Absent):
    """A value while tracing; nothing is one here, so `isinstance(x, fx.Proxy)` is False."""


class Tracer(_Absent):
    """The tracer."""


class Interpreter(_Absent):
    """Runs a traced program."""


class Transformer(_Absent):
    """Rewrites a traced program."""


class CodeGen(_Absent):
    """Writes a traced program as Python."""


class ProxyableClassMeta(type):
    """Metaclass of classes whose construction may be traced; an ordinary one here."""


class _PlaceholderArgument:
    def __repr__(self) -> str:
        return "PH"


PH = _PlaceholderArgument()
