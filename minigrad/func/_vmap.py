"""vmap: run a function written for one sample on a whole batch at once.

The function runs once. Its arguments are data-less tensors that show one slice's shape and stand for the batch; every op on them
goes through call() to a batching rule (_batch.py, _rules*.py) that computes all slices together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from minigrad import _core
from minigrad.func import _batch, _rules, _rules_index, _rules_linear, _rules_random  # noqa: F401  the rules register themselves
from minigrad.func._tree import broadcast_prefix, flatten, unflatten
from minigrad.op import functions

Tensor = _core.Tensor


class Level:
    """One running vmap: batch size and randomness; a context manager."""

    def __init__(self, size: int, randomness: str) -> None:
        self.size, self.randomness = size, randomness

    def __enter__(self) -> Level:
        self.handle = _core.vmap_enter(functools.partial(_batch.run, self), self.size, self.randomness == "different")
        return self

    def __exit__(self, *exc: Any) -> None:
        _core.vmap_leave(self.handle)
        self.handle = None  # the handler holds this object: no cycle may keep it alive

    def wrap(self, x: Any, dim: int | None) -> Any:
        """The data-less tensor for slice dimension `dim` of x."""
        if dim is None:
            return x
        return _core.vmap_wrap(self.handle, x if dim == 0 else functions["movedim"](x, dim, 0))

    def unwrap(self, x: Tensor) -> tuple[Tensor, bool]:
        """(tensor of the level below, whether its first dimension is the batch)."""
        return _core.vmap_unwrap(self.handle, x)


def vmap(func: Callable, in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *, chunk_size: int | None = None) -> Callable:
    """Vectorise `func` over one dimension of its arguments.

    Args:
        func: takes and returns tensors (nested in tuples, lists, dicts); no control flow on values, no .item().
        in_dims: which dimension of each argument is the batch; an int for all, or a nest like the arguments with None for
            what is the same for all slices.
        out_dims: where the batch goes in the results; an int or a nest like the results.
        randomness: "error", "same" (one draw for all slices) or "different" (a draw for each slice).
        chunk_size: work on that many slices at a time (less memory); None means all.
    Returns:
        the function on batches.
    Raises:
        ValueError for in_dims, out_dims or sizes that do not fit; RuntimeError for what needs a value inside, e.g. `if tensor:`.
    Example:
        >>> mg.vmap(mg.dot)(mg.ones(2, 3), mg.ones(2, 3))
        tensor([3., 3.])
    """
    if randomness not in ("error", "same", "different"):
        raise RuntimeError(f"vmap: only allowed values for randomness are 'error', 'different', or 'same': got {randomness!r}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0: got {chunk_size}")

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, dims, spec, size = _prepare(args, in_dims, func)
        bound = functools.partial(func, **kwargs) if kwargs else func  # keyword arguments are the same for all slices
        if chunk_size is None or chunk_size >= size:
            return _run(bound, leaves, dims, spec, size, out_dims, randomness, ())
        return _chunked(bound, leaves, dims, spec, size, out_dims, randomness, chunk_size)

    return wrapped


def _name(func: Callable) -> str:
    return getattr(getattr(func, "func", func), "__name__", repr(func))


def _prepare(args: tuple, in_dims: Any, func: Callable) -> tuple[list, list, Any, int]:
    """(leaves, batch dim per leaf, spec of args, batch size), checked."""
    name = _name(func)
    if not isinstance(in_dims, (int, tuple, list)):
        raise ValueError(
            f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): expected `in_dims` to be int or a (potentially nested) tuple "
            f"matching the structure of inputs, got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a "
            "function with no inputs. The latter is unsupported."
        )
    leaves, spec = flatten(args)
    dims = broadcast_prefix(tuple(in_dims) if isinstance(in_dims, list) else in_dims, spec)
    if dims is None:
        raise ValueError(f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): in_dims is not compatible with the structure of inputs: {spec}.")
    sizes = set()
    for k, (x, dim) in enumerate(zip(leaves, dims)):
        if dim is None:
            continue
        if isinstance(dim, bool) or not isinstance(dim, int):
            raise ValueError(
                f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): got in_dim={dim} for an input but in_dim must be either an "
                "integer dimension or None."
            )
        if not isinstance(x, Tensor):
            raise ValueError(
                f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): got in_dim={dim} for an input but the input is of type "
                f"{type(x)}. We cannot vmap over non-Tensor arguments, please use None as the respective in_dim."
            )
        if not -x.dim() <= dim < x.dim():
            raise ValueError(
                f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): got in_dim={dim} for some input, but that input is a Tensor "
                f"of dimensionality {x.dim()} so expected in_dim to satisfy -{x.dim()} <= in_dim < {x.dim()}."
            )
        dims[k] = dim % x.dim()
        sizes.add(x.shape[dim])
    if not sizes:
        raise ValueError(f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): at least one input must have a batch dimension.")
    if len(sizes) > 1:
        raise ValueError(
            f"vmap: expected all tensors to have the same size in the mapped dimension, got sizes {sorted(sizes)} for the mapped dimension"
        )
    return leaves, dims, spec, sizes.pop()


def _run(func: Callable, leaves: list, dims: list, spec: Any, size: int, out_dims: Any, randomness: str, note: tuple) -> Any:
    """One pass over the whole batch; `note` receives (out dims, spec) instead of applying them when it is a list."""
    with Level(size, randomness) as level:
        inside = [level.wrap(x, d) for x, d in zip(leaves, dims)]
        out = func(*unflatten(inside, spec))
        results, out_spec = flatten(out)
        places = broadcast_prefix(tuple(out_dims) if isinstance(out_dims, list) else out_dims, out_spec)
        if places is None:
            raise ValueError(
                f"vmap({_name(func)}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure of outputs. "
                f"out_dims has structure of {out_dims!r} but outputs has structure of {out_spec}."
            )
        made = [_unwrap(level, r, place, func) for r, place in zip(results, places)]
    if isinstance(note, list):
        note.append((places, out_spec))
        return made
    return unflatten(made, out_spec)


def _unwrap(level: Level, x: Any, place: Any, func: Callable) -> Any:
    name = _name(func)
    if not isinstance(x, Tensor):
        if x is None and place is None:
            return None
        raise ValueError(
            f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(x)}. Did you mean to set out_dims= to None for output?"
        )
    if place is not None and (isinstance(place, bool) or not isinstance(place, int)):
        raise ValueError(f"vmap({name}, ..., out_dims={place}): `out_dims` must be an int, None or a nest of them.")
    inner, batched = level.unwrap(x)
    if place is None:
        if batched:
            raise ValueError(f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None")
        return inner
    if not -inner.dim() - (not batched) <= place < inner.dim() + (not batched):
        raise IndexError(
            f"vmap({name}): dimension out of range (expected to be in range of [{-inner.dim()}, {inner.dim() - 1}], but got {place})"
        )
    if not batched:
        inner = inner.unsqueeze(0).expand((level.size, *inner.shape))
    return inner if place == 0 else functions["movedim"](inner, 0, place)


def _chunked(func: Callable, leaves: list, dims: list, spec: Any, size: int, out_dims: Any, randomness: str, chunk: int) -> Any:
    pieces, note = [], []
    for start in range(0, size, chunk):
        n = min(chunk, size - start)
        part = [x if d is None else functions["narrow"](x, d, start, n) for x, d in zip(leaves, dims)]
        pieces.append(_run(func, part, dims, spec, n, out_dims, randomness, note))
    places, out_spec = note[0]
    joined = [p[0] if place is None else functions["cat"](list(p), place) for p, place in zip(zip(*pieces), places)]
    return unflatten(joined, out_spec)


def batched_repr(x: Tensor) -> str:
    """repr of a data-less tensor."""
    level, inner, batched = _core.standin(x)
    value = "\n".join("    " + line for line in repr(inner).split("\n"))
    return f"BatchedTensor(lvl={level}, bdim={0 if batched else None}, value=\n{value}\n)"
