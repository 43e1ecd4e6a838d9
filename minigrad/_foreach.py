"""minigrad._foreach_*: one op on every tensor of a list, under the names that optimizers written for torch call.

Out-of-place forms return a tuple, in-place forms the list they were given. Arguments after the first are lists as long as it
(tensors or numbers), or one number or tensor for all. Each function is made from the op of that name when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import minigrad as mg

Tensor = mg.Tensor

_POINTWISE = """abs acos add addcdiv addcmul asin atan ceil clamp_max clamp_min cos cosh div erf erfc exp expm1 floor frac lerp lgamma
    log log10 log1p log2 maximum minimum mul neg pow reciprocal round rsqrt sigmoid sign sin sinh sqrt sub tan tanh trunc""".split()
_FRESH = ["clone", "max", "mm", "norm", "powsum"]
_INPLACE = ["copy", "zero"]

__all__ = [
    "_foreach_" + name for name in (*_POINTWISE, *_FRESH, *(base + "_" for base in (*_POINTWISE, *_INPLACE)))
]  # fmt: skip


def __getattr__(name: str) -> Callable[..., Any]:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = _make(name)
    return globals()[name]


def _norm(x: Tensor, ord: float = 2, dtype: Any = None) -> Tensor:
    return mg.linalg.vector_norm(x, ord, dtype=dtype)


def _powsum(x: Tensor, ord: float = 2, dtype: Any = None) -> Tensor:
    return x.abs().pow(ord).sum(dtype=dtype)


def _call_of(base: str) -> Callable[..., Any]:
    """The function of one tensor behind _foreach_<base>."""
    if base in ("norm", "powsum"):
        return _norm if base == "norm" else _powsum
    if base in ("maximum_", "minimum_"):
        whole = getattr(mg, base[:-1])
        return lambda x, other: x.copy_(whole(x, _tensor_like(other, x)))
    if base in ("maximum", "minimum"):
        whole = getattr(mg, base)
        return lambda x, other: whole(x, _tensor_like(other, x))
    if base in ("addcdiv", "addcdiv_", "addcmul", "addcmul_"):
        method = getattr(Tensor, base)
        return lambda x, a, b, value=1: method(x, a, b, value=_number(value))
    if base in ("add", "add_", "sub", "sub_"):
        method = getattr(Tensor, base)
        return lambda x, other, alpha=1: method(x, other) if alpha == 1 else method(x, other, alpha=alpha)
    if base in ("pow", "lerp", "lerp_"):
        return getattr(mg if base == "pow" else Tensor, base)
    return getattr(Tensor, base)


def _tensor_like(value: Any, x: Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else mg.full((), value, dtype=x.dtype, device=x.device)


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value


def _columns(first: Sequence[Any], rest: tuple[Any, ...]) -> list[Sequence[Any]]:
    """Every argument as one entry per tensor.

    Raises:
        RuntimeError: the list is empty, or another has a different length.
    """
    if len(first) == 0:
        raise RuntimeError("Tensor list must have at least one tensor.")
    columns: list[Sequence[Any]] = [first]
    for value in rest:
        if not isinstance(value, (list, tuple)):
            columns.append([value] * len(first))
            continue
        if len(value) != len(first):
            if value and isinstance(value[0], Tensor):
                raise RuntimeError(
                    f"Tensor lists must have the same number of tensors, got {len(first)} and {len(value)}"
                )
            raise RuntimeError("Tensor list must have same number of elements as scalar list.")
        columns.append(value)
    return columns


def _make(name: str) -> Callable[..., Any]:
    base = name.removeprefix("_foreach_")
    call = _call_of(base)
    last = {"addcdiv": "value", "addcmul": "value", "lerp": "weight"}.get(base.rstrip("_"))
    names = ("scalar", "scalars", "other", "exponent", "tensors1", "tensor1", "tensor2", "weights", "src", last)

    def foreach(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = [kwargs.pop(key) for key in names if key in kwargs]  # lists passed by keyword, in their order
        if not isinstance(self, (list, tuple)):  # a number to the power of each tensor
            rows = zip([self] * len(args[0]), args[0], strict=True)
            return tuple(call(*row) for row in rows)
        if base in ("norm", "powsum", "clone", "copy_") and not given:
            args, options = _split(base, args, kwargs)
        else:
            options = kwargs
        rows = zip(*_columns(self, (*args, *given)), strict=True)
        results = [call(*row, **options) for row in rows]
        return self if base.endswith("_") else tuple(results)

    foreach.__name__ = foreach.__qualname__ = name
    foreach.__doc__ = f"`{base}` of every tensor in a list."
    return foreach


def _split(base: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional options of norm and copy_ as keywords; what is left are columns."""
    if base in ("norm", "powsum"):
        return (), {**dict(zip(("ord", "dtype"), args, strict=False)), **kwargs}
    return args[:1], kwargs
