"""Inputs of op_db for minigrad: tensors rebuilt from their storage with the same strides, aliasing kept; other layouts of a case."""

from __future__ import annotations

import random
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

import minigrad as mg

NUMPY_DTYPES = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.float32, torch.float64}
CASES, CASES_SECOND, CASES_OUT, RELAID = 20, 8, 6, 8


class NoCounterpart(Exception):
    """Something of the sample (a dtype, a layout, a class) does not exist in minigrad."""


def dtype_name(dtype: Any) -> str:
    """ "float32" for torch.float32 and minigrad.float32."""
    return str(dtype).rsplit(".", 1)[-1]


def map_tree(f: Callable[[Any], Any], x: Any) -> Any:
    """`f` over the leaves of tuples, lists, dicts and slices."""
    if isinstance(x, torch.Size):
        return tuple(x)
    if isinstance(x, tuple):
        items = [map_tree(f, v) for v in x]
        return type(x)(*items) if hasattr(x, "_fields") else tuple(items)
    if isinstance(x, list):
        return [map_tree(f, v) for v in x]
    if isinstance(x, dict):
        return {k: map_tree(f, v) for k, v in x.items()}
    if isinstance(x, slice):
        return slice(map_tree(f, x.start), map_tree(f, x.stop), map_tree(f, x.step))
    return f(x)


@dataclass
class Case:
    """One call of an op: a sample of op_db, in the layout it came in or in another one."""

    index: int
    input: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    process: Callable[[Any], Any] | None = None  # output_process_fn_grad, where the sample brings one
    broadcasts: bool = False
    layout: str = "as given"
    notes: list[str] = field(default_factory=list)

    def map(self, f: Callable[[Any], Any]) -> tuple[list[Any], dict[str, Any]]:
        return [map_tree(f, v) for v in (self.input, *self.args)], map_tree(f, dict(self.kwargs))

    def describe(self) -> str:
        args, kwargs = self.map(_brief)
        text = ", ".join([_text(a) for a in args] + [f"{k}={_text(v)}" for k, v in kwargs.items()])
        return f"sample {self.index} ({self.layout}): ({text})"


class _Brief(str):
    def __repr__(self) -> str:
        return str(self)


def _brief(x: Any) -> Any:
    if not isinstance(x, torch.Tensor):
        return _Brief(getattr(x, "__name__", repr(x))) if callable(x) else x
    if x.layout != torch.strided or x.device.type != "cpu":
        return _Brief(f"{x.layout} tensor on {x.device.type}")
    values = f"={x.tolist()}" if x.numel() <= 4 and x.dtype != torch.complex32 else ""
    strides = "" if x.is_contiguous() else f" strides {tuple(x.stride())}"
    return _Brief(f"{dtype_name(x.dtype)}{list(x.shape)}{strides}{values}")


def _text(x: Any) -> str:
    text = repr(x)
    return text if len(text) < 300 else text[:297] + "..."


def seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def spread(items: list[Any], count: int) -> list[Any]:
    """At most `count` items, evenly spaced, the first and the last among them."""
    if len(items) <= count:
        return items
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _default_process(sample: Any) -> bool:
    return getattr(sample.output_process_fn_grad, "__qualname__", "").startswith("SampleInput.__init__")


def case_of(sample: Any, index: int) -> Case:
    process = None if _default_process(sample) else sample.output_process_fn_grad
    return Case(index, sample.input, tuple(sample.args), dict(sample.kwargs), process, sample.broadcasts_input)


def cases(op: Any, dtype: torch.dtype, requires_grad: bool, count: int = CASES, relaid: bool = True) -> list[Case]:
    """The samples of an entry, capped, and some of them again in other layouts."""
    seed()
    every = [case_of(s, i) for i, s in enumerate(op.sample_inputs("cpu", dtype, requires_grad=requires_grad))]
    found = spread(every, count)
    others = [relay(c, ("stride 2", "column-major")[k % 2]) for k, c in enumerate(spread(every, RELAID))] if relaid else []
    return found + [c for c in others if c is not None]


def relay(case: Case, layout: str) -> Case | None:
    """The case with every strided tensor laid out otherwise (same values), or None when nothing changes."""
    memo: dict[int, Any] = {}
    changed = False

    def lay(x: Any) -> Any:
        nonlocal changed
        if not isinstance(x, torch.Tensor) or x.layout != torch.strided or x.dim() == 0 or x.numel() < 2:
            return x
        if id(x) not in memo:
            changed = True
            memo[id(x)] = _laid(x, layout)
        return memo[id(x)]

    args, kwargs = case.map(lay)
    return replace(case, input=args[0], args=tuple(args[1:]), kwargs=kwargs, layout=layout) if changed else None


