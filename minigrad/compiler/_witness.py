"""What Python does while a function is traced: which code runs, and calls whose effects or values a replay would not have.

A trace runs the function once, so what it does besides ops has to be nothing. Changes of state are found by comparing it before and after
(_reach.py). The rest is seen as it happens, through the profile hook of the interpreter: printing, files, clocks and random numbers of
Python end the trace before they take place, so the eager call that follows does them once.
"""

from __future__ import annotations

import contextvars
import datetime
import gc
import io
import os
import random
import sys
import types
from typing import Any

import minigrad as mg
from minigrad import _core

from ._reach import GaveUp, Reach

_PACKAGE = os.path.dirname(mg.__file__) + os.sep
_OUTSIDE = {"time", "posix", "nt", "_io", "io", "_socket", "_random", "select", "_posixsubprocess", "_bootlocale", "fcntl", "termios"}
_HARMLESS = {"fspath", "getpid", "get_terminal_size"}
_OWN_RANDOM = {"manual_seed", "seed", "get_state", "set_state", "get_rng_state", "set_rng_state", "set_offset", "get_offset"}
_ENVIRONMENT = type(os.environ).__getitem__.__code__
_OFFSETS = {"storage_offset", "as_strided", "as_strided_", "as_strided_copy", "as_strided_scatter"}
_CLOCKS = {"now", "utcnow", "today"}


def is_own(code: types.CodeType) -> bool:
    """Whether it is code of the package itself."""
    return code.co_filename.startswith(_PACKAGE)


def where(frame: Any) -> str:
    """The innermost line of the user's program."""
    while frame.f_back is not None and is_own(frame.f_code):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


class Witness:
    """Context manager around a trace.

    Attributes:
        codes: code that ran. names: names that the user's code uses. own_names: those of the package's code. asked: names that it may have
        asked for with hasattr() or getattr(). offsets: whether it matters where in its storage a tensor begins.
    """

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self.codes: set[types.CodeType] = set()
        self.names: set[str] = set()
        self.own_names: set[str] = set()
        self.asked: set[str] = set()
        self.offsets = False
        self.variables: list[contextvars.ContextVar] = []
        self._known = {id(o.step.__func__.__code__) for o in (*reach.optimizers, *reach.schedulers) if hasattr(o.step, "__func__")}

    def __enter__(self) -> Witness:
        self._random = random.getstate()
        numpy = sys.modules.get("numpy.random")
        self._numpy = numpy.get_state() if numpy is not None else None
        self._modes = _modes()
        self._before = sys.getprofile()
        self._collects = gc.isenabled()
        gc.disable()  # finalisers and callbacks of the collector are not what the function does
        sys.setprofile(self._event)
        return self

    def __exit__(self, *error: Any) -> None:
        sys.setprofile(self._before)
        if self._collects:
            gc.enable()

    def _event(self, frame: Any, event: str, arg: Any) -> None:
        if event == "call":
            if frame.f_code not in self.codes:
                self._code(frame)
        elif event == "c_call":
            self._c_call(frame, arg)

    def _code(self, frame: Any) -> None:
        code = frame.f_code
        self.codes.add(code)
        if is_own(code):
            self.own_names.update(code.co_names)
            if code.co_name == "step" and f"{os.sep}optim{os.sep}" in code.co_filename:
                raise GaveUp(f"the step of an optimizer that the compiler did not find beforehand, at {where(frame)}. "
                             "Try keeping it in a global, the closure or an attribute of self")  # fmt: skip
            return
        self.names.update(code.co_names)
        words = {c for c in code.co_consts if isinstance(c, str) and len(c) < 60}
        self.names |= words
        if "hasattr" in code.co_names or "getattr" in code.co_names:
            self.asked.update(word for word in words if word.isidentifier())
        if code is _ENVIRONMENT:
            self.reach.also(os.environ._data, "os.environ")
        self.reach.more(frame.f_globals, code)

    def _c_call(self, frame: Any, function: Any) -> None:
        name = getattr(function, "__name__", "")
        of_package = (getattr(function, "__module__", None) or "").startswith("minigrad")
        if name in _OWN_RANDOM and (of_package or isinstance(getattr(function, "__self__", None), _core.Generator)):
            raise GaveUp(f"{name}() of the random generator is called, at {where(frame)}")
        if name in _OFFSETS:
            self.offsets = True
        if is_own(frame.f_code):
            return
        owner = getattr(function, "__self__", None)
        if isinstance(owner, contextvars.ContextVar):
            self._variable(owner, name, frame)
        outside = function in (print, input, open) or isinstance(owner, (io.IOBase, random.Random))
        outside = outside or getattr(function, "__module__", None) in _OUTSIDE and name not in _HARMLESS
        if outside or name in _CLOCKS and isinstance(owner, type) and issubclass(owner, datetime.date):
            raise GaveUp(f"{name}() is called, at {where(frame)}: a replay would not call it again")

    def _variable(self, variable: contextvars.ContextVar, name: str, frame: Any) -> None:
        if name != "get":
            raise GaveUp(f"{name}() of a context variable is called, at {where(frame)}")
        self.variables.append(variable)
        self.reach.also(variable.get(None), variable.name)

    def effects(self, put_back: bool) -> str:
        """What the function changed, in words; empty when nothing. `put_back`: everything is then as it was before."""
        found = self.reach.changes(put_back)
        numpy = sys.modules.get("numpy.random")
        if random.getstate() != self._random:
            found.append("the state of Python's random numbers changed")
            random.setstate(self._random)
        if self._numpy is not None and numpy is not None:
            now = numpy.get_state()
            if now[2:] != self._numpy[2:] or (now[1] != self._numpy[1]).any():
                found.append("the state of NumPy's random numbers changed")
                numpy.set_state(self._numpy)
        if _modes() != self._modes:
            found.append("the grad mode, the default dtype or the default device changed")
            _set_modes(self._modes)
        return "; ".join(found[:3])


def _modes() -> tuple:
    return mg.is_grad_enabled(), mg.get_default_dtype(), mg.get_default_device()


def _set_modes(modes: tuple) -> None:
    mg.set_grad_enabled(modes[0])
    mg.set_default_dtype(modes[1])
    mg.set_default_device(modes[2])
