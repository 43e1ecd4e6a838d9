"""What a profile found: `FunctionEvent` per call, `FunctionEventAvg` per name, `EventList` with the table, the trace and the stacks.

Times are microseconds as in PyTorch. The events of one thread nest: an event's self time is its own without its children's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

OP, BACKWARD, RANGE = 0, 1, 2  # csrc/core/profile.h


class Interval:
    """Start and end in microseconds since the profile began."""

    def __init__(self, start: float, end: float) -> None:
        self.start, self.end = start, end

    def elapsed_us(self) -> float:
        """Length of the interval."""
        return self.end - self.start


def _flops(name: str, inputs: list[list[int]], output: list[int]) -> int:
    """Floating-point operations of the products and of the cheapest pointwise ops, from shapes; 0 for the rest."""
    size = math.prod(output)
    matrices = [s for s in inputs if len(s) >= 2]
    if name in ("mm", "bmm", "matmul", "linear", "addmm", "baddbmm", "mv", "dot") and inputs:
        first = matrices[0] if name in ("addmm", "baddbmm") and len(matrices) > 2 else inputs[0]
        if name in ("addmm", "baddbmm") and len(inputs) == 3:
            first = inputs[1]
        return 2 * size * (first[-1] if first else 1)
    if name == "_conv_transpose" and len(inputs) >= 2 and len(inputs[1]) > 2:
        return 2 * math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if name.startswith(("conv", "_conv")) and len(inputs) >= 2 and len(inputs[1]) > 2 and "grad" not in name:
        return 2 * size * math.prod(inputs[1][1:])
    if name == "_conv_weight_grad" and len(inputs) >= 2 and len(inputs[1]) > 2:  # of the input and the output's gradient
        return 2 * size * inputs[1][0] * math.prod(inputs[1][2:])
    return size if name in ("add", "sub", "mul", "div", "add_", "sub_", "mul_", "div_") else 0


class FunctionEvent:
    """One call: name, time_range, input_shapes, memory, stack; `cpu_parent` and `cpu_children` are the events around and inside."""

    def __init__(self, raw: tuple[Any, ...], origin: int, number: int, with_flops: bool) -> None:
        kind, name, start, end, thread, sequence, memory, device_memory, inputs, dtypes, output, stack = raw
        self.id, self.kind, self.thread, self.sequence_nr = number, kind, thread, sequence or -1
        self.name = f"aten::{name}" if kind == OP else name
        self.key = self.trace_name = self.name
        self.time_range = Interval((start - origin) / 1e3, (end - origin) / 1e3)
        self.input_shapes, self.input_dtypes, self.output_shape = inputs, dtypes, output
        self.cpu_memory_usage, self.device_memory_usage = memory, device_memory
        self.stack = stack.split("\n") if stack else []
        self.flops = _flops(name, inputs, output) if with_flops and kind == OP else 0
        self.count = 1
        self.fwd_thread: int | None = None
        self.forward_event: FunctionEvent | None = None  # of a backward event
        self.cpu_parent: FunctionEvent | None = None
        self.cpu_children: list[FunctionEvent] = []
        self.is_user_annotation = kind == RANGE
        self.is_async = self.is_remote = self.is_legacy = False
        self.node_id, self.scope = -1, kind
        self.device_time_total = self.self_device_time_total = 0
        self.kernels: list[Any] = []

    @property
    def cpu_time_total(self) -> float:
        """Microseconds from start to end."""
        return self.time_range.elapsed_us()

    cpu_time = cpu_time_total

    @property
    def self_cpu_time_total(self) -> float:
        """Without the children's."""
        return max(self.cpu_time_total - sum(c.cpu_time_total for c in self.cpu_children), 0.0)

    @property
    def self_cpu_memory_usage(self) -> int:
        """Bytes, without the children's."""
        return self.cpu_memory_usage - sum(c.cpu_memory_usage for c in self.cpu_children)

    @property
    def self_device_memory_usage(self) -> int:
        """Bytes of all devices together, without the children's."""
        return self.device_memory_usage - sum(c.device_memory_usage for c in self.cpu_children)

    def __repr__(self) -> str:
        return (
            f"<FunctionEvent id={self.id} name={self.name} cpu_time={self.cpu_time_total:.3f}us cpu_start={self.time_range.start:.3f} "
            f"cpu_end={self.time_range.end:.3f} thread={self.thread} input_shapes={self.input_shapes}>"
        )


