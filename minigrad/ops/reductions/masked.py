"""minigrad.masked: reductions (masked_spread.py: norms, variance, softmax) that leave out the elements where a mask is False (torch.masked's names).

An element counts where its mask is True; mask=None counts all. A mask broadcasts with the input. All are composites: the
left-out elements become the value that changes nothing (0 for sums, 1 for products, -inf for maxima …).
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions
from minigrad.ops.shared.struct_doc import shared_args

_ARGS = {
    "input": "tensor of any shape.",
    "dim": "int, or where more make sense a list of ints; None means all.",
    "keepdim": "keep reduced dims with size 1.",
    "dtype": "dtype of the result; the input is converted first.",
    "mask": "bool tensor that broadcasts with the input; True counts. None counts all.",
    "ord": "order of the norm.",
    "unbiased": "True divides by n - 1, False by n.",
    "correction": "what is taken from n in the divisor, instead of unbiased.",
    "eps": "least divisor.",
}


def _public(*names: str, **fields: Any) -> Any:
    """Registers a function of this module as `masked_<name>`; these arguments and what a mask raises go into its docstring."""

    def register(function: Any) -> Any:
        function = shared_args(**{name: _ARGS[name] for name in names})(function)
        raises = "Raises:\n    ValueError for a mask that is not bool or does not broadcast; what the op without mask raises.\n"
        function.__doc__ = (function.__doc__ or "").replace("Example:\n", raises + "Example:\n")
        fields.setdefault("no_ref_reason", "checked against torch.masked")
        return composite(namespace=(), method=False, name="masked_" + function.__name__, **fields)(function)

    return register


def _samples(*rest: Any, floats: bool = True, **named: Any) -> Any:
    """(input, dim) calls with and without a mask."""

    def make(s: Any) -> list[Any]:
        t = lambda *shape: s.f(*shape, distinct=True) if floats else s.t(*shape, distinct=True)  # noqa: E731
        some = s.of([[True, True, False, True], [False, True, True, False], [True, False, True, True]], dtype="bool")
        head = [s(t(3, 4), *rest, 1, **named), s(t(3, 4), *rest, 0, mask=some, **named)]
        return [*head, s(t(5), *rest, 0, mask=s.of([True, True, False, True, True], dtype="bool"), **named)]

    return make


_BOTH = ("input", "dim", "keepdim", "dtype", "mask")


# --- the mask ---------------------------------------------------------------------------------------------------------
def _checked(input: mg.Tensor, mask: mg.Tensor | None) -> mg.Tensor | None:
    """The mask in the input's shape."""
    if mask is None:
        return None
    if not isinstance(mask, mg.Tensor) or mask.dtype != mg.bool:
        got = mask.dtype if isinstance(mask, mg.Tensor) else type(mask).__name__
        raise ValueError(f"masked: expected a bool mask: got {got}. Try mask.bool().")
    if mask.dim() > input.dim():
        raise IndexError(f"masked: the mask must not have more dimensions than the input: got {tuple(mask.shape)} and "
                         f"{tuple(input.shape)}")  # fmt: skip
    try:
        return functions["expand"](mask, input.shape)
    except RuntimeError as error:
        raise ValueError(f"masked: a mask of shape {tuple(mask.shape)} does not broadcast to {tuple(input.shape)}") from error


def _filled(input: mg.Tensor, mask: mg.Tensor | None, value: Any) -> mg.Tensor:
    mask = _checked(input, mask)
    return input if mask is None else mg.where(mask, input, mg.full((), value, dtype=input.dtype, device=input.device))


def _cast(input: mg.Tensor, dtype: Any, sums: bool = False) -> mg.Tensor:
    """The input in `dtype`; without one, integers that are summed become int64."""
    if dtype is None and sums and not (input.is_floating_point() or input.is_complex()):
        dtype = mg.int64
    return input if dtype is None or dtype == input.dtype else input.to(dtype)


def _dims(input: mg.Tensor, dim: Any) -> list[int]:
    if dim is None:
        return list(range(input.dim()))
    return [d % max(input.dim(), 1) for d in ((dim,) if isinstance(dim, int) else dim)]


def _number(input: mg.Tensor, mask: mg.Tensor | None, dim: Any, keepdim: bool) -> mg.Tensor:
    """How many elements count, in int64."""
    mask = _checked(input, mask)
    ones = mg.ones(input.shape, dtype=mg.bool, device=input.device) if mask is None else mask
    return _over(ones, dim, keepdim, mg.sum)


