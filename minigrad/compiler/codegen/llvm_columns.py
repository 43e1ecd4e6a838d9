"""One round of a segment's loop: code for as many columns as a vector has lanes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import rows
from .fused import Operand, Step, Unsupported, describe
from .llvm_text import BYTES, MEMORY, REGISTER, literal
from .rows import Number
from .schedule import Place, Work

if TYPE_CHECKING:
    from .llvm_kernel import KernelText


class Columns:
    """One round of a segment's loop: `lanes` columns from j of the block at `begin`."""

    def __init__(self, kernel: KernelText, place: Place, work: Work, begin: str, j: str, mask: str | None, around: bool = False) -> None:
        self.kernel, self.place, self.work, self.begin, self.j, self.mask = kernel, place, work, begin, j, mask
        self.around = around  # whether the kernel's outputs go around the caches
        self.column = kernel.w.let(f"add i64 {begin}, {j}")
        self.known: dict[int, str] = {}

    def write(self, totals: list[str]) -> list[str]:
        """All loads come before any store: an output may lie in an input's memory."""
        kernel, w, work = self.kernel, self.kernel.w, self.work
        steps, plan = kernel.program.steps, kernel.plan
        updated = []
        for k, total in zip(work.reduces, totals):
            dtype = kernel.totals(k)[0]
            a = steps[k].args[0]
            x = w.convert(self.value(a), steps[a].dtype, dtype)
            if self.mask:
                nothing = w.splat(literal(kernel.identity(k), REGISTER[dtype]), REGISTER[dtype])
                x = w.select(Number(w, self.mask, "i1"), Number(w, x, REGISTER[dtype]), Number(w, nothing, REGISTER[dtype])).text
            updated.append(kernel.combine(k, dtype, total, x))
        stores = [(k, self.value(steps[k].args[0])) for k in work.stores]
        for k in work.columns:
            self._add_to_column(k)
        for k in work.keeps:
            self._keep(self.value(k), plan.result_type(k), kernel.kept_at(k, self.begin, self.j))
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
            address = kernel.kept_at(k, self.begin, self.j)
            if k in plan.calls:
                return kernel.result(plan.calls[k], address, step)
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
        return kernel.apply(k, step, self.value)

    def _gather(self, k: int, operand: Operand) -> str:
        kernel, w, type = self.kernel, self.kernel.w, MEMORY[operand.dtype]
        if operand.inner == "1":
            if kernel.plan.phases > 1 and self.place[0] == 0 and not self.mask and w.lanes > 1 and len(operand.strides) > 1:
                self._prefetch_next_row(k, type)
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

    def _prefetch_next_row(self, k: int, type: str) -> None:
        """Memory would be idle while the later phases compute: these columns of the next row are asked for now (4M floats: -8 %)."""
        kernel, w = self.kernel, self.kernel.w
        following = w.let(f"add i64 {self.column}, {kernel.stride[k][-2]}")
        lanes = w.lanes
        with w.width(1):
            first = w.address(kernel.at[k], following, type)
            for line in range(0, lanes * BYTES[type], 64):
                w.declared.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
                w.put(f"call void @llvm.prefetch.p0(ptr {w.address(first, str(line), 'i8')}, i32 0, i32 3, i32 1)")

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
        if self.around and k in kernel.outputs:
            return w.store_around(x, w.address(kernel.at[k], self.column, type), type)
        if operand.inner == "1":
            return w.store(x, w.address(kernel.at[k], self.column, type), type, self.mask)
        lanes, v = w.lanes, w.vector(type)
        if self.mask:
            return w.scatter(x, self._many(k, type), type, self.mask)
        for lane in range(lanes):
            one = x if lanes == 1 else w.let(f"extractelement {v} {x}, i64 {lane}")
            with w.width(1):
                w.store(one, self._strided(k, type, lane), type)
