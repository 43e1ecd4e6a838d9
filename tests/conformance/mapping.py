"""minigrad's counterpart of an op_db entry: the same dotted name, or the entry's own lambda with `torch` meaning minigrad."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import operator
import types
from collections.abc import Callable
from typing import Any

import torch

import minigrad as mg

from .convert import NoCounterpart

# Public spellings of entries that are PyTorch internals without a public name.
PUBLIC: dict[str, Callable[..., Any]] = {
    "slice": lambda x, dim=0, start=None, end=None, step=1: x[(slice(None),) * (dim % x.dim()) + (slice(start, end, step),)],
}


def plain_call(op: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Stands for wrapper_set_seed, which would hide from us that an op is random."""
    return op(*args, **kwargs)


def from_tests(f: Any) -> bool:
    """Whether `f` is a Python function of the test database itself, not of the library."""
    return isinstance(f, types.FunctionType) and f.__module__.startswith("torch.testing")


def rebound(f: types.FunctionType, module: Any) -> Callable[..., Any]:
    """The function with the global `torch` replaced by `module`, seeding left out, helper wrappers rebound too."""
    names = dict(f.__globals__)
    names["torch"] = module
    names["wrapper_set_seed"] = plain_call
    for name in f.__code__.co_names:
        if name.startswith("gradcheck_wrapper") and from_tests(names.get(name)):
            names[name] = rebound(names[name], module)
    new = types.FunctionType(f.__code__, names, f.__name__, f.__defaults__, f.__closure__)
    new.__kwdefaults__ = f.__kwdefaults__
    return new


def lookup(path: str, root: Any = None) -> Any:
    """`minigrad.<path>`, importing submodules on the way; NoCounterpart when a part is absent."""
    at = mg if root is None else root
    name = getattr(at, "__name__", "minigrad")
    for part in path.split("."):
        name += "." + part
        try:
            at = getattr(at, part)
        except AttributeError:
            try:
                at = importlib.import_module(name)
            except ImportError:
                raise NoCounterpart(f"{name} does not exist") from None
    return at


def function_of(f: Any) -> Any:
    """minigrad's counterpart of a function, module instance or class of torch found among a sample's arguments."""
    if f is torch.Tensor:
        return mg.Tensor
    if from_tests(f):
        return rebound(f, mg)
    if isinstance(f, torch.nn.Module):
        names = [n for n in inspect.signature(type(f).__init__).parameters if n != "self" and hasattr(f, n)]
        return lookup("nn." + type(f).__name__)(**{n: getattr(f, n) for n in names})
    if dataclasses.is_dataclass(f) and not isinstance(f, type):  # options such as nn.LinearCrossEntropyOptions
        return lookup("nn." + type(f).__name__)(**{field.name: getattr(f, field.name) for field in dataclasses.fields(f)})
    if dataclasses.is_dataclass(f) and not isinstance(f, type):
        return lookup("nn." + type(f).__name__)(**{field.name: getattr(f, field.name) for field in dataclasses.fields(f)})
    module = (getattr(f, "__module__", None) or "torch").removeprefix("torch").lstrip(".")
    for path in (module, "nn.functional", ""):
        try:
            return lookup(f"{path}.{f.__name__}".lstrip("."))
        except (NoCounterpart, AttributeError):
            continue
    raise NoCounterpart(f"no counterpart of {f!r}")


def torch_function(op: Any) -> Callable[..., Any]:
    return rebound(op.op, torch) if from_tests(op.op) else op.op


def function(op: Any) -> Callable[..., Any]:
    """The function form of an entry in minigrad."""
    if op.name in PUBLIC:
        return PUBLIC[op.name]
    if from_tests(op.op):
        return rebound(op.op, mg)
    if op.name.startswith("__"):
        return lookup(op.name, mg.Tensor)
    found = lookup(op.name.removeprefix("torch.ops.aten.").removeprefix("torch."))
    return lookup(op.name, mg.Tensor) if isinstance(found, mg.dtype) else found  # mg.cfloat is a dtype, x.cfloat() the op


def _variant(op: Any, theirs: Any, suffix: str = "") -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """(torch's, minigrad's) method or in-place form, or None where PyTorch has none."""
    if theirs is None:
        return None
    if isinstance(theirs, functools.partial):
        return theirs, functools.partial(function_of(theirs.func), *theirs.args, **theirs.keywords)
    if from_tests(theirs):
        return rebound(theirs, torch), rebound(theirs, mg)
    return theirs, lookup(getattr(theirs, "__name__", op.name + suffix), mg.Tensor)


def methods(op: Any) -> list[tuple[Callable[..., Any], Callable[..., Any]]]:
    """Method and operator forms."""
    found = [_variant(op, op.method_variant), _operator(op.operator_variant)]
    return [pair for pair in found if pair is not None]


def inplaces(op: Any) -> list[tuple[Callable[..., Any], Callable[..., Any]]]:
    found = [_variant(op, op.inplace_variant, "_"), _operator(op.inplace_operator_variant)]
    return [pair for pair in found if pair is not None]


def _operator(f: Any) -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    return None if f is None or getattr(operator, f.__name__, None) is not f else (f, f)


def gradient_form(op: Any, module: Any, f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` behind the entry's gradcheck_wrapper (symmetric or triangular inputs, log-probabilities), so that conventions agree."""
    wrapper = op.gradcheck_wrapper
    if wrapper.__name__ in ("<lambda>", "wrapper_set_seed") or wrapper.__name__.startswith("gradcheck_wrapper_masked"):
        return f
    return functools.partial(rebound(wrapper, module), f)


def result_mask(op: Any, args: list[Any], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """For masked operations: which outputs are defined at all (the others are not compared); arguments are torch's."""
    if not op.name.startswith("masked."):
        return None
    if kwargs.get("mask") is not None:
        return torch.masked._output_mask(op.op, *args, **kwargs)
    masks = [kwargs.get(n) for n in ("input_mask", "other_mask")]
    if all(m is not None for m in masks):
        return torch.masked._input_mask(args[0], *args[1:], mask=torch.logical_and(*masks))
    return None
