"""Pooling of images: max (with indices), average, adaptive. Sequences: _pool1d.py.

Meta: csrc/core/meta_pool.cpp; kernels: csrc/cpu/pool.cpp. Max pooling remembers where each maximum stood: its gradient
scatters to those places (`_pool_scatter`), whose own gradient gathers from them. Average pooling is linear, so its
gradient is its adjoint and the other way round.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops._struct_doc import card, numpy


def _plane(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[-2], shape[-1]


def _pair(v: Any) -> tuple[int, int]:
    if isinstance(v, int):
        return v, v
    return (v[0], v[0]) if len(v) == 1 else (v[0], v[1])


# --- max --------------------------------------------------------------------------------------------------------------
op(
    "_pool_scatter(grad, indices, input_size: ints) -> out",
    meta="pool_scatter",
    namespace=None,
    method=False,
    dgrad=lambda g, indices: functions["_pool_gather"](g, indices),
    ref=lambda grad, indices, input_size: _reference_scatter(grad, indices, input_size),
    samples=lambda s: [
        s(s.t(2, 3, 2, 2), s.index(2, 3, 2, 2, high=12), (3, 4)),
        s(s.t(2, 1, 3), s.index(2, 1, 3, high=4), (2, 2)),
        s(s.t(0, 2, 2, 2), s.index(0, 2, 2, 2, high=4), (2, 2)),
    ],
    doc="Zeros (..., H, W) with grad (..., OH, OW) added at flat positions `indices` of each plane: the gradient of max"
    " pooling.",
)

op(
    "_pool_gather(input, indices) -> out",
    meta="pool_gather",
    namespace=None,
    method=False,
    dinput=lambda g, indices, input_shape: functions["_pool_scatter"](g, indices, _plane(input_shape)),
    ref=lambda input, indices: (
        numpy()
        .take_along_axis(input.reshape(*input.shape[:-2], -1), indices.reshape(*indices.shape[:-2], -1), -1)
        .reshape(indices.shape)
    ),
    samples=lambda s: [s(s.t(2, 3, 3, 4), s.index(2, 3, 2, 2, high=12)), s(s.t(2, 2, 2), s.index(2, 1, 3, high=4))],
    doc="Elements of each plane of `input` at flat positions `indices`: the gradient of _pool_scatter.",
)

_WINDOWS = dict(
    kernel_size="size of the window, one number or (h, w).",
    stride="step; None means kernel_size.",
    ceil_mode="also take a last window that hangs over the border.",
)

op(
    "max_pool2d_with_indices(input, kernel_size: ints, stride: ints? = None, padding: ints = 0, dilation: ints = 1,"
    " ceil_mode: bool = False) -> out, indices",
    meta="max_pool2d",
    namespace=(),
    method=False,
    nondiff=("indices",),
    grad_name="MaxPool2DWithIndices",
    dinput=lambda g_out, indices, input_shape: functions["_pool_scatter"](g_out, indices, _plane(input_shape)),
    ref=lambda input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False: _reference_max(
        input, kernel_size, stride, padding, dilation, ceil_mode
    ),
    samples=lambda s: [
        s(s.t(2, 2, 4, 4, distinct=True), 2),
        s(s.t(1, 2, 5, 6, distinct=True), 3, 2, 1),
        s(s.t(2, 5, 5, distinct=True), (2, 3), (1, 2)),
        s(s.t(1, 1, 6, 6, distinct=True), 2, 2, 1, 2),
        s(s.t(1, 2, 5, 5, distinct=True), 2, None, 0, 1, True),
        s(s.t(0, 2, 4, 4), 2),
        s(s.t(1, 2, 4, 5, distinct=True, layout="transposed"), 2),
    ],
    doc=card(
        "Largest value of each window of (..., H, W), and where it stood.",
        "mg.nn.functional.max_pool2d(mg.arange(4.).view(1, 1, 2, 2), 2).flatten() -> tensor([3.])",
        input="(N, C, H, W) or (C, H, W), any dtype but bool.",
        **_WINDOWS,
        padding="minus infinity on both sides, at most half the window.",
        dilation="distance of the window's elements.",
        returns="(values, indices): shape (..., OH, OW); indices are int64, flat in each plane.",
        raises="RuntimeError for sizes that do not fit.",
        grad="Goes to the maximum, the first one of equals; a NaN counts as the maximum.",
    ),
)


@composite(
    "nn.functional",
    samples=lambda s: [
        s(s.t(2, 2, 4, 4, distinct=True), 2),
        s(s.t(2, 5, 5, distinct=True), 3, 2, 1),
        s(s.t(1, 1, 5, 5, distinct=True), 2, ceil_mode=True),
    ],
    ref=lambda input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False: _reference_max(
        input, kernel_size, stride, padding, dilation, ceil_mode
    )[0],
)
def max_pool2d(
    input: mg.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest value of each window of (N, C, H, W) or (C, H, W).

    Args:
        input: any dtype but bool.
        kernel_size: size of the window, one number or (h, w).
        stride: step; None means kernel_size.
        padding: minus infinity on both sides, at most half the window.
        dilation: distance of the window's elements.
        ceil_mode: also take a last window that hangs over the border.
        return_indices: return (values, indices); indices are flat within each plane.
    Returns:
        (..., OH, OW).
    Raises:
        RuntimeError for sizes that do not fit.
    Example:
        >>> mg.nn.functional.max_pool2d(mg.arange(4.).view(1, 1, 2, 2), 2).flatten()
        tensor([3.])
    """
    found = functions["max_pool2d_with_indices"](input, kernel_size, stride, padding, dilation, ceil_mode)
    return tuple(found) if return_indices else found[0]


