"""Where each step of a fused program happens in generated code.

A row is walked in *phases*: a reduction over it has to be complete before its result is used, so phase 1 begins where the reductions
of phase 0 are known. A phase works block by block (512 columns, in L1) through *segments*: loops of code written in place; after each
come the calls of ops' own kernels (exp, gelu …) on what it left in buffers. What later places need is kept, in a buffer of a block or of
a row, or computed again where that is cheaper. Results are stored in the very last segment: an output may lie in an input's memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from . import rows
from .fused import Program, Step, Unsupported
from .llvm_text import MEMORY, REGISTER, Writer

_RECOMPUTED = 4  # loads and simple ops that are cheaper again than through memory
Place = tuple[int, int]  # phase, segment


@dataclass
class Call:
    """A step that calls a kernel: operands as (register, dtype), and where its result goes."""

    step: int
    row: str
    args: list[int]
    types: list[str]
    compute: str
    boolean: bool


@dataclass
class Work:
    """What a segment leaves behind."""

    keeps: list[int] = field(default_factory=list)  # registers into their buffers
    hands: list[tuple[int, int]] = field(default_factory=list)  # (call, operand): arguments into theirs
    reduces: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    stores: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)


class Schedule:
    """Attributes:
    uniform: registers that are one number per row. ready: for those, the phase that may use them.
    place: for the others. calls: steps that call kernels. work: what each place does. buffers: register -> "block" or "row".
    """

    def __init__(self, program: Program, writer: Writer) -> None:
        self.program = program
        self.uniform: dict[int, bool] = {}
        self.ready: dict[int, int] = {}
        self.place: dict[int, Place] = {}
        self.calls: dict[int, Call] = {}
        self.lines: dict[int, tuple[str, tuple[int, ...]]] = {}  # Apply: the line of scalar.h, its operands
        self.buffers: dict[int, str] = {}
        self.work: dict[Place, Work] = {}
        self.row_stores: list[int] = []
        for k, step in enumerate(program.steps):
            self._settle(k, step, writer)
        self._last = max([(0, 0), *(self._at(k) for k in range(len(program.steps)) if self._has_place(k))])
        self.phases = 1 + self._last[0]
        self._needs()

    # --- places

    def _settle(self, k: int, step: Step, writer: Writer) -> None:
        if step.kind == "apply":
            self.lines[k] = self._line(step)
            call = self._as_call(k, step, writer)
            if call is not None:
                self.calls[k] = call
        if step.kind == "constant" or (step.kind == "load" and self.program.operands[step.operand].inner == "0"):
            self.uniform[k], self.ready[k] = True, 0
            return
        args = step.args if k not in self.lines else self.lines[k][1]
        reduces = step.kind in ("reduce", "reduce_all")
        self.uniform[k] = reduces or (step.kind in ("apply", "cast") and all(self.uniform[a] for a in args))
        phase = max([0, *(self.ready[a] if self.uniform[a] else self.place[a][0] for a in args)])
        segment = 0
        for a in args:
            if not self.uniform[a] and self.place[a][0] == phase:
                segment = max(segment, self.place[a][1] + (a in self.calls and not self._taken_as_it_is(k, a)))
        if not self.uniform[k] or reduces:
            self.place[k] = (phase, segment)
        if self.uniform[k]:
            self.ready[k] = phase + reduces

    def _has_place(self, k: int) -> bool:
        return k in self.place and self.program.steps[k].kind != "load"

    def _at(self, k: int) -> Place:
        phase, segment = self.place[k]
        return phase, segment + (k in self.calls)

    def _line(self, step: Step) -> tuple[str, tuple[int, ...]]:
        name = step.row or step.op
        return name, step.args[: rows.kernel(name).arity]

    def _as_call(self, k: int, step: Step, writer: Writer) -> Call | None:
        name, args = self.lines[k]
        kernel = rows.kernel(name)
        if step.compute not in kernel.dtypes:
            raise Unsupported(f"{name} is not computed in {step.compute}")
        if kernel.can_fail and step.compute not in rows.FLOATS:
            raise Unsupported(f"{name} of integers reports a division by zero")
        if kernel.arity != len(args):
            raise Unsupported(f"{name} has {kernel.arity} operands, the program gives {len(args)}")
        types = ["bool" if kernel.mask and i == 0 else step.compute for i in range(len(args))]
        if rows.is_inline(name, types, REGISTER[step.compute], writer):
            return None
        return Call(k, name, list(args), types, step.compute, kernel.boolean)

    # --- what each place has to leave

    def _work(self, place: Place) -> Work:
        return self.work.setdefault(place, Work())

    def _needs(self) -> None:
        steps = self.program.steps
        for k, step in enumerate(steps):
            if k in self.calls and not self.uniform[k]:
                self._need_call(k)
            elif step.kind in ("reduce", "reduce_all"):
                self._work(self.place[k]).reduces.append(k)
                self._need(step.args[0], self.place[k])
            elif step.kind == "reduce_rows":
                self._work(self.place[k]).columns.append(k)
                self._need(step.args[0], self.place[k])
            elif step.kind == "store" and steps[step.args[0]].level not in ("column", "total"):
                if step.level == "row" or self.program.operands[step.operand].inner == "0":
                    self.row_stores.append(k)
                else:
                    self._work(self._last).stores.append(k)
                    self._need(step.args[0], self._last)

    def _need_call(self, k: int) -> None:
        call, place = self.calls[k], self.place[k]
        self._work(place).calls.append(k)
        for i, a in enumerate(call.args):
            if self.uniform[a] or self.direct(k, i):
                continue
            if a in self.calls and self._result_type(a) == call.types[i] == self.program.steps[a].dtype:
                self._keep(a, place)
                continue
            self._work(place).hands.append((k, i))
            self._need(a, place)

    def direct(self, k: int, i: int) -> bool:
        """Operand i of call k is read where it lies."""
        call = self.calls[k]
        step = self.program.steps[call.args[i]]
        if step.kind != "load":
            return False
        operand = self.program.operands[step.operand]
        return operand.inner == "1" and operand.dtype == step.dtype == call.types[i]

    def passes(self, k: int, i: int) -> bool:
        """Operand i of call k is another call's result as it is."""
        call = self.calls[k]
        a = call.args[i]
        return not self.uniform[a] and a in self.calls and self._result_type(a) == call.types[i] == self.program.steps[a].dtype

    def _taken_as_it_is(self, k: int, a: int) -> bool:
        """Call k reads the result of call a where that lies; 16-bit floats, which are rounded in between, are handed over by code."""
        return k in self.calls and all(self.passes(k, i) for i, b in enumerate(self.calls[k].args) if b == a)

    def _result_type(self, k: int) -> str:
        return "bool" if self.calls[k].boolean else self.calls[k].compute

    def result_type(self, k: int) -> str:
        """Dtype in which a kept register lies in its buffer."""
        return self._result_type(k) if k in self.calls else self.program.steps[k].dtype

    def _keep(self, k: int, place: Place) -> None:
        """Register k goes through a buffer to `place`."""
        kind = "row" if place[0] != self.place[k][0] else "block"
        if self.buffers.get(k) != "row":
            self.buffers[k] = kind

    def _need(self, k: int, place: Place) -> None:
        if self.uniform[k] or self.program.steps[k].kind == "load":
            return
        here = self.place[k]
        if k in self.calls:
            return self._keep(k, place)
        if here != place and self._cost(k) > _RECOMPUTED:
            if k not in self.buffers:
                self._work(here).keeps.append(k)
                for a in self._args(k):
                    self._need(a, here)
            return self._keep(k, place)
        for a in self._args(k):
            self._need(a, place)

    def _args(self, k: int) -> tuple[int, ...]:
        return self.lines[k][1] if k in self.lines else self.program.steps[k].args

    def kept(self, k: int, place: Place) -> bool:
        """Register k is read from its buffer at `place`."""
        return k in self.calls or (k in self.buffers and self.place[k] != place)

    def _cost(self, k: int) -> int:
        if self.uniform[k]:
            return 0
        step = self.program.steps[k]
        if step.kind == "load":
            return 1
        if k in self.calls or k in self.buffers:
            return 1
        heavy = step.op in ("true_divide", "sqrt", "rsqrt", "reciprocal") or step.dtype in ("float16", "bfloat16")
        return 1 + _RECOMPUTED * heavy + sum(self._cost(a) for a in self._args(k))

    def buffer_type(self, k: int) -> str:
        """LLVM type of an element of register k's buffer."""
        dtype = self.result_type(k)
        return MEMORY["bool"] if dtype == "bool" else REGISTER[dtype]
