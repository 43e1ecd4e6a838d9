"""What a batching rule sees: `Call`, the table of rules, and the fallback that loops over the slices.

A data-less tensor of vmap level n stands for `inner`, a tensor whose FIRST dimension is the batch (or for a tensor that is the same for
all slices). csrc/python/bind_func.cpp hands every op on such tensors to `run()`; a rule computes the inner results by calling public ops
on the inner tensors, so that levels nest and outer levels record gradients. Legend: B batch size, r logical rank (without the batch).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from minigrad import _core
from minigrad.op import functions, registry

Tensor = _core.Tensor

rules: dict[str, Callable] = {}  # by op name
families: dict[str, Callable] = {}  # by meta family, for ops without a rule of their own
_warned: set[str] = set()
_signatures: dict[str, tuple[int, list[str]]] = {}
_twins: dict[str, Callable] = {}


def rule(*names: str) -> Callable[[Callable], Callable]:
    """Register a batching rule for ops by name."""

    def register(fn: Callable) -> Callable:
        for name in names:
            rules[name] = fn
        return fn

    return register


def family(*names: str) -> Callable[[Callable], Callable]:
    """Register a batching rule for all ops of a meta family."""

    def register(fn: Callable) -> Callable:
        for name in names:
            families[name] = fn
        return fn

    return register


class Same:
    """A rule's result that is the same for all slices."""

    def __init__(self, *results: Tensor) -> None:
        self.results = results


class Call:
    """One op call at one vmap level.

    Attributes:
        level: the running vmap level (size, randomness).
        name: op name.
        args: inner values in schema order.
        flags: per argument, whether it is batched (a list of flags for a list of tensors).
        inplace: the first (or `x!`) argument is to be overwritten.
        shapes: logical shapes of the outputs.
        compute: dtype the op calculates in at logical shapes.
    """

    __slots__ = ("level", "name", "args", "flags", "inplace", "shapes", "compute", "size", "info")

    def __init__(self, level: Any, name: str, args: list, flags: list, inplace: bool, shapes: list, compute: Any) -> None:
        self.level, self.name, self.args, self.flags = level, name, args, flags
        self.inplace, self.shapes, self.compute, self.size = inplace, shapes, compute, level.size
        self.info = registry[name]

    def index(self, name: str) -> int | None:
        """Position of an argument by name."""
        for k, a in enumerate(self.info.args):
            if a.name == name:
                return k
        return None

    def get(self, name: str) -> Any:
        """Value of an argument by name."""
        k = self.index(name)
        return None if k is None else self.args[k]

    def rank(self, k: int = 0) -> int:
        """Logical rank of tensor argument k."""
        return self.args[k].dim() - (1 if self.flags[k] else 0)

    def shape(self, k: int = 0) -> tuple[int, ...]:
        """Logical shape of tensor argument k."""
        s = tuple(self.args[k].shape)
        return s[1:] if self.flags[k] else s

    def full(self, k: int = 0) -> Any:
        """Tensor argument k with the batch in front, expanded when it is the same for all."""
        return full(self.args[k], self.flags[k], self.size)

    def out(self, k: int = 0) -> tuple[int, ...]:
        """Inner shape of output k."""
        return (self.size, *self.shapes[k])

    def again(self, args: list, name: str | None = None) -> Any:
        """The op itself on other arguments (in place when this call is)."""
        return invoke(name or self.name, args, self.inplace)

    def target(self) -> Tensor:
        """The tensor to be overwritten; raises when it is the same for all slices."""
        k = next((k for k, a in enumerate(self.info.args) if a.mutated), 0)
        if not self.flags[k]:
            refuse_write(self.name)
        return self.args[k]


def refuse_write(name: str) -> None:
    """Raise for an in-place op that would give one tensor a different value per slice."""
    raise RuntimeError(
        f"vmap: {name.rstrip('_')}_(self, *extra_args): inplace arithmetic is not possible because self is the same for all slices"
        " and one of extra_args is batched. Try the out-of-place form, or start from a batched tensor: x.new_zeros(...) or zeros_like(x) "
        "of a batched x instead of mg.zeros(...)."
    )


def full(x: Any, flag: bool, size: int) -> Any:
    """x with the batch dimension in front; expanded when it is the same for all. None stays None."""
    if flag or not isinstance(x, Tensor):
        return x
    return x.unsqueeze(0).expand((size, *x.shape))


def pad_rank(x: Tensor, rank: int) -> Tensor:
    """A batched tensor with dimensions of size 1 inserted after the batch, up to logical rank `rank`."""
    missing = rank + 1 - x.dim()
    if missing <= 0:
        return x
    return functions["view"](x, (x.shape[0], *[1] * missing, *x.shape[1:])) if x.is_contiguous() else _unsqueezed(x, missing)


