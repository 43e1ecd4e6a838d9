"""NumPy references of the convolutions: the definition, tap by tap, for any number of spatial dims."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from minigrad.ops.shared.struct_doc import numpy


def per_dim(v: Any, dims: int) -> tuple[int, ...]:
    """One number for all spatial dims, or one each."""
    if isinstance(v, int):
        return (v,) * dims
    return tuple(v) * dims if len(v) == 1 else tuple(v)


def _taps(
    input: Any, size: tuple[int, ...], kernel: tuple[int, ...], stride: Any, padding: Any, dilation: Any
) -> Iterator[tuple[tuple[int, ...], Any]]:
    """(tap, input seen through it by an output of that size) for every tap; views of the padded input."""
    n = len(kernel)
    s, p, d = per_dim(stride, n), per_dim(padding, n), per_dim(dilation, n)
    padded = numpy().pad(input, [(0, 0), (0, 0), *((p[i], p[i] + s[i] * d[i]) for i in range(n))])
    for tap in itertools.product(*map(range, kernel)):
        at = (slice(t * d[i], t * d[i] + (size[i] - 1) * s[i] + 1, s[i]) for i, t in enumerate(tap))
        yield tap, padded[(slice(None), slice(None), *at)]


def forward(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """_conv."""
    np = numpy()
    n = weight.ndim - 2
    if input.ndim == n + 1:
        return forward(input[None], weight, bias, stride, padding, dilation, groups)[0]
    spatial = zip(
        input.shape[2:], weight.shape[2:], per_dim(stride, n), per_dim(padding, n), per_dim(dilation, n), strict=True
    )
    size = tuple((x + 2 * p - d * (k - 1) - 1) // s + 1 for x, k, s, p, d in spatial)
    out = np.zeros((input.shape[0], weight.shape[0], *size))
    batch, cg, og = input.shape[0], weight.shape[1], weight.shape[0] // groups
    grouped, w = out.reshape(batch, groups, og, *size), weight.reshape(groups, og, *weight.shape[1:])
    for tap, x in _taps(input, size, weight.shape[2:], stride, padding, dilation):
        grouped += np.einsum("ngc...,goc->ngo...", x.reshape(batch, groups, cg, *size), w[(..., *tap)])
    return out if bias is None else out + bias.reshape(-1, *[1] * n)


def public(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """conv1d, conv2d, conv3d: padding may be a string."""
    if padding == "same":
        n = weight.ndim - 2
        total = [d * (k - 1) for d, k in zip(per_dim(dilation, n), weight.shape[2:], strict=True)]
        input = numpy().pad(input, [(0, 0)] * (input.ndim - n) + [(t // 2, t - t // 2) for t in total])
    padding = 0 if isinstance(padding, str) else padding
    return forward(input, weight, bias, stride, padding, dilation, groups)


def weight_grad(
    input: Any, grad: Any, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """_conv_weight_grad."""
    np = numpy()
    n = len(kernel_size)
    if input.ndim == n + 1:
        return weight_grad(input[None], grad[None], kernel_size, stride, padding, dilation, groups)
    size = grad.shape[2:]
    out = np.zeros((grad.shape[1], input.shape[1] // groups, *kernel_size))
    batch, cg, og = grad.shape[0], out.shape[1], out.shape[0] // groups
    g = grad.reshape(batch, groups, og, *size)
    for tap, x in _taps(input, size, kernel_size, stride, padding, dilation):
        seen = x.reshape(batch, groups, cg, *size)
        out[(..., *tap)] = np.einsum("ngc...,ngo...->goc...", seen, g).reshape(groups * og, cg, -1).sum(-1)
    return out


def transposed(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """_conv_transpose: every tap adds the input to the places that it reads in the forward op."""
    np = numpy()
    n = weight.ndim - 2
    if input.ndim == n + 1:
        return transposed(input[None], weight, bias, stride, padding, output_padding, groups, dilation)[0]
    s, p, d, e = (per_dim(v, n) for v in (stride, padding, dilation, output_padding))
    batch, channels, *size = input.shape
    full = [(size[i] - 1) * s[i] + d[i] * (weight.shape[2 + i] - 1) + e[i] + 1 for i in range(n)]
    out = np.zeros((batch, weight.shape[1] * groups, *full))
    x = input.reshape(batch, groups, channels // groups, *size)
    kernels = weight.reshape(groups, channels // groups, *weight.shape[1:])
    for tap in itertools.product(*map(range, weight.shape[2:])):
        part = np.einsum("ngc...,gco->ngo...", x, kernels[(..., *tap)]).reshape(batch, out.shape[1], *size)
        at = (slice(t * d[i], t * d[i] + (size[i] - 1) * s[i] + 1, s[i]) for i, t in enumerate(tap))
        out[(slice(None), slice(None), *at)] += part
    out = out[(slice(None), slice(None), *(slice(p[i], full[i] - p[i]) for i in range(n)))]
    return out if bias is None else out + bias.reshape(-1, *[1] * n)
