"""Sampling of images at the points of a grid: affine_grid and grid_sample (Jaderberg et al., arXiv:1506.02025).

Kernels: csrc/cpu/grid_sample.cpp. The gradient is written twice: `_grid_sample_grads` over public ops (differentiable,
for double backward) and the fused kernel, used when no graph of the gradient is wanted.
Legend: N images, C channels, D H W spatial sizes, P grid points of one image, d spatial dims (2 or 3).
"""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op

_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


# --- the same taps as the kernel's, in public ops ---------------------------------------------------------------------
def _pixel(v: Any, size: int, align_corners: bool) -> Any:
    return (v + 1) / 2 * (size - 1) if align_corners else ((v + 1) * size - 1) / 2


def _place(v: Any, size: int, padding: int, align_corners: bool) -> Any:
    """Position inside the image by the padding rule; where it is clipped no gradient flows."""
    if padding == 2:
        low, span = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
        if span <= 0:
            return v * 0.0
        away = (v - low).abs()
        flips = (away.detach() / span).floor()
        extra = away - flips * span
        v = mg.where(flips % 2 == 0, extra, span - extra) + low
    if padding:
        v = mg.where((v > 0) & (v < size - 1), v, v.detach().clamp(0, size - 1))
    return v


def _cubic(t: Any) -> list[Any]:
    a = -0.75

    def inner(x: Any) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def outer(x: Any) -> Any:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [outer(t + 1), inner(t), inner(1 - t), outer(2 - t)]


def _axis(v: Any, size: int, mode: int, padding: int, align_corners: bool) -> tuple[list[Any], list[Any]]:
    """(positions, weights) of one coordinate's taps; positions may lie outside."""
    v = _pixel(v, size, align_corners)
    if mode == 2:
        base = v.detach().floor()
        at = [_place(base + k, size, padding, align_corners) for k in range(-1, 3)]
        return at, _cubic(v - base)
    v = _place(v, size, padding, align_corners)
    if mode == 1:
        return [v.detach().round()], [mg.ones_like(v.detach())]
    base = v.detach().floor()
    return [base, base + 1], [base + 1 - v, v - base]


def _grid_sample_plain(input: Any, grid: Any, mode: int, padding: int, align_corners: bool) -> Any:
    """_grid_sample over public ops: differentiable to any order."""
    sizes = tuple(reversed(input.shape[2:]))
    axes = [_axis(grid[..., d], n, mode, padding, align_corners) for d, n in enumerate(sizes)]
    steps = [math.prod(sizes[:d]) for d in range(len(sizes))]
    batch, channels = input.shape[:2]
    flat, points = input.reshape(batch, channels, math.prod(sizes)), math.prod(grid.shape[1:-1])
    out = None
    for taps in itertools.product(*(range(len(at)) for at, _ in axes)):
        index, weight, inside = 0, 1, None
        for (at, weights), tap, n, step in zip(axes, taps, sizes, steps, strict=True):
            here = (at[tap] >= 0) & (at[tap] <= n - 1)
            inside = here if inside is None else inside & here
            index = index + at[tap].clamp(0, n - 1).to(mg.int64) * step
            weight = weight * weights[tap]
        weight = mg.where(inside, weight, mg.zeros_like(weight))
        index = index.reshape(batch, 1, points).expand(batch, channels, points)
        part = flat.gather(2, index) * weight.reshape(batch, 1, points)
        out = part if out is None else out + part
    return out.reshape(batch, channels, *grid.shape[1:-1])


