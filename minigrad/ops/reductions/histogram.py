"""Histograms: histc, histogram, histogramdd. Composites: positions of the bins, then bincount."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions
from minigrad.ops.shared.check import into
from minigrad.ops.shared.reduce_doc import returned
from minigrad.ops.shared.struct_doc import numpy

histogram_result = returned("histogram", "hist", "bin_edges")
histogramdd_result = returned("histogramdd", "hist", "bin_edges")


def _bounds(name: str, input: mg.Tensor, low: float, high: float, widen: float) -> tuple[float, float]:
    """The range of the bins: the given one, or the data's, widened on both sides when it has no width."""
    if low == high and input.numel():
        pair = mg.aminmax(input.detach())
        low, high = pair.min.item(), pair.max.item()
    if low != low or high != high or high - low in (mg.inf, -mg.inf):
        raise RuntimeError(f"{name}: the range of the bins must be finite: got [{low}, {high}]")
    if low > high:
        raise RuntimeError(f"{name}: max must be larger than min: got min={low} and max={high}")
    return (low - widen, high + widen) if low == high else (low, high)


@composite(samples=lambda s: [s(s.f(50), 5), s(s.f(3, 4), 4, -1, 1), s(s.f(0), 3), s(s.of([1.0, 1.0], dtype="float32"), 4)],
           no_grad_reason="counts", no_ref_reason="checked against PyTorch")  # fmt: skip
def histc(input: mg.Tensor, bins: int = 100, min: float = 0, max: float = 0, *, out: mg.Tensor | None = None) -> mg.Tensor:
    """Counts in equal bins between min and max; what lies outside, and NaN, is left out.

    Args:
        input: floating tensor.
        bins: how many, at least 1.
        min, max: range; when equal, that of the data.
        out: tensor to write into.
    Returns:
        (bins,) counts in the input's dtype; the last bin includes its upper edge.
    Raises:
        RuntimeError for bins < 1, min > max, an infinite range or integers.
    Example:
        >>> mg.histc(mg.tensor([1., 2., 1.]), 4, 0, 3)
        tensor([0., 2., 1., 0.])
    """
    if bins <= 0:
        raise RuntimeError(f"histc: bins must be > 0: got {bins}")
    if not input.is_floating_point():
        raise RuntimeError(f"histc: not implemented for {input.dtype}. Try x.float().")
    x = input.detach().reshape(-1)
    low, high = _bounds("histc", x, min, max, 1.0)
    at = ((x - low) * bins / (high - low)).to(mg.int64).clamp(max=bins - 1)
    at = mg.where((x >= low) & (x <= high), at, bins)  # one more bin takes the others
    return into("histc", functions["bincount"](at, None, bins + 1)[:bins].to(input.dtype), out)


# --- histogram, histogramdd -------------------------------------------------------------------------------------------
def _check_edges(name: str, edges: mg.Tensor, input: mg.Tensor) -> mg.Tensor:
    if edges.dim() != 1 or edges.numel() == 0:
        raise RuntimeError(f"{name}: bin edges must be 1-d and not empty: got shape {tuple(edges.shape)}")
    if edges.dtype != input.dtype:
        raise RuntimeError(f"{name}: bin edges must have the input's dtype {input.dtype}: got {edges.dtype}")
    return edges.detach()


def _check_input(name: str, input: mg.Tensor, weight: mg.Tensor | None, shape: tuple[int, ...]) -> None:
    if input.dtype not in (mg.float32, mg.float64):
        raise RuntimeError(f"{name}: input must be float32 or float64: got {input.dtype}. Try x.float().")
    if weight is not None and (tuple(weight.shape) != shape or weight.dtype != input.dtype):
        raise RuntimeError(f"{name}: weight must have shape {shape} and dtype {input.dtype}: got {tuple(weight.shape)} and "
                           f"{weight.dtype}")  # fmt: skip


def _edges(name: str, column: mg.Tensor, bins: Any, given: tuple[float, float] | None) -> mg.Tensor:
    if isinstance(bins, mg.Tensor):
        return _check_edges(name, bins, column)
    if bins <= 0:
        raise RuntimeError(f"{name}: bins must be > 0: got {bins}")
    if given is None and column.numel() == 0:
        low, high = 0.0, 1.0
    else:  # a given range without width is widened, not replaced by that of the data
        low, high = _bounds(name, column if given is None else column[:0], *(given or (0.0, 0.0)), 0.5)
    return mg.linspace(low, high, bins + 1, dtype=column.dtype, device=column.device)


