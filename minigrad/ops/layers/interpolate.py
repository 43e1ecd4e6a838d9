"""Resampling of sequences, images and volumes: interpolate and its older names.

`_resample` works along one dim (kernels: csrc/cpu/interpolate.cpp); the others go dim by dim, which linear, bilinear,
trilinear, bicubic and nearest all allow. float16 and bfloat16 are resampled in float32 and rounded once; bytes: _resample_bytes.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops.shared.struct_doc import numpy


def _np_resample(
    input: Any, dim: int, size: int, mode: str, align_corners: bool = False, scale: Any = None, antialias: bool = False
) -> Any:
    """The taps of csrc/cpu/interpolate.cpp as a matrix; antialiased modes are checked against PyTorch instead."""
    np = numpy()
    n = input.shape[dim]
    ratio = (n - 1) / max(size - 1, 1) if align_corners else 1 / scale if scale else n / size
    matrix = np.zeros((size, n))
    for i in range(size):
        at = i * ratio if align_corners or mode == "nearest" else (i + 0.5) * ratio - 0.5
        if mode == "nearest":
            matrix[i, min(int(at), n - 1)] = 1
        elif mode == "nearest-exact":
            matrix[i, min(int((i + 0.5) * ratio), n - 1)] = 1
        elif mode == "linear":
            at = min(max(at, 0), n - 1)
            matrix[i, int(at)] += 1 - at % 1
            matrix[i, min(int(at) + 1, n - 1)] += at % 1
        else:
            for k in range(math.floor(at) - 1, math.floor(at) + 3):
                x = abs(at - k)
                w = (1.25 * x - 2.25) * x * x + 1 if x <= 1 else ((-0.75 * x + 3.75) * x - 6) * x + 3
                matrix[i, min(max(k, 0), n - 1)] += w
    return np.moveaxis(np.tensordot(matrix, input, (1, dim)), 0, dim)


op(
    "_resample_backward(grad, dim: int, size: int, mode: str, align_corners: bool = False, scale: float? = None,"
    " antialias: bool = False) -> out",
    meta="resample",
    namespace=None,
    method=False,
    dgrad=lambda g, grad_shape, dim, mode, align_corners, scale, antialias: functions["_resample"](
        g, dim, grad_shape[dim], mode, align_corners, scale, antialias
    ),
    no_ref_reason="checked as the gradient of _resample",
    dtypes=("float64", "float32"),
    samples=lambda s: [
        s(s.t(2, 5), 1, 3, "linear"),
        s(s.t(4, 2), 0, 3, "cubic", True),
        s(s.t(2, 3), 1, 7, "linear", False, None, True),
        s(s.t(2, 5, 2), 1, 3, "nearest"),
    ],
    doc="The adjoint of _resample; `size` is the size of its input.",
)

op(
    "_resample(input, dim: int, size: int, mode: str, align_corners: bool = False, scale: float? = None,"
    " antialias: bool = False) -> out",
    meta="resample",
    namespace=None,
    method=False,
    dinput=lambda g, input_shape, dim, mode, align_corners, scale, antialias: functions["_resample_backward"](
        g, dim, input_shape[dim], mode, align_corners, scale, antialias
    ),
    ref=_np_resample,
    dtypes=("float64", "float32"),
    samples=lambda s: [
        s(s.t(2, 3), 1, 5, "linear"),
        s(s.t(2, 3), 1, 5, "linear", True),
        s(s.t(5, 2), 0, 3, "linear", False, 0.6),
        s(s.t(2, 4, 3), 1, 7, "cubic"),
        s(s.t(2, 4), 1, 1, "cubic", True),
        s(s.t(2, 5, 2), 1, 3, "nearest"),
        s(s.t(2, 5), -1, 8, "nearest-exact"),
        s(s.t(0, 5), 1, 3, "linear"),
    ],
    doc="Resamples one dim to `size` elements: mode nearest, nearest-exact, linear or cubic; `scale` is the factor that"
    " the user gave, where it should count instead of the sizes.",
)

_MODES = {  # mode: (mode of _resample, number of spatial dims, or None for any)
    "nearest": ("nearest", None),
    "nearest-exact": ("nearest-exact", None),
    "linear": ("linear", 1),
    "bilinear": ("linear", 2),
    "trilinear": ("linear", 3),
    "bicubic": ("cubic", 2),
}


def _per_dim(name: str, value: Any, dims: int) -> list[Any]:
    if isinstance(value, (tuple, list)):
        if len(value) != dims:
            raise ValueError(
                f"interpolate: {name} must be one number or one per spatial dim: got {value} for an input with"
                f" {dims} spatial dims."
            )
        return list(value)
    return [value] * dims


def _sizes(input: Any, size: Any, scale_factor: Any, recompute: bool) -> tuple[list[int], list[float | None]]:
    """Output sizes, and the scale factors that the kernels should use (None: the ratio of the sizes)."""
    dims = input.dim() - 2
    if size is not None and scale_factor is not None:
        raise ValueError("interpolate: only one of size or scale_factor should be defined.")
    if size is not None:
        if recompute:
            raise ValueError("interpolate: recompute_scale_factor is not meaningful with an explicit size.")
        return _per_dim("size", size, dims), [None] * dims
    if scale_factor is None:
        raise ValueError("interpolate: either size or scale_factor should be defined.")
    factors = [float(f) for f in _per_dim("scale_factor", scale_factor, dims)]
    sizes = [math.floor(n * f) for n, f in zip(input.shape[2:], factors, strict=True)]
    return sizes, [None] * dims if recompute else factors


def _resample_all(
    input: Any, sizes: list[int], mode: str, align_corners: bool, scales: list[Any], antialias: bool
) -> Any:
    dtype, floating = input.dtype, input.dtype in (mg.float32, mg.float64)
    nearest = mode.startswith("nearest")
    if input.is_complex():
        raise NotImplementedError(f"interpolate: not implemented for {dtype}. Try it on mg.view_as_real(x).")
    if not nearest and not dtype.is_floating_point:
        if dtype != mg.uint8:
            raise NotImplementedError(f"interpolate: {mode} is not implemented for {dtype}. Try it on x.float().")
        return _resample_bytes(input, sizes, mode, align_corners, scales, antialias)
    x = input if floating or (nearest and not input.requires_grad) else input.float()
    # Dims that shrink first, then from the outer to the inner: the fewest elements on the way.
    order = sorted(range(len(sizes)), key=lambda d: (sizes[d] >= x.shape[d + 2], d))
    for d in order:
        if sizes[d] == x.shape[d + 2] and scales[d] in (None, 1.0):
            continue
        x = functions["_resample"](x, d + 2, sizes[d], mode, align_corners, scales[d], antialias)
    if x.dtype == dtype:
        return x.clone() if x is input else x
    return x.to(dtype)


def _resample_bytes(
    input: Any, sizes: list[int], mode: str, align_corners: bool, scales: list[Any], antialias: bool
) -> Any:
    """Images of bytes, bit for bit as PyTorch (and Pillow): weights of 16 bits, and every pass, the last dim first, rounds to bytes."""
    x = input
    for d in reversed(range(len(sizes))):
        n, size = x.shape[d + 2], sizes[d]
        if n == size:
            continue
        if x.is_meta:
            x = x.new_empty(*x.shape[: d + 2], size, *x.shape[d + 3 :])
            continue
        weights_ON = functions["_resample"](mg.eye(n, dtype=mg.float64, device=x.device), 0, size, mode, align_corners, scales[d], antialias)
        largest, bits = weights_ON.max().item(), 0
        while bits < 22 and int(0.5 + largest * 2 ** (bits + 1)) < 1 << 15:
            bits += 1
        fixed_ON = (weights_ON * 2**bits + mg.sign(weights_ON) * 0.5).to(mg.int32)
        sums = x.movedim(d + 2, -1).to(mg.int32) @ fixed_ON.T
        x = ((sums + (1 << (bits - 1))) >> bits).clamp(0, 255).to(mg.uint8).movedim(-1, d + 2)
    return input.clone() if x is input else x.contiguous()


def _check_mode(input: Any, mode: str, align_corners: bool | None, antialias: bool) -> None:
    if mode not in _MODES and mode != "area":
        raise NotImplementedError(f"interpolate: unknown mode {mode!r}, expected one of {[*_MODES, 'area']}.")
    if mode in ("nearest", "nearest-exact", "area") and align_corners is not None:
        raise ValueError(
            "interpolate: align_corners can only be set with the modes linear, bilinear, bicubic and trilinear:"
            f" got mode {mode!r}."
        )
    if input.dim() not in (3, 4, 5):
        raise NotImplementedError(
            f"interpolate: only 3D, 4D and 5D inputs (N, C, spatial…) are supported: got {input.dim()}D input."
        )
    if antialias and not (mode in ("bilinear", "bicubic") and input.dim() == 4):
        raise ValueError("interpolate: antialias is restricted to the modes bilinear and bicubic and a 4-D input.")
    dims = _MODES.get(mode, ("", None))[1]
    if dims is not None and input.dim() != dims + 2:
        raise NotImplementedError(f"interpolate: got {input.dim()}D input, but {mode} mode needs {dims + 2}D input.")


def _np_interpolate(input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: Any = None) -> Any:
    for d in range(2, input.ndim):
        to = math.floor(input.shape[d] * scale_factor) if scale_factor else size if isinstance(size, int) else size[d - 2]
        input = _np_resample(input, d, to, _MODES[mode][0], bool(align_corners), scale_factor)
    return input


@composite(
    "nn.functional",
    ref=_np_interpolate,
    dtypes=("float64", "float32", "float16", "bfloat16"),
    samples=lambda s: [
        s(s.t(1, 2, 5), 7),
        s(s.t(1, 2, 3, 4), (5, 2), None, "nearest-exact"),
        s(s.t(1, 2, 5), None, 1.5, "linear", False),
        s(s.t(1, 1, 3, 4), (5, 3), None, "bilinear", True),
        s(s.t(1, 1, 3, 4), None, 2.0, "bicubic", False),
        s(s.t(1, 1, 2, 3, 2), (3, 2, 4), None, "trilinear", False),
    ],
)
def interpolate(
    input: mg.Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> mg.Tensor:
    """Resample the spatial dims to another size.

    Args:
        input: (N, C, L), (N, C, H, W) or (N, C, D, H, W).
        size: output size, one number or one per spatial dim.
        scale_factor: output size as a multiple of the input's; exactly one of the two is given.
        mode: "nearest", "nearest-exact", "linear" (3D), "bilinear" or "bicubic" (4D), "trilinear" (5D), "area".
        align_corners: corner elements keep their values; otherwise corners of the outermost pixels are aligned.
        recompute_scale_factor: interpolate with the ratio of the sizes, not with scale_factor itself.
        antialias: widen the filter when shrinking (bilinear and bicubic).
    Returns:
        (N, C, *size) of the input's dtype.
    Raises:
        ValueError for arguments that contradict each other; NotImplementedError for a mode that does not fit the input;
        RuntimeError for empty sizes.
    Example:
        >>> mg.nn.functional.interpolate(mg.tensor([[[1., 3.]]]), size=3, mode="linear", align_corners=True)
        tensor([[[1., 2., 3.]]])
    """
    _check_mode(input, mode, align_corners, antialias)
    if mode == "area" and size is None:
        recompute_scale_factor = True
    sizes, scales = _sizes(input, size, scale_factor, bool(recompute_scale_factor))
    if mode == "area":
        return functions[f"adaptive_avg_pool{input.dim() - 2}d"](input, tuple(sizes))
    if min(sizes) < 1 or 0 in input.shape[1:]:
        raise RuntimeError(
            f"interpolate: input and output sizes should be greater than 0: got input {tuple(input.shape)} and output"
            f" size {tuple(sizes)}."
        )
    return _resample_all(input, sizes, _MODES[mode][0], bool(align_corners), scales, antialias)


_OLD = "the older name of interpolate, which has the reference"


@composite("nn.functional", no_ref_reason=_OLD, no_samples_reason=_OLD)
def upsample(
    input: mg.Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> mg.Tensor:
    """Older name of `interpolate`.

    Args:
        input, size, scale_factor, mode, align_corners: as in `interpolate`.
    Returns:
        (N, C, *size).
    Raises:
        as `interpolate`.
    Example:
        >>> mg.nn.functional.interpolate(mg.tensor([[[1., 3.]]]), scale_factor=2)
        tensor([[[1., 1., 3., 3.]]])
    """
    warnings.warn("`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=2)
    return interpolate(input, size, scale_factor, mode, align_corners)


@composite(
    "nn.functional",
    ref=lambda input, size=None, scale_factor=None: _np_interpolate(input, size, scale_factor),
    samples=lambda s: [s(s.f(1, 2, 5), 7), s(s.f(1, 1, 2, 3), None, 2)],
)
def upsample_nearest(input: mg.Tensor, size: Any = None, scale_factor: Any = None) -> mg.Tensor:
    """`interpolate` with mode "nearest".

    Args:
        input: (N, C, *).
        size: output size.
        scale_factor: output size as a multiple of the input's.
    Returns:
        (N, C, *size).
    Raises:
        as `interpolate`.
    Example:
        >>> mg.nn.functional.upsample_nearest(mg.tensor([[[1., 3.]]]), scale_factor=2)
        tensor([[[1., 1., 3., 3.]]])
    """
    return interpolate(input, size, scale_factor, mode="nearest")


@composite(
    "nn.functional",
    ref=lambda input, size=None, scale_factor=None: _np_interpolate(input, size, None, "bilinear", True),
    samples=lambda s: [s(s.f(1, 2, 3, 4), (5, 2))],
)
def upsample_bilinear(input: mg.Tensor, size: Any = None, scale_factor: Any = None) -> mg.Tensor:
    """`interpolate` with mode "bilinear" and align_corners.

    Args:
        input: (N, C, H, W).
        size: output size.
        scale_factor: output size as a multiple of the input's.
    Returns:
        (N, C, *size).
    Raises:
        as `interpolate`.
    Example:
        >>> mg.nn.functional.upsample_bilinear(mg.tensor([[[[1., 3.]]]]), size=(1, 3))
        tensor([[[[1., 2., 3.]]]])
    """
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
