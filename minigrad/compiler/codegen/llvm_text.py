"""Writing LLVM IR as text: numbers, vectors of lanes, conversions between dtypes as the library's kernels make them.

A Writer holds the lines of one function. `lanes` is the width of the vectors that are written now; 1 means plain scalars. Registers of
float16 and bfloat16 hold floats that were rounded to them, bools are i1.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .rows import Number

REGISTER = {"bool": "i1", "uint8": "i8", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
            "float16": "float", "bfloat16": "float", "float32": "float", "float64": "double"}  # fmt: skip
MEMORY = REGISTER | {"bool": "i8", "float16": "i16", "bfloat16": "i16"}
BYTES = {"i8": 1, "i16": 2, "i32": 4, "i64": 8, "float": 4, "double": 8}
_BITS = {"float": ("i32", 31), "double": ("i64", 63)}
_COMPARE_FLOAT = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}
_BINARY_FLOAT = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}


def literal(value: Any, type: str) -> str:
    """A scalar constant; floats by their bits."""
    if type == "i1":
        return "true" if value else "false"
    if type.startswith("i"):
        bits = int(type[1:])
        whole = int(value) & ((1 << bits) - 1)
        return str(whole - (1 << bits) if whole >> (bits - 1) else whole)
    number = float(value)
    if type == "float":
        try:
            number = struct.unpack("f", struct.pack("f", number))[0]
        except OverflowError:
            number = math.copysign(math.inf, number)
    return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"


class Writer:
    """Lines of one function.

    Args:
        fuses: the machine has a fused multiply-add. rounds: and roundings of vectors. halves: and conversions of float16.
    """

    def __init__(self, fuses: bool, rounds: bool, halves: bool) -> None:
        self.fuses, self.rounds, self.halves = fuses, rounds, halves
        self.lanes = 1
        self.text: list[str] = []
        self.entry: list[str] = []  # memory of the stack: once per call
        self.declared: set[str] = set()
        self.unsigned = False  # integers compare as unsigned ones
        self._names = 0
        self._block = "entry"

    # --- lines, blocks, loops

    def name(self) -> str:
        self._names += 1
        return f"%v{self._names}"

    def put(self, line: str) -> None:
        self.text.append(f"  {line}")

    def let(self, line: str) -> str:
        name = self.name()
        self.text.append(f"  {name} = {line}")
        return name

    def room(self, type: str, n: int) -> str:
        """Memory on the stack."""
        name = self.name()
        self.entry.append(f"  {name} = alloca [{n} x {type}], align 64")
        return name

    def note(self, text: str) -> None:
        self.text.append(f"  ; {text}")

    def label(self, name: str) -> None:
        self.text.append(f"{name}:")
        self._block = name

    def loop(self, begin: str, end: str, step: int, carried: list[tuple[str, str]],
             body: Callable[[str, list[str]], list[str]]) -> list[str]:  # fmt: skip
        """for (i = begin; i < end; i += step). `carried`: (type, first value) of what goes from round to round; returns its last values."""
        self._names += 1
        tag, before = self._names, self._block
        head, inside, done = f"head{tag}", f"body{tag}", f"done{tag}"
        self.put(f"br label %{head}")
        self.label(head)
        at, phis = len(self.text), [self.name() for _ in carried]
        index, following = self.name(), self.name()
        self.put(f"{self.name()} = add i64 0, 0")  # place of the phis
        more = self.let(f"icmp slt i64 {index}, {end}")
        self.put(f"br i1 {more}, label %{inside}, label %{done}")
        self.label(inside)
        updated = body(index, phis)
        self.put(f"{following} = add i64 {index}, {step}")
        self.put(f"br label %{head}")
        last = self._block
        lines = [f"  {index} = phi i64 [ {begin}, %{before} ], [ {following}, %{last} ]"]
        lines += [f"  {p} = phi {t} [ {first}, %{before} ], [ {new}, %{last} ]" for p, (t, first), new in zip(phis, carried, updated)]
        self.text[at : at + 1] = lines
        self.label(done)
        return phis

    def when(self, condition: str, body: Callable[[], Any], otherwise: Callable[[], Any] | None = None) -> None:
        self._names += 1
        inside, other, done = f"then{self._names}", f"else{self._names}", f"after{self._names}"
        self.put(f"br i1 {condition}, label %{inside}, label %{other if otherwise else done}")
        for label, write in ((inside, body), (other, otherwise)):
            if write:
                self.label(label)
                write()
                self.put(f"br label %{done}")
        self.label(done)

    @contextmanager
    def width(self, lanes: int) -> Iterator[None]:
        before, self.lanes = self.lanes, lanes
        yield
        self.lanes = before

    # --- types and constants

    def vector(self, type: str) -> str:
        return type if self.lanes == 1 else f"<{self.lanes} x {type}>"

    def constant(self, value: Any, type: str) -> Number:
        text = literal(value, type)
        return Number(self, text if self.lanes == 1 else f"splat ({type} {text})", type)

    def splat(self, scalar: str, type: str) -> str:
        """All lanes filled with one."""
        if self.lanes == 1:
            return scalar
        if not scalar.startswith("%"):
            return f"splat ({type} {scalar})"
        v = self.vector(type)
        first = self.let(f"insertelement {v} poison, {type} {scalar}, i64 0")
        return self.let(f"shufflevector {v} {first}, {v} poison, <{self.lanes} x i32> zeroinitializer")

    def intrinsic(self, name: str, type: str, *args: str) -> str:
        v = self.vector(type)
        suffix = {"float": "f32", "double": "f64"}.get(type, type)
        full = f"@llvm.{name}.{f'v{self.lanes}' if self.lanes > 1 else ''}{suffix}"
        self.declared.add(f"declare {v} {full}({', '.join([v] * len(args))})")
        return self.let(f"call {v} {full}({', '.join(f'{v} {a}' for a in args)})")

    # --- what the lines of csrc/scalar.h are written with (rows.py)

    def binary(self, op: str, a: Number, b: Number) -> Number:
        if a.type in _BITS:
            op = _BINARY_FLOAT[op]
        return Number(self, self.let(f"{op} {self.vector(a.type)} {a.text}, {b.text}"), a.type)

    def negate(self, a: Number) -> Number:
        v = self.vector(a.type)
        return Number(self, self.let(f"fneg {v} {a.text}" if a.type in _BITS else f"sub {v} zeroinitializer, {a.text}"
                                     if self.lanes > 1 else f"sub {v} 0, {a.text}"), a.type)  # fmt: skip

    def compare(self, how: str, a: Number, b: Number) -> Number:
        v = self.vector(a.type)
        if a.type in _BITS:
            return Number(self, self.let(f"fcmp {_COMPARE_FLOAT[how]} {v} {a.text}, {b.text}"), "i1")
        sign = "" if how in ("eq", "ne") else "u" if self.unsigned or a.type == "i1" else "s"
        return Number(self, self.let(f"icmp {sign}{how} {v} {a.text}, {b.text}"), "i1")

    def select(self, mask: Number, a: Number, b: Number) -> Number:
        v = self.vector(a.type)
        return Number(self, self.let(f"select {self.vector('i1')} {mask.text}, {v} {a.text}, {v} {b.text}"), a.type)

    def unary(self, name: str, a: Number) -> Number:
        return Number(self, self.intrinsic(name, a.type, a.text), a.type)

    def fma(self, a: Number, b: Number, c: Number) -> Number:
        return Number(self, self.intrinsic("fma", a.type, a.text, b.text, c.text), a.type)

    def copysign(self, a: Number, b: Number) -> Number:
        return Number(self, self.intrinsic("copysign", a.type, a.text, b.text), a.type)

    def bits(self, a: str, type: str, to: str) -> str:
        return self.let(f"bitcast {self.vector(type)} {a} to {self.vector(to)}")

    def signbit(self, a: Number) -> Number:
        whole = _BITS[a.type][0]
        zero = self.constant(0, whole).text
        return Number(self, self.let(f"icmp slt {self.vector(whole)} {self.bits(a.text, a.type, whole)}, {zero}"), "i1")

    # --- conversions, as csrc/cpu/stage_isa.cpp makes them

    def change(self, how: str, a: str, type: str, to: str) -> str:
        return self.let(f"{how} {self.vector(type)} {a} to {self.vector(to)}")

    def convert(self, a: str, source: str, target: str) -> str:
        """A register of dtype `source` as one of dtype `target`."""
        s, t = REGISTER[source], REGISTER[target]
        if source == target:
            return a
        if target == "bool":
            how = "fcmp une" if s in _BITS else "icmp ne"
            return self.let(f"{how} {self.vector(s)} {a}, {self.constant(0, s).text}")
        if t in _BITS:
            if s == "double" and t == "float":
                a = self.change("fptrunc", a, s, t)
            elif s == "float" and t == "double":
                a = self.change("fpext", a, s, t)
            elif s not in _BITS:
                if s == "i1":  # a byte first: conversions of i1 are slow
                    a, s = self.change("zext", a, s, "i32"), "i32"
                a = self.change("uitofp" if source == "uint8" else "sitofp", a, s, t)
            return self.rounded(a, target)
        if s in _BITS:
            return self._float_to_int(a, s, t)
        if s != t:
            wider = BYTES.get(s, 0) < BYTES[t]
            a = self.change(("zext" if source in ("bool", "uint8") else "sext") if wider else "trunc", a, s, t)
        return a

    def _float_to_int(self, a: str, s: str, t: str) -> str:
        wide = "i64" if t == "i64" else "i32"
        limit = 2.0 ** (int(wide[1:]) - 1)
        x = Number(self, a, s)
        fits = (x >= self.constant(-limit, s)) & (x < self.constant(limit, s))
        whole = self.change("fptosi", self.select(fits, x, self.constant(0, s)).text, s, wide)
        lowest = self.constant(-(1 << (int(wide[1:]) - 1)), wide)
        whole = self.select(fits, Number(self, whole, wide), lowest).text
        return whole if t == wide else self.change("trunc", whole, wide, t)

    def rounded(self, a: str, dtype: str) -> str:
        """A float register rounded to a 16-bit dtype (others: as it is)."""
        if dtype == "float16":
            return self._widen_half(self._narrow_half(a))
        if dtype == "bfloat16":
            high = self._round_bfloat16(a)
            mask = self.constant(-65536, "i32").text
            return self.bits(self.let(f"and {self.vector('i32')} {high}, {mask}"), "i32", "float")
        return a

    def _whole(self, op: str, a: str, b: int | str) -> str:
        """An operation on lanes of i32."""
        return self.let(f"{op} {self.vector('i32')} {a}, {b if isinstance(b, str) else self.constant(b, 'i32').text}")

    def _round_bfloat16(self, a: str) -> str:
        """Bits of a float whose upper half is the nearest bfloat16."""
        v, x = self.vector("i32"), self.bits(a, "float", "i32")
        odd = self._whole("and", self._whole("lshr", x, 16), 1)
        near = self._whole("add", self._whole("add", x, 0x7FFF), odd)
        nan = self.let(f"fcmp uno {self.vector('float')} {a}, {a}")
        return self.let(f"select {self.vector('i1')} {nan}, {v} {self._whole('or', x, 0x400000)}, {v} {near}")

    def _narrow_half(self, a: str) -> str:
        """i16 bits of the nearest float16."""
        if self.halves:
            return self.bits(self.change("fptrunc", a, "float", "half"), "half", "i16")
        v, f, b = self.vector("i32"), self.vector("float"), self.vector("i1")
        x = self.bits(a, "float", "i32")
        m, sign = self._whole("and", x, 0x7FFFFFFF), self._whole("and", self._whole("lshr", x, 16), 0x8000)
        odd = self._whole("and", self._whole("lshr", m, 13), 1)
        normal = self._whole("lshr", self._whole("add", self._whole("add", m, 0xFFF - 0x38000000), odd), 13)
        shifted = self.let(f"fadd {f} {self.bits(m, 'i32', 'float')}, {self.constant(0.5, 'float').text}")
        subnormal = self._whole("sub", self.bits(shifted, "float", "i32"), 0x3F000000)
        r = self.let(f"select {b} {self._whole('icmp ult', m, 0x38800000)}, {v} {subnormal}, {v} {normal}")
        for how, limit, value in (("uge", 0x477FF000, 0x7C00), ("ugt", 0x7F800000, 0x7E00)):
            chosen = self.constant(value, "i32").text
            r = self.let(f"select {b} {self._whole(f'icmp {how}', m, limit)}, {v} {chosen}, {v} {r}")
        return self.change("trunc", self._whole("or", r, sign), "i32", "i16")

    def _widen_half(self, h: str) -> str:
        if self.halves:
            return self.change("fpext", self.bits(h, "i16", "half"), "half", "float")
        v, x = self.vector("i32"), self.change("zext", h, "i16", "i32")
        m, sign = self._whole("shl", self._whole("and", x, 0x7FFF), 13), self._whole("shl", self._whole("and", x, 0x8000), 16)
        up = self.constant(2.0**112, "float").text
        finite = self.bits(self.let(f"fmul {self.vector('float')} {self.bits(m, 'i32', 'float')}, {up}"), "float", "i32")
        special = self._whole("icmp eq", self._whole("and", x, 0x7C00), 0x7C00)
        r = self.let(f"select {self.vector('i1')} {special}, {v} {self._whole('or', m, 0x7F800000)}, {v} {finite}")
        return self.bits(self._whole("or", r, sign), "i32", "float")

    # --- memory

    def from_memory(self, a: str, dtype: str) -> str:
        """What was loaded, as a register."""
        if dtype == "bool":
            return self.let(f"icmp ne {self.vector('i8')} {a}, {self.constant(0, 'i8').text}")
        if dtype == "float16":
            return self._widen_half(a)
        if dtype == "bfloat16":
            x = self.change("zext", a, "i16", "i32")
            return self.bits(self.let(f"shl {self.vector('i32')} {x}, {self.constant(16, 'i32').text}"), "i32", "float")
        return a

    def to_memory(self, a: str, dtype: str) -> str:
        """A register as it is stored."""
        if dtype == "bool":
            return self.change("zext", a, "i1", "i8")
        if dtype == "float16":
            return self._narrow_half(a)
        if dtype == "bfloat16":
            x = self.bits(a, "float", "i32")
            return self.change("trunc", self.let(f"lshr {self.vector('i32')} {x}, {self.constant(16, 'i32').text}"), "i32", "i16")
        return a

    def address(self, base: str, index: str, type: str) -> str:
        return self.let(f"getelementptr {type}, ptr {base}, i64 {index}")

    def load(self, address: str, type: str, mask: str | None = None, align: int = 0) -> str:
        v, align = self.vector(type), align or BYTES[type]
        if mask is None:
            return self.let(f"load {v}, ptr {address}, align {align}")
        name = f"@llvm.masked.load.{self._name_of(type)}.p0"
        self.declared.add(f"declare {v} {name}(ptr, i32, {self.vector('i1')}, {v})")
        return self.let(f"call {v} {name}(ptr {address}, i32 {align}, {self.vector('i1')} {mask}, {v} zeroinitializer)")

    def store(self, a: str, address: str, type: str, mask: str | None = None, align: int = 0) -> None:
        v, align = self.vector(type), align or BYTES[type]
        if mask is None:
            return self.put(f"store {v} {a}, ptr {address}, align {align}")
        name = f"@llvm.masked.store.{self._name_of(type)}.p0"
        self.declared.add(f"declare void {name}({v}, ptr, i32, {self.vector('i1')})")
        self.put(f"call void {name}({v} {a}, ptr {address}, i32 {align}, {self.vector('i1')} {mask})")

    def store_around(self, a: str, address: str, type: str) -> None:
        """Around the caches; the address is aligned to 64 bytes or to the vector's size if that is less."""
        self.put(f"store {self.vector(type)} {a}, ptr {address}, align {min(64, self.lanes * BYTES[type])}, !nontemporal !0")

    def _name_of(self, type: str) -> str:
        return f"v{self.lanes}{ {'float': 'f32', 'double': 'f64'}.get(type, type) }"

    def gather(self, addresses: str, type: str, mask: str) -> str:
        v, p, b, align = self.vector(type), self.vector("ptr"), self.vector("i1"), BYTES[type]
        name = f"@llvm.masked.gather.{self._name_of(type)}.v{self.lanes}p0"
        self.declared.add(f"declare {v} {name}({p}, i32, {b}, {v})")
        return self.let(f"call {v} {name}({p} {addresses}, i32 {align}, {b} {mask}, {v} zeroinitializer)")

    def scatter(self, a: str, addresses: str, type: str, mask: str) -> None:
        v, p, b, align = self.vector(type), self.vector("ptr"), self.vector("i1"), BYTES[type]
        name = f"@llvm.masked.scatter.{self._name_of(type)}.v{self.lanes}p0"
        self.declared.add(f"declare void {name}({v}, {p}, i32, {b})")
        self.put(f"call void {name}({v} {a}, {p} {addresses}, i32 {align}, {b} {mask})")

    def fold(self, a: str, type: str, combine: Callable[[str, str], str]) -> str:
        """All lanes combined, in a fixed order; `combine` writes one step of it."""
        lanes = self.lanes
        while lanes > 1:
            v, half = f"<{lanes} x {type}>", lanes // 2
            parts = []
            for start in (0, half):
                picks = ", ".join(f"i32 {start + k}" for k in range(half))
                parts.append(self.let(f"shufflevector {v} {a}, {v} poison, <{half} x i32> <{picks}>"))
            with self.width(half if half > 1 else 1):
                if half == 1:
                    parts = [self.let(f"extractelement <1 x {type}> {p}, i64 0") for p in parts]
                a = combine(*parts)
            lanes = half
        return a
