"""A fused program (fused.py) as the source of a Triton kernel that can be read.

A kernel works on tiles of R rows and C columns; what a register holds has the shape [R, C], [R, 1] (one number a row), [1, C] or [], so
broadcasting is Triton's own. Four forms, chosen by triton_runner.py:

    flat    one axis, nothing reduced: [BLOCK]
    tile    whole rows in a tile where rows are reduced; where columns are summed, a program goes through several tiles and leaves partial
            sums, which triton_math.sum_of_chunks adds
    loop    one long row a program, walked once for each reduction that waits for another, and at last for what is stored
    split   a piece of a row a program: partial results for a program that reduces them (pieces())

Order of additions depends on sizes and on the tile alone. Reads triton nowhere: text in, text out.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from .fused import Operand, Program, Step, Unsupported, describe
from .triton_text import BOOLEAN, FLOATS, HALF, Formula, constant, converted, held_in, rounded, tl_type

_REDUCTIONS = {"sum": "tl.sum({}, 1, keep_dims=True)", "prod": "tl.reduce({}, 1, m.multiply, keep_dims=True)", "amax": "m.amax({})",
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


def reduction(op: str, dtype: str, of: str) -> str:
    """The text of one over each row of `of`, which is held in what it accumulates in."""
    integers = summed_in(dtype) == "int64" and op in _OF_INTEGERS
    return (_OF_INTEGERS if integers else _REDUCTIONS)[op].format(of)


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


def column_stores(program: Program) -> list[tuple[int, int]]:
    """(operand, the step that sums it) of results by column."""
    found = []
    for step in program.steps:
        if step.kind == "store" and step.level == "column":
            k = step.args[0]
            while program.steps[k].kind == "cast":  # to what is stored
                k = program.steps[k].args[0]
            found.append((step.operand, k))
    return found


def phases(program: Program) -> list[int]:
    """For each step, how many reductions of rows one after the other come before it."""
    found: list[int] = []
    for step in program.steps:
        before = max((found[a] for a in step.args), default=0)
        found.append(before + (step.kind == "reduce"))
    return found


class _Writer:
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
        self.put(f"{name} = {_bare(text)}", f"{comment}  {step.note}".strip())
        self.names[k], self.raw[k] = name, held_in(step.dtype)

    def applied(self, step: Step, name: str) -> str:
        row = step.row or step.op
        formula = Formula(row, step.compute)
        used = step.args[: formula.arity]
        args = [self.value(a, BOOLEAN if row == "where" and j == 0 else formula.compute) for j, a in enumerate(used)]
        text, raw = formula.write(args, name)
        for part, what in formula.lines:
            self.put(f"{part} = {_bare(what)}")
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


def _bare(text: str) -> str:
    """Without the brackets around everything."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for k, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0 and k < len(text) - 1:
            return text
    return text[1:-1]


def _row_coordinates(w: _Writer) -> None:
    """i0, i1 … from row, where there is more than one outer axis."""
    if w.axes <= 2:
        return
    rest = "row"
    for axis in range(w.axes - 2, 0, -1):
        size = w.parameter("size", axis)
        w.put(f"i{axis} = {rest} % {size}" if rest == "row" else f"i{axis} = ({rest}) % {size}")
        rest = f"{rest} // {size}" if rest == "row" else f"({rest}) // {size}"
    w.put(f"i0 = {rest}")


def _flat(w: _Writer) -> None:
    cast = ".to(tl.int64)" if w.wide else ""
    w.put(f"col = tl.program_id(0){cast} * BLOCK + tl.arange(0, BLOCK)")
    w.put(f"inside = col < {w.parameter('cols')}")
    for k, step in enumerate(w.program.steps):
        w.stored(k) if step.kind == "store" else w.straight(k)


