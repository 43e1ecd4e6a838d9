"""Event files: TFRecord framing (length, masked CRC-32C of it, bytes, masked CRC-32C of them) and the file that takes the records.

Source of the framing: https://www.tensorflow.org/tutorials/load_data/tfrecord (section "TFRecords format details").
"""

from __future__ import annotations

import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from . import proto

_POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected


def _tables() -> list[list[int]]:
    """Eight tables, so that eight bytes are taken per step."""
    first = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (_POLYNOMIAL if byte & 1 else 0)
        first.append(byte)
    tables = [first]
    for _ in range(7):
        tables.append([first[value & 0xFF] ^ (value >> 8) for value in tables[-1]])
    return tables


_T = _tables()


def crc32c(data: bytes) -> int:
    """The CRC-32C checksum of some bytes."""
    t0, t1, t2, t3, t4, t5, t6, t7 = _T
    crc = 0xFFFFFFFF
    whole = len(data) - len(data) % 8
    for low, high in struct.iter_unpack("<II", data[:whole]):
        low ^= crc
        crc = (
            t7[low & 0xFF] ^ t6[(low >> 8) & 0xFF] ^ t5[(low >> 16) & 0xFF] ^ t4[low >> 24]
            ^ t3[high & 0xFF] ^ t2[(high >> 8) & 0xFF] ^ t1[(high >> 16) & 0xFF] ^ t0[high >> 24]
        )  # fmt: skip
    for byte in data[whole:]:
        crc = t0[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """The checksum as TFRecord stores it: rotated and shifted, so that checksums of checksums stay useful."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def framed(data: bytes) -> bytes:
    """One record of a TFRecord file."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


def read_records(path: str | os.PathLike) -> Iterator[bytes]:
    """The records of a TFRecord file; RuntimeError for a damaged one, and the end of the file within a record ends the reading."""
    with open(path, "rb") as file:
        while len(head := file.read(12)) == 12:
            length, check = struct.unpack("<QI", head)
            if masked_crc32c(head[:8]) != check:
                raise RuntimeError(f"{path}: damaged record: the checksum of its length is wrong")
            data = file.read(length)
            tail = file.read(4)
            if len(data) < length or len(tail) < 4:
                return
            if masked_crc32c(data) != struct.unpack("<I", tail)[0]:
                raise RuntimeError(f"{path}: damaged record: its checksum is wrong")
            yield data


class EventWriter:
    """One event file, written by a thread of its own, so that training does not wait for the disk.

    Args:
        folder: made when missing.
        max_queue: events that may wait.
        flush_secs: longest time until they are in the file.
        suffix: end of the file's name.
    """

    def __init__(self, folder: str | os.PathLike, max_queue: int = 10, flush_secs: float = 120, suffix: str = "") -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}{suffix}"
        self.path = Path(folder) / name
        self.file = open(self.path, "wb")  # noqa: SIM115  closed by close()
        self.flush_secs = flush_secs
        self.error: BaseException | None = None
        self.file.write(framed(proto.event(now, file_version="brain.Event:2")))
        self.file.flush()
        self.queue: queue.Queue[bytes | threading.Event | None] = queue.Queue(max(max_queue, 1))
        self.thread = threading.Thread(target=self._work, daemon=True, name="minigrad event writer")
        self.thread.start()

    def _work(self) -> None:
        due = time.monotonic() + self.flush_secs
        while True:
            try:
                item = self.queue.get(timeout=max(due - time.monotonic(), 0.01))
            except queue.Empty:
                item = b""
            try:
                if isinstance(item, bytes) and item and self.error is None:
                    self.file.write(framed(item))
                if not isinstance(item, bytes) or time.monotonic() >= due:
                    self.file.flush()
                    due = time.monotonic() + self.flush_secs
            except (OSError, ValueError) as error:
                self.error = error
            if isinstance(item, threading.Event):
                item.set()
            if item is None:
                return

    def add(self, data: bytes) -> None:
        """Queue one encoded event."""
        self._check()
        self.queue.put(data)

    def _check(self) -> None:
        if self.error is not None:
            raise OSError(f"{self.path}: writing events failed: {self.error}") from self.error

    def flush(self) -> None:
        """Wait until everything is in the file."""
        if self.thread.is_alive():
            done = threading.Event()
            self.queue.put(done)
            done.wait()
        self._check()

    def close(self) -> None:
        """Write what waits and close the file; a second call does nothing."""
        if not self.file.closed:
            if self.thread.is_alive():
                self.queue.put(None)
                self.thread.join()
            self.file.close()
            self._check()


def _count() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


_numbers = _count()
