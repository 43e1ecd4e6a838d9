"""What a function can reach: Python's state in its arguments, closure, globals, `self`, defaults and classes, as a graph of places.

The compiler needs it three times. Before a trace, to know the modules, optimizers, schedulers and tensors, and to remember the state. After
it, to see whether the function changed something that a replay would not change again, and then to put everything back (the function runs
eagerly next, and must not have happened twice). And for the guards: what the code read by name has to be the same at every replay.

Nodes are namespaces (`__dict__`s, globals), contents (lists, dicts, sets, deques), closure cells, slots, classes and functions. An edge has
the name under which the code would come to the next node, None where no name is needed; only what is reached by names that occur in
code that ran is guarded.
"""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import Callable
from typing import Any

from minigrad import _core
from minigrad._core import Tensor
from minigrad.nn import Module
from minigrad.optim import Optimizer
from minigrad.optim.lr_scheduler import LRScheduler

_MOST = 20000  # nodes; a function that reaches more is not watched to the end
_LONG = 512  # entries of a container whose elements are looked into
_PLAIN = (int, float, complex, str, bytes, type(None), range, slice, type(Ellipsis), _core.dtype, _core.device)
_NOT_OURS = {"logging", "threading", "importlib", "_pytest", "pluggy", "unittest", "numpy", "torch", "weakref", "abc", "typing"}
MISSING = object()


class GaveUp(BaseException):
    """The function cannot be replayed whole; the text says why. `later`: another call may be luckier. Not an Exception: the function that
    is traced must not catch it."""

    def __init__(self, reason: str, later: bool = False) -> None:
        super().__init__(reason)
        self.later = later


def is_plain(value: Any) -> bool:
    """Numbers, strings and what is compared like them."""
    return isinstance(value, _PLAIN) or (type(value) is tuple and all(is_plain(v) for v in value))


def shown(value: Any) -> str:
    """A value in a few words."""
    return "nothing" if value is MISSING else _core.in_words(value)


class Node:
    """A place of state; `before` is what it held when it was first seen."""

    __slots__ = ("kind", "thing", "before", "label", "edges")

    def __init__(self, kind: str, thing: Any, before: Any, label: str) -> None:
        self.kind, self.thing, self.before, self.label = kind, thing, before, label
        self.edges: list[tuple[str | None, Node]] = []


