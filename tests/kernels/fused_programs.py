"""Fused programs made by hand for the tests of the Triton backend, and what they are to give, computed by plain minigrad ops on the CPU."""

from __future__ import annotations

import functools
import math

import minigrad as mg
from minigrad.compiler.codegen import rows
from minigrad.compiler.codegen.fused import Operand, Program, Step

HALF = ("float16", "bfloat16")
_POWERS = {2: "square", 3: "cube", 0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}


def name_of(dtype) -> str:
    return str(dtype).split(".")[-1]


def computed_in(dtype: str) -> str:
    return "float32" if dtype in HALF else dtype


def chosen(op: str, last) -> tuple[str, bool]:
    """The line that runs an op whose last operand is a number, and whether it does without that operand."""
    if op == "pow" and last in _POWERS:
        return _POWERS[last], True
    return (f"{op}_unit", True) if last == 1 and f"{op}_unit" in rows.lines() else (op, False)


class Builder:
    """Writes a program step by step; registers are their numbers."""

    def __init__(self, *sizes: int) -> None:
        self.sizes, self.operands, self.steps, self.tensors = sizes, [], [], []
        self.outputs: list[tuple[Operand, mg.Tensor]] = []

    def step(self, kind: str, **fields) -> int:
        self.steps.append(Step(kind, **fields))
        return len(self.steps) - 1

    def level(self, *registers: int) -> str:
        return "element" if any(self.steps[r].level == "element" and self.steps[r].kind != "constant" for r in registers) else "row"

    def load(self, x: mg.Tensor, level: str = "element", dtype: str = "") -> int:
        """x broadcast to the space."""
        strides = x.expand(*self.sizes).stride()
        self.operands.append(Operand(name_of(x.dtype), tuple(strides)))
        self.tensors.append(x)
        return self.step("load", level=level, operand=len(self.operands) - 1, dtype=dtype or name_of(x.dtype))

    def number(self, value, dtype: str = "float32") -> int:
        return self.step("constant", level="row", number=value, dtype=dtype)

    def apply(self, row: str, *args: int, dtype: str = "", compute: str = "") -> int:
        dtype = dtype or self.steps[args[0]].dtype
        return self.step("apply", op=row, args=args, dtype=dtype, compute=compute or computed_in(dtype), level=self.level(*args))

    def cast(self, a: int, dtype: str) -> int:
        return self.step("cast", args=(a,), dtype=dtype, level=self.level(a))

    def reduce(self, op: str, a: int) -> int:
        kind = self.steps[a].dtype
        kind = "float32" if kind in HALF else kind if kind.startswith("float") else "int64"
        return self.step("reduce", op=op, args=(a,), dtype=kind, level="row")

    def columns(self, a: int) -> int:
        kind = computed_in(self.steps[a].dtype)
        return self.step("reduce_rows", op="sum", args=(a,), dtype=kind if kind.startswith("float") else "int64", level="column")

    def store(self, a: int, dtype: str = "", level: str = "") -> None:
        level = level or (self.steps[a].level if self.steps[a].kind != "constant" else "element")
        shape = {"element": self.sizes, "row": (*self.sizes[:-1], 1), "column": (*(1 for _ in self.sizes[:-1]), self.sizes[-1])}[level]
        out = mg.zeros(shape, dtype=getattr(mg, dtype or self.steps[a].dtype), device=self.tensors[0].device)
        strides = tuple(0 if s == 1 and n != 1 else t for s, n, t in zip(shape, self.sizes, out.stride()))
        self.outputs.append((Operand(name_of(out.dtype), strides, True), out))
        self.step("store", args=(a,), operand=-len(self.outputs), level=level)

    def program(self) -> Program:
        n = len(self.operands)
        steps = tuple(s if s.kind != "store" else Step("store", level=s.level, args=s.args, operand=n - 1 - s.operand) for s in self.steps)
        return Program(tuple(self.sizes), (*self.operands, *(o for o, _ in self.outputs)), steps, n)


@functools.cache
def values(shape: tuple, dtype: str, seed: int = 0, special: bool = False) -> mg.Tensor:
    x = mg.randn(shape, generator=mg.Generator().manual_seed(seed)) * 3
    if dtype == "bool":
        return x > 0
    if special and dtype.startswith(("float", "bfloat")):
        flat = x.reshape(-1)
        odd = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 1e-30, 80.0, -80.0, 100.0, -100.0, 0.5, -0.5]
        flat[: len(odd)] = mg.tensor(odd[: flat.numel()])
    return x.to(getattr(mg, dtype))


def of_one_op(info, dtype: str, n: int, numbers: dict) -> tuple[Builder, mg.Tensor] | None:
    """A program of one op and what the op gives; None where the op does not take the dtype."""
    b, args, full = Builder(n), [], []
    for k, a in enumerate(info.args):
        if a.name in numbers:
            args.append(b.number(numbers[a.name], computed_in(dtype)))
            full.append(numbers[a.name])
            continue
        special = (info.name, dtype) != ("gelu_erf_backward", "float64")  # NaN at inf there
        x = values((n,), "bool" if a.name == "condition" else dtype, k, special)
        args.append(b.load(x))
        full.append(x)
    try:
        want = mg._core.call_op(info.name, False, full)[0]
    except (RuntimeError, TypeError):
        return None
    row = info.name
    if info.args[-1].name in numbers:
        row, drop = chosen(info.name, numbers[info.args[-1].name])
        args = args[:-1] if drop else args
    b.store(b.apply(row, *args, dtype=name_of(want.dtype), compute=computed_in(dtype)))
    return b, want
