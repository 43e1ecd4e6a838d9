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
import opcode
import sys
import types
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from minigrad import _core
from minigrad._core import Tensor
from minigrad.nn import Module
from minigrad.optim import Optimizer
from minigrad.optim.lr_scheduler import LRScheduler

from ._changes import MISSING, PLAIN, Node, changes, content, is_plain, state_of

_MOST = 20000  # nodes; a function that reaches more is not watched to the end
_LONG = 512  # entries of a container whose elements are looked into
_NOT_OURS = {"logging", "threading", "importlib", "_pytest", "pluggy", "unittest", "numpy", "torch", "weakref", "abc", "typing"}
_WEAK = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)
_EXACT = (list, dict, set, deque)
_LOAD_GLOBAL, _EXTENDED, _SHIFT = opcode.opmap["LOAD_GLOBAL"], opcode.EXTENDED_ARG, 1 if sys.version_info >= (3, 11) else 0


class GaveUp(BaseException):
    """The function cannot be replayed whole; the text says why. `later`: another call may be luckier. Not an Exception: the function that
    is traced must not catch it."""

    def __init__(self, reason: str, later: bool = False) -> None:
        super().__init__(reason)
        self.later = later


class Reach:
    """Everything of interest that `function` and `values` (name -> value) lead to.

    Attributes:
        modules: every module with its path. optimizers, schedulers: as found. tensors: likewise.
        places: id of a tensor -> (holder, key, label); reading the place again shows whether it was replaced.
        capped: there was more than is watched. loaded: names that code reads as globals.
    """

    def __init__(self, function: Callable[..., Any], values: dict[str, Any]) -> None:
        self.modules: list[Module] = []
        self.optimizers: list[Optimizer] = []
        self.schedulers: list[LRScheduler] = []
        self.places: dict[int, tuple[Any, Any, str]] = {}
        self.tensors: list[Tensor] = []
        self.capped = False
        self.nodes: dict[int, Node] = {}
        self.loaded: set[str] = set()
        self._globals: dict[int, Node] = {}
        self._large: list[tuple[Node, Any]] = []  # classes and Python modules with what they hold: only what code names is looked into
        self._words: set[str] = set()  # names in code
        self._new_words: set[str] = set()
        self._queue: deque[Node] = deque()
        self.root = Node("root", None, None, "")
        for name, value in values.items():
            self._edge(self.root, None, value, None, None, name)
        self._edge(self.root, None, function, None, None, "self")
        self._run()

    # ---- walking ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._queue or self._new_words:
            if not self._queue:
                self._name_more()
                continue
            if len(self.nodes) > _MOST:
                self.capped = True
                self._queue.clear()
                return
            node = self._queue.popleft()
            getattr(self, "_expand_" + node.kind)(node)

    def _name_more(self) -> None:
        words, self._new_words = self._new_words, set()
        self._words |= words
        for node, table in self._large:
            self._look(node, table, words)

    def _look(self, node: Node, table: Any, words: set[str]) -> None:
        for name in table.keys() & words:
            value, of_class = table[name], node.kind == "class"
            if of_class and isinstance(value, (types.FunctionType, staticmethod, classmethod, property)):
                continue
            if not of_class:
                node.before.setdefault(name, value)
            self._edge(node, name, value, node.thing, name, f"{node.label}.{name}")

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
            table = _core.attributes_of(value)
            if table is not None and id(table) not in self.nodes:
                parent.edges.append((name, self._new("attributes", table, dict(table), label)))
            return
        node = self._see(value, label)
        if node is not None:
            parent.edges.append((name, node))

    def _see(self, value: Any, label: str) -> Node | None:
        if isinstance(value, PLAIN) or id(value) in self.nodes:
            return self.nodes.get(id(value))
        if isinstance(value, type):
            own = value.__module__.partition(".")[0] not in ("builtins", "minigrad", "collections", *_NOT_OURS)
            return self._new("class", value, dict(vars(value)), value.__name__) if own else None
        if isinstance(value, weakref.ref):
            return self._see(value(), label)
        if isinstance(value, _WEAK):
            return self._see(value.data, label)
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
            return self._new("object", value, state_of(value), label)
        return None

    def _module_of_python(self, value: types.ModuleType) -> Node | None:
        import sys

        top = value.__name__.partition(".")[0]
        if top in ("minigrad", *_NOT_OURS) or top in sys.stdlib_module_names or len(value.__dict__) > 2000:
            return None
        if id(value.__dict__) in self.nodes:
            return self.nodes[id(value.__dict__)]
        plain = {k: v for k, v in value.__dict__.items() if is_plain(v) and not k.startswith("__")}
        return self._new("python", value.__dict__, plain, value.__name__)

    def _expand_python(self, node: Node) -> None:
        self._large.append((node, node.thing))
        self._look(node, node.thing, self._words)

    def _expand_array(self, node: Node) -> None:
        pass

    _expand_iterator = _expand_array

    def _expand_attributes(self, node: Node) -> None:
        for name, item in node.before.items():
            self._edge(node, name, item, node.thing, name, f"{node.label}.{name}")

    def _expand_contents(self, node: Node) -> None:
        items = node.thing.items() if isinstance(node.thing, dict) else enumerate(node.thing)
        long = len(node.thing) > _LONG
        if type(node.thing) not in _EXACT:  # what a class of one's own adds to a list or dict
            self._edge(node, None, type(node.thing), None, None, "")
            table = getattr(node.thing, "__dict__", None)
            if table:
                node.edges.append((None, self._new("attributes", table, dict(table), node.label)))
        for key, item in list(items):
            if isinstance(item, PLAIN) or (long and not isinstance(item, Tensor)):
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
            elif not isinstance(item, PLAIN) and not (name.endswith("_hooks") and not item):
                hidden = name.startswith("_") and not type(module).__module__.startswith("minigrad.")
                self._edge(node, None if hidden or name.endswith("_hooks") else name, item, module.__dict__, name, f"{node.label}.{name}")
        self._edge(node, None, type(module), None, None, "")

    def _expand_cached(self, node: Node) -> None:
        self._edge(node, None, node.thing.__wrapped__, None, None, node.label)

    def _expand_class(self, node: Node) -> None:
        for value in node.before.values():
            function = getattr(value, "fget", value) if isinstance(value, (property, types.FunctionType)) else value
            if isinstance(function, (types.FunctionType, staticmethod, classmethod)):
                self._edge(node, None, function, None, None, node.label)
        self._large.append((node, node.before))
        self._look(node, node.before, self._words)
        for base in (*node.thing.__bases__, type(node.thing)):
            self._edge(node, None, base, None, None, "")

    def _expand_function(self, node: Node) -> None:
        function = node.thing
        if isinstance(function, functools.partial):
            for part in (function.func, *function.args, function.keywords):
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
                known = self._new("cell", cell, content(cell), name)
            node.edges.append((None, known))
        for default in (*(function.__defaults__ or ()), function.__kwdefaults__):
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
        names = _names(code)
        self._new_words.update(name for name in names if name not in self._words)
        self.loaded.update(_loaded(code))
        for name in names:
            if name not in node.before:
                value = node.before[name] = space.get(name, MISSING)
                self._edge(node, name, value, space, name, name)
        return node

    def more(self, space: dict, code: types.CodeType) -> None:
        """Code that turned up while tracing."""
        self.root.edges.append((None, self.globals_of(space, code)))
        self._run()

    def also(self, value: Any, label: str) -> None:
        """Something that code which runs was seen to read."""
        self._edge(self.root, None, value, None, None, label)
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
        return changes(self.nodes.values(), put_back)


def _loaded(code: types.CodeType) -> list[str]:
    """Names of globals and built-in functions that the code reads."""
    found, high = [], 0
    for at in range(0, len(code.co_code), 2):
        operation, low = code.co_code[at], code.co_code[at + 1] | high
        if operation == _LOAD_GLOBAL:
            found.append(code.co_names[low >> _SHIFT])
        high = low << 8 if operation == _EXTENDED else 0
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found += _loaded(const)
    return found


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