def _grid_sample_grads(
    g: Any, input: Any, grid: Any, mode: int, padding_mode: int, align_corners: bool, needs: tuple[bool, ...]
) -> tuple[Any, Any]:
    wanted = mg.is_grad_enabled()  # a graph of the gradient: not where the short form is only not at hand (the meta device)
    with mg.enable_grad():
        x, points = (t if t.requires_grad else mg.op.fresh_variable(t) for t in (input, grid))
        out = _grid_sample_plain(x, points, mode, padding_mode, align_corners)
        dx, dpoints = mg.autograd.grad(out, (x, points), g, create_graph=wanted, allow_unused=True)
    if dpoints is None:  # nearest: the taps do not move with the grid
        dpoints = mg.zeros_like(grid)
    return dx if needs[0] else None, dpoints if needs[1] else None


def _np_grid_sample(input: Any, grid: Any, mode: int, padding_mode: int, align_corners: bool) -> Any:
    """Bilinear and nearest with zero padding, point by point."""
    import numpy as np

    sizes = input.shape[2:]
    out = np.zeros((*input.shape[:2], *grid.shape[1:-1]))
    for n, *at in np.ndindex(*grid.shape[:-1]):
        point = grid[(n, *at)][::-1]
        at_pixel = [
            (p + 1) / 2 * (s - 1) if align_corners else ((p + 1) * s - 1) / 2 for p, s in zip(point, sizes, strict=True)
        ]
        if mode == 1:
            taps = [[(round(p), 1.0)] for p in at_pixel]
        else:
            taps = [[(math.floor(p), 1 - p % 1), (math.floor(p) + 1, p % 1)] for p in at_pixel]
        for combination in itertools.product(*taps):
            index = tuple(i for i, _ in combination)
            if all(0 <= i < s for i, s in zip(index, sizes, strict=True)):
                out[(n, slice(None), *at)] += input[(n, slice(None), *index)] * math.prod(w for _, w in combination)
    return out


op(
    "_grid_sample_backward(g, input, grid, mode: int, padding_mode: int, align_corners: bool) -> dinput, dgrid",
    meta="grid_sample_backward",
    namespace=None,
    method=False,
    no_grad_reason="used when no graph of the gradient is wanted; _grid_sample's `grads` is its differentiable form",
    no_samples_reason="tested as the fast gradient of _grid_sample",
    no_ref_reason="tested against the plain formula of _grid_sample, which finite differences check",
    doc="Gradient of _grid_sample in one pass over the points.",
)

op(
    "_grid_sample(input, grid, mode: int, padding_mode: int, align_corners: bool) -> out",
    meta="grid_sample",
    namespace=None,
    method=False,
    grads=_grid_sample_grads,
    fast_grads=lambda g, input, grid, mode, padding_mode, align_corners: functions["_grid_sample_backward"](
        g, input, grid, mode, padding_mode, align_corners
    ),
    ref=_np_grid_sample,
    dtypes=("float64", "float32"),
    samples=lambda s: [
        s(s.t(1, 2, 3, 4), s.t(1, 2, 3, 2, low=-0.9, high=0.9), 0, 0, False),
        s(s.t(2, 1, 3, 3), s.t(2, 1, 2, 2, low=-1.3, high=1.3), 0, 0, True),
        s(s.t(1, 1, 2, 3, 2), s.t(1, 1, 2, 1, 3, low=-0.9, high=0.9), 0, 0, False),
        s(s.t(1, 2, 3, 4), s.t(1, 2, 2, 2, low=-0.9, high=0.9, grad=False), 1, 0, False),
        s(s.t(0, 2, 3, 4), s.t(0, 2, 2, 2), 0, 0, False),
    ],
    doc="grid_sample with codes: mode 0 bilinear, 1 nearest, 2 bicubic; padding 0 zeros, 1 border, 2 reflection.",
)


# --- public forms -----------------------------------------------------------------------------------------------------
@composite("nn.functional", no_ref_reason="_grid_sample has the reference",
           samples=lambda s: [
               s(s.f(1, 1, 3, 4), s.f(1, 2, 2, 2, low=-0.9, high=0.9), "bicubic", "zeros", False),
               s(s.f(1, 1, 3, 4), s.f(1, 2, 2, 2, low=-0.9, high=0.9), "bilinear", "border", False),
               s(s.f(1, 1, 2, 3), s.f(1, 2, 2, 2, low=-0.9, high=0.9), "bilinear", "reflection", True),
           ])  # fmt: skip
