"""Dynamic shapes: one program at many sizes.

A new size is traced once before it is compiled (a trace costs milliseconds and computes nothing), so a Python branch on a size is always
seen. When the trace turns out to be the same program as before, with other numbers in it, it joins that program's `Family`: it
does not count as another compiled form, and its kernels are those that are there already (code takes sizes at run time). Once a family has
a few sizes, another one is first run eagerly and traced when it comes again, so what never repeats costs no trace.

`_Family.text` shows the program with the sizes as symbols, fitted to what was traced.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from minigrad import _core
from minigrad._core import Tensor

EAGER = object()  # these sizes are seen for the first time: no trace yet
_AT_ONCE = 4  # sizes of a family that are traced when they first come
_KEPT = 256  # sizes of a family, the least recently used go first


def mark_dynamic(tensor: Tensor, dims: int | Sequence[int], **_: Any) -> None:
    """Say that these dimensions of an argument vary from call to call.

    Args:
        tensor: an argument of a compiled function.
        dims: dimension, or several; negative ones count from the end.
    Raises:
        IndexError when the tensor has no such dimension.
    Example:
        >>> mg.compiler.mark_dynamic(mg.ones(4, 2), 0)
    """
    _mark(tensor, dims, "_dynamic_dims", "mark_dynamic")


def mark_static(tensor: Tensor, dims: int | Sequence[int] | None = None) -> None:
    """Say that these dimensions of an argument (all of them) stay: another size is another compiled form.

    Args:
        tensor: an argument of a compiled function.
        dims: dimension, or several; None: all.
    Raises:
        IndexError when the tensor has no such dimension.
    Example:
        >>> mg.compiler.mark_static(mg.ones(4, 2), 1)
    """
    _mark(tensor, range(tensor.dim()) if dims is None else dims, "_static_dims", "mark_static")


def _mark(tensor: Tensor, dims: int | Sequence[int], attribute: str, name: str) -> None:
    for d in (dims,) if isinstance(dims, int) else dims:
        if not -tensor.dim() <= d < tensor.dim():
            raise IndexError(f"{name}: dimension {d} of a tensor with {tensor.dim()} dimensions")
        setattr(tensor, attribute, {*getattr(tensor, attribute, ()), d % tensor.dim()})


class Family:
    """Compiled forms of one program at several sizes, newest last."""

    def __init__(self, key: bytes, entry: Any, sizes: list[int]) -> None:
        self.entries: OrderedDict[bytes, Any] = OrderedDict({key: entry})
        self.samples = [(sizes, *_texts(entry))]  # of the first sizes, for `text`
        self.n_sizes = 1

    def difference(self, entry: Any) -> str:
        """What another entry does differently, in words; empty when it is this program."""
        mine = next(reversed(self.entries.values()))
        for a, b in ((mine.graph, entry.graph), (mine.backward_graph, entry.backward_graph)):
            if (a is None) != (b is None):
                return "gradients flow through one of them"
            if a is not None and (words := a.difference(b)):
                return words
        return ""

    def add(self, key: bytes, entry: Any, sizes: list[int]) -> None:
        """Take one more size."""
        self.n_sizes += key not in self.entries
        self.entries[key] = entry
        if len(self.samples) < _AT_ONCE:
            self.samples.append((sizes, *_texts(entry)))
        while len(self.entries) > _KEPT:
            self.entries.popitem(last=False)

    @property
    def text(self) -> str:
        """The program, with the sizes as symbols s0, s1 …"""
        sizes = [sample[0] for sample in self.samples]
        return "\n".join(with_symbols([sample[k] for sample in self.samples], sizes) for k in range(1, len(self.samples[0])))


class Sizes:
    """The families of one compiled function.

    Attributes:
        families: programs that were seen at one size at least, newest last. notes: in words, why sizes were compiled apart.
    """

    def __init__(self, dynamic: bool | None = None) -> None:
        self.dynamic = dynamic
        self.families: list[Family] = []
        self.notes: list[str] = []
        self._met: OrderedDict[bytes, None] = OrderedDict()  # run eagerly so far

    @property
    def many(self) -> bool:
        """Whether some program has more than one size: only then it pays to look for a key."""
        return any(f.n_sizes > 1 for f in self.families)

    def find(self, args: tuple, kwargs: dict) -> list[Any]:
        """The entries made for these sizes, and maybe not for what else this call has."""
        key = _core.call_key(args, kwargs)
        found = []
        for family in self.families:
            entry = family.entries.get(key)
            if entry is not None:
                family.entries.move_to_end(key)
                found.append(entry)
        return found

    def waits(self, args: tuple, kwargs: dict) -> bool:
        """Whether a call of unknown sizes is better run eagerly: the function has met many, and these for the first time."""
        if self.dynamic is False or all(f.n_sizes < _AT_ONCE for f in self.families):
            return False
        key = _core.call_key(args, kwargs)
        if key in self._met or any(key in f.entries for f in self.families):
            return False
        self._met[key] = None
        if len(self._met) > 16 * _KEPT:
            self._met.popitem(last=False)
        return True

    def adopt(self, entry: Any, args: tuple, kwargs: dict) -> bool:
        """Put a new entry where it belongs; True when its program is known, so that it is no new form."""
        key, sizes, static, words = _core.call_key(args, kwargs), _sizes(args, kwargs), _static(args, kwargs), ""
        if self.dynamic is not False:
            for family in reversed(self.families):
                first = family.samples[0][0]
                if key in family.entries or len(first) != len(sizes) or any(first[k] != sizes[k] for k in static):
                    continue  # something else than a size is new
                words = family.difference(entry)
                if not words:
                    family.add(key, entry, sizes)
                    return True
            if words and (self.dynamic or _marked(args, kwargs)):
                self.notes.append(f"sizes {sizes}: another program than before: {words}")
        self.families.append(Family(key, entry, sizes))
        return False


    def drop(self, entry: Any) -> None:
        """Forget an entry that no call fits."""
        for family in self.families:
            for key in [key for key, other in family.entries.items() if other is entry]:
                del family.entries[key]
        self.families = [family for family in self.families if family.entries]


def _leaves(value: Any, depth: int = 16) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)) and depth:
        return [leaf for item in value for leaf in _leaves(item, depth - 1)]
    return [value]


def _sizes(args: tuple, kwargs: dict) -> list[int]:
    found: list[int] = []
    for leaf in _leaves((args, kwargs)):
        if isinstance(leaf, Tensor):
            found += leaf.shape
        elif type(leaf) is int:
            found.append(leaf)
    return found


def _marked(args: tuple, kwargs: dict) -> bool:
    return any(getattr(leaf, "_dynamic_dims", None) for leaf in _leaves((args, kwargs)) if isinstance(leaf, Tensor))


def _static(args: tuple, kwargs: dict) -> list[int]:
    """Where the sizes that were marked static stand in `_sizes`."""
    found: list[int] = []
    at = 0
    for leaf in _leaves((args, kwargs)):
        if isinstance(leaf, Tensor):
            found += [at + d for d in getattr(leaf, "_static_dims", ())]
            at += leaf.dim()
        elif type(leaf) is int:
            at += 1
    return found


def _texts(entry: Any) -> list[str]:
    return [str(graph) for graph in (entry.graph, entry.backward_graph) if graph is not None]


_NUMBER = re.compile(r"(?<![%\w.])-?\d+(?![\w.]*[\w])")  # whole numbers, not those of value names and dtypes


def with_symbols(texts: list[str], sizes: list[list[int]]) -> str:
    """The first text, its numbers that vary written as expressions of the sizes that vary.

    Args:
        texts: one program printed at several sizes. sizes: the sizes of its arguments each time.
    Returns:
        the text; `?` stands where no expression fits, and the plain text when there is nothing to fit.
    """
    found = [_NUMBER.findall(text) for text in texts]
    if len(texts) < 2 or len({len(f) for f in found}) != 1:
        return texts[0]
    columns = list(dict.fromkeys(c for c in zip(*sizes) if len(set(c)) > 1))
    written = iter([_expression([int(n) for n in column], columns) for column in zip(*found)])
    return _NUMBER.sub(lambda _: next(written), texts[0])


def _expression(values: list[int], columns: list[tuple[int, ...]]) -> str:
    """c, s, a*s + b, s*t, a*s*t, s//a: the first that fits all samples."""
    if len(set(values)) == 1:
        return str(values[0])
    products = [(f"s{i}", c) for i, c in enumerate(columns)]
    for i, one in enumerate(columns):
        products += [(f"s{i}*s{j}", tuple(x * y for x, y in zip(one, columns[j]))) for j in range(i, len(columns))]
    for name, column in products:
        k = next((k for k in range(1, len(column)) if column[k] != column[0]), 0)
        if not k:
            continue
        step, gap = values[k] - values[0], column[k] - column[0]
        if step and step % gap == 0:
            a, b = step // gap, values[0] - step // gap * column[0]
            if all(a * c + b == v for c, v in zip(column, values)):
                return ("" if a == 1 else "-" if a == -1 else f"{a}*") + name + (f" {'+' if b > 0 else '-'} {abs(b)}" if b else "")
        for a in range(2, 65):
            if all(c // a == v for c, v in zip(column, values)):
                return f"{name}//{a}"
    return "?"
