"""`mg.compile`: a function traced once per kind of arguments, and run as a plan from then on.

A call looks for an entry whose form fits (csrc/python/bind_form.cpp: shapes, dtypes, layout and gradient needs of tensors, the values of
everything else, the modes that are switched on, and nothing that the function reaches replaced or switched). Otherwise the function is
traced anew. What cannot be traced runs eagerly, with the reason kept for `explain`; fullgraph=True makes that an error.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from typing import Any

from minigrad import _core
from minigrad.compiler import _now

from ._entry import MISS, Entry, GaveUp

_LIMIT = 8  # compiled forms of one function; torch's recompile_limit


class CompiledFunction:
    """A compiled function: call it like the function.

    Attributes:
        fn: the function itself. entries: the compiled forms, newest first. reasons: why something ran eagerly, newest last.
    """

    def __init__(self, fn: Callable[..., Any], fullgraph: bool = False, limit: int | None = None) -> None:
        functools.update_wrapper(self, fn, updated=())
        self.fn, self.fullgraph, self.limit = fn, fullgraph, limit or _LIMIT
        self.entries: list[Entry] = []
        self.reasons: list[str] = []
        self.traces: list[float] = []  # seconds each
        self._hopeless: list[Any] = []  # forms of calls that cannot be traced
        self._warned = False

    def __get__(self, owner: Any, kind: Any = None) -> Any:  # a decorated method
        return self if owner is None else functools.partial(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _now.tracing or _core.vmap_depth():  # inside of another compiled function, or of a transform
            return self.fn(*args, **kwargs)
        for entry in self.entries:
            result = entry.run(args, kwargs)
            if result is not MISS:
                return result
        entry = self._compile(args, kwargs)
        return self.fn(*args, **kwargs) if entry is None else entry.run(args, kwargs)

    def _compile(self, args: tuple, kwargs: dict) -> Entry | None:
        if any(form.inputs(args, kwargs) is not None for form in self._hopeless):
            return None
        if len(self.entries) >= self.limit:
            self._note(f"{self.limit} compiled forms are the limit")
            if not self._warned:
                self._warned = True
                warnings.warn(f"compile: {self._name()} has {self.limit} compiled forms, the limit, and runs eagerly for other arguments. "
                              "minigrad.compiler.explain() shows the forms.", stacklevel=3)  # fmt: skip
            return None
        start = time.perf_counter()
        _now.tracing = True
        try:
            entry = Entry(self.fn, args, kwargs)
        except GaveUp as reason:
            self._note(str(reason))
            if self.fullgraph:
                raise RuntimeError(f"compile: fullgraph=True, but {self._name()} cannot be captured whole: {reason}") from reason.__cause__
            self._hopeless.append(_core.Form(args, kwargs))
            return None
        finally:
            _now.tracing = False
        self.traces.append(time.perf_counter() - start)
        self.entries.insert(0, entry)
        return entry

    def _note(self, reason: str) -> None:
        if reason not in self.reasons[-3:]:
            self.reasons.append(reason)

    def _name(self) -> str:
        return getattr(self.fn, "__qualname__", type(self.fn).__name__)


class Explanation:
    """What the compiler made of a function: its graphs, what ran eagerly and why."""

    def __init__(self, compiled: CompiledFunction) -> None:
        self.entries = list(reversed(compiled.entries))
        self.graphs = [entry.graph for entry in self.entries]
        self.reasons = list(compiled.reasons)
        self.seconds = list(compiled.traces)
        self.graph_count, self.graph_break_count = len(self.graphs), len(self.reasons)

    def __str__(self) -> str:
        lines = [f"{self.graph_count} compiled forms, traced in {sum(self.seconds) * 1e3:.1f} ms"]
        for k, entry in enumerate(self.entries):
            both = (entry.graph,) if entry.backward_graph is None else (entry.graph, entry.backward_graph)
            for name, graph in zip(("forward", "backward"), both):
                lines += [f"-- form {k}, {name}: {len(graph.calls)} calls", str(graph)]
        lines += [f"ran eagerly: {reason}" for reason in self.reasons]
        return "\n".join(lines)

    __repr__ = __str__


def explain(fn: Callable[..., Any]) -> Callable[..., Explanation]:
    """`explain(f)(*args)` compiles and runs `f` for these arguments and tells what came of it."""

    def run(*args: Any, **kwargs: Any) -> Explanation:
        compiled = fn if isinstance(fn, CompiledFunction) else CompiledFunction(fn)
        compiled(*args, **kwargs)
        return Explanation(compiled)

    return run
