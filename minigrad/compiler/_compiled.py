"""`mg.compile`: a function traced once per kind of arguments, and run as a plan from then on.

A call looks for an entry whose form fits (csrc/python/bind_form.cpp: shapes, dtypes, layout and gradient needs of tensors, the values of
everything else, the modes that are switched on, and nothing that the function reaches replaced or switched). Otherwise the function is
traced anew. What cannot be traced runs eagerly, with the reason kept for `explain`; fullgraph=True makes that an error. With `trial`, the
first calls of each form alternate between plan and function, and the faster one stays.
"""

from __future__ import annotations

import functools
import threading
import time
import types
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from minigrad import _core
from minigrad.compiler import _now

from ._code import backend, debug_level, show
from ._dynamic import Sizes
from ._entry import MISS, Entry
from ._reach import GaveUp
from ._regions import Regions
from ._segments import Pieces
from ._trial import Trial

_LIMIT = 8  # compiled forms of one function; torch's recompile_limit
_BUDGET = 60.0  # seconds of tracing per function; what comes later runs eagerly
_GIVEN_UP = 4  # calls of different kinds that could not be captured, before no more is tried
_HOPELESS = 64  # calls of one kind that could not be captured, likewise: no more looking for forms
_RETRIES = (2, 4, 8)  # calls after which an attempt that failed for a passing reason is repeated

_one_at_a_time = threading.RLock()  # parameters have no data while they are traced

every: weakref.WeakSet[CompiledFunction] = weakref.WeakSet()  # for reset()


class _Attempt:
    """A kind of call that could not be captured."""

    def __init__(self, form: Any, reason: GaveUp) -> None:
        self.form, self.later, self.calls = form, reason.later, 1
        self.is_error = reason.__cause__ is not None and not _is_break(reason)  # the function's own, perhaps

    def again(self) -> bool:
        """Whether this call is one to try once more."""
        self.calls += 1
        return self.later and self.calls in _RETRIES


