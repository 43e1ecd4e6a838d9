"""Streams and events."""

from __future__ import annotations

from typing import Any

from minigrad import _core
from minigrad import _settings as _general
from minigrad.cuda._device import device as _device
from minigrad.cuda._door import backend, index_of

__all__ = [
    "Event", "ExternalStream", "Stream", "StreamContext", "current_stream", "default_stream", "is_current_stream_capturing", "set_stream",
    "stream",
]  # fmt: skip


class Stream(_general.Stream):
    """A queue of work on a CUDA device: its own work runs in order, that of several streams at the same time.

    Memory is safe across streams by itself: every op notes which streams use a tensor. Order is the caller's business (wait_stream,
    wait_event, record_event).

    Args:
        device: the current one if None.
        priority: below 0 is high.
    """

    def __init__(self, device: Any = None, priority: int = 0, *, _address: int | None = None) -> None:
        self.device_index = index_of(device)
        self.device = _core.device(f"cuda:{self.device_index}")
        self.priority, self._entered = priority, []
        self.cuda_stream = backend.new_stream(self.device_index, priority) if _address is None else _address
        self.stream_id = self.cuda_stream

    def synchronize(self) -> None:
        """Wait for all of the stream's work."""
        backend.stream_synchronize(self.device_index, self.cuda_stream)

    def query(self) -> bool:
        """Whether all of the stream's work is done."""
        return backend.stream_query(self.device_index, self.cuda_stream)

    def wait_event(self, event: Event) -> None:
        """Later work of this stream waits for the event."""
        event._event.block(self.device_index, self.cuda_stream)

    def wait_stream(self, stream: Stream) -> None:
        """Later work of this stream waits for what the other has been given."""
        self.wait_event(stream.record_event())

    def record_event(self, event: Event | None = None) -> Event:
        """An event at this point of the stream."""
        event = event or Event()
        event.record(self)
        return event

    def __cuda_stream__(self) -> tuple[int, int]:
        """The protocol by which other libraries take a stream: (version, address)."""
        return 0, self.cuda_stream

    @property
    def _as_parameter_(self) -> Any:
        import ctypes

        return ctypes.c_void_p(self.cuda_stream)

    def __enter__(self) -> Stream:
        context = StreamContext(self)
        context.__enter__()
        self._entered.append(context)
        return self

    def __exit__(self, *error: Any) -> None:
        self._entered.pop().__exit__(*error)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self.device_index, self.cuda_stream) == (other.device_index, other.cuda_stream)

    def __hash__(self) -> int:
        return hash((self.device_index, self.cuda_stream))

    def __repr__(self) -> str:
        return f"<minigrad.cuda.Stream device=cuda:{self.device_index} cuda_stream={self.cuda_stream:#x}>"


class ExternalStream(Stream):
    """A stream made by another library; it must outlive its use here.

    Args:
        stream_ptr: address of the cudaStream_t, or an object with `__cuda_stream__`.
        device: the current one if None.
    """

    def __init__(self, stream_ptr: Any, device: Any = None) -> None:
        if hasattr(stream_ptr, "__cuda_stream__"):
            found = stream_ptr.__cuda_stream__
            stream_ptr = (found() if callable(found) else found)[1]
        super().__init__(device, _address=stream_ptr)


class Event(_general.Event):
    """A point in the work of a stream.

    Args:
        enable_timing: whether elapsed_time can be asked.
        blocking, interprocess, external: accepted, change nothing.
    """

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False, external: bool = False
    ) -> None:
        self._event = backend.Event(enable_timing)

    @property
    def device(self) -> Any:
        """The device of the first record(), None before."""
        return _core.device(f"cuda:{self._event.device}") if self._event.device >= 0 else None

    @property
    def cuda_event(self) -> int:
        """Address of the cudaEvent_t; 0 before the first record()."""
        return self._event.handle

    def record(self, stream: Stream | None = None) -> None:
        """Stand for what the stream (the current one) has been given so far."""
        stream = stream or current_stream()
        self._event.record(stream.device_index, stream.cuda_stream)

    def wait(self, stream: Stream | None = None) -> None:
        """Later work of the stream (the current one) waits for the event."""
        (stream or current_stream()).wait_event(self)

    def query(self) -> bool:
        """Whether the work recorded is done."""
        return self._event.query()

    def synchronize(self) -> None:
        """Wait for the work recorded."""
        self._event.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to the other; both must have passed."""
        return self._event.milliseconds_to(end_event._event)


def current_stream(device: Any = None) -> Stream:
    """This thread's current stream of a device."""
    index = index_of(device)
    return Stream(index, _address=backend.current_stream(index))


def default_stream(device: Any = None) -> Stream:
    """The default stream of a device."""
    return Stream(index_of(device), _address=0)


def set_stream(stream: Stream | None) -> None:
    """Make a stream the current one of its device, and its device current."""
    if stream is not None:
        backend.set_device(stream.device_index)
        backend.set_stream(stream.device_index, stream.cuda_stream)


class StreamContext:
    """`with cuda.stream(s):` s is current inside, and its device; None changes nothing."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is None:
            return
        self._device = _device(self.stream.device_index)
        self._device.__enter__()
        self._before = current_stream()
        set_stream(self.stream)

    def __exit__(self, *error: Any) -> None:
        if self.stream is None:
            return
        backend.set_stream(self._before.device_index, self._before.cuda_stream)
        self._device.__exit__()


def stream(stream: Stream | None) -> StreamContext:
    """A context in which `stream` is the current one."""
    return StreamContext(stream)


def is_current_stream_capturing() -> bool:
    """Whether this thread is capturing a graph."""
    return backend.is_capturing()