def _counts(columns: list[mg.Tensor], edges: list[mg.Tensor], weight: mg.Tensor | None, density: bool) -> mg.Tensor:
    """Histogram of points whose coordinates are the columns."""
    flat, total = None, 1
    for x, e in zip(columns, edges):  # k: edges[k - 1] <= x < edges[k], 0: outside (and NaN)
        at = functions["_searchsorted"](e, x, None, False, True).clamp(max=len(e) - 1)
        at = mg.where((x >= e[0]) & (x <= e[-1]), at, 0)
        flat = at if flat is None else flat * len(e) + at
        total *= len(e)
    hist = functions["bincount"](flat, None if weight is None else weight.detach().reshape(-1), total)
    hist = hist.reshape([len(e) for e in edges])
    for d, e in enumerate(edges):
        hist = functions["narrow"](hist, d, 1, len(e) - 1)
    hist = hist.to(columns[0].dtype).contiguous()
    if not density:
        return hist
    hist = hist / hist.sum()
    for d, e in enumerate(edges):
        width = e[1:] - e[:-1]
        hist = hist / width.reshape((1,) * d + (-1,) + (1,) * (len(edges) - d - 1))
    return hist


@composite(samples=lambda s: [s(s.f(30), 5), s(s.f(3, 4), 4, range=(-1.0, 1.0)), s(s.f(9), 3, density=True),
                              s(s.f(9), 3, weight=s.f(9, low=0.5))],
           dtypes=("float64", "float32"), no_grad_reason="counts",
           ref=lambda input, bins, range=None, weight=None, density=False: numpy().histogram(
               input, bins, range, density, weight))  # fmt: skip
def histogram(
    input: mg.Tensor, bins: int | mg.Tensor = 100, *, range: Sequence[float] | None = None, weight: mg.Tensor | None = None,
    density: bool = False, out: Any = None,
) -> Any:  # fmt: skip
    """Counts (or sums of weights) between neighbouring bin edges; what lies outside is left out.

    Args:
        input: float32 or float64 tensor.
        bins: number of equal bins, or their ascending edges.
        range: (low, high) of equal bins; None takes that of the data.
        weight: what each element counts, of the input's shape and dtype.
        density: scale so that the area is 1.
        out: pair of tensors to write into.
    Returns:
        named tuple (hist, bin_edges), with one edge more than bins; the last bin includes its upper edge.
    Raises:
        RuntimeError for bins < 1, a bad range, other dtypes or shapes that do not fit.
    Example:
        >>> mg.histogram(mg.tensor([1., 2., 1.]), 4, range=(0., 3.)).hist
        tensor([0., 2., 1., 0.])
    """
    _check_input("histogram", input, weight, tuple(input.shape))
    if range is not None and isinstance(bins, mg.Tensor):
        raise TypeError("histogram: range goes with a number of bins, not with bin edges")
    x = input.detach().reshape(-1)
    edges = _edges("histogram", x, bins, None if range is None else (range[0], range[1]))
    hist = _counts([x], [edges], weight, density)
    if out is not None:
        return histogram_result(into("histogram", hist, out[0]), into("histogram", edges, out[1]))
    return histogram_result(hist, edges)


@composite(method=False, samples=lambda s: [s(s.f(20, 2), [3, 4]), s(s.f(9, 3), 2), s(s.f(9, 1), [3], range=[-1.0, 1.0], density=True)],
           dtypes=("float64", "float32"), no_grad_reason="counts", no_ref_reason="checked against PyTorch")  # fmt: skip
def histogramdd(
    input: mg.Tensor, bins: Any, range: Sequence[float] | None = None, weight: mg.Tensor | None = None, density: bool = False
) -> Any:
    """Histogram of points: counts in the cells of a grid of bins.

    Args:
        input: (…, coordinates) float32 or float64 points.
        bins: number of bins per coordinate (one for all, or a list), or a list of edges per coordinate.
        range: low and high of each coordinate in turn; None takes that of the data.
        weight: what each point counts.
        density: scale so that the volume is 1.
    Returns:
        named tuple (hist, bin_edges): a tensor with one dim per coordinate, and a tuple of edges.
    Raises:
        RuntimeError for bins < 1, a bad range, other dtypes or numbers of bins that do not fit.
    Example:
        >>> mg.histogramdd(mg.tensor([[0., 1.], [1., 0.], [2., 2.]]), [2, 2]).hist.tolist()
        [[0.0, 1.0], [1.0, 1.0]]
    """
    if input.dim() < 2:
        raise RuntimeError(f"histogramdd: input must have at least 2 dimensions: got shape {tuple(input.shape)}")
    _check_input("histogramdd", input, weight, tuple(input.shape[:-1]))
    count = input.shape[-1]
    each = list(bins) if isinstance(bins, (list, tuple)) else [bins] * count
    if len(each) != count:
        raise RuntimeError(f"histogramdd: expected one entry of bins per coordinate, {count}: got {len(each)}")
    if range is not None and len(range) != 2 * count:
        raise RuntimeError(f"histogramdd: range must hold low and high of each of the {count} coordinates: got {len(range)}")
    columns = list(input.detach().reshape(-1, count).unbind(1)) if count else []
    pairs = [None] * count if range is None else list(zip(range[::2], range[1::2]))
    edges = [_edges("histogramdd", x.contiguous(), b, pair) for x, b, pair in zip(columns, each, pairs)]
    return histogramdd_result(_counts([x.contiguous() for x in columns], edges, weight, density), tuple(edges))
