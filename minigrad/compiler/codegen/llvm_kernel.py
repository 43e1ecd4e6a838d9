"""LLVM IR of one fused program: a function with the signature of FusedCode (csrc/core/fused.h).

    for each row:                                 addresses, numbers of the row
      for each phase:                             (schedule.py)
        for each block of columns:
          for each segment:  a loop of vectors, then the last columns: masked (AVX-512) or one by one
                             the calls of kernels on the block
        numbers of the row that the phase's reductions allow
      numbers of the row are stored

Reductions go in the order of the kernels of csrc/cpu/reduce_isa.cpp (fold_row), which depends on sizes alone: so results have the same bits as
those of the interpreter, which runs before this code is there.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from . import rows
from .fused import DTYPES, Operand, Program, Step, Unsupported, describe
from .llvm_text import BYTES, MEMORY, REGISTER, Writer, literal
from .rows import Number
from .schedule import Call, Place, Schedule, Work

_BLOCK = 512  # columns between calls of kernels: buffers stay in L1
_FOLD_VECTORS = 32  # of a reduction, in 4 accumulators, between two folds of the lanes
_ROW_PAD = 64
_STREAM_BLOCK = 1024  # columns that are stored around the caches at once
_STREAM_BYTES = 48 << 20  # of all operands: more than the caches hold


class Machine(NamedTuple):
    """What is generated for. lanes: floats of a vector."""

    isa: str
    lanes: int
    attributes: str
    cpu: str

    @property
    def simd(self) -> bool:
        return self.isa != "portable"


def number_as(number: Any, dtype: str) -> Any:
    """A constant rounded to a dtype."""
    if dtype in ("float16", "bfloat16"):
        value = float(number)
        if value != value or abs(value) == float("inf"):
            return value
        if dtype == "float16":
            try:
                return struct.unpack("e", struct.pack("e", value))[0]
            except OverflowError:
                return value * float("inf")
        bits = struct.unpack("I", struct.pack("f", value))[0]
        return struct.unpack("f", struct.pack("I", (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000))[0]
    return number


def _accumulator(dtype: str) -> tuple[str, str]:
    """Dtypes of a reduction's lanes, and of what the blocks are added up in."""
    if dtype in rows.FLOATS:
        return ("float64" if dtype == "float64" else "float32"), "float64"
    return "int64", "int64"


