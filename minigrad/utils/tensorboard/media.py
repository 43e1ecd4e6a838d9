"""What becomes a summary: arrays out of anything, pictures as PNG, sounds as WAV, histograms in buckets."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

import minigrad as mg


def make_np(x: Any) -> np.ndarray:
    """A NumPy array of a tensor, array, number or list of numbers."""
    if isinstance(x, mg.Tensor):
        x = x.detach().cpu()
        return (x.float() if x.dtype == mg.bfloat16 else x).numpy()
    if isinstance(x, np.ndarray):
        return x
    if np.isscalar(x):
        return np.array([x])
    if isinstance(x, (list, tuple)):
        return np.array([float(item) if isinstance(item, mg.Tensor) else item for item in x])
    raise NotImplementedError(f"Got {type(x)}, but numpy array or minigrad tensor are expected.")


def encode_png(pixels: np.ndarray) -> bytes:
    """A PNG of (H, W, C) bytes, C = 1 (grey), 2 (with alpha), 3 (RGB) or 4 (RGBA).

    Source: the PNG specification, https://www.w3.org/TR/png-3/; one IDAT chunk, no row filters.
    """
    height, width, channels = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}.get(channels)
    if kind is None or pixels.dtype != np.uint8 or height == 0 or width == 0:
        raise ValueError(f"encode_png: expected (H, W, 1 to 4) bytes, got {pixels.dtype} of shape {pixels.shape}")

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)) + chunk(b"IEND", b"")


def _grid(pictures: np.ndarray, columns: int = 8) -> np.ndarray:
    """(N, C, H, W) pictures side by side, as one (C, rows * H, columns * W)."""
    count, channels, height, width = pictures.shape
    columns = min(count, columns)
    rows = -(-count // columns)
    grid = np.zeros((channels, rows * height, columns * width), pictures.dtype)
    for k in range(count):
        top, left = k // columns * height, k % columns * width
        grid[:, top : top + height, left : left + width] = pictures[k]
    return grid


def to_hwc(picture: np.ndarray, dataformats: str) -> np.ndarray:
    """A picture (or a batch, put side by side) in any order of dimensions, as (H, W, C) with C = 3 or 4."""
    order = dataformats.upper()
    if len(set(order)) != len(order) or len(order) != picture.ndim:
        raise ValueError(f"size of input tensor and input format are different: tensor shape {picture.shape}, input_format: {order}")
    if set(order) == set("NCHW"):
        picture, order = _grid(picture.transpose([order.find(c) for c in "NCHW"])), "CHW"
    if set(order) == set("HW"):
        picture = picture.transpose([order.find(c) for c in "HW"])[:, :, None]
    elif set(order) == set("HWC"):
        picture = picture.transpose([order.find(c) for c in "HWC"])
    else:
        raise ValueError(f"input_format {dataformats!r} must name the dimensions H and W, and may name C and N")
    return np.concatenate([picture] * 3, 2) if picture.shape[2] == 1 else picture


def picture_bytes(picture: np.ndarray, dataformats: str) -> tuple[int, int, int, bytes]:
    """Height, width, channels and PNG; floats are taken to be in [0, 1], bytes as they are."""
    scale = 1 if picture.dtype == np.uint8 else 255
    pixels = (to_hwc(picture, dataformats).astype(np.float32) * scale).clip(0, 255).astype(np.uint8)
    return (*pixels.shape, encode_png(pixels))  # type: ignore[return-value]


def figure_pixels(figures: Any, close: bool) -> np.ndarray:
    """(C, H, W) of a matplotlib figure, (N, C, H, W) of a list of them."""
    from matplotlib import pyplot
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    def draw(figure: Any) -> np.ndarray:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.array(canvas.buffer_rgba())[:, :, :3]
        if close:
            pyplot.close(figure)
        return np.moveaxis(pixels, 2, 0)

    return np.stack([draw(figure) for figure in figures]) if isinstance(figures, list) else draw(figures)


def encode_wav(samples: np.ndarray, rate: int) -> tuple[int, bytes]:
    """Frames and a 16-bit mono WAV of samples in [-1, 1]."""
    import io
    import wave

    data = (np.clip(samples.reshape(-1), -1, 1) * np.iinfo(np.int16).max).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(data.tobytes())
    return len(data), buffer.getvalue()


def default_edges() -> np.ndarray:
    """TensorFlow's bucket edges: 0 and ± powers of 1.1 from 1e-12 to 1e20."""
    edges, edge = [], 1e-12
    while edge < 1e20:
        edges.append(edge)
        edge *= 1.1
    return np.array([-e for e in reversed(edges)] + [0.0] + edges)


def histogram_fields(values: np.ndarray, bins: Any, max_bins: int | None) -> tuple:
    """min, max, count, sum, sum of squares, bucket limits, bucket counts; empty buckets at both ends are left out."""
    values = values.reshape(-1).astype(np.float64)
    if values.size == 0:
        raise ValueError("The input has no element.")
    if not np.isfinite(values).all():
        raise ValueError("add_histogram: the values contain NaN or infinity")
    counts, limits = np.histogram(values, bins=bins)
    if max_bins is not None and len(counts) > max_bins:
        step = len(counts) // max_bins  # rounded down, as PyTorch does: up to twice as many may remain
        padded = np.concatenate([counts, np.zeros(-len(counts) % step, counts.dtype)])
        edges = limits[::step]
        counts = padded.reshape(-1, step).sum(1)
        limits = edges if len(edges) == len(counts) + 1 else np.append(edges, limits[-1])
    filled = np.flatnonzero(counts)
    if len(filled) == 0:
        raise ValueError("The histogram is empty: all values are outside of the bins.")
    first, last = int(filled[0]), int(filled[-1])
    # A limit is the upper end of its bucket; the first bucket is empty and only marks where the second begins.
    counts = np.concatenate([[0], counts[first : last + 1]])
    return (values.min(), values.max(), values.size, values.sum(), values @ values, limits[first : last + 2].tolist(), counts.tolist())
