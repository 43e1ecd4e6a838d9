"""Group norm: each sample's channels in groups, each group normalised to mean 0 and variance 1, then scaled and shifted by channel.

Source: Wu, He, "Group Normalization", arXiv 1803.08494.

Shapes: B samples, C channels in G groups, P positions (product of the rest), N = C / G P numbers of a group.
  x_BCP, y_BCP, g_BCP, dx_BCP    float32, float16, bfloat16, contiguous: a group is one run of N numbers
  w_C, b_C                       scale and shift, or None
  mean_BG, rstd_BG               float32, saved         dw_BC, db_BC    float32, one row a sample

Bytes (s = bytes an element): forward 3 B C P s (two reads: a group rarely fits registers; the second often hits L2); backward
4 or 5 B C P s. Flops: about 8 and 12 an element: memory-bound.
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, empty_like, launch, main, next_power_of_2, op, rand, zeros
from minigrad.kernels._rows import column_sum, scratch


@triton.jit
def group_norm_forward(x_BCP, w_C, b_C, y_BCP, mean_BG, rstd_BG, G, N, P, eps, HAS_W: tl.constexpr, HAS_B: tl.constexpr,
                       BLOCK: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)  # b G + group
    base = row * N
    mean, spread = 0.0, 0.0  # merged block by block, as in layer_norm_long
    for start in range(0, N, BLOCK):
        i = start + tl.arange(0, BLOCK)
        x = tl.load(x_BCP + base + i, mask=i < N, other=0.0).to(tl.float32)
        size = tl.minimum(BLOCK, N - start).to(tl.float32)
        block_mean = tl.sum(x, 0) / size
        centred = tl.where(i < N, x - block_mean, 0.0)
        shift = block_mean - mean
        spread += tl.sum(centred * centred, 0) + shift * shift * start * size / (start + size)
        mean += shift * size / (start + size)
    rstd = 1 / tl.sqrt_rn(spread / N + eps)
    first = row % G * (N // P)  # channel
    for start in range(0, N, BLOCK):
        i = start + tl.arange(0, BLOCK)
        y = (tl.load(x_BCP + base + i, mask=i < N, other=0.0).to(tl.float32) - mean) * rstd
        channel = first + i // P
        if HAS_W:
            y *= tl.load(w_C + channel, mask=i < N, other=0.0).to(tl.float32)
        if HAS_B:
            y += tl.load(b_C + channel, mask=i < N, other=0.0).to(tl.float32)
        tl.store(y_BCP + base + i, y.to(y_BCP.dtype.element_ty), mask=i < N)
    tl.store(mean_BG + row, mean)
    tl.store(rstd_BG + row, rstd)


@triton.jit
def group_norm_backward_channels(g_BCP, x_BCP, mean_BG, rstd_BG, dw_BC, db_BC, C, G, P, BLOCK: tl.constexpr):
    """Program (channel, b): its sums of g hat and g; over b they are dw and db, over a group's channels what dx needs."""
    c, b = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    row = b * G + c // (C // G)
    mean, rstd = tl.load(mean_BG + row), tl.load(rstd_BG + row)
    base = (b * C + c) * P
    dw = tl.zeros([BLOCK], tl.float32)
    db = tl.zeros([BLOCK], tl.float32)
    for start in range(0, P, BLOCK):
        i = start + tl.arange(0, BLOCK)
        g = tl.load(g_BCP + base + i, mask=i < P, other=0.0).to(tl.float32)
        x = tl.load(x_BCP + base + i, mask=i < P, other=0.0).to(tl.float32)
        dw += g * ((x - mean) * rstd)
        db += g
    tl.store(dw_BC + b * C + c, tl.sum(dw, 0))
    tl.store(db_BC + b * C + c, tl.sum(db, 0))


