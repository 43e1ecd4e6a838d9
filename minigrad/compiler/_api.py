"""`mg.compile` in all its call forms, and the module that it makes of a module."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from minigrad import _core
from minigrad.nn import Module

from ._backends import EAGER, TRACED_ONLY, chosen
from ._compiled import CompiledFunction

_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs", "lite")


class OptimizedModule(Module):
    """A compiled module: its state is the original's, under `_orig_mod.`; what it has not is looked up there.

    Attributes:
        _orig_mod: the module that was compiled.
    """

    _orig_mod: Module
    _OWN = frozenset(("_orig_mod", "_compiled", "forward", "training"))

    def __init__(self, module: Module, make: Callable[[Callable[..., Any]], Any]) -> None:
        super().__init__()
        self._modules["_orig_mod"] = module
        self.__dict__.pop("training", None)
        self.__dict__["_make"] = make
        self._wire()

    def _wire(self) -> None:
        compiled = self.__dict__["_make"](self._orig_mod)
        self.__dict__["_compiled"] = self.__dict__["forward"] = compiled

    @property
    def training(self) -> bool:  # type: ignore[override]
        return self._orig_mod.training

    @training.setter
    def training(self, mode: bool) -> None:
        self._orig_mod.training = mode

    def __getattr__(self, name: str) -> Any:
        if name == "_orig_mod":
            return self.__dict__["_modules"]["_orig_mod"]
        return getattr(self._orig_mod, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._OWN or name in self.__dict__:
            object.__setattr__(self, name, value) if name != "_orig_mod" else self._modules.__setitem__(name, value)
        else:
            setattr(self._orig_mod, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._orig_mod, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._orig_mod)})

    def __deepcopy__(self, memo: dict) -> OptimizedModule:
        return OptimizedModule(copy.deepcopy(self._orig_mod, memo), self.__dict__["_make"])

    def __reduce__(self) -> tuple:
        return OptimizedModule, (self._orig_mod, self.__dict__["_make"])

    def __len__(self) -> int:
        return len(self._orig_mod)  # type: ignore[arg-type]

    def __iter__(self) -> Any:
        return iter(self._orig_mod)  # type: ignore[call-overload]

    def __getitem__(self, key: Any) -> Any:
        return self._orig_mod[key]  # type: ignore[index]

    def __bool__(self) -> bool:
        return True

    def __contains__(self, key: Any) -> bool:
        return key in self._orig_mod  # type: ignore[operator]


class Maker:
    """Makes compiled functions with the same settings: what `compile(...)` without a function returns.

    Args:
        settings: of CompiledFunction.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def function(self, fn: Callable[..., Any]) -> Any:
        """The function compiled; one that is compiled already, or must not be, as it is."""
        if isinstance(fn, CompiledFunction) or getattr(fn, "_compile_disabled", False):
            return fn
        return CompiledFunction(fn, trial=True, **self.settings)

    def __call__(self, target: Any) -> Any:
        if isinstance(target, OptimizedModule):
            return target
        if isinstance(target, Module):
            return OptimizedModule(target, self.function)
        if not callable(target):
            raise RuntimeError(f"compile: expected a function or a module: got {type(target).__name__}")
        if isinstance(target, type):
            raise RuntimeError(f"compile: {target.__name__} is a class. Try an instance, or compile its forward")
        return self.function(target)


def maker(fullgraph: bool, dynamic: bool | None, backend: Any, mode: str | None, options: dict[str, Any] | None, disable: bool,
          recompile_limit: int | None) -> Callable[[Any], Any]:  # fmt: skip
    """What makes a compiled function or module of one, after a look at the settings."""
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if mode is not None and mode not in _MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(_MODES)}")
    backend = "inductor" if backend is None else backend
    backend = chosen(backend)
    if disable or backend in EAGER:
        return lambda target: target
    if not isinstance(backend, str):
        given = {k: v for k, v in (("mode", mode), ("options", options)) if v is not None}
        own = {"own": backend, "given": given, "pieces": "modules"}
        return Maker(fullgraph=bool(fullgraph), dynamic=False, limit=recompile_limit, options=own)
    kind = "interpreter" if backend in TRACED_ONLY else backend
    settings = {**(options or {}), "backend": kind, "mode": mode or "default"}
    budget = settings.pop("budget", None)
    memory = settings.get("activation_memory_budget", 1.0)
    if isinstance(memory, bool) or not isinstance(memory, (int, float)) or not 0 <= memory <= 1:
        raise ValueError(f"compile: activation_memory_budget is a share of the usual peak: got {memory!r}, expected 0 <= budget <= 1.")
    return Maker(fullgraph=bool(fullgraph), dynamic=dynamic, limit=recompile_limit, budget=budget, options=settings)


def compile_in_place(module: Module, *args: Any, **kwargs: Any) -> None:
    """`Module.compile()`: the module's forward is compiled from now on."""
    from minigrad._settings import compile as build

    module.__dict__.pop("forward", None)
    compiled = build(*args, **kwargs)(module.forward) if not args else build(module.forward, **kwargs)
    module.__dict__["forward"] = module.__dict__["_compiled_call_impl"] = compiled


class Disabled:
    """A function that is never captured: `compiler.disable`."""

    _compile_disabled = True

    def __init__(self, fn: Callable[..., Any], reason: str | None) -> None:
        import functools

        functools.update_wrapper(self, fn)
        self._fn, self._reason = fn, reason

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        import types

        return self if owner is None else types.MethodType(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from minigrad.compiler import _now

        if _now.tracing:
            stop(f"{getattr(self._fn, '__qualname__', 'a function')} is disabled{': ' + self._reason if self._reason else ''}")
        before, _now.busy = _now.busy, True
        paused = _core.pause_deferral(True)
        try:
            return self._fn(*args, **kwargs)
        finally:
            _core.pause_deferral(paused)
            _now.busy = before


def stop(reason: str) -> None:
    """End the capture at this line of the user's program."""
    from ._reach import GaveUp

    raise GaveUp(f"{reason}, at {_core.user_line()}")
