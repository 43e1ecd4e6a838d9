"""Sample inputs of every op: shapes, layouts and values chosen by its meta family, or by its own `samples=`.

A sample holds `Spec`s, descriptions of tensors, not tensors: the same sample can be built for minigrad,
   for PyTorch (the parity tests)
and as a float64 NumPy array (the reference). Values come from a generator seeded by the op's name, so a run repeats
exactly.
The shapes sit around vector widths (7, 8, 15, 16, 17, 31, 33, 65) and one L1 block (1025), plus 0-d and zero-size.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

FLOATS = ("float64", "float32", "float16", "bfloat16")
COMPLEX = ("complex128", "complex64")
INTS = ("uint8", "int8", "int16", "int32", "int64")
LAYOUTS = ("contiguous", "transposed", "expanded", "offset", "step")


@dataclass(frozen=True)
class Spec:
    """A tensor to be built: its values (float64, complex128, int64 or bool), dtype name and memory layout."""

    values: np.ndarray
    dtype: str
    layout: str = "contiguous"
    grad: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def __repr__(self) -> str:
        layout = "" if self.layout == "contiguous" else f", {self.layout}"
        return f"{self.dtype}{list(self.shape)}{layout}"


@dataclass(frozen=True)
class Sample:
    """One call of an op: positional and keyword arguments, tensors as Specs."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    numeric: bool = True  # False: a gradient by convention, which finite differences cannot see (embedding padding_idx)

    def by_convention(self) -> Sample:
        """The same call, left out of the finite-difference checks; parity with PyTorch still covers its gradient."""
        return replace(self, numeric=False)

    def map(self, f: Callable[[Spec], Any]) -> tuple[list[Any], dict[str, Any]]:
        """Arguments with every Spec replaced by f(spec), also inside lists and tuples."""

        def walk(v: Any) -> Any:
            if isinstance(v, Spec):
                return f(v)
            return type(v)(walk(x) for x in v) if type(v) in (list, tuple) else v

        return [walk(a) for a in self.args], {k: walk(v) for k, v in self.kwargs.items()}

    def specs(self) -> list[Spec]:
        """Every tensor of the call, in order."""
        found: list[Spec] = []
        self.map(found.append)
        return found

    def with_layout(self, layout: str) -> Sample:
        """The same values in another memory layout."""
        args, kwargs = self.map(lambda s: replace(s, values=relayout_values(s.values, layout), layout=layout))
        return Sample(tuple(args), kwargs)

    def __repr__(self) -> str:
        parts = [repr(a) for a in self.args] + [f"{k}={v!r}" for k, v in self.kwargs.items()]
        return f"({', '.join(parts)})"


def relayout_values(values: np.ndarray, layout: str) -> np.ndarray:
    """An expanded tensor repeats itself along its first dim, so its values must too."""
    if layout == "expanded" and values.ndim and values.shape[0] > 1:
        return np.broadcast_to(values[:1], values.shape)
    return values


def build(spec: Spec, module: Any) -> Any:
    """Builds the tensor with `module` (minigrad, or PyTorch in the tests), in the asked layout, as a leaf without
    gradient.
    """
    v = np.asarray(spec.values)

    def fresh(values: np.ndarray) -> Any:
        if spec.dtype == "bfloat16":  # NumPy has none
            return module.from_numpy(np.array(values, dtype=np.float32, order="C")).to(module.bfloat16)
        return module.from_numpy(np.array(values, dtype=spec.dtype, order="C"))

    if v.ndim == 0:
        return fresh(v.reshape(1))[0]
    if spec.layout == "transposed" and v.ndim > 1:
        return fresh(v.transpose()).permute(tuple(reversed(range(v.ndim))))
    if spec.layout == "expanded" and v.shape[0] > 1:
        return fresh(v[:1]).expand(v.shape)
    if spec.layout == "offset":
        return fresh(np.concatenate([np.zeros(3, v.dtype), v.reshape(-1)]))[3:].view(v.shape)
    if spec.layout == "step":
        return fresh(np.repeat(v, 2, axis=-1))[..., ::2]
    return fresh(v)


