"""minigrad.masked: norms, variance and the normalisations made of them. The mask and what all share: masked.py."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import functions
from minigrad.ops.reductions.masked import _cast, _filled, _number, _over, _public, _samples


@_public("input", "ord", "dim", "keepdim", "dtype", "mask", samples=_samples(2.0))
def norm(
    input: mg.Tensor, ord: float = 2.0, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> mg.Tensor:
    """p-norm over `dim` of the elements that count.

    Returns:
        tensor of the input's shape without the reduced dims; 0 where nothing counts (inf for ord=-inf).
    Example:
        >>> mg.masked.norm(mg.tensor([3., 4., 9.]), 2, mask=mg.tensor([True, True, False]))
        tensor(5.)
    """
    x = _filled(_cast(input, dtype), mask, mg.inf if ord == -mg.inf else 0)
    if ord == -mg.inf and not x.numel():
        return _over(x.abs(), dim, keepdim, mg.amin)
    if dim is not None and not isinstance(dim, int) and len(dim) == 0:
        return x.abs() if ord != 0 else (x != 0).to(x.dtype)
    return functions["_vector_norm"](x, dim, keepdim, None, float(ord))


def _variance(x: mg.Tensor, dim: Any, keepdim: bool, mask: Any, correction: float, root: bool) -> mg.Tensor:
    if not (x.is_floating_point() or x.is_complex()):
        x = x.to(mg.float32)
    count = _number(x, mask, dim, True).to(x.dtype.to_real())
    centre = _over(_filled(x, mask, 0), dim, True, mg.sum) / count
    off = _filled(x - centre, mask, 0)
    total = _over(off * mg.conj(off), dim, keepdim, mg.sum)
    freedom = (count if keepdim else count.reshape(total.shape)) - correction
    result = total / mg.maximum(freedom, mg.zeros_like(freedom))
    return mg.sqrt(result) if root else result


def _correction(dim: Any, unbiased: bool | None, correction: float | None) -> tuple[Any, float]:
    if isinstance(dim, bool):  # the older form var(input, unbiased)
        dim, unbiased = None, dim
    if correction is not None and unbiased is not None:
        raise TypeError("masked.var: got both unbiased and correction, expected one of them")
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    return dim, correction


@_public("input", "dim", "unbiased", "correction", "keepdim", "dtype", "mask", samples=_samples())
def var(
    input: mg.Tensor, dim: Any = None, unbiased: bool | None = None, *, correction: float | None = None,
    keepdim: bool = False, dtype: Any = None, mask: Any = None,
) -> mg.Tensor:  # fmt: skip
    """Variance over `dim` of the elements that count.

    Returns:
        tensor of the input's shape without the reduced dims; NaN where nothing counts.
    Example:
        >>> mg.masked.var(mg.tensor([1., 9., 3.]), mask=mg.tensor([True, False, True]))
        tensor(2.)
    """
    dim, correction = _correction(dim, unbiased, correction)
    return _variance(_cast(input, dtype), dim, keepdim, mask, correction, False)


@_public("input", "dim", "unbiased", "correction", "keepdim", "dtype", "mask", samples=lambda s: [s(s.f(3, 4, distinct=True), 1), s(s.f(5, distinct=True), 0, mask=s.of([True, True, False, True, True], dtype="bool"))])  # fmt: skip
def std(
    input: mg.Tensor, dim: Any = None, unbiased: bool | None = None, *, correction: float | None = None,
    keepdim: bool = False, dtype: Any = None, mask: Any = None,
) -> mg.Tensor:  # fmt: skip
    """Standard deviation over `dim` of the elements that count.

    Returns:
        tensor of the input's shape without the reduced dims; NaN where nothing counts.
    Example:
        >>> mg.masked.std(mg.tensor([1., 9., 3.]), mask=mg.tensor([True, False, True]))
        tensor(1.4142)
    """
    dim, correction = _correction(dim, unbiased, correction)
    return _variance(_cast(input, dtype), dim, keepdim, mask, correction, True)


# --- normalisations ---------------------------------------------------------------------------------------------------
@_public("input", "dim", "dtype", "mask", samples=_samples())
def softmax(input: mg.Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> mg.Tensor:
    """Softmax along `dim` over the elements that count; 0 for the others.

    Returns:
        tensor of the input's shape; NaN where nothing counts.
    Example:
        >>> mg.masked.softmax(mg.tensor([0., 9., 0.]), 0, mask=mg.tensor([True, False, True]))
        tensor([0.5000, 0.0000, 0.5000])
    """
    return mg.softmax(_filled(_cast(input, dtype), mask, -mg.inf), dim)


@_public("input", "dim", "dtype", "mask", samples=lambda s: [s(s.f(3, 4), 1), s(s.f(5), 0)])
def log_softmax(input: mg.Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> mg.Tensor:
    """log of the softmax along `dim` over the elements that count; -inf for the others.

    Returns:
        tensor of the input's shape; NaN where nothing counts.
    Example:
        >>> mg.masked.log_softmax(mg.tensor([0., 9., 0.]), 0, mask=mg.tensor([True, False, True]))
        tensor([-0.6931,    -inf, -0.6931])
    """
    return mg.log_softmax(_filled(_cast(input, dtype), mask, -mg.inf), dim)


@_public("input", "dim", "dtype", "mask", samples=_samples())
def softmin(input: mg.Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> mg.Tensor:
    """Softmax of the negated elements that count, along `dim`; 0 for the others.

    Returns:
        tensor of the input's shape; NaN where nothing counts.
    Example:
        >>> mg.masked.softmin(mg.tensor([0., 9., 0.]), 0, mask=mg.tensor([True, False, True]))
        tensor([0.5000, 0.0000, 0.5000])
    """
    return mg.softmax(-_filled(_cast(input, dtype), mask, mg.inf), dim)


@_public("input", "ord", "dim", "eps", "dtype", "mask", samples=_samples(2.0))
def normalize(
    input: mg.Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None, mask: Any = None
) -> mg.Tensor:
    """Divides the elements by the p-norm along `dim` of those that count; the others become 0.

    Returns:
        tensor of the input's shape.
    Example:
        >>> mg.masked.normalize(mg.tensor([3., 4., 9.]), 2, 0, mask=mg.tensor([True, True, False]))
        tensor([0.6000, 0.8000, 0.0000])
    """
    x = _cast(input, dtype)
    length = norm(x, ord, dim, keepdim=True, mask=mask)
    return _filled(x, mask, 0) / mg.clamp(length, min=eps)
