"""Pointwise ops as C: loops over what the operands' strides need, with the op's declared formula (`expr=`) as their body."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from minigrad.op import registry

from .codegen.expressions import write

TYPES = {
    "float32": "float", "float64": "double", "int64": "int64_t", "int32": "int32_t", "int16": "int16_t", "int8": "int8_t",
    "uint8": "uint8_t", "bool": "uint8_t",
}  # fmt: skip
# The expression language's names that C's <math.h> has (there without `f` for double), and those of kernels.c.
_MATH = {
    "abs": "fabs", "round": "rint", "asin": "asin", "acos": "acos", "atan": "atan", "lgamma": "lgamma",
    **{n: n for n in ("floor", "ceil", "trunc", "sqrt", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan",
                      "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "atan2", "hypot", "pow", "fmod",
                      "fmin", "fmax", "copysign", "nextafter")},
}  # fmt: skip
_HELPERS = {"maximum": "max", "minimum": "min", "remainder": "remainder", "floor_divide": "floor_divide", "logaddexp": "logaddexp",
            "logaddexp2": "logaddexp2"}  # fmt: skip
_INFIX = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
          "and": "&", "or": "|", "xor": "^"}  # fmt: skip
_LOGICAL = ("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "xor", "not", "truth", "isnan", "isinf", "isfinite", "signbit")


def literal(value: Any, ctype: str) -> str:
    """A Python number as a C constant of that type."""
    if ctype in ("float", "double"):
        value = float(value)
        if math.isnan(value):
            return f"({ctype})NAN"
        if math.isinf(value):
            return f"({'-' * (value < 0)}({ctype})INFINITY)"
        text = f"{value:.9g}" if ctype == "float" else repr(value)
        if abs(value) > 3.4028235677973366e38 and ctype == "float":
            return f"({'-' * (value < 0)}INFINITY)"
        text += "" if any(c in text for c in ".e") else ".0"
        return f"({text}f)" if ctype == "float" and value < 0 else f"{text}f" if ctype == "float" else f"({text})" if value < 0 else text
    number = int(value)
    if number == -(2**63):
        return "INT64_MIN"
    return f"({number})" if number < 0 else str(number)


def coalesced(sizes: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """The same walk over memory in as few loops as possible; strides: of each operand."""
    kept: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for d in range(len(sizes)):
        if sizes[d] == 1:
            continue
        if kept and all(s[-1] == t[d] * sizes[d] for s, t in zip(steps, strides)):
            kept[-1] *= sizes[d]
            for s, t in zip(steps, strides):
                s[-1] = t[d]
        else:
            kept.append(sizes[d])
            for s, t in zip(steps, strides):
                s.append(t[d])
    return kept, steps


def loops(
    sizes: Sequence[int], strides: Sequence[Sequence[int]], body: Callable[[list[str]], list[str]], independent: bool = True
) -> list[str]:
    """Nested loops over `sizes`; `body` gets each operand's index and gives the lines inside.

    `independent`: no iteration reads what another one writes.
    """
    if 0 in sizes:
        return []
    kept, steps = coalesced(sizes, strides)
    lines = []
    for d, n in enumerate(kept):
        mark = "EACH " if independent and d == len(kept) - 1 else ""
        lines.append(
            f"{mark}for (int64_t i{d} = 0; i{d} < {n}; i{d}++) {{" if d == len(kept) - 1 else f"for (int64_t i{d} = 0; i{d} < {n}; i{d}++)"
        )
    index = [" + ".join(f"i{d}" if s == 1 else f"i{d} * {s}" for d, s in enumerate(step) if s) or "0" for step in steps]
    inner = body(index)
    return [*lines, *("  " + line for line in inner), "}"] if kept else ["{", *("  " + line for line in inner), "}"]


def broadcast_strides(sizes: Sequence[int], strides: Sequence[int], shape: Sequence[int]) -> list[int]:
    """Strides over `shape` of an operand that broadcasts to it."""
    front = len(shape) - len(sizes)
    return [0] * front + [0 if n == 1 else s for n, s in zip(sizes, strides)]


class Formula:
    """Writes one formula as C statements.

    Attributes:
        lines: declarations of what the result needs, in order.
    """

    def __init__(self, op: str, compute: str, need: Callable[[str, str], str]) -> None:
        self.op, self.need, self.lines = op, need, list[str]()
        self.type = "int" if compute == "bool" else "int64_t" if compute not in ("float32", "float64") else TYPES[compute]
        self.floating = compute in ("float32", "float64")

    def __call__(self, expr: Callable[..., Any], args: list[Any], literals: list[bool]) -> str:
        given = [a if number else (a, self.type) for a, number in zip(args, literals)]
        return self._text(write(expr, given, self._emit, literals))

    def _text(self, value: Any) -> str:
        return value[0] if isinstance(value, tuple) else literal(value, "int64_t" if self.type == "int" else self.type)

    def _declare(self, ctype: str, text: str) -> tuple[str, str]:
        name = f"t{len(self.lines)}"
        self.lines.append(f"const {ctype} {name} = {text};")
        return name, ctype

    def _emit(self, name: str, args: tuple) -> tuple[str, str]:
        texts = [self._text(a) for a in args]
        if name == "where":
            chosen = all(isinstance(a, tuple) and a[1] == "int" or isinstance(a, bool) for a in args[1:])
            return self._declare("int" if chosen else self.type, f"{texts[0]} ? {texts[1]} : {texts[2]}")
        if name in _LOGICAL:
            return self._declare("int", self._predicate(name, texts))
        return self._declare(self.type, self._float(name, texts) if self.floating else self._integer(name, texts))

    def _predicate(self, name: str, texts: list[str]) -> str:
        if name in _INFIX:
            return f"{texts[0]} {_INFIX[name]} {texts[1]}"
        if name in ("not", "truth"):
            return f"!{texts[0]}" if name == "not" else f"{texts[0]} != 0"
        if name == "isnan":
            return f"{texts[0]} != {texts[0]}"
        if not self.floating:
            return {"isinf": "0", "isfinite": "1", "signbit": f"{texts[0]} < 0"}[name]
        return f"{name}({texts[0]}) != 0"

    def _float(self, name: str, texts: list[str]) -> str:
        if name in _INFIX:
            return f"{texts[0]} {_INFIX[name]} {texts[1]}"
        if name == "neg":
            return f"-{texts[0]}"
        if name == "sign":
            return f"({self.type})({texts[0]} > 0) - ({self.type})({texts[0]} < 0)"
        arguments = ", ".join(texts)
        if name in _HELPERS:
            return f"{self.need(_HELPERS[name], self.type)}({arguments})"
        if name in _MATH:
            return f"{_MATH[name]}{'f' * (self.type == 'float')}({arguments})"
        raise NotImplementedError(f"export: format='c' has no {name}, which {self.op} needs")

    def _integer(self, name: str, texts: list[str]) -> str:
        first = texts[0]
        second = texts[1] if len(texts) > 1 else ""
        if name in ("add", "sub", "mul"):  # wraps around, as in the library
            return (
                f"(int64_t)((uint64_t){first} {_INFIX[name]} (uint64_t){second})"
                if self.type == "int64_t"
                else f"{first} {_INFIX[name]} {second}"
            )
        simple = {"neg": f"(int64_t)(0 - (uint64_t){first})", "abs": f"{first} < 0 ? (int64_t)(0 - (uint64_t){first}) : {first}",
                  "sign": f"({first} > 0) - ({first} < 0)", "maximum": f"{first} > {second} ? {first} : {second}",
                  "minimum": f"{first} < {second} ? {first} : {second}", "bit_and": f"{first} & {second}", "bit_or": f"{first} | {second}",
                  "bit_xor": f"{first} ^ {second}", "bit_not": f"!{first}" if self.type == "int" else f"~{first}",
                  "fmax": f"{first} > {second} ? {first} : {second}", "fmin": f"{first} < {second} ? {first} : {second}",
                  "shift_left": f"{second} < 0 || {second} > 63 ? 0 : (int64_t)((uint64_t){first} << {second})",
                  "shift_right": f"{second} < 0 || {second} > 63 ? ({first} < 0 ? -1 : 0) : {first} >> {second}"}  # fmt: skip
        if name in simple:
            return simple[name]
        if name in ("floor", "ceil", "trunc", "round"):
            return first
        helper = {
            "floor_divide": ("int_divide", ", 1"),
            "remainder": ("int_remainder", ", 1"),
            "fmod": ("int_remainder", ", 0"),
            "pow": ("int_pow", ""),
        }
        if name in helper:
            return f"{self.need(helper[name][0], self.type)}({first}, {second}{helper[name][1]})"
        raise NotImplementedError(f"export: format='c' has no {name} of integers, which {self.op} needs")


def _needed(lines: list[str]) -> list[str]:
    """The declarations that something after them uses, and the last line."""
    kept = lines[-1:]
    for line in reversed(lines[:-1]):
        name = line.split(" = ")[0].split()[-1]
        if any(re.search(rf"\b{name}\b", other) for other in kept):
            kept.insert(0, line)
    return kept


def emit(c: Any, call: Any) -> None:
    """One pointwise call: c is the Source (csource.py), call a Call of it."""
    info = registry[call.op]
    if info.expr is None:
        raise NotImplementedError(f"export: format='c' has no {call.op}")
    out = call.target if call.inplace else call.outs[0]
    sizes, formula = c.sizes(out), Formula(call.op, c.dtype_name(call.compute), c.need)
    refs = [ref for ref in call.args if isinstance(ref, c.Ref)]
    strides = [broadcast_strides(c.sizes(r.id), c.strides(r.id), sizes) for r in refs]
    kind = c.type(out)

    def body(index: list[str]) -> list[str]:
        texts, literals, at, lines = [], [], iter(zip(refs, index)), []
        for number, ref in enumerate(call.args):
            literals.append(not isinstance(ref, c.Ref))
            if literals[-1]:
                texts.append(ref)
                continue
            value, place = next(at)
            mask = call.op == "where" and number == 0
            lines.append(f"const {'int' if mask else formula.type} x{number} = ({'int' if mask else formula.type}){c.at(value.id, place)};")
            texts.append(f"x{number}")
        result = formula(info.expr, texts, literals)
        stored = f"{result} != 0" if c.dtype(out) == "bool" else result
        return _needed([*lines, *formula.lines, f"{c.at(out, index[-1])} = ({kind})({stored});"])

    c.lines(loops(sizes, [*strides, c.strides(out)], body))
