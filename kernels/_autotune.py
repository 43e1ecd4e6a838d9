"""Choosing among a kernel's candidates (_launch.tuned): measured once for each key on this device, then remembered on disk.

The file is <device>-triton<version>.json in ~/.cache/minigrad/kernels (minigrad/_cache.py); an entry holds for one key of one
kernel file, as its text was, and one list of candidates. MINIGRAD_AUTOTUNE=0, deterministic mode and the capture of a graph take the first
candidate unmeasured: candidates may add in different orders.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
import re
import statistics
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import triton

import minigrad as mg
from minigrad import _cache
from minigrad.cuda._door import backend

_chosen: dict[tuple, dict[str, Any]] = {}


@functools.cache
def flush_buffer() -> Any:
    """A buffer larger than any L2 cache; writing it leaves nothing else there."""
    return mg.empty(256 << 20, dtype=mg.uint8, device="cuda")


def measure(call: Callable[[], Any], *, budget: float = 100.0, at_most: int = 200) -> float:
    """Milliseconds of one call on the current stream: the median, the L2 cache flushed before each."""
    call()
    mg.cuda.synchronize()
    times: list[float] = []
    while len(times) < 5 or (sum(times) < budget and len(times) < at_most):
        begin, end = mg.cuda.Event(enable_timing=True), mg.cuda.Event(enable_timing=True)
        flush_buffer().zero_()
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def folder() -> pathlib.Path | None:
    """Where choices are kept, if they are."""
    found = _cache.folder("kernels")
    return None if found is None else pathlib.Path(found)


def _file(device: int) -> pathlib.Path | None:
    if folder() is None:
        return None
    name = re.sub(r"\W+", "-", backend.device_properties(device)["name"])
    return folder() / f"{name}-triton{triton.__version__}.json"


def _read(path: pathlib.Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text())
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):  # none yet, or half-written by somebody else: measure again
        return {}


def _write(path: pathlib.Path | None, entry: str, choice: dict[str, Any]) -> None:
    """Adds an entry; other processes' entries stay, and nobody ever sees half a file."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        merged = {**_read(path), entry: choice}
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(merged, file, indent=1, sort_keys=True)
        os.replace(file.name, path)
    except OSError:  # a home that cannot be written to: measured again next time
        return


@functools.cache
def _digest(path: str) -> str:
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()[:16]


def entry_of(key: tuple, candidates: Sequence[dict[str, Any]], run: Callable) -> str:
    """The name of a choice in the file."""
    listed = hashlib.sha256(json.dumps(list(candidates), sort_keys=True, default=str).encode()).hexdigest()[:16]
    return f"{'|'.join(map(str, key))}|{_digest(run.__code__.co_filename)}|{listed}"


def best(key: tuple, candidates: Sequence[dict[str, Any]], run: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The fastest candidate for `key` on the current device."""
    device = backend.current_device()
    found = _chosen.get((device, key))
    if found is not None:
        return found
    if os.environ.get("MINIGRAD_AUTOTUNE") == "0" or mg.are_deterministic_algorithms_enabled() or backend.is_capturing():
        return candidates[0]
    path, entry = _file(device), entry_of(key, candidates, run)
    choice = _read(path).get(entry)
    if choice not in candidates:
        choice = fastest(candidates, lambda c: measure(lambda: run(c), budget=20.0))
        _write(path, entry, choice)
    _chosen[(device, key)] = choice
    return choice


def fastest(candidates: Sequence[dict[str, Any]], time_of: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
    """The candidate of the least time; those this device has not the resources for are passed over.

    Raises:
        RuntimeError: none of them runs.
    """
    times, last = {}, None
    for k, candidate in enumerate(candidates):
        try:
            times[k] = time_of(candidate)
        except Exception as error:  # out of shared memory or registers, refused by the assembler
            last = error
    if not times:
        raise RuntimeError(f"none of {len(candidates)} candidates runs on this device") from last
    return candidates[min(times, key=times.get)]