class KernelText:
    """Writes the function `name` for a program."""

    def __init__(self, program: Program, name: str, machine: Machine) -> None:
        self.program, self.machine = program, machine
        self.w = Writer(fuses=machine.simd, rounds=machine.simd, halves=machine.simd)
        self.plan = Schedule(program, self.w)
        wide = any(s.dtype in ("float64", "int64") for s in program.steps)
        self.lanes = machine.lanes * (1 if wide else 2)
        strided = any(o.inner == "n" for o in program.operands)
        self.masked = machine.isa == "avx512" and not strided
        self.scalar: dict[int, str] = {}  # uniform registers
        self.filled: dict[tuple[int, str], str] = {}  # blocks full of one number
        self.buffer: dict[int, str] = {}
        self.handed: dict[tuple[int, int], str] = {}
        self.columns = {s.args[0]: s.operand for s in program.steps if s.kind == "store" and program.steps[s.args[0]].level == "column"}
        self.name = name

    def text(self) -> str:
        w = self.w
        self._entry()
        w.loop("%row0", "%row1", 1, [], self._row)
        if self.stream:
            w.declared.add("declare void @stream_end()")
            w.when(self.stream, lambda: w.put("call void @stream_end()"))
        w.put("ret void")
        head = (f"define void @{self.name}(ptr noundef %operands, ptr noundef %sizes, ptr noundef %strides, i64 %row0, i64 %row1, "
                f"i64 %col0, i64 %col1) #0 {{")  # fmt: skip
        return "\n".join([head, "entry:", *w.entry, *w.text, "}", ""])

    # --- before the rows

    def _entry(self) -> None:
        w, program = self.w, self.program
        axes = len(program.sizes)
        self.base = [w.load(w.address("%operands", str(k), "ptr"), "ptr", align=8) for k in range(len(program.operands))]
        self.size = [w.load(w.address("%sizes", str(d), "i64"), "i64") for d in range(axes)]
        self.stride = [[w.load(w.address("%strides", str(k * axes + d), "i64"), "i64") for d in range(axes)]
                       for k in range(len(program.operands))]  # fmt: skip
        self._buffers()
        self._streams()
        for k, step in enumerate(program.steps):
            if step.kind == "constant":
                self._define(k, literal(number_as(step.number, step.dtype), REGISTER[step.dtype]))
        for call in self.plan.calls.values():
            for i, a in enumerate(call.args):
                if program.steps[a].kind == "constant" and not self.plan.uniform[call.step]:
                    self._fill(a, call.types[i])

    def _buffers(self) -> None:
        w, plan = self.w, self.plan
        long = [k for k, kind in plan.buffers.items() if kind == "row"]
        if long:
            padded = w.let(f"add i64 {self.size[-1]}, {_ROW_PAD}")
            each = [BYTES[plan.buffer_type(k)] for k in long]
            w.declared.add("declare ptr @scratch(i64)")
            room = w.let(f"call ptr @scratch(i64 {w.let(f'mul i64 {padded}, {sum(each)}')})")
            for position, k in enumerate(sorted(long, key=lambda k: -BYTES[plan.buffer_type(k)])):
                before = sum(sorted(each, reverse=True)[:position])
                self.buffer[k] = w.address(room, w.let(f"mul i64 {padded}, {before}"), "i8")
        for k, kind in plan.buffers.items():
            if kind == "block":
                self.buffer[k] = self._room(plan.buffer_type(k))
        for k, call in plan.calls.items():
            if k not in self.buffer:
                self.buffer[k] = self._room(plan.buffer_type(k))
            for i in range(len(call.args)):
                if (k, i) in [h for work in plan.work.values() for h in work.hands]:
                    self.handed[k, i] = self._room("i8" if call.types[i] == "bool" else REGISTER[call.types[i]])

    def _streams(self) -> None:
        """Results of a large program go around the caches: an ordinary store reads the line first."""
        w, operands = self.w, self.program.operands
        self.stream = None
        self.staging: dict[int, str] = {}
        self.outputs = [s.operand for s in self.program.steps if s.kind == "store" and self._streamable(s)]
        if not self.outputs:
            return
        elements = self.size[0]
        for size in self.size[1:]:
            elements = w.let(f"mul i64 {elements}, {size}")
        each = sum(BYTES[MEMORY[o.dtype]] for o in operands if o.inner == "1" and any(o.strides[:-1]) | (len(o.strides) == 1))
        self.stream = w.let(f"icmp sgt i64 {elements}, {_STREAM_BYTES // max(each, 1)}")
        for out in self.outputs:
            self.staging[out] = w.room(MEMORY[operands[out].dtype], _STREAM_BLOCK + _ROW_PAD)
            for k in range(self.program.n_inputs):  # in place the lines are in the caches already
                apart = w.let(f"icmp ne ptr {self.base[out]}, {self.base[k]}")
                self.stream = w.let(f"and i1 {self.stream}, {apart}")

    def _streamable(self, store: Step) -> bool:
        operand = self.program.operands[store.operand]
        return store.level == "element" and operand.inner == "1" and self.program.steps[store.args[0]].level != "column"

    def _room(self, type: str, n: int = _BLOCK) -> str:
        return self.w.room(type, n + _ROW_PAD)

    def _fill(self, a: int, dtype: str) -> None:
        """A block of register a, uniform, for a kernel that reads it."""
        w, step = self.w, self.program.steps[a]
        type = "i8" if dtype == "bool" else REGISTER[dtype]
        if (a, dtype) not in self.filled or step.kind != "constant":
            self.filled[a, dtype] = self.filled.get((a, dtype)) or self._room(type)
            value = w.convert(self.scalar[a], step.dtype, dtype)
            if dtype == "bool":
                value = w.change("zext", value, "i1", "i8")

            def body(j: str, _: list[str]) -> list[str]:
                with w.width(self.lanes):
                    w.store(w.splat(value, type), w.address(self.filled[a, dtype], j, type), type)
                return []

            w.loop("0", str(_BLOCK), self.lanes, [], body)

    def _define(self, k: int, scalar: str) -> None:
        self.scalar[k] = scalar

    # --- a row

    def _row(self, row: str, _: list[str]) -> list[str]:
        w, program, plan = self.w, self.program, self.plan
        index, rest = [], row
        for d in range(len(program.sizes) - 2, -1, -1):
            index.append(w.let(f"urem i64 {rest}, {self.size[d]}") if d else rest)
            rest = w.let(f"udiv i64 {rest}, {self.size[d]}") if d else rest
        index.reverse()
        columns = set(self.columns.values())
        self.at = []
        for k, operand in enumerate(program.operands):
            offset = "0"
            for d, i in enumerate(index):
                if k not in columns:
                    offset = w.let(f"add i64 {offset}, {w.let(f'mul i64 {i}, {self.stride[k][d]}')}")
            self.at.append(self.base[k] if offset == "0" else w.address(self.base[k], offset, MEMORY[operand.dtype]))
        self._numbers(0)
        for phase in range(plan.phases):
            self._phase(phase)
            self._numbers(phase + 1)
        for k in plan.row_stores:
            step = program.steps[k]
            a, operand = step.args[0], program.operands[step.operand]
            value = w.convert(self.scalar[a], program.steps[a].dtype, operand.dtype)
            w.store(w.to_memory(value, operand.dtype), self.at[step.operand], MEMORY[operand.dtype])
        return []

    def _numbers(self, ready: int) -> None:
        """The row's numbers that can be computed from phase `ready` on."""
        w, plan = self.w, self.plan
        for k, step in enumerate(self.program.steps):
            if not plan.uniform.get(k) or plan.ready[k] != ready or step.kind in ("constant", "reduce", "store"):
                continue
            w.note(describe(self.program, k))
            if step.kind == "load":
                operand = self.program.operands[step.operand]
                loaded = w.from_memory(w.load(self.at[step.operand], MEMORY[operand.dtype]), operand.dtype)
                self._define(k, w.convert(loaded, operand.dtype, step.dtype))
            elif step.kind == "cast":
                a = step.args[0]
                self._define(k, w.convert(self.scalar[a], self.program.steps[a].dtype, step.dtype))
            elif k in plan.calls:
                self._define(k, self._call_number(plan.calls[k], step))
            else:
                self._define(k, self._apply(k, step, lambda a: self.scalar[a]))
        for call in plan.calls.values():
            for i, a in enumerate(call.args):
                if plan.uniform[a] and plan.ready[a] == ready and self.program.steps[a].kind != "constant" and not plan.uniform[call.step]:
                    self._fill(a, call.types[i])

    def _call_number(self, call: Call, step: Step) -> str:
        w = self.w
        addresses = []
        for a, dtype in zip(call.args, call.types):
            place = self._room("i64", 1)
            value = w.convert(self.scalar[a], self.program.steps[a].dtype, dtype)
            if dtype == "bool":
                value = w.change("zext", value, "i1", "i8")
            w.store(value, place, "i8" if dtype == "bool" else REGISTER[dtype])
            addresses.append(place)
        self._call(call, self.buffer[call.step], addresses, "1")
        return self._result(call, self.buffer[call.step], step)

    def _result(self, call: Call, address: str, step: Step) -> str:
        w, type = self.w, self.plan.buffer_type(call.step)
        loaded = w.load(address, type)
        if self.plan.result_type(call.step) == "bool":
            return w.convert(w.from_memory(loaded, "bool"), "bool", step.dtype)
        return w.convert(loaded, call.compute, step.dtype)

    def _call(self, call: Call, out: str, addresses: list[str], n: str) -> None:
        w = self.w
        name = f'@"row.{call.row}.{DTYPES.index(call.compute)}"'
        w.declared.add(f"declare i32 {name}(ptr, ptr, i64)")
        table = w.room("ptr", len(addresses))
        for i, a in enumerate(addresses):
            w.put(f"store ptr {a}, ptr {w.address(table, str(i), 'ptr')}, align 8")
        w.put(f"call i32 {name}(ptr {out}, ptr {table}, i64 {n})")

    # --- a phase

    def _phase(self, phase: int) -> None:
        w = self.w
        work = {p: x for p, x in sorted(self.plan.work.items()) if p[0] == phase}
        if not work:
            return
        reduces = [k for x in work.values() for k in x.reduces]
        calls = any(x.calls for x in work.values())
        if not reduces and not calls and len(work) == 1:
            w.note(f"phase {phase}")
            place, only = next(iter(work.items()))
            if only.stores and self.stream:
                w.loop("%col0", "%col1", _STREAM_BLOCK, [], lambda b, _: self._block_of(place, only, b))
            else:
                self._segment(place, only, "%col0", w.let("sub i64 %col1, %col0"))
            return
        block = _FOLD_VECTORS * self._fold_lanes(reduces) if reduces else _BLOCK
        carried = []
        for k in reduces:
            dtype = self._totals(k)[1]
            carried.append((REGISTER[dtype], literal(self._identity(k), REGISTER[dtype])))

        def body(begin: str, totals: list[str]) -> list[str]:
            n = w.intrinsic("smin", "i64", w.let(f"sub i64 %col1, {begin}"), str(block))
            found = dict(zip(reduces, totals))
            for place, x in work.items():
                w.note(f"phase {phase}, segment {place[1]}")
                for k, part in self._segment(place, x, begin, n):
                    lanes, total = self._totals(k)
                    found[k] = self._combine(k, total, found[k], w.convert(part, lanes, total))
                for k in x.calls:
                    self._call_block(k, begin, n)
            return [found[k] for k in reduces]

        for k, total in zip(reduces, w.loop("%col0", "%col1", block, carried, body)):
            step = self.program.steps[k]
            w.note(describe(self.program, k))
            self._define(k, w.convert(total, self._totals(k)[1], step.dtype))

    def _block_of(self, place: Place, work: Work, begin: str) -> list[str]:
        w = self.w
        n = w.intrinsic("smin", "i64", w.let(f"sub i64 %col1, {begin}"), str(_STREAM_BLOCK))
        self._segment(place, work, begin, n)
        return []

    def _totals(self, k: int) -> tuple[str, str]:
        return _accumulator(self.program.steps[self.program.steps[k].args[0]].dtype)

    def _fold_lanes(self, reduces: list[int]) -> int:
        """Lanes of an accumulator: of one register."""
        kinds = {self._totals(k)[0] for k in reduces}
        if {"float32", "float64"} <= kinds:
            raise Unsupported("reductions of float32 and float64 at once")
        return self.machine.lanes if "float32" in kinds else self.machine.lanes // 2

    def _identity(self, k: int) -> Any:
        op, whole = self.program.steps[k].op, self._totals(k)[0] == "int64"
        if op in ("sum", "prod"):
            return int(op == "prod")
        if whole:
            return -(1 << 63) if op == "amax" else (1 << 63) - 1
        return float("-inf") if op == "amax" else float("inf")

    def _combine(self, k: int, dtype: str, a: str, b: str) -> str:
        """One step of reduction k."""
        w, type, op = self.w, REGISTER[dtype], self.program.steps[k].op
        x, y = Number(w, a, type), Number(w, b, type)
        if op in ("sum", "prod"):
            return (x + y if op == "sum" else x * y).text
        if op not in ("amax", "amin"):
            raise Unsupported(f"reduction {op}")
        return rows.functions(w, type)["maximum" if op == "amax" else "minimum"](x, y).text

    def _call_block(self, k: int, begin: str, n: str) -> None:
        w, plan = self.w, self.plan
        call, step = plan.calls[k], self.program.steps[k]
        w.note(describe(self.program, k) + (f"    {step.note}" if step.note else ""))
        addresses = []
        for i, a in enumerate(call.args):
            if plan.uniform[a]:
                addresses.append(self.filled[a, call.types[i]])
            elif plan.direct(k, i):
                operand = self.program.steps[a].operand
                addresses.append(w.address(self.at[operand], begin, MEMORY[self.program.operands[operand].dtype]))
            elif plan.passes(k, i):
                addresses.append(self._kept_at(a, begin, "0"))
            else:
                addresses.append(self.handed[k, i])
        self._call(call, self._kept_at(k, begin, "0"), addresses, n)

    def _kept_at(self, k: int, begin: str, j: str) -> str:
        """Address in register k's buffer: of a row's are the columns, of a block's those of the block."""
        type = self.plan.buffer_type(k)
        base = self.w.address(self.buffer[k], begin, type) if self.plan.buffers.get(k) == "row" else self.buffer[k]
        return base if j == "0" else self.w.address(base, j, type)

    # --- a segment

    def _segment(self, place: Place, work: Work, begin: str, n: str) -> list[tuple[int, str]]:
        """The loops over columns [begin, begin + n); returns what they reduced to, part by part."""
        if not (work.stores and self.stream):
            return self._loops(place, work, begin, n)
        w, operands = self.w, self.program.operands
        self.goes_to = {}
        for k in self.outputs:
            direct = w.address(self.at[k], begin, MEMORY[operands[k].dtype])
            self.goes_to[k] = (w.let(f"select i1 {self.stream}, ptr {self.staging[k]}, ptr {direct}"), direct)
        parts = self._loops(place, work, begin, n)

        def copy() -> None:
            w.declared.add("declare void @stream(ptr, ptr, i64)")
            for k, (source, target) in self.goes_to.items():
                size = w.let(f"mul i64 {n}, {BYTES[MEMORY[operands[k].dtype]]}")
                w.put(f"call void @stream(ptr {target}, ptr {source}, i64 {size})")

        w.when(self.stream, copy)
        return parts

    def _loops(self, place: Place, work: Work, begin: str, n: str) -> list[tuple[int, str]]:
        w, lanes = self.w, self.lanes
        if work.reduces:
            return self._reducing(place, work, begin, n)
        if not (work.keeps or work.hands or work.columns or work.stores):
            return []

        def body(lanes: int, mask: str | None) -> Any:
            def at(j: str, _: list[str]) -> list[str]:
                with w.width(lanes):
                    return _Columns(self, place, work, begin, j, mask).write([])

            return at

        whole = w.let(f"and i64 {n}, {-lanes}")
        w.loop("0", whole, lanes, [], body(lanes, None))
        if self.masked:
            w.loop(whole, n, lanes, [], body(lanes, self._first(w.let(f"sub i64 {n}, {whole}"), lanes)))
        else:
            w.loop(whole, n, 1, [], body(1, None))
        return []

    def _first(self, n: str, lanes: int) -> str:
        """Mask of the first n lanes."""
        w = self.w
        with w.width(lanes):
            iota = ", ".join(f"i32 {i}" for i in range(lanes))
            return w.let(f"icmp slt {w.vector('i32')} <{iota}>, {w.splat(w.let(f'trunc i64 {n} to i32'), 'i32')}")

    def _reducing(self, place: Place, work: Work, begin: str, n: str) -> list[tuple[int, str]]:
        """A segment with reductions: four accumulators while there are columns for all of them, then one, masked."""
        w, one = self.w, self._fold_lanes(work.reduces)
        types = [REGISTER[self._totals(k)[0]] for k in work.reduces]
        whole = w.let(f"and i64 {n}, {-4 * one}")
        parts = []
        for lanes, first, last in ((4 * one, "0", whole), (one, whole, n)):

            def body(j: str, totals: list[str], lanes: int = lanes) -> list[str]:
                mask = None if lanes == 4 * one else self._first(w.let(f"sub i64 {n}, {j}"), lanes)
                with w.width(lanes):
                    return _Columns(self, place, work, begin, j, mask).write(totals)

            with w.width(lanes):
                starts = [(w.vector(t), w.splat(literal(self._identity(k), t), t)) for k, t in zip(work.reduces, types)]
            for k, t, found in zip(work.reduces, types, w.loop(first, last, lanes, starts, body)):
                dtype = self._totals(k)[0]
                if lanes == 4 * one:
                    found = self._add_four(k, dtype, found, one)
                with w.width(one):
                    parts.append((k, w.fold(found, t, lambda a, b, k=k, dtype=dtype: self._combine(k, dtype, a, b))))
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
            return self._combine(k, dtype, self._combine(k, dtype, a, b), self._combine(k, dtype, c, d))

    def _apply(self, k: int, step: Step, value: Any) -> str:
        """A step written in place."""
        w, (name, args) = self.w, self.plan.lines[k]
        compute, type = step.compute, REGISTER[step.compute]
        mask = rows.kernel(name).mask
        numbers = []
        for i, a in enumerate(args):
            dtype = "bool" if mask and i == 0 else compute
            numbers.append(Number(w, w.convert(value(a), self.program.steps[a].dtype, dtype), REGISTER[dtype]))
        w.unsigned = compute == "uint8"
        result = rows.evaluate(name, numbers, w, type)
        w.unsigned = False
        return w.convert(result.text, "bool" if rows.kernel(name).boolean else compute, step.dtype)


