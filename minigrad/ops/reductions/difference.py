"""Differences and areas along a dim: diff, gradient, trapezoid, cumulative_trapezoid. All are composites."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions
from minigrad.ops.shared.check import into
from minigrad.ops.shared.struct_doc import numpy
from minigrad.ops.views.shape import _wrap

_SIGNED = ("float64", "float32", "float16", "bfloat16", "int64", "int32")  # differences of unsigned numbers wrap


def _part(x: mg.Tensor, dim: int, start: int, stop: int | None = None) -> mg.Tensor:
    return functions["_slice"](x, dim, start, stop)


@composite(
    samples=lambda s: [s(s.t(5)), s(s.t(3, 4), 1, 0), s(s.t(3, 4), 2, -1), s(s.t(3), 1, 0, s.t(2), s.t(1)), s(s.t(1)),
                       s(s.t(2, 0)), s(s.t(3, 4), 9), s(s.t(4), 0)],
    ref=lambda input, n=1, dim=-1, prepend=None, append=None: _diff_ref(input, n, dim, prepend, append),
)  # fmt: skip
def diff(
    input: mg.Tensor, n: int = 1, dim: int = -1, prepend: mg.Tensor | None = None, append: mg.Tensor | None = None, *,
    out: mg.Tensor | None = None,
) -> mg.Tensor:  # fmt: skip
    """Differences of neighbours along a dim, n times over; of bools, where neighbours differ.

    Args:
        input: at least 1 dimension.
        n: how many times, 0 or more.
        dim: the dimension.
        prepend, append: tensors joined to the input along dim first.
        out: tensor to write into.
    Returns:
        a tensor with n elements less along dim.
    Raises:
        RuntimeError for a 0-d input, a negative n or tensors that do not fit.
    Example:
        >>> mg.diff(mg.tensor([1, 4, 9]))
        tensor([3, 5])
    """
    if input.dim() == 0:
        raise RuntimeError("diff: expects input to be at least one-dimensional: got a 0-d tensor. Try x.reshape(1).")
    if n < 0:
        raise RuntimeError(f"diff: order must be non-negative: got {n}")
    d = _wrap(dim, input.dim(), "diff")
    if n == 0:
        return into("diff", input.clone(), out)
    for name, more in (("prepend", prepend), ("append", append)):
        if more is not None and more.dim() != input.dim():
            raise RuntimeError(f"diff: expects {name} to have as many dimensions as input, {input.dim()}: got {more.dim()}")
    if prepend is not None or append is not None:
        input = functions["cat"]([t for t in (prepend, input, append) if t is not None], d)
    x = input
    for _ in range(min(n, input.shape[d])):
        after, before = _part(x, d, 1), _part(x, d, 0, -1)
        x = mg.logical_xor(after, before) if x.dtype == mg.bool else after - before
    if x is input:
        x = _part(input, d, 0, 0)
    return into("diff", x, out)


def _diff_ref(input: Any, n: int, dim: int, prepend: Any, append: Any) -> Any:
    extra = {k: v for k, v in (("prepend", prepend), ("append", append)) if v is not None}
    x = numpy().concatenate([v for v in (prepend, input, append) if v is not None], dim) if extra else input
    return numpy().diff(x, min(n, x.shape[dim]), dim) if x.shape[dim] else x


# --- gradient ---------------------------------------------------------------------------------------------------------
def _along(values: mg.Tensor, ndim: int, d: int) -> mg.Tensor:
    return values.reshape((1,) * d + (-1,) + (1,) * (ndim - d - 1))


def _slope(x: mg.Tensor, d: int, spacing: Any, edge_order: int) -> mg.Tensor:
    """Central differences inside (exact for parabolas on uneven grids), one-sided ones of the given order at the ends."""
    n = x.shape[d]
    if isinstance(spacing, mg.Tensor) and spacing.dim() > 0:
        h = _along(spacing[1:] - spacing[:-1], x.dim(), d)
        left, right = _part(h, d, 0, -1), _part(h, d, 1)
        first, last = _part(h, d, 0, 1), _part(h, d, n - 2)
        second, before = (_part(h, d, 1, 2), _part(h, d, n - 3, n - 2)) if edge_order == 2 else (None, None)
    else:
        left = right = first = last = second = before = spacing
    at = [_part(x, d, k, k + 1) for k in range(min(n, 3))] + [_part(x, d, n - k, n - k + 1) for k in (3, 2, 1) if n >= 3]
    a, b, c = _part(x, d, 0, -2), _part(x, d, 1, -1), _part(x, d, 2)
    if left is right:
        inner = (c - a) / (2 * left)
    else:
        inner = (c * left * left - a * right * right + b * (right * right - left * left)) / (left * right * (left + right))
    if edge_order == 1:
        head, tail = (at[1] - at[0]) / first, (_part(x, d, n - 1) - _part(x, d, n - 2, n - 1)) / last
    else:
        head = (at[1] - at[0]) / first + ((at[1] - at[0]) / first - (at[2] - at[1]) / second) * first / (first + second)
        one, two = (at[-1] - at[-2]) / last, (at[-2] - at[-3]) / before
        tail = one + (one - two) * last / (last + before)
    return functions["cat"]([head, inner, tail], d)


def _spacings(input: mg.Tensor, spacing: Any, dim: Any) -> tuple[list[int], list[Any]]:
    if dim is None:
        dims = list(range(input.dim()))
        if isinstance(spacing, (list, tuple)) and len(spacing) != len(dims):
            raise RuntimeError(f"gradient: expected spacing to be a number or one entry per dimension ({len(dims)}): "
                               f"got {len(spacing)}")  # fmt: skip
    else:
        dims = [_wrap(d, input.dim(), "gradient") for d in ([dim] if isinstance(dim, int) else dim)]
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"gradient: dim {dim} names a dimension several times")
    if isinstance(spacing, mg.Tensor) and spacing.dim() == 0:
        spacing = spacing.item()
    steps = list(spacing) if isinstance(spacing, (list, tuple)) else [spacing] * len(dims)
    if len(steps) != len(dims):
        raise RuntimeError(f"gradient: expected one spacing per dim: got {len(steps)} for {len(dims)} dims")
    return dims, steps


@composite(
    method=False,
    samples=lambda s: [s(s.f(5)), s(s.f(3, 4)), s(s.f(3, 4), dim=1, spacing=0.5), s(s.f(4, 3), edge_order=2),
                       s(s.f(4), spacing=(s.of([0.0, 1.0, 3.0, 4.5]),), edge_order=2)],
    dtypes=_SIGNED, ref=lambda input, spacing=1, dim=None, edge_order=1: _gradient_ref(input, spacing, dim, edge_order),
)  # fmt: skip
def gradient(input: mg.Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> tuple[mg.Tensor, ...]:
    """Estimates the slope of sampled values along each dim from second-order central differences.

    Args:
        input: the samples, at least edge_order + 1 along every dim asked for.
        spacing: distance of the samples: a number, one per dim, or one 1-d tensor of coordinates per dim.
        dim: int or list of ints; None means every dim.
        edge_order: 1 or 2, the order of the one-sided estimates at both ends.
    Returns:
        tuple of tensors of the input's shape, one per dim.
    Raises:
        RuntimeError for too few samples, another edge_order, or spacings that do not fit.
    Source:
        Quarteroni, Sacco, Saleri, "Numerical Mathematics", chapter 10; numpy.gradient.
    Example:
        >>> mg.gradient(mg.tensor([1., 4., 9., 16.]))
        (tensor([3., 4., 6., 7.]),)
    """
    dims, steps = _spacings(input, 1 if spacing is None else spacing, dim)
    if edge_order not in (1, 2):
        raise RuntimeError(f"gradient: only edge_order 1 and 2 are supported: got {edge_order}")
    if input.dtype in (mg.bool, mg.uint8):
        raise RuntimeError(f"gradient: not implemented for {input.dtype}. Try x.float().")
    for d, step in zip(dims, steps):
        if input.dim() == 0 or input.shape[d] < edge_order + 1:
            raise RuntimeError(f"gradient: expected every dim to hold at least edge_order + 1 = {edge_order + 1} samples: "
                               f"got shape {tuple(input.shape)}")  # fmt: skip
        if isinstance(step, mg.Tensor):
            if step.dim() != 1 or step.shape[0] != input.shape[d]:
                raise RuntimeError(f"gradient: expected coordinates of shape ({input.shape[d]},) for dim {d}: "
                                   f"got {tuple(step.shape)}")  # fmt: skip
    return tuple(_slope(input, d, step, edge_order) for d, step in zip(dims, steps))


def _gradient_ref(input: Any, spacing: Any, dim: Any, edge_order: int) -> tuple[Any, ...]:
    steps = spacing if isinstance(spacing, (list, tuple)) else [spacing]
    out = numpy().gradient(input, *steps, axis=dim, edge_order=edge_order)
    return tuple(out) if isinstance(out, (list, tuple)) else (out,)


# --- areas ------------------------------------------------------------------------------------------------------------
def _areas(name: str, y: mg.Tensor, x: mg.Tensor | None, dx: Any, dim: int) -> tuple[mg.Tensor, int]:
    """Twice the trapezoids between neighbouring samples (with dx: before the factor dx), and the wrapped dim."""
    if x is not None and dx is not None:
        raise TypeError(f"{name}: got both x and dx, expected one of them")
    d = _wrap(dim, y.dim(), name)
    if y.dim() == 0 or (x is not None and x.dim() == 0):
        raise RuntimeError(f"{name}: expected at least 1-d samples: got a 0-d tensor")
    pair = _part(y, d, 1) + _part(y, d, 0, -1)
    if x is None:
        return pair, d
    if x.dim() == 1:
        if x.shape[0] != y.shape[d]:
            raise RuntimeError(f"{name}: there must be one x value for each sample point: got {x.shape[0]} for "
                               f"{y.shape[d]}")  # fmt: skip
        return pair * _along(x[1:] - x[:-1], y.dim(), d), d
    if x.dim() < y.dim():
        x = x.reshape((1,) * (y.dim() - x.dim()) + tuple(x.shape))
    e = d + x.dim() - y.dim()
    if x.shape[e] != y.shape[d]:
        raise RuntimeError(f"{name}: there must be one x value for each sample point: got {x.shape[e]} for {y.shape[d]}")
    return pair * (_part(x, e, 1) - _part(x, e, 0, -1)), d


def _scaled(total: mg.Tensor, x: Any, dx: Any) -> mg.Tensor:
    return total / 2 if x is not None else total * ((1 if dx is None else dx) / 2)


def _area_samples(s: Any) -> list[Any]:
    return [s(s.t(5)), s(s.t(3, 4)), s(s.t(3, 4), dx=2.0, dim=0), s(s.t(4), s.t(4)), s(s.t(3, 4), s.t(3, 4)), s(s.t(2, 1))]


def _trapezoid_ref(y: Any, x: Any = None, dx: Any = None, dim: int = -1) -> Any:
    np = numpy()
    return getattr(np, "trapezoid", getattr(np, "trapz", None))(y, x, 1.0 if dx is None else dx, dim)


@composite(method=False, aliases=("trapz",), samples=_area_samples, dtypes=_SIGNED, ref=_trapezoid_ref)
def trapezoid(y: mg.Tensor, x: mg.Tensor | None = None, *, dx: Any = None, dim: int = -1) -> mg.Tensor:
    """Area below samples along a dim by the trapezoidal rule.

    Args:
        y: the samples.
        x: their positions, 1-d or of y's shape; None means `dx` apart.
        dx: distance of the samples, default 1.
        dim: the dimension.
    Returns:
        a tensor of y's shape without dim; 0 of fewer than two samples.
    Raises:
        RuntimeError for 0-d samples or an x that does not fit.
    Example:
        >>> mg.trapezoid(mg.tensor([1., 5., 10.]))
        tensor(10.5000)
    """
    if x is None and y.dim() > 0:  # the sum but for half of both ends
        d = _wrap(dim, y.dim(), "trapezoid")
        if y.shape[d] == 0:
            return y.sum(d, dtype=y.dtype)
        return (y.sum(d) - (y.select(d, 0) + y.select(d, -1)) / 2) * (1 if dx is None else dx)
    pair, d = _areas("trapezoid", y, x, dx, dim)
    if y.shape[d] == 0 and not y.is_floating_point():
        return pair.sum(d, dtype=pair.dtype)  # PyTorch's zeros
    return _scaled(pair.sum(d), x, dx)


@composite(method=False, samples=_area_samples, dtypes=_SIGNED,
           ref=lambda y, x=None, dx=None, dim=-1: _cumulative_ref(y, x, 1.0 if dx is None else dx, dim))  # fmt: skip
def cumulative_trapezoid(y: mg.Tensor, x: mg.Tensor | None = None, *, dx: Any = None, dim: int = -1) -> mg.Tensor:
    """Running area below samples along a dim by the trapezoidal rule.

    Args:
        y: the samples.
        x: their positions, 1-d or of y's shape; None means `dx` apart.
        dx: distance of the samples, default 1.
        dim: the dimension.
    Returns:
        a tensor with one element less along dim.
    Raises:
        RuntimeError for 0-d samples or an x that does not fit.
    Example:
        >>> mg.cumulative_trapezoid(mg.tensor([1., 5., 10.]))
        tensor([ 3.0000, 10.5000])
    """
    pair, d = _areas("cumulative_trapezoid", y, x, dx, dim)
    return _scaled(pair.cumsum(d), x, dx)


def _cumulative_ref(y: Any, x: Any, dx: float, dim: int) -> Any:
    np = numpy()
    at = np.moveaxis(y, dim, -1)
    step = dx if x is None else np.diff(x) if np.ndim(x) == 1 else np.diff(np.moveaxis(x, dim, -1))
    return np.moveaxis(np.cumsum((at[..., 1:] + at[..., :-1]) / 2 * step, -1), -1, dim)
