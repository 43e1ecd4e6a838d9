"""One end of the line between a DataLoader and a worker process: values go out pickled, their tensors through shared memory.

A Channel owns one end of a Unix socket pair (SOCK_SEQPACKET: a message comes whole or not at all). The tensors of a message are laid
one after another into a shared segment (csrc/core/shared_memory.h); the receiver's tensors are views of it. When the last of them is
gone the segment is free for the sender's next message, so that in the steady state nothing is mapped, faulted in or freed.
Segments have no names: whoever is killed, nothing stays in /dev/shm, and the size of /dev/shm sets no limit.

Used by `worker.py` (blocking end) and `_loading.py` (the parent's, not blocking).
"""

from __future__ import annotations

import array
import io
import pickle
import socket
import threading
from collections import deque
from multiprocessing.reduction import ForkingPickler
from typing import Any

import minigrad as mg
from minigrad._core import SharedSegment

INLINE_LIMIT = 32 << 10  # pickles up to this length travel in the message itself, far below the socket's buffer
MESSAGE_LIMIT = 64 << 10
KEEP_FREE = 4  # free segments a sender keeps
FREE, BUSY, RETIRED = 0, 1, 2  # SharedSegment.state

_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64", "complex128")
_CODE = {getattr(mg, name): code for code, name in enumerate(_DTYPES)}
_BY_CODE = tuple(getattr(mg, name) for name in _DTYPES)
_decoding = threading.local()  # .lease: where the tensors of the message being unpickled lie


class ChannelClosed(EOFError):
    """The other end is gone."""


