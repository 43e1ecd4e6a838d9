"""Text of pointwise maths in Triton: a line of csrc/scalar.h for values of one type, one assignment a step.

Registers of float16 and bfloat16 hold float32 and are rounded after each step, so that a chain has the bits of the ops one by one. Division
and square roots are rounded correctly; products are contracted with additions inside of a step, as the compilers of the kernels do, and not
between steps (enable_fp_fusion, triton_runner.py). Functions are CUDA's (triton_math.py). Used by triton_source.py.
"""

from __future__ import annotations

import math
import struct
from typing import Any

from .expressions import write
from .fused import Unsupported
from .triton_formulas import arity_of, formula_of

HALF = ("float16", "bfloat16")
FLOATS = ("float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8")
BOOLEAN = "bool"
# Functions of triton_math.py by their names in minigrad/ops/shared/expr.py, and CUDA's where they differ; fma rounds once.
CUDA_NAMES = {"round": "rint"}
FROM_CUDA = ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh",
             "asinh", "acosh", "atanh", "erf", "erfc", "erfinv", "lgamma", "trunc", "round", "pow", "atan2", "hypot", "copysign",
             "nextafter", "fmod", "fma")  # fmt: skip


def held_in(dtype: str) -> str:
    """The type of a register of this dtype."""
    return "float32" if dtype in HALF else dtype


def tl_type(dtype: str) -> str:
    """Triton's name of a dtype."""
    return "tl.int1" if dtype == BOOLEAN else f"tl.{dtype}"


