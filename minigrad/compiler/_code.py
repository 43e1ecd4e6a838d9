"""Code for the fused kernels of plans (codegen/), and MINIGRAD_DEBUG: looking at what the compiler does, on standard error.

    1   each compiled call: its time, and the ops that took it      3   and the programs of the fused kernels
    2   and each graph, when it is made                             4   and where the code generated for them can be read

At level 1 a call runs under the profiler, op by op: slower than usual, and the times are those of the ops alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from minigrad import _core

_SHOWN = 12  # ops of a call, those that took longest


@contextlib.contextmanager
def backend(name: str | None) -> Iterator[None]:
    """In this block plans get what mg.compile's `backend` asks for: "interpreter" no code, "llvm" all of it before the first run."""
    how = {"interpreter": "0", "llvm": "wait"}.get(name or "")
    if how is None:
        yield
        return
    from .codegen import llvm, native

    if how == "wait" and not llvm.available():
        raise RuntimeError("compile: backend='llvm' needs the package llvmlite, and Linux on x86-64. Try pip install minigrad[compile].")
    with native.using(how):
        yield


def give_code(*plans: Any) -> None:
    """Machine code for the fused kernels of plans: now, or when it is compiled."""
    kernels = [k for plan in plans if plan is not None for k in _core.fused_programs(plan.graph) if k.takes_code]
    if kernels:
        from .codegen import native

        native.attach_kernels(kernels)


def pending() -> bool:
    """Whether code is still being compiled."""
    native = sys.modules.get("minigrad.compiler.codegen.native")
    return native is not None and not native.wait(0)


def debug_level() -> int:
    """MINIGRAD_DEBUG, 0 to 4."""
    text = os.environ.get("MINIGRAD_DEBUG", "")
    return int(text) if text.isdigit() else 0


def show(entry: Any, name: str) -> None:
    """What MINIGRAD_DEBUG asks for, of a new compiled form."""
    level = debug_level()
    if level >= 2:
        for title, plan in (("", entry.plan), (", gradients", entry.backward)):
            if plan is not None:
                _print(f"-- {name}{title}: {plan.kernels} kernels, {plan.arena_bytes / 2**20:.1f} MiB inside\n{plan.graph}")
                _show_groups(plan.graph, level)
    if level >= 1:
        entry.run = _timed(entry.run, name, entry.MISS)


def _print(text: str) -> None:
    print(text, file=sys.stderr)


def _show_groups(graph: Any, level: int) -> None:
    calls = [call for call in graph.calls if "= fused[" in call["text"]]
    for call, kernel in zip(calls, _core.fused_programs(graph), strict=True):
        if level >= 3:
            _print(f"{call['text'].strip()}\n{kernel}")
        if level >= 4 and (kernel.takes_code or kernel.has_code):
            from .codegen import native

            _print(f"code: {native.readable(kernel, [call['text'].strip()])}")
        elif level >= 4:
            from .codegen import triton_runner

            _print(f"code: {triton_runner.readable(kernel, [call['text'].strip(), call['line']])}")


def _timed(run: Callable[..., Any], name: str, miss: object) -> Callable[..., Any]:
    def call(args: tuple, kwargs: dict) -> Any:
        if _core.profile_is_on():
            return run(args, kwargs)
        _core.profile_start(False, False, False)
        start = time.perf_counter()
        try:
            result = run(args, kwargs)
        finally:
            spent, events = time.perf_counter() - start, _core.profile_stop()
        if result is not miss:
            _print(_table(name, spent, events))
        return result

    return call


def _table(name: str, spent: float, events: list) -> str:
    totals: dict[str, tuple[int, float]] = {}
    for event in events:
        count, before = totals.get(event[1], (0, 0.0))
        totals[event[1]] = (count + 1, before + (event[3] - event[2]) * 1e-6)
    longest = sorted(totals.items(), key=lambda item: -item[1][1])
    lines = [f"-- {name}: {spent * 1e3:.2f} ms, {len(events)} ops"]
    lines += [f"   {ms:9.3f} ms {count:5} x {op}" for op, (count, ms) in longest[:_SHOWN]]
    if len(longest) > _SHOWN:
        lines.append(f"   {sum(ms for _, (_, ms) in longest[_SHOWN:]):9.3f} ms in {len(longest) - _SHOWN} others")
    return "\n".join(lines)
