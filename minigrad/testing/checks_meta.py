"""The meta device: what an op makes of tensors without data has the shape, strides and dtype of what it makes of real ones, forwards and
backwards.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad import _core
from minigrad.testing.calls import Skip, accepted_dtypes, as_tuple, tensors, writes
from minigrad.testing.compare import message
from minigrad.testing.samples import Sample, samples

# PyTorch's words where a result depends on values that are not there.
_NO_VALUES = ("Tensor.item() cannot be called on meta tensors", "Cannot copy out of meta tensor; no data!", "with Meta tensors")


def _holds_tensor(value: Any) -> bool:
    return isinstance(value, mg.Tensor) or (type(value) in (list, tuple) and any(_holds_tensor(v) for v in value))


def _on_meta(value: Any) -> Any:
    if isinstance(value, mg.Tensor):
        shadow = mg.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
        return shadow.requires_grad_(value.requires_grad)
    if type(value) in (list, tuple):
        return type(value)(_on_meta(v) for v in value)
    return value


def _geometry(t: Any) -> tuple[Any, ...]:
    strides = tuple(s for s, n in zip(t.stride(), t.shape, strict=True) if n > 1) if t.numel() else ()
    return tuple(t.shape), t.dtype, strides, t.requires_grad


def _leaf_gradients(results: tuple[Any, ...], leaves: list[Any]) -> list[Any]:
    roots = [r for r in results if r.requires_grad]
    if not roots:
        return []
    return list(mg.autograd.grad(roots, leaves, [mg.ones_like(r) for r in roots], allow_unused=True))


def meta_device(info: Any) -> None:
    """Every sample on the meta device against the same sample on the CPU."""
    if not any(a.kind in ("tensor", "operand", "tensors") for a in info.args) and not info.composite:
        raise Skip("makes tensors out of numbers")
    dtypes = accepted_dtypes(info)
    if not dtypes:
        raise Skip(info.info.get("no_samples_reason") or "no samples")
    dtype = "float32" if "float32" in dtypes else dtypes[0]
    compared = 0
    for sample in samples(info, dtype):
        compared += _compare(info, sample, dtype)
    if not compared:
        raise Skip("the results depend on values")


def _compare(info: Any, sample: Sample, dtype: str) -> bool:
    graph = not writes(info) and not info.info.get("no_grad_reason") and (info.differentiable or info.composite)
    args, kwargs, leaves = tensors(info, sample, requires_grad=graph)
    if not any(_holds_tensor(v) for v in (*args, *kwargs.values())):
        return False
    shadows = [_on_meta(leaf) for leaf in leaves]
    twins = {id(leaf): shadow for leaf, shadow in zip(leaves, shadows, strict=True)}

    def swap(v: Any) -> Any:
        return twins[id(v)] if id(v) in twins else type(v)(swap(x) for x in v) if type(v) in (list, tuple) else _on_meta(v)

    try:
        shapes_only = as_tuple(info.function(*[swap(a) for a in args], **{k: swap(v) for k, v in kwargs.items()}))
        gradients = _leaf_gradients(shapes_only, shadows)
    except (RuntimeError, NotImplementedError) as error:
        if any(words in str(error) for words in _NO_VALUES):
            return False
        raise AssertionError(message(info.name, sample, dtype, "meta_device", f"{type(error).__name__}: {error}")) from error
    real = as_tuple(info.function(*args, **kwargs))
    before = _core.use_native_formulas(False)  # they may lay a gradient out in full where the formula expands it
    try:
        expected = (*real, *_leaf_gradients(real, leaves))
    finally:
        _core.use_native_formulas(before)
    for got, want in zip((*shapes_only, *gradients), expected, strict=True):
        if want is None and got is None:
            continue
        assert got.is_meta and _geometry(got) == _geometry(want), message(
            info.name, sample, dtype, "meta_device", f"{got.device} {_geometry(got)}, on the CPU {_geometry(want)}"
        )
    return True