class FunctionEventAvg:
    """Sums over the events of one key."""

    def __init__(self, key: str) -> None:
        self.key, self.count = key, 0
        self.cpu_time_total = self.self_cpu_time_total = 0.0
        self.cpu_memory_usage = self.self_cpu_memory_usage = self.flops = 0
        self.device_time_total = self.self_device_time_total = self.device_memory_usage = self.self_device_memory_usage = 0
        self.input_shapes: Any = None
        self.stack: list[str] = []
        self.is_user_annotation = False
        self.scope, self.node_id = 0, -1

    def add(self, event: Any) -> FunctionEventAvg:
        """Adds an event or another sum."""
        inside_itself = getattr(event, "cpu_parent", None) is not None and event.cpu_parent.key == event.key
        self.cpu_time_total += 0 if inside_itself else event.cpu_time_total
        self.cpu_memory_usage += 0 if inside_itself else event.cpu_memory_usage
        self.device_memory_usage += 0 if inside_itself else event.device_memory_usage
        self.self_device_memory_usage += event.self_device_memory_usage
        self.self_cpu_time_total += event.self_cpu_time_total
        self.self_cpu_memory_usage += event.self_cpu_memory_usage
        self.flops += event.flops
        self.count += event.count
        return self

    @property
    def cpu_time(self) -> float:
        """Microseconds per call."""
        return self.cpu_time_total / self.count if self.count else 0.0

    @property
    def device_time(self) -> float:
        """Microseconds on a device per call: none is used."""
        return 0.0

    def __repr__(self) -> str:
        return (
            f"<FunctionEventAvg key={self.key} self_cpu_time={format_time(self.self_cpu_time_total)} "
            f"cpu_time={format_time(self.cpu_time)} count={self.count}>"
        )


def format_time(us: float) -> str:
    """Microseconds as text in a fitting unit."""
    return f"{us / 1e6:.3f}s" if us >= 1e6 else f"{us / 1e3:.3f}ms" if us >= 1e3 else f"{us:.3f}us"


def _format_memory(n: int) -> str:
    for unit, size in (("GB", 2**30), ("MB", 2**20), ("KB", 2**10)):
        if abs(n) >= size:
            return f"{n / size:.2f} {unit}"
    return f"{n} B"


def link(events: list[FunctionEvent]) -> None:
    """Sets parents, children, and the forward event of every backward one."""
    by_thread: dict[int, list[FunctionEvent]] = defaultdict(list)
    for e in events:
        by_thread[e.thread].append(e)
    for own in by_thread.values():
        own.sort(key=lambda e: (e.time_range.start, -e.time_range.end))
        around: list[FunctionEvent] = []
        for e in own:
            while around and e.time_range.start >= around[-1].time_range.end:
                around.pop()
            if around:
                e.cpu_parent = around[-1]
                around[-1].cpu_children.append(e)
            around.append(e)
    forward = {e.sequence_nr: e for e in events if e.kind == OP and e.sequence_nr > 0}
    for e in events:
        if e.kind == BACKWARD and e.sequence_nr in forward:
            e.forward_event = forward[e.sequence_nr]
            e.fwd_thread = e.forward_event.thread


_COLUMNS = {  # sort_by -> (header, text)
    "self_cpu_time_total": ("Self CPU", lambda e: format_time(e.self_cpu_time_total)),
    "cpu_time_total": ("CPU total", lambda e: format_time(e.cpu_time_total)),
    "cpu_time": ("CPU time avg", lambda e: format_time(e.cpu_time_total / max(e.count, 1))),
    "cpu_memory_usage": ("CPU Mem", lambda e: _format_memory(e.cpu_memory_usage)),
    "self_cpu_memory_usage": ("Self CPU Mem", lambda e: _format_memory(e.self_cpu_memory_usage)),
    "device_memory_usage": ("CUDA Mem", lambda e: _format_memory(e.device_memory_usage)),
    "self_device_memory_usage": ("Self CUDA Mem", lambda e: _format_memory(e.self_device_memory_usage)),
    "count": ("# of Calls", lambda e: str(e.count)),
}
_SORT = {*_COLUMNS, "flops", "device_time_total", "self_device_time_total", "device_time", "cuda_time_total", "self_cuda_time_total"}


