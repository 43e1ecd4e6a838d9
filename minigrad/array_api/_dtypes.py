"""dtypes, promotion and inspection of the Array API namespace.

The promotion table is the library's own (`promote_types`); the one rule added here is that a 0-d array counts as an array, where
PyTorch lets it give way like a number.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg

Array = mg.Tensor
_SIGNED = ("int8", "int16", "int32", "int64")
_UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
_FLOATING = ("float32", "float64")
_COMPLEX = ("complex64", "complex128")


def _existing(names: tuple[str, ...]) -> dict[str, Any]:
    return {n: getattr(mg, n) for n in names if isinstance(getattr(mg, n, None), mg.dtype)}


KINDS: dict[str, dict[str, Any]] = {
    "bool": {"bool": mg.bool},
    "signed integer": _existing(_SIGNED),
    "unsigned integer": _existing(_UNSIGNED),
    "real floating": _existing(_FLOATING),
    "complex floating": _existing(_COMPLEX),
}
KINDS["integral"] = {**KINDS["signed integer"], **KINDS["unsigned integer"]}
KINDS["numeric"] = {**KINDS["integral"], **KINDS["real floating"], **KINDS["complex floating"]}
STANDARD: dict[str, Any] = {**KINDS["bool"], **KINDS["numeric"]}
_MORE_FLOATS = {"float16": mg.float16, "bfloat16": mg.bfloat16}  # not in the standard; they are floating to isdtype()


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether `dtype` is of a kind: a dtype, the name of a kind ("integral", …), or a tuple of these.

    Raises:
        ValueError for an unknown name, TypeError for anything that is neither.
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str):
        if kind not in KINDS:
            raise ValueError(f"isdtype: unknown kind: got {kind!r}, expected one of {', '.join(KINDS)}.")
        if kind in ("real floating", "numeric") and dtype in _MORE_FLOATS.values():
            return True
        return dtype in KINDS[kind].values()
    if not isinstance(kind, mg.dtype):
        raise TypeError(f"isdtype: kind is neither dtype, name nor tuple: got {type(kind).__name__}.")
    return dtype == kind


def _weak(promoted: Any, value: Any) -> Any:
    """dtype after a Python number joins an array of dtype `promoted`."""
    if isinstance(value, bool) or (isinstance(value, int) and promoted != mg.bool):
        return promoted
    if isinstance(value, int):
        return mg.int64
    if isinstance(value, float):
        return promoted if promoted.is_floating_point or promoted.is_complex else mg.get_default_dtype()
    if promoted.is_complex:
        return promoted
    return mg.complex128 if promoted == mg.float64 else mg.complex64  # type: ignore[attr-defined]


def result_type(*arrays_and_dtypes: Any) -> Any:
    """dtype of an operation on arrays, dtypes and Python numbers; numbers give way, 0-d arrays do not.

    Raises:
        ValueError without any array or dtype.
    """
    promoted, numbers = None, []
    for x in arrays_and_dtypes:
        if isinstance(x, (bool, int, float, complex)):
            numbers.append(x)
            continue
        d = x.dtype if isinstance(x, Array) else x
        if not isinstance(d, mg.dtype):
            raise TypeError(f"result_type: neither array, dtype nor number: got {type(x).__name__}.")
        promoted = d if promoted is None else mg.promote_types(promoted, d)
    if promoted is None:
        raise ValueError("result_type: no array and no dtype given. Try passing at least one.")
    for x in numbers:
        promoted = _weak(promoted, x)
    return promoted


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether promotion leads from one dtype (or array) to the other."""
    source = from_.dtype if isinstance(from_, Array) else from_
    if source == to:
        return True
    return mg.promote_types(source, to) == to


def astype(x: Array, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Array:
    """x in another dtype; with copy=False the same array when nothing changes."""
    if x.dtype.is_complex and not dtype.is_complex and dtype != mg.bool:
        raise TypeError(f"astype: complex to real loses the imaginary part: got {x.dtype} to {dtype}. Try real(x).")
    out = x if device is None else x.to(device=device)
    return out.to(dtype, copy=copy)


def finfo(type: Any, /) -> Any:
    """Limits of a floating dtype (or of an array's)."""
    return mg.finfo(type.dtype if isinstance(type, Array) else type)


def iinfo(type: Any, /) -> Any:
    """Limits of an integer dtype (or of an array's)."""
    return mg.iinfo(type.dtype if isinstance(type, Array) else type)


def promoted(name: str, x1: Any, x2: Any) -> tuple[Any, Any]:
    """Both operands in their common dtype where PyTorch's rule for 0-d tensors would differ.

    Raises:
        TypeError when neither is an array.
    """
    if isinstance(x1, Array) and isinstance(x2, Array):
        if x1.dtype != x2.dtype and (x1.dim() == 0) != (x2.dim() == 0):
            d = mg.promote_types(x1.dtype, x2.dtype)
            return x1.to(d), x2.to(d)
        return x1, x2
    if not isinstance(x1, Array) and not isinstance(x2, Array):
        raise TypeError(f"{name}: neither operand is an array: got {type(x1).__name__} and {type(x2).__name__}.")
    return x1, x2


class Info:
    """What `__array_namespace_info__()` returns."""

    def capabilities(self) -> dict[str, Any]:
        """Which optional parts work."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Any:
        """Where arrays are made."""
        return mg.device("cpu")

    def devices(self) -> list[Any]:
        """All devices."""
        return [mg.device("cpu")]

    def default_dtypes(self, *, device: Any = None) -> dict[str, Any]:
        """dtypes of arrays made from Python numbers."""
        real = mg.get_default_dtype()
        out = {"real floating": real, "integral": mg.int64, "indexing": mg.int64}
        if KINDS["complex floating"]:
            out["complex floating"] = mg.complex128 if real == mg.float64 else mg.complex64  # type: ignore[attr-defined]
        return out

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, Any]:
        """The standard's dtypes that exist, by name."""
        if kind is None:
            return dict(STANDARD)
        if isinstance(kind, tuple):
            return {n: d for k in kind for n, d in self.dtypes(kind=k).items()}
        if kind not in KINDS:
            raise ValueError(f"dtypes: unknown kind: got {kind!r}, expected one of {', '.join(KINDS)}.")
        return dict(KINDS[kind])


def __array_namespace_info__() -> Info:
    """Capabilities, dtypes and devices."""
    return Info()
