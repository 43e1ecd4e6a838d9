"""What a function can reach: the modules, optimizers, schedulers and tensors in its arguments, closure, globals and `self`.

The compiler needs them twice: to find out, before each call, whether what was compiled still holds (a parameter was replaced, a module
switched to eval), and to note the steps of optimizers while it traces.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from typing import Any

from minigrad._core import Tensor
from minigrad.nn import Module
from minigrad.optim import Optimizer
from minigrad.optim.lr_scheduler import LRScheduler

_DEPTH = 6  # containers in containers, functions called by functions


class Roots:
    """Everything of interest that `function` and `values` lead to, found once.

    Attributes:
        modules: outermost modules. optimizers, schedulers: as found.
        places: id of a tensor -> (dict or list that holds it, key); reading the place again shows whether it was replaced.
    """

    def __init__(self, function: Callable[..., Any], values: Iterable[Any]) -> None:
        self.modules: list[Module] = []
        self.optimizers: list[Optimizer] = []
        self.schedulers: list[LRScheduler] = []
        self.places: dict[int, tuple[Any, Any]] = {}
        self.tensors: list[Tensor] = []
        self._seen: set[int] = set()
        for value in values:
            self._visit(value, None, None, _DEPTH)
        self._function(function, _DEPTH)

    def _visit(self, value: Any, holder: Any, key: Any, depth: int) -> None:
        if isinstance(value, Tensor):
            if holder is not None and id(value) not in self.places:
                self.places[id(value)] = (holder, key)
            if id(value) not in self._seen:
                self._seen.add(id(value))
                self.tensors.append(value)
            return
        if depth == 0 or id(value) in self._seen or isinstance(value, (int, float, str, bytes, type, types.ModuleType)) or value is None:
            return
        self._seen.add(id(value))
        if isinstance(value, Module):
            self._module(value)
        elif isinstance(value, Optimizer):
            self.optimizers.append(value)
            for group in value.param_groups:
                for k, param in enumerate(group["params"]):
                    self._visit(param, group["params"], k, depth - 1)
        elif isinstance(value, LRScheduler):
            self.schedulers.append(value)
            self._visit(value.optimizer, None, None, depth - 1)
        elif isinstance(value, dict):
            for k, item in list(value.items()):
                self._visit(item, value, k, depth - 1)
        elif isinstance(value, (list, tuple)):
            for k, item in enumerate(value):
                self._visit(item, value, k, depth - 1)
        elif callable(value) and hasattr(value, "__code__") or isinstance(value, types.MethodType):
            self._function(value, depth - 1)
        elif getattr(type(value), "__module__", "").partition(".")[0] != "minigrad" and isinstance(getattr(value, "__dict__", None), dict):
            self._visit(value.__dict__, None, None, depth - 1)  # a trainer, a config object

    def _module(self, module: Module) -> None:
        self.modules.append(module)
        for inner in module.modules():
            self._seen.add(id(inner))
            for table in (inner._parameters, inner._buffers):
                for name, tensor in table.items():
                    if tensor is not None:
                        self._visit(tensor, table, name, 1)

    def _function(self, function: Any, depth: int) -> None:
        while hasattr(function, "__wrapped__") or hasattr(function, "func"):  # decorators, functools.partial
            for part in (*getattr(function, "args", ()), *getattr(function, "keywords", {}).values()):
                self._visit(part, None, None, depth)
            function = getattr(function, "__wrapped__", None) or function.func
        owner = getattr(function, "__self__", None)
        if owner is not None:
            self._visit(owner, None, None, depth)
        code = getattr(function, "__code__", None)
        if code is None or depth == 0 or (function.__module__ or "").partition(".")[0] == "minigrad":
            return
        for cell in getattr(function, "__closure__", None) or ():
            try:
                self._visit(cell.cell_contents, _Cell(cell), None, depth)
            except ValueError:  # still empty
                continue
        for default in (*(getattr(function, "__defaults__", None) or ()), *(getattr(function, "__kwdefaults__", None) or {}).values()):
            self._visit(default, None, None, depth)
        space = getattr(function, "__globals__", {})
        for name in _names(code):
            if name in space:
                self._visit(space[name], space, name, depth)


class _Cell:
    """A closure cell read like a dict."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def __getitem__(self, key: Any) -> Any:
        return self.cell.cell_contents


def _names(code: types.CodeType) -> list[str]:
    """Global names used by the code and the functions defined inside of it."""
    found = list(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found += _names(const)
    return found
