"""Fused kernels as Python data: the mirror of csrc/core/fused.h, which says what every field means.

Dtypes are names ("float32"); the level of a register is "element", "row", "column" or "total".
"""

from __future__ import annotations

from typing import NamedTuple

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")


class Unsupported(Exception):
    """A program for which no code is generated; it runs on the interpreter. The message says why."""


class Machine(NamedTuple):
    """What code is generated for. lanes: floats of a vector."""

    isa: str
    lanes: int
    attributes: str

    @property
    def simd(self) -> bool:
        return self.isa != "portable"


class Step(NamedTuple):
    """One register of a program, or a store."""

    kind: str  # load, constant, apply, cast, reduce, reduce_rows, reduce_all, store
    level: str = "element"
    op: str = ""
    row: str = ""  # apply: the line of csrc/scalar.h, on the first operands; "": the op's own
    dtype: str = "float32"
    compute: str = "float32"
    args: tuple[int, ...] = ()
    operand: int = -1
    number: float | int | bool = 0
    note: str = ""  # the user's line


class Operand(NamedTuple):
    """A tensor that a program reads or writes; strides in elements."""

    dtype: str
    strides: tuple[int, ...]
    written: bool = False

    @property
    def inner(self) -> str:
        """Stride of the inner axis as far as code depends on it."""
        return {0: "0", 1: "1"}.get(self.strides[-1], "n")


class Program(NamedTuple):
    """A fused kernel: its iteration space, operands (inputs first) and steps."""

    sizes: tuple[int, ...]
    operands: tuple[Operand, ...]
    steps: tuple[Step, ...]
    n_inputs: int
    large: bool = False  # its results go around the caches

    def structure(self) -> str:
        """What the code depends on, one step a line."""
        lines = [f"{len(self.sizes)} axes{', large' * self.large}"]
        lines += [f"operand {k}: {o.dtype} {o.inner}{' out' * o.written}" for k, o in enumerate(self.operands)]
        return "\n".join(lines + [describe(self, k) for k in range(len(self.steps))])


def describe(program: Program, k: int) -> str:
    """One step as text: `%3 = mul %1 %2 : float32 row`."""
    s = program.steps[k]
    args = " ".join(f"%{a}" for a in s.args)
    if s.kind == "store":
        return f"store {args} -> operand {s.operand}"
    what = {"load": f"load operand {s.operand}", "constant": f"constant {s.number!r}", "cast": f"cast {args}",
            "apply": f"{s.row or s.op} {args}", "reduce": f"{s.op} of row {args}",
            "reduce_rows": f"{s.op} of rows {args}", "reduce_all": f"{s.op} of all {args}"}[s.kind]  # fmt: skip
    compute = f" in {s.compute}" if s.kind == "apply" and s.compute != s.dtype else ""
    return f"%{k} = {what} : {s.dtype}{compute} {s.level}"
