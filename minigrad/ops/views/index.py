"""Indexing by tensors: gather, scatter, index_*, advanced indexing, masks, embedding. Kernels: csrc/cpu/index.cpp,
gather.cpp, mask.cpp.

Every index is checked before anything is written. Where several sources meet one target, they are combined in the order
of the
source, so results repeat exactly. `x[...]` itself is in minigrad/indexing.py.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import functions, op
from minigrad.ops.shared.struct_doc import card, numpy

_OUT_OF_RANGE = "IndexError for an index out of range, before anything is written; RuntimeError for shapes."


def _zeros(shape: Any, like: mg.Tensor) -> mg.Tensor:
    return functions["_full"](shape, 0, like.dtype, like.device)


def _padded(g: mg.Tensor, shape: tuple[int, ...]) -> mg.Tensor:
    """Gradient of a src of which only the leading corner was used."""
    for d, size in enumerate(shape):
        if g.shape[d] != size:
            g = functions["_narrow_backward"](g, (*g.shape[:d], size, *g.shape[d + 1 :]), d, 0, g.shape[d])
    return g


def _both(schema: str, **fields: Any) -> None:
    """Declares `name(input, …)` and `name_(input!, …)`, which share meta, kernel and gradient formulas."""
    name = schema[: schema.index("(")]
    internal = fields.get("namespace", "") is None
    op(schema, **fields)
    inplace = dict(fields, namespace=None, method=not internal,
                   grad_name=fields.get("grad_name", name.title().replace("_", "")))
    op(schema.replace("(input", "_(input!", 1), **inplace)


# --- gather and scatter -----------------------------------------------------------------------------------------------
op("gather(input, dim: int, index, *, sparse_grad: bool = False) -> out", meta="gather",
   exact_out=True, separate_out=True,
   dinput=lambda g, input_shape, dim, index: functions["scatter_add"](_zeros(input_shape, g), dim, index, g),
   ref=lambda input, dim, index, sparse_grad=False: _gather_ref(input, dim, index),
   samples=lambda s: [s(s.t(3, 4), 0, s.index(2, 4, high=3)), s(s.t(3, 4), 1, s.index(3, 6, high=4)),
                      s(s.t(3, 4), -1, s.index(2, 1, high=4)),
                      s(s.t(5), 0, s.index(7, high=5)), s(s.t(2, 3, 4), 1, s.index(2, 5, 4, high=3)),
                      s(s.t(3, 4, layout="transposed"), 0, s.index(2, 2, high=3)),
                      s(s.t(3, 4), 0, s.index(0, 4, high=3)), s(s.t(), 0, s.index(high=1))],
   doc=card("Picks one element per index along a dimension: out[i, j] = input[index[i, j], j] for dim 0.",
            "mg.tensor([[1, 2], [3, 4]]).gather(1, mg.tensor([[0], [1]])).tolist() -> [[1], [4]]", input="any tensor.",
            dim="the dimension.",
            index="int64 (int32) tensor of as many dimensions, no larger than input but in `dim`; not negative.",
            sparse_grad="ignored.",
            returns="a tensor of the index's shape.", raises=_OUT_OF_RANGE, grad="Added up at the picked elements."))


def _gather_ref(input: Any, dim: int, index: Any) -> Any:
    if input.ndim == 0:
        return input
    corner = input[tuple(slice(None) if d == dim % input.ndim else slice(n) for d, n in enumerate(index.shape))]
    return numpy().take_along_axis(corner, index, dim)


def _scatter_dsrc(g: mg.Tensor, dim: int, index: mg.Tensor, src_shape: tuple[int, ...]) -> mg.Tensor:
    return _padded(g.gather(dim, index), src_shape)


_both("_scatter(input, dim: int, index, src: operand) -> out", meta="scatter", namespace=None, grad_name="Scatter",
      dinput=lambda g, dim, index: functions["_scatter"](g, dim, index, 0), dsrc=_scatter_dsrc,
      ref=lambda input, dim, index, src: _scatter_ref(input, dim, index, src, None),
      samples=lambda s: [s(s.t(3, 4), 0, s.perm(3, 4), s.t(3, 4)) if hasattr(s, "perm") else s(s.t(3, 4), 0,
          s.index(1, 4, high=3), s.t(1, 4)),
                         s(s.t(3, 4), 1, s.index(3, 1, high=4), s.t(3, 2)), s(s.t(5), 0, s.index(1, high=5), 2.0),
                         s(s.t(3), 0, s.index(0, high=3), 1.0)],
      doc="Kernel of scatter: a copy of input with src (or one number) written at the indices.")

_both("scatter_add(input, dim: int, index, src) -> out", meta="scatter", dinput=lambda g: g, dsrc=_scatter_dsrc,
      ref=lambda input, dim, index, src: _scatter_ref(input, dim, index, src, "add"),
      samples=lambda s: [s(s.t(3, 4), 0, s.index(5, 4, high=3), s.t(5, 4)),
                         s(s.t(3, 4), 1, s.index(3, 9, high=4), s.t(3, 9)),
                         s(s.t(4), 0, s.index(9, high=4), s.t(9)), s(s.t(2, 3), 0, s.index(2, 2, high=2), s.t(3, 3)),
                         s(s.t(2, 3), 0, s.index(0, 3, high=2), s.t(0, 3))],
      doc=card("Adds src to input at the indices: out[index[i, j], j] += src[i, j] for dim 0.",
               "mg.zeros(2).scatter_add(0, mg.tensor([1, 1]), mg.ones(2)) -> tensor([0., 2.])", input="any tensor.",
               dim="the dimension.",
               index="int64 (int32) tensor, no larger than src, nor than input but in `dim`; not negative.",
               src="what to add, of input's dtype.",
               returns="a tensor of input's shape; sums are taken in the order of src.", raises=_OUT_OF_RANGE,
               grad="Passes to input; src gathers it."))


def _scatter_ref(input: Any, dim: int, index: Any, src: Any, reduce: str | None) -> Any:
    np = numpy()
    out = np.array(input, dtype=np.asarray(input).dtype)
    if out.ndim == 0:
        out, index = out.reshape(1), np.asarray(index).reshape(-1)
    src = np.broadcast_to(src, index.shape) if np.ndim(src) == 0 else src
    for at in np.ndindex(*index.shape):
        to = tuple(index[at] if d == dim % out.ndim else n for d, n in enumerate(at))
        out[to] = src[at] if reduce is None else out[to] + src[at]
    return out.reshape(np.shape(input))


def _scatter_reduce_grads(
    g: mg.Tensor, input: mg.Tensor, dim: int, index: mg.Tensor, src: mg.Tensor, reduce: str, include_self: bool,
    out: mg.Tensor,
    needs: tuple[bool, ...],
) -> tuple[mg.Tensor | None, ...]:  # fmt: skip
    add, again = functions["scatter_add"], functions["scatter_reduce"]
    corner = src if src.shape == index.shape else src[tuple(slice(n) for n in index.shape)]
    ones = mg.ones_like(corner)
    if reduce == "sum":
        d_input, d_src = g, g.gather(dim, index)
    elif reduce == "mean":
        count = add(mg.ones_like(g) if include_self else mg.zeros_like(g), dim, index, ones)
        d_input = g / count.masked_fill(count == 0, 1)
        d_src = d_input.gather(dim, index)
    elif reduce == "prod":
        others = again(input.masked_fill(input == 0, 1), dim, index, corner, reduce, include_self=include_self)
        d_input = g * others / input.masked_fill(input == 0, 1)
        zero = corner == 0
        zeros_met = add(mg.zeros_like(input), dim, index, zero.to(input.dtype)).gather(dim, index)
        single = zero & (zeros_met == 1)
        without = again(input, dim, index, corner.masked_fill(single, 1), reduce, include_self=include_self)
        d_src = mg.where(single, (g * without).gather(dim, index),
                         (g * out).gather(dim, index) / corner.masked_fill(zero, 1))
    else:  # amax, amin: shared evenly among the ties
        mine = (input == out).to(g.dtype)
        theirs = (corner == out.gather(dim, index)).to(g.dtype)
        share = g / add(mine if include_self else mine * functions["_scatter"](mg.ones_like(g), dim, index, 0), dim,
                        index, theirs)
        d_input, d_src = mine * share, theirs * share.gather(dim, index)
    if not include_self:
        d_input = functions["_scatter"](d_input, dim, index, 0)
    return d_input, None, _padded(d_src, src.shape) if needs[-1] else None


_both("scatter_reduce(input, dim: int, index, src, reduce: str, *, include_self: bool = True) -> out", meta="scatter",
      grads=_scatter_reduce_grads,
      samples=lambda s: [s(s.t(3, 4, distinct=True), 0, s.index(5, 4, high=3), s.t(5, 4, distinct=True), how,
                           include_self=own)
                         for how in ("sum", "prod", "mean", "amax", "amin") for own in (True, False)],
      no_ref_reason="checked against PyTorch",
      doc=card("Combines src into input at the indices by a reduction.",
               'mg.zeros(2).scatter_reduce(0, mg.tensor([1, 1]), mg.tensor([3., 4.]), "amax") -> tensor([0., 4.])',
               input="any tensor.",
               dim="the dimension.",
               index="int64 (int32) tensor, no larger than src, nor than input but in `dim`; not negative.",
               src="values of input's dtype.", reduce='"sum", "prod", "mean", "amax" or "amin".',
               include_self="whether input's own element takes part where something is written.",
               returns="a tensor of input's shape.",
               raises=_OUT_OF_RANGE, grad="Ties of amax and amin share it evenly."))

# --- whole slices -----------------------------------------------------------------------------------------------------
op("index_select(input, dim: int, index) -> out", meta="index_select", exact_out=True, separate_out=True,
   dinput=lambda g, input_shape, dim, index: functions["index_add"](_zeros(input_shape, g), dim, index, g),
   ref=lambda input, dim, index: input.take(index.reshape(-1), dim) if input.ndim else input,
   samples=lambda s: [s(s.t(3, 4), 0, s.index(5, high=3)), s(s.t(3, 4), 1, s.index(2, high=4)),
                      s(s.t(3, 4, layout="transposed"), -1, s.index(6, high=4)),
                      s(s.t(5), 0, s.index(0, high=5)), s(s.t(2, 3, 4), 1, s.index(4, high=3))],
   doc=card("The slices of a dimension that an index names.",
            "mg.tensor([1, 2, 3]).index_select(0, mg.tensor([2, 0])) -> tensor([3, 1])",
            input="any tensor.", dim="the dimension.", index="1-d int64 or int32 tensor, not negative.",
            returns="input's shape with len(index) in `dim`.",
            raises=_OUT_OF_RANGE, grad="Added up at the picked slices."))

_both("index_add(input, dim: int, index, source, *, alpha: scalar = 1) -> out", meta="index_source", dinput=lambda g: g,
      dsource=lambda g, dim, index, source_shape, alpha: (g.index_select(dim, index) if alpha == 1
                                                          else g.index_select(dim,
                                                              index) * alpha).reshape(source_shape),
      ref=lambda input, dim, index, source, alpha=1: _index_add_ref(input, dim, index, source, alpha),
      samples=lambda s: [s(s.t(3, 4), 0, s.index(5, high=3), s.t(5, 4)),
                         s(s.t(3, 4), 1, s.index(6, high=4), s.t(3, 6), alpha=2),
                         s(s.t(4), 0, s.index(9, high=4), s.t(9)),
                         s(s.t(3, 4, layout="transposed"), -1, s.index(2, high=4), s.t(3, 2))],
      doc=card("Adds alpha * source to the slices that an index names.",
               "mg.zeros(2).index_add(0, mg.tensor([1, 1]), mg.ones(2)) -> tensor([0., 2.])",
               input="any tensor.", dim="the dimension.", index="1-d int64 or int32 tensor, not negative.",
               source="input's shape with len(index) in `dim`, and input's dtype.", alpha="factor.",
               returns="a tensor of input's shape; sums are taken in the order of the index.", raises=_OUT_OF_RANGE,
               grad="Passes to input; source selects it."))


def _index_add_ref(input: Any, dim: int, index: Any, source: Any, alpha: float) -> Any:
    out = input.copy()
    numpy().add.at(out.swapaxes(0, dim), index, alpha * source.swapaxes(0, dim))
    return out



def _index_reduce_grads(
    g: mg.Tensor, input: mg.Tensor, dim: int, index: mg.Tensor, source: mg.Tensor, reduce: str, include_self: bool,
    out: mg.Tensor, needs: tuple[bool, ...],
) -> tuple[mg.Tensor | None, ...]:  # fmt: skip
    """Those of scatter_reduce with the index repeated over the slices."""
    one_d = [t.reshape(1) if t.dim() == 0 else t for t in (g, input, source, out)]
    d = dim % one_d[1].dim()
    wide = index.reshape((1,) * d + (-1,) + (1,) * (one_d[1].dim() - d - 1)).expand(one_d[2].shape)
    d_input, _, d_source = _scatter_reduce_grads(
        one_d[0], one_d[1], d, wide, one_d[2], reduce, include_self, one_d[3], needs)  # fmt: skip
    return d_input.reshape(input.shape), None, None if d_source is None else d_source.reshape(source.shape)


_both("_index_reduce(input, dim: int, index, source, reduce: str, include_self: bool = True) -> out", meta="index_source",
      namespace=None, grads=_index_reduce_grads, grad_name="IndexReduce", no_ref_reason="checked against PyTorch",
      samples=lambda s: [s(s.t(3, 4, distinct=True), 0, s.index(5, high=3), s.t(5, 4, distinct=True, high=1.87), how, own)
                         for how in ("prod", "mean", "amax", "amin") for own in (True, False)],
      doc="Combines source into the slices that an index names; the kernel of index_reduce.")

_both("index_copy(input, dim: int, index, source) -> out", meta="index_source",
      dinput=lambda g, dim, index: functions["index_fill"](g, dim, index, 0),
      dsource=lambda g, dim, index, source_shape: g.index_select(dim, index).reshape(source_shape),
      ref=lambda input, dim, index, source: _index_write(input, dim, index, source.swapaxes(0, dim)),
      samples=lambda s: [s(s.t(3, 4), 0, s.index(1, high=3), s.t(1, 4)),
                         s(s.t(3, 4), 1, s.index(1, high=4), s.t(3, 1))],
      doc=card("Writes source over the slices that an index names; the last of several wins.",
               "mg.zeros(3).index_copy(0, mg.tensor([2, 0]), mg.tensor([1., 2.])) -> tensor([2., 0., 1.])",
               input="any tensor.", dim="the dimension.",
               index="1-d int64 or int32 tensor, not negative.",
               source="input's shape with len(index) in `dim`, and input's dtype.",
               returns="a tensor of input's shape.", raises=_OUT_OF_RANGE,
               grad="Zero for what is replaced; source selects it."))


def _index_write(input: Any, dim: int, index: Any, values: Any) -> Any:
    out = input.copy()
    out.swapaxes(0, dim)[index] = values
    return out


_both("index_fill(input, dim: int, index, value: operand) -> out", meta="index_fill",
      dinput=lambda g, dim, index: functions["index_fill"](g, dim, index, 0),
      dvalue=lambda g, dim, index: _index_fill_value(g, dim, index),
      ref=lambda input, dim, index, value: _index_write(input, dim, index, value),
      samples=lambda s: [s(s.t(3, 4), 0, s.index(2, high=3), 1.5), s(s.t(3, 4), 1, s.index(2, high=4), s.t())],
      doc=card("Sets the slices that an index names to one value.",
               "mg.zeros(3).index_fill(0, mg.tensor([0, 2]), 5) -> tensor([5., 0., 5.])",
               input="any tensor.", dim="the dimension.", index="1-d int64 or int32 tensor, not negative.",
               value="number or 0-d tensor.",
               returns="a tensor of input's shape.", raises=_OUT_OF_RANGE,
               grad="Zero for what is replaced; value gets its sum."))


def _index_fill_value(g: mg.Tensor, dim: int, index: mg.Tensor) -> mg.Tensor:
    """Sum of the gradient over the filled slices, each counted once."""
    return (g - functions["index_fill"](g, dim, index, 0)).sum()


# --- advanced indexing ------------------------------------------------------------------------------------------------
op("index(input, indices: tensors) -> out", meta="index", namespace=None,
   dinput=lambda g, input_shape, indices: functions["index_put"](_zeros(input_shape, g), indices, g, True),
   ref=lambda input, indices: input[tuple(slice(None) if k is None else k for k in indices)],
   samples=lambda s: [s(s.t(4, 3), [s.index(2, high=4)]), s(s.t(4, 3), [s.index(2, high=4), s.index(2, high=3)]),
                      s(s.t(4, 3), [None, s.index(2, 2, high=3)]),
                      s(s.t(2, 3, 4), [s.index(2, high=2), None, s.index(2, high=4)]),
                      s(s.t(2, 3, 4), [None, s.index(2, 1, high=3), s.index(3, high=4)]),
                      s(s.t(3, 4, layout="transposed"), [None, s.index(5, high=4, low=-4)]),
                      s(s.t(4), [s.index(0, high=4)]), s(s.t(4), [s.index(high=4)])],
   doc=card("Advanced indexing: x[i, j] with index tensors that broadcast together; None is a full slice.",
            "mg.tensor([[1, 2], [3, 4]])[mg.tensor([0, 1]), mg.tensor([1, 0])] -> tensor([2, 3])", input="any tensor.",
            indices="one int64 (int32) tensor or None per dimension; negative indices count from the end.",
            returns="the joint index shape in place of the indexed dimensions (in front when a slice lies between "
            "them).",
            raises="IndexError for an index out of range, too many of them, or shapes that do not broadcast.",
            grad="Added up at the picked elements."))

_both("index_put(input, indices: tensors, values, accumulate: bool = False) -> out", meta="index_put", namespace=None,
      dinput=lambda g, indices, accumulate: g if accumulate else functions["index_put"](g, indices, _zeros((), g)),
      dvalues=lambda g, indices: functions["index"](g, indices),
      ref=lambda input, indices, values, accumulate=False: _index_put_ref(input, indices, values, accumulate),
      samples=lambda s: [s(s.t(4, 3), [s.index(1, high=4)], s.t(3)),
                         s(s.t(4, 3), [s.index(5, high=4), s.index(5, high=3)], s.t(5), True),
                         s(s.t(4, 3), [None, s.index(4, high=3, low=-3)], s.t(4, 4), True),
                         s(s.t(2, 3, 4), [s.index(3, high=2), None, s.index(3, high=4)], s.t(3, 3), True),
                         s(s.t(4), [s.index(0, high=4)], s.t(0)), s(s.t(4), [s.index(1, high=4)], s.t())],
      doc=card("Writes (or adds) values at x[indices].",
               "mg.zeros(3).index_put([mg.tensor([0, 0])], mg.ones(2), accumulate=True) -> tensor([2., 0., 0.])",
               input="any tensor.", indices="one int64 (int32) tensor or None per dimension.",
               values="broadcast to the shape of x[indices]; input's dtype.",
               accumulate="True adds, in the order of the indices; False writes, the last one wins.",
               returns="a tensor of input's shape.",
               raises="IndexError for an index out of range, RuntimeError when values do not fit.",
               grad="Zero for what is replaced; values gets its elements."))


def _index_put_ref(input: Any, indices: Any, values: Any, accumulate: bool) -> Any:
    out, key = input.copy(), tuple(slice(None) if k is None else k for k in indices)
    if accumulate:
        numpy().add.at(out, key, values)
    else:
        out[key] = values
    return out


# --- masks ------------------------------------------------------------------------------------------------------------
_both("masked_fill(input, mask, value: operand) -> out", meta="masked_fill",
      dinput=lambda g, mask: g.masked_fill(mask, 0),
      dvalue=lambda g, mask: mg.where(mask, g, 0), ref=lambda input, mask, value: numpy().where(mask, value, input),
      samples=lambda s: [s(s.t(3, 4), s.mask(3, 4), 1.5), s(s.t(3, 4), s.mask(4), s.t()),
                         s(s.t(2, 3, layout="transposed"), s.mask(2, 1), 0.0),
                         s(s.t(0, 3), s.mask(3), 1.0), s(s.t(), s.mask(), 2.0), s(s.t(65), s.mask(65), -7 if s.integer else float("-inf"))],
      doc=card("Sets elements to one value where a mask is True.",
               "mg.zeros(2).masked_fill(mg.tensor([True, False]), 5) -> tensor([5., 0.])",
               input="any tensor.", mask="bool tensor that broadcasts with input.", value="number or 0-d tensor.",
               returns="the broadcast shape in input's dtype.",
               raises="RuntimeError for another mask dtype or shapes that do not fit.",
               grad="Zero under the mask; value gets the sum there."))

op("_nonzero(input) -> out", meta="nonzero", namespace=None, can_fail=True, no_grad_reason="integers",
   no_meta_reason="the size depends on the data",
   ref=lambda input: numpy().argwhere(input), samples=lambda s: [s(s.mask(3, 4)), s(s.mask(70)), s(s.mask(0)),
                                                                 s(s.mask())],
   doc="Indices of the nonzero elements, one row each; the kernel of nonzero.")

# --- counting and embedding -------------------------------------------------------------------------------------------
op("bincount(input, weights? = None, minlength: int = 0) -> out", meta="bincount", can_fail=True,
   no_grad_reason="not differentiable in PyTorch", no_meta_reason="the size depends on the data",
   ref=lambda input, weights=None, minlength=0: numpy().bincount(input, weights, minlength),
   samples=lambda s: [s(s.index(9, high=5)), s(s.index(9, high=5), None, 8), s(s.index(0, high=5))],
   doc=card("How often each value occurs.", "mg.tensor([0, 2, 2]).bincount() -> tensor([1, 0, 2])",
            input="1-d tensor of non-negative integers.",
            weights="what each element counts, default 1.", minlength="least length of the result.",
            returns="1-d tensor of length max(input) + 1, int64, or floating with weights.",
            raises="RuntimeError for negative values or other shapes."))

_embedding_backward = op(
    "_embedding_backward(g, input, num_weights: int, padding_idx: int? = None, "
    "scale_grad_by_freq: bool = False) -> out", meta="embedding_backward", namespace=None,
    no_ref_reason="checked as the gradient of embedding",
    dg=lambda g, input, padding_idx, scale_grad_by_freq, num_weights: _embedding_gradgrad(
        g, input, padding_idx, scale_grad_by_freq, num_weights),
    samples=lambda s: [s(s.t(5, 3), s.index(5, high=4), 4), s(s.t(2, 2, 3), s.index(2, 2, high=4), 4, 1)],
    doc="Adds the rows of g up per index, in order; the gradient of embedding.")


def _embedding_gradgrad(g: mg.Tensor, input: mg.Tensor, padding_idx: int | None, scale_grad_by_freq: bool,
                        num_weights: int) -> mg.Tensor:
    if scale_grad_by_freq:
        counts = functions["bincount"](input.reshape(-1), None, num_weights).clamp(min=1)
        g = g / counts.unsqueeze(1)
    picked = functions["embedding"](input, g)
    if padding_idx is None:
        return picked
    return picked.masked_fill((input == padding_idx % num_weights).unsqueeze(-1), 0)


op("embedding(input, weight, padding_idx: int? = None, max_norm: float? = None, norm_type: float = 2.0, "
   "scale_grad_by_freq: bool = False, sparse: bool = False) -> out", meta="embedding", namespace="nn.functional",
   dweight=lambda g, input, weight_shape, padding_idx, scale_grad_by_freq: _embedding_backward(g, input,
       weight_shape[0], padding_idx, scale_grad_by_freq),
   ref=lambda input, weight, *rest, **named: weight[input],
   samples=lambda s: [s(s.index(5, high=4), s.t(4, 3)), s(s.index(2, 3, high=3), s.t(4, 3), 3),
                      s(s.index(0, high=4), s.t(4, 3)), s(s.index(high=4), s.t(4, 3)),
                      s(s.index(6, high=3), s.t(4, 3, layout="transposed"), -1)],
   doc=card("Rows of a table, one per index.",
            "mg.nn.functional.embedding(mg.tensor([1, 0]), mg.tensor([[1, 2], [3, 4]])).tolist() -> [[3, 4], [1, 2]]",
            input="int64 (int32) tensor of row numbers in [0, rows).", weight="(rows, width) table.",
            padding_idx="row that gets no gradient.",
            max_norm="not implemented.", norm_type="goes with max_norm.",
            scale_grad_by_freq="divides the gradient of a row by how often it occurs.",
            sparse="ignored; the gradient is dense.", returns="input's shape with width appended.",
            raises=_OUT_OF_RANGE,
            grad="Added up per row, in the order of the indices."))