class CompiledFunction:
    """A compiled function: call it like the function.

    Attributes:
        fn: the function itself. entries: the compiled forms, newest first. reasons: why something ran eagerly, newest last.
        recompiles: what was different when the function was traced again. sizes: which of the forms are one program at other sizes; those
            after the first are not among `entries`.
    """

    def __init__(self, fn: Callable[..., Any], fullgraph: bool = False, limit: int | None = None, *, dynamic: bool | None = None,
                 trial: bool = False, budget: float | None = None, options: dict[str, Any] | None = None) -> None:  # fmt: skip
        functools.update_wrapper(self, fn, updated=())
        self.fn, self.fullgraph, self.limit, self.dynamic = fn, fullgraph, limit or _LIMIT, dynamic
        self.trial, self.budget, self.options = trial, budget or _BUDGET, options or {}
        self._memory = float(self.options.get("activation_memory_budget", 1.0))
        every.add(self)
        self.reset()

    def reset(self) -> None:
        """Forget every compiled form."""
        self.entries: list[Entry] = []
        self.sizes = Sizes(self.dynamic)
        self.reasons: list[str] = []
        self.recompiles: list[str] = []
        self.traces: list[float] = []  # seconds each
        self._failed: list[_Attempt] = []  # kinds of calls that cannot be traced
        self.regions: Regions | None = None
        self.pieces: Pieces | None = None
        self._warned = False
        self._off = False

    def __get__(self, owner: Any, kind: Any = None) -> Any:  # a decorated method
        return self if owner is None else types.MethodType(self, owner)

    def __deepcopy__(self, memo: dict) -> CompiledFunction:
        import copy

        return CompiledFunction(copy.deepcopy(self.fn, memo), **self._settings())

    def __reduce__(self) -> tuple:
        return _rebuild, (self.fn, self._settings())

    def _settings(self) -> dict[str, Any]:
        return {"fullgraph": self.fullgraph, "limit": self.limit, "dynamic": self.dynamic, "trial": self.trial, "budget": self.budget,
                "options": self.options}  # fmt: skip

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _now.busy or _core.ops_are_watched():  # inside of another trace, or somebody wants to see each op
            return self.fn(*args, **kwargs)
        if self._off:
            return self._eagerly(args, kwargs)
        for entry in self.entries:
            result = entry.call(args, kwargs)
            if result is not MISS:
                return result
        if self.sizes.many:
            for entry in self.sizes.find(args, kwargs):
                result = entry.call(args, kwargs)
                if result is not MISS:
                    return result
            if self.sizes.waits(args, kwargs):
                return self._eagerly(args, kwargs)
        if not _one_at_a_time.acquire(blocking=False):  # another thread traces, maybe these parameters
            with _one_at_a_time:
                pass
            return self(*args, **kwargs)
        try:
            entry = self._compile(args, kwargs)
        finally:
            _one_at_a_time.release()
        if entry is not None:
            result = entry.call(args, kwargs)
            if result is not MISS:
                return result
            self.sizes.drop(entry)
            if entry in self.entries:
                self.entries.remove(entry)  # it depends on something that every call finds changed
            self._give_up(args, kwargs, GaveUp(f"what it depends on changes with every call: {entry.difference(args, kwargs)}"))
        return self._eagerly(args, kwargs)

    def _eagerly(self, args: tuple, kwargs: dict) -> Any:
        if self.pieces is not None:
            return self.pieces.run(self.fn, args, kwargs)
        return self.fn(*args, **kwargs)

    def _compile(self, args: tuple, kwargs: dict) -> Entry | None:
        earlier = next((attempt for attempt in self._failed if attempt.form.fits(args, kwargs)), None)
        if earlier is not None and not earlier.again():
            self._off = earlier.calls > _HOPELESS and not self.entries and not self.sizes.families
            return None
        if _now.stance != "default":
            return self._by_stance()
        if self._used_up():
            return None
        if self.entries:
            self._note(self.entries[0].difference(args, kwargs), self.recompiles)
        start = time.perf_counter()
        _now.tracing = _now.busy = True
        try:
            with backend(self.options.get("backend")):
                look = not any(e.form.values_changed for e in self.entries)
                entry = self._kind(self.fn, args, kwargs, look=look, memory=self._memory)
        except GaveUp as reason:
            _now.tracing = _now.busy = False
            return self._give_up(args, kwargs, reason, earlier)
        finally:
            _now.tracing = _now.busy = False
            self.traces.append(time.perf_counter() - start)
        if (own := self.options.get("own")) is not None:
            try:
                entry.build(own, args, kwargs, self.options["given"])
            except GaveUp as reason:
                return self._give_up(args, kwargs, reason, earlier)
            self.entries.insert(0, entry)
            return entry
        if not self.options.get("prepack", True):
            for plan in filter(None, (entry.plan, entry.backward)):
                plan.prepare_no_weights()
        if debug_level():
            show(entry, self._name())
        if earlier is not None:
            self._failed.remove(earlier)
        if self.trial and entry.on_cpu and self._memory >= 1:  # who asks for less memory gets it, whatever it costs
            Trial(entry)
        elif self.options.get("mode") == "reduce-overhead" and not entry.on_cpu:
            from ._cudagraphs import Replay

            Replay(entry)
        if not self.sizes.adopt(entry, args, kwargs):
            self.entries.insert(0, entry)
        return entry

    @property
    def _kind(self) -> type[Entry]:
        if "own" not in self.options:
            return Entry
        from ._backends import OwnEntry

        return OwnEntry

    def _by_stance(self) -> None:
        if _now.stance == "fail_on_recompile":
            raise RuntimeError(f"compile: {self._name()} would have to be compiled, and the stance is 'fail_on_recompile'")

    def _used_up(self) -> bool:
        reason = ""
        if len(self.entries) >= self.limit and not self.sizes.many:
            reason = f"has {self.limit} compiled forms, the limit"
        elif sum(self.traces) > self.budget:
            reason = f"has been traced for {sum(self.traces):.1f} s, its budget,"
        if not reason:
            return False
        self._note(f"it {reason.rstrip(',')}", self.reasons)
        if not self._warned:
            self._warned = True
            why = f" Last recompilation: {self.recompiles[-1]}." if self.recompiles else ""
            warnings.warn(f"compile: {self._name()} {reason} and runs eagerly for other arguments.{why} "
                          "minigrad.compiler.explain() shows the forms.", stacklevel=4)  # fmt: skip
        return True

    def _give_up(self, args: tuple, kwargs: dict, reason: GaveUp, earlier: _Attempt | None = None) -> None:
        self._note(str(reason), self.reasons)
        if self.fullgraph:
            if reason.__cause__ is not None and not _is_break(reason):
                self.fn(*args, **kwargs)  # an error of the function's own comes out as it is
            raise RuntimeError(f"compile: fullgraph=True, but {self._name()} cannot be captured whole: {reason}") from reason.__cause__
        passing = reason.later and earlier is None  # a cache that is filled once, maybe
        if self.pieces is None and not passing and (reason.__cause__ is None or _is_break(reason)):
            regions = Regions(self.fn, args, kwargs, lambda f: CompiledFunction(f, **{**self._settings(), "fullgraph": False}))
            self.regions = regions if regions.parts else None
            self.pieces = Pieces(self.regions, self.options, self.options.get("pieces", None if self.trial else "modules"))
        if earlier is None:
            self._failed.append(_Attempt(_core.Form(args, kwargs), reason))
        if sum(not attempt.is_error for attempt in self._failed) >= _GIVEN_UP and not self.entries:
            self._off = True
            self._failed.clear()

    @property
    def pointless(self) -> bool:
        """Whether it was found to be faster eagerly in every form, or never captured."""
        if self.pieces is not None and not self.pieces.pointless:
            return False
        return all(entry.call == entry.run_function for entry in self.entries)

    @staticmethod
    def _note(reason: str, where: list[str]) -> None:
        if reason not in where[-3:]:
            where.append(reason)

    def _name(self) -> str:
        return getattr(self.fn, "__qualname__", type(self.fn).__name__)


