"""Pooling of sequences (N, C, L) or (C, L): the 2-d ops with a height of 1."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions
from minigrad.ops._struct_doc import numpy


def _one(v: Any) -> int:
    return v if isinstance(v, int) else v[0]


def _step(stride: Any, kernel_size: Any) -> int:
    return _one(kernel_size) if stride is None or (not isinstance(stride, int) and len(stride) == 0) else _one(stride)


def _check(name: str, input: Any) -> None:
    if input.dim() not in (2, 3):
        raise RuntimeError(f"{name}: expected input (N, C, L) or (C, L): got {tuple(input.shape)}.")


def _windows(x: Any, k: int, s: int) -> Any:
    np = numpy()
    return np.lib.stride_tricks.sliding_window_view(x, k, -1)[..., ::s, :]


@composite(
    "nn.functional",
    samples=lambda s: [s(s.t(2, 2, 6, distinct=True), 2), s(s.t(2, 7, distinct=True), 3, 2)],
    ref=lambda input, kernel_size, stride=None: _windows(input, kernel_size, stride or kernel_size).max(-1),
)
def max_pool1d(
    input: mg.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest value of each window of a sequence.

    Args:
        input: (N, C, L) or (C, L), any dtype but bool.
        kernel_size: size of the window.
        stride: step; None means kernel_size.
        padding: minus infinity on both sides, at most half the window.
        dilation: distance of the window's elements.
        ceil_mode: also take a last window that hangs over the border.
        return_indices: return (values, indices).
    Returns:
        (..., OL).
    Raises:
        RuntimeError for sizes that do not fit.
    Example:
        >>> mg.nn.functional.max_pool1d(mg.arange(4.).view(1, 1, 4), 2).flatten()
        tensor([1., 3.])
    """
    _check("max_pool1d", input)
    found = functions["max_pool2d_with_indices"](
        input.unsqueeze(-2),
        (1, _one(kernel_size)),
        (1, _step(stride, kernel_size)),
        (0, _one(padding)),
        (1, _one(dilation)),
        ceil_mode,
    )
    values, indices = (x.squeeze(-2) for x in found)
    return (values, indices) if return_indices else values


@composite(
    "nn.functional",
    samples=lambda s: [s(s.t(2, 2, 6), 2), s(s.t(2, 7), 3, 2)],
    ref=lambda input, kernel_size, stride=None: _windows(input, kernel_size, stride or kernel_size).mean(-1),
)
def avg_pool1d(
    input: mg.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> mg.Tensor:
    """Mean of each window of a sequence.

    Args:
        input: (N, C, L) or (C, L), floating.
        kernel_size: size of the window.
        stride: step; None means kernel_size.
        padding: zeros on both sides, at most half the window.
        ceil_mode: also take a last window that hangs over the border.
        count_include_pad: whether padding counts as elements.
    Returns:
        (..., OL).
    Raises:
        RuntimeError for sizes that do not fit.
    Example:
        >>> mg.nn.functional.avg_pool1d(mg.arange(4.).view(1, 1, 4), 2).flatten()
        tensor([0.5000, 2.5000])
    """
    _check("avg_pool1d", input)
    kernel, step = (1, _one(kernel_size)), (1, _step(stride, kernel_size))
    return functions["avg_pool2d"](
        input.unsqueeze(-2), kernel, step, (0, _one(padding)), ceil_mode, count_include_pad
    ).squeeze(-2)


@composite(
    "nn.functional",
    samples=lambda s: [s(s.t(2, 2, 6), 2), s(s.t(2, 7), 7)],
    no_ref_reason="checked through adaptive_avg_pool2d",
)
def adaptive_avg_pool1d(input: mg.Tensor, output_size: Any) -> mg.Tensor:
    """Mean of windows that tile a sequence into a given number.

    Args:
        input: (N, C, L) or (C, L), floating.
        output_size: number of windows.
    Returns:
        (..., output_size).
    Raises:
        RuntimeError for sizes below 1.
    Example:
        >>> mg.nn.functional.adaptive_avg_pool1d(mg.arange(4.).view(1, 1, 4), 2).flatten()
        tensor([0.5000, 2.5000])
    """
    _check("adaptive_avg_pool1d", input)
    return functions["adaptive_avg_pool2d"](input.unsqueeze(-2), (1, _one(output_size))).squeeze(-2)


@composite(
    "nn.functional",
    samples=lambda s: [s(s.t(2, 2, 6, distinct=True), 2), s(s.t(2, 7, distinct=True), 7)],
    no_ref_reason="checked through adaptive_max_pool2d",
)
def adaptive_max_pool1d(input: mg.Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Largest value of windows that tile a sequence into a given number.

    Args:
        input: (N, C, L) or (C, L), any dtype but bool.
        output_size: number of windows.
        return_indices: return (values, indices).
    Returns:
        (..., output_size).
    Raises:
        RuntimeError for sizes below 1.
    Example:
        >>> mg.nn.functional.adaptive_max_pool1d(mg.arange(4.).view(1, 1, 4), 2).flatten()
        tensor([1., 3.])
    """
    _check("adaptive_max_pool1d", input)
    found = functions["adaptive_max_pool2d_with_indices"](input.unsqueeze(-2), (1, _one(output_size)))
    values, indices = (x.squeeze(-2) for x in found)
    return (values, indices) if return_indices else values
