"""The lines of csrc/scalar.h, where the maths of every pointwise op is written, evaluated with values of generated code.

Their C++ expressions are Python expressions too, so Python parses them: `x > T(0)` with x a Number writes a comparison. What uses nothing
but the functions below becomes code in place, with the additions fused that the C++ compiler fuses in the kernels (-ffp-contract=fast), so
that both give the same bits. Everything else (exp, gelu, Bessel functions …) is a call of the op's own kernel on a block of elements.
"""

from __future__ import annotations

import functools
import math
from types import CodeType
from typing import Any, NamedTuple

from minigrad import _core

from .fused import DTYPES, Unsupported

FLOATS = ("float16", "bfloat16", "float32", "float64")


class Line(NamedTuple):
    """A line of csrc/scalar.h; divides: an integer 0 as second operand is an error."""

    name: str
    parameters: tuple[str, ...]
    result: str  # SAME or BOOL
    code: CodeType
    divides: bool


@functools.cache
def lines() -> dict[str, Line]:
    """Lines of csrc/scalar.h whose expression Python can read."""
    found = {}
    for name, parameters, _, result, text, divides in _core.pointwise_lines():
        try:
            code = compile(" ".join(text.split()), f"scalar.h:{name}", "eval")
        except SyntaxError:
            continue
        found[name] = Line(name, tuple(p.strip() for p in parameters.split(",")), result, code, divides)
    return found


class Kernel(NamedTuple):
    """What a line's contiguous kernel is like; mask: the first operand is a bool."""

    arity: int
    boolean: bool
    mask: bool
    can_fail: bool
    dtypes: tuple[str, ...]


@functools.cache
def kernel(name: str) -> Kernel:
    """The contiguous kernel of an op. Raises Unsupported without one."""
    row = _core.pointwise_kernel(name)
    if row is None:
        raise Unsupported(f"{name} has no pointwise kernel")
    arity, boolean, mask, can_fail, dtypes = row
    return Kernel(arity, boolean, mask, can_fail, tuple(DTYPES[d] for d in dtypes if d < len(DTYPES)))


class Number:
    """A value while a line is evaluated: text of the generated language and its type there; i1 is a mask or a bool."""

    __slots__ = ("w", "text", "type", "factors")
    __hash__ = None

    def __init__(self, writer: Any, text: str, type: str, factors: tuple | None = None) -> None:
        self.w, self.text, self.type, self.factors = writer, text, type, factors

    def _is_float(self) -> bool:
        return self.type in ("float", "double")

    def __add__(self, o: Number) -> Number:
        if self._is_float() and self.w.fuses:
            for product, other in ((o, self), (self, o)):
                if product.factors:
                    return self.w.fma(*product.factors, other)
        return self.w.binary({"i1": "or"}.get(self.type, "add"), self, o)

    def __sub__(self, o: Number) -> Number:
        if self._is_float() and self.w.fuses:
            if o.factors:
                return self.w.fma(-o.factors[0], o.factors[1], self)
            if self.factors:
                return self.w.fma(*self.factors, -o)
        return self.w.binary({"i1": "xor"}.get(self.type, "sub"), self, o)

    def __mul__(self, o: Number) -> Number:
        r = self.w.binary({"i1": "and"}.get(self.type, "mul"), self, o)
        if self._is_float():
            r.factors = (self, o)
        return r

    def __truediv__(self, o: Number) -> Number:
        if not self._is_float():
            raise NotInline
        return self.w.binary("div", self, o)

    def __neg__(self) -> Number:
        return self if self.type == "i1" else self.w.negate(self)

    def __and__(self, o: Number) -> Number:
        return self.w.binary("and", self, o)

    def __or__(self, o: Number) -> Number:
        return self.w.binary("or", self, o)

    def __xor__(self, o: Number) -> Number:
        return self.w.binary("xor", self, o)

    def __invert__(self) -> Number:
        return self.w.binary("xor", self, self.w.constant(-1, self.type))

    def __lt__(self, o: Number) -> Number:
        return self.w.compare("lt", self, o)

    def __le__(self, o: Number) -> Number:
        return self.w.compare("le", self, o)

    def __gt__(self, o: Number) -> Number:
        return self.w.compare("gt", self, o)

    def __ge__(self, o: Number) -> Number:
        return self.w.compare("ge", self, o)

    def __eq__(self, o: object) -> Number:  # type: ignore[override]
        return self.w.compare("eq", self, o)

    def __ne__(self, o: object) -> Number:  # type: ignore[override]
        return self.w.compare("ne", self, o)


