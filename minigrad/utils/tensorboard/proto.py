"""The protocol buffer messages of TensorBoard's event files, encoded (and, for tests and tools, decoded) by hand.

Only the fields that SummaryWriter writes are here; numbers are those of tensorflow's event.proto, summary.proto,
tensor.proto and tensorboard's plugin data messages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any


def _varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF  # negative numbers take ten bytes
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """An integer, bool or enum field; nothing for 0, which is the default."""
    return _varint(field << 3) + _varint(int(value)) if value else b""


def double(field: int, value: float) -> bytes:
    """A field of 8 bytes."""
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def single(field: int, value: float) -> bytes:
    """A float field of 4 bytes; written also when it is 0, since in a oneof presence is the message."""
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def block(field: int, value: bytes | str) -> bytes:
    """A string, bytes or message field."""
    raw = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(raw)) + raw


def doubles(field: int, values: Iterable[float]) -> bytes:
    """A packed list of doubles."""
    raw = b"".join(struct.pack("<d", v) for v in values)
    return block(field, raw) if raw else b""


def event(
    wall_time: float, step: int | None = None, *, summary: bytes | None = None, file_version: str | None = None, graph: bytes | None = None
) -> bytes:  # fmt: skip
    """tensorflow.Event."""
    out = double(1, wall_time) + (number(2, step) if step else b"")
    if file_version is not None:
        out += block(3, file_version)
    if graph is not None:
        out += block(4, graph)
    if summary is not None:
        out += block(5, summary)
    return out


def value(tag: str, content: bytes, metadata: bytes | None = None) -> bytes:
    """tensorflow.Summary with one Value: its tag, its content, its plugin."""
    return block(1, block(1, tag) + content + (block(9, metadata) if metadata is not None else b""))


def plugin(name: str, content: bytes = b"", display_name: str = "", description: str = "") -> bytes:
    """tensorflow.SummaryMetadata."""
    out = block(1, block(1, name) + (block(2, content) if content else b""))
    out += block(2, display_name) if display_name else b""
    return out + (block(3, description) if description else b"")


def scalar(number_: float) -> bytes:
    """Value.simple_value."""
    return single(2, number_)


def image(height: int, width: int, channels: int, encoded: bytes) -> bytes:
    """Value.image: an encoded PNG or GIF."""
    return block(4, number(1, height) + number(2, width) + number(3, channels) + block(4, encoded))


def audio(rate: float, channels: int, frames: int, encoded: bytes) -> bytes:
    """Value.audio: an encoded WAV."""
    return block(6, single(1, rate) + number(2, channels) + number(3, frames) + block(4, encoded) + block(5, "audio/wav"))


def histogram(
    low: float, high: float, count: float, total: float, squares: float, limits: Iterable[float], buckets: Iterable[float]
) -> bytes:  # fmt: skip
    """Value.histo: tensorflow.HistogramProto."""
    head = b"".join(double(k + 1, v) for k, v in enumerate((low, high, count, total, squares)) if v)  # 0 is the default
    return block(5, head + doubles(6, limits) + doubles(7, buckets))


_FLOAT, _STRING = 1, 7


def string_tensor(text: str, shape: tuple[int, ...] = (1,)) -> bytes:
    """Value.tensor: tensorflow.TensorProto with one string."""
    dims = b"".join(block(2, number(1, n)) for n in shape)
    return block(8, number(1, _STRING) + (block(2, dims) if shape else b"") + block(8, text))


def float_tensor(values: list[float], shape: tuple[int, ...]) -> bytes:
    """Value.tensor with float values."""
    dims = b"".join(block(2, number(1, n)) for n in shape)
    return block(8, number(1, _FLOAT) + (block(2, dims) if shape else b"") + block(5, struct.pack(f"<{len(values)}f", *values)))


# --- google.protobuf.Value and the hparams plugin ---------------------------------------------------------------------
def any_value(value_: Any) -> bytes:
    """google.protobuf.Value of a bool, number or text."""
    if isinstance(value_, bool):
        return _varint(4 << 3) + _varint(int(value_))
    if isinstance(value_, (int, float)):
        return double(2, float(value_))
    return block(3, str(value_))


def decode(data: bytes) -> list[tuple[int, Any]]:
    """The fields of a message: (number, int | float bytes | bytes); nested messages stay bytes."""
    fields: list[tuple[int, Any]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        shift = result = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError("truncated message")
            byte = data[at]
            at += 1
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return result

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            content: Any = varint()
        else:
            size = {1: 8, 5: 4}.get(kind) or (varint() if kind == 2 else -1)
            if size < 0 or at + size > len(data):
                raise ValueError("malformed message")
            raw = data[at : at + size]
            at += size
            content = struct.unpack("<d", raw)[0] if kind == 1 else struct.unpack("<f", raw)[0] if kind == 5 else raw
        fields.append((key >> 3, content))
    return fields
