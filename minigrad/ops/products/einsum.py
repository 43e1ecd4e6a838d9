"""Products over named dimensions, made of permute, reshape and matmul: einsum and tensordot.

einsum: operands are contracted from left to right; each pair becomes one (batched) matrix product (`_contract`).
A label is summed as soon as no later operand and not the output needs it.
"""

from __future__ import annotations

import math
from typing import Any

import minigrad as mg
from minigrad.op import composite
from minigrad.ops.shared.struct_doc import numpy

# Labels are characters; the dimensions of an ellipsis get numbers below zero, the leftmost the smallest.
Labels = list[Any]


def _from_sublists(operands: tuple[Any, ...]) -> tuple[list[Labels], list[Any], Labels | None]:
    """PyTorch's other form: einsum(a, [0, 1], b, [1, 2], [0, 2])."""
    items = list(operands)
    result = list(items.pop()) if len(items) % 2 else None
    return [list(x) for x in items[1::2]], items[0::2], result


def _parse(equation: str, count: int) -> tuple[list[Labels], Labels | None]:
    left, arrow, right = equation.replace(" ", "").partition("->")

    def labels(text: str) -> Labels:
        found: Labels = []
        while text:
            step = 3 if text.startswith("...") else 1
            if step == 1 and not text[0].isalpha():
                raise RuntimeError(
                    f"einsum: invalid character {text[0]!r} in {equation!r}, expected letters, ',', '...' and '->'."
                )
            found.append(... if step == 3 else text[0])
            text = text[step:]
        if found.count(...) > 1:
            raise RuntimeError(f"einsum: more than one ellipsis in one operand of {equation!r}.")
        return found

    terms = [labels(t) for t in left.split(",")]
    if len(terms) != count:
        raise RuntimeError(f"einsum: equation {equation!r} names {len(terms)} operands: got {count} tensors.")
    return terms, labels(right) if arrow else None


def _expand_ellipsis(terms: list[Labels], operands: list[Any], result: Labels | None) -> tuple[list[Labels], Labels]:
    """Gives the dimensions of an ellipsis labels of their own and makes the output explicit."""
    widest, filled = 0, []
    for term, x in zip(terms, operands, strict=True):
        named = sum(label is not ... for label in term)
        if named > x.dim() or (... not in term and named != x.dim()):
            text = "".join("..." if label is ... else str(label) for label in term)
            raise RuntimeError(
                f"einsum: subscripts '{text}' do not fit an operand with {x.dim()} dims, shape {tuple(x.shape)}."
            )
        hidden = x.dim() - named
        widest = max(widest, hidden if ... in term else 0)
        filled.append([n for label in term for n in (range(-hidden, 0) if label is ... else (label,))])
    dots = list(range(-widest, 0))
    if result is None:
        every = [label for term in filled for label in term if label not in dots]
        named_once = [label for label in set(every) if every.count(label) == 1]
        return filled, dots + sorted(named_once)
    out = [n for label in result for n in (dots if label is ... else (label,))]
    known = {label for term in filled for label in term}
    for label in out:
        if out.count(label) > 1 or label not in known:
            why = "appears twice in the output" if label in known else "is in the output but in no operand"
            raise RuntimeError(f"einsum: subscript {label!r} {why}.")
    return filled, out


def _prepare(x: Any, labels: Labels, sizes: dict[Any, int]) -> tuple[Any, Labels]:
    """Takes diagonals of repeated labels and broadcasts dimensions of size 1."""
    labels = list(labels)
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            if x.shape[i] != x.shape[j]:
                raise RuntimeError(
                    f"einsum: subscript {label!r} is repeated for dims of sizes {x.shape[i]} and {x.shape[j]}."
                )
            x = x.diagonal(0, i, j)
            del labels[j], labels[i]
            labels.append(label)
    shape = [sizes[label] for label in labels]
    return (x if list(x.shape) == shape else x.expand(shape)), labels


