"""What the programs of a kernel touch: every load, store and atomic of a run in Triton's interpreter, by program and source line, and what
looks wrong about them: addresses outside of the kernel's buffers, two programs that write one address, a program that reads what another
writes. The last two are suspicions: the interpreter runs programs one after the other, a GPU in any order.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from minigrad.kernels import _launch


@dataclasses.dataclass
class Access:
    """One load, store or atomic of one program."""

    program: tuple[int, int, int]
    line: int
    kind: str  # load, store, atomic
    addresses: np.ndarray  # of the active lanes
    lanes: int
    width: int  # bytes of an element


@dataclasses.dataclass
class Buffer:
    """A tensor argument: its name and the bytes between its first and last element."""

    name: str
    start: int
    stop: int
    width: int


@dataclasses.dataclass
class Run:
    """One launch."""

    launch: Any
    buffers: list[Buffer]
    accesses: list[Access]

    def buffer_of(self, address: int) -> Buffer | None:
        """The buffer with the address, or else the nearest."""
        return min(self.buffers, key=lambda b: max(b.start - address, address - b.stop + 1, 0), default=None)


def _buffers(entry: Any) -> list[Buffer]:
    names = [p for p in entry.kernel.arg_names if p not in entry.constants]
    found = []
    for name, value in zip(names, entry.args):
        if hasattr(value, "data_ptr") and value.numel():
            items = 1 + sum((s - 1) * t for s, t in zip(value.shape, value.stride()))
            found.append(Buffer(name, value.data_ptr(), value.data_ptr() + items * value.itemsize, value.itemsize))
    return found


def _line(kernel_file: str) -> int:
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == kernel_file:
            return frame.f_lineno
        frame = frame.f_back
    return 0


@contextlib.contextmanager
def tracing() -> Iterator[list[Run]]:
    """Inside, launches are noted with all their accesses."""
    from triton.runtime.interpreter import InterpreterBuilder, _get_np_dtype

    runs: list[Run] = []
    kept = {n: getattr(InterpreterBuilder, n) for n in ("create_masked_load", "create_masked_store", "create_atomic_rmw")}

    def note(builder: Any, kind: str, pointers: Any, mask: Any) -> None:
        run = runs[-1]
        line = _line(run.launch.kernel.fn.__code__.co_filename)
        active = np.broadcast_to(mask.data, pointers.data.shape).astype(bool)
        width = _get_np_dtype(pointers.get_element_ty()).itemsize
        run.accesses.append(Access(tuple(builder.grid_idx), line, kind, pointers.data[active].ravel(), pointers.data.size, width))

    def load(self: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
        note(self, "load", pointers, mask)
        return kept["create_masked_load"](self, pointers, mask, *rest)

    def store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        note(self, "store", pointers, mask)
        return kept["create_masked_store"](self, pointers, value, mask, *rest)

    def atomic(self: Any, operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        note(self, "atomic", pointers, mask)
        return kept["create_atomic_rmw"](self, operation, pointers, value, mask, *rest)

    for name, function in zip(kept, (load, store, atomic)):
        setattr(InterpreterBuilder, name, function)
    _launch._state.observer = lambda entry: runs.append(Run(entry, _buffers(entry), []))
    try:
        yield runs
    finally:
        _launch._state.observer = None
        for name, function in kept.items():
            setattr(InterpreterBuilder, name, function)


@dataclasses.dataclass
class LineSummary:
    """All accesses of one source line and kind."""

    line: int
    kind: str
    buffer: str
    programs: int
    times: int  # executions, all programs
    bytes: int
    idle: float  # share of lanes that the mask turned off
    sectors: float  # 32-byte sectors touched per full one needed: 1 is perfectly coalesced


def _sectors(a: Access) -> float:
    if not a.addresses.size:
        return 1.0
    needed = -(-np.unique(a.addresses).size * a.width // 32)
    return np.unique(a.addresses // 32).size / max(needed, 1)


def by_line(run: Run) -> list[LineSummary]:
    """The accesses summed up, in the order of the source."""
    grouped: dict[tuple[int, str], list[Access]] = collections.defaultdict(list)
    for a in run.accesses:
        grouped[a.line, a.kind].append(a)
    found = []
    for (line, kind), group in sorted(grouped.items()):
        names = {run.buffer_of(int(a.addresses[0])).name for a in group if a.addresses.size and run.buffers}
        lanes, active = sum(a.lanes for a in group), sum(a.addresses.size for a in group)
        found.append(LineSummary(line, kind, ", ".join(sorted(names)), len({a.program for a in group}), len(group),
                                 sum(a.addresses.size * a.width for a in group), 1 - active / lanes if lanes else 0.0,
                                 float(np.mean([_sectors(a) for a in group]))))  # fmt: skip
    return found


def suspicions(run: Run) -> list[str]:
    """What looks wrong, in words."""
    return [*_outside(run), *_races(run)]


def _outside(run: Run) -> Iterator[str]:
    told: set[tuple[int, str]] = set()
    for a in run.accesses:
        inside = np.zeros(a.addresses.shape, bool)
        for b in run.buffers:
            inside |= (a.addresses >= b.start) & (a.addresses + np.uint64(a.width) <= b.stop)
        if inside.all() or (a.line, a.kind) in told:
            continue
        told.add((a.line, a.kind))
        address = int(a.addresses[~inside][0])
        b = run.buffer_of(address)
        at = "no buffer" if b is None else f"{b.name}[{(address - b.start) // b.width}] of {(b.stop - b.start) // b.width} elements"
        yield f"line {a.line}: program {a.program}: {a.kind} of {at}, out of bounds ({(~inside).sum()} lanes)"


def _races(run: Run) -> Iterator[str]:
    numbers = {p: k for k, p in enumerate(dict.fromkeys(a.program for a in run.accesses))}
    programs = list(numbers)

    def gather(kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        group = [a for a in run.accesses if a.kind == kind and a.addresses.size]
        if not group:
            return (np.zeros(0, np.uint64),) * 3
        owners = [np.full(a.addresses.size, numbers[a.program]) for a in group]
        lines = [np.full(a.addresses.size, a.line) for a in group]
        return np.concatenate([a.addresses for a in group]), np.concatenate(owners), np.concatenate(lines)

    stores, store_programs, store_lines = gather("store")
    if not stores.size:
        return
    order = np.argsort(stores, kind="stable")
    stores, store_programs, store_lines = stores[order], store_programs[order], store_lines[order]
    twice = np.flatnonzero((stores[1:] == stores[:-1]) & (store_programs[1:] != store_programs[:-1]))
    if twice.size:
        k = int(twice[0])
        first, second = programs[int(store_programs[k])], programs[int(store_programs[k + 1])]
        where = f"{_where(run, stores[k])} ({twice.size} addresses)"
        yield f"race? line {store_lines[k]}: programs {first} and {second} both store to {where}"
    for kind in ("load", "atomic"):
        addresses, owners, lines = gather(kind)
        at = np.searchsorted(stores, addresses)
        hit = at < stores.size
        hit[hit] = stores[at[hit]] == addresses[hit]
        hit[hit] = store_programs[at[hit]] != owners[hit]
        if hit.any():
            k = int(np.flatnonzero(hit)[0])
            reader, writer = programs[int(owners[k])], programs[int(store_programs[at[k]])]
            where = _where(run, addresses[k])
            yield f"race? line {lines[k]}: program {reader}: {kind} of {where}, which program {writer} stores to"


def _where(run: Run, address: Any) -> str:
    b = run.buffer_of(int(address))
    return "?" if b is None else f"{b.name}[{(int(address) - b.start) // b.width}]"
