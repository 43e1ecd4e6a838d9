"""Reductions: sums, products, extremes, truth, counts. Kernels: csrc/cpu/reduce*.cpp. Moments and norms: moment.py."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops.shared.reduce_doc import doc, returned

max_result = returned("max", "values", "indices")
min_result = returned("min", "values", "indices")
aminmax_result = returned("aminmax", "min", "max")


def dims_of(dim: Any, ndim: int) -> list[int]:
    """Reduced dims, ascending and non-negative; None and an empty list mean all."""
    if dim is None or (not isinstance(dim, int) and len(dim) == 0):
        return list(range(ndim))
    dims = [dim] if isinstance(dim, int) else list(dim)
    return sorted(d % ndim for d in dims) if ndim else []


def restore(g: Any, shape: tuple[int, ...], dim: Any, keepdim: bool) -> Any:
    """`g` of a reduction with its reduced dims back as size 1, so that it broadcasts against the input."""
    if keepdim or not shape:
        return g
    dims = dims_of(dim, len(shape))
    if len(dims) == len(shape):
        return g
    for d in dims:
        g = g.unsqueeze(d)
    return g


def count_of(shape: tuple[int, ...], dim: Any) -> int:
    """Number of elements that go into one result."""
    n = 1
    for d in dims_of(dim, len(shape)):
        n *= shape[d]
    return n


# --- sums -------------------------------------------------------------------------------------------------------------
op(
    "sum(input, dim: ints? = None, keepdim: bool = False, *, dtype: dtype? = None) -> out",
    meta="reduce_sum",
    samples="reduce",
    dinput=lambda g, input_shape, dim, keepdim: restore(g, input_shape, dim, keepdim).expand(input_shape),
    ref=lambda input, dim=None, keepdim=False, dtype=None: input.sum(axis=_axis(dim), keepdims=keepdim),
    doc=doc(
        "Sum of the elements over `dim` (default: all).",
        "any dtype; bool and integers are summed in int64",
        "mg.sum(mg.tensor([[1., 2.], [3., 4.]]), 1) -> tensor([3., 7.])",
        dtype=True,
        grad="1 for every element.",
    ),
)

op(
    "nansum(input, dim: ints? = None, keepdim: bool = False, *, dtype: dtype? = None) -> out",
    meta="reduce_sum",
    samples="reduce",
    dinput=lambda g, input, dim, keepdim: mg.where(mg.isnan(input), 0.0, restore(g, tuple(input.shape), dim, keepdim)),
    ref=lambda input, dim=None, keepdim=False, dtype=None: _np().nansum(input, axis=_axis(dim), keepdims=keepdim),
    doc=doc(
        "Sum over `dim`, counting NaN as zero.",
        "any dtype",
        "mg.nansum(mg.tensor([1., mg.nan, 2.])) -> tensor(3.)",
        dtype=True,
        grad="1 for every element, 0 for NaN.",
    ),
)

op(
    "mean(input, dim: ints? = None, keepdim: bool = False, *, dtype: dtype? = None) -> out",
    meta="reduce_mean",
    samples="reduce",
    dinput=lambda g, input_shape, dim, keepdim: (restore(g, input_shape, dim, keepdim) / max_int(count_of(input_shape, dim))).expand(
        input_shape
    ),
    ref=lambda input, dim=None, keepdim=False, dtype=None: input.mean(axis=_axis(dim), keepdims=keepdim),
    doc=doc(
        "Mean of the elements over `dim`; NaN when there are none.",
        "floating, unless dtype names a floating type",
        "mg.mean(mg.tensor([1., 2., 6.])) -> tensor(3.)",
        dtype=True,
        grad="1/n for every element.",
        raises="RuntimeError for integers and bools.",
    ),
)


@composite(out=True, samples=lambda s: [s(s.f(3, 4)), s(s.f(3, 4), 1), s(s.f(2, 3, 4), [0, 2], True), s(s.f(7), 0), s(s.f())])
def nanmean(input: mg.Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> mg.Tensor:
    """Mean over `dim`, leaving NaN out.

    Args:
        input: floating tensor of any shape.
        dim: int or list of ints; None means all.
        keepdim: keep reduced dims with size 1.
        dtype: floating dtype to compute in.
    Returns:
        the mean of the elements that are not NaN; NaN where there are none.
    Example:
        >>> mg.nanmean(mg.tensor([1., mg.nan, 2.]))
        tensor(1.5000)
    """
    count = mg.sum(mg.isnan(input).logical_not(), dim, keepdim)
    return mg.nansum(input, dim, keepdim, dtype=dtype) / count


def max_int(n: int) -> int:
    """At least 1: the gradient of an empty mean is empty anyway."""
    return n if n > 1 else 1


def _np() -> Any:
    import numpy

    return numpy


def _axis(dim: Any) -> Any:
    if dim is None or isinstance(dim, int):
        return dim
    return tuple(dim) or None


# --- products ---------------------------------------------------------------------------------------------------------
def may_hold_zero(x: Any) -> bool:
    """Whether some element is 0; a tensor without data (inside vmap) may always hold one."""
    return mg.op.is_dataless(x) or (x == 0).any().item()


def _prod_grad(g: Any, input: Any, out: Any, dim: Any, keepdim: bool) -> Any:
    """Product of the others: out / x without zeros; with them, the product of those before times those after."""
    shape = tuple(input.shape)
    g = restore(g, shape, dim, keepdim)
    if not shape or input.numel() == 0 or not may_hold_zero(input):
        return g * restore(out, shape, dim, keepdim) / input if shape else g
    flat = dim is None
    x, d = (input.reshape(-1), 0) if flat else (input, dims_of(dim, len(shape))[0])
    n = x.shape[d]
    one = mg.ones_like(x.narrow(d, 0, 1))
    before = mg.cat([one, x.narrow(d, 0, n - 1).cumprod(d)], d)
    after = mg.cat([one, x.narrow(d, 1, n - 1).flip(d).cumprod(d)], d).flip(d)
    return g * (before * after).reshape(shape)


op(
    "prod(input, dim: int? = None, keepdim: bool = False, *, dtype: dtype? = None) -> out",
    meta="reduce_sum",
    dinput=_prod_grad,
    ref=lambda input, dim=None, keepdim=False, dtype=None: input.prod(axis=dim, keepdims=keepdim),
    samples=lambda s: [
        s(s.t(3, 4)),
        s(s.t(3, 5), 1),
        s(s.t(2, 3, 4), 1, True),
        s(s.t()),
        s(s.t(0, 3), 0),
        s(s.t(3, 2, layout="transposed"), -1),
    ],
    doc=doc(
        "Product of the elements over one dim (default: all).",
        "any dtype; bool and integers are multiplied in int64",
        "mg.prod(mg.tensor([2., 3., 4.])) -> tensor(24.)",
        dtype=True,
        grad="the product of the other elements; correct with zeros.",
    ),
)


# --- extremes ---------------------------------------------------------------------------------------------------------
def _extreme_grad(g: Any, input: Any, out: Any, dim: Any, keepdim: bool) -> Any:
    shape = tuple(input.shape)
    hit = (input == restore(out, shape, dim, keepdim)).to(g.dtype)
    return restore(g, shape, dim, keepdim) * (hit / hit.sum(dim, keepdim=True))


def _select_grad(g_values: Any, input_shape: tuple[int, ...], indices: Any, dim: int, keepdim: bool) -> Any:
    g = g_values
    if not input_shape:
        return g
    if not keepdim:
        g, indices = g.unsqueeze(dim), indices.unsqueeze(dim)
    return mg.zeros(input_shape, dtype=g.dtype, device=g.device).scatter(dim, indices, g)


for _name, _word, _shown in (("amax", "Largest", "3"), ("amin", "Smallest", "1")):
    op(
        f"{_name}(input, dim: ints? = None, keepdim: bool = False) -> out",
        meta="reduce_extreme",
        dinput=_extreme_grad,
        samples=lambda s: [
            s(s.t(distinct=True)),
            s(s.t(5, distinct=True)),
            s(s.t(3, 4, distinct=True), 1),
            s(s.t(2, 3, 4, distinct=True), [0, 2], True),
            s(s.t(4, 3, layout="transposed", distinct=True), 0),
            s(s.t(0, 3), 1),
        ],
        ref=lambda input, dim=None, keepdim=False, _name=_name: getattr(_np(), _name)(input, axis=_axis(dim), keepdims=keepdim),
        doc=doc(
            f"{_word} element over `dim` (default: all); NaN if there is one.",
            "any dtype",
            f"mg.{_name}(mg.tensor([3., 1., 2.])) -> tensor({_shown}.)",
            grad="1, shared evenly among equal elements.",
            raises="RuntimeError or IndexError when there is nothing to reduce.",
        ),
    )

for _name, _word in (("max", "Largest"), ("min", "Smallest")):
    op(
        f"_{_name}_dim(input, dim: int, keepdim: bool = False) -> values, indices",
        meta="reduce_select",
        namespace=None,
        nondiff=("indices",),
        dinput=lambda g, input_shape, indices, dim, keepdim: _select_grad(g, input_shape, indices, dim, keepdim),
        samples=lambda s: [
            s(s.t(3, 4, distinct=True), 1),
            s(s.t(2, 3, 4, distinct=True), 1, True),
            s(s.t(), 0),
            s(s.t(4, 3, layout="transposed", distinct=True), 0),
        ],
        ref=lambda input, dim, keepdim=False, _name=_name: _np_select(_name, input, dim, keepdim),
        doc=f"{_word} element along one dim and its first position; the kernel of `{_name}` with a dim.",
    )


def _np_select(name: str, input: Any, dim: int, keepdim: bool) -> tuple[Any, Any]:
    np = _np()
    if input.ndim == 0:
        return input, np.zeros((), np.int64)
    index = getattr(np, "arg" + name)(input, axis=dim, keepdims=True)
    value = np.take_along_axis(input, index, dim)
    return (value, index) if keepdim else (value.squeeze(dim), index.squeeze(dim))


def _extreme(name: str, full: Any, along: Any, pair: Any, result: Any, input: Any, dim: Any, keepdim: bool, other: Any, out: Any) -> Any:
    if isinstance(dim, mg.Tensor):
        dim, other = None, dim
    if other is not None:
        return pair(input, other) if out is None else pair(input, other, out=out)
    if dim is None:
        return full(input) if out is None else full(input, out=out)
    if out is not None:
        return result(*along(input, dim, keepdim, out=tuple(out)))
    return result(*along(input, dim, keepdim))


_SAMPLES_EXTREME = dict(samples=lambda s: [s(s.t(distinct=True)), s(s.t(3, 4, distinct=True)),
                                           s(s.t(3, 4, distinct=True), 1),
                                           s(s.t(2, 3, 4, distinct=True), 1, True)])  # fmt: skip


@composite(**_SAMPLES_EXTREME, no_ref_reason="dispatches to amax, maximum and _max_dim, which have references")
def max(input: mg.Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None, out: Any = None) -> Any:
    """Largest element of all, or along `dim` together with its position, or of two tensors element by element.

    Args:
        input: tensor of any shape and dtype.
        dim: None for the whole tensor, an int for one dim, or a second tensor (then as `maximum`).
        keepdim: keep the reduced dim with size 1.
        other: second tensor, as a keyword.
        out: tensor, or pair of tensors when dim is given, to write to.
    Returns:
        a 0-d tensor; a named tuple (values, indices) when dim is an int; the broadcast shape for two tensors.
    Raises:
        RuntimeError or IndexError when there is nothing to reduce.
    Gradient:
        to the position in `indices`; without dim shared evenly among equal elements. NaN counts as largest.
    Example:
        >>> mg.max(mg.tensor([1., 5., 3.]))
        tensor(5.)
    """
    return _extreme("max", mg.amax, functions["_max_dim"], mg.maximum, max_result, input, dim, keepdim, other, out)


@composite(**_SAMPLES_EXTREME, no_ref_reason="dispatches to amin, minimum and _min_dim, which have references")
def min(input: mg.Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None, out: Any = None) -> Any:
    """Smallest element of all, or along `dim` together with its position, or of two tensors element by element.

    Args:
        input: tensor of any shape and dtype.
        dim: None for the whole tensor, an int for one dim, or a second tensor (then as `minimum`).
        keepdim: keep the reduced dim with size 1.
        other: second tensor, as a keyword.
        out: tensor, or pair of tensors when dim is given, to write to.
    Returns:
        a 0-d tensor; a named tuple (values, indices) when dim is an int; the broadcast shape for two tensors.
    Raises:
        RuntimeError or IndexError when there is nothing to reduce.
    Gradient:
        to the position in `indices`; without dim shared evenly among equal elements. NaN counts as smallest.
    Example:
        >>> mg.min(mg.tensor([4., 1., 3.]))
        tensor(1.)
    """
    return _extreme("min", mg.amin, functions["_min_dim"], mg.minimum, min_result, input, dim, keepdim, other, out)


@composite(
    out=True,
    samples=lambda s: [s(s.t(3, 4, distinct=True)), s(s.t(3, 4, distinct=True), dim=1, keepdim=True)],
    ref=lambda input, dim=None, keepdim=False: (
        _np().amin(input, dim, keepdims=keepdim),
        _np().amax(input, dim, keepdims=keepdim),
    ),
)
def aminmax(input: mg.Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """Smallest and largest element over one dim (default: all).

    Args:
        input: tensor of any shape and dtype.
        dim: None or an int.
        keepdim: keep the reduced dim with size 1.
    Returns:
        named tuple (min, max).
    Raises:
        RuntimeError or IndexError when there is nothing to reduce.
    Example:
        >>> mg.aminmax(mg.tensor([2., 7., 1.])).max
        tensor(7.)
    """
    return aminmax_result(mg.amin(input, dim, keepdim), mg.amax(input, dim, keepdim))


for _name, _word, _shown in (("argmax", "largest", "2"), ("argmin", "smallest", "1")):
    op(
        f"{_name}(input, dim: int? = None, keepdim: bool = False) -> out",
        meta="reduce_index",
        samples=lambda s: [
            s(s.t(distinct=True)),
            s(s.t(3, 4, distinct=True)),
            s(s.t(3, 4, distinct=True), 1, True),
            s(s.t(2, 3, 5, distinct=True), 1),
            s(s.t(4, 3, layout="transposed", distinct=True), 0),
        ],
        ref=lambda input, dim=None, keepdim=False, _name=_name: (
            getattr(_np(), _name)(input, axis=dim, keepdims=keepdim) if input.ndim else _np().zeros((), _np().int64)
        ),
        doc=doc(
            f"Position of the first {_word} element over one dim (default: flattened); of the first NaN if any.",
            "any dtype",
            f"mg.{_name}(mg.tensor([2., 1., 5.])) -> tensor({_shown})",
            raises="IndexError when there is nothing to reduce.",
        ),
    )

# --- truth and counts -------------------------------------------------------------------------------------------------
for _name, _word, _shown in (
    ("any", "True where some element is nonzero", "True"),
    ("all", "True where every element is nonzero", "False"),
):
    op(
        f"{_name}(input, dim: ints? = None, keepdim: bool = False) -> out",
        meta="reduce_bool",
        samples="reduce",
        ref=lambda input, dim=None, keepdim=False, _name=_name: getattr(_np(), _name)(
            input, axis=dim if dim is None or isinstance(dim, int) else tuple(dim), keepdims=keepdim
        ),
        doc=doc(
            f"{_word} over `dim` (default: all); NaN counts as nonzero.",
            "any dtype; uint8 gives uint8, all others bool",
            f"mg.{_name}(mg.tensor([0, 2])) -> tensor({_shown})",
        ),
    )

op(
    "count_nonzero(input, dim: ints? = None) -> out",
    meta="reduce_count",
    samples=lambda s: [s(s.t(3, 4)), s(s.t(3, 4), 1), s(s.t(2, 3, 4), [0, 2]), s(s.t()), s(s.t(0, 3))],
    ref=lambda input, dim=None: _np().count_nonzero(input, axis=_axis(dim)),
    doc=doc(
        "Number of nonzero elements over `dim` (default: all).",
        "any dtype",
        "mg.count_nonzero(mg.tensor([0, 2, 3])) -> tensor(2)",
    ),
)