def _aligned(nbytes: int) -> int:
    return -(-nbytes // 64) * 64


def refuse_history(tensor: mg.Tensor) -> None:
    """RuntimeError for a tensor with a grad_fn: a graph cannot cross processes."""
    if tensor.requires_grad and not tensor.is_leaf:
        raise RuntimeError(
            "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support crossing process "
            "boundaries.  If you just want to transfer the data, call detach() on the tensor before serializing (e.g., putting it on "
            "the queue)."
        )


def dense_order(tensor: mg.Tensor) -> tuple[mg.Tensor, tuple[int, ...] | None]:
    """A row-major tensor of the same elements and the strides to read them back with (None: row-major).

    A transposed but gapless layout (channels_last) is kept; a layout with gaps becomes row-major.
    """
    if tensor.is_contiguous():
        return tensor, None
    strides = tensor.stride()
    order = sorted(range(tensor.dim()), key=lambda d: -strides[d])
    permuted = tensor.permute(order)
    return (permuted, tuple(strides)) if permuted.is_contiguous() else (tensor.contiguous(), None)


def _rebuild_tensor(offset: int, nbytes: int, code: int, sizes: tuple, strides: tuple | None, requires_grad: bool) -> mg.Tensor:
    made = _decoding.lease.tensor(offset, nbytes, _BY_CODE[code], sizes, strides)
    return made.requires_grad_() if requires_grad else made


class _Pickler(ForkingPickler):
    """Leaves the bytes of CPU tensors out and lists them in `parts` as (offset, tensor)."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.parts: list[tuple[int, mg.Tensor]] = []
        self.end = 0

    def reducer_override(self, value: Any) -> Any:
        """Plain CPU tensors by place; subclasses reduce themselves to plain ones."""
        if type(value) is not mg.Tensor or value.device.type != "cpu":
            return NotImplemented
        refuse_history(value)
        source, strides = dense_order(value.detach())
        offset, nbytes = self.end, source.nbytes
        self.parts.append((offset, source))
        self.end += _aligned(nbytes)
        place = (offset, nbytes, _CODE[value.dtype], tuple(value.shape), strides, value.requires_grad)
        return _rebuild_tensor, place, getattr(value, "__dict__", None) or None


class _SegmentPool:
    """The segments a sender writes into, reused as the receiver lets go of them."""

    def __init__(self) -> None:
        self.segments: dict[int, SharedSegment] = {}
        self._next = 0

    def take(self, nbytes: int) -> tuple[int, SharedSegment, bool, list[int]]:
        """A segment of at least `nbytes`, set busy: (number, segment, whether it is new, numbers given up)."""
        dropped = []
        best, free = None, []
        for number, segment in list(self.segments.items()):
            state = segment.state
            if state == RETIRED:
                dropped.append(number)
            elif state == FREE:
                free.append(number)
                if segment.nbytes >= nbytes and (best is None or segment.nbytes < self.segments[best].nbytes):
                    best = number
        if best is None:
            free.sort(key=lambda number: self.segments[number].nbytes, reverse=True)
            dropped += free[KEEP_FREE:] or free[-1:]  # a larger one takes the place of a smaller one
        elif len(free) > KEEP_FREE:
            dropped += [number for number in free if number != best][KEEP_FREE:]
        for number in dropped:
            del self.segments[number]
        new = best is None
        if new:
            best, self._next = self._next, self._next + 1
            header = 64  # with it the segment fills whole pages
            self.segments[best] = SharedSegment(-(-(nbytes + nbytes // 16 + header) // 4096) * 4096 - header)
        self.segments[best].state = BUSY
        return best, self.segments[best], new, dropped


class Channel:
    """One end of a line. Not safe for use by several threads.

    Args:
        end: the socket; `blocking` False makes `send` queue what the socket does not take (see `flush`).
    """

    def __init__(self, end: socket.socket, blocking: bool) -> None:
        end.setblocking(blocking)
        self._socket = end
        self._blocking = blocking
        self._pool = _SegmentPool()
        self._known: dict[int, SharedSegment] = {}  # the other side's segments, mapped here
        self._unsent: deque[tuple[bytes, SharedSegment | None]] = deque()

    @staticmethod
    def pair() -> tuple[socket.socket, socket.socket]:
        """Two connected sockets."""
        if not hasattr(socket, "MSG_CMSG_CLOEXEC"):
            raise NotImplementedError("DataLoader: worker processes need Linux. Try num_workers=0.")
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def fileno(self) -> int:
        """The descriptor, for poll(); -1 when closed."""
        return self._socket.fileno()

    def hang_up(self) -> None:
        """End the line, whoever else has a copy of this end (a forked process)."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other end is gone, or this one closed
            pass
        self.close()

    def close(self) -> None:
        """Give up this process's copy of the end."""
        self._unsent.clear()
        self._socket.close()

    # --- sending -------------------------------------------------------------------------------------------------------
    def send(self, value: Any) -> None:
        """Send any picklable value.

        Raises:
            ChannelClosed: the other end is gone.
            Exception: whatever pickling `value` raises; nothing was sent then.
        """
        message, segment = self._encode(value)
        if self._blocking:
            self._transmit(message, segment)
        else:
            self._unsent.append((message, segment))
            self.flush()

    def flush(self) -> bool:
        """Send what waits; False while the socket is full."""
        while self._unsent:
            try:
                self._transmit(*self._unsent[0])
            except BlockingIOError:
                return False
            self._unsent.popleft()
        return True

    def _transmit(self, message: bytes, segment: SharedSegment | None) -> None:
        control = []
        if segment is not None:
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [segment.fd]))]
        try:
            self._socket.sendmsg([message], control)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosed("the other process is gone") from error
        if segment is not None:
            segment.close_fd()  # both sides have it mapped, or will; descriptors are scarce

    def _encode(self, value: Any) -> tuple[bytes, SharedSegment | None]:
        file = io.BytesIO()
        pickler = _Pickler(file)
        pickler.dump(value)
        payload: Any = file.getbuffer()
        end = pickler.end
        in_segment = len(payload) > INLINE_LIMIT
        if not pickler.parts and not in_segment:
            return pickle.dumps((None, (), bytes(payload)), pickle.HIGHEST_PROTOCOL), None
        number, segment, new, dropped = self._pool.take(end + len(payload) * in_segment)
        for offset, tensor in pickler.parts:
            segment.write(offset, tensor)
        if in_segment:
            memoryview(segment)[end : end + len(payload)] = payload
            payload = (end, end + len(payload))
        else:
            payload = bytes(payload)
        return pickle.dumps((number, dropped, payload), pickle.HIGHEST_PROTOCOL), segment if new else None

    # --- receiving -----------------------------------------------------------------------------------------------------
    def receive(self) -> Any:
        """The next value.

        Raises:
            ChannelClosed: nothing will come any more.
            BlockingIOError: nothing is there yet (an end that does not block).
        """
        try:
            message, control, flags, _ = self._socket.recvmsg(MESSAGE_LIMIT, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError as error:
            raise ChannelClosed("the other process is gone") from error
        if not message:
            raise ChannelClosed("the other process is gone")
        if flags & socket.MSG_CTRUNC:
            raise RuntimeError("DataLoader: too many open files: a batch cannot be received. Try `ulimit -n` with a larger number.")
        number, dropped, payload = pickle.loads(message)
        for gone in dropped:
            self._known.pop(gone, None)
        for _, _, data in control:
            segment = SharedSegment.open(int.from_bytes(data[:4], "little"))
            segment.close_fd()
            self._known[number] = segment
        if number is None:
            return pickle.loads(payload)
        segment = self._known[number]
        _decoding.lease = segment.lease(True)
        try:
            if isinstance(payload, tuple):
                payload = memoryview(segment)[slice(*payload)]
            return pickle.loads(payload)
        finally:
            _decoding.lease = None
