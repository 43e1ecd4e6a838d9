"""The maths of a pointwise op in a language of choice: its declaration's `expr=` evaluated with symbols instead of arrays.

    write(lambda x: 1 / (1 + m.exp(-x)), ["%3"], emit)

calls emit("neg", ("%3",)), emit("exp", (…,)), emit("add", (1, …)), emit("truediv", (1, …)) in order and returns what the last one gave.
What emit returns (a name, an LLVM value, a line of C) is handed to it again as an argument; numbers of the formula stay Python numbers.
The names are those of the primitives of minigrad/ops/shared/expr.py and of OPERATORS below. What a formula computes twice is emitted once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

# Python's operators by the name that emit gets; `&`, `|`, `^`, `~` are logical: they meet comparisons only.
OPERATORS = {"add": "add", "sub": "sub", "mul": "mul", "truediv": "truediv", "neg": "neg", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge",
             "eq": "eq", "ne": "ne", "and": "and", "or": "or", "xor": "xor", "invert": "not"}  # fmt: skip
_REFLECTED = ("add", "sub", "mul", "truediv", "and", "or", "xor")

Emit = Callable[[str, tuple], Any]


class Symbol:
    """A value of the language that is written."""

    __slots__ = ("value", "writer")
    __hash__ = object.__hash__

    def __init__(self, value: Any, writer: _Writer) -> None:
        self.value, self.writer = value, writer

    @staticmethod
    def __mg_expr__(name: str, args: tuple) -> Symbol:
        writer = next(a.writer for a in args if isinstance(a, Symbol))
        return writer.emit(name, args)

    def __bool__(self) -> bool:
        raise TypeError("an expr= formula branches on a value. Try m.where")


class _Writer:
    """Calls emit once for each different application."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._known: dict[tuple, Symbol] = {}

    def emit(self, name: str, args: tuple) -> Symbol:
        key = (name, *((id(a), None) if isinstance(a, Symbol) else (a, type(a)) for a in args))
        if key not in self._known:
            values = tuple(a.value if isinstance(a, Symbol) else a for a in args)
            self._known[key] = Symbol(self._emit(name, values), self)
        return self._known[key]


def _operator(name: str, reflected: bool) -> Callable[..., Symbol]:
    def method(self: Symbol, *other: Any) -> Symbol:
        return self.writer.emit(name, (*other, self) if reflected else (self, *other))

    return method


for _python, _name in OPERATORS.items():
    setattr(Symbol, f"__{_python}__", _operator(_name, False))
    if _python in _REFLECTED:
        setattr(Symbol, f"__r{_python}__", _operator(_name, True))


def write(formula: Callable[..., Any], args: Sequence[Any], emit: Emit, literals: Sequence[bool] = ()) -> Any:
    """What `formula` gives for `args`, written through `emit`.

    Args:
        args: values of the language. literals: which of them are Python numbers to be written as such.
    Returns:
        what emit returned last; a Python number where the formula is a constant.
    """
    writer = _Writer(emit)
    marks = list(literals) or [False] * len(args)
    result = formula(*(a if literal else Symbol(a, writer) for a, literal in zip(args, marks)))
    return result.value if isinstance(result, Symbol) else result
