"""Programs: what the fuzzer generates, shrinks and writes down.

A program is a list of steps. `Make` makes a leaf tensor from numbers in a given layout; `Call` calls a function of the module, a
method, or indexing. `render()` turns it into Python source:

    def program(m, step):
        a = step("make", lambda: m.from_numpy(np.resize(np.array([1.0, nan], "float32"), (2, 3))))
        b = step("add_", lambda: a.add_(2))

`m` is minigrad or torch; `step` records what each line gives or raises (execute.py). The text is what runs, what is shrunk to,
and what a corpus file holds: there is no second interpreter that could disagree with it.
"""

from __future__ import annotations

import itertools
import keyword
import math
from dataclasses import dataclass, field, replace
from typing import Any

HEADER = "import numpy as np\n\ninf, nan = float('inf'), float('nan')\n\n\n"
LAYOUTS = ("contiguous", "transposed", "expanded", "offset", "step", "overlap", "channels_last", "reversed_dims")


@dataclass(frozen=True)
class Ref:
    """A tensor made or returned by an earlier step."""

    name: str

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Text:
    """An expression written as it stands (`m.float32`, `np.int64(3)`)."""

    text: str

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Make:
    """A leaf tensor: `values` repeated over `shape`, stored in `layout`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    values: tuple[Any, ...]
    layout: str = "contiguous"
    grad: bool = False

    label = "make"

    def source(self, plain: bool = False) -> str:
        """The expression; `plain` makes the same values contiguous (the law: strides never change a result)."""
        shape, layout = self.shape, self.layout
        base, tail = shape, ".clone()" if layout == "contiguous" and self.dtype != "bfloat16" else ""  # a storage that can grow
        n = math.prod(shape)
        if layout == "transposed" and len(shape) > 1:
            base, order = tuple(reversed(shape)), tuple(reversed(range(len(shape))))
            tail = f".permute({order})"
        elif layout == "reversed_dims" and len(shape) > 2:
            base = (shape[1], shape[0], *shape[2:])
            tail = ".transpose(0, 1)"
        elif layout == "expanded" and shape:
            base, tail = (1, *shape[1:]), f".expand({shape})"
        elif layout == "offset":
            base, tail = (n + 3,), f"[3:].view({shape})"
        elif layout == "step" and shape:
            base, tail = (*shape[:-1], shape[-1] * 2), "[..., ::2]"
        elif layout == "overlap" and shape and n:
            base, tail = (sum(shape),), f".as_strided({shape}, {(1,) * len(shape)})"
        elif layout == "channels_last" and len(shape) == 4:
            tail = ".contiguous(memory_format=m.channels_last)"
        values, dtype = list(self.values) or [0], self.dtype
        cast = ""
        if dtype == "bfloat16":  # NumPy has none
            dtype, cast = "float32", ".to(m.bfloat16)"
        numbers = ", ".join(f"complex({x.real!r}, {x.imag!r})" if isinstance(x, complex) else repr(x) for x in values)
        text = f"m.from_numpy(np.resize(np.array([{numbers}], {dtype!r}), {base})){cast}{tail}"
        if plain and tail:
            text += ".clone(memory_format=m.contiguous_format)"
        return text + (".requires_grad_()" if self.grad else "")


@dataclass(frozen=True)
class Call:
    """`name = target(args)`: target `m.add`, `.add_` (a method of args[0]), `getitem`, `setitem`, or an operator such as `@`."""

    name: str
    target: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The op this step is about."""
        return self.target.rsplit(".", 1)[-1]

    def source(self, plain: bool = False) -> str:
        """The expression."""
        if self.target == "getitem":
            return f"{self.args[0]!r}[{self.args[1]!r}]"
        if self.target == "setitem":
            return f"{self.args[0]!r}.__setitem__({self.args[1]!r}, {self.args[2]!r})"
        if not self.target[0].isalpha() and self.target[0] != ".":
            return f"{self.args[0]!r} {self.target} {self.args[1]!r}"
        args, head = self.args, self.target
        if head[0] == ".":
            head, args = f"{args[0]!r}{head}", args[1:]
        parts = [repr(a) for a in args]
        parts += [f"**{{{k!r}: {v!r}}}" if keyword.iskeyword(k) else f"{k}={v!r}" for k, v in self.kwargs.items()]
        return f"{head}({', '.join(parts)})"


@dataclass
class Program:
    """Steps in order; `tainted` programs contain random or uninitialised values, whose numbers are not compared."""

    steps: list[Make | Call]
    tainted: bool = False
    private: bool = False  # calls ops that only minigrad has: no oracle but the laws
    op: str = ""

    def render(self, plain: bool = False) -> str:
        """Python source of `program(m, step)`."""
        lines = [f"    {s.name} = step({s.label!r}, lambda: {s.source(plain)})" for s in self.steps]
        return "def program(m, step):\n" + ("\n".join(lines) or "    pass") + "\n"

    def script(self) -> str:
        """The source with what it needs."""
        return HEADER + self.render()

    def with_steps(self, steps: list[Make | Call]) -> Program:
        """The same kind of program with other steps."""
        return replace(self, steps=steps)


def fresh_names() -> Any:
    """Names of tensors: a, b, … z, a1, b1, …"""
    letters = "abcdefghijklnopqrstuvwxyz"  # not m
    return itertools.chain(letters, (f"{c}{k}" for k in itertools.count(1) for c in letters))


def refs(value: Any) -> set[str]:
    """Names of the tensors an argument mentions."""
    if isinstance(value, Ref):
        return {value.name}
    if isinstance(value, (list, tuple)):
        return set().union(*map(refs, value)) if value else set()
    return set()


def used(step: Make | Call) -> set[str]:
    """Names of the tensors a step reads."""
    if isinstance(step, Make):
        return set()
    return refs(step.args) | refs(list(step.kwargs.values()))