def upcast(case: Case) -> Case | None:
    """The case in double precision, or None when it is already."""
    wider = {torch.float32: torch.float64, torch.bfloat16: torch.float64, torch.float16: torch.float64, torch.complex64: torch.complex128}
    memo: dict[int, Any] = {}

    def cast(x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or x.dtype not in wider:
            return x
        if id(x) not in memo:
            memo[id(x)] = x.detach().to(wider[x.dtype]).requires_grad_(x.requires_grad)
        return memo[id(x)]

    args, kwargs = case.map(cast)
    return replace(case, input=args[0], args=tuple(args[1:]), kwargs=kwargs) if memo else None


def _laid(x: torch.Tensor, layout: str) -> torch.Tensor:
    with torch.no_grad():
        if layout == "stride 2":
            new = torch.empty((*x.shape[:-1], 2 * x.shape[-1]), dtype=x.dtype)[..., ::2]
        else:
            new = torch.empty(x.shape[::-1], dtype=x.dtype).permute(*range(x.dim() - 1, -1, -1))
        new = new.detach()
        new.copy_(x)
    return new.requires_grad_(x.requires_grad)


class Rebuild:
    """Fresh copies of a case's tensors in `module` (torch or minigrad); the same tensor twice stays the same tensor."""

    def __init__(self, module: Any, rebind: Callable[[Any], Any], requires_grad: bool = False) -> None:
        self.module, self.rebind, self.requires_grad = module, rebind, requires_grad
        self.leaves: list[Any] = []
        self.made: dict[int, Any] = {}
        self.storages: dict[Any, Any] = {}
        self.alive: list[Any] = []
        self.keep: list[Any] = []

    def __call__(self, x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            if id(x) not in self.made:
                self.keep.append(x)
                self.made[id(x)] = self.tensor(x)
            return self.made[id(x)]
        if self.module is torch:
            return x
        return self.constant(x)

    def constant(self, x: Any) -> Any:
        """dtypes, devices, memory formats, generators and functions of torch, as minigrad's."""
        if isinstance(x, (torch.dtype, torch.layout, torch.memory_format)):
            found = getattr(mg, dtype_name(x), None)
            if found is None:
                raise NoCounterpart(f"minigrad has no {x}")
            return found
        if isinstance(x, torch.device):
            return x.type
        if isinstance(x, torch.Generator):
            return mg.Generator()
        if isinstance(x, (torch.nn.Module, types.FunctionType, types.BuiltinFunctionType)) or type(x).__module__.startswith("torch"):
            return self.rebind(x)
        return x

    def tensor(self, x: torch.Tensor) -> Any:
        if x.layout != torch.strided or x.device.type != "cpu":
            raise NoCounterpart(f"a {x.layout} tensor on {x.device.type}")
        grad = self.requires_grad and x.requires_grad
        x = x.detach().resolve_conj().resolve_neg()
        if self.module is torch and x.numel() == 0:
            t = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype)
        elif x.numel() == 0:
            t = mg.zeros(tuple(x.shape), dtype=self.constant(x.dtype))
        else:
            t = self.module.as_strided(self.flat(x), tuple(x.shape), tuple(x.stride()), x.storage_offset())
        if grad:
            t = t.detach().requires_grad_()
            self.leaves.append(t)
        return t

    def flat(self, x: torch.Tensor) -> Any:
        """The whole storage as one 1-d tensor, shared by all tensors that lie in it."""
        key = (x.untyped_storage().data_ptr(), x.dtype)
        if key not in self.storages:
            whole = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage())
            self.storages[key] = whole.clone() if self.module is torch else to_minigrad(whole)
            self.alive.append(whole)  # a resolved conjugate is a temporary: its address must not come back as another storage
        return self.storages[key]

    def case(self, case: Case) -> tuple[list[Any], dict[str, Any]]:
        return case.map(self)


def to_minigrad(x: torch.Tensor) -> Any:
    """A contiguous 1-d tensor's values as a minigrad tensor."""
    dtype = getattr(mg, dtype_name(x.dtype), None)
    if dtype is None:
        raise NoCounterpart(f"minigrad has no {x.dtype}")
    if x.dtype in NUMPY_DTYPES or x.dtype in (torch.complex64, torch.complex128):
        return mg.from_numpy(x.numpy().copy())
    if x.dtype == torch.bfloat16:
        return mg.from_numpy(x.float().numpy().copy()).to(dtype)
    raise NoCounterpart(f"no exchange of {x.dtype}")


def tensors(tree: Any, kind: type) -> Iterator[Any]:
    """The tensors of class `kind` in a tree, in order."""
    if isinstance(tree, kind):
        yield tree
    elif isinstance(tree, (tuple, list)):
        for v in tree:
            yield from tensors(v, kind)
    elif isinstance(tree, dict):
        for v in tree.values():
            yield from tensors(v, kind)
