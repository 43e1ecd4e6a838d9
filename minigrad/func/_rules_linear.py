"""Batching rules: matrix products, convolutions, pools, normalisation, losses. The batch is folded into whatever dimension the op
already repeats over: matmul's leading dims, the images of a convolution or its channels as groups, the samples of a loss.
"""

from __future__ import annotations

from typing import Any

from minigrad.func._batch import Call, fallback, full, invoke, kinds, pad_rank, reshape, rule
from minigrad.op import functions

# --- matrix products ------------------------------------------------------------------------------------------------


def product(a: Any, fa: bool, b: Any, fb: bool, out: tuple[int, ...]) -> Any:
    """matmul of two operands of which at least one is batched; out is the inner shape of the result."""
    ra, rb = a.dim() - fa, b.dim() - fb
    matmul = functions["matmul"]
    if not fb and ra == 1 and rb == 2:
        return matmul(a, b)
    if not fa and rb == 1 and ra == 2:
        return matmul(b, a.mT)
    a = a.unsqueeze(-2) if ra == 1 else a
    b = b.unsqueeze(-1) if rb == 1 else b
    rank = max(ra, rb, 2)
    a = pad_rank(a, rank) if fa else a
    b = pad_rank(b, rank) if fb else b
    return reshape(matmul(a, b), out)


@rule("matmul", "mm", "bmm", "mv", "dot")
def _matmul(c: Call) -> Any:
    return product(c.args[0], c.flags[0], c.args[1], c.flags[1], c.out(0))


@rule("addmm", "addmv", "baddbmm")
def _addmm(c: Call) -> Any:
    x, a, b, beta, alpha = c.args
    if c.flags[1] or c.flags[2]:
        out = product(a, c.flags[1], b, c.flags[2], c.out(0))
    else:
        out = functions["matmul"](a, b)
    out = out * alpha if alpha != 1 else out
    if beta == 0:
        return full(out, c.flags[1] or c.flags[2], c.size)
    x = pad_rank(x, len(c.shapes[0])) if c.flags[0] else x
    return out + (x * beta if beta != 1 else x)


@rule("linear")
def _linear(c: Call) -> Any:
    x, weight, bias = c.args
    if not c.flags[1] and not c.flags[2]:
        return functions["linear"](x, weight, bias)
    rank = c.rank(0)
    if c.flags[0] or c.flags[1]:
        wt = weight.mT if c.rank(1) == 2 else weight
        out = product(x, c.flags[0], wt, c.flags[1], c.out(0))
    else:
        out = functions["linear"](x, weight)
    if bias is None:
        return out
    return out + (pad_rank(bias, rank) if c.flags[2] else bias)


# --- convolutions ---------------------------------------------------------------------------------------------------
def _fold_images(x: Any) -> Any:
    """(B, N, C, H, W) -> (B * N, C, H, W)."""
    return x.reshape((x.shape[0] * x.shape[1], *x.shape[2:]))


def _fold_channels(x: Any) -> Any:
    """(B, N, C, ...) -> (N, B * C, ...)."""
    return x.movedim(0, 1).reshape((x.shape[1], x.shape[0] * x.shape[2], *x.shape[3:]))