def _sizes(terms: list[Labels], operands: list[Any]) -> dict[Any, int]:
    sizes: dict[Any, int] = {}
    for term, x in zip(terms, operands, strict=True):
        for label, n in zip(term, x.shape, strict=True):
            known = sizes.setdefault(label, n)
            if known == 1:
                sizes[label] = n
            elif n not in (1, known):
                raise RuntimeError(
                    f"einsum: subscript {label!r} has size {n} in one operand and {known} in another."
                )
    return sizes


def _sum_out(x: Any, labels: Labels, needed: set[Any]) -> tuple[Any, Labels]:
    gone = [i for i, label in enumerate(labels) if label not in needed]
    return (x.sum(gone), [label for label in labels if label in needed]) if gone else (x, labels)


def _arrange(x: Any, labels: Labels, groups: list[Labels], sizes: dict[Any, int]) -> Any:
    """x with its labels in the order of `groups`, each group as one dimension."""
    order = [labels.index(label) for group in groups for label in group]
    if order != list(range(len(order))):
        x = x.permute(order)
    return x.reshape([math.prod(sizes[label] for label in group) for group in groups])


def _contract(a: Any, la: Labels, b: Any, lb: Labels, needed: set[Any], sizes: dict[Any, int]) -> tuple[Any, Labels]:
    """One pair: labels in both and needed later are the batch, in both and not needed are summed."""
    a, la = _sum_out(a, la, needed | set(lb))
    b, lb = _sum_out(b, lb, needed | set(la))
    both = [label for label in la if label in lb]
    batch, inner = [n for n in both if n in needed], [n for n in both if n not in needed]
    rows, columns = [n for n in la if n not in lb], [n for n in lb if n not in la]
    out = batch + rows + columns
    if not inner:  # nothing to sum: a broadcast product
        left = _arrange(a, la, [[n] for n in batch + rows], sizes).reshape(
            [sizes[n] for n in batch + rows] + [1] * len(columns)
        )
        right = _arrange(b, lb, [[n] for n in batch + columns], sizes).reshape(
            [sizes[n] for n in batch] + [1] * len(rows) + [sizes[n] for n in columns]
        )
        return left * right, out
    groups = [batch] if batch else []
    left = _arrange(a, la, [*groups, rows, inner], sizes)
    right = _arrange(b, lb, [*groups, inner, columns], sizes)
    return (left @ right).reshape([sizes[n] for n in out]), out


@composite(
    method=False,
    samples=lambda s: [
        s("ij,jk->ik", s.t(2, 3), s.t(3, 4)),
        s("ii->i", s.t(3, 3)),
        s("ij->ji", s.t(2, 3)),
        s("bij,bjk", s.t(2, 3, 2), s.t(2, 2, 3)),
        s("...ij,...j->...i", s.t(2, 1, 3, 2), s.t(3, 2)),
        s("i,j,k->ijk", s.t(2), s.t(3), s.t(2)),
        s("ij,ij->", s.t(2, 3), s.t(2, 3)),
        s("ij,jk->ik", s.t(0, 3), s.t(3, 2)),
        s("abc,cd,be->aed", s.t(2, 3, 2), s.t(2, 2), s.t(3, 2)),
    ],
    ref=lambda *args: numpy().einsum(*args),
)
def einsum(*args: Any) -> mg.Tensor:
    """Sum of products over labelled dimensions (Einstein's notation).

    Args:
        args: an equation such as "bij,bjk->bik" and its operands, tensors of one dtype (or one list of them). Letters
            name dimensions, "..." stands for the rest, a label repeated within one operand takes its diagonal, labels
            missing after "->" are summed; without "->" it has the labels that occur once, in alphabetical order.
            Or PyTorch's sublist form: einsum(a, [0, 1], b, [1, 2], [0, 2]).
    Returns:
        the tensor with the output's labels.
    Raises:
        RuntimeError for an equation that does not fit the operands, ValueError without operands.
    Source:
        numpy.einsum, https://numpy.org/doc/stable/reference/generated/numpy.einsum.html
    Example:
        >>> mg.einsum("ij,j->i", mg.tensor([[1., 2.], [3., 4.]]), mg.tensor([1., 1.]))
        tensor([3., 7.])
    """
    if len(args) < 2:
        raise ValueError(f"einsum: expected an equation and at least one operand: got {len(args)} argument(s).")
    equation, *operands = args
    if not isinstance(equation, str):
        terms, tensors, result = _from_sublists(args)
    else:
        tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
        terms, result = _parse(equation, len(tensors))
    terms, out = _expand_ellipsis(terms, tensors, result)
    sizes = _sizes(terms, tensors)
    prepared = [_prepare(x, term, sizes) for x, term in zip(tensors, terms, strict=True)]
    x, labels = prepared[0]
    for i in range(1, len(prepared)):
        later = set(out).union(*(set(lb) for _, lb in prepared[i + 1 :]))
        x, labels = _contract(x, labels, *prepared[i], later, sizes)
    x, labels = _sum_out(x, labels, set(out))
    order = [labels.index(label) for label in out]
    return x if order == list(range(len(order))) else x.permute(order)


