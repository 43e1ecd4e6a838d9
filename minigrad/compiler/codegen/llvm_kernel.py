"""LLVM IR of one fused program: a function with the signature of FusedCode (csrc/core/fused.h).

    for each row:                                 addresses, numbers of the row
      for each phase:                             (schedule.py)
        for each block of columns:
          for each segment:  a loop of vectors, then the last columns: masked (AVX-512) or one by one
                             the calls of kernels on the block
        numbers of the row that the phase's reductions allow
      numbers of the row are stored

Loops and reductions are in llvm_loops.py, what happens in a round of a loop in llvm_columns.py.
"""

from __future__ import annotations

from typing import Any

from . import rows
from .fused import DTYPES, Machine, Program, Step, describe
from .llvm_loops import MOST_COLUMNS, Loops
from .llvm_text import BYTES, MEMORY, REGISTER, Writer, literal
from .rows import Number
from .schedule import Call, Schedule

_ROW_PAD = 64


class KernelText(Loops):
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
        self.columns, self.results = (
            {s.args[0]: s.operand for s in program.steps if s.kind == "store" and program.steps[s.args[0]].level == level}
            for level in ("column", "total")
        )
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
                self.define(k, literal(step.number, REGISTER[step.dtype]))
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
        w = self.w
        self.outputs = [s.operand for s in self.program.steps if self.program.large and s.kind == "store" and self._streamable(s)]
        self.stream = "true" if self.outputs else None
        for out in self.outputs:
            for k in range(self.program.n_inputs):  # in place the lines are in the caches already
                apart = w.let(f"icmp ne ptr {self.base[out]}, {self.base[k]}")
                self.stream = w.let(f"and i1 {self.stream}, {apart}")

    def _streamable(self, store: Step) -> bool:
        operand = self.program.operands[store.operand]
        return store.level == "element" and operand.inner == "1" and self.program.steps[store.args[0]].level not in ("column", "total")

    def _room(self, type: str, n: int = MOST_COLUMNS) -> str:
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

            w.loop("0", str(MOST_COLUMNS), self.lanes, [], body)

    def define(self, k: int, scalar: str) -> None:
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
            self.phase(phase)
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
            if not plan.uniform.get(k) or plan.ready[k] != ready or step.kind in ("constant", "reduce", "reduce_all", "store"):
                continue
            w.note(describe(self.program, k))
            if step.kind == "load":
                operand = self.program.operands[step.operand]
                loaded = w.from_memory(w.load(self.at[step.operand], MEMORY[operand.dtype]), operand.dtype)
                self.define(k, w.convert(loaded, operand.dtype, step.dtype))
            elif step.kind == "cast":
                a = step.args[0]
                self.define(k, w.convert(self.scalar[a], self.program.steps[a].dtype, step.dtype))
            elif k in plan.calls:
                self.define(k, self._call_number(plan.calls[k], step))
            else:
                self.define(k, self.apply(k, step, lambda a: self.scalar[a]))
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
        return self.result(call, self.buffer[call.step], step)

    def result(self, call: Call, address: str, step: Step) -> str:
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

    def call_block(self, k: int, begin: str, n: str) -> None:
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
                addresses.append(self.kept_at(a, begin, "0"))
            else:
                addresses.append(self.handed[k, i])
        self._call(call, self.kept_at(k, begin, "0"), addresses, n)

    def kept_at(self, k: int, begin: str, j: str) -> str:
        """Address in register k's buffer: of a row's are the columns, of a block's those of the block."""
        type = self.plan.buffer_type(k)
        base = self.w.address(self.buffer[k], begin, type) if self.plan.buffers.get(k) == "row" else self.buffer[k]
        return base if j == "0" else self.w.address(base, j, type)

    # --- a segment

    def apply(self, k: int, step: Step, value: Any) -> str:
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
