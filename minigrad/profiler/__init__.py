"""What a program spends its time on: `profile` records every op, backward node and `record_function` range.

    with profile(record_shapes=True) as prof:
        model(x).sum().backward()
    print(prof.key_averages().table(sort_by="self_cpu_time_total", row_limit=10))
    prof.export_chrome_trace("trace.json")        # open it in ui.perfetto.dev

The recorder is in C++ (csrc/core/profile.h) and costs nothing while no profile is on. Events of ops are called `aten::<op>` as PyTorch's.
"""

from __future__ import annotations

import enum
import functools
import json
import os
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from minigrad import _core
from minigrad.profiler.events import EventList, FunctionEvent, FunctionEventAvg, link

__all__ = ["EventList", "FunctionEvent", "FunctionEventAvg", "ProfilerAction", "ProfilerActivity", "kineto_available", "profile",
           "record_function", "schedule", "supported_activities", "tensorboard_trace_handler"]  # fmt: skip


class ProfilerActivity(enum.Enum):
    """What can be recorded; only CPU is."""

    CPU = 0
    XPU = 1
    MTIA = 2
    CUDA = 3
    HPU = 4
    PrivateUse1 = 5


class ProfilerAction(enum.Enum):
    """What a schedule says about a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


def supported_activities() -> set[ProfilerActivity]:
    """The activities that can be recorded."""
    return {ProfilerActivity.CPU}


def kineto_available() -> bool:
    """Whether traces can be exported."""
    return True


def schedule(*, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0,
             skip_first_wait: int = 0) -> Callable[[int], ProfilerAction]:  # fmt: skip
    """A function of the step number: skip_first steps are ignored, then cycles of wait, warmup and active steps follow.

    Args:
        repeat: number of cycles; 0: no end.
        skip_first_wait: not 0: the first cycle does not wait.
    Raises:
        AssertionError for negative numbers or active = 0.
    """
    if min(wait, warmup, repeat, skip_first) < 0 or active <= 0:
        raise AssertionError("Invalid profiler schedule arguments")
    cycle = wait + warmup + active

    def action(step: int) -> ProfilerAction:
        if step < 0:
            raise AssertionError(f"Step must be non-negative. Got {step}.")
        if step < skip_first:
            return ProfilerAction.NONE
        step -= skip_first
        if skip_first_wait:
            step += wait
        if repeat > 0 and step // cycle >= repeat:
            return ProfilerAction.NONE
        position = step % cycle
        if position < wait:
            return ProfilerAction.NONE
        if position < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if position < cycle - 1 else ProfilerAction.RECORD_AND_SAVE

    return action


def tensorboard_trace_handler(dir_name: str, worker_name: str | None = None, use_gzip: bool = False) -> Callable[[profile], None]:
    """An on_trace_ready that writes `<worker>.<time>.pt.trace.json` files into a folder.

    Raises:
        RuntimeError when the folder cannot be made.
    """

    def handler(prof: profile) -> None:
        try:
            os.makedirs(dir_name, exist_ok=True)
        except OSError as error:
            raise RuntimeError("Can't create directory: " + dir_name) from error
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        prof.export_chrome_trace(os.path.join(dir_name, f"{worker}.{time.time_ns()}.pt.trace.json" + (".gz" if use_gzip else "")))

    return handler


class record_function:  # noqa: N801  PyTorch's name
    """A named range of the program in the profile; context manager and decorator.

    Args:
        name: label.
        args: further text, kept.
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name, self.args = name, args
        self._range: Any = None

    def __enter__(self) -> record_function:
        self._range = _core.ProfileRange(self.name) if _core.profile_is_on() else None
        return self

    def __exit__(self, *exc: Any) -> None:
        self._range = None  # its life is the range

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name, self.args):
                return function(*args, **kwargs)

        return inside


class _Recording:
    """One stretch of recording and its events."""

    def __init__(self, shapes: bool, memory: bool, stack: bool, flops: bool) -> None:
        self.options, self.flops = (shapes or flops, memory, stack), flops
        self.events: EventList | None = None

    def start(self) -> None:
        self.began = time.monotonic_ns()
        _core.profile_start(*self.options)

    def stop(self) -> None:
        ended, raw = time.monotonic_ns(), _core.profile_stop()
        made = [FunctionEvent(r, self.began, k, self.flops) for k, r in enumerate(sorted(raw, key=lambda r: (r[2], -r[3])))]
        link(made)
        self.events = EventList(made, profile_memory=self.options[1], with_flops=self.flops, wall_us=(ended - self.began) / 1e3)