def grid_sample(
    input: mg.Tensor, grid: mg.Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> mg.Tensor:
    """Values of images at the points of a grid.

    Args:
        input: (N, C, H, W) or (N, C, D, H, W), floating.
        grid: (N, …, 2) points (x, y), or (N, …, 3) points (x, y, z); -1 and 1 are the borders of the image.
        mode: "bilinear", "nearest" or "bicubic" (images only).
        padding_mode: what lies outside: "zeros", "border" or "reflection".
        align_corners: -1 and 1 are the centres of the corner pixels, not their corners. None means False, with a warning.
    Returns:
        (N, C, …).
    Raises:
        RuntimeError for shapes or dtypes that do not fit; ValueError for an unknown mode or padding_mode.
    Source:
        Jaderberg et al., Spatial Transformer Networks, arXiv:1506.02025.
    Example:
        >>> image = mg.tensor([[[[1., 3.]]]])
        >>> mg.nn.functional.grid_sample(image, mg.zeros(1, 1, 1, 2), align_corners=False)
        tensor([[[[2.]]]])
    """
    if mode not in _MODES:
        raise ValueError(f"grid_sample: expected mode to be one of {_MODES}: got {mode!r}.")
    if padding_mode not in _PADDINGS:
        raise ValueError(f"grid_sample: expected padding_mode to be one of {_PADDINGS}: got {padding_mode!r}.")
    if align_corners is None:
        warnings.warn("Default grid_sample behavior is align_corners=False. Specify it if another is wanted.", stacklevel=2)
    return functions["_grid_sample"](
        input, grid, _MODES.index(mode), _PADDINGS.index(padding_mode), bool(align_corners)
    )


def _grid_sampler(dims: int) -> None:
    def sampler(
        input: mg.Tensor, grid: mg.Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
    ) -> mg.Tensor:
        if input.dim() != dims + 2:
            raise RuntimeError(f"grid_sampler_{dims}d: expected {dims + 2}D input: got {tuple(input.shape)}.")
        if not 0 <= interpolation_mode <= (2 if dims == 2 else 1) or not 0 <= padding_mode <= 2:
            raise RuntimeError(f"grid_sampler_{dims}d: no such mode: got interpolation_mode {interpolation_mode} and "
                               f"padding_mode {padding_mode}.")  # fmt: skip
        return functions["_grid_sample"](input, grid, interpolation_mode, padding_mode, align_corners)

    sampler.__name__ = sampler.__qualname__ = f"grid_sampler_{dims}d"
    zeros = ", ".join(["1"] * (dims + 1))
    sampler.__doc__ = f"""grid_sample with PyTorch's numeric codes.

    Args:
        input: (N, C, {"D, H, W" if dims == 3 else "H, W"}), floating.
        grid: (N, …, {dims}) points.
        interpolation_mode: 0 bilinear, 1 nearest, 2 bicubic.
        padding_mode: 0 zeros, 1 border, 2 reflection.
        align_corners: as in grid_sample.
    Returns:
        (N, C, …).
    Raises:
        RuntimeError for shapes or dtypes that do not fit.
    Example:
        >>> mg.grid_sampler_{dims}d(mg.ones({zeros}, 1), mg.zeros({zeros}, {dims}), 0, 0, False).flatten()
        tensor([1.])
    """
    shape = (1, 1, 2, 3, 2)[: dims + 2]
    composite(
        method=False,
        ref=_np_grid_sample,
        samples=lambda s: [
            s(s.f(*shape), s.f(1, *(2,) * dims, dims, low=-0.9, high=0.9), 0, 0, False)
            if dims == 2
            else s(s.f(*shape), s.f(1, 1, 1, 2, dims, low=-0.9, high=0.9), 0, 0, False)
        ],
    )(sampler)


_grid_sampler(2)
_grid_sampler(3)


def _np_affine_grid(theta: Any, size: Any, align_corners: Any = None) -> Any:
    import numpy as np

    axes = [np.array([_centre(i, n, align_corners) for i in range(n)]) for n in size[2:]]
    mesh = np.meshgrid(*axes, indexing="ij")
    points = np.stack([*reversed(mesh), np.ones_like(mesh[0])], -1)
    return np.einsum("nij,...j->n...i", theta, points)


def _centre(i: int, n: int, align_corners: Any) -> float:
    if n == 1:
        return 0.0
    return -1 + 2 * i / (n - 1) if align_corners else (2 * i + 1) / n - 1


def _base_grid(size: Any, align_corners: bool, like: Any) -> Any:
    """(*spatial, d + 1): the coordinates of every point, then 1."""
    axes = []
    for n in size[2:]:
        steps = mg.linspace(-1, 1, n, dtype=like.dtype, device=like.device) if n > 1 else like.new_zeros((1,))
        axes.append(steps if align_corners or n == 1 else steps * ((n - 1) / n))
    mesh = [
        a.reshape([-1 if i == d else 1 for i in range(len(axes))]).expand(tuple(size[2:])) for d, a in enumerate(axes)
    ]
    return mg.stack([*reversed(mesh), mg.ones_like(mesh[0])], -1)


@composite(
    "nn.functional",
    ref=_np_affine_grid,
    samples=lambda s: [
        s(s.f(2, 2, 3), [2, 1, 3, 2], False), s(s.f(1, 2, 3), [1, 1, 2, 2], True), s(s.f(1, 3, 4), [1, 1, 2, 1, 3], False),
    ],
)  # fmt: skip
def affine_grid(theta: mg.Tensor, size: Any, align_corners: bool | None = None) -> mg.Tensor:
    """The grid of an affine transform, for grid_sample.

    Args:
        theta: (N, 2, 3) or (N, 3, 4) matrices, floating.
        size: sizes of the wanted output image, (N, C, H, W) or (N, C, D, H, W).
        align_corners: as in grid_sample. None means False, with a warning.
    Returns:
        (N, H, W, 2) or (N, D, H, W, 3).
    Raises:
        ValueError for a theta that does not fit; NotImplementedError for sizes of another rank.
    Source:
        Jaderberg et al., Spatial Transformer Networks, arXiv:1506.02025.
    Example:
        >>> theta = mg.tensor([[[1., 0., 0.], [0., 1., 0.]]])
        >>> mg.nn.functional.affine_grid(theta, [1, 1, 1, 2], align_corners=True)
        tensor([[[[-1.,  0.],
                  [ 1.,  0.]]]])
    """
    if align_corners is None:
        warnings.warn("Default affine_grid behavior is align_corners=False. Specify it if another is wanted.", stacklevel=2)
    if not theta.is_floating_point():
        raise ValueError(f"affine_grid: expected theta to have a floating dtype: got {theta.dtype}.")
    dims = len(size) - 2
    if dims not in (2, 3):
        raise NotImplementedError(f"affine_grid: supports 4D and 5D sizes, for 2D and 3D transforms: got {list(size)}.")
    if theta.dim() != 3 or tuple(theta.shape[-2:]) != (dims, dims + 1):
        raise ValueError(f"affine_grid: expected theta (N, {dims}, {dims + 1}): got {tuple(theta.shape)}.")
    if min(size) <= 0:
        raise ValueError(f"affine_grid: expected non-zero, positive sizes: got {list(size)}.")
    base = _base_grid(size, bool(align_corners), theta)
    grid = base.reshape(1, -1, dims + 1) @ theta.transpose(1, 2)
    return grid.reshape(theta.shape[0], *size[2:], dims)
