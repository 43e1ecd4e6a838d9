"""The loops of one row of a generated kernel: phases, blocks of columns, segments of vectors, reductions (schedule.py has the words).

Reductions go in the order of the kernels of csrc/cpu/reduce_isa.cpp (fold_row), which depends on sizes alone: results have the bits of the
interpreter, which runs before this code is there.
"""

from __future__ import annotations

from typing import Any

from . import rows
from .fused import Machine, Program, Unsupported, describe
from .llvm_columns import Columns
from .llvm_text import MEMORY, REGISTER, Writer, literal
from .rows import Number
from .schedule import Place, Schedule, Work

# Columns between calls of kernels. Buffers stay in L1, and while a call computes on columns that are there the next ones come from memory:
# of 512 columns hardly any is under way (gelu(x + bias) * 0.5 + y, 4M floats, 1 thread: 128 columns 6.0 -> 4.6 ms).
_BLOCK = 128
_FOLD_VECTORS = 32  # of a reduction, in 4 accumulators, between two folds of the lanes: a block of a phase that reduces
MOST_COLUMNS = 512  # of any block


def _accumulator(dtype: str) -> tuple[str, str]:
    """Dtypes of a reduction's lanes, and of what the blocks are added up in."""
    if dtype in rows.FLOATS:
        return ("float64" if dtype == "float64" else "float32"), "float64"
    return "int64", "int64"


