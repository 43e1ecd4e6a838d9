"""Batching rules: gather, scatter, indexing with tensors. The batch becomes one more index, arange(B), where indices differ per slice."""

from __future__ import annotations

from typing import Any

from minigrad.func._batch import Call, fallback, full, invoke, pad_rank, reshape, rule
from minigrad.func._rules import shifted
from minigrad.op import functions


def _arange(n: int) -> Any:
    return functions["_arange"](0, n, 1, None, None)


@rule("gather", "_scatter", "_scatter_", "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_")
def _gather(c: Call) -> Any:
    if c.inplace:
        c.target()
    rank = max(c.rank(0), c.rank(2))
    args = [full(a, f, c.size) for a, f in zip(c.args, c.flags)]
    args = [a.unsqueeze(1) if isinstance(f, bool) and hasattr(a, "dim") and a.dim() == 1 else a for a, f in zip(args, c.flags)]
    args[1] = shifted(c.args[1], rank)
    result = invoke(c.name, args, c.inplace)
    return result if c.inplace else reshape(result, c.out(0))


@rule("index_select")
def _index_select(c: Call) -> Any:
    x, dim, index = c.args
    rank = c.rank(0)
    if not c.flags[2]:
        if rank == 0:
            return reshape(invoke(c.name, [x.unsqueeze(1), 1, index]), c.out(0))
        return invoke(c.name, [x, shifted(dim, rank), index])
    if rank == 0:
        return fallback(c)
    d = dim % rank
    index = pad_rank(index, 1)
    if not c.flags[0]:
        taken = functions["index"](x.movedim(d, 0), [index])
    else:
        taken = functions["index"](x.movedim(d + 1, 1), [_arange(c.size).unsqueeze(1), index])
    return reshape(taken.movedim(1, d + 1), c.out(0))


@rule("index_add", "index_add_", "index_copy", "index_copy_", "index_fill", "index_fill_")
def _index_source(c: Call) -> Any:
    if c.rank(0) == 0:
        return fallback(c)
    if c.inplace:
        c.target()
    fill = c.name.startswith("index_fill")
    x, dim = c.full(0), shifted(c.args[1], c.rank(0))
    if not c.flags[2] and not (fill and c.flags[3]):
        return invoke(c.name, [x, dim, c.args[2], c.args[3] if fill else c.full(3), *c.args[4:]], c.inplace)
    # Indices (or values) that differ per slice: x[b, index[b]] = source[b], with the dimension moved next to the batch.
    index = pad_rank(c.full(2), 1)
    at = [_arange(c.size).unsqueeze(1), index]
    if fill:
        value = c.args[3]
        value = value.to(x.dtype) if hasattr(value, "dim") else functions["_full"]((), value, x.dtype, x.device)
        source = pad_rank(value, x.dim() - 1) if c.flags[3] else value
    else:
        source = c.full(3) if c.rank(3) else c.full(3).unsqueeze(1)
        source = source.movedim(dim, 1)
    adds = c.name.startswith("index_add")
    source = source * c.args[4] if adds and c.args[4] != 1 else source
    moved = x.movedim(dim, 1)
    if c.inplace:
        return functions["index_put_"](moved, at, source, adds)
    return functions["index_put"](moved, at, source, adds).movedim(1, dim)


@rule("embedding")
def _embedding(c: Call) -> Any:
    index, weight = c.args[0], c.args[1]
    if c.get("max_norm") is not None:
        return fallback(c)
    if not c.flags[1]:
        return invoke(c.name, list(c.args))
    index = c.full(0)
    batch = _arange(c.size).reshape((c.size, *[1] * (index.dim() - 1)))
    return functions["index"](weight, [batch, index])


@rule("_embedding_backward")
def _embedding_backward(c: Call) -> Any:
    g, index, n, padding, by_freq = c.args
    if by_freq:
        return fallback(c)
    g, index, size = c.full(0), c.full(1), c.size
    if padding is not None:
        g = g.masked_fill((index == padding % n if n else index == padding).unsqueeze(-1), 0)
    moved = index + (_arange(size) * n).reshape((size, *[1] * (index.dim() - 1))).to(index.dtype)
    return reshape(invoke(c.name, [g, moved, size * n, None, False]), c.out(0))


# --- x[i, j, …] -------------------------------------------------------------------------------------------------------
class _Where:
    """Which dims are indexed: `dims` their positions, `k` the rank of the broadcast indices, `front`: their dims come first."""

    def __init__(self, c: Call) -> None:
        indices, flags = c.args[1], c.flags[1]
        self.pairs = [(i, f) for i, f in zip(indices, flags)]
        self.dims = [d for d, (i, _) in enumerate(self.pairs) if i is not None]
        self.k = max((i.dim() - f for i, f in self.pairs if i is not None), default=0)
        adjacent = bool(self.dims) and self.dims == list(range(self.dims[0], self.dims[0] + len(self.dims)))
        self.at = self.dims[0] if adjacent else 0  # where the dims of the indices land in the logical result

    def with_batch(self, size: int) -> list:
        """Index list for a batched input: arange(B), then the others, all broadcasting to (B, *index shape)."""
        batch = _arange(size).reshape((size, *[1] * self.k))
        return [batch, *self.aligned()]

    def aligned(self) -> list:
        return [i if i is None or not f else pad_rank(i, self.k) for i, f in self.pairs]

    def to_logical(self, y: Any) -> Any:
        """(B, *index dims, rest) -> (B, logical result)."""
        if self.at == 0 or self.k == 0:
            return y
        return y.movedim(tuple(range(1, 1 + self.k)), tuple(range(1 + self.at, 1 + self.at + self.k)))

    def to_front(self, y: Any) -> Any:
        """The inverse."""
        if self.at == 0 or self.k == 0:
            return y
        return y.movedim(tuple(range(1 + self.at, 1 + self.at + self.k)), tuple(range(1, 1 + self.k)))


@rule("index")
def _index(c: Call) -> Any:
    x, w = c.args[0], _Where(c)
    if not w.dims:
        return fallback(c)
    if c.flags[0]:
        return reshape(w.to_logical(functions["index"](x, w.with_batch(c.size))), c.out(0))
    y = functions["index"](x, w.aligned())  # the batch is the first of the index dims
    adjacent = w.dims == list(range(w.dims[0], w.dims[0] + len(w.dims)))
    return reshape(y.movedim(w.at, 0) if adjacent and w.at else y, c.out(0))


@rule("index_put", "index_put_")
def _index_put(c: Call) -> Any:
    w, size = _Where(c), c.size
    if not w.dims:
        return fallback(c)
    if c.inplace:
        c.target()
    x, values = c.full(0), c.args[2]
    rest = [s for d, s in enumerate(c.shape(0)) if d >= len(w.pairs) or w.pairs[d][0] is None]
    index_shape = functions["broadcast_shapes"](*(tuple(i.shape)[f:] for i, f in w.pairs if i is not None))
    logical = (*rest[: w.at], *index_shape, *rest[w.at :])
    values = pad_rank(values, len(logical)) if c.flags[2] else values
    if w.at and w.k:
        values = w.to_front(values.expand((size, *logical)))
    return invoke(c.name, [x, w.with_batch(size), values, c.args[3]], c.inplace)