def _tile(w: _Writer) -> None:
    steps = w.program.steps
    cast = ".to(tl.int64)" if w.wide else ""
    rows, cols = w.parameter("rows"), w.parameter("cols")
    columns = [k for k, s in enumerate(steps) if s.kind == "reduce_rows"]
    whole = any(s.kind == "reduce" for s in steps)  # rows are not cut
    w.put(f"at = tl.program_id(0){cast}")
    tiles = "at"
    if whole:
        w.put("col = tl.arange(0, C)")
    else:
        w.put(f"col_tiles = tl.cdiv({cols}, C)")
        w.put("col = at % col_tiles * C + tl.arange(0, C)")
        tiles = "at // col_tiles"
    w.put(f"col_inside = (col < {cols})[None, :]")
    for k in columns:
        w.put(f"sum{k} = tl.zeros((R, C), {tl_type(summed_in(steps[k].dtype))})")
    if columns:
        if not whole:
            w.put(f"chunk = {tiles}")
        chunk, span = "at" if whole else "chunk", w.parameter("span")
        w.put(f"for tile in range({chunk} * {span}, tl.minimum(({chunk} + 1) * {span}, tl.cdiv({rows}, R))):")
        w.indent += 1
        tiles = "tile"
    w.put(f"row = {tiles} * R + tl.arange(0, R)")
    w.put(f"row_inside = (row < {rows})[:, None]")
    w.put("inside = row_inside & col_inside")
    _row_coordinates(w)
    for k, step in enumerate(steps):
        if step.kind == "store":
            if step.level != "column":
                w.stored(k)
        elif step.kind == "reduce":
            w.reduced(k, w.masked(step, neutral(step.op, summed_in(step.dtype))))
        elif step.kind == "reduce_rows":
            w.put(f"sum{k} += {w.masked(step, 0)}", f"{step.op} of the rows  {step.note}".strip())
        elif step.level == "column":
            if step.kind != "cast":
                raise Unsupported("arithmetic on sums of columns")
        else:
            w.straight(k)
    if not columns:
        return
    w.indent -= 1
    for j, k in enumerate(columns):
        place = f"{w.parameter('partial', j)} + ({chunk} * {cols} + col)[None, :]"
        w.put(f"tl.store({place}, tl.sum(sum{k}, 0, keep_dims=True), mask=col_inside)")
        w.partials.append((summed_in(steps[k].dtype), k))


def _long_row(w: _Writer, split: bool) -> None:
    steps = w.program.steps
    rows, cols = w.parameter("rows"), w.parameter("cols")
    if any(s.kind == "reduce_rows" for s in steps):
        raise Unsupported("sums of columns beside reductions of long rows")
    cast = ".to(tl.int64)" if w.wide else ""
    w.put(f"at = tl.program_id(0){cast}")
    begin, end, row = "0", cols, "at"
    if split:
        chunks, span = w.parameter("chunks"), w.parameter("span")
        row, begin, end = f"at // {chunks}", f"at % {chunks} * {span}", f"tl.minimum((at % {chunks} + 1) * {span}, {cols})"
    w.put(f"row = {row} + tl.arange(0, 1)")
    w.put(f"row_inside = (row < {rows})[:, None]")
    _row_coordinates(w)
    reductions = [k for k, s in enumerate(steps) if s.kind == "reduce"]
    element_stores = [k for k, s in enumerate(steps) if s.kind == "store" and s.level == "element"]
    row_stores = [k for k, s in enumerate(steps) if s.kind == "store" and s.level == "row"]
    last = max([w.phase[k] - 1 for k in reductions] + [w.phase[k] for k in element_stores])
    if split and last > 0:
        raise Unsupported("rows cut in pieces whose elements wait for a reduction")
    for phase in range(last + 1):
        now = [k for k in reductions if w.phase[k] == phase + 1]
        sinks = now + (element_stores if phase == last else [])
        steps_now = [k for k in w.needed(sinks) if k not in sinks]
        for k in steps_now:
            if steps[k].level == "row" or steps[k].kind == "constant":
                w.straight(k)
        for k in now:
            kind = summed_in(steps[k].dtype)
            w.put(f"all{k} = tl.full((1, C), {_plain(neutral(steps[k].op, kind))}, {tl_type(kind)})")
        w.put(f"for start in range({begin}, {end}, C):")
        w.indent += 1
        w.put(f"col = start{cast} + tl.arange(0, C)")
        w.put(f"col_inside = (col < {end})[None, :]")
        w.put("inside = row_inside & col_inside")
        names = dict(w.names)
        for k in w.needed(sinks):
            if k in now:
                _accumulate(w, k)
            elif steps[k].kind == "store":
                w.stored(k)
            else:
                w.straight(k)
        w.names = names  # what is inside of the loop stays there
        w.indent -= 1
        for j, k in enumerate(now):
            if split:
                w.partials.append((summed_in(steps[k].dtype), k))
                text = reduction(steps[k].op, steps[k].dtype, f"all{k}")
                w.put(f"tl.store({w.parameter('partial', j)} + at + tl.zeros((1, 1), tl.int32), {text})")
            else:
                w.reduced(k, f"all{k}")
    if not split:
        for k in w.needed(row_stores):
            w.stored(k) if steps[k].kind == "store" else w.straight(k)