class Loops:
    """What KernelText (llvm_kernel.py) writes for the columns of a row.

    Attributes:
        scalar: the row's numbers by register. at, base, size, stride: operands' addresses (in this row, and first), sizes, strides.
        buffer, handed: registers' buffers and those of calls' arguments. stream: i1, `outputs` may go around the caches.
        lanes: columns at once. masked: the last columns by masks, not one by one. columns: reduce_rows register -> operand.
        results: reduce_all register -> operand, where its part's result so far lies.
    """

    w: Writer
    plan: Schedule
    program: Program
    machine: Machine
    lanes: int
    masked: bool
    scalar: dict[int, str]
    buffer: dict[int, str]
    handed: dict[tuple[int, int], str]
    columns: dict[int, int]
    results: dict[int, int]
    at: list[str]
    base: list[str]
    size: list[str]
    stride: list[list[str]]
    stream: str | None
    outputs: list[int]

    def phase(self, phase: int) -> None:
        w = self.w
        work = {p: x for p, x in sorted(self.plan.work.items()) if p[0] == phase}
        if not work:
            return
        reduces = [k for x in work.values() for k in x.reduces]
        calls = any(x.calls for x in work.values())
        if not reduces and not calls and len(work) == 1:
            w.note(f"phase {phase}")
            place, only = next(iter(work.items()))
            self._segment(place, only, "%col0", w.let("sub i64 %col1, %col0"))
            return
        block = _FOLD_VECTORS * self._fold_lanes(reduces) if reduces else _BLOCK
        carried = []
        for k in reduces:
            type = REGISTER[self.totals(k)[1]]
            carried.append((type, w.load(self.base[self.results[k]], type) if k in self.results else literal(self.identity(k), type)))

        def body(begin: str, totals: list[str]) -> list[str]:
            n = w.intrinsic("smin", "i64", w.let(f"sub i64 %col1, {begin}"), str(block))
            found = dict(zip(reduces, totals))
            for place, x in work.items():
                w.note(f"phase {phase}, segment {place[1]}")
                for k, part in self._segment(place, x, begin, n):
                    lanes, total = self.totals(k)
                    found[k] = self.combine(k, total, found[k], w.convert(part, lanes, total))
                for k in x.calls:
                    self.call_block(k, begin, n)
            return [found[k] for k in reduces]

        for k, total in zip(reduces, w.loop("%col0", "%col1", block, carried, body)):
            step = self.program.steps[k]
            w.note(describe(self.program, k))
            if k in self.results:
                w.store(total, self.base[self.results[k]], REGISTER[self.totals(k)[1]])
                continue
            self.define(k, w.convert(total, self.totals(k)[1], step.dtype))

    def totals(self, k: int) -> tuple[str, str]:
        return _accumulator(self.program.steps[self.program.steps[k].args[0]].dtype)

    def _fold_lanes(self, reduces: list[int]) -> int:
        """Lanes of an accumulator: of one register."""
        kinds = {self.totals(k)[0] for k in reduces}
        if {"float32", "float64"} <= kinds:
            raise Unsupported("reductions of float32 and float64 at once")
        return self.machine.lanes if "float32" in kinds else self.machine.lanes // 2

    def identity(self, k: int) -> Any:
        op, whole = self.program.steps[k].op, self.totals(k)[0] == "int64"
        if op in ("sum", "mean", "prod"):
            return int(op == "prod")
        if whole:
            return -(1 << 63) if op == "amax" else (1 << 63) - 1
        return float("-inf") if op == "amax" else float("inf")

    def combine(self, k: int, dtype: str, a: str, b: str) -> str:
        """One step of reduction k."""
        w, type, op = self.w, REGISTER[dtype], self.program.steps[k].op
        x, y = Number(w, a, type), Number(w, b, type)
        if op in ("sum", "mean", "prod"):
            return (x * y if op == "prod" else x + y).text
        if op not in ("amax", "amin"):
            raise Unsupported(f"reduction {op}")
        return rows.functions(w, type)["maximum" if op == "amax" else "minimum"](x, y).text

    def _segment(self, place: Place, work: Work, begin: str, n: str) -> list[tuple[int, str]]:
        """The loops over columns [begin, begin + n); returns what they reduced to, part by part."""
        w, lanes = self.w, self.lanes
        if work.reduces:
            return self._reducing(place, work, begin, n)
        if not (work.keeps or work.hands or work.columns or work.stores):
            return []

        def body(lanes: int, mask: str | None, around: bool = False) -> Any:
            def at(j: str, _: list[str]) -> list[str]:
                with w.width(lanes):
                    return Columns(self, place, work, begin, j, mask, around).write([])

            return at

        whole = w.let(f"and i64 {n}, {-lanes}")
        if work.stores and self.stream:
            w.when(self._lines(begin), lambda: w.loop("0", whole, lanes, [], body(lanes, None, True)),
                   lambda: w.loop("0", whole, lanes, [], body(lanes, None)))  # fmt: skip
        else:
            w.loop("0", whole, lanes, [], body(lanes, None))
        if self.masked:
            w.loop(whole, n, lanes, [], body(lanes, self._first(w.let(f"sub i64 {n}, {whole}"), lanes)))
        else:
            w.loop(whole, n, 1, [], body(1, None))
        return []

    def _lines(self, begin: str) -> str:
        """i1: results go around the caches, whole lines from column `begin` on."""
        w, ends = self.w, "0"
        for k in self.outputs:
            type = MEMORY[self.program.operands[k].dtype]
            ends = w.let(f"or i64 {ends}, {w.let(f'ptrtoint ptr {w.address(self.at[k], begin, type)} to i64')}")
        aligned = w.let(f"icmp eq i64 {w.let(f'and i64 {ends}, 63')}, 0")
        return w.let(f"and i1 {self.stream}, {aligned}")

    def _first(self, n: str, lanes: int) -> str:
        """Mask of the first n lanes."""
        w = self.w
        with w.width(lanes):
            iota = ", ".join(f"i32 {i}" for i in range(lanes))
            return w.let(f"icmp slt {w.vector('i32')} <{iota}>, {w.splat(w.let(f'trunc i64 {n} to i32'), 'i32')}")

    def _reducing(self, place: Place, work: Work, begin: str, n: str) -> list[tuple[int, str]]:
        """A segment with reductions: four accumulators while there are columns for all of them, then one, masked."""
        w, one = self.w, self._fold_lanes(work.reduces)
        types = [REGISTER[self.totals(k)[0]] for k in work.reduces]
        whole = w.let(f"and i64 {n}, {-4 * one}")
        parts = []
        for lanes, first, last in ((4 * one, "0", whole), (one, whole, n)):

            def body(j: str, totals: list[str], lanes: int = lanes) -> list[str]:
                mask = None if lanes == 4 * one else self._first(w.let(f"sub i64 {n}, {j}"), lanes)
                with w.width(lanes):
                    return Columns(self, place, work, begin, j, mask).write(totals)

            with w.width(lanes):
                starts = [(w.vector(t), w.splat(literal(self.identity(k), t), t)) for k, t in zip(work.reduces, types)]
            for k, t, found in zip(work.reduces, types, w.loop(first, last, lanes, starts, body)):
                dtype = self.totals(k)[0]
                if lanes == 4 * one:
                    found = self._add_four(k, dtype, found, one)
                with w.width(one):
                    parts.append((k, w.fold(found, t, lambda a, b, k=k, dtype=dtype: self.combine(k, dtype, a, b))))
        return parts

    def _add_four(self, k: int, dtype: str, four: str, lanes: int) -> str:
        """(a + b) + (c + d) of accumulators that lie in one vector."""
        w, type = self.w, f"<{4 * lanes} x {REGISTER[dtype]}>"
        parts = []
        for start in range(0, 4 * lanes, lanes):
            picks = ", ".join(f"i32 {start + i}" for i in range(lanes))
            parts.append(w.let(f"shufflevector {type} {four}, {type} poison, <{lanes} x i32> <{picks}>"))
        with w.width(lanes):
            a, b, c, d = parts
            return self.combine(k, dtype, self.combine(k, dtype, a, b), self.combine(k, dtype, c, d))
