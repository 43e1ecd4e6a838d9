"""NumPy references of the pooling ops: the definition, window by window, for any number of spatial dims."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from minigrad.ops.layers.conv_reference import per_dim
from minigrad.ops.shared.struct_doc import numpy


def scatter(grad: Any, indices: Any, input_size: Sequence[int]) -> Any:
    """_pool_scatter."""
    np = numpy()
    dims = len(input_size)
    lead = grad.shape[: grad.ndim - dims]
    out = np.zeros((*lead, int(np.prod(input_size))))
    for at in np.ndindex(*grad.shape):
        out[at[: len(lead)] + (indices[at],)] += grad[at]
    return out.reshape(*lead, *input_size)


def gather(input: Any, indices: Any, dims: int) -> Any:
    """_pool_gather."""
    lead = input.shape[: input.ndim - dims]
    flat = numpy().take_along_axis(input.reshape(*lead, -1), indices.reshape(*lead, -1), -1)
    return flat.reshape(indices.shape)


def _spans(size: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> list[range]:
    """Input positions of every window of one dim, padding included (they may be negative or >= size)."""
    room = size + 2 * p - d * (k - 1) - 1
    n = (-(-room // s) if ceil_mode else room // s) + 1
    if ceil_mode and (n - 1) * s >= size + p:
        n -= 1
    return [range(i * s - p, min(i * s - p + d * (k - 1) + 1, size + p), d) for i in range(n)]


def _tiles(size: int, out: int) -> list[range]:
    return [range(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]


def _inside(span: range, size: int) -> list[int]:
    return [i for i in span if 0 <= i < size]


def _windows(input: Any, spans: list[list[range]], value: Callable[..., Any]) -> Any:
    """value(plane, ranges) for every window of every plane."""
    np = numpy()
    dims = len(spans)
    lead, plane = input.shape[: input.ndim - dims], input.shape[input.ndim - dims :]
    shape = tuple(len(s) for s in spans)
    if input.size == 0 or 0 in shape:
        return np.zeros((*lead, *shape, 2))
    found = [value(p, window) for p in input.reshape(-1, *plane) for window in itertools.product(*spans)]
    return np.array(found).reshape(*lead, *shape, *np.shape(found)[1:])


def _max_of(plane: Any, window: tuple[range, ...]) -> tuple[float, float]:
    np = numpy()
    places = list(itertools.product(*(_inside(r, n) for r, n in zip(window, plane.shape, strict=True))))
    best = max(places, key=lambda at: plane[at])
    return plane[best], np.ravel_multi_index(best, plane.shape)


def _max(input: Any, spans: list[list[range]]) -> tuple[Any, Any]:
    found = _windows(input, spans, _max_of)
    return found[..., 0], found[..., 1].astype(int)


def _grid(
    input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> list[list[range]]:
    n = len(kernel_size)
    p, d = per_dim(padding, n), per_dim(dilation, n)
    s = kernel_size if stride is None else per_dim(stride, n)
    sizes = input.shape[input.ndim - n :]
    return [_spans(sizes[i], kernel_size[i], s[i], p[i], d[i], ceil_mode) for i in range(n)]


def max_pool(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> tuple[Any, Any]:
    """_max_pool."""
    return _max(input, _grid(input, kernel_size, stride, padding, dilation, ceil_mode))


def avg_pool(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """_avg_pool."""
    np = numpy()

    def value(plane: Any, window: tuple[range, ...]) -> float:
        found = plane[np.ix_(*(_inside(r, n) for r, n in zip(window, plane.shape, strict=True)))]
        counted = int(np.prod([len(r) for r in window])) if count_include_pad else found.size
        return found.sum() / (divisor_override or counted)

    spans = _grid(input, kernel_size, stride, padding, 1, ceil_mode)
    return _windows(input, spans, value) if input.size else _windows(input, spans, value)[..., 0]


def _tiled(input: Any, output_size: Any) -> list[list[range]]:
    sizes = input.shape[input.ndim - len(output_size) :]
    return [_tiles(n, o) for n, o in zip(sizes, output_size, strict=True)]


def adaptive_max_pool(input: Any, output_size: Any) -> tuple[Any, Any]:
    """_adaptive_max_pool."""
    return _max(input, _tiled(input, output_size))


def adaptive_avg_pool(input: Any, output_size: Any) -> Any:
    """_adaptive_avg_pool."""
    np = numpy()
    spans = _tiled(input, output_size)
    found = _windows(input, spans, lambda plane, window: plane[np.ix_(*map(list, window))].mean())
    return found if input.size and 0 not in output_size else found[..., 0]


def fractional_max_pool(input: Any, kernel_size: Any, output_size: Any, random_samples: Any) -> tuple[Any, Any]:
    """_fractional_max_pool, plane by plane since every plane has windows of its own."""
    np = numpy()
    n = len(kernel_size)
    sizes = input.shape[input.ndim - n :]
    out, indices = [], []
    for plane, sample in zip(input.reshape(-1, *sizes), random_samples.reshape(-1, n), strict=True):
        spans = []
        for d in range(n):
            u, o, k, size = sample[1 - d if n == 2 else d], output_size[d], kernel_size[d], sizes[d]
            alpha = (size - k) / (o - 1) if o > 1 else 0.0
            starts = [int((i + u) * alpha) - int(u * alpha) for i in range(o - 1)] + [size - k]
            spans.append([range(start, start + k) for start in starts])
        values, places = _max(plane, spans)
        out.append(values)
        indices.append(places)
    shape = (*input.shape[: input.ndim - n], *output_size)
    return np.array(out).reshape(shape), np.array(indices).reshape(shape)