class Reach:
    """Everything of interest that `function` and `values` (name -> value) lead to.

    Attributes:
        modules: every module with its path. optimizers, schedulers: as found. tensors: likewise.
        places: id of a tensor -> (holder, key, label); reading the place again shows whether it was replaced.
        capped: there was more than is watched.
    """

    def __init__(self, function: Callable[..., Any], values: dict[str, Any]) -> None:
        self.modules: list[Module] = []
        self.optimizers: list[Optimizer] = []
        self.schedulers: list[LRScheduler] = []
        self.places: dict[int, tuple[Any, Any, str]] = {}
        self.tensors: list[Tensor] = []
        self.capped = False
        self.nodes: dict[int, Node] = {}
        self._globals: dict[int, Node] = {}
        self._queue: deque[Node] = deque()
        self.root = Node("root", None, None, "")
        for name, value in values.items():
            self._edge(self.root, None, value, None, None, name)
        self._edge(self.root, None, function, None, None, "self")
        self._run()

    # ---- walking ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._queue:
            if len(self.nodes) > _MOST:
                self.capped = True
                self._queue.clear()
                return
            node = self._queue.popleft()
            getattr(self, "_expand_" + node.kind)(node)

    def _new(self, kind: str, thing: Any, before: Any, label: str) -> Node:
        node = Node(kind, thing, before, label)
        self.nodes[id(thing)] = node
        self._queue.append(node)
        return node

    def _edge(self, parent: Node, name: str | None, value: Any, holder: Any, key: Any, label: str) -> None:
        if isinstance(value, Tensor):
            if holder is not None and id(value) not in self.places:
                self.places[id(value)] = (holder, key, label)
                self.tensors.append(value)
            elif id(value) not in self.places and not any(value is t for t in self.tensors):
                self.tensors.append(value)
            return
        node = self._see(value, label)
        if node is not None:
            parent.edges.append((name, node))

    def _see(self, value: Any, label: str) -> Node | None:
        if isinstance(value, _PLAIN) or id(value) in self.nodes:
            return self.nodes.get(id(value))
        if isinstance(value, type):
            own = value.__module__.partition(".")[0] not in ("builtins", "minigrad", "collections", *_NOT_OURS)
            return self._new("class", value, {k: v for k, v in vars(value).items() if is_plain(v)}, value.__name__) if own else None
        if isinstance(value, types.ModuleType):
            return self._module_of_python(value)
        if isinstance(value, (list, dict, set, deque)):
            return self._new("contents", value, dict(value) if isinstance(value, dict) else list(value), label)
        if isinstance(value, tuple):
            return self._new("tuple", value, None, label)
        if isinstance(value, Module):
            return self._new("module", value, dict(value.__dict__), label)
        if type(value).__name__ == "CompiledFunction" and type(value).__module__ == "minigrad.compiler._compiled":
            return self._see(value.fn, label)  # its forms are no state of the program
        if isinstance(value, functools._lru_cache_wrapper):
            return self._new("cached", value, value.cache_info().currsize, label)
        if isinstance(value, (types.FunctionType, types.MethodType, functools.partial, staticmethod, classmethod)):
            return self._new("function", value, None, label)
        if type(value).__module__ == "numpy" and hasattr(value, "dtype"):
            return None if getattr(value, "ndim", 0) == 0 else self._new("array", value, None, label)
        if hasattr(type(value), "__next__"):
            return self._new("iterator", value, None, label)
        if type(value).__module__.partition(".")[0] in _NOT_OURS:
            return None
        if isinstance(getattr(value, "__dict__", None), dict) or any("__slots__" in vars(c) for c in type(value).__mro__[:-1]):
            return self._new("object", value, self._state(value), label)
        return None

    @staticmethod
    def _state(value: Any) -> dict[str, Any]:
        state = dict(getattr(value, "__dict__", None) or {})
        for kind in type(value).__mro__:
            slots = vars(kind).get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if name not in ("__dict__", "__weakref__"):
                    state[name] = getattr(value, name, MISSING)
        return state

    def _module_of_python(self, value: types.ModuleType) -> Node | None:
        import sys

        top = value.__name__.partition(".")[0]
        if top in ("minigrad", *_NOT_OURS) or top in sys.stdlib_module_names or len(value.__dict__) > 2000:
            return None
        plain = {k: v for k, v in value.__dict__.items() if is_plain(v) and not k.startswith("__")}
        return self._new("python", value.__dict__, plain, value.__name__)

    def _expand_python(self, node: Node) -> None:
        pass

    _expand_array = _expand_iterator = _expand_python

    def _expand_contents(self, node: Node) -> None:
        items = node.thing.items() if isinstance(node.thing, dict) else enumerate(node.thing)
        long = len(node.thing) > _LONG
        for key, item in list(items):
            if isinstance(item, _PLAIN) or (long and not isinstance(item, Tensor)):
                continue
            holder = node.thing if not isinstance(node.thing, (set, deque)) else None
            self._edge(node, None, item, holder, key, f"{node.label}[{key!r}]" if isinstance(key, (int, str)) else node.label)

    def _expand_table(self, node: Node) -> None:
        for key, item in node.before.items():
            self._edge(node, None, item, node.thing, key, f"{node.label}.{key}" if node.label else key)

    def _expand_tuple(self, node: Node) -> None:
        for k, item in enumerate(node.thing[:_LONG]):
            self._edge(node, None, item, node.thing, k, f"{node.label}[{k}]")

    def _expand_object(self, node: Node) -> None:
        value = node.thing
        if isinstance(value, Optimizer):
            self.optimizers.append(value)
        elif isinstance(value, LRScheduler):
            self.schedulers.append(value)
        table = getattr(value, "__dict__", None)
        for name, item in node.before.items():
            if isinstance(value, Optimizer) and name == "state":
                continue
            holder = table if table is not None and name in table else None
            self._edge(node, name, item, holder, name, f"{node.label}.{name}")
        self._edge(node, None, type(value), None, None, "")

    def _expand_module(self, node: Node) -> None:
        module = node.thing
        self.modules.append(module)
        for name, item in node.before.items():
            if name in ("_parameters", "_buffers", "_modules"):
                if id(item) not in self.nodes:
                    node.edges.append((None, self._new("table", item, dict(item), node.label)))
            elif not isinstance(item, _PLAIN) and not (name.endswith("_hooks") and not item):
                hidden = name.startswith("_") and not type(module).__module__.startswith("minigrad.")
                self._edge(node, None if hidden or name.endswith("_hooks") else name, item, module.__dict__, name, f"{node.label}.{name}")
        self._edge(node, None, type(module), None, None, "")

    def _expand_cached(self, node: Node) -> None:
        self._edge(node, None, node.thing.__wrapped__, None, None, node.label)

    def _expand_class(self, node: Node) -> None:
        for value in vars(node.thing).values():
            function = getattr(value, "fget", value)
            if isinstance(function, (types.FunctionType, staticmethod, classmethod)):
                self._edge(node, None, function, None, None, node.label)
        for base in node.thing.__bases__:
            self._edge(node, None, base, None, None, "")

    def _expand_function(self, node: Node) -> None:
        function = node.thing
        if isinstance(function, functools.partial):
            for part in (function.func, *function.args, *function.keywords.values()):
                self._edge(node, None, part, None, None, node.label)
            return
        for inner in ("__self__", "__func__", "__wrapped__"):
            if (other := getattr(function, inner, None)) is not None:
                self._edge(node, None, other, None, None, "self" if inner == "__self__" else node.label)
        code = getattr(function, "__code__", None)
        if code is None or isinstance(function, types.MethodType) or (function.__module__ or "").partition(".")[0] == "minigrad":
            return
        for name, cell in zip(code.co_freevars, function.__closure__ or ()):
            known = self.nodes.get(id(cell))
            if known is None:
                known = self._new("cell", cell, _content(cell), name)
            node.edges.append((None, known))
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._edge(node, None, default, None, None, "a default argument")
        self._edge(node, None, function.__dict__, None, None, function.__name__)
        node.edges.append((None, self.globals_of(function.__globals__, code)))

    def _expand_cell(self, node: Node) -> None:
        if node.before is not MISSING:
            self._edge(node, None, node.before, _Cell(node.thing), None, node.label)

    def globals_of(self, space: dict, code: types.CodeType) -> Node:
        """The namespace of these globals; the names used by the code are remembered from now on."""
        node = self._globals.get(id(space))
        if node is None:
            node = self._globals[id(space)] = Node("globals", space, {}, "")
            self.nodes[id(node)] = node
        for name in _names(code):
            if name not in node.before:
                value = node.before[name] = space.get(name, MISSING)
                self._edge(node, name, value, space, name, name)
        return node

    def more(self, space: dict, code: types.CodeType) -> None:
        """Code that turned up while tracing."""
        self.root.edges.append((None, self.globals_of(space, code)))
        self._run()

    def iterators(self) -> list[str]:
        """Iterators that the code which is known may advance: that could not be put back."""
        names = {name for node in self.nodes.values() if node.kind == "globals" for name in node.before}
        live, stack, found = {id(self.root)}, [self.root], []
        while stack:
            node = stack.pop()
            if node.kind == "iterator":
                found.append(node.label)
            for name, child in node.edges:
                if id(child) not in live and (name is None or name in names):
                    live.add(id(child))
                    stack.append(child)
        return found

    # ---- what the function did ----------------------------------------------------------------------------------

    def changes(self, put_back: bool = False) -> list[str]:
        """What is no longer as it was, in words; `put_back`: and is so again afterwards."""
        found: list[str] = []
        for node in self.nodes.values():
            now = _now(node)
            if now is None:
                continue
            if _same(node.before, now):
                continue
            found += _differences(node, now)
            if put_back:
                _restore(node, now)
        return found


