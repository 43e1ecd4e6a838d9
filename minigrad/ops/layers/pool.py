"""Pooling over 1 to 3 spatial dims: the ops. The public functions (max_pool2d, avg_pool1d …) are in pool_public.py.

Meta: csrc/core/meta_pool.cpp; kernels: csrc/cpu/pool.cpp; NumPy references: _pool_reference.py. The number of spatial
dims is the length of kernel_size (output_size, input_size). Max pooling remembers where each maximum stood: its gradient
scatters to those places (`_pool_scatter`), whose own gradient gathers from them. Average pooling is linear, so its
gradient is its adjoint and the other way round.
"""

from __future__ import annotations

import math
from typing import Any

from minigrad.op import functions, op
from minigrad.ops.layers import pool_reference as reference


def _max_grad(g_out: Any, indices: Any, input_shape: tuple[int, ...], kernel_size: Any) -> Any:
    return functions["_pool_scatter"](g_out, indices, input_shape[-len(kernel_size) :])


op(
    "_pool_scatter(grad, indices, input_size: ints) -> out",
    meta="pool_scatter",
    namespace=None,
    method=False,
    dgrad=lambda g, indices, input_size: functions["_pool_gather"](g, indices, len(input_size)),
    ref=reference.scatter,
    samples=lambda s: [
        s(s.t(2, 3, 2, 2), s.index(2, 3, 2, 2, high=12), (3, 4)),
        s(s.t(2, 1, 3), s.index(2, 1, 3, high=4), (2, 2)),
        s(s.t(0, 2, 2, 2), s.index(0, 2, 2, 2, high=4), (2, 2)),
        s(s.t(2, 2, 3), s.index(2, 2, 3, high=5), (5,)),
        s(s.t(2, 2, 1, 2), s.index(2, 2, 1, 2, high=12), (3, 2, 2)),
    ],
    doc="Zeros with grad (…, pooled sizes) added at flat positions `indices` of the last dims, whose sizes are"
    " input_size: the gradient of max pooling.",
)

op(
    "_pool_gather(input, indices, dims: int) -> out",
    meta="pool_gather",
    namespace=None,
    method=False,
    dinput=lambda g, indices, input_shape, dims: functions["_pool_scatter"](g, indices, input_shape[-dims:]),
    ref=reference.gather,
    samples=lambda s: [
        s(s.t(2, 3, 3, 4), s.index(2, 3, 2, 2, high=12), 2),
        s(s.t(2, 2, 2), s.index(2, 1, 3, high=4), 2),
        s(s.t(2, 4), s.index(2, 3, high=4), 1),
        s(s.t(2, 2, 3, 2), s.index(2, 1, 3, 1, high=12), 3),
    ],
    doc="Elements of `input` at flat positions `indices` of its last `dims` dims: the gradient of _pool_scatter.",
)

op(
    "_max_pool(input, kernel_size: ints, stride: ints? = None, padding: ints = 0, dilation: ints = 1,"
    " ceil_mode: bool = False) -> out, indices",
    meta="max_pool",
    namespace=None,
    method=False,
    nondiff=("indices",),
    grad_name="MaxPool",
    dinput=_max_grad,
    ref=reference.max_pool,
    samples=lambda s: [
        s(s.t(2, 2, 4, 4, distinct=True), (2, 2)),
        s(s.t(1, 2, 5, 6, distinct=True), (3, 3), 2, 1),
        s(s.t(2, 5, 5, distinct=True), (2, 3), (1, 2)),
        s(s.t(1, 1, 6, 6, distinct=True), (2, 2), 2, 1, 2),
        s(s.t(1, 2, 5, 5, distinct=True), (2, 2), None, 0, 1, True),
        s(s.t(0, 2, 4, 4), (2, 2)),
        s(s.t(1, 2, 4, 5, distinct=True, layout="transposed"), (2, 2)),
        s(s.t(2, 2, 7, distinct=True), (3,), 2, 1),
        s(s.t(2, 4, 3, 5, distinct=True), (2, 2, 2), 1, (0, 1, 1)),
        s(s.t(1, 1, 5, 3, 3, distinct=True), (2, 1, 2), 2, 0, (2, 1, 1), True),
    ],
    doc="Largest value of each window of the last dims and its flat position: the first of equals; a NaN counts as the"
    " maximum.",
)


