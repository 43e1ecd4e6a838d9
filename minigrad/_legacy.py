"""Old names: typed constructors (`FloatTensor(2, 3)`, `LongTensor([1, 2])`), `_assert`, symbolic numbers. Looked up through `__all__`."""

from __future__ import annotations

from typing import Any

from minigrad import _core
from minigrad._tensor import _TYPE_NAMES

__all__ = ["SymBool", "SymFloat", "SymInt", "_assert", "sym_float", "sym_int", "sym_ite", "sym_max", "sym_min", "sym_not", "sym_sqrt",
           "sym_sum", *_TYPE_NAMES.values()]  # fmt: skip

Tensor = _core.Tensor


class TypedTensorMeta(type):
    """Type of the legacy tensor types: calling makes a Tensor, isinstance asks for dtype and device."""

    dtype: Any
    is_cuda: bool

    def __call__(cls, *args: Any, device: Any = None) -> Tensor:
        """`T()`, `T(2, 3)` and `T(size)` are uninitialised; `T(list)`, `T(array)` and `T(tensor)` hold these values."""
        import minigrad as mg

        if cls.is_cuda and not mg.cuda.is_available():
            raise TypeError(
                f"type {cls.__module__}.{cls.__name__} not available. Torch not compiled with CUDA enabled."
            )
        device = device or ("cuda" if cls.is_cuda else "cpu")

        if len(args) == 1 and not isinstance(args[0], (int, _core.Size)):
            if isinstance(args[0], Tensor):
                if args[0].dtype != cls.dtype:
                    wanted = {v: k for k, v in _TYPE_NAMES.items()}[cls.__name__]
                    raise TypeError(
                        f"expected {cls.__name__} ({wanted}): got a tensor of {args[0].dtype}. Try x.to(dtype)."
                    )
                return args[0].detach()
            return mg.tensor(args[0], dtype=cls.dtype, device=device)
        size = args[0] if len(args) == 1 and isinstance(args[0], _core.Size) else args
        return mg.empty(tuple(size) if args else (0,), dtype=cls.dtype, device=device)

    def __instancecheck__(cls, obj: Any) -> bool:
        return isinstance(obj, Tensor) and obj.dtype == cls.dtype and obj.is_cuda == cls.is_cuda

    def __repr__(cls) -> str:
        return f"<class '{cls.__module__}.{cls.__name__}'>"


def typed(name: str, dtype: Any, module: str = "minigrad", is_cuda: bool = False) -> type:
    """The legacy type of a dtype."""
    doc = f"Legacy type of {dtype}: `{name}(2, 3)`, `{name}([1, 2])`; isinstance(x, {name}) asks for the dtype."
    fields = {"dtype": dtype, "is_cuda": is_cuda, "__doc__": doc, "__module__": module, "is_sparse": False}
    return TypedTensorMeta(name, (), fields)


for _dtype, _name in _TYPE_NAMES.items():
    globals()[_name] = typed(_name, getattr(_core, _dtype))


def _assert(condition: Any, message: str) -> None:
    """`assert condition, message`, as a function."""
    assert condition, message


class SymInt:
    """A symbolic int of PyTorch's compiler; nothing is one here."""


class SymFloat:
    """A symbolic float of PyTorch's compiler; nothing is one here."""


class SymBool:
    """A symbolic bool of PyTorch's compiler; nothing is one here."""


def sym_int(a: Any) -> int:
    """int(a)."""
    return int(a)


def sym_float(a: Any) -> float:
    """float(a)."""
    return float(a)


def sym_not(a: Any) -> bool:
    """not a."""
    return not a


def sym_max(a: Any, b: Any) -> Any:
    """max(a, b), a float when one of them is."""
    out = max(a, b)
    return float(out) if isinstance(a, float) or isinstance(b, float) else out


def sym_min(a: Any, b: Any) -> Any:
    """min(a, b), a float when one of them is."""
    out = min(a, b)
    return float(out) if isinstance(a, float) or isinstance(b, float) else out


def sym_ite(b: Any, t: Any, f: Any) -> Any:
    """t if b else f."""
    return t if b else f


def sym_sum(args: Any) -> Any:
    """sum(args)."""
    return sum(args)


def sym_sqrt(a: Any) -> float:
    """math.sqrt(a)."""
    return float(a) ** 0.5


class AbsentDtype:
    """A dtype of PyTorch that minigrad has not (uint16, float8 …): a name for tables and comparisons; no tensor can have it."""

    is_floating_point = is_complex = is_signed = False

    def __init__(self, name: str) -> None:
        self._name = name
        self.is_floating_point = name.startswith("float")
        self.is_complex = name.startswith("complex")

    def __repr__(self) -> str:
        from minigrad import _tensor

        return _tensor.TYPE_PREFIX + self._name

    def __reduce__(self) -> str:
        return self._name

    def to_real(self) -> AbsentDtype:
        """Itself."""
        return self


_ABSENT = (
    "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
    "float4_e2m1fn_x2", "complex32", "qint8", "quint8", "qint32", "quint4x2", "quint2x4", "bits8", "bits16",
    "bits1x8", "bits2x4", "bits4x2",
    *(f"{kind}{n}" for kind in ("int", "uint") for n in range(1, 8)),
)  # fmt: skip
for _name in _ABSENT:
    globals()[_name] = AbsentDtype(_name)
chalf = complex32  # noqa: F821  made by the loop above
__all__ += [*_ABSENT, "chalf"]