def _over(x: mg.Tensor, dim: Any, keepdim: bool, reduce: Any) -> mg.Tensor:
    """`reduce` over the dims; an empty list of dims reduces nothing."""
    if dim is not None and not isinstance(dim, int) and len(dim) == 0:
        return x.to(mg.int64) if x.dtype == mg.bool and reduce is mg.sum else x
    return reduce(x, dim, keepdim)


def _least(dtype: Any) -> Any:
    if dtype == mg.bool:
        return False
    return -mg.inf if dtype.is_floating_point or dtype.is_complex else mg.iinfo(dtype).min


def _greatest(dtype: Any) -> Any:
    if dtype == mg.bool:
        return True
    return mg.inf if dtype.is_floating_point else mg.iinfo(dtype).max


# --- reductions -------------------------------------------------------------------------------------------------------
@_public(*_BOTH, samples=_samples(floats=False))
def sum(input: mg.Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> mg.Tensor:  # noqa: A001
    """Sum over `dim` of the elements that count.

    Returns:
        tensor of the input's shape without the reduced dims; 0 where nothing counts.
    Example:
        >>> mg.masked.sum(mg.tensor([1, 2, 3]), mask=mg.tensor([True, False, True]))
        tensor(4)
    """
    return _over(_filled(_cast(input, dtype, True), mask, 0), dim, keepdim, mg.sum)


@_public(*_BOTH, samples=_samples(floats=False))
def prod(input: mg.Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> mg.Tensor:
    """Product over `dim` of the elements that count.

    Returns:
        tensor of the input's shape without the reduced dims; 1 where nothing counts.
    Example:
        >>> mg.masked.prod(mg.tensor([2, 3, 4]), mask=mg.tensor([True, False, True]))
        tensor(8)
    """
    x = _filled(_cast(input, dtype, True), mask, 1)
    for d in sorted(_dims(input, dim), reverse=True) if x.dim() else ():
        x = mg.prod(x, d, keepdim)
    return x


@_public("input", "dim", "dtype", "mask", samples=_samples(floats=False))
def cumsum(input: mg.Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> mg.Tensor:
    """Running sum along `dim` of the elements that count.

    Returns:
        tensor of the input's shape.
    Example:
        >>> mg.masked.cumsum(mg.tensor([1, 2, 3]), 0, mask=mg.tensor([True, False, True]))
        tensor([1, 1, 4])
    """
    x = _filled(_cast(input, dtype), mask, 0)
    return mg.cumsum(x, dim, dtype=x.dtype)


@_public("input", "dim", "dtype", "mask", samples=_samples(floats=False))
def cumprod(input: mg.Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> mg.Tensor:
    """Running product along `dim` of the elements that count.

    Returns:
        tensor of the input's shape.
    Example:
        >>> mg.masked.cumprod(mg.tensor([2, 3, 4]), 0, mask=mg.tensor([True, False, True]))
        tensor([2, 2, 8])
    """
    x = _filled(_cast(input, dtype), mask, 1)
    return mg.cumprod(x, dim, dtype=x.dtype)


@_public(*_BOTH, samples=_samples(floats=False))
def amax(input: mg.Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> mg.Tensor:
    """Largest over `dim` of the elements that count.

    Returns:
        tensor of the input's shape without the reduced dims; -inf (least integer) where nothing counts.
    Example:
        >>> mg.masked.amax(mg.tensor([1, 2, 3]), mask=mg.tensor([True, True, False]))
        tensor(2)
    """
    x = _cast(input, dtype)
    return _over(_filled(x, mask, _least(x.dtype)), dim, keepdim, mg.amax)


@_public(*_BOTH, samples=_samples(floats=False))
def amin(input: mg.Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> mg.Tensor:
    """Smallest over `dim` of the elements that count.

    Returns:
        tensor of the input's shape without the reduced dims; inf (greatest integer) where nothing counts.
    Example:
        >>> mg.masked.amin(mg.tensor([1, 2, 3]), mask=mg.tensor([False, True, True]))
        tensor(2)
    """
    x = _cast(input, dtype)
    return _over(_filled(x, mask, _greatest(x.dtype)), dim, keepdim, mg.amin)


@_public(*_BOTH, samples=_samples(floats=False))
def argmax(input: mg.Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> mg.Tensor:
    """Position of the first largest element that counts.

    Returns:
        positions, in the input's dtype (PyTorch's choice).
    Example:
        >>> mg.masked.argmax(mg.tensor([1, 2, 3]), mask=mg.tensor([True, True, False]))
        tensor(1)
    """
    x = _cast(input, dtype)
    return mg.argmax(_filled(x, mask, _least(x.dtype)), dim, keepdim).to(x.dtype)  # the dtype is PyTorch's


@_public(*_BOTH, samples=_samples(floats=False))
def argmin(input: mg.Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> mg.Tensor:
    """Position of the first smallest element that counts.

    Returns:
        positions, in the input's dtype (PyTorch's choice).
    Example:
        >>> mg.masked.argmin(mg.tensor([1, 2, 3]), mask=mg.tensor([False, True, True]))
        tensor(1)
    """
    x = _cast(input, dtype)
    return mg.argmin(_filled(x, mask, _greatest(x.dtype)), dim, keepdim).to(x.dtype)  # the dtype is PyTorch's


@_public(*_BOTH, samples=_samples())
def mean(input: mg.Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> mg.Tensor:
    """Mean over `dim` of the elements that count.

    Returns:
        tensor of the input's shape without the reduced dims; NaN where nothing counts.
    Example:
        >>> mg.masked.mean(mg.tensor([1., 2., 6.]), mask=mg.tensor([True, False, True]))
        tensor(3.5000)
    """
    x = _cast(input, dtype)
    if not (x.is_floating_point() or x.is_complex()):
        raise ValueError(f"masked.mean: needs a floating dtype: got {x.dtype}. Try dtype=minigrad.float32.")
    total = _over(_filled(x, mask, 0), dim, keepdim, mg.sum)
    return total / _number(x, mask, dim, keepdim).to(total.dtype)


@_public(*_BOTH, samples=_samples())
def median(input: mg.Tensor, dim: int = -1, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> mg.Tensor:
    """Median along `dim` of the elements that count: the lower one of an even number.

    Returns:
        tensor of the input's shape without dim; NaN where nothing counts.
    Example:
        >>> mg.masked.median(mg.tensor([1., 2., 6.]), 0, mask=mg.tensor([True, False, True]))
        tensor(1.)
    """
    x = _cast(input, dtype)
    if not x.is_floating_point():
        raise ValueError(f"masked.median: needs a floating dtype: got {x.dtype}. Try dtype=minigrad.float32.")
    if mask is not None and bool(mg.isnan(x.detach()).any()):
        raise ValueError("masked.median: expected no NaN values in the input, which stand for the elements left out")
    return functions["nanmedian" if mask is not None else "median"](_filled(x, mask, mg.nan), dim, keepdim)[0]


@_public(*_BOTH, samples=_samples())
def logsumexp(input: mg.Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> mg.Tensor:
    """log(sum(exp(x))) over `dim` of the elements that count.

    Returns:
        tensor of the input's shape without the reduced dims; -inf where nothing counts.
    Example:
        >>> mg.masked.logsumexp(mg.tensor([0., 1., 0.]), 0, mask=mg.tensor([True, False, True]))
        tensor(0.6931)
    """
    x = _cast(input, dtype)
    filled = _filled(x, mask, _least(x.dtype))
    return mg.logsumexp(filled, _dims(input, dim), keepdim).to(x.dtype)


@_public("input", "dtype", samples=lambda s: [s(s.f(3, 4), s.f(3, 4)), s(s.f(5), s.f(5), input_mask=s.mask(5), other_mask=s.of([True] * 5, dtype="bool"))])  # fmt: skip
def logaddexp(
    input: mg.Tensor, other: mg.Tensor, *, dtype: Any = None, input_mask: Any = None, other_mask: Any = None
) -> mg.Tensor:
    """log(exp(a) + exp(b)), each only where its mask is True.

    Returns:
        tensor of the broadcast shape; -inf where neither counts.
    Example:
        >>> mg.masked.logaddexp(mg.tensor([0.]), mg.tensor([5.]), other_mask=mg.tensor([False]))
        tensor([0.])
    """
    a, b = _cast(input, dtype), _cast(other, dtype)
    return mg.logaddexp(_filled(a, input_mask, -mg.inf), _filled(b, other_mask, -mg.inf))