def _avg_grad(
    g: Any, input_shape: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool,
    divisor_override: int | None,
) -> Any:  # fmt: skip
    size = input_shape[-len(kernel_size) :]
    return functions["_avg_pool_backward"](
        g, size, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


op(
    "_avg_pool(input, kernel_size: ints, stride: ints? = None, padding: ints = 0, ceil_mode: bool = False,"
    " count_include_pad: bool = True, divisor_override: int? = None) -> out",
    meta="avg_pool",
    namespace=None,
    method=False,
    dinput=_avg_grad,
    ref=reference.avg_pool,
    reduction=lambda input, kernel_size, *_, **__: math.prod(kernel_size),
    dtypes=("float64", "float32", "float16", "bfloat16"),
    samples=lambda s: [
        s(s.t(2, 2, 4, 4), (2, 2)),
        s(s.t(1, 2, 5, 6), (3, 3), 2, 1),
        s(s.t(1, 2, 5, 6), (3, 3), 2, 1, False, False),
        s(s.t(2, 5, 5), (2, 3), (1, 2)),
        s(s.t(1, 2, 5, 5), (2, 2), None, 1, True),
        s(s.t(1, 1, 4, 4), (2, 2), 1, 0, False, True, 3),
        s(s.t(0, 2, 4, 4), (2, 2)),
        s(s.t(2, 2, 7), (3,), 2, 1, True),
        s(s.t(2, 4, 3, 5), (2, 2, 3), 1, (0, 1, 1), False, False),
    ],
    doc="Mean of each window of the last dims.",
)

op(
    "_avg_pool_backward(grad, input_size: ints, kernel_size: ints, stride: ints? = None, padding: ints = 0,"
    " ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int? = None) -> out",
    meta="avg_pool_backward",
    namespace=None,
    method=False,
    dgrad=lambda g, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override: functions["_avg_pool"](
        g, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    ),
    no_ref_reason="checked as the gradient of _avg_pool",
    samples=lambda s: [
        s(s.t(2, 2, 2, 2), (4, 4), (2, 2)),
        s(s.t(1, 2, 3, 3), (5, 6), (3, 3), 2, 1),
        s(s.t(1, 1, 3, 3), (4, 4), (2, 2), 1, 0, False, True, 3),
        s(s.t(2, 3, 2, 3), (4, 3, 5), (2, 2, 3), 1, 0, False),
    ],
    doc="Spreads each element of grad evenly over its window: the gradient of _avg_pool.",
)

op(
    "_adaptive_avg_pool(input, output_size: ints) -> out",
    meta="adaptive_avg_pool",
    namespace=None,
    method=False,
    dinput=lambda g, input_shape, output_size: functions["_adaptive_avg_pool_backward"](
        g, input_shape[-len(output_size) :]
    ),
    ref=reference.adaptive_avg_pool,
    samples=lambda s: [
        s(s.t(2, 2, 4, 4), (2, 2)),
        s(s.t(1, 2, 5, 7), (2, 3)),
        s(s.t(2, 3, 3), (4, 2)),
        s(s.t(0, 2, 4, 4), (1, 1)),
        s(s.t(2, 2, 7), (3,)),
        s(s.t(2, 4, 3, 5), (2, 3, 2)),
        s(s.t(2, 3, 3), (0, 2)),
    ],
    doc="Mean of windows that tile the last dims: window i of a dim covers floor(i size / out) to ceil((i + 1) size / out).",
)

op(
    "_adaptive_avg_pool_backward(grad, input_size: ints) -> out",
    meta="adaptive_avg_pool_backward",
    namespace=None,
    method=False,
    dgrad=lambda g, grad_shape, input_size: functions["_adaptive_avg_pool"](g, grad_shape[-len(input_size) :]),
    no_ref_reason="checked as the gradient of _adaptive_avg_pool",
    samples=lambda s: [
        s(s.t(2, 2, 2, 2), (4, 4)), s(s.t(1, 2, 2, 3), (5, 7)), s(s.t(2, 3), (5,)), s(s.t(2, 2, 1, 2), (3, 2, 4)),
    ],
    doc="Spreads each element of grad evenly over its window: the gradient of _adaptive_avg_pool.",
)  # fmt: skip

op(
    "_adaptive_max_pool(input, output_size: ints) -> out, indices",
    meta="adaptive_max_pool",
    namespace=None,
    method=False,
    nondiff=("indices",),
    dinput=lambda g_out, indices, input_shape, output_size: _max_grad(g_out, indices, input_shape, output_size),
    ref=reference.adaptive_max_pool,
    samples=lambda s: [
        s(s.t(2, 2, 4, 4, distinct=True), (2, 2)),
        s(s.t(1, 2, 5, 7, distinct=True), (2, 3)),
        s(s.t(2, 3, 3, distinct=True), (4, 2)),
        s(s.t(2, 2, 7, distinct=True), (3,)),
        s(s.t(2, 4, 3, 5, distinct=True), (2, 3, 2)),
    ],
    doc="Largest value of windows that tile the last dims (see _adaptive_avg_pool), and its flat position.",
)

op(
    "_fractional_max_pool(input, kernel_size: ints, output_size: ints, random_samples) -> out, indices",
    meta="fractional_max_pool",
    namespace=None,
    method=False,
    nondiff=("indices",),
    dinput=_max_grad,
    ref=reference.fractional_max_pool,
    dtypes=("float64", "float32"),
    samples=lambda s: [
        s(s.t(2, 2, 5, 6, distinct=True), (2, 3), (2, 3), s.t(2, 2, 2, low=0, high=0.99, grad=False)),
        s(s.t(2, 7, 5, distinct=True), (2, 2), (4, 1), s.t(1, 2, 2, low=0, high=0.99, grad=False)),
        s(s.t(1, 2, 4, 5, 3, distinct=True), (2, 2, 1), (2, 3, 2), s.t(1, 2, 3, low=0, high=0.99, grad=False)),
    ],
    doc="Largest value of windows of one size, placed at pseudo-random distances that random_samples (N, C, dims) in"
    " [0, 1) choose (Graham, arXiv:1412.6071).",
)

from minigrad.ops.layers import pool_public  # noqa: E402, F401  registers the public functions