class Sampler:
    """Makes Specs and Samples for one op and one dtype; passed to an op's `samples=` function."""

    def __init__(self, name: str, dtype: str = "float64") -> None:
        self.dtype = dtype
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))

    @property
    def integer(self) -> bool:
        """Whether the dtype under test is neither floating nor complex."""
        return self.dtype not in FLOATS and self.dtype not in COMPLEX

    def __call__(self, *args: Any, **kwargs: Any) -> Sample:
        return Sample(args, kwargs)

    def values(self, shape: tuple[int, ...], low: float, high: float, distinct: bool = False) -> np.ndarray:
        """Random values in [low, high] of the dtype under test."""
        if self.dtype == "bool":
            return self.rng.integers(0, 2, shape).astype(bool)
        if self.dtype in INTS:
            low, high = math.ceil(low), max(math.ceil(low), math.floor(high))
            low, high = (max(low, 0), max(high, 0)) if self.dtype == "uint8" else (low, high)
            if distinct:
                n = math.prod(shape)
                return self.rng.permutation(np.arange(low, low + n)).reshape(shape)
            return self.rng.integers(int(low), int(high) + 1, shape)
        if self.dtype in COMPLEX:
            real, imag = (self.rng.uniform(low, high, shape) for _ in range(2))
            return real + 1j * imag
        if distinct:
            n = math.prod(shape)
            return self.rng.permutation(np.linspace(low, high, max(n, 1))[:n]).reshape(shape)
        return self.rng.uniform(low, high, shape)

    def t(
        self,
        *shape: int,
        low: float = -2.0,
        high: float = 2.0,
        layout: str = "contiguous",
        distinct: bool = False,
        grad: bool = True,
        dtype: str | None = None,
    ) -> Spec:
        """A tensor of the dtype under test (or `dtype`), with random values in [low, high]."""
        if dtype is not None and dtype != self.dtype:
            other = Sampler("", dtype)
            other.rng = self.rng
            return other.t(*shape, low=low, high=high, layout=layout, distinct=distinct, grad=grad)
        v = relayout_values(self.values(tuple(shape), low, high, distinct), layout)
        return Spec(as_stored(v, self.dtype), self.dtype, layout, grad and not self.integer)

    def f(self, *shape: int, **options: Any) -> Spec:
        """A floating tensor even when an integer dtype is under test."""
        return self.t(*shape, **{"dtype": "float32" if self.integer else None, **options})

    def complex(self, *shape: int, **options: Any) -> Spec:
        """A complex tensor, of the precision of the dtype under test."""
        return self.t(*shape, **{"dtype": "complex64" if self.dtype in ("float32", "complex64") else "complex128", **options})

    def index(self, *shape: int, high: int, low: int = 0) -> Spec:
        """An int64 tensor with values in [low, high)."""
        return Spec(self.rng.integers(low, max(high, low + 1), tuple(shape)), "int64", grad=False)

    def mask(self, *shape: int, p: float = 0.5) -> Spec:
        """A bool tensor, true with probability p."""
        return Spec(self.rng.random(tuple(shape)) < p, "bool", grad=False)

    def of(self, values: Any, layout: str = "contiguous", dtype: str | None = None) -> Spec:
        """A tensor with the given values."""
        dtype = dtype or self.dtype
        wide = np.complex128 if dtype in COMPLEX else np.float64 if dtype in FLOATS else bool if dtype == "bool" else np.int64
        return Spec(as_stored(np.asarray(values, dtype=wide), dtype), dtype, layout, dtype in FLOATS or dtype in COMPLEX)


def as_stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """The values a tensor of that dtype can hold, in float64 (complex128, int64, bool): both sides of a comparison start from the
    same numbers.
    """
    if dtype == "complex64":
        return np.asarray(values).astype(np.complex64).astype(np.complex128)
    if dtype not in FLOATS or dtype == "float64":
        return values
    with np.errstate(all="ignore"):
        if dtype == "bfloat16":
            bits = np.asarray(values, np.float32).view(np.uint32)
            rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
            out = np.where(np.isnan(values), np.float32(np.nan), rounded.astype(np.uint32).view(np.float32))
            return out.astype(np.float64)
        return np.asarray(values).astype(dtype).astype(np.float64)


UNARY_SHAPES = ((), (0,), (1,), (7,), (8,), (15,), (16,), (17,), (31,), (33,), (65,), (1025,), (3, 0, 2), (2, 3, 5))
BROADCASTS = (
    ((), ()),
    ((3,), ()),
    ((), (3,)),
    ((2, 3), (3,)),
    ((2, 1, 4), (3, 1)),
    ((0, 3), (1, 3)),
    ((17,), (1,)),
    ((1025,), (1025,)),
    ((5, 33), (5, 33)),
)


def _ranges(info: Any) -> Callable[[str], tuple[float, float]]:
    domain = info.info.get("domain", (-3.0, 3.0))
    return lambda arg: domain.get(arg, (-3.0, 3.0)) if isinstance(domain, dict) else domain


def _attributes(info: Any) -> list[dict[str, Any]]:
    """Settings of the scalar arguments: the defaults, then each alternative of `attrs=`."""
    attrs = info.info.get("attrs", {})
    first = {k: v[0] for k, v in attrs.items()}
    settings = [first]
    for i in range(1, max((len(v) for v in attrs.values()), default=1)):
        settings.append({k: v[min(i, len(v) - 1)] for k, v in attrs.items()})
    return settings