@triton.jit
def group_norm_backward_input(g_BCP, x_BCP, w_C, mean_BG, rstd_BG, dw_BC, db_BC, dx_BCP, C, G, P, HAS_W: tl.constexpr,
                              BLOCK_C: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """dx = (g w - mean(g w) - hat mean(g w hat)) rstd: both means are sums over the group's channels of the numbers above."""
    c, b = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    members = C // G
    row = b * G + c // members
    k = tl.arange(0, BLOCK_C)
    channels = c // members * members + k
    w = tl.full([BLOCK_C], 1.0, tl.float32)
    scale = 1.0
    if HAS_W:
        w = tl.load(w_C + channels, mask=k < members, other=0.0).to(tl.float32)
        scale = tl.load(w_C + c).to(tl.float32)
    along_hat = tl.sum(w * tl.load(dw_BC + b * C + channels, mask=k < members, other=0.0), 0) / (members * P)
    along_one = tl.sum(w * tl.load(db_BC + b * C + channels, mask=k < members, other=0.0), 0) / (members * P)
    mean, rstd = tl.load(mean_BG + row), tl.load(rstd_BG + row)
    base = (b * C + c) * P
    for start in range(0, P, BLOCK):
        i = start + tl.arange(0, BLOCK)
        g = tl.load(g_BCP + base + i, mask=i < P, other=0.0).to(tl.float32)
        x = tl.load(x_BCP + base + i, mask=i < P, other=0.0).to(tl.float32)
        dx = (g * scale - along_one - (x - mean) * rstd * along_hat) * rstd
        tl.store(dx_BCP + base + i, dx.to(dx_BCP.dtype.element_ty), mask=i < P)


def _sizes(x, groups):
    B, C = x.shape[:2]
    if groups < 1 or C % groups:
        raise ValueError(f"group_norm: {C} channels in {groups} groups: expected a divisor of {C}")
    P = x.numel() // (B * C) if x.numel() else 0
    return B, C, P


def _block(n):
    block = min(2048, next_power_of_2(n))
    return dict(BLOCK=block, num_warps=max(1, min(8, block // 256)))


def group_norm_backward(g, x, groups, weight, bias, mean, rstd):
    B, C, P = _sizes(x, groups)
    g, x, dx = g.contiguous(), x.contiguous(), empty_like(x)
    if not x.numel():
        return dict(x=dx, **{n: None if p is None else zeros((C,), p.dtype, x.device) for n, p in (("weight", weight), ("bias", bias))})
    dw_BC, db_BC = scratch(x, B, C), scratch(x, B, C)
    launch(group_norm_backward_channels, (C, B), g, x, mean, rstd, dw_BC, db_BC, C, groups, P, **_block(P))
    arguments = (g, x, None if weight is None else weight.contiguous(), mean, rstd, dw_BC, db_BC, dx, C, groups, P)
    launch(group_norm_backward_input, (C, B), *arguments, HAS_W=weight is not None, BLOCK_C=next_power_of_2(C // groups), **_block(P))
    sums = (("weight", weight, dw_BC), ("bias", bias, db_BC))
    return dict(x=dx, **{n: None if p is None else column_sum(part, p.dtype) for n, p, part in sums})


def group_norm_reference(x, groups, weight=None, bias=None, eps=1e-5):
    rows = x.reshape(x.shape[0], groups, x.numel() // max(1, x.shape[0] * groups))
    centred = rows - rows.mean(-1, keepdim=True)
    y = (centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()).reshape(x.shape)
    shape = [1, -1] + [1] * (x.dim() - 2)
    y = y if weight is None else y * weight.view(shape)
    return y if bias is None else y + bias.view(shape)


@op(
    "group_norm(x, groups, weight, bias, eps) -> y, _mean, _rstd",
    backward=group_norm_backward,
    reference=group_norm_reference,
    cases=[
        case(x=rand(2, 6, 5, 7), groups=3, weight=rand(6), bias=rand(6)),
        case(x=rand(3, 4, 33, layout="transposed", scale=30.0), groups=4, weight=rand(4)),
        case(x=rand(2, 10), groups=2),
        case(x=rand(1, 4, 700, layout="padded"), groups=1, weight=rand(4), bias=rand(4)),
        case(x=rand(0, 4, 3), groups=2, weight=rand(4), bias=rand(4)),
    ],
    aot=[case(x=rand(32, 256, 56, 56), groups=32, weight=rand(256), bias=rand(256), dtypes=("float32", "bfloat16"))],
    bench=[case(x=rand(32, 256, 56, 56), groups=32, weight=rand(256), bias=rand(256), dtypes=("float32", "bfloat16"))],
    flops=lambda x, **_: 8 * x.numel(),
    bytes=lambda x, **_: 2 * x.numel() * x.itemsize,
)
def group_norm(x, groups, weight=None, bias=None, eps=1e-5):
    """Group norm of `x` (B, C, …) with `weight` and `bias` (C)."""
    B, C, P = _sizes(x, groups)
    x, y = x.contiguous(), empty_like(x)
    mean, rstd = scratch(x, B * groups), scratch(x, B * groups)
    weight, bias = (None if p is None else p.contiguous() for p in (weight, bias))
    N = C // groups * P
    flags = dict(HAS_W=weight is not None, HAS_B=bias is not None)
    launch(group_norm_forward, (B * groups if N else 0,), x, weight, bias, y, mean, rstd, groups, N, P, eps, **flags, **_block(N))
    return y, mean, rstd


if __name__ == "__main__":
    main(group_norm)
