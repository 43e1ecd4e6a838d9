"""What every form of generated Triton kernel (triton_source.py) is written with: steps of a program as lines of text, places of operands
in a tile, run-time parameters in the order of their first use.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from .fused import Program, Step
from .triton_text import BOOLEAN, FLOATS, HALF, Formula, constant, converted, held_in, rounded, tl_type

REDUCTIONS = {"sum": "tl.sum({}, 1, keep_dims=True)", "prod": "tl.reduce({}, 1, m.multiply, keep_dims=True)", "amax": "m.amax({})",
               "amin": "m.amin({})"}  # fmt: skip
_OF_INTEGERS = {"amax": "tl.max({}, 1, keep_dims=True)", "amin": "tl.min({}, 1, keep_dims=True)"}
_LOWEST = {"int64": -(2**63), "float32": -float("inf"), "float64": -float("inf")}
_HIGHEST = {"int64": 2**63 - 1, "float32": float("inf"), "float64": float("inf")}


def summed_in(dtype: str) -> str:
    """What reductions of this dtype accumulate in."""
    return "float32" if dtype in HALF else dtype if dtype in FLOATS else "int64"


def neutral(op: str, dtype: str) -> Any:
    """What changes nothing in a reduction."""
    return {"sum": 0, "prod": 1, "amax": _LOWEST.get(dtype), "amin": _HIGHEST.get(dtype)}[op]


def plain(number: Any) -> str:
    """Its literal."""
    return f'float("{number}")' if isinstance(number, float) else repr(number)


def reduction(op: str, dtype: str, of: str) -> str:
    """The text of one over each row of `of`, which is held in what it accumulates in."""
    integers = summed_in(dtype) == "int64" and op in _OF_INTEGERS
    return (_OF_INTEGERS if integers else REDUCTIONS)[op].format(of)


@dataclasses.dataclass
class Source:
    """One kernel.

    Attributes:
        parameters: the run-time ones in order: ("operand", k), ("partial", k), ("size", axis), ("stride", operand, axis), or a word: rows,
            cols, span (tiles or columns a program does), chunks.
        partials: dtype of each buffer of partial results, and the step whose it is.
    """

    name: str
    text: str
    parameters: list[tuple]
    partials: list[tuple[str, int]]
    form: str


def phases(program: Program) -> list[int]:
    """For each step, how many reductions of rows one after the other come before it."""
    found: list[int] = []
    for step in program.steps:
        before = max((found[a] for a in step.args), default=0)
        found.append(before + (step.kind == "reduce"))
    return found


class Writer:
    """Lines of one kernel."""

    def __init__(self, program: Program, form: str, wide: bool) -> None:
        self.program, self.form, self.wide = program, form, wide
        self.phase = phases(program)
        self.lines: list[str] = []
        self.indent = 1
        self.parameters: list[tuple] = []
        self.partials: list[tuple[str, int]] = []
        self.names: dict[int, Any] = {}  # register -> text or Python number
        self.raw: dict[int, str] = {}  # register -> type it is held in
        self.axes = len(program.sizes)

    def put(self, line: str, comment: str = "") -> None:
        self.lines.append("    " * self.indent + line + (f"  # {comment}" if comment else ""))

    def parameter(self, *what: Any) -> str:
        """Its name, as a run-time parameter from now on."""
        if what not in self.parameters:
            self.parameters.append(what)
        if len(what) == 1:
            return what[0]
        kind, k, *axis = what
        n = self.program.n_inputs
        if kind in ("size", "partial"):
            return f"n{k}" if kind == "size" else f"p{k}_ptr"
        operand = f"x{k}" if k < n else f"y{k - n}"
        return f"{operand}_ptr" if kind == "operand" else f"{operand}_s{axis[0]}"

    # --- places

    def terms(self, k: int) -> tuple[str, str]:
        """What rows and columns add to operand k's address; "" for nothing."""
        strides = self.program.operands[k].strides
        outer = [
            ("row" if self.axes == 2 else f"i{a}") + f" * {self.parameter('stride', k, a)}" for a in range(self.axes - 1) if strides[a] != 0
        ]
        inner = {0: "", 1: "col"}.get(strides[-1]) if strides[-1] in (0, 1) else f"col * {self.parameter('stride', k, self.axes - 1)}"
        return " + ".join(outer), inner or ""

    def place(self, k: int, level: str, stored: bool) -> tuple[str, str]:
        """(address, mask) of the operand in the tile."""
        base = self.parameter("operand", k)
        row, col = self.terms(k)
        if level == "row":
            col = ""
        if self.form == "flat":
            if stored and not col:
                col = "col * 0"
            return (f"{base} + {col}", "inside") if col else (base, "")
        if stored:
            row, col = row or "row * 0", col or ("col * 0" if level != "row" else "")
        parts = [base, *([f"({row})[:, None]" if " " in row else f"{row}[:, None]"] if row else []),
                 *([f"({col})[None, :]" if " " in col else f"{col}[None, :]"] if col else [])]  # fmt: skip
        mask = {(True, True): "inside", (True, False): "row_inside", (False, True): "col_inside", (False, False): ""}[bool(row), bool(col)]
        return " + ".join(parts), mask

    # --- steps

    def value(self, register: int, kind: str) -> Any:
        """A register as an argument computed in `kind`: (text, kind), or a Python number."""
        name = self.names[register]
        if not isinstance(name, str):
            return name
        return converted(name, self.raw[register], kind), kind

    def text(self, register: int, kind: str) -> str:
        """The same as text."""
        found = self.value(register, kind)
        return found[0] if isinstance(found, tuple) else constant(found, kind)

    def straight(self, k: int) -> None:
        """A step without reduction or store."""
        step = self.program.steps[k]
        name = f"v{k}"
        if step.kind == "constant":
            self.names[k], self.raw[k] = rounded(step.number, step.dtype), held_in(step.dtype)
            return
        if step.kind == "load":
            address, mask = self.place(step.operand, step.level, False)
            text = f"tl.load({address}, mask={mask}, other=0)" if mask else f"tl.load({address})"
            text, comment = converted(text, self.program.operands[step.operand].dtype, step.dtype), ""
        elif step.kind == "cast":
            text = converted(self.text(step.args[0], self.raw[step.args[0]]), self.raw[step.args[0]], step.dtype)
            comment = f"to {step.dtype}"
        else:
            text, comment = self.applied(step, name), step.op
        self.put(f"{name} = {bare(text)}", f"{comment}  {step.note}".strip())
        self.names[k], self.raw[k] = name, held_in(step.dtype)

    def applied(self, step: Step, name: str) -> str:
        row = step.row or step.op
        formula = Formula(row, step.compute)
        used = step.args[: formula.arity]
        args = [self.value(a, BOOLEAN if row == "where" and j == 0 else formula.compute) for j, a in enumerate(used)]
        text, raw = formula.write(args, name)
        for part, what in formula.lines:
            self.put(f"{part} = {bare(what)}")
        return converted(text, raw, step.dtype)

    def masked(self, step: Step, fill: Any) -> str:
        kind = summed_in(step.dtype)
        return f"tl.where(inside, {self.text(step.args[0], kind)}, {constant(fill, kind) if fill else 0})"

    def reduced(self, k: int, over: str) -> None:
        """Step k, a reduction of what `over` holds."""
        step = self.program.steps[k]
        text = converted(reduction(step.op, step.dtype, over), summed_in(step.dtype), step.dtype)
        self.put(f"v{k} = {text}", f"{step.op} of the row  {step.note}".strip())
        self.names[k], self.raw[k] = f"v{k}", held_in(step.dtype)

    def stored(self, k: int) -> None:
        step = self.program.steps[k]
        operand = self.program.operands[step.operand]
        address, mask = self.place(step.operand, step.level, True)
        source = self.names[step.args[0]]
        raw = self.raw[step.args[0]]
        text = constant(source, raw) if not isinstance(source, str) else source
        if operand.dtype == BOOLEAN:
            text = converted(text, raw, BOOLEAN)
        elif raw != operand.dtype:
            wide = text if operand.dtype not in HALF or raw == "float32" else f"{text}.to(tl.float32)"
            text = f"{wide}.to({tl_type(operand.dtype)})"
        self.put(f"tl.store({address}, {text}, mask={mask})")

    def needed(self, sinks: list[int]) -> list[int]:
        """Steps that lead to these, in order, up to what has a name already."""
        found: set[int] = set()

        def visit(k: int) -> None:
            if k not in found and k not in self.names:
                found.add(k)
                for a in self.program.steps[k].args:
                    visit(a)

        for k in sinks:
            visit(k)
        return sorted(found)


def bare(text: str) -> str:
    """Without the brackets around everything."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for k, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0 and k < len(text) - 1:
            return text
    return text[1:-1]