class NotInline(Exception):
    """The line uses a function that is not written in place."""


def functions(writer: Any, type: str) -> dict[str, Any]:
    """The names that a line may use, for values of `type`; the C++ ones are in csrc/scalar_math.h and csrc/simd/vec.h."""
    floating = type in ("float", "double")
    w = writer

    def constant(x: Any) -> Number:
        return w.constant(x, type)

    def select(mask: Number, a: Number, b: Number) -> Number:
        return w.select(mask, a, b)

    def absolute(x: Number) -> Number:
        return w.unary("fabs", x) if floating else select(x < constant(0), -x, x)

    def maximum(a: Number, b: Number) -> Number:
        return select((a > b) | (a != a), a, b) if floating else select(a > b, a, b)

    def minimum(a: Number, b: Number) -> Number:
        return select((a < b) | (a != a), a, b) if floating else select(a < b, a, b)

    def rounding(name: str) -> Any:
        def call(x: Number) -> Number:
            if floating and not w.rounds:
                raise NotInline
            return w.unary(name, x) if floating else x

        return call

    names = {"T": constant, "select": select, "abs": absolute, "maximum": maximum, "minimum": minimum, "__builtin_inf": lambda: math.inf,
             **{n: rounding(n) for n in ("floor", "ceil", "trunc", "rint")}}  # fmt: skip
    if floating:
        inf = constant(math.inf)
        names |= {"sqrt": lambda x: w.unary("sqrt", x), "isnan": lambda x: x != x, "isinf": lambda x: absolute(x) == inf,
                  "isfinite": lambda x: absolute(x) < inf, "copysign": w.copysign, "signbit": w.signbit}  # fmt: skip
    return names


def evaluate(name: str, args: list[Number], writer: Any, type: str) -> Number:
    """The line's expression for these operands, written in place. Raises NotInline where it must be a call."""
    line = lines().get(name)
    if line is None or line.divides or len(args) != len(line.parameters):
        raise NotInline
    if any(n not in functions(writer, type) and n not in line.parameters for n in line.code.co_names):
        raise NotInline
    return eval(line.code, {"__builtins__": {}, **functions(writer, type)}, dict(zip(line.parameters, args)))


class _Dry:
    """A writer that writes nothing: finds out whether a line is written in place."""

    def __init__(self, writer: Any) -> None:
        self.fuses, self.rounds = False, writer.rounds

    def constant(self, value: Any, type: str) -> Number:
        return Number(self, "", type)

    def _same(self, *args: Any) -> Number:
        a = next(x for x in args if isinstance(x, Number))
        return Number(self, "", a.type)

    negate = copysign = fma = _same

    def binary(self, op: str, a: Number, b: Number) -> Number:
        return self._same(a)

    def unary(self, name: str, a: Number) -> Number:
        return self._same(a)

    def compare(self, how: str, a: Number, b: Number) -> Number:
        return Number(self, "", "i1")

    def signbit(self, a: Number) -> Number:
        return Number(self, "", "i1")

    def select(self, mask: Number, a: Number, b: Number) -> Number:
        return self._same(a)


_INLINE: dict[tuple, bool] = {}


def is_inline(name: str, dtypes: list[str], type: str, writer: Any) -> bool:
    """Whether a line is written in place for operands of these dtypes."""
    key = (name, tuple(d == "bool" for d in dtypes), type, writer.rounds)
    if key not in _INLINE:
        dry = _Dry(writer)
        try:
            evaluate(name, [Number(dry, "", "i1" if d == "bool" else type) for d in dtypes], dry, type)
            _INLINE[key] = True
        except NotInline:
            _INLINE[key] = False
    return _INLINE[key]