class profile:  # noqa: N801  PyTorch's name
    """Records the ops that run inside of the context, or between start() and stop().

    Args:
        activities: of ProfilerActivity; only CPU has any.
        schedule: says by step number what to do; call `step()` after every step of the program. None: record everything.
        on_trace_ready: called with this object when a stretch of recording has ended.
        record_shapes: shapes of the arguments.
        profile_memory: bytes allocated and freed, on the CPU and on the devices.
        with_stack: the Python stack of every op (slow).
        with_flops: floating-point operations of products and convolutions, from their shapes.
    Raises:
        RuntimeError when another profile is running.
    """

    def __init__(self, *, activities: Iterable[ProfilerActivity] | None = None, schedule: Callable[[int], ProfilerAction] | None = None,
                 on_trace_ready: Callable[[profile], Any] | None = None, record_shapes: bool = False, profile_memory: bool = False,
                 with_stack: bool = False, with_flops: bool = False, with_modules: bool = False, experimental_config: Any = None,
                 execution_trace_observer: Any = None, acc_events: bool = False, use_cuda: bool | None = None,
                 custom_trace_id_callback: Any = None) -> None:  # fmt: skip
        self.activities = set(activities) if activities else supported_activities()
        self.record_shapes, self.profile_memory, self.with_stack, self.with_flops = record_shapes, profile_memory, with_stack, with_flops
        self.with_modules, self.acc_events = with_modules, acc_events
        self.schedule = schedule or (lambda step: ProfilerAction.RECORD)
        self._has_schedule = schedule is not None
        self.on_trace_ready = on_trace_ready
        self.step_num = 0
        self.current_action = self.schedule(0)
        self._metadata: dict[str, Any] = {}
        self._recording: _Recording | None = None
        self._done: _Recording | None = None
        self._step_range: Any = None

    # --- recording
    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.stop()

    def _begin(self) -> None:
        recording = _Recording(self.record_shapes, self.profile_memory, self.with_stack, self.with_flops)
        recording.start()
        self._recording = recording

    def _end(self, save: bool) -> None:
        recording, self._recording = self._recording, None
        if recording is None:
            return
        recording.stop()
        if save:
            if self.acc_events and self._done is not None and self._done.events is not None and recording.events is not None:
                recording.events[:0] = self._done.events
            self._done = recording
            if self.on_trace_ready is not None:
                self.on_trace_ready(self)

    def _label_step(self) -> None:
        self._step_range = _core.ProfileRange(f"ProfilerStep#{self.step_num}") if self._has_schedule and self._recording else None

    def start(self) -> None:
        """Begins recording, if the schedule says so for step 0."""
        if self.current_action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE):
            self._begin()
        self._label_step()

    def stop(self) -> None:
        """Ends recording."""
        self._step_range = None
        self._end(save=True)

    def step(self) -> None:
        """Tells the schedule that the next step of the program begins."""
        self._step_range = None
        before = self.current_action
        self.step_num += 1
        self.current_action = self.schedule(self.step_num)
        records = self.current_action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
        if before == ProfilerAction.RECORD_AND_SAVE:
            self._end(save=True)
        elif not records:
            self._end(save=False)
        if records and self._recording is None:
            self._begin()
        self._label_step()

    # --- results
    def events(self) -> EventList:
        """The events of the last stretch.

        Raises:
            AssertionError before anything was recorded.
        """
        recording = self._done or self._recording
        if recording is None or recording.events is None:
            raise AssertionError("profile: nothing was recorded yet; the results are there after stop() or the end of the context")
        return recording.events

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0,
                     group_by_overload_name: bool = False) -> EventList:  # fmt: skip
        """Sums per name of op, on request also per input shapes or innermost stack lines."""
        return self.events().key_averages(group_by_input_shape, group_by_stack_n)

    def export_chrome_trace(self, path: str) -> None:
        """Writes the trace as JSON (compressed for `.gz`) for Perfetto or chrome://tracing."""
        from minigrad.profiler.trace import write_trace

        flags = {name: int(getattr(self, name)) for name in ("record_shapes", "profile_memory", "with_stack", "with_flops")}
        write_trace(path, self.events(), flags | self._metadata)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Writes stacks with their times for a flame graph; needs with_stack=True."""
        self.events().export_stacks(path, metric)

    def add_metadata(self, key: str, value: str) -> None:
        """A string to keep in the trace file."""
        self._metadata[key] = value

    def add_metadata_json(self, key: str, value: str) -> None:
        """A JSON value, as text, to keep in the trace file."""
        self._metadata[key] = json.loads(value)

    preset_metadata_json = add_metadata_json

    def __repr__(self) -> str:
        return repr(self.events()) if self._done else f"<unfinished profiler.profile at {hex(id(self))}>"