@composite(
    out=True,
    method=False,
    samples=lambda s: [
        s(s.t(2, 3, 2), s.t(3, 2, 4)),
        s(s.t(2, 3), s.t(3, 4), 1),
        s(s.t(2), s.t(3), 0),
        s(s.t(2, 3, 4), s.t(4, 2, 3), ([0, 2], [1, 0])),
    ],
    ref=lambda a, b, dims=2: numpy().tensordot(a, b, dims),
)
def tensordot(a: mg.Tensor, b: mg.Tensor, dims: Any = 2) -> mg.Tensor:
    """Sum of products over several dimensions of two tensors.

    Args:
        a: any shape.
        b: any shape, of the same dtype.
        dims: n: the last n dims of a against the first n of b; or two lists of dims that are summed pairwise.
    Returns:
        the free dims of a followed by those of b.
    Raises:
        RuntimeError when summed sizes differ.
    Example:
        >>> mg.tensordot(mg.ones(2, 3), mg.ones(3, 2), 1).tolist()
        [[3.0, 3.0], [3.0, 3.0]]
    """
    if isinstance(dims, mg.Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0 or dims > min(a.dim(), b.dim()):
            raise RuntimeError(f"tensordot: expects 0 <= dims <= {min(a.dim(), b.dim())}: got dims={dims}.")
        da, db = list(range(a.dim() - dims, a.dim())), list(range(dims))
    else:
        da, db = ([d] if isinstance(d, int) else list(d) for d in dims)
        if len(da) != len(db):
            raise RuntimeError(f"tensordot: both lists of dims must have one length: got {da} and {db}.")
        da, db = [d % a.dim() for d in da], [d % b.dim() for d in db]
    # A size of 1 stretches over the other's, as PyTorch has it: that other dim is summed alone.
    for d, e in zip(da, db):
        if a.shape[d] != b.shape[e] and a.shape[d] == 1:
            b = b.sum(e, True)
        elif a.shape[d] != b.shape[e] and b.shape[e] == 1:
            a = a.sum(d, True)
    inner = [a.shape[d] for d in da]
    if inner != [b.shape[d] for d in db]:
        raise RuntimeError(
            f"tensordot: contracted sizes differ: got {inner} for dims {da} of a and "
            f"{[b.shape[d] for d in db]} for dims {db} of b."
        )
    free_a, free_b = ([d for d in range(x.dim()) if d not in summed] for x, summed in ((a, da), (b, db)))
    sa, sb, k = [a.shape[d] for d in free_a], [b.shape[d] for d in free_b], math.prod(inner)
    left, right = a.permute(free_a + da).reshape(math.prod(sa), k), b.permute(db + free_b).reshape(k, math.prod(sb))
    return (left @ right).reshape(sa + sb)