def _unfold_channels(x: Any, size: int) -> Any:
    """(N, B * C, ...) -> (B, N, C, ...)."""
    return x.reshape((x.shape[0], size, x.shape[1] // size if size else 0, *x.shape[2:])).movedim(1, 0)


def _spatial(c: Call) -> int:
    """Rank of an image batch of this convolution: weight's logical rank."""
    return c.rank(1)


def _images(c: Call, k: int, rank: int) -> Any:
    """Argument k with a dimension of images, full batch in front when batched."""
    x = c.args[k]
    if c.rank(k) == rank:
        return x
    return x.unsqueeze(1 if c.flags[k] else 0)


@rule("_conv", "_conv_transpose", "conv2d", "conv_transpose2d")
def _conv(c: Call) -> Any:
    rank, size = _spatial(c), c.size
    x, weight, bias = _images(c, 0, rank), c.args[1], c.args[2]
    args = list(c.args)
    groups = c.index("groups")
    if not c.flags[1]:
        args[0] = _fold_images(x) if c.flags[0] else x
        args[2] = None if c.flags[2] else bias
        out = invoke(c.name, args)
        out = out.reshape((size, -1, *out.shape[1:])) if c.flags[0] and size else full(out, False, size)
    else:
        x = full(x, c.flags[0], size)
        args[0], args[1], args[2] = _fold_channels(x), weight.reshape((size * weight.shape[1], *weight.shape[2:])), None
        args[groups] = args[groups] * size
        out = _unfold_channels(invoke(c.name, args), size)
    if bias is not None and (c.flags[1] or c.flags[2]):
        column = (size, 1, -1) if c.flags[2] else (1, 1, -1)
        out = out + bias.reshape((*column, *[1] * (rank - 2)))
    return reshape(out, c.out(0))


@rule("_conv_weight_grad", "_conv2d_weight_grad")
def _conv_weight_grad(c: Call) -> Any:
    size, rank = c.size, len(c.shapes[0])
    x, g = (full(_images(c, k, rank), c.flags[k], size) for k in (0, 1))
    args = [_fold_channels(x), _fold_channels(g), *c.args[2:]]
    k = c.index("groups")
    args[k] = args[k] * size
    return reshape(invoke(c.name, args), c.out(0))


# --- pools and other ops on images: planes are independent ----------------------------------------------------------
_POOLS = (
    "_max_pool", "_avg_pool", "_avg_pool_backward", "_adaptive_avg_pool", "_adaptive_avg_pool_backward", "_adaptive_max_pool",
    "_fractional_max_pool", "_pool_scatter", "_pool_gather",
)  # fmt: skip


def _dims(c: Call) -> int:
    """Number of spatial dims: the length of the first list of sizes."""
    return next((len(v) for v in c.args if isinstance(v, tuple)), c.get("dims"))


@rule(*_POOLS)
def _pool(c: Call) -> Any:
    args, spatial = list(c.args), _dims(c)
    for k, a in enumerate(c.info.args):
        if a.kind == "tensor":
            args[k] = c.full(k)
            if args[k].dim() > spatial + 2 or a.name == "random_samples":
                args[k] = _fold_images(args[k])
    return _reshaped(c, invoke(c.name, args))


@rule("_grid_sample", "_grid_sample_backward")
def _grid_sample(c: Call) -> Any:
    args = [_fold_images(c.full(k)) if a.kind == "tensor" else c.args[k] for k, a in enumerate(c.info.args)]
    return _reshaped(c, invoke(c.name, args))


def _reshaped(c: Call, results: Any) -> Any:
    if not isinstance(results, (tuple, list)):
        return reshape(results, c.out(0))
    return tuple(reshape(r, c.out(j)) for j, r in enumerate(results))


# --- linear algebra: leading dims are a batch already ---------------------------------------------------------------
_VECTORS, _NUMBERS = ("pivots", "tau"), ("atol", "rtol")  # arguments with one or two dims less than the matrices


def matrices(c: Call) -> Any:
    """Matrices (…, m, n) with the vectors and numbers that belong to them."""
    less = [2 if a.name in _NUMBERS else 1 if a.name in _VECTORS else 0 for a in c.info.args]
    tensors = [k for k, a in enumerate(c.info.args) if a.kind == "tensor" and c.args[k] is not None]
    rank = max(c.rank(k) + less[k] for k in tensors)
    args = [pad_rank(c.full(k), rank - less[k]) if k in tensors else c.args[k] for k in range(len(c.args))]
    return _reshaped(c, invoke(c.name, args))


kinds["matrices"] = matrices


# --- normalisation --------------------------------------------------------------------------------------------------
@rule("_layer_norm", "_rms_norm")
def _layer_norm(c: Call) -> Any:
    affine = [k for k in range(1, 3 if c.name == "_layer_norm" else 2) if c.flags[k]]
    if not affine:
        return invoke(c.name, list(c.args))
    args = [c.full(0), None, None, *c.args[3:]] if c.name == "_layer_norm" else [c.full(0), None, *c.args[2:]]
    out, *rest = invoke(c.name, args)
    rank = len(c.shapes[0])
    weight, bias = c.args[1], c.args[2] if c.name == "_layer_norm" else None
    if weight is not None:
        out = out * (pad_rank(weight, rank) if c.flags[1] else weight)
    if bias is not None:
        out = out + (pad_rank(bias, rank) if c.flags[2] else bias)
    return (out, *rest)


@rule("_batch_norm")
def _batch_norm(c: Call) -> Any:
    size = c.size
    folded = [None if c.args[k] is None else c.full(k).reshape((-1,)) for k in (1, 2)]
    out, mean, var = invoke(c.name, [_fold_channels(c.full(0)), *folded, c.args[3]])
    return _unfold_channels(out, size), reshape(mean, c.out(1)), reshape(var, c.out(2))


@rule("_group_norm")
def _group_norm(c: Call) -> Any:
    """The batch joins the samples; parameters that differ per slice are applied afterwards."""
    x, size = c.full(0), c.size
    shared = [None if c.flags[k] else c.args[k] for k in (1, 2)]
    if c.flags[1]:
        shared[1] = None  # the bias comes after the scale
    out, mean, rstd = invoke(c.name, [_fold_images(x), *shared, *c.args[3:]])
    out = out.reshape(x.shape)
    for k, along in ((1, lambda y, p: y * p), (2, lambda y, p: y + p)):
        if c.args[k] is not None and shared[k - 1] is None:
            p = c.args[k]
            lead = (p.shape[0], 1) if c.flags[k] else (1, 1)
            out = along(out, p.reshape((*lead, -1) + (1,) * (out.dim() - 3)))
    return out, mean.reshape((size, -1, *mean.shape[1:])), rstd.reshape((size, -1, *rstd.shape[1:]))


# --- losses ---------------------------------------------------------------------------------------------------------
@rule("mse_loss")
def _mse_loss(c: Call) -> Any:
    x, target, reduction = c.args
    rank = max(c.rank(0), c.rank(1))
    x, target = (pad_rank(v, rank) if f else v for v, f in ((x, c.flags[0]), (target, c.flags[1])))
    loss = (x - target).square()
    if reduction == "none":
        return loss
    loss = loss.reshape((c.size, -1 if loss.numel() else 0))
    return loss.mean(1) if reduction == "mean" else loss.sum(1)


@rule("_nll_loss", "_cross_entropy")
def _class_loss(c: Call) -> Any:
    """The op itself without reduction on all samples at once; then sums per slice. Class weights that differ per slice: the slow way."""
    if c.flags[2]:
        return fallback(c)
    reduction_at = c.index("reduction")
    reduction, size = c.args[reduction_at], c.size
    x, target, weight = c.full(0), c.full(1), c.args[2]
    single = len(c.shape(0)) == 1
    x, target = (x, target) if single else (_fold_images(x), _fold_images(target))
    args = [x, target, weight, *c.args[3:]]
    args[reduction_at] = 0
    out, *rest = invoke(c.name, args)
    counts = target != c.get("ignore_index")
    total = (
        counts.to(out.dtype)
        if weight is None
        else functions["where"](counts, weight[functions["where"](counts, target, 0)], 0.0).to(out.dtype)
    )
    total = total.reshape((size, -1 if total.numel() else 0)).sum(1)
    if reduction != 0:
        out = out.reshape((size, -1 if out.numel() else 0)).sum(1)
        out = out / total if reduction == 1 else out
    outs = [reshape(out, c.out(0)), *(reshape(r, c.out(k)) for k, r in enumerate(rest[:-1], 1))]
    return (*outs, reshape(total, c.out(len(outs))))
