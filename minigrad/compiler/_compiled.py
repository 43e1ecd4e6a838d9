"""`mg.compile`: a function traced once per kind of arguments, and run as a plan from then on.

A call looks for an entry whose key fits (shapes, dtypes, layout and gradient needs of tensors, the values of everything else, the modes
that are switched on) and whose checks hold (nothing that the function reaches was replaced or switched). Otherwise the function is traced
anew. What cannot be traced runs eagerly, with the reason kept for `explain`; fullgraph=True makes that an error.
"""

from __future__ import annotations

import functools
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad._core import Tensor
from minigrad.func._tree import flatten

from ._entry import Entry, GaveUp

_LIMIT = 8  # compiled forms of one function; torch's recompile_limit


class _Now(threading.local):
    tracing = False


_now = _Now()


def is_compiling() -> bool:
    """Whether the calling code is being traced by `mg.compile`."""
    return _now.tracing


def _leaf_key(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return (leaf.dtype, leaf.device, tuple(leaf.shape), leaf.stride(), leaf.requires_grad, leaf.is_leaf)
    if leaf is None or isinstance(leaf, (bool, int, float, complex, str, bytes)):
        return (type(leaf), leaf)
    return (type(leaf), id(leaf))  # the entry keeps it alive


def _modes() -> tuple:
    return (
        mg.is_grad_enabled(), mg.is_inference_mode_enabled(), mg.get_default_dtype(), mg.is_autocast_enabled("cpu"),
        mg.get_autocast_dtype("cpu"), mg.are_deterministic_algorithms_enabled(),
    )  # fmt: skip


class CompiledFunction:
    """A compiled function: call it like the function.

    Attributes:
        fn: the function itself. entries: the compiled forms by key. reasons: why something ran eagerly, newest last.
    """

    def __init__(self, fn: Callable[..., Any], fullgraph: bool = False, limit: int | None = None) -> None:
        functools.update_wrapper(self, fn, updated=())
        self.fn, self.fullgraph, self.limit = fn, fullgraph, limit or _LIMIT
        self.entries: dict[Any, list[Entry]] = {}
        self.reasons: list[str] = []
        self.traces: list[float] = []  # seconds each
        self._hopeless: set[Any] = set()
        self._kept: list[Any] = []

    def __get__(self, owner: Any, kind: Any = None) -> Any:  # a decorated method
        return self if owner is None else functools.partial(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _now.tracing or _core.vmap_depth():  # inside of another compiled function, or of a transform
            return self.fn(*args, **kwargs)
        leaves, spec = flatten((args, kwargs))
        key = (repr(spec), tuple(map(_leaf_key, leaves)), _same(leaves), _modes())
        for entry in reversed(self.entries.get(key, ())):
            if entry.holds():
                return entry.run(leaves)
        entry = self._compile(key, args, kwargs, leaves)
        return self.fn(*args, **kwargs) if entry is None else entry.run(leaves)

    def _compile(self, key: Any, args: tuple, kwargs: dict, leaves: list[Any]) -> Entry | None:
        if key in self._hopeless:
            return None
        forms = sum(map(len, self.entries.values()))
        if forms >= self.limit:
            self._hopeless.add(key)
            self._note(f"{forms} compiled forms are the limit")
            warnings.warn(f"compile: {self._name()} reached its limit of {self.limit} compiled forms and runs eagerly for other arguments."
                          " compile.explain() says what changes from call to call.", stacklevel=3)  # fmt: skip
            return None
        start = time.perf_counter()
        _now.tracing = True
        try:
            entry = Entry(self.fn, args, kwargs, leaves)
        except GaveUp as reason:
            self._note(str(reason))
            self._hopeless.add(key)
            if self.fullgraph:
                raise RuntimeError(f"compile: fullgraph=True, but {self._name()} cannot be captured whole: {reason}") from reason.__cause__
            return None
        finally:
            _now.tracing = False
        self.traces.append(time.perf_counter() - start)
        self._kept += [leaf for leaf in leaves if not isinstance(leaf, Tensor)]
        self.entries.setdefault(key, []).append(entry)
        return entry

    def _note(self, reason: str) -> None:
        if reason not in self.reasons[-3:]:
            self.reasons.append(reason)

    def _name(self) -> str:
        return getattr(self.fn, "__qualname__", type(self.fn).__name__)


def _same(leaves: list[Any]) -> tuple:
    """Which tensors are one and the same: the position of each one's first appearance."""
    first: dict[int, int] = {}
    return tuple(first.setdefault(id(leaf), k) for k, leaf in enumerate(leaves) if isinstance(leaf, Tensor))


class Explanation:
    """What the compiler made of a function: its graphs, what ran eagerly and why."""

    def __init__(self, compiled: CompiledFunction) -> None:
        self.entries = [entry for entries in compiled.entries.values() for entry in entries]
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