def _plain(number: Any) -> str:
    return f'float("{number}")' if isinstance(number, float) else repr(number)


def _accumulate(w: _Writer, k: int) -> None:
    step = w.program.steps[k]
    kind = summed_in(step.dtype)
    value = w.masked(step, neutral(step.op, kind))
    nan = ", propagate_nan=tl.PropagateNan.ALL" if kind in FLOATS else ""
    text = {"sum": f"all{k} + {value}", "prod": f"all{k} * {value}", "amax": f"tl.maximum(all{k}, {value}{nan})",
            "amin": f"tl.minimum(all{k}, {value}{nan})"}[step.op]  # fmt: skip
    w.put(f"all{k} = {text}")


def source(program: Program, form: str, wide: bool) -> Source:
    """The kernel of a program in one of the four forms; `wide`: addresses need 64 bits.

    Raises:
        Unsupported: it has none.
    """
    w = _Writer(program, form, wide)
    for step in program.steps:
        if step.kind == "reduce" and step.op not in _REDUCTIONS or step.kind == "reduce_rows" and step.op != "sum":
            raise Unsupported(f"reduction {step.op}")
    {"flat": _flat, "tile": _tile, "loop": lambda w: _long_row(w, False), "split": lambda w: _long_row(w, True)}[form](w)
    ops = [s.op for s in program.steps if s.op]
    name = "_".join(["fused", *dict.fromkeys(ops)])[:60].rstrip("_") if ops else "fused_copy"
    constants = ["BLOCK"] if form == "flat" else ["C"] if form in ("loop", "split") else ["R", "C"]
    pointers = [p for p in w.parameters if p[0] in ("operand", "partial")]
    w.parameters = pointers + [p for p in w.parameters if p not in pointers]
    names = [w.parameter(*p) for p in w.parameters]
    sizes = ", ".join(names + [f"{c}: tl.constexpr" for c in constants])
    head = ["# Written by minigrad's compiler. One pass over a space of rows and columns:"]
    for k, o in enumerate(program.operands):
        head += [f"#   operand {k} ({w.parameter('operand', k)}): {o.dtype}"] if ("operand", k) in w.parameters else []
    head += [f"#   {describe(program, k)}" for k in range(len(program.steps))]
    head += ["import triton", "import triton.language as tl", "", "from minigrad.compiler.codegen import triton_math as m", "", ""]
    head += ["@triton.jit", f"def {name}({sizes}):"]
    return Source(name, "\n".join(head + w.lines) + "\n", w.parameters, w.partials, form)


def pieces(program: Program, chunks: int) -> Program:
    """The program behind the form "split": it reduces each row's `chunks` partial results, and does what follows."""
    outer = program.sizes[:-1] or (1,)
    added = len(program.sizes) - 1 == 0
    strides = []
    n = chunks
    for size in reversed(outer):
        strides.insert(0, n)
        n *= size
    rows = [k for k, s in enumerate(program.steps) if s.kind == "reduce"]
    old = tuple(o._replace(strides=((0,) if added else ()) + o.strides) for o in program.operands)
    partials = tuple(Operand(summed_in(program.steps[k].dtype), (*strides, 1)) for k in rows)
    n_in = program.n_inputs
    operands = old[:n_in] + partials + old[n_in:]
    steps: list[Step] = []
    place: dict[int, int] = {}
    for k, step in enumerate(program.steps):
        keep = step.level == "row" or step.kind == "constant"
        if not keep or (step.kind == "store" and step.level != "row"):
            continue
        moved = step.operand if step.operand < n_in else step.operand + len(rows)
        if step.kind == "reduce":
            at = n_in + rows.index(k)
            steps.append(Step("load", "element", dtype=operands[at].dtype, operand=at))
            steps.append(step._replace(args=(len(steps) - 1,)))
        else:
            steps.append(step._replace(args=tuple(place[a] for a in step.args), operand=moved))
        place[k] = len(steps) - 1
    return Program((*outer, chunks), operands, tuple(steps), n_in + len(rows))
