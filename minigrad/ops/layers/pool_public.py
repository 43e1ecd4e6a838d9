"""The public pooling functions of nn.functional for 1, 2 and 3 spatial dims, made by one declaration each.

They spell their arguments out (one number per dim, None for "keep this side") and call the ops of pool.py. PyTorch also
has some of them at top level (torch.max_pool2d, torch.avg_pool1d …), so do we.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions
from minigrad.ops.layers import pool_reference as reference
from minigrad.ops.layers.conv_reference import per_dim
from minigrad.ops.shared.struct_doc import card

_SIZES = {1: "L", 2: "H, W", 3: "D, H, W"}
_WINDOWS = dict(
    kernel_size="size of the window, one number or one per dim.",
    stride="step; None means kernel_size.",
    ceil_mode="also take a last window that hangs over the border.",
)
_BOTH = ("", "nn.functional")


def _ints(name: str, what: str, v: Any, dims: int) -> tuple[int, ...]:
    """`v` as one int per dim."""
    if isinstance(v, mg.Tensor) and v.dim() == 0:
        v = operator.index(v)
    if isinstance(v, int):
        return (v,) * dims
    if len(v) == 1:
        return tuple(v) * dims
    if len(v) != dims:
        raise RuntimeError(f"{name}: {what} must be one number or {dims}: got {tuple(v)}.")
    return tuple(v)


def _output_size(name: str, input: Any, output_size: Any, dims: int) -> tuple[int, ...]:
    """output_size as one number per dim; None keeps that side."""
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * dims
    if len(sizes) == 1 and dims > 1:
        sizes = tuple(sizes) * dims
    if len(sizes) != dims:
        raise RuntimeError(f"{name}: output_size must be one number or {dims}: got {output_size}.")
    if None not in sizes:
        return tuple(sizes)
    if input.dim() < dims:
        raise RuntimeError(f"{name}: input has too few dims: got {tuple(input.shape)}.")
    return tuple(own if n is None else n for n, own in zip(sizes, input.shape[-dims:], strict=True))


def _publish(fn: Callable, name: str, doc: str, namespace: Any, **info: Any) -> None:
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    composite(namespace, method=False, **info)(fn)


def _example(name: str, dims: int, value: str, arguments: str = "2") -> str:
    ones = ", ".join(["1"] * (dims + 1))
    return f"mg.nn.functional.{name}(mg.arange(2.).view({ones}, 2), {arguments}).flatten() -> tensor([{value}])"


# Sizes of an unbatched sample input, small enough for finite differences.
_X = {1: (2, 7), 2: (2, 5, 4), 3: (2, 3, 4, 3)}


def _max_pool(dims: int) -> None:
    name = f"max_pool{dims}d"

    def with_indices(
        input: mg.Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:  # fmt: skip
        kernel = _ints(name, "kernel_size", kernel_size, dims)
        return functions["_max_pool"](input, kernel, stride, padding, dilation, ceil_mode)

    def pool(
        input: mg.Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:  # fmt: skip
        found = with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)
        return tuple(found) if return_indices else found[0]

    doc = card(
        f"Largest value of each window of (N, C, {_SIZES[dims]}) or (C, {_SIZES[dims]}).",
        _example(name, dims, "1.", "(1, 1, 2)"[3 * (3 - dims) :] if dims == 3 else "(1, 2)" if dims == 2 else "2"),
        input="any dtype but bool.",
        **_WINDOWS,
        padding="minus infinity on both sides, at most half the window.",
        dilation="distance of the window's elements.",
        return_indices="return (values, indices); indices are int64, flat within each channel.",
        returns="(…, pooled sizes).",
        raises="RuntimeError for sizes that do not fit.",
        grad="Goes to the maximum, the first one of equals; a NaN counts as the maximum.",
    )
    samples = lambda s: [s(s.t(*_X[dims], distinct=True), 2), s(s.t(1, *_X[dims], distinct=True), 3, 2, 1)]  # noqa: E731

    def ref(input: Any, kernel_size: int, stride: Any = None, padding: Any = 0) -> Any:
        return reference.max_pool(input, per_dim(kernel_size, dims), stride, padding)

    _publish(pool, name, doc, _BOTH, samples=samples, ref=lambda *a: ref(*a)[0])
    doc = doc.replace(f"{name}(", f"{name}_with_indices(").replace(".flatten()", "[0].flatten()")
    doc = doc.replace("return (values, indices); indices", "ignored, always True; indices").replace(
        "(…, pooled sizes)", "(values, indices), each (…, pooled sizes)"
    )
    _publish(with_indices, f"{name}_with_indices", doc, "nn.functional" if dims > 1 else _BOTH, samples=samples, ref=ref)


def _avg_pool(dims: int) -> None:
    name = f"avg_pool{dims}d"

    def pool(
        input: mg.Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> mg.Tensor:  # fmt: skip
        kernel = _ints(name, "kernel_size", kernel_size, dims)
        return functions["_avg_pool"](input, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override)

    doc = card(
        f"Mean of each window of (N, C, {_SIZES[dims]}) or (C, {_SIZES[dims]}).",
        _example(name, dims, "0.5000", "(1, 1, 2)" if dims == 3 else "(1, 2)" if dims == 2 else "2"),
        input="floating or int64.",
        **_WINDOWS,
        padding="zeros on both sides, at most half the window.",
        count_include_pad="whether padding counts as elements.",
        divisor_override="divide by this number instead.",
        returns="(…, pooled sizes).",
        raises="RuntimeError for sizes that do not fit.",
    )
    _publish(
        pool,
        name,
        doc,
        _BOTH if dims == 1 else "nn.functional",
        out=True,
        samples=lambda s: [s(s.f(*_X[dims]), 2), s(s.f(1, *_X[dims]), 3, 2, 1)],
        ref=lambda input, kernel_size, *a: reference.avg_pool(input, per_dim(kernel_size, dims), *a),
        reduction=lambda *_, **__: 3**dims,
    )


def _adaptive_avg_pool(dims: int) -> None:
    name = f"adaptive_avg_pool{dims}d"

    def pool(input: mg.Tensor, output_size: Any) -> mg.Tensor:
        size = _output_size(name, input, output_size, dims)
        if all(n == 1 for n in size) and input.dim() in (dims + 1, dims + 2) and 0 not in input.shape[-dims - 1 :]:
            return input.mean(list(range(-dims, 0)), keepdim=True)  # global pooling: one reduction
        return functions["_adaptive_avg_pool"](input, size)

    _publish(
        pool,
        name,
        _adaptive_doc("Mean", name, dims, "0.5000", "floating."),
        _BOTH if dims == 1 else "nn.functional",
        samples=lambda s: [s(s.f(*_X[dims]), 2), s(s.f(1, *_X[dims]), 1), s(s.f(1, *_X[dims]), (None,) * (dims - 1) + (2,))],
        ref=lambda input, output_size: reference.adaptive_avg_pool(input, _sized(input, output_size, dims)),
        reduction=lambda *_, **__: 3**dims,
    )


def _sized(input: Any, output_size: Any, dims: int) -> tuple[int, ...]:
    sizes = output_size if isinstance(output_size, tuple) else (output_size,) * dims
    return tuple(own if n is None else n for n, own in zip(sizes, input.shape[-dims:], strict=True))


def _adaptive_doc(what: str, name: str, dims: int, value: str, dtypes: str, **more: str) -> str:
    return card(
        f"{what} of windows that tile the spatial dims into a given number.",
        _example(name, dims, value, "1"),
        input=f"(N, C, {_SIZES[dims]}) or (C, {_SIZES[dims]}), {dtypes}",
        output_size="one number or one per dim; None keeps that side.",
        **more,
        returns="(…, *output_size).",
        raises="RuntimeError for sizes that do not fit.",
        source="torch.nn.AdaptiveAvgPool2d: window i covers floor(i * size / out) up to ceil((i + 1) * size / out).",
    )


def _adaptive_max_pool(dims: int) -> None:
    name = f"adaptive_max_pool{dims}d"

    def with_indices(input: mg.Tensor, output_size: Any, return_indices: bool = False) -> Any:
        return functions["_adaptive_max_pool"](input, _output_size(name, input, output_size, dims))

    def pool(input: mg.Tensor, output_size: Any, return_indices: bool = False) -> Any:
        found = with_indices(input, output_size)
        return tuple(found) if return_indices else found[0]

    doc = _adaptive_doc(
        "Largest value", name, dims, "1.", "any dtype but bool.",
        return_indices="return (values, indices); indices are flat within each channel.",
    )  # fmt: skip
    samples = lambda s: [s(s.t(*_X[dims], distinct=True), 2), s(s.t(1, *_X[dims], distinct=True), (None,) * dims)]  # noqa: E731

    def ref(input: Any, output_size: Any) -> Any:
        return reference.adaptive_max_pool(input, _sized(input, output_size, dims))

    _publish(pool, name, doc, "nn.functional", samples=samples, ref=lambda *a: ref(*a)[0])
    doc = doc.replace(f"{name}(", f"{name}_with_indices(").replace(".flatten()", "[0].flatten()")
    doc = doc.replace("(…, *output_size)", "(values, indices), each (…, *output_size)")
    _publish(with_indices, f"{name}_with_indices", doc, "nn.functional", samples=samples, ref=ref)


def _fractional_max_pool(dims: int) -> None:
    name = f"fractional_max_pool{dims}d"

    def with_indices(
        input: mg.Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
        return_indices: bool = False, _random_samples: Any = None,
    ) -> Any:  # fmt: skip
        if output_size is None and output_ratio is None:
            raise ValueError(f"{name}: requires specifying either an output_size or an output_ratio.")
        kernel = _ints(name, "kernel_size", kernel_size, dims)
        if input.dim() not in (dims + 1, dims + 2):
            raise RuntimeError(f"{name}: expected {dims + 1}D or {dims + 2}D input: got {tuple(input.shape)}.")
        if output_size is None:
            ratio = output_ratio if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * dims
            if not all(0 < r < 1 for r in ratio):
                raise ValueError(f"{name}: output_ratio must lie between 0 and 1: got {output_ratio}.")
            output_size = [int(n * r) for n, r in zip(input.shape[-dims:], ratio, strict=True)]
        if _random_samples is None:
            batch = 1 if input.dim() == dims + 1 else input.shape[0]
            _random_samples = mg.rand(batch, input.shape[-dims - 1], dims, dtype=input.dtype, device=input.device)
        size = _ints(name, "output_size", output_size, dims)
        return functions["_fractional_max_pool"](input, kernel, size, _random_samples)

    def pool(
        input: mg.Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
        return_indices: bool = False, _random_samples: Any = None,
    ) -> Any:  # fmt: skip
        found = with_indices(input, kernel_size, output_size, output_ratio, False, _random_samples)
        return tuple(found) if return_indices else found[0]

    doc = card(
        f"Largest value of windows placed at pseudo-random distances in (N, C, {_SIZES[dims]}) or (C, {_SIZES[dims]}).",
        _example(name, dims, "1.", f"({'1, ' * (dims - 1)}2), output_size=1"),
        input="floating.",
        kernel_size="size of the window, one number or one per dim.",
        output_size="number of windows, one number or one per dim.",
        output_ratio="output_size as a share of the input's sizes, in (0, 1).",
        return_indices="return (values, indices); indices are flat within each channel.",
        _random_samples=f"(N, C, {dims}) numbers in [0, 1) that place the windows; drawn when None.",
        returns="(…, *output_size).",
        raises="RuntimeError for sizes that do not fit; ValueError without output_size and output_ratio.",
        source="Graham, Fractional Max-Pooling, arXiv:1412.6071.",
    )
    no_ref = "_fractional_max_pool has the reference; this draws the random numbers"
    _publish(pool, name, doc, "nn.functional", no_ref_reason=no_ref, no_samples_reason=no_ref)
    doc = doc.replace(f"{name}(", f"{name}_with_indices(").replace(".flatten()", "[0].flatten()")
    doc = doc.replace("(…, *output_size)", "(values, indices), each (…, *output_size)")
    _publish(
        with_indices, f"{name}_with_indices", doc, "nn.functional", no_ref_reason=no_ref, no_samples_reason=no_ref
    )


def _max_unpool(dims: int) -> None:
    name = f"max_unpool{dims}d"

    def unpool(
        input: mg.Tensor, indices: mg.Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
        output_size: Any = None,
    ) -> mg.Tensor:  # fmt: skip
        kernel = _ints(name, "kernel_size", kernel_size, dims)
        steps = kernel if stride is None or stride == [] else _ints(name, "stride", stride, dims)
        size = _unpooled_size(name, input, kernel, steps, _ints(name, "padding", padding, dims), output_size)
        if indices.dtype != mg.int64:
            raise RuntimeError(f"{name}: elements in indices should be of type int64: got {indices.dtype}.")
        if indices.shape != input.shape:
            raise RuntimeError(
                f"{name}: input and indices must have one shape: got {tuple(input.shape)} and {tuple(indices.shape)}."
            )
        lead = input.shape[: input.dim() - dims]
        area = math.prod(size)
        if indices.numel() and not (0 <= int(mg.op.all_values(indices).min()) and int(mg.op.all_values(indices).max()) < area):
            raise RuntimeError(f"{name}: found an invalid max index: output sizes are {size}, expected 0 <= index < {area}.")
        flat = input.new_zeros((*lead, area))
        if input.numel():
            flat = flat.scatter(-1, indices.reshape(*lead, -1), input.reshape(*lead, -1))
        return flat.reshape(*lead, *size)

    def ref(input: Any, indices: Any, kernel_size: int, stride: Any = None) -> Any:
        step = kernel_size if stride is None else stride
        sizes = [(n - 1) * step + kernel_size for n in input.shape[-dims:]]
        return reference.scatter(input, indices, sizes)

    doc = card(
        f"Partial inverse of max_pool{dims}d: values go back to where they stood, zeros elsewhere.",
        f"mg.nn.functional.{name}(mg.ones({', '.join(['1'] * (dims + 2))}), mg.ones({', '.join(['1'] * (dims + 2))}"
        f", dtype=mg.int64), ({'1, ' * (dims - 1)}2{',' if dims == 1 else ''})).flatten() -> tensor([0., 1.])",
        input=f"(N, C, {_SIZES[dims]}) or (C, {_SIZES[dims]}).",
        indices=f"int64, of the same shape: max_pool{dims}d's second result. Where two are equal, one of the values stays.",
        kernel_size="size of the window, one number or one per dim.",
        stride="step of the pooling; None means kernel_size.",
        padding="padding of the pooling.",
        output_size="sizes of the result, where several inputs would have pooled to this one.",
        returns="(…, (size - 1) * stride - 2 * padding + kernel_size).",
        raises="RuntimeError for shapes or indices that do not fit; ValueError for an impossible output_size.",
    )
    shape = (2, 2, 3)[:dims]
    _publish(
        unpool,
        name,
        doc,
        "nn.functional",
        samples=lambda s: [s(s.t(1, 2, *shape), _distinct_indices(s, (1, 2, *shape)), 2)],
        ref=ref,
    )


def _distinct_indices(s: Any, shape: tuple[int, ...]) -> Any:
    """Indices of a 2-window pooling of that output shape: the first corner of each window, so that none repeat."""
    from dataclasses import replace

    import numpy as np

    spec = s.index(*shape, high=1)
    size = [2 * n for n in shape[2:]]
    corners = np.ravel_multi_index(np.meshgrid(*(2 * np.arange(n) for n in shape[2:]), indexing="ij"), size)
    return replace(spec, values=np.broadcast_to(corners, shape).astype(np.int64).copy())


def _unpooled_size(name: str, input: Any, kernel: Any, stride: Any, padding: Any, wanted: Any) -> tuple[int, ...]:
    dims = len(kernel)
    if input.dim() not in (dims + 1, dims + 2):
        raise RuntimeError(f"{name}: expected {dims + 1}D or {dims + 2}D input: got {tuple(input.shape)}.")
    if 0 in input.shape[-dims - 1 :]:
        raise RuntimeError(f"{name}: expected a non-empty input (only the batch may be 0): got {tuple(input.shape)}.")
    if any(s <= 0 for s in stride):
        raise RuntimeError(f"{name}: strides should be greater than zero: got {stride}.")
    size = [(n - 1) * s - 2 * p + k for n, s, p, k in zip(input.shape[-dims:], stride, padding, kernel, strict=True)]
    if wanted is None:
        return tuple(size)
    wanted = list(wanted)
    if len(wanted) == dims + 2:
        wanted = wanted[2:]
    if len(wanted) != dims:
        raise ValueError(f"{name}: output_size should have {dims} or {dims + 2} elements: got {len(wanted)}.")
    for n, w, s in zip(size, wanted, stride, strict=True):
        if not n - s < w < n + s:
            raise ValueError(f"{name}: invalid output_size {wanted}: dim of default size {n} takes {n - s + 1} to {n + s - 1}.")
    return tuple(wanted)


def _lp_pool(dims: int) -> None:
    name = f"lp_pool{dims}d"

    def pool(
        input: mg.Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> mg.Tensor:
        kernel = _ints(name, "kernel_size", kernel_size, dims)
        mean = functions[f"avg_pool{dims}d"](input.pow(norm_type), kernel, stride, 0, ceil_mode)
        return (mean.sign() * mean.abs().relu() * math.prod(kernel)).pow(1.0 / norm_type)

    doc = card(
        f"p-norm of each window of (N, C, {_SIZES[dims]}) or (C, {_SIZES[dims]}).",
        f"mg.nn.functional.{name}(mg.full(({'1, ' * (dims + 1)}2), 3.), 1, "
        f"({'1, ' * (dims - 1)}2{',' if dims == 1 else ''})).flatten() -> tensor([6.])",
        input="floating.",
        norm_type="the power p.",
        **_WINDOWS,
        returns="(…, pooled sizes).",
        raises="RuntimeError for sizes that do not fit.",
    )
    _publish(
        pool,
        name,
        doc,
        "nn.functional",
        samples=lambda s: [s(s.f(1, *_X[dims], low=0.3), 2, 2), s(s.f(*_X[dims], low=0.3), 3, 2, 1)],
        ref=lambda input, norm_type, kernel_size, stride=None: (
            reference.avg_pool(input**norm_type, per_dim(kernel_size, dims), stride) * kernel_size**dims
        )
        ** (1 / norm_type),
    )


for _dims in (1, 2, 3):
    _max_pool(_dims)
    _avg_pool(_dims)
    _adaptive_avg_pool(_dims)
    _adaptive_max_pool(_dims)
    _max_unpool(_dims)
    _lp_pool(_dims)
for _dims in (2, 3):
    _fractional_max_pool(_dims)
