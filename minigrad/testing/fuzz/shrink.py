"""Makes a finding small: fewer steps, plain layouts, small shapes, few and simple numbers, while the same thing still goes wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from minigrad.testing.fuzz.program import Call, Make, Program, Ref, used


def candidates(program: Program) -> Iterator[Program]:
    """Smaller programs, the boldest first."""
    steps = program.steps
    for k in reversed(range(len(steps))):
        yield program.with_steps(steps[:k] + steps[k + 1 :])
    for k, s in enumerate(steps):
        for smaller in _smaller_make(s) if isinstance(s, Make) else _smaller_call(s):
            yield program.with_steps([*steps[:k], smaller, *steps[k + 1 :]])


def _smaller_make(s: Make) -> Iterator[Make]:
    if s.grad:
        yield replace(s, grad=False)
    if s.layout != "contiguous":
        yield replace(s, layout="contiguous")
    if len(set(s.values)) > 1 or len(s.values) > 1:
        yield replace(s, values=s.values[:1])
        half = len(s.values) // 2
        if half > 1:
            yield replace(s, values=s.values[:half])
            yield replace(s, values=s.values[half:])
        if len(s.values) <= 8:
            for k in range(len(s.values)):
                yield replace(s, values=s.values[:k] + s.values[k + 1 :])
    one: Any = True if s.dtype == "bool" else 1 if "int" in s.dtype else 1.0
    for k, x in enumerate(s.values[:8]):
        if x != one and x != 0:
            yield replace(s, values=(*s.values[:k], one, *s.values[k + 1 :]))
    for k, n in enumerate(s.shape):
        yield replace(s, shape=s.shape[:k] + s.shape[k + 1 :])
        for smaller in (0, 1, 2, n // 2):
            if smaller < n:
                yield replace(s, shape=(*s.shape[:k], smaller, *s.shape[k + 1 :]))
    if s.dtype not in ("float32", "int64", "bool"):
        yield replace(s, dtype="int64" if "int" in s.dtype else "float32")


def _smaller_value(x: Any) -> Iterator[Any]:
    if isinstance(x, bool) or isinstance(x, Ref) or x is None:
        return
    if isinstance(x, int) and x not in (0, 1):
        yield 0
        yield 1
        if abs(x) > 4:
            yield x // 2
    elif isinstance(x, float) and x not in (0.0, 1.0):
        yield 1.0
        yield 0.0
    elif isinstance(x, (list, tuple)):
        for k in range(len(x)):
            yield type(x)([*x[:k], *x[k + 1 :]])
            for smaller in _smaller_value(x[k]):
                yield type(x)([*x[:k], smaller, *x[k + 1 :]])


def _smaller_call(s: Call) -> Iterator[Call]:
    for name in s.kwargs:
        yield replace(s, kwargs={k: x for k, x in s.kwargs.items() if k != name})
    if len(s.args) > 1 and s.target not in ("getitem", "setitem"):
        yield replace(s, args=s.args[:-1])
    for k, x in enumerate(s.args):
        for smaller in _smaller_value(x):
            yield replace(s, args=(*s.args[:k], smaller, *s.args[k + 1 :]))
    for name, x in s.kwargs.items():
        for smaller in _smaller_value(x):
            yield replace(s, kwargs={**s.kwargs, name: smaller})


def shrink(program: Program, still_fails: Callable[[Program], bool], seconds: float = 15.0, tries: int = 400) -> Program:
    """The smallest program found that still fails.

    Args:
        program: a failing one.
        still_fails: whether a program shows the same finding.
        seconds, tries: when to be content.
    """
    deadline = time.monotonic() + seconds
    seen = {program.render()}
    again = True
    while again:
        again = False
        for smaller in candidates(program):
            text = smaller.render()
            if text in seen or not _names_defined(smaller):
                continue
            seen.add(text)
            if len(seen) > tries or time.monotonic() > deadline:
                return program
            if still_fails(smaller):
                program, again = smaller, True
                break
    return program


def _names_defined(program: Program) -> bool:
    known: set[str] = set()
    for s in program.steps:
        if not used(s) <= known:
            return False
        known.add(s.name)
    return True