def _now(node: Node) -> Any:
    kind, thing = node.kind, node.thing
    if kind in ("contents", "table"):
        return dict(thing) if isinstance(thing, dict) else list(thing)
    if kind == "module":
        return thing.__dict__
    if kind == "object":
        return Reach._state(thing)
    if kind in ("globals", "python"):
        return {name: thing.get(name, MISSING) for name in node.before}
    if kind == "class":
        return {k: v for k, v in vars(thing).items() if is_plain(v)}
    if kind == "cell":
        return _content(thing)
    return thing.cache_info().currsize if kind == "cached" else None


def _same(before: Any, now: Any) -> bool:
    if isinstance(before, dict):
        return len(before) == len(now) and all(_equal(v, now.get(k, MISSING)) for k, v in before.items())
    if isinstance(before, list):
        return len(before) == len(now) and all(_equal(a, b) for a, b in zip(before, now))
    return _equal(before, now)


def _equal(a: Any, b: Any) -> bool:
    return a is b or _core.same_value(a, b)


def _differences(node: Node, now: Any) -> list[str]:
    if node.kind == "cell":
        return [f"{node.label} changed from {shown(node.before)} to {shown(now)}"]
    if node.kind == "cached":
        return [f"{node.label}() put a result into its cache"]
    if isinstance(node.before, list):
        if len(node.before) != len(now):
            return [f"{node.label} had {len(node.before)} entries and now has {len(now)}"]
        pairs = enumerate(zip(node.before, now))
        return [f"{node.label}[{k}] changed from {shown(a)} to {shown(b)}" for k, (a, b) in pairs if not _equal(a, b)]
    label = "{}[{!r}]" if node.kind == "contents" else "{1}" if node.kind == "globals" else "{}.{}"
    keys = [*node.before, *(k for k in now if k not in node.before)]
    pairs = ((k, node.before.get(k, MISSING), now.get(k, MISSING)) for k in keys)
    return [f"{label.format(node.label, k)} changed from {shown(a)} to {shown(b)}" for k, a, b in pairs if not _equal(a, b)]


def _restore(node: Node, now: Any) -> None:
    kind, thing, before = node.kind, node.thing, node.before
    if kind == "cell":
        if before is MISSING:
            del thing.cell_contents
        else:
            thing.cell_contents = before
    elif kind == "cached":
        thing.cache_clear()
    elif kind in ("contents", "table"):
        thing.clear()
        thing.update(before) if isinstance(thing, (dict, set)) else thing.extend(before)
    elif kind in ("class", "object"):
        put, drop = (type.__setattr__, type.__delattr__) if kind == "class" else (object.__setattr__, object.__delattr__)
        for name in {*before, *now}:
            value = before.get(name, MISSING)
            if value is now.get(name, MISSING):
                continue
            drop(thing, name) if value is MISSING else put(thing, name, value)
    else:
        space = thing.__dict__ if kind == "module" else thing
        for name in {*before, *now}:
            value = before.get(name, MISSING)
            if value is MISSING:
                space.pop(name, None)
            else:
                space[name] = value


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # still empty
        return MISSING


class _Cell:
    """A closure cell as the holder of a tensor."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell


def _names(code: types.CodeType) -> list[str]:
    """Global names used by the code and the functions defined inside of it."""
    found = list(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found += _names(const)
    return found
