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

from .fused import Operand, Program, Step, Unsupported, describe
from .triton_text import FLOATS, tl_type
from .triton_writer import REDUCTIONS, Source, Writer, neutral, plain, reduction, summed_in


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


def _row_coordinates(w: Writer) -> None:
    """i0, i1 … from row, where there is more than one outer axis."""
    if w.axes <= 2:
        return
    rest = "row"
    for axis in range(w.axes - 2, 0, -1):
        size = w.parameter("size", axis)
        w.put(f"i{axis} = {rest} % {size}" if rest == "row" else f"i{axis} = ({rest}) % {size}")
        rest = f"{rest} // {size}" if rest == "row" else f"({rest}) // {size}"
    w.put(f"i0 = {rest}")


def _flat(w: Writer) -> None:
    cast = ".to(tl.int64)" if w.wide else ""
    w.put(f"col = tl.program_id(0){cast} * BLOCK + tl.arange(0, BLOCK)")
    w.put(f"inside = col < {w.parameter('cols')}")
    for k, step in enumerate(w.program.steps):
        w.stored(k) if step.kind == "store" else w.straight(k)


def _tile(w: Writer) -> None:
    steps = w.program.steps
    cast = ".to(tl.int64)" if w.wide else ""
    rows, cols = w.parameter("rows"), w.parameter("cols")
    columns = [k for k, s in enumerate(steps) if s.kind == "reduce_rows"]
    whole = any(s.kind == "reduce" for s in steps)  # rows are not cut
    w.put(f"at = tl.program_id(0){cast}")
    tiles = "at"
    if whole:
        w.put(f"col = tl.arange(0, C){cast}")
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


def _long_row(w: Writer, split: bool) -> None:
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
            w.put(f"all{k} = tl.full((1, C), {plain(neutral(steps[k].op, kind))}, {tl_type(kind)})")
        w.put(f"for start in range({begin}, {end}, C):")
        w.indent += 1
        w.put(f"col = start + tl.arange(0, C){cast}")
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


def _accumulate(w: Writer, k: int) -> None:
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
    w = Writer(program, form, wide)
    for step in program.steps:
        if step.kind == "reduce_all":
            raise Unsupported("reductions of everything")
        if step.kind == "reduce" and step.op not in REDUCTIONS or step.kind == "reduce_rows" and step.op != "sum":
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
