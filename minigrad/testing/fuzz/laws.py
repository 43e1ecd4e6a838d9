"""Laws that need no other library: one call, said in another way, gives the same.

- `out=`: f(a, out=empty) writes what f(a) returns;
- in place: a.f_() leaves in a what f(a) returns;
- batches: a pointwise op of two halves, joined, is the op of the whole.

A program qualifies when it is one plain call that succeeded; its leaves lose their requires_grad, which both forms may refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from minigrad.op import OpInfo, registry
from minigrad.testing.fuzz.execute import Record, Snapshot
from minigrad.testing.fuzz.program import Call, Make, Program, Ref, Text


def _single_call(program: Program, record: Record) -> tuple[Call, OpInfo, Snapshot] | None:
    """The program's only call, its op and its result, where the laws apply."""
    calls = [s for s in program.steps if isinstance(s, Call)]
    if len(calls) != 1 or program.tainted or program.private or calls[0] is not program.steps[-1]:
        return None
    if len(record.outcomes) < len(program.steps):
        return None
    call, last = calls[0], record.outcomes[-1]
    info = registry.get(program.op)
    if info is None or last.error or not isinstance(last.value, Snapshot) or call.label != info.name:
        return None
    if "out" in call.kwargs or any(a.mutated for a in info.args):
        return None
    return call, info, last.value


def _overlaps(program: Program) -> bool:
    return any(isinstance(s, Make) and s.layout in ("overlap", "expanded") for s in program.steps)


def other_forms(program: Program, record: Record) -> Iterator[tuple[str, Program]]:
    """(name of the law, the program said in that way)."""
    found = _single_call(program, record)
    if found is None:
        return
    call, info, result = found
    leaves = [replace(s, grad=False) for s in program.steps if isinstance(s, Make)]

    def form(**changes: Any) -> Program:
        return program.with_steps([*leaves, replace(call, **changes)])

    if not info.composite and not info.view and call.target == "m." + info.name:
        yield "out=", form(kwargs={**call.kwargs, "out": Text(f"m.empty(0, dtype=m.{result.dtype})")})
    first = next((s for s in leaves if call.args and isinstance(call.args[0], Ref) and s.name == call.args[0].name), None)
    if first is None or not info.pointwise:
        return
    if info.inplace and (first.dtype, tuple(first.shape)) == (result.dtype, result.shape) and not _overlaps(program):
        yield "in place", form(target=f".{info.name}_")
    size = first.shape[0] if first.shape else 0
    if size > 1 and all(s.shape == first.shape for s in leaves):
        halves = []
        for part in (f"[:{size // 2}]", f"[{size // 2}:]"):
            args = tuple(Text(f"{a!r}{part}") if isinstance(a, Ref) else a for a in call.args)
            kwargs = {k: Text(f"{a!r}{part}") if isinstance(a, Ref) else a for k, a in call.kwargs.items()}
            halves.append(Text(replace(call, args=args, kwargs=kwargs).source()))
        yield "batches", form(target="m.cat", args=(halves,), kwargs={})
