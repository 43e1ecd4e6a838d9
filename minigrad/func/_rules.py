"""Batching rules: views, reductions and everything that works along named dimensions, copies, joins. See _batch.py."""

from __future__ import annotations

from typing import Any

from minigrad.func._batch import Call, family, full, invoke, kinds, leading, pad_rank, pointwise, reshape, rule, rules
from minigrad.op import functions

_DIM_NAMES = ("dim", "dims", "dim0", "dim1", "dim2", "axis0", "axis1", "dimension", "source", "destination")


# --- dimensions by name ---------------------------------------------------------------------------------------------
def shifted(dim: Any, rank: int) -> Any:
    """A logical dim (or several) as inner dims."""
    if isinstance(dim, int):
        return dim % max(rank, 1) + 1
    return tuple(d % max(rank, 1) + 1 for d in dim)


def _shift_arguments(c: Call, args: list, rank: int) -> None:
    for k, a in enumerate(c.info.args):
        if a.name in _DIM_NAMES and args[k] is not None:
            args[k] = shifted(args[k], rank)


def _reshape_all(c: Call, results: Any) -> Any:
    if not isinstance(results, (tuple, list)):
        return reshape(results, c.out(0))
    return tuple(reshape(r, c.out(k)) for k, r in enumerate(results))


@family("softmax", "softmax_backward", "scan_sum", "scan_float", "scan_select", "topk", "reduce_rank", "reduce_select")
@rule("flip", "_resample", "_resample_backward", "_fft_c2c", "_fft_r2c", "_fft_c2r")
def along(c: Call) -> Any:
    """Tensors of equal rank, dims by name."""
    rank = max((c.rank(k) for k, f in enumerate(c.flags) if f), default=0)
    args = [full(a, f, c.size) for a, f in zip(c.args, c.flags)]
    if rank == 0:
        args = [a.unsqueeze(1) if f else a for a, f in zip(args, c.flags)]
    _shift_arguments(c, args, rank)
    return _reshape_all(c, c.again(args))


@family("region_scatter")
def _region_scatter(c: Call) -> Any:
    args = [c.full(0), c.full(1), *c.args[2:]]
    _shift_arguments(c, args, c.rank(0))
    return invoke(c.name, args)


@family(
    "reduce_sum",
    "reduce_mean",
    "reduce_bool",
    "reduce_count",
    "reduce_extreme",
    "reduce_float",
    "reduce_float_default",
    "reduce_index",
    "reduce_norm",
)
def reduction(c: Call) -> Any:
    """One input; no dim means all of them."""
    args, rank = list(c.args), c.rank()
    k = c.index("dim")
    dim = args[k]
    if rank == 0 or dim is None or dim == ():
        args[0] = args[0].reshape((c.size, _numel(c.shape())))
        args[k] = 1 if c.info.args[k].kind == "int" else (1,)
    else:
        args[k] = shifted(dim, rank)
    return reshape(c.again(args), c.out(0))


def _numel(shape: tuple[int, ...]) -> int:
    n = 1
    for s in shape:
        n *= s
    return n


@rule("roll")
def _roll(c: Call) -> Any:
    x, shifts, dims = c.args
    if dims == () or dims is None:
        flat = invoke("roll", [x.reshape((c.size, _numel(c.shape()))), shifts, (1,)])
        return reshape(flat, c.out(0))
    return invoke("roll", [x, shifts, shifted(dims, c.rank())])


# --- views ----------------------------------------------------------------------------------------------------------
@rule("view", "squeeze", "unsqueeze")
def _view(c: Call) -> Any:
    return functions["view"](c.args[0], c.out(0))


@rule("alias")
def _alias(c: Call) -> Any:
    return functions["alias"](c.args[0])


@rule("expand", "broadcast_to")
def _expand(c: Call) -> Any:
    return pad_rank(c.args[0], len(c.shapes[0])).expand(c.out(0))


@rule("t")
def _t(c: Call) -> Any:
    return c.args[0].transpose(1, 2) if c.rank() == 2 else functions["alias"](c.args[0])


@rule("transpose", "swapaxes", "swapdims", "select", "_slice", "narrow", "diagonal", "unfold", "movedim", "moveaxis")
def _dims_view(c: Call) -> Any:
    args, rank = list(c.args), c.rank()
    if rank == 0:
        if c.name != "unfold":
            return functions["alias"](args[0])
        args[0] = args[0].unsqueeze(1)
    _shift_arguments(c, args, rank)
    return invoke(c.name, args)


@rule("permute")
def _permute(c: Call) -> Any:
    return c.args[0].permute((0, *shifted(c.args[1], c.rank())))


@rule("_as_strided")
def _as_strided(c: Call) -> Any:
    x, size, stride, offset, from_stride, from_offset = c.args
    batch = x.stride(0)
    return invoke("_as_strided", [x, (c.size, *size), (batch, *stride), offset, (batch, *from_stride), from_offset])


