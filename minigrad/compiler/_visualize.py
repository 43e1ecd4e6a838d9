"""`mg.compile.visualize(f)(*args)`: what the compiler made of a function, as one HTML page that opens without anything else.

Two columns of calls from top to bottom: before fusion and after. Arcs on the left lead from each value's call to those that read it. A row
shows the op, its result's shape, bytes read and written, arithmetic, and time as a bar: each call of the plan is run by itself, a few
times, on copies of the arguments and of the function's state. Pointing at a row shows the user's line and the whole call; a fused one
lists what it stands for. No script; the pictures are SVG.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad.op import registry

from .program import ExportedProgram

_ROUNDS = 5
_ROW, _LEFT, _WIDTH, _BAR = 26, 110, 620, 120  # pixels
_COLORS = {"view": "#eeeeee", "pointwise": "#d8ecd0", "fused": "#b6d7f2", "product": "#f7d9b0", "step": "#e6d3f0", "other": "#f4ecc8"}


@dataclass
class Row:
    """One call as it is shown."""

    title: str
    kind: str
    shape: str
    line: str
    text: str
    reads: list[int]
    makes: list[int]
    writes: list[int] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    moved: int = 0
    flops: int = 0
    seconds: float = 0.0


class Page:
    """The page.

    Attributes:
        html: its text. before, after: the rows of the two columns.
    """

    def __init__(self, name: str, before: list[Row], after: list[Row], arena: int) -> None:
        self.name, self.before, self.after, self._arena = name, before, after, arena
        self.html = self._text()

    def save(self, path: Any) -> None:
        """Write it to a file."""
        Path(path).write_text(self.html, encoding="utf-8")

    def _repr_html_(self) -> str:
        return self.html

    def __str__(self) -> str:
        old, new = (sum(r.seconds for r in rows) for rows in (self.before, self.after))
        return f"{self.name}: {len(self.before)} calls in {_duration(old)} before fusion, {len(self.after)} in {_duration(new)} after"

    __repr__ = __str__

    def _text(self) -> str:
        style = ("body{font:13px sans-serif;margin:16px}svg text{font:12px monospace}"
                 ".c{display:inline-block;vertical-align:top;margin-right:24px}"
                 "h2{font-size:15px}.k{padding:2px 6px;margin-right:4px}")  # fmt: skip
        keys = "".join(f'<span class="k" style="background:{color}">{kind}</span>' for kind, color in _COLORS.items())
        columns = "".join(f'<div class="c"><h2>{title}: {_summary(rows)}</h2>{_svg(rows)}</div>'
                          for title, rows in (("before fusion", self.before), ("after", self.after)))  # fmt: skip
        arena = f"<p>Values inside of a run share an arena of {_bytes(self._arena)}.</p>" if self._arena else ""
        return (f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(self.name)}</title>'
                f"<style>{style}</style></head>"
                f"<body><h1>{escape(self.name)}</h1><p>{keys}</p>{arena}{columns}</body></html>")  # fmt: skip


def visualize(f: Callable[..., Any], *, path: Any = None) -> Callable[..., Page]:
    """`visualize(f)(*args, **kwargs)` compiles `f` for these arguments and returns the page; `path`: also write it there.

    f's state is not touched: calls run on copies. What cannot be traced raises, as for `mg.export`.
    """

    def run(*args: Any, **kwargs: Any) -> Page:
        from .export import export

        program = export(f, args, kwargs)
        plan = _core.Plan(program.graph)
        name = getattr(f, "__qualname__", type(f).__name__)
        pages = [_rows(graph, program, args, kwargs) for graph in (program.graph, plan.graph)]
        page = Page(name, pages[0], pages[1], getattr(plan, "arena_bytes", 0))
        if path is not None:
            page.save(path)
        return page

    return run


# --- what is in a graph, and how long it takes ------------------------------------------------------------------------------------------
def _rows(graph: Any, program: ExportedProgram, args: tuple, kwargs: dict) -> list[Row]:
    data = _core.graph_data(graph)
    texts = graph.calls
    rows = [_row(data, call, text["text"]) for call, text in zip(data["calls"], texts)]
    _measure(graph, data, rows, program, args, kwargs)
    return rows


def _ids(call: dict[str, Any]) -> list[int]:
    found = []
    for kind, value in call.get("args", ()):
        found += [value] if kind == "value" else [v for v in value if v is not None] if kind == "values" else []
    return [*found, *(value for _, value in call.get("gradients", ()) if value >= 0)]


def _row(data: dict[str, Any], call: dict[str, Any], text: str) -> Row:
    values, reads, makes = data["values"], _ids(call), list(call["outs"])
    shape = ", ".join(_shape(values[k]) for k in makes[:2]) + " …" * (len(makes) > 2)
    row = Row("", "other", shape, call["line"], text, reads, makes)
    if "host" in call:
        row.title, row.kind, row.writes = call["host"], "step", call["writes"]
    elif "fused" in call:
        row.parts = [part.get("op", "?") for part in call["parts"]]
        row.title, row.kind = f"fused: {' '.join(row.parts)}", "fused"
        row.text = "\n".join([*(f"{part.get('op', '?')}  {part['line']}" for part in call["parts"]), "", call["fused"]])
    else:
        info = registry[call["op"]]
        row.title = call["op"] + "_" * (call["inplace"] and not call["op"].endswith("_"))
        if call["inplace"]:
            row.writes = [reads[0]]
            row.shape = _shape(values[reads[0]])
        row.kind = "view" if info.view else "pointwise" if info.pointwise else "product" if info.flops else "other"
    if row.kind != "view":
        row.moved = sum(_size(values[k]) for k in [*dict.fromkeys(reads), *makes])
        row.flops = _flops(values, call)
    return row


def _shape(value: dict[str, Any]) -> str:
    return f"{str(value['dtype']).rpartition('.')[2]}{list(value['sizes'])}"


def _numel(value: dict[str, Any]) -> int:
    n = 1
    for s in value["sizes"]:
        n *= s
    return n


def _size(value: dict[str, Any]) -> int:
    return _numel(value) * value["dtype"].itemsize


class _Shape:
    """Stands for a tensor where an op's `flops=` asks for its shape."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.shape = sizes

    def numel(self) -> int:
        """Number of elements."""
        return _numel({"sizes": self.shape})

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def dim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def size(self, dim: int) -> int:
        """One size."""
        return self.shape[dim]