def pointwise(info: Any, s: Sampler) -> Iterator[Sample]:
    """Samples of a pointwise op, for any number of tensor operands and scalar attributes."""
    ranges = _ranges(info)
    operands = [a for a in info.args if a.kind in ("tensor", "operand")]
    settings = _attributes(info)

    def call(
        shapes: list[tuple[int, ...]], attrs: dict[str, Any], layouts: tuple[str, ...] = ("contiguous",)
    ) -> Sample:
        args: list[Any] = []
        for i, (a, shape) in enumerate(zip(operands, shapes, strict=True)):
            low, high = ranges(a.name)
            if a.name == "condition":
                args.append(s.mask(*shape))
            else:
                args.append(s.t(*shape, low=low, high=high, layout=layouts[i % len(layouts)]))
        return Sample(tuple(args), dict(attrs))

    n = len(operands)
    if n == 1:
        for shape in UNARY_SHAPES:
            yield call([shape], settings[0])
    else:
        for pair in BROADCASTS:
            yield call([pair[i % 2] for i in range(n)], settings[0])
    for attrs in settings[1:]:
        yield call([(9,)] * n, attrs)
    for layout in LAYOUTS[1:]:
        yield call([(4, 5)] * n, settings[0], (layout,))
    yield call([(3, 17)] * n, settings[0], ("transposed", "contiguous", "step"))
    yield from _with_numbers(operands, ranges, settings[-1], s)


def _with_numbers(operands: list[Any], ranges: Any, attrs: dict[str, Any], s: Sampler) -> Iterator[Sample]:
    """Each `operand` once as a Python number, the others as tensors."""
    for k, number in enumerate(operands):
        if number.kind != "operand" or len(operands) < 2:
            continue
        args: list[Any] = []
        for i, a in enumerate(operands):
            low, high = ranges(a.name)
            value = low + 0.75 * (high - low)
            plain = True if s.dtype == "bool" else max(math.floor(value), 1) if s.integer else value
            if i == k:
                args.append(plain)
            else:
                args.append(s.mask(3, 5) if a.name == "condition" else s.t(3, 5, low=low, high=high))
        yield Sample(tuple(args), dict(attrs))


def reduce(info: Any, s: Sampler) -> Iterator[Sample]:
    """Samples of (input, dim, keepdim) ops."""
    names = {a.name for a in info.args}
    optional_dim = any(a.name == "dim" and a.optional for a in info.args)
    many = any(a.name == "dim" and a.kind == "ints" for a in info.args)
    ranges = _ranges(info)
    low, high = ranges("input")

    def t(*shape: int, **options: Any) -> Spec:
        return s.t(*shape, low=low, high=high, distinct=not s.integer and math.prod(shape) < 10**4, **options)

    if optional_dim or "dim" not in names:
        for shape in ((), (1,), (17,), (3, 5), (2, 3, 4), (1025,)):
            yield s(t(*shape))
    if "dim" not in names:
        return
    for shape, dim in (((7,), 0), ((3, 5), 1), ((3, 5), 0), ((2, 3, 4), -2), ((4, 33), -1), ((33, 4), 0), ((5, 0), 0)):
        yield s(t(*shape), dim)
    for layout in LAYOUTS[1:]:
        yield s(t(4, 5, layout=layout), 1)
    if "keepdim" in names:
        yield s(t(3, 5), 1, True)
    if many:
        yield s(t(2, 3, 4), [0, 2])


@dataclass(frozen=True)
class _Operand:
    name: str
    kind: str = "tensor"


@dataclass(frozen=True)
class _Composite:
    """A composite seen as a pointwise op: named operands, `domain=` and `attrs=` as declared."""

    args: list[_Operand]
    info: dict[str, Any]


def unary(info: Any, s: Sampler) -> Iterator[Sample]:
    """Samples of a pointwise composite of one tensor."""
    return pointwise(_Composite([_Operand("input")], info.info), s)


def binary(info: Any, s: Sampler) -> Iterator[Sample]:
    """Samples of a pointwise composite of two tensors."""
    return pointwise(_Composite([_Operand("input"), _Operand("other")], info.info), s)


FAMILIES: dict[str, Callable[[Any, Sampler], Iterator[Sample]]] = {
    "pointwise": pointwise, "reduce": reduce, "unary": unary, "binary": binary,
}  # fmt: skip


def samples(info: Any, dtype: str = "float64") -> list[Sample]:
    """Samples of an op, or an empty list when neither its family nor a `samples=` says how to make them.

    Args:
        info: the op's OpInfo (minigrad.op.registry[name]).
        dtype: name of the dtype of its main tensors.
    Returns:
        Samples; the same ones on every call.
    """
    s = Sampler(info.name, dtype)
    how = info.samples
    if callable(how):
        return list(how(s))
    if how is None:
        how = "pointwise" if info.pointwise else info.meta
    maker = FAMILIES.get(how) if isinstance(how, str) else None
    return [] if maker is None else list(maker(info, s))
