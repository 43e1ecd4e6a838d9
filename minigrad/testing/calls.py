"""Calling a registered op from a sample: as minigrad, as NumPy reference, and with every argument spelled out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.testing.compare import dtype_name
from minigrad.testing.samples import COMPLEX, FLOATS, INTS, Sample, Spec, build, samples

ALL_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
# What the pointwise families accept; other ops are asked, see `accepted_dtypes`.
_FAMILY_DTYPES = {
    "unary_no_bool": ALL_DTYPES[:-1],
    "unary_modulus": ALL_DTYPES[:-1],
    "binary_no_bool": ALL_DTYPES[:-1],
    "binary_num": ALL_DTYPES[:-1],
    "ternary_num": ALL_DTYPES[:-1],
    "unary_float_only": FLOATS,
    "binary_float_only": FLOATS,
    "ternary_float_only": FLOATS,
    "bitwise": (*INTS, "bool"),
    "shift": INTS,
}


class Skip(Exception):
    """A check does not apply to an op; the text says why."""


def tensors(info: Any, sample: Sample, requires_grad: bool = False) -> tuple[list[Any], dict[str, Any], list[Any]]:
    """Built arguments, keyword arguments, and the floating leaves among them (marked to require grad when asked)."""
    leaves: list[Any] = []

    def make(spec: Spec) -> Any:
        t = build(spec, mg)
        if spec.grad and (spec.dtype in FLOATS or spec.dtype in COMPLEX):
            leaves.append(t.requires_grad_() if requires_grad else t)
        return t

    args, kwargs = sample.map(make)
    names = [a.name for a in info.args[: len(args)]]
    if "batch_sizes" in names and args[names.index("batch_sizes")] is not None:
        args[names.index("batch_sizes")] = args[names.index("batch_sizes")].cpu()  # sizes of packed sequences are on the CPU always
    return args, kwargs, leaves


def writes(info: Any) -> bool:
    """Whether the op writes into its first argument (`x!` in the schema; a composite says so by its name)."""
    return any(a.mutated for a in info.args) or (info.composite and info.name.endswith("_"))


def as_tuple(result: Any) -> tuple[Any, ...]:
    """The tensors of a result, one or several."""
    if isinstance(result, mg.Tensor):
        return (result,)
    return tuple(r for r in result if isinstance(r, mg.Tensor)) if isinstance(result, (tuple, list)) else ()


def accepted_dtypes(info: Any) -> tuple[str, ...]:
    """dtypes an op takes: declared, known from its family, or found by trying its first sample."""
    if "dtypes" in info.info:
        return tuple(info.info["dtypes"])
    if info.pointwise:
        return _FAMILY_DTYPES.get(info.meta, ALL_DTYPES)
    found = []
    for dtype in ALL_DTYPES:
        try:
            sample = next((s for s in samples(info, dtype) if s.specs()), None)
            if sample is None:
                break
            args, kwargs, _ = tensors(info, sample)
            info.function(*args, **kwargs)
        except (RuntimeError, TypeError):
            if dtype in ("float64", "float32"):
                raise
            continue
        found.append(dtype)
    return tuple(found)


def is_inexact(t: Any) -> bool:
    """Whether a tensor can carry a gradient."""
    return t.is_floating_point() or t.is_complex()


def has_floating_output(info: Any) -> bool:
    """Whether any output can carry a gradient, found by running the first sample that has a floating tensor."""
    for sample in samples(info):
        args, kwargs, leaves = tensors(info, sample)
        if leaves:
            return any(is_inexact(t) for t in as_tuple(info.function(*args, **kwargs)))
    return False


def spelled_out(info: Any, args: list[Any], kwargs: dict[str, Any]) -> list[Any]:
    """All arguments in schema order, defaults filled in."""
    values = list(args)
    for a in info.args[len(args) :]:
        values.append(kwargs[a.name] if a.name in kwargs else a.default if a.has_default else None)
    return values


def reference(info: Any, sample: Sample, out_dtype: str) -> tuple[np.ndarray, ...]:
    """float64 results of the op's expression or `ref`. Raises Skip when it has neither."""

    args, kwargs = sample.map(lambda spec: np.asarray(spec.values))
    # NumPy computes functions of bools in float16, and refuses bools in arithmetic; masks (never first) stay bool.
    for k, v in enumerate(args if info.pointwise else args[:1]):
        if isinstance(v, np.ndarray) and v.dtype == bool and out_dtype != "bool":
            args[k] = v.astype(np.int64)
    with np.errstate(all="ignore"):
        if "no_ref_reason" in info.info:
            raise Skip(info.info["no_ref_reason"])
        if info.ref is not None:
            result = reference_function(info)(*args, **kwargs)
        elif info.expr is not None:
            result = info.expr(*spelled_out(info, args, kwargs))
        else:
            raise Skip("no reference: neither expr= nor ref=")
    results = result if isinstance(result, (tuple, list)) else (result,)
    return tuple(np.asarray(r) for r in results)


def reference_function(info: Any) -> Callable[..., Any]:
    """The op's `ref`, which is a callable or the name of a function of minigrad.ops.shared.reference."""
    if isinstance(info.ref, str):
        from minigrad.ops.shared import reference as _reference

        return getattr(_reference, info.ref)
    return info.ref


def sum_length(info: Any, sample: Sample, results: tuple[Any, ...]) -> tuple[int, float]:
    """(terms summed for one element, their magnitude), for the tolerance; pointwise ops sum nothing."""
    if info.pointwise:
        return 1, 1.0
    if "reduction" in info.info:
        args, kwargs = sample.map(lambda s: np.asarray(s.values))
        length = int(info.info["reduction"](*args, **kwargs))
    else:
        largest = max((s.values.size for s in sample.specs()), default=1)
        length = max(1, largest // max(1, max((r.numel() for r in results), default=1)))
    floats = [np.abs(s.values).max() for s in sample.specs() if s.values.dtype.kind in "fc" and s.values.size]
    return length, max(1.0, *(v * v for v in floats if np.isfinite(v)), 1.0)


def same(a: Any, b: Any) -> bool:
    """Equal dtype, shape and values, NaN equal to NaN."""
    if dtype_name(a.dtype) != dtype_name(b.dtype) or tuple(a.shape) != tuple(b.shape):
        return False
    a, b = a.detach(), b.detach()
    if dtype_name(a.dtype) in ("float16", "bfloat16"):
        a, b = a.to(mg.float32), b.to(mg.float32)
    return np.array_equal(a.numpy(), b.numpy(), equal_nan=is_inexact(a))