class EventList(list):
    """Events, or sums of events; prints as a table."""

    def __init__(self, *args: Any, profile_memory: bool = False, with_flops: bool = False, wall_us: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args)
        self._profile_memory, self._with_flops, self._wall_us = profile_memory, with_flops, wall_us

    def _like(self, events: Iterable[Any]) -> EventList:
        return EventList(events, profile_memory=self._profile_memory, with_flops=self._with_flops, wall_us=self._wall_us)

    @property
    def self_cpu_time_total(self) -> float:
        """Sum of the self times, in microseconds."""
        return sum(e.self_cpu_time_total for e in self)

    def total_average(self) -> FunctionEventAvg:
        """One sum over all events."""
        total = FunctionEventAvg("Total")
        for e in self:
            total.add(e)
        return total

    def key_averages(self, group_by_input_shapes: bool = False, group_by_stack_n: int = 0,
                     group_by_overload_name: bool = False) -> EventList:  # fmt: skip
        """Sums per name, on request also per input shapes or per innermost lines of the stack."""
        sums: dict[Any, FunctionEventAvg] = {}
        for e in self:
            key = (e.key, str(e.input_shapes) if group_by_input_shapes else "", tuple(e.stack[:group_by_stack_n]))
            if key not in sums:
                sums[key] = FunctionEventAvg(e.key)
                sums[key].input_shapes = e.input_shapes if group_by_input_shapes else None
                sums[key].stack = e.stack[:group_by_stack_n]
                sums[key].is_user_annotation = e.is_user_annotation
            sums[key].add(e)
        return self._like(sums.values())

    def table(self, sort_by: str | None = None, row_limit: int = 100, max_src_column_width: int = 75, max_name_column_width: int = 55,
              max_shapes_column_width: int = 80, header: str | None = None, top_level_events_only: bool = False,
              time_unit: str | None = None) -> str:  # fmt: skip
        """The events as text.

        Args:
            sort_by: "cpu_time_total", "self_cpu_time_total", "cpu_time", "count", "cpu_memory_usage", "self_cpu_memory_usage",
                "device_memory_usage", "self_device_memory_usage", "flops"; None keeps the order. PyTorch's columns of device times are
                accepted and sort nothing.
            row_limit: rows at most.
        Raises:
            AttributeError for another sort_by.
        """
        if sort_by is not None and sort_by not in _SORT:
            raise AttributeError(f"table: no column {sort_by!r} to sort by: expected one of {', '.join(sorted(_SORT))}")
        rows = [e for e in self if not (top_level_events_only and getattr(e, "cpu_parent", None))]
        if sort_by is not None and "cuda" not in sort_by:
            rows.sort(key=lambda e: getattr(e, sort_by, 0), reverse=True)
        total = sum(e.self_cpu_time_total for e in self)
        columns: list[tuple[str, Any]] = [("Name", lambda e: _cut(e.key, max_name_column_width))]
        for name, column in _COLUMNS.items():
            if "memory" in name and not self._profile_memory:
                continue
            if "device" in name and not any(e.device_memory_usage or e.self_device_memory_usage for e in rows):
                continue
            if name in ("self_cpu_time_total", "cpu_time_total"):
                share = lambda e, name=name: f"{100 * getattr(e, name) / total if total else 0:.2f}%"  # noqa: E731
                columns.append((column[0] + " %", share))
            columns.append(column)
        if any(e.input_shapes for e in rows):
            columns.append(("Input Shapes", lambda e: _cut(str(e.input_shapes or []), max_shapes_column_width)))
        if any(e.stack for e in rows):
            columns.append(("Source Location", lambda e: _cut(e.stack[0] if e.stack else "", max_src_column_width)))
        if self._with_flops:
            columns.append(("Total FLOPs", lambda e: str(e.flops) if e.flops else "--"))
        return _layout(columns, rows[:row_limit], header) + f"Self CPU time total: {format_time(total)}\n"

    def __str__(self) -> str:
        return self.table()

    def export_chrome_trace(self, path: str) -> None:
        """Writes the events as JSON for Perfetto or chrome://tracing."""
        from minigrad.profiler.trace import write_trace

        write_trace(path, self, {})

    def supported_export_stacks_metrics(self) -> list[str]:
        """Metrics of export_stacks."""
        return ["self_cpu_time_total", "self_cuda_time_total", "self_xpu_time_total", "self_privateuse1_time_total"]

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Writes `frame;frame;… microseconds` lines (outermost first) for a flame graph.

        Raises:
            ValueError for another metric.
        """
        if metric not in self.supported_export_stacks_metrics():
            raise ValueError(f"metric should be one of: {self.supported_export_stacks_metrics()}")
        from minigrad.profiler.trace import write_whole

        sums: dict[str, float] = defaultdict(float)
        for e in self:
            if e.stack:
                sums[";".join(line.replace(";", ",").replace(" ", "_") for line in reversed(e.stack))] += getattr(e, metric, 0.0)
        write_whole(path, "".join(f"{stack} {int(value)}\n" for stack, value in sums.items() if int(value) > 0))


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else text[: width - 3] + "..."


def _layout(columns: list[tuple[str, Any]], rows: list[Any], header: str | None) -> str:
    cells = [[title for title, _ in columns]] + [[text(e) for _, text in columns] for e in rows]
    widths = [max(len(line[k]) for line in cells) + 2 for k in range(len(columns))]
    rule = "  ".join("-" * w for w in widths)
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(line, widths)) for line in cells]
    title = [header] if header else []
    return "\n".join([*title, rule, lines[0], rule, *lines[1:], rule]) + "\n"