def rounded(number: Any, dtype: str) -> Any:
    """A Python number as it is in `dtype`."""
    if dtype in FLOATS:
        return float(number)
    if dtype == BOOLEAN:
        return bool(number)
    if dtype not in HALF:
        return int(number)
    if not math.isfinite(number):
        return float(number)
    if dtype == "float16":
        try:
            return struct.unpack("e", struct.pack("e", number))[0]
        except OverflowError:
            return math.copysign(math.inf, number)
    bits = struct.unpack("I", struct.pack("f", number))[0]
    return struct.unpack("f", struct.pack("I", (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000))[0]


def constant(number: Any, dtype: str) -> str:
    """A constant with its type."""
    if dtype == BOOLEAN:
        return f"tl.full((), {int(bool(number))}, tl.int1)"
    if dtype in FLOATS:
        number = float(number)
        text = repr(number) if math.isfinite(number) else f'float("{number}")'
        return f"tl.full((), {text}, {tl_type(dtype)})"
    return f"tl.full((), {int(number) % 256 if dtype == 'uint8' else int(number)}, {tl_type(dtype)})"


def converted(text: str, raw: str, dtype: str) -> str:
    """`text`, a value held as `raw`, as a register of `dtype`."""
    if dtype == BOOLEAN:
        return text if raw == BOOLEAN else f"({text} != 0)"
    if dtype in HALF:
        if raw == dtype:
            return f"{text}.to(tl.float32)"
        wide = text if raw == "float32" else f"{text}.to(tl.float32)"
        return f"{wide}.to({tl_type(dtype)}).to(tl.float32)"
    return text if raw == dtype else f"{text}.to({tl_type(dtype)})"


class _Node:
    """A part of a formula: a name of the kernel (no operation), or an operation on nodes and Python numbers."""

    def __init__(self, text: str, kind: str, operation: str = "", args: tuple = ()) -> None:
        self.text, self.kind, self.operation, self.args = text, kind, operation, args
        self.uses = 0


_LOGICAL = ("lt", "le", "gt", "ge", "eq", "ne", "isnan", "isinf", "isfinite", "signbit")
_SIGNS = {"add": "+", "sub": "-", "mul": "*", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=", "and": "&", "or": "|",
          "xor": "^"}  # fmt: skip
_OTHERS = ("truediv", "neg", "not", "abs", "sqrt", "floor", "ceil", "minimum", "maximum", "where", "shl", "shr", "bits")
_NAN = ", propagate_nan=tl.PropagateNan.ALL"


class Formula:
    """Writes one application of a line of csrc/scalar.h, computed in `compute`."""

    def __init__(self, row: str, compute: str) -> None:
        self.row, self.boolean = row, compute == BOOLEAN
        self.arity = arity_of(row)
        self.compute = "int32" if self.boolean else compute  # of bools: as 0 and 1, and what is not 0 is true
        self.floating = self.compute in FLOATS
        self.lines: list[tuple[str, str]] = []

    def write(self, args: list, name: str) -> tuple[str, str]:
        """(text of the result, the type it is held in); what is used more than once goes to `lines` as (name, text).

        Args:
            args: (text, type) or a Python number. name: of the register, for the names of parts.
        """
        nodes = [_Node(a[0], a[1]) if isinstance(a, tuple) else a for a in args]
        literals = [not isinstance(n, _Node) for n in nodes]
        if all(literals):
            raise Unsupported(f"{self.row} of constants")
        result = write(formula_of(self.row, self.compute), nodes, self._emit, literals)
        if not isinstance(result, _Node):
            raise Unsupported(f"{self.row} is a constant")
        self._count(result)
        return self._render(result, name, outermost=True), result.kind

    def _emit(self, name: str, args: tuple) -> Any:
        if name in ("add", "sub") and self.floating and (contracted := self._contracted(name, *args)) is not None:
            return contracted
        if name == "where" and not isinstance(args[0], _Node):
            return args[1] if args[0] else args[2]
        if name == "not" and args[0].kind != BOOLEAN and self.boolean:
            name, args = "eq", (args[0], 0)
        if not self.floating and name in ("floor", "ceil", "round", "trunc"):
            return args[0]
        of_floats = name in FROM_CUDA or name in ("truediv", "sqrt")
        if (of_floats and not self.floating) or name not in (*_LOGICAL, *_SIGNS, *_OTHERS, *FROM_CUDA):
            raise Unsupported(f"{self.row}: no {name} of {self.compute}")
        masks = name in ("and", "or", "xor", "not") and any(isinstance(a, _Node) and a.kind == BOOLEAN for a in args)
        return _Node("", BOOLEAN if name in _LOGICAL or masks else self.compute, name, args)

    def _contracted(self, name: str, a: Any, b: Any) -> _Node | None:
        """A product added to something, rounded once: so do the compilers of the op's own kernels."""
        def product(x: Any) -> bool:
            return isinstance(x, _Node) and x.operation == "mul"

        def negative(x: Any) -> Any:
            return _Node("", self.compute, "neg", (x,)) if isinstance(x, _Node) else -x

        if product(b):
            return _Node("", self.compute, "fma", (b.args[0] if name == "add" else negative(b.args[0]), b.args[1], a))
        if product(a):
            return _Node("", self.compute, "fma", (*a.args, b if name == "add" else negative(b)))
        return None

    def _count(self, node: Any) -> None:
        if isinstance(node, _Node):
            node.uses += 1
            if node.uses == 1:
                for a in node.args:
                    self._count(a)

    def _render(self, node: Any, name: str, outermost: bool = False, bare: bool = False) -> str:
        if not isinstance(node, _Node):  # bare: beside an operator, where Triton gives a number the other's type
            simple = bare and (isinstance(node, int) or (self.compute == "float32" and math.isfinite(node)))
            return repr(node) if simple else constant(node, self.compute)
        if node.text:
            return node.text
        text = self._operation(node, name)
        if outermost or node.uses == 1:
            return text
        node.text = f"{name}_{len(self.lines)}"
        self.lines.append((node.text, text))
        return node.text

    def _operation(self, node: _Node, name: str) -> str:
        op = node.operation
        a = [self._render(x, name, bare=op in _SIGNS or op == "neg") for x in node.args]
        if op in _SIGNS:
            return f"({a[0]} {_SIGNS[op]} {a[1]})"
        if op in FROM_CUDA:
            return f"m.{op}({', '.join(a)})"
        if op in ("minimum", "maximum"):
            return f"tl.{op}({a[0]}, {a[1]}{_NAN if self.floating else ''})"
        width = 8 if self.compute == "uint8" else int(self.compute.lstrip("intfloa"))
        plain = {
            "neg": "(-{0})", "shl": "({0} << {1})", "shr": "({0} >> {1})", "bits": repr(width),
            "not": "({0} == 0)" if node.kind == BOOLEAN else "(~{0})",
            "abs": "tl.abs({0})", "floor": "tl.floor({0})", "ceil": "tl.ceil({0})", "where": "tl.where({0}, {1}, {2})",
            "truediv": "tl.div_rn({0}, {1})" if self.compute == "float32" else "({0} / {1})",
            "sqrt": "tl.sqrt_rn({0})" if self.compute == "float32" else "tl.sqrt({0})",
            "isnan": "({0} != {0})",
            "isinf": '(tl.abs({0}) == float("inf"))' if self.floating else "({0} != {0})",
            "isfinite": '(tl.abs({0}) < float("inf"))' if self.floating else "({0} == {0})",
            "signbit": f"({{0}}.to(tl.int{width}, bitcast=True) < 0)" if self.floating else "({0} < 0)",
        }  # fmt: skip
        return plain[op].format(*a)
