"""What has to hold for a compiled form to be used again: everything that the code which ran read by name, and nothing else."""

from __future__ import annotations

import types
from typing import Any

from minigrad.optim import Optimizer
from minigrad.optim.lr_scheduler import LRScheduler

from ._reach import MISSING, GaveUp, Node, Reach, is_plain
from ._witness import Witness

_TOO_LONG = 10000
_ANY_NAME = {"getattr", "vars", "__dict__", "eval", "exec", "globals", "locals", "__getattribute__"}
_OF_MODULES = ("training", "_has_hooks", "forward")


class Guards:
    """Gives a form its guards."""

    def __init__(self, form: Any, reach: Reach, witness: Witness) -> None:
        self.form, self.reach, self.witness = form, reach, witness
        self.names, self.all_names = witness.names, witness.names | witness.own_names
        self.any = bool(_ANY_NAME & witness.names)
        self.kept: set[int] = set()

    def keep(self) -> None:
        """Walk the places that the code could come to, by the names in it."""
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
            for group in (optimizer.param_groups, *(group["params"] for group in optimizer.param_groups)):
                self._contents(group, "param_groups")
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
        elif kind in ("globals", "python"):
            for name, value in node.before.items():
                if name in self.names and value is not MISSING and not isinstance(value, types.ModuleType):
                    self.form.keep_name(thing, name, value, name)
        elif kind == "class":
            for name, value in node.before.items():
                if name in self.names:
                    self.form.keep_attribute(thing, name, value, f"{label}.{name}")
        elif kind == "object":
            self._object(node)

    def _object(self, node: Node) -> None:
        if isinstance(node.thing, Optimizer) and "param_groups" not in self.names:
            return
        names = self.all_names if type(node.thing).__module__.startswith("minigrad") or isinstance(node.thing, LRScheduler) else self.names
        table = getattr(node.thing, "__dict__", {})
        for name, value in node.before.items():
            if value is MISSING or not (name in names or (self.any and is_plain(value))):
                continue
            if name in table:
                self.form.keep_name(table, name, value, f"{node.label}.{name}")
            else:
                self.form.keep_attribute(node.thing, name, value, f"{node.label}.{name}")

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

    def _contents(self, thing: Any, label: str) -> None:
        if len(thing) > _TOO_LONG:
            raise GaveUp(f"{label} has {len(thing)} entries, too many to compare at every call")
        if id(thing) not in self.kept:
            self.kept.add(id(thing))
            self.form.keep_contents(thing, label)