def _unsqueezed(x: Tensor, n: int) -> Tensor:
    for _ in range(n):
        x = x.unsqueeze(1)
    return x


def reshape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x.reshape unless it has that shape already."""
    return x if tuple(x.shape) == tuple(shape) else x.reshape(shape)


def invoke(name: str, args: list, inplace: bool = False) -> Any:
    """Call an op with values in schema order."""
    signature = _signatures.get(name)
    if signature is None:
        info = registry[name]
        split = next((k for k, a in enumerate(info.args) if a.keyword_only), len(info.args))
        signature = _signatures[name] = (split, [a.name for a in info.args[split:]])
    fn = functions[name]
    if inplace and not any(a.mutated for a in registry[name].args):
        fn = _twins.get(name) or _twins.setdefault(name, _core.op_function(name, True, False))
    split, names = signature
    if not names:
        return fn(*args)
    return fn(*args[:split], **dict(zip(names, args[split:])))


def run(level: Any, name: str, args: list, flags: list, inplace: bool, shapes: list, compute: Any) -> tuple[bool, Any]:
    """Entry from C++: (batched?, one inner tensor per output)."""
    fn = rules.get(name)
    call = Call(level, name, args, flags, inplace, shapes, compute)
    if fn is None:
        fn = rules[name] = families.get(call.info.meta) or _by_declaration(call.info) or fallback
    result = fn(call)
    if isinstance(result, Same):
        return False, result.results
    return True, result if isinstance(result, (tuple, list)) else (result,)


def _by_declaration(info: Any) -> Callable | None:
    """Pointwise ops; others may say `batching="pointwise" | "leading" | …` (a name in `kinds`) or give a function in their declaration."""
    if info.pointwise:
        return pointwise
    declared = info.info.get("batching")
    if declared is not None:
        return declared if callable(declared) else kinds[declared]
    if (info.meta or "").startswith("linalg_"):
        return kinds["matrices"]
    if any(a.kind == "generator" for a in info.args):
        raise RuntimeError(f"vmap: {info.name} draws random numbers and has no batching rule. Try calling it outside of vmap.")
    return None


def pointwise(c: Call) -> Any:
    """Align ranks, call the op once. A batched 0-d operand is cast first: with the batch it would count as more than 0-d in promotion."""
    rank = len(c.shapes[0])
    if c.inplace:
        c.target()
    args = list(c.args)
    for k, flag in enumerate(c.flags):
        if flag is not True:
            continue
        x = args[k]
        if x.dim() == 1 and x.dtype != c.compute and len(args) > 1 and x.dtype != _core.bool and not (c.inplace and k == 0):
            x = x.to(c.compute)
        args[k] = pad_rank(x, rank)
    return c.again(args)


def leading(c: Call) -> Any:
    """Ops that treat every leading dimension as a batch already (most of linalg): the tensors in full, at one rank."""
    rank = max(c.rank(k) for k, a in enumerate(c.args) if isinstance(a, Tensor))
    return c.again([pad_rank(full(a, f, c.size), rank) if isinstance(a, Tensor) else a for a, f in zip(c.args, c.flags)])


kinds: dict[str, Callable] = {"pointwise": pointwise, "leading": leading}


def fallback(c: Call) -> Any:
    """One call per slice, then stack: correct for every op, slow."""
    if c.name not in _warned:
        _warned.add(c.name)
        warnings.warn(
            f"There is a performance drop because {c.name} has no batching rule yet: vmap loops over its {c.size} slices.",
            UserWarning,
            stacklevel=2,
        )
    slices = (tuple(_slice(a, f, i) for a, f in zip(c.args, c.flags)) for i in range(c.size))
    if c.inplace:
        c.target()
        for part in slices:
            invoke(c.name, list(part), True)
        return None
    results = [invoke(c.name, list(part)) for part in slices]
    if not results:
        return _empty_results(c)
    if not isinstance(results[0], (tuple, list)):
        return functions["stack"](results)
    return tuple(functions["stack"]([r[k] for r in results]) for k in range(len(results[0])))


def _slice(value: Any, flag: Any, i: int) -> Any:
    if isinstance(flag, list):
        return [_slice(v, f, i) for v, f in zip(value, flag)]
    return functions["select"](value, 0, i) if flag else value


def _empty_results(c: Call) -> tuple:
    """For a batch of size 0 only shapes are known; the caller casts the dtype."""
    return tuple(functions["_full"](c.out(k), 0, c.compute, None) for k in range(len(c.shapes)))
