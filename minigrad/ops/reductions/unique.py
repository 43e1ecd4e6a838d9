"""Sets of elements: unique, unique_consecutive, isin. Composites of sort and searchsorted."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions
from minigrad.ops.shared.struct_doc import numpy
from minigrad.ops.views.shape import _wrap


def _run_starts(values: mg.Tensor) -> mg.Tensor:
    """True where an element (a row) differs from the one before."""
    changed = values[1:] != values[:-1]
    if changed.dim() > 1:
        changed = changed.any(1)
    return functions["cat"]([mg.ones((min(len(values), 1),), dtype=mg.bool, device=values.device), changed])


def _rows(name: str, input: mg.Tensor, dim: int | None) -> tuple[mg.Tensor, mg.Tensor]:
    """What is compared, first dim first, and the same as a 1-d or 2-d tensor of keys."""
    if dim is None:
        rows = input.detach().reshape(-1)
        return rows, rows
    d = _wrap(dim, input.dim(), name)
    if input.dim() == 0:
        raise RuntimeError(f"{name}: dim needs at least 1 dimension: got a 0-d tensor. Try dim=None.")
    if any(n == 0 for k, n in enumerate(input.shape) if k != d):
        raise RuntimeError(f"{name}: there are 0-sized dimensions other than dim {dim}: got shape {tuple(input.shape)}")
    rows = input.detach().movedim(d, 0)
    width = 1
    for n in rows.shape[1:]:
        width *= n
    return rows, rows if rows.dim() == 1 else rows.reshape(rows.shape[0], width)


def _collected(input: mg.Tensor, dim: int | None, rows: mg.Tensor, order: mg.Tensor | None, start: mg.Tensor,
               return_inverse: bool, return_counts: bool) -> Any:  # fmt: skip
    """The first row of each run with its inverse and counts as asked; `order` sorted the rows (None: as they are)."""
    first = functions["_nonzero"](start).reshape(-1)
    chosen = first if order is None else order[first]
    result = functions["index_select"](rows, 0, chosen)
    if dim is not None:
        result = result.movedim(0, dim).contiguous()
    extra: list[Any] = []
    if return_inverse:
        inverse = mg.cumsum(start, 0) - 1
        if order is not None:
            inverse = mg.empty_like(order).scatter_(0, order, inverse)
        extra.append(inverse.reshape(input.shape) if dim is None else inverse)
    if return_counts:
        ends = functions["cat"]([first[1:], mg.tensor([len(start)], device=input.device)]) if len(first) else first
        extra.append(ends - first)
    return (result, *extra) if extra else result


@composite(
    no_ref_reason="compared with torch.unique in the tests",
    no_grad_reason="PyTorch defines no gradient of unique either",
    samples=lambda s: [s(s.t(5, distinct=True)), s(s.t(3, 4), True, True, True), s(s.t(4, 2), dim=0)],
)
def unique(
    input: mg.Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The distinct elements, in ascending order.

    Args:
        input: tensor of any shape and dtype.
        sorted: accepted for PyTorch's sake; the result is always sorted.
        return_inverse: also return, for every element, its position in the result.
        return_counts: also return how often each occurs.
        dim: None for elements, or a dim whose slices are compared.
    Returns:
        the distinct elements, or a tuple with inverse and counts as asked. No gradient; every NaN is distinct.
    Raises:
        RuntimeError when dim is given and another dim has size 0; IndexError for dim.
    Example:
        >>> mg.unique(mg.tensor([3, 1, 3]))
        tensor([1, 3])
    """
    rows, keys = _rows("unique", input, dim)
    if keys.dim() == 1:
        keys, order = functions["_sort"](keys, 0, False)
    else:
        order = mg.arange(len(keys), device=input.device)
        for column in reversed(keys.unbind(1)):  # least significant column first, each sort stable
            order = order[functions["_sort"](column[order], 0, False)[1]]
        keys = keys[order]
    return _collected(input, dim, rows, order, _run_starts(keys), return_inverse, return_counts)


@composite(
    no_ref_reason="checked against PyTorch",
    no_grad_reason="PyTorch defines no gradient of unique_consecutive either",
    samples=lambda s: [s(s.of([1, 1, 2, 2, 1])), s(s.of([[1, 1], [1, 1], [2, 2]]), True, True, 0), s(s.t(0), True, True)],
)
def unique_consecutive(
    input: mg.Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements without repetitions of the one before.

    Args:
        input: tensor of any shape and dtype.
        return_inverse: also return, for every element, its position in the result.
        return_counts: also return the length of each run.
        dim: None for the flattened elements, or a dim whose slices are compared.
    Returns:
        the first element of each run, or a tuple with inverse and counts as asked. No gradient.
    Raises:
        RuntimeError when dim is given and another dim has size 0; IndexError for dim.
    Example:
        >>> mg.unique_consecutive(mg.tensor([1, 1, 2, 1]))
        tensor([1, 2, 1])
    """
    rows, keys = _rows("unique_consecutive", input, dim)
    return _collected(input, dim, rows, None, _run_starts(keys), return_inverse, return_counts)


@composite(
    out=True,
    method=False, no_grad_reason="booleans",
    samples=lambda s: [s(s.t(3, 4), s.t(5)), s(s.of([1, 2, 3]), s.of([2, 3])), s(s.of([1, 2, 3]), s.of([2]), invert=True),
                       s(s.t(30), s.t(40)), s(s.t(3), s.t(0)), s(s.of([1, 2, 3]), 2)],
    ref=lambda elements, test_elements, assume_unique=False, invert=False: numpy().isin(
        elements, test_elements, assume_unique=False, invert=invert),
)  # fmt: skip
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> mg.Tensor:
    """Whether each element occurs among the test elements.

    Args:
        elements: tensor or number.
        test_elements: tensor or number; one of the two must be a tensor.
        assume_unique: accepted for PyTorch's sake.
        invert: ask for those that do not occur.
    Returns:
        bool tensor of the shape of elements. NaN occurs nowhere.
    Raises:
        RuntimeError for bools; TypeError for two numbers.
    Example:
        >>> mg.isin(mg.tensor([1, 2, 3]), mg.tensor([3, 1]))
        tensor([ True, False,  True])
    """
    if not isinstance(elements, mg.Tensor) and not isinstance(test_elements, mg.Tensor):
        raise TypeError("isin: expected a Tensor as elements or as test_elements")
    if not all(isinstance(a, (mg.Tensor, int, float)) for a in (elements, test_elements)):
        raise TypeError(f"isin: expected Tensors or numbers: got {type(elements).__name__} and {type(test_elements).__name__}")
    like = elements if isinstance(elements, mg.Tensor) else test_elements
    x = elements if like is elements else mg.tensor(elements, device=like.device)
    tests = test_elements if isinstance(test_elements, mg.Tensor) else mg.tensor(test_elements, device=like.device)
    if mg.bool in (x.dtype, tests.dtype):
        raise RuntimeError(f"isin: bool is not supported: got {x.dtype} and {tests.dtype}. Try x.to(minigrad.uint8).")
    x, tests = x.detach(), tests.detach().reshape(-1)
    if tests.numel() == 0:
        found = mg.zeros(x.shape, dtype=mg.bool, device=x.device)
    elif tests.numel() <= 8:
        found = x == tests[0]
        for k in range(1, tests.numel()):
            found = found | (x == tests[k])
    else:
        ordered = functions["_sort"](tests, 0, False)[0]
        at = functions["_searchsorted"](ordered, x, None, False, False).clamp(max=len(ordered) - 1)
        found = ordered[at] == x
    return found.logical_not() if invert else found
