"""Layer norm: y = (x - mean) / sqrt(var + eps) * w + b over the last dimension.

Source: Ba, Kiros, Hinton, "Layer Normalization", arXiv 1607.06450. Merging of block statistics: Chan, Golub, LeVeque,
"Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", Stanford STAN-CS-79-773.

Shapes: M rows, N columns (the normalised size), P programs of the backward pass.
  x_MN, y_MN, g_MN (gradient of y), dx_MN   any of float32, float16, bfloat16; rows of any stride
  w_N, b_N                                  scale and shift, or None
  mean_M, rstd_M                            float32, saved by the forward pass
  dw_PN, db_PN                              float32 partial sums, one row a program

Bytes (s = bytes an element): forward 2 M N s; backward 3 M N s (x, g in, dx out) + 8 P N. Flops: about 8 and 14 an
element: memory-bound by far, so what counts is to read each row once and to keep it in registers.

Versions, simplest first:
  layer_norm_row    a program holds BLOCK_M whole rows; one read of x
  layer_norm_long   rows too wide for registers: blocks of a row are merged by Chan's formula; two reads of x
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty_like, launch, main, op, rand, rows_of, zeros
from minigrad.kernels._rows import PARTIALS, column_sum, scratch, tile

MAX_FORWARD = 16384  # columns that stay in the registers of one program: 16 warps, 32 floats a thread
MAX_BACKWARD = 8192  # x, g, w, dw and db are alive together: half as many
COLUMNS = 512  # a program of the column sums of wide rows


@triton.jit
def layer_norm_row(x_MN, w_N, b_N, y_MN, mean_M, rstd_M, M, N, x_m, eps, HAS_W: tl.constexpr, HAS_B: tl.constexpr,
                   BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.arange(0, BLOCK_N)
    row = m.to(tl.int64)[:, None]  # M * N may pass 2^31
    inside = (m < M)[:, None] & (n < N)[None, :]
    x = tl.load(x_MN + row * x_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(x, 1) / N
    centred = tl.where(inside, x - mean[:, None], 0.0)  # two passes over registers cost nothing and don't cancel
    rstd = 1 / tl.sqrt_rn(tl.sum(centred * centred, 1) / N + eps)
    y = centred * rstd[:, None]
    if HAS_W:
        y *= tl.load(w_N + n, mask=n < N, other=0.0).to(tl.float32)[None, :]
    if HAS_B:
        y += tl.load(b_N + n, mask=n < N, other=0.0).to(tl.float32)[None, :]
    tl.store(y_MN + row * N + n[None, :], y.to(y_MN.dtype.element_ty), mask=inside)
    tl.store(mean_M + m, mean, mask=m < M)
    tl.store(rstd_M + m, rstd, mask=m < M)


@triton.jit
def layer_norm_long(x_MN, w_N, b_N, y_MN, mean_M, rstd_M, N, x_m, eps, HAS_W: tl.constexpr, HAS_B: tl.constexpr,
                    BLOCK_N: tl.constexpr):  # fmt: skip
    m = tl.program_id(0).to(tl.int64)
    mean, spread = 0.0, 0.0  # of the columns so far: mean and sum of squared distances to it
    for start in range(0, N, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        x = tl.load(x_MN + m * x_m + n, mask=n < N, other=0.0).to(tl.float32)
        size = tl.minimum(BLOCK_N, N - start).to(tl.float32)
        block_mean = tl.sum(x, 0) / size
        centred = tl.where(n < N, x - block_mean, 0.0)
        shift = block_mean - mean
        total = start + size
        spread += tl.sum(centred * centred, 0) + shift * shift * start * size / total
        mean += shift * size / total
    rstd = 1 / tl.sqrt_rn(spread / N + eps)
    for start in range(0, N, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        x = tl.load(x_MN + m * x_m + n, mask=n < N, other=0.0).to(tl.float32)
        y = (x - mean) * rstd
        if HAS_W:
            y *= tl.load(w_N + n, mask=n < N, other=0.0).to(tl.float32)
        if HAS_B:
            y += tl.load(b_N + n, mask=n < N, other=0.0).to(tl.float32)
        tl.store(y_MN + m * N + n, y.to(y_MN.dtype.element_ty), mask=n < N)
    tl.store(mean_M + m, mean)
    tl.store(rstd_M + m, rstd)


@triton.jit
def layer_norm_backward_row(g_MN, x_MN, w_N, mean_M, rstd_M, dx_MN, dw_PN, db_PN, M, N, g_m, x_m, HAS_W: tl.constexpr,
                            BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    """dx = (gw - mean(gw) - hat mean(gw hat)) rstd with gw = g w, hat = (x - mean) rstd.

    A program walks over every P-th group of rows and keeps its share of dw and db in registers: no atomics."""
    n = tl.arange(0, BLOCK_N)
    w = tl.full([BLOCK_N], 1.0, tl.float32)
    if HAS_W:
        w = tl.load(w_N + n, mask=n < N, other=0.0).to(tl.float32)
    dw = tl.zeros([BLOCK_N], tl.float32)
    db = tl.zeros([BLOCK_N], tl.float32)
    for group in range(tl.program_id(0), tl.cdiv(M, BLOCK_M), tl.num_programs(0)):
        m = group * BLOCK_M + tl.arange(0, BLOCK_M)
        row = m.to(tl.int64)[:, None]
        inside = (m < M)[:, None] & (n < N)[None, :]
        x = tl.load(x_MN + row * x_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
        g = tl.load(g_MN + row * g_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
        mean = tl.load(mean_M + m, mask=m < M, other=0.0)
        rstd = tl.load(rstd_M + m, mask=m < M, other=0.0)
        hat = (x - mean[:, None]) * rstd[:, None]  # outside: whatever, for g is 0 there
        db += tl.sum(g, 0)
        dw += tl.sum(g * hat, 0)
        g *= w[None, :]
        along_one = tl.sum(g, 1) / N
        along_hat = tl.sum(g * hat, 1) / N
        dx = (g - along_one[:, None] - hat * along_hat[:, None]) * rstd[:, None]
        tl.store(dx_MN + row * N + n[None, :], dx.to(dx_MN.dtype.element_ty), mask=inside)
    partial = tl.program_id(0).to(tl.int64) * N + n
    tl.store(dw_PN + partial, dw, mask=n < N)
    tl.store(db_PN + partial, db, mask=n < N)


@triton.jit
def layer_norm_backward_long(g_MN, x_MN, w_N, mean_M, rstd_M, dx_MN, N, g_m, x_m, HAS_W: tl.constexpr, BLOCK_N: tl.constexpr):
    m = tl.program_id(0).to(tl.int64)
    mean = tl.load(mean_M + m)
    rstd = tl.load(rstd_M + m)
    along_one, along_hat = 0.0, 0.0
    for start in range(0, N, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        g = tl.load(g_MN + m * g_m + n, mask=n < N, other=0.0).to(tl.float32)
        x = tl.load(x_MN + m * x_m + n, mask=n < N, other=0.0).to(tl.float32)
        if HAS_W:
            g *= tl.load(w_N + n, mask=n < N, other=0.0).to(tl.float32)
        along_one += tl.sum(g, 0)
        along_hat += tl.sum(g * ((x - mean) * rstd), 0)
    along_one /= N
    along_hat /= N
    for start in range(0, N, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        g = tl.load(g_MN + m * g_m + n, mask=n < N, other=0.0).to(tl.float32)
        x = tl.load(x_MN + m * x_m + n, mask=n < N, other=0.0).to(tl.float32)
        if HAS_W:
            g *= tl.load(w_N + n, mask=n < N, other=0.0).to(tl.float32)
        dx = (g - along_one - (x - mean) * rstd * along_hat) * rstd
        tl.store(dx_MN + m * N + n, dx.to(dx_MN.dtype.element_ty), mask=n < N)


@triton.jit
def layer_norm_backward_parameters(g_MN, x_MN, mean_M, rstd_M, dw_PN, db_PN, M, N, g_m, x_m, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """dw and db of wide rows: program (c, p) sums BLOCK_N columns over every P-th group of rows."""
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    dw = tl.zeros([BLOCK_N], tl.float32)
    db = tl.zeros([BLOCK_N], tl.float32)
    for group in range(tl.program_id(1), tl.cdiv(M, BLOCK_M), tl.num_programs(1)):
        m = group * BLOCK_M + tl.arange(0, BLOCK_M)
        row = m.to(tl.int64)[:, None]
        inside = (m < M)[:, None] & (n < N)[None, :]
        x = tl.load(x_MN + row * x_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
        g = tl.load(g_MN + row * g_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
        mean = tl.load(mean_M + m, mask=m < M, other=0.0)
        rstd = tl.load(rstd_M + m, mask=m < M, other=0.0)
        db += tl.sum(g, 0)
        dw += tl.sum(g * ((x - mean[:, None]) * rstd[:, None]), 0)
    partial = tl.program_id(1).to(tl.int64) * N + n
    tl.store(dw_PN + partial, dw, mask=n < N)
    tl.store(db_PN + partial, db, mask=n < N)


def layer_norm_forward(x, weight=None, bias=None, eps=1e-5):
    x_MN, M, N = rows_of(x)
    y_MN, mean_M, rstd_M = empty_like(x), scratch(x, M), scratch(x, M)
    weight, bias = (None if p is None else p.contiguous() for p in (weight, bias))
    flags = dict(HAS_W=weight is not None, HAS_B=bias is not None)
    if N <= MAX_FORWARD:
        shape = tile(N, 32)
        grid = (cdiv(M, shape["BLOCK_M"]),)
        launch(layer_norm_row, grid, x_MN, weight, bias, y_MN, mean_M, rstd_M, M, N, x_MN.stride(0), eps, **flags, **shape)
    else:
        launch(layer_norm_long, (M,), x_MN, weight, bias, y_MN, mean_M, rstd_M, N, x_MN.stride(0), eps, **flags, BLOCK_N=4096, num_warps=8)
    return y_MN, mean_M, rstd_M


def layer_norm_backward(g, x, weight, mean, rstd):
    x_MN, M, N = rows_of(x)
    g_MN = rows_of(g)[0]
    dx_MN, dtype = empty_like(x), x.dtype if weight is None else weight.dtype
    if not x.numel():
        return dict(x=dx_MN, weight=zeros((N,), dtype, x.device), bias=zeros((N,), dtype, x.device))
    weight = None if weight is None else weight.contiguous()
    strides, has_w = (g_MN.stride(0), x_MN.stride(0)), weight is not None
    if N <= MAX_BACKWARD:
        shape = tile(N, 16)
        P = min(PARTIALS, cdiv(M, shape["BLOCK_M"]))
        dw_PN, db_PN = scratch(x, P, N), scratch(x, P, N)
        launch(layer_norm_backward_row, (P,), g_MN, x_MN, weight, mean, rstd, dx_MN, dw_PN, db_PN, M, N, *strides, HAS_W=has_w, **shape)
    else:
        launch(layer_norm_backward_long, (M,), g_MN, x_MN, weight, mean, rstd, dx_MN, N, *strides, HAS_W=has_w, BLOCK_N=4096, num_warps=8)
        P = min(32, cdiv(M, 64))
        dw_PN, db_PN = scratch(x, P, N), scratch(x, P, N)
        arguments = (g_MN, x_MN, mean, rstd, dw_PN, db_PN, M, N, *strides)
        launch(layer_norm_backward_parameters, (cdiv(N, COLUMNS), P), *arguments, BLOCK_M=4, BLOCK_N=COLUMNS, num_warps=8)
    return dict(x=dx_MN, weight=column_sum(dw_PN, dtype), bias=column_sum(db_PN, dtype))


def layer_norm_reference(x, weight=None, bias=None, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    y = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@op(
    "layer_norm(x, weight, bias, eps) -> y, _mean, _rstd",
    backward=layer_norm_backward,
    reference=layer_norm_reference,
    cases=[
        case(x=rand(5, 257), weight=rand(257), bias=rand(257)),
        case(x=rand(2, 17, 30), weight=rand(30)),
        case(x=rand(33, 4, layout="transposed"), eps=0.1),
        case(x=rand(7, 31, layout="padded", scale=100.0), weight=rand(31), bias=rand(31, layout="offset")),
        case(x=rand(3, 1), weight=rand(1), bias=rand(1)),
        case(x=rand(0, 7), weight=rand(7), bias=rand(7)),
        case(x=rand(2, 16700), weight=rand(16700), bias=rand(16700), dtypes=("bfloat16",)),
    ],
    aot=[case(x=rand(4096, n), weight=rand(n), bias=rand(n), dtypes=("float32", "bfloat16")) for n in (64, 1000, 8192, 65536)],
    bench=[case(x=rand(16384, n), weight=rand(n), bias=rand(n), dtypes=("float32", "bfloat16")) for n in (1024, 4096, 8192)],
    flops=lambda x, **_: 8 * x.numel(),
    bytes=lambda x, **_: 2 * x.numel() * x.itemsize,
)
def layer_norm(x, weight=None, bias=None, eps=1e-5):
    """Layer norm of `x` (…, N) over its last dimension, scaled by `weight` (N) and shifted by `bias` (N)."""
    return layer_norm_forward(x, weight, bias, eps)


if __name__ == "__main__":
    main(layer_norm)