@rule("_restride")
def _restride(c: Call) -> Any:
    """Each slice gets a stretch of memory of its own, long enough for both geometries."""
    g, from_stride, from_offset, size, stride, offset = c.args
    laid, read = (start + sum((n - 1) * s for n, s in zip(shape, steps)) if 0 not in shape else 0
                  for start, shape, steps in ((from_offset, c.shape(), from_stride), (offset, size, stride)))  # fmt: skip
    span = 1 + max(laid, read)
    return invoke("_restride", [g, (span, *from_stride), from_offset, (c.size, *size), (span, *stride), offset])


@family("region_backward")
@rule("_unfold_backward")
def _region_backward(c: Call) -> Any:
    args = [c.full(0), *c.args[1:]]
    rank = len(args[1])
    args[1] = (c.size, *args[1])
    _shift_arguments(c, args, rank)
    return invoke(c.name, args)


# --- copies ---------------------------------------------------------------------------------------------------------
@rule("_to_dtype", "_copy_contiguous", "tril", "triu", "zero_")
def _unchanged(c: Call) -> Any:
    return c.again(list(c.args))


@rule("clone")
def _clone(c: Call) -> Any:
    return functions["clone"](c.args[0])  # a memory format is about 4-d tensors: the batch makes them 5-d


@rule("copy_")
def _copy(c: Call) -> Any:
    target, src = c.target(), c.args[1]
    return target.copy_(pad_rank(src, target.dim() - 1) if c.flags[1] else src)


@rule("fill_")
def _fill(c: Call) -> Any:
    target, value = c.target(), c.args[1]
    if not c.flags[1]:
        return functions["fill_"](target, value)
    return target.copy_(pad_rank(value, target.dim() - 1))


@rule("masked_fill", "masked_fill_")
def _masked_fill(c: Call) -> Any:
    x, mask, value = c.args
    rank = len(c.shapes[0])
    mask = pad_rank(mask, rank) if c.flags[1] else mask
    if c.inplace:
        c.target()
    if not c.flags[2]:
        x = pad_rank(x, rank) if c.flags[0] else full(x.expand(c.shapes[0]), False, c.size)
        return invoke(c.name, [x, mask, value], c.inplace)
    value = pad_rank(value, rank).to(x.dtype)
    filled = functions["where"](mask, value, pad_rank(x, rank) if c.flags[0] else x)
    return x.copy_(filled) if c.inplace else filled


@rule("_masked_scale")
def _masked_scale(c: Call) -> Any:
    return invoke(c.name, [c.full(0), c.full(1), c.args[2]])


# --- joins ----------------------------------------------------------------------------------------------------------
@rule("cat")
def _cat(c: Call) -> Any:
    tensors, dim = c.args
    rank = len(c.shapes[0])
    kept = [(x, f) for x, f in zip(tensors, c.flags[0]) if rank == 1 or tuple(x.shape[1:] if f else x.shape) != (0,)]
    return functions["cat"]([full(x, f, c.size) for x, f in kept], shifted(dim, rank))


@rule("stack")
def _stack(c: Call) -> Any:
    tensors, dim = c.args
    return functions["stack"]([full(x, f, c.size) for x, f in zip(tensors, c.flags[0])], shifted(dim, len(c.shapes[0])))


@rule("_searchsorted")
def _searchsorted(c: Call) -> Any:
    ordered, x, sorter, int32, right = c.args
    if not c.flags[0] and not c.flags[2] and c.rank(0) == 1:
        return invoke(c.name, list(c.args))
    if c.rank(0) == 1:
        x = c.full(1).reshape((c.size, _numel(c.shape(1))))
        return reshape(invoke(c.name, [c.full(0), x, c.full(2), int32, right]), c.out(0))
    return invoke(c.name, [c.full(0), c.full(1), c.full(2), int32, right])


# --- what has no static shape ---------------------------------------------------------------------------------------
_DYNAMIC = ("_nonzero", "_repeat_index", "bincount", "unique", "_unique", "_unique_consecutive", "unique_consecutive")


def _dynamic(c: Call) -> Any:
    raise RuntimeError(
        f"vmap: {c.name.lstrip('_')}: the shape of the result depends on the data, so the slices cannot be stacked"
        " (nonzero, masked_select, x[mask], unique, repeat_interleave with a tensor, bincount). Try mg.where(mask, x, 0) or masked_fill,"
        " or call it outside of vmap."
    )


for _name in _DYNAMIC:
    rules[_name] = _dynamic
rules["where"] = pointwise


@rule("complex", "_complex")
def _complex(c: Call) -> Any:
    rank = len(c.shapes[0])
    return invoke(c.name, [pad_rank(x, rank) if f else x for x, f in zip(c.args, c.flags)])


rules["_frexp"] = pointwise
for _name in ("view_as_real", "view_as_complex", "_real", "_imag"):
    rules[_name] = _unchanged
rules["_cdist"] = rules["_cdist_backward"] = leading
kinds.update(along=along, reduction=reduction, unchanged=_unchanged)