def _flops(values: list[dict[str, Any]], call: dict[str, Any]) -> int:
    """Declared (`flops=`), or one per element and op."""
    if "fused" in call:
        return sum(_flops(values, part) for part in call["parts"] if "op" in part)
    if "op" not in call:
        return 0
    info = registry[call["op"]]
    if info.flops is not None:
        args = [_Shape(tuple(values[v]["sizes"])) if kind == "value" else None if kind == "values" else v for kind, v in call["args"]]
        return int(info.flops(*args))
    return max((_numel(values[k]) for k in [*_ids(call), *call["outs"]]), default=0)


def _measure(graph: Any, data: dict[str, Any], rows: list[Row], program: ExportedProgram, args: tuple, kwargs: dict) -> None:
    """Median seconds of each call by itself."""
    plans = [None if "host" in call else _core.Plan(_core.single_call(graph, k), False) for k, call in enumerate(data["calls"])]
    last = {id: k for k, call in enumerate(data["calls"]) for id in [*_ids(call), *call["outs"]]}
    kept, random = {*data["inputs"], *data["outputs"]}, mg.get_rng_state()
    spent: list[list[float]] = [[] for _ in rows]
    for _ in range(_ROUNDS):
        tensors = dict(zip(data["inputs"], program.inputs(args, kwargs, copy=True)))
        tensors |= dict(data["constants"])
        for k, plan in enumerate(plans):
            if plan is not None:
                _run(plan, data["calls"][k], rows[k], tensors, spent[k])
            for id in _ids(data["calls"][k]):
                if last[id] == k and id not in kept:
                    tensors.pop(id, None)
    mg.set_rng_state(random)
    for row, seconds in zip(rows, spent):
        row.seconds = sorted(seconds)[len(seconds) // 2] if seconds else 0.0


def _run(plan: Any, call: dict[str, Any], row: Row, tensors: dict[int, Any], spent: list[float]) -> None:
    given = [tensors[id] for id in dict.fromkeys(row.reads)]
    start = time.perf_counter()
    made = plan.run(given)
    spent.append(time.perf_counter() - start)
    tensors.update(zip(call["outs"], made))


# --- drawing ----------------------------------------------------------------------------------------------------------------------------
def _duration(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def _bytes(n: float) -> str:
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n >= scale:
            return f"{n / scale:.3g} {unit}"
    return f"{n:.0f} B"


def _count(n: float) -> str:
    for unit, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= scale:
            return f"{n / scale:.3g} {unit}"
    return f"{n:.0f} "


def _summary(rows: list[Row]) -> str:
    return (f"{len(rows)} calls, {_duration(sum(r.seconds for r in rows))}, {_bytes(sum(r.moved for r in rows))} moved, "
            f"{_count(sum(r.flops for r in rows))}flop")  # fmt: skip


def _svg(rows: list[Row]) -> str:
    longest = max((r.seconds for r in rows), default=0) or 1
    height = _ROW * (len(rows) + 1)
    made: dict[int, int] = {}  # value -> the row that made it, or wrote to it last
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH}" height="{height}" viewBox="0 0 {_LEFT + _WIDTH} {height}">']
    for k, row in enumerate(rows):
        parts += [_arc(maker, k) for maker in sorted({made[id] for id in row.reads if id in made})]
        made |= dict.fromkeys([*row.makes, *row.writes], k)
    for k, row in enumerate(rows):
        y = k * _ROW + 2
        tip = "\n".join(filter(None, (row.line, row.text, _detail(row))))
        shown = _duration(row.seconds) if row.seconds else ""
        bar = max(1, int(_BAR * row.seconds / longest)) if row.seconds else 0
        parts.append(f'<g><title>{escape(tip)}</title><rect x="{_LEFT}" y="{y}" width="{_WIDTH - 2}" height="{_ROW - 4}" rx="3" '
                     f'fill="{_COLORS[row.kind]}"/><rect x="{_LEFT + _WIDTH - _BAR - 80}" y="{y + 4}" width="{bar}" '
                     f'height="{_ROW - 12}" fill="#c0504d"/>'
                     f'<text x="{_LEFT + 6}" y="{y + 15}">{escape(_cut(row.title, 34))}</text>'
                     f'<text x="{_LEFT + 258}" y="{y + 15}">{escape(_cut(row.shape, 20))}</text>'
                     f'<text x="{_LEFT + _WIDTH - 74}" y="{y + 15}">{shown}</text></g>')  # fmt: skip
    return "".join([*parts, "</svg>"])


def _arc(a: int, b: int) -> str:
    """From the bottom of one row to the top of another; the further apart, the wider."""
    y0, y1 = a * _ROW + _ROW // 2, b * _ROW + _ROW // 2
    x = _LEFT - min(_LEFT - 4, 10 + 5 * (b - a) ** 0.75)
    return f'<path d="M{_LEFT} {y0} C{x:.0f} {y0} {x:.0f} {y1} {_LEFT} {y1}" fill="none" stroke="#99a" stroke-width="0.8"/>'


def _detail(row: Row) -> str:
    if row.kind in ("view", "step"):
        return ""
    rates = f": {row.moved / row.seconds / 1e9:.1f} GB/s, {row.flops / row.seconds / 1e9:.1f} Gflop/s" if row.seconds else ""
    return f"{_bytes(row.moved)} moved, {_count(row.flops)}flop{rates}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
