"""What has to hold for a compiled form to be used again: everything that the code which ran read by name, and nothing else."""

from __future__ import annotations

import threading
import types
from typing import Any

from minigrad.optim import Optimizer
from minigrad.optim.lr_scheduler import LRScheduler

from ._changes import MISSING, Node, is_plain
from ._reach import GaveUp, Reach
from ._witness import Witness

_TOO_LONG = 10000
_ANY_NAME = {"getattr", "vars", "__dict__", "eval", "exec", "globals", "locals", "__getattribute__"}
_OF_MODULES = ("training", "_has_hooks", "forward")


class Guards:
    """Gives a form its guards."""

    def __init__(self, form: Any, reach: Reach, witness: Witness) -> None:
        self.form, self.reach, self.witness = form, reach, witness
        self.names, self.all_names = witness.names, witness.names | witness.own_names
        self.absent = witness.asked  # names that the code may find or not
        self.any = bool(_ANY_NAME & witness.names)
        self.kept: set[int] = set()

    def keep(self) -> None:
        """Walk the places that the code could come to, by the names in it."""
        for variable in self.witness.variables:
            self.form.keep_variable(variable)
        self.form.watch_attributes(self.names)
        live, stack = {id(self.reach.root)}, [self.reach.root]
        while stack:
            node = stack.pop()
            self._keep(node)
            names = self._names_for(node)
            for name, child in node.edges:
                if id(child) not in live and (name is None or name in names) and self._ran(child):
                    live.add(id(child))
                    stack.append(child)
        for optimizer in self.reach.optimizers:
            self._contents(optimizer.param_groups, "param_groups")
            for group in optimizer.param_groups:
                self._contents(group["params"], "param_groups")
                self.form.keep_name(group, "params", group["params"], "param_groups")
        for module in self.reach.modules:
            if id(module) not in live:
                self._module(Node("module", module, module.__dict__, "a module"))

    def place(self, tensor: Any) -> None:
        """The place where a tensor was found."""
        if id(tensor) not in self.reach.places:
            return
        holder, key, label = self.reach.places[id(tensor)]
        if id(holder) in self.kept:
            return
        if isinstance(holder, dict):
            self.form.keep_name(holder, key, tensor, label)
        elif isinstance(holder, list):
            self.form.keep_item(holder, key, tensor, label)
        elif isinstance(holder, type):
            self.form.keep_of_class(holder, key, label)
        elif hasattr(holder, "cell"):
            self.form.keep_cell(holder.cell, tensor, label)

    def _ran(self, node: Node) -> bool:
        code = getattr(node.thing, "__code__", None) if node.kind == "function" else None
        return code is None or isinstance(node.thing, types.MethodType) or code in self.witness.codes

    def _names_for(self, node: Node) -> set[str]:
        own = node.kind in ("module", "object") and not isinstance(node.thing, Optimizer)
        return self.all_names if own else self.names

    def _keep(self, node: Node) -> None:
        kind, thing, label = node.kind, node.thing, node.label
        if kind in ("array", "iterator"):
            array = "a NumPy array, whose elements may change. Try a tensor"
            raise GaveUp(f"{label} is {array if kind == 'array' else 'an iterator, which moves on. Try a list'}")
        if kind == "module":
            self._module(node)
        elif kind in ("contents", "table"):
            self._contents(thing, label)
        elif kind == "cell" and node.before is not MISSING:
            self.form.keep_cell(thing, node.before, label)
        elif kind in ("globals", "python", "attributes"):
            self._names_of(node)
        elif kind == "function" and isinstance(thing, types.FunctionType):
            self.form.keep_function(thing, label)
        elif kind == "class":
            self._class(thing, node.before)
        elif kind == "object":
            self._object(node)

    def _names_of(self, node: Node) -> None:
        label = f"{node.label}." if node.kind != "globals" and node.label else ""
        for name, value in node.before.items():
            if name not in self.names or isinstance(value, types.ModuleType):
                continue
            if value is not MISSING:
                self.form.keep_name(node.thing, name, value, label + name)
            elif name in self.reach.loaded:
                self.form.keep_absent(node.thing, name, label + name)
        if node.kind == "attributes":
            self._absent(node.thing, self.absent, label)

    def _absent(self, table: dict, names: set[str], label: str) -> None:
        for name in names:
            if name not in table:
                self.form.keep_absent(table, name, label + name)

    def _class(self, kind: type, table: dict) -> None:
        for name, value in table.items():
            code = getattr(getattr(value, "__func__", value), "__code__", None)
            if name in self.names or code in self.witness.codes:
                self.form.keep_of_class(kind, name, f"{kind.__name__}.{name}")
        for name in self.absent - table.keys():
            self.form.keep_of_class(kind, name, f"{kind.__name__}.{name}")

    def _hidden(self, kind: type) -> set[str]:
        """Names that the code finds in the class as long as the object has none of its own."""
        found = set(self.absent)
        for base in kind.__mro__[:-1]:
            if not base.__module__.startswith("minigrad"):
                found |= {name for name in vars(base).keys() & self.names if not hasattr(type(vars(base)[name]), "__set__")}
        return found

    def _object(self, node: Node) -> None:
        if isinstance(node.thing, Optimizer) and "param_groups" not in self.names:
            return
        names = self.all_names if type(node.thing).__module__.startswith("minigrad") or isinstance(node.thing, LRScheduler) else self.names
        table = getattr(node.thing, "__dict__", {}) if not isinstance(node.thing, threading.local) else {}  # which is one per thread
        for name, value in node.before.items():
            if not (name in names or (self.any and is_plain(value))):
                continue
            if name in table:
                self.form.keep_name(table, name, value, f"{node.label}.{name}")
            elif value is MISSING:
                self.form.keep_unset(node.thing, name, f"{node.label}.{name}")
            else:
                self.form.keep_attribute(node.thing, name, value, f"{node.label}.{name}")
        if type(table) is dict and hasattr(node.thing, "__dict__"):
            self._absent(table, self._hidden(type(node.thing)), f"{node.label}.")

    def _module(self, node: Node) -> None:
        table, label = node.thing.__dict__, f"{node.label}." if node.label else ""
        for name in _OF_MODULES:
            if name not in table:
                self.form.keep_absent(table, name, label + name)
        for name, value in list(table.items()):
            if name in ("_parameters", "_buffers", "_modules") or (name.endswith("_hooks") and not value):
                continue
            if name in self.all_names or name in _OF_MODULES or (self.any and is_plain(value)):
                self.form.keep_name(table, name, value, label + name)
        kind = type(node.thing)
        if not kind.__module__.startswith("minigrad"):
            self._absent(table, self._hidden(kind) - set(_OF_MODULES), label)
        elif "forward" in vars(kind):
            self.form.keep_of_class(kind, "forward", f"{kind.__name__}.forward")

    def _contents(self, thing: Any, label: str) -> None:
        if len(thing) > _TOO_LONG:
            raise GaveUp(f"{label} has {len(thing)} entries, too many to compare at every call")
        if id(thing) not in self.kept:
            self.kept.add(id(thing))
            self.form.keep_contents(thing, label)