# --- average ----------------------------------------------------------------------------------------------------------
op(
    "avg_pool2d(input, kernel_size: ints, stride: ints? = None, padding: ints = 0, ceil_mode: bool = False,"
    " count_include_pad: bool = True, divisor_override: int? = None) -> out",
    meta="avg_pool2d",
    namespace="nn.functional",
    method=False,
    dinput=lambda g, input_shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override: (
        functions["_avg_pool2d_backward"](
            g, _plane(input_shape), kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        )
    ),
    ref=lambda input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None: (  # noqa: E501
        _reference_avg(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    ),
    reduction=lambda input, kernel_size, *_, **__: _pair(kernel_size)[0] * _pair(kernel_size)[1],
    samples=lambda s: [
        s(s.t(2, 2, 4, 4), 2),
        s(s.t(1, 2, 5, 6), 3, 2, 1),
        s(s.t(1, 2, 5, 6), 3, 2, 1, False, False),
        s(s.t(2, 5, 5), (2, 3), (1, 2)),
        s(s.t(1, 2, 5, 5), 2, None, 1, True),
        s(s.t(1, 1, 4, 4), 2, 1, 0, False, True, 3),
        s(s.t(0, 2, 4, 4), 2),
    ],
    doc=card(
        "Mean of each window of (..., H, W).",
        "mg.nn.functional.avg_pool2d(mg.arange(4.).view(1, 1, 2, 2), 2).flatten() -> tensor([1.5000])",
        input="(N, C, H, W) or (C, H, W), floating.",
        **_WINDOWS,
        padding="zeros on both sides, at most half the window.",
        count_include_pad="whether padding counts as elements.",
        divisor_override="divide by this number instead.",
        returns="(..., OH, OW).",
        raises="RuntimeError for sizes that do not fit.",
    ),
)

op(
    "_avg_pool2d_backward(grad, input_size: ints, kernel_size: ints, stride: ints? = None, padding: ints = 0,"
    " ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int? = None) -> out",
    meta="avg_pool2d_backward",
    namespace=None,
    method=False,
    dgrad=lambda g, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override: functions[
        "avg_pool2d"
    ](g, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override),
    no_ref_reason="checked as the gradient of avg_pool2d",
    samples=lambda s: [
        s(s.t(2, 2, 2, 2), (4, 4), 2),
        s(s.t(1, 2, 3, 3), (5, 6), 3, 2, 1),
        s(s.t(1, 1, 3, 3), (4, 4), 2, 1, 0, False, True, 3),
    ],
    doc="Spreads each element of grad evenly over its window: the gradient of avg_pool2d.",
)

op(
    "adaptive_avg_pool2d(input, output_size: ints) -> out",
    meta="adaptive_avg_pool2d",
    namespace=(),
    method=False,
    dinput=lambda g, input_shape: functions["_adaptive_avg_pool2d_backward"](g, _plane(input_shape)),
    ref=lambda input, output_size: _reference_adaptive(input, output_size, "mean"),
    samples=lambda s: [
        s(s.t(2, 2, 4, 4), 2),
        s(s.t(1, 2, 5, 7), (2, 3)),
        s(s.t(2, 3, 3), (4, 2)),
        s(s.t(0, 2, 4, 4), 1),
    ],
    doc=card(
        "Mean of windows that tile (H, W) into a given number of rows and columns.",
        "mg.nn.functional.adaptive_avg_pool2d(mg.arange(4.).view(1, 1, 2, 2), 1).flatten() -> tensor([1.5000])",
        input="(N, C, H, W) or (C, H, W), floating.",
        output_size="one number or (h, w).",
        returns="(..., *output_size).",
        raises="RuntimeError for sizes below 1.",
        source="torch.nn.AdaptiveAvgPool2d: window i covers floor(i * H / OH) up to ceil((i + 1) * H / OH).",
    ),
)

op(
    "_adaptive_avg_pool2d_backward(grad, input_size: ints) -> out",
    meta="adaptive_avg_pool2d_backward",
    namespace=None,
    method=False,
    dgrad=lambda g, grad_shape: functions["adaptive_avg_pool2d"](g, _plane(grad_shape)),
    no_ref_reason="checked as the gradient of adaptive_avg_pool2d",
    samples=lambda s: [s(s.t(2, 2, 2, 2), (4, 4)), s(s.t(1, 2, 2, 3), (5, 7))],
    doc="Spreads each element of grad evenly over its window: the gradient of adaptive_avg_pool2d.",
)

op(
    "adaptive_max_pool2d_with_indices(input, output_size: ints) -> out, indices",
    meta="adaptive_max_pool2d",
    namespace=(),
    method=False,
    nondiff=("indices",),
    dinput=lambda g_out, indices, input_shape: functions["_pool_scatter"](g_out, indices, _plane(input_shape)),
    ref=lambda input, output_size: _reference_adaptive(input, output_size, "max"),
    samples=lambda s: [
        s(s.t(2, 2, 4, 4, distinct=True), 2),
        s(s.t(1, 2, 5, 7, distinct=True), (2, 3)),
        s(s.t(2, 3, 3, distinct=True), (4, 2)),
    ],
    doc=card(
        "Largest value of windows that tile (H, W) into a given number of rows and columns, and where it stood.",
        "mg.nn.functional.adaptive_max_pool2d(mg.arange(4.).view(1, 1, 2, 2), 1).flatten() -> tensor([3.])",
        input="(N, C, H, W) or (C, H, W), any dtype but bool.",
        output_size="one number or (h, w).",
        returns="(values, indices) of shape (..., *output_size); indices are int64, flat in each plane.",
        raises="RuntimeError for sizes below 1.",
    ),
)


def _sizes(input: Any, output_size: Any) -> tuple[int, int]:
    """output_size as two numbers; None keeps that side."""
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    height, width = (own if n is None else n for n, own in zip(sizes, input.shape[-2:], strict=True))
    return height, width


@composite(
    "nn.functional",
    samples=lambda s: [s(s.t(2, 2, 4, 4, distinct=True), 2), s(s.t(2, 5, 7, distinct=True), (2, 3))],
    ref=lambda input, output_size: _reference_adaptive(input, output_size, "max")[0],
)
def adaptive_max_pool2d(input: mg.Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Largest value of windows that tile (H, W) into a given number of rows and columns.

    Args:
        input: (N, C, H, W) or (C, H, W), any dtype but bool.
        output_size: one number or (h, w); None keeps that side.
        return_indices: return (values, indices); indices are flat within each plane.
    Returns:
        (..., *output_size).
    Raises:
        RuntimeError for sizes below 1.
    Example:
        >>> mg.nn.functional.adaptive_max_pool2d(mg.arange(4.).view(1, 1, 2, 2), 1).flatten()
        tensor([3.])
    """
    found = functions["adaptive_max_pool2d_with_indices"](input, _sizes(input, output_size))
    return tuple(found) if return_indices else found[0]


from minigrad.ops import _pool1d  # noqa: E402, F401  registers the 1-d forms


# --- references -------------------------------------------------------------------------------------------------------
def _reference_scatter(grad: Any, indices: Any, input_size: Any) -> Any:
    np = numpy()
    out = np.zeros((*grad.shape[:-2], input_size[0] * input_size[1]))
    for at in np.ndindex(*grad.shape):
        out[at[:-2] + (indices[at],)] += grad[at]
    return out.reshape(*grad.shape[:-2], *input_size)


def _spans(size: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> list[range]:
    """Input positions of every window of one dim, padding included (they may be negative or >= size)."""
    room = size + 2 * p - d * (k - 1) - 1
    n = (-(-room // s) if ceil_mode else room // s) + 1
    if ceil_mode and (n - 1) * s >= size + p:
        n -= 1
    return [range(i * s - p, min(i * s - p + d * (k - 1) + 1, size + p), d) for i in range(n)]


def _reference_windows(input: Any, rows: list[range], columns: list[range], value: Any) -> Any:
    """value(plane, rows, columns) for every window of every plane."""
    np = numpy()
    planes = input.reshape(-1, *input.shape[-2:])
    found = [[[value(plane, r, c) for c in columns] for r in rows] for plane in planes]
    return np.array(found).reshape(*input.shape[:-2], len(rows), len(columns), *np.shape(found)[3:])


def _inside(span: range, size: int) -> list[int]:
    return [i for i in span if 0 <= i < size]


def _max_of(plane: Any, rows: range, columns: range) -> tuple[float, int]:
    places = [(i, j) for i in _inside(rows, plane.shape[0]) for j in _inside(columns, plane.shape[1])]
    best = max(places, key=lambda at: plane[at])
    return plane[best], best[0] * plane.shape[1] + best[1]


def _reference_max(input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Any:
    k, p, d = _pair(kernel_size), _pair(padding), _pair(dilation)
    s = k if stride is None else _pair(stride)
    rows, columns = (_spans(input.shape[i - 2], k[i], s[i], p[i], d[i], ceil_mode) for i in (0, 1))
    return _split(input, rows, columns)


def _split(input: Any, rows: list[range], columns: list[range]) -> Any:
    if input.size == 0:
        empty = numpy().zeros((*input.shape[:-2], len(rows), len(columns)))
        return empty, empty.astype(int)
    found = _reference_windows(input, rows, columns, _max_of)
    return found[..., 0], found[..., 1].astype(int)


def _reference_avg(
    input: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, include: bool, divisor: int | None
) -> Any:
    np = numpy()
    k, p = _pair(kernel_size), _pair(padding)
    s = k if stride is None else _pair(stride)
    rows, columns = (_spans(input.shape[i - 2], k[i], s[i], p[i], 1, ceil_mode) for i in (0, 1))
    if input.size == 0:
        return np.zeros((*input.shape[:-2], len(rows), len(columns)))

    def value(plane: Any, r: range, c: range) -> float:
        window = plane[np.ix_(_inside(r, plane.shape[0]), _inside(c, plane.shape[1]))]
        return window.sum() / (divisor or (len(r) * len(c) if include else window.size))

    return _reference_windows(input, rows, columns, value)


def _reference_adaptive(input: Any, output_size: Any, kind: str) -> Any:
    np = numpy()
    sizes = _pair(output_size)
    spans = [
        [range(i * n // o, -(-(i + 1) * n // o)) for i in range(o)]
        for n, o in zip(input.shape[-2:], sizes, strict=True)
    ]
    if kind == "max":
        return _split(input, *spans)
    if input.size == 0:
        return np.zeros((*input.shape[:-2], *sizes))
    return _reference_windows(input, *spans, lambda plane, r, c: plane[r.start : r.stop, c.start : c.stop].mean())
