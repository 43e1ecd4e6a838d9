"""The older face of the profiler: `torch.autograd.profiler`. `emit_nvtx` and `emit_itt` have nobody to talk to."""

from __future__ import annotations

from typing import Any

from minigrad.profiler import EventList, record_function
from minigrad.profiler import profile as _profile
from minigrad.profiler.events import FunctionEvent, FunctionEventAvg, Interval

__all__ = ["EventList", "FunctionEvent", "FunctionEventAvg", "Interval", "emit_itt", "emit_nvtx", "profile", "record_function"]


class profile(_profile):  # noqa: N801  PyTorch's name
    """Records the ops that run inside of the context; the result of `key_averages()`, `table()` and `total_average()` is here.

    Args:
        enabled: False makes this a no-op.
        record_shapes, with_flops, profile_memory, with_stack: as in minigrad.profiler.profile.
    """

    def __init__(self, enabled: bool = True, *, use_cuda: bool = False, use_device: Any = None, record_shapes: bool = False,
                 with_flops: bool = False, profile_memory: bool = False, with_stack: bool = False, with_modules: bool = False,
                 use_kineto: bool = False, use_cpu: bool = True, **kwargs: Any) -> None:  # fmt: skip
        super().__init__(record_shapes=record_shapes, with_flops=with_flops, profile_memory=profile_memory, with_stack=with_stack)
        self.enabled = enabled
        self.function_events: EventList | None = None

    def __enter__(self) -> profile:
        if self.enabled:
            self.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        if self.enabled:
            self.stop()
            self.function_events = self.events()

    def table(self, *args: Any, **kwargs: Any) -> str:
        """The events as text; arguments of EventList.table."""
        return self.events().table(*args, **kwargs)

    def total_average(self) -> FunctionEventAvg:
        """One sum over all events."""
        return self.events().total_average()

    @property
    def self_cpu_time_total(self) -> float:
        """Sum of the self times, in microseconds."""
        return self.events().self_cpu_time_total

    def __str__(self) -> str:
        return "<unfinished minigrad.autograd.profile>" if self.function_events is None else str(self.function_events)


class emit_nvtx:  # noqa: N801  PyTorch's name
    """Marks ops for NVIDIA's tools; entering it raises NotImplementedError, as there is no CUDA here, unless `enabled` is False."""

    _tool = "emit_nvtx: needs CUDA"

    def __init__(self, enabled: bool = True, record_shapes: bool = False) -> None:
        self.enabled, self.record_shapes = enabled, record_shapes

    def __enter__(self) -> Any:
        if self.enabled:
            raise NotImplementedError(f"{self._tool}. Try minigrad.profiler.profile.")
        return self

    def __exit__(self, *exc: Any) -> None:
        pass


class emit_itt(emit_nvtx):  # noqa: N801  PyTorch's name
    """Marks ops for Intel's tools; as `emit_nvtx`."""

    _tool = "emit_itt: needs Intel's ITT library"
