"""Cumulative ops along one dim. Kernels: csrc/cpu/scan.cpp."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops.reductions.reduce import _np, may_hold_zero
from minigrad.ops.shared.reduce_doc import doc, returned

cummax_result = returned("cummax", "values", "indices")
cummin_result = returned("cummin", "values", "indices")


def _reverse_cumsum(g: Any, dim: int) -> Any:
    return g.flip(dim).cumsum(dim).flip(dim) if g.dim() else g


def _cumprod_grad(g: Any, input: Any, out: Any, dim: int) -> Any:
    """Without zeros reverse_cumsum(g out) / x. With them dx[k] = prod(x[:k]) S[k], S[k] = g[k] + x[k+1] S[k+1]."""
    if not input.numel() or not input.dim():
        return g
    if not may_hold_zero(input):
        return _reverse_cumsum(g * out, dim) / input
    n = input.shape[dim]
    g_rows, x_rows = g.unbind(dim), input.unbind(dim)
    sums = [g_rows[n - 1]]
    for k in range(n - 2, -1, -1):
        sums.append(g_rows[k] + x_rows[k + 1] * sums[-1])
    before = mg.cat([mg.ones_like(input.narrow(dim, 0, 1)), input.narrow(dim, 0, n - 1).cumprod(dim)], dim)
    return before * mg.stack(sums[::-1], dim)


def _logcumsumexp_grad(g: Any, input: Any, out: Any, dim: int) -> Any:
    """exp(x) * reverse_cumsum(g exp(-out)), in logarithms, positive and negative g apart (no overflow)."""
    if not input.dim():
        return g
    if g.is_complex():  # signs need no care there; g is the conjugate of the gradient (see `holomorphic` in op())
        return ((g.log() - out).flip(dim).logcumsumexp(dim).flip(dim) + input).exp()
    # The log of "no gradient" is a finite lowest number: -inf would turn into NaN in the second derivative.
    lowest = -1e300 if g.dtype == mg.float64 else -6e4 if g.dtype == mg.float16 else -1e38

    def log_where(sign: Any, value: Any) -> Any:
        return mg.where(sign, mg.where(sign, value, 1.0).log(), lowest)

    positive, negative = log_where(g > 0, g), log_where(g < 0, -g)

    def part(log_g: Any) -> Any:
        return ((log_g - out).flip(dim).logcumsumexp(dim).flip(dim) + input).exp()

    return part(positive) - part(negative)


def _scan_samples(s: Any) -> list[Any]:
    return [s(s.t(5), 0), s(s.t(3, 4), 1), s(s.t(3, 4), 0), s(s.t(2, 3, 4), -2), s(s.t(), 0), s(s.t(0, 3), 0),
            s(s.t(4, 3, layout="transposed"), 0)]  # fmt: skip


op(
    "cumsum(input, dim: int, *, dtype: dtype? = None) -> out",
    meta="scan_sum",
    samples=_scan_samples,
    inplace=True,
    dinput=lambda g, dim: _reverse_cumsum(g, dim),
    ref=lambda input, dim, dtype=None: _np().cumsum(input, dim) if input.ndim else input,
    doc=doc(
        "Sums of the first 1, 2, … elements along a dim.",
        "any dtype; bool and integers are summed in int64",
        "mg.cumsum(mg.tensor([1., 2., 3.]), 0) -> tensor([1., 3., 6.])",
        dtype=True,
        grad="the reverse cumulative sum.",
    ),
)

op(
    "cumprod(input, dim: int, *, dtype: dtype? = None) -> out",
    meta="scan_sum",
    samples=_scan_samples,
    inplace=True,
    dinput=_cumprod_grad,
    ref=lambda input, dim, dtype=None: _np().cumprod(input, dim) if input.ndim else input,
    doc=doc(
        "Products of the first 1, 2, … elements along a dim.",
        "any dtype; bool and integers are multiplied in int64",
        "mg.cumprod(mg.tensor([1., 2., 3.]), 0) -> tensor([1., 2., 6.])",
        dtype=True,
        grad="correct with zeros.",
    ),
)

op(
    "logcumsumexp(input, dim: int) -> out",
    meta="scan_float",
    dinput=_logcumsumexp_grad,
    samples=lambda s: [s(s.f(5), 0), s(s.f(3, 4), 1), s(s.f(2, 3, 4), 1), s(s.f(), 0)],
    ref=lambda input, dim: _np().logaddexp.accumulate(input, dim) if input.ndim else input,
    doc=doc(
        "log of the cumulative sum of exp(input), without overflow.",
        "floating",
        "mg.logcumsumexp(mg.tensor([0., 0.]), 0) -> tensor([0.0000, 0.6931])",
        raises="RuntimeError for integers.",
    ),
)


def _cum_select_grad(g_values: Any, indices: Any, dim: int) -> Any:
    g = g_values
    return mg.zeros_like(g).scatter_add(dim, indices, g) if g.dim() else g


def _np_cumulative(name: str, input: Any, dim: int) -> tuple[Any, Any]:
    np = _np()
    if not input.ndim:
        return input, np.zeros((), np.int64)
    values = getattr(np, name).accumulate(input, dim)
    shape = [1] * input.ndim
    shape[dim] = -1
    where = np.where(input == values, np.arange(input.shape[dim]).reshape(shape), 0)
    return values, np.maximum.accumulate(where, dim)


for _name, _numpy in (("cummax", "maximum"), ("cummin", "minimum")):
    op(
        f"_{_name}(input, dim: int) -> values, indices",
        meta="scan_select",
        namespace=None,
        nondiff=("indices",),
        dinput=lambda g, indices, dim: _cum_select_grad(g, indices, dim),
        samples=lambda s: [
            s(s.t(5, distinct=True), 0),
            s(s.t(3, 4, distinct=True), 1),
            s(s.t(2, 3, 4, distinct=True), 1),
            s(s.t(), 0),
        ],
        ref=lambda input, dim, _numpy=_numpy: _np_cumulative(_numpy, input, dim),
        doc=f"Running extreme and its last position; the kernel of `{_name}`.",
    )

_RUNNING_DOC = """Running {word} along a dim and the position it came from (the last one among equals).

    Args:
        input: tensor of any shape and dtype.
        dim: int in [-ndim, ndim).
    Returns:
        named tuple (values, indices) of the input's shape.
    Raises:
        IndexError for a dim out of range.
    Gradient:
        flows to the positions in `indices`. From the first NaN on, NaN.
    Example:
        >>> mg.{name}(mg.tensor([2., {middle}., 2.]), 0).values
        tensor([2., {middle}., {middle}.])
    """


def _declare_running(name: str, word: str, middle: int) -> None:
    kernel, result = functions["_" + name], globals()[name + "_result"]

    def running(input: mg.Tensor, dim: int) -> Any:
        return result(*kernel(input, dim))

    running.__name__ = running.__qualname__ = name
    running.__doc__ = _RUNNING_DOC.format(name=name, word=word, middle=middle)
    composite(out=True, no_ref_reason="the kernel of the same name has the reference",
              samples=lambda s: [s(s.t(5, distinct=True), 0), s(s.t(3, 4, distinct=True), 1)])(running)  # fmt: skip


_declare_running("cummax", "maximum", 3)
_declare_running("cummin", "minimum", 1)