def _is_break(reason: GaveUp) -> bool:
    return "asked for" in str(reason) or "size of its result" in str(reason)


def _rebuild(fn: Callable[..., Any], settings: dict[str, Any]) -> CompiledFunction:
    return CompiledFunction(fn, **settings)


class Explanation:
    """What the compiler made of a function: its graphs, what ran eagerly and why."""

    def __init__(self, compiled: CompiledFunction) -> None:
        self.entries = list(reversed(compiled.entries))
        self.graphs = [entry.graph for entry in self.entries]
        self.reasons = self.break_reasons = list(compiled.reasons)
        self.recompiles = list(compiled.recompiles)
        self.seconds, self.sizes = list(compiled.traces), compiled.sizes
        self.regions = [] if compiled.regions is None else [(name, Explanation(part)) for _, name, part in compiled.regions.parts]
        pieces = compiled.pieces
        self.segments = [] if pieces is None or pieces.choice in ("modules", "eager") else pieces.deferred.describe()
        self.pieces_verdict = "" if pieces is None else pieces.verdict
        self.graphs += [graph for _, region in self.regions for graph in region.graphs]
        self.graphs += [graph for graph, _, _ in self.segments]
        self.graph_count, self.graph_break_count = len(self.graphs), len(self.reasons)
        self.op_count = sum(len(graph.calls) for graph in self.graphs)

    def __str__(self) -> str:
        lines = [f"{len(self.entries)} compiled forms, traced in {sum(self.seconds) * 1e3:.1f} ms"]
        for k, entry in enumerate(self.entries):
            both = (entry.graph,) if entry.backward_graph is None else (entry.graph, entry.backward_graph)
            kept = sum(plan.prepared_bytes for plan in (entry.plan, entry.backward) if plan is not None)
            weights = f"; keeps {kept / 2**20:.1f} MiB made of weights" if kept else ""
            lines += [f"-- form {k}: {entry.form.guards} guards{entry.verdict}{weights}"]
            for name, graph in zip(("forward", "backward"), both):
                lines += [f"-- form {k}, {name}: {len(graph.calls)} calls", _with_lines(graph)]
        for family in self.sizes.families:
            if family.n_sizes > 1:
                lines += [f"-- one program at {family.n_sizes} sizes, s0, s1 …:", family.text]
        lines += [f"sizes apart: {note}" for note in self.sizes.notes]
        lines += [f"traced again: {reason}" for reason in self.recompiles]
        lines += [f"ran eagerly: {reason}" for reason in self.reasons]
        if self.pieces_verdict:
            lines.append(f"between the breaks: {self.pieces_verdict}")
        for k, (graph, reason, runs) in enumerate(self.segments):
            lines += [f"-- segment {k}: {len(graph.calls)} calls, ran {runs} times, ends with {reason}", _with_lines(graph)]
        for name, region in self.regions:
            lines += [f"-- region {name}:", *("   " + line for line in str(region).split("\n"))]
        return "\n".join(lines)

    __repr__ = __str__


def _with_lines(graph: Any) -> str:
    """The graph's text with the user's line beside the calls, where it changes."""
    import os

    text, last, lines = str(graph), "", {}
    for call in graph.calls:
        if call["line"] and call["line"] != last:
            last = call["line"]
            path, _, function = last.partition(" in ")
            lines[call["text"]] = f"{os.path.basename(path)} in {function}"
    return "\n".join(f"{line}    # {lines.pop(line.strip())}" if line.strip() in lines else line for line in text.split("\n"))


def explain(fn: Callable[..., Any], *first: Any, **options: Any) -> Any:
    """`explain(f)(*args)` compiles and runs `f` for these arguments and tells what came of it; `explain(f, *args)` does so at once."""

    def run(*args: Any, **kwargs: Any) -> Explanation:
        inner = getattr(fn, "_compiled", fn)
        compiled = inner if isinstance(inner, CompiledFunction) else CompiledFunction(fn)
        compiled(*args, **kwargs)
        return Explanation(compiled)

    return run(*first, **options) if first or options else run