class _Columns:
    """One round of a segment's loop: `lanes` columns from j of the block at `begin`."""

    def __init__(self, kernel: KernelText, place: Place, work: Work, begin: str, j: str, mask: str | None) -> None:
        self.kernel, self.place, self.work, self.begin, self.j, self.mask = kernel, place, work, begin, j, mask
        self.column = kernel.w.let(f"add i64 {begin}, {j}")
        self.known: dict[int, str] = {}

    def write(self, totals: list[str]) -> list[str]:
        """All loads come before any store: an output may lie in an input's memory."""
        kernel, w, work = self.kernel, self.kernel.w, self.work
        steps, plan = kernel.program.steps, kernel.plan
        updated = []
        for k, total in zip(work.reduces, totals):
            dtype = kernel._totals(k)[0]
            a = steps[k].args[0]
            x = w.convert(self.value(a), steps[a].dtype, dtype)
            if self.mask:
                nothing = w.splat(literal(kernel._identity(k), REGISTER[dtype]), REGISTER[dtype])
                x = w.select(Number(w, self.mask, "i1"), Number(w, x, REGISTER[dtype]), Number(w, nothing, REGISTER[dtype])).text
            updated.append(kernel._combine(k, dtype, total, x))
        stores = [(k, self.value(steps[k].args[0])) for k in work.stores]
        for k in work.columns:
            self._add_to_column(k)
        for k in work.keeps:
            self._keep(self.value(k), plan.result_type(k), kernel._kept_at(k, self.begin, self.j))
        for k, i in work.hands:
            call = plan.calls[k]
            a, dtype = call.args[i], call.types[i]
            type = "i8" if dtype == "bool" else REGISTER[dtype]
            self._keep(w.convert(self.value(a), steps[a].dtype, dtype), dtype, w.address(kernel.handed[k, i], self.j, type))
        for k, value in stores:
            a, operand = steps[k].args[0], kernel.program.operands[steps[k].operand]
            x = w.to_memory(w.convert(value, steps[a].dtype, operand.dtype), operand.dtype)
            self._scatter(x, steps[k].operand, operand)
        return updated

    def _keep(self, value: str, dtype: str, address: str) -> None:
        w = self.kernel.w
        if dtype == "bool":
            return w.store(w.change("zext", value, "i1", "i8"), address, "i8")
        w.store(value, address, REGISTER[dtype])

    def _add_to_column(self, k: int) -> None:
        kernel, w = self.kernel, self.kernel.w
        a = kernel.program.steps[k].args[0]
        dtype = kernel.program.steps[a].dtype
        total = "float64" if dtype == "float64" else "float32" if dtype in rows.FLOATS else "int64"
        type = REGISTER[total]
        address = w.address(kernel.base[kernel.columns[k]], self.column, type)
        added = w.binary("add", Number(w, w.load(address, type, self.mask), type), Number(w, w.convert(self.value(a), dtype, total), type))
        w.store(added.text, address, type, self.mask)

    def value(self, k: int) -> str:
        """Register k for these columns."""
        kernel, plan = self.kernel, self.kernel.plan
        if plan.uniform[k]:
            if k not in self.known:
                self.known[k] = kernel.w.splat(kernel.scalar[k], REGISTER[kernel.program.steps[k].dtype])
        elif k not in self.known:
            self.known[k] = self._compute(k, kernel.program.steps[k])
        return self.known[k]

    def _compute(self, k: int, step: Step) -> str:
        kernel, w, plan = self.kernel, self.kernel.w, self.kernel.plan
        if step.kind != "load" and plan.kept(k, self.place):
            address = kernel._kept_at(k, self.begin, self.j)
            if k in plan.calls:
                return kernel._result(plan.calls[k], address, step)
            return w.from_memory(w.load(address, plan.buffer_type(k)), step.dtype if step.dtype == "bool" else "float32")
        for a in () if step.kind == "load" else plan._args(k):
            self.value(a)
        w.note(describe(kernel.program, k) + (f"    {step.note}" if step.note else ""))
        if step.kind == "load":
            operand = kernel.program.operands[step.operand]
            return w.convert(w.from_memory(self._gather(step.operand, operand), operand.dtype), operand.dtype, step.dtype)
        if step.kind == "cast":
            a = step.args[0]
            return w.convert(self.value(a), kernel.program.steps[a].dtype, step.dtype)
        if step.kind != "apply":
            raise Unsupported(f"a {step.kind} cannot be used by other steps")
        return kernel._apply(k, step, self.value)

    def _gather(self, k: int, operand: Operand) -> str:
        kernel, w, type = self.kernel, self.kernel.w, MEMORY[operand.dtype]
        if operand.inner == "1":
            return w.load(w.address(kernel.at[k], self.column, type), type, self.mask)
        if w.lanes == 1:
            return w.load(self._strided(k, type, 0), type)
        if self.mask:
            return w.gather(self._many(k, type), type, self.mask)
        result, v = "poison", w.vector(type)
        for lane in range(w.lanes):
            with w.width(1):
                one = w.load(self._strided(k, type, lane), type)
            result = w.let(f"insertelement {v} {result}, {type} {one}, i64 {lane}")
        return result

    def _many(self, k: int, type: str) -> str:
        """Addresses of all lanes."""
        w = self.kernel.w
        v, lanes = w.vector("i64"), ", ".join(f"i64 {i}" for i in range(w.lanes))
        column = w.let(f"add {v} {w.splat(self.column, 'i64')}, <{lanes}>")
        index = w.let(f"mul {v} {column}, {w.splat(self.kernel.stride[k][-1], 'i64')}")
        return w.let(f"getelementptr {type}, ptr {self.kernel.at[k]}, {v} {index}")

    def _strided(self, k: int, type: str, lane: int) -> str:
        w, stride = self.kernel.w, self.kernel.stride[k][-1]
        column = self.column if lane == 0 else w.let(f"add i64 {self.column}, {lane}")
        return w.address(self.kernel.at[k], w.let(f"mul i64 {column}, {stride}"), type)

    def _scatter(self, x: str, k: int, operand: Operand) -> None:
        kernel, w, type = self.kernel, self.kernel.w, MEMORY[operand.dtype]
        if k in kernel.staging:
            return w.store(x, w.address(kernel.goes_to[k][0], self.j, type), type, self.mask)
        if operand.inner == "1":
            return w.store(x, w.address(kernel.at[k], self.column, type), type, self.mask)
        lanes, v = w.lanes, w.vector(type)
        if self.mask:
            return w.scatter(x, self._many(k, type), type, self.mask)
        for lane in range(lanes):
            one = x if lanes == 1 else w.let(f"extractelement {v} {x}, i64 {lane}")
            with w.width(1):
                w.store(one, self._strided(k, type, lane), type)
