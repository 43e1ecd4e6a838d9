"""Chrome trace files: JSON that Perfetto (ui.perfetto.dev), chrome://tracing and TensorBoard's profiler plugin read."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from typing import Any

from minigrad.profiler.events import BACKWARD, RANGE, FunctionEvent

_CATEGORY = {BACKWARD: "cpu_op", RANGE: "user_annotation"}


def write_whole(path: str, text: str) -> None:
    """Writes a file whole or not at all; `.gz` is compressed."""
    data = text.encode()
    if os.fspath(path).endswith(".gz"):
        data = gzip.compress(data)
    folder = os.path.dirname(os.path.abspath(path))
    handle, temporary = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _call(e: FunctionEvent, pid: int) -> dict[str, Any]:
    args: dict[str, Any] = {"External id": e.id}
    if e.input_shapes:
        args |= {"Input Dims": e.input_shapes, "Input type": e.input_dtypes}
    if e.sequence_nr > 0:
        args["Sequence number"] = e.sequence_nr
    if e.fwd_thread is not None:
        args["Fwd thread id"] = e.fwd_thread
    if e.stack:
        args["Call stack"] = ";".join(e.stack)
    if e.cpu_memory_usage:
        args["Bytes"] = e.cpu_memory_usage
    return {"ph": "X", "cat": _CATEGORY.get(e.kind, "cpu_op"), "name": e.name, "pid": pid, "tid": e.thread,
            "ts": e.time_range.start, "dur": e.time_range.elapsed_us(), "args": args}  # fmt: skip


def trace_of(events: list[FunctionEvent], metadata: dict[str, Any]) -> dict[str, Any]:
    """The trace as a JSON object: a slice per event, an arrow from each forward op to its backward."""
    pid = os.getpid()
    out: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "ts": 0, "args": {"name": "python"}},
        {"ph": "M", "name": "process_labels", "pid": pid, "tid": 0, "ts": 0, "args": {"labels": "CPU"}},
    ]
    for tid in sorted({e.thread for e in events}):
        out.append({"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "ts": 0, "args": {"name": f"thread {tid}"}})
    for e in events:
        out.append(_call(e, pid))
        if e.forward_event is not None:
            arrow = {"cat": "fwdbwd", "name": "fwdbwd", "id": e.sequence_nr, "pid": pid}
            out.append({"ph": "s", "tid": e.forward_event.thread, "ts": e.forward_event.time_range.start, **arrow})
            out.append({"ph": "f", "bp": "e", "tid": e.thread, "ts": e.time_range.start, **arrow})
    return {"schemaVersion": 1, "deviceProperties": [], "displayTimeUnit": "ms", **metadata, "traceEvents": out}


def write_trace(path: str, events: list[FunctionEvent], metadata: dict[str, Any]) -> None:
    """Writes the trace of the events."""
    write_whole(path, json.dumps(trace_of(events, metadata)))
