"""RMS norm, with the residual addition before it in the same pass: h = x + r, y = h / sqrt(mean(h^2) + eps) * w.

Source: Zhang, Sennrich, "Root Mean Square Layer Normalization", arXiv 1910.07467.

Shapes: M rows, N columns (the normalised size), P programs of the backward pass.
  x_MN, r_MN (residual, or None), h_MN = x + r, y_MN      float32, float16, bfloat16; rows of any stride for x and r
  w_N                                                     scale, or None
  rstd_M                                                  float32: 1 / sqrt(mean(h^2) + eps), saved
  g_MN, gh_MN                                             gradients of y and, where h is used further, of h (or None)
  dx_MN (= dr_MN), dw_PN                                  gradient; float32 partial sums, one row a program

Bytes (s = bytes an element): forward 2 M N s, with residual 4 M N s (unfused: 5); backward 3 M N s, with gh 4 M N s.
Flops: about 5 and 10 an element: memory-bound. h is rounded to the storage type *before* it is normalised, so that the
backward pass, which reads h, sees the numbers that the forward pass used.

Versions, simplest first:
  rms_norm_row    a program holds BLOCK_M whole rows; one read
  rms_norm_long   rows too wide for registers: one pass sums the squares, another scales
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty_like, launch, main, op, rand, rows_of, zeros
from minigrad.kernels._rows import PARTIALS, column_sum, scratch, tile

MAX_FORWARD = 16384  # columns that stay in the registers of one program: 16 warps, 32 floats a thread
MAX_BACKWARD = 8192  # h, g, w and dw are alive together
COLUMNS = 512  # a program of the column sums of wide rows


@triton.jit
def rms_norm_row(x_MN, r_MN, w_N, h_MN, y_MN, rstd_M, M, N, x_m, r_m, eps, HAS_R: tl.constexpr, HAS_W: tl.constexpr,
                 BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.arange(0, BLOCK_N)
    row = m.to(tl.int64)[:, None]  # M * N may pass 2^31
    inside = (m < M)[:, None] & (n < N)[None, :]
    h = tl.load(x_MN + row * x_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
    if HAS_R:
        h += tl.load(r_MN + row * r_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
        rounded = h.to(h_MN.dtype.element_ty)
        tl.store(h_MN + row * N + n[None, :], rounded, mask=inside)
        h = rounded.to(tl.float32)
    rstd = 1 / tl.sqrt_rn(tl.sum(h * h, 1) / N + eps)
    y = h * rstd[:, None]
    if HAS_W:
        y *= tl.load(w_N + n, mask=n < N, other=0.0).to(tl.float32)[None, :]
    tl.store(y_MN + row * N + n[None, :], y.to(y_MN.dtype.element_ty), mask=inside)
    tl.store(rstd_M + m, rstd, mask=m < M)


@triton.jit
def rms_norm_long(x_MN, r_MN, w_N, h_MN, y_MN, rstd_M, N, x_m, r_m, eps, HAS_R: tl.constexpr, HAS_W: tl.constexpr,
                  BLOCK_N: tl.constexpr):  # fmt: skip
    m = tl.program_id(0).to(tl.int64)
    squares = tl.zeros([BLOCK_N], tl.float32)
    for start in range(0, N, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        h = tl.load(x_MN + m * x_m + n, mask=n < N, other=0.0).to(tl.float32)
        if HAS_R:
            h += tl.load(r_MN + m * r_m + n, mask=n < N, other=0.0).to(tl.float32)
            h = h.to(h_MN.dtype.element_ty).to(tl.float32)
        squares += h * h
    rstd = 1 / tl.sqrt_rn(tl.sum(squares, 0) / N + eps)
    for start in range(0, N, BLOCK_N):  # the second read comes from L2
        n = start + tl.arange(0, BLOCK_N)
        h = tl.load(x_MN + m * x_m + n, mask=n < N, other=0.0).to(tl.float32)
        if HAS_R:
            h += tl.load(r_MN + m * r_m + n, mask=n < N, other=0.0).to(tl.float32)
            rounded = h.to(h_MN.dtype.element_ty)
            tl.store(h_MN + m * N + n, rounded, mask=n < N)
            h = rounded.to(tl.float32)
        y = h * rstd
        if HAS_W:
            y *= tl.load(w_N + n, mask=n < N, other=0.0).to(tl.float32)
        tl.store(y_MN + m * N + n, y.to(y_MN.dtype.element_ty), mask=n < N)
    tl.store(rstd_M + m, rstd)


@triton.jit
def rms_norm_backward_row(g_MN, gh_MN, h_MN, w_N, rstd_M, dx_MN, dw_PN, M, N, g_m, gh_m, h_m, HAS_GH: tl.constexpr,
                          HAS_W: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    """dx = (gw - hat mean(gw hat)) rstd + gh with gw = g w, hat = h rstd; dw is summed in registers over this program's rows."""
    n = tl.arange(0, BLOCK_N)
    w = tl.full([BLOCK_N], 1.0, tl.float32)
    if HAS_W:
        w = tl.load(w_N + n, mask=n < N, other=0.0).to(tl.float32)
    dw = tl.zeros([BLOCK_N], tl.float32)
    for group in range(tl.program_id(0), tl.cdiv(M, BLOCK_M), tl.num_programs(0)):
        m = group * BLOCK_M + tl.arange(0, BLOCK_M)
        row = m.to(tl.int64)[:, None]
        inside = (m < M)[:, None] & (n < N)[None, :]
        h = tl.load(h_MN + row * h_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
        g = tl.load(g_MN + row * g_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
        rstd = tl.load(rstd_M + m, mask=m < M, other=0.0)
        hat = h * rstd[:, None]
        dw += tl.sum(g * hat, 0)
        g *= w[None, :]
        along_hat = tl.sum(g * hat, 1) / N
        dx = (g - hat * along_hat[:, None]) * rstd[:, None]
        if HAS_GH:
            dx += tl.load(gh_MN + row * gh_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
        tl.store(dx_MN + row * N + n[None, :], dx.to(dx_MN.dtype.element_ty), mask=inside)
    tl.store(dw_PN + tl.program_id(0).to(tl.int64) * N + n, dw, mask=n < N)


@triton.jit
def rms_norm_backward_long(g_MN, gh_MN, h_MN, w_N, rstd_M, dx_MN, N, g_m, gh_m, h_m, HAS_GH: tl.constexpr,
                           HAS_W: tl.constexpr, BLOCK_N: tl.constexpr):  # fmt: skip
    m = tl.program_id(0).to(tl.int64)
    rstd = tl.load(rstd_M + m)
    products = tl.zeros([BLOCK_N], tl.float32)
    for start in range(0, N, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        g = tl.load(g_MN + m * g_m + n, mask=n < N, other=0.0).to(tl.float32)
        if HAS_W:
            g *= tl.load(w_N + n, mask=n < N, other=0.0).to(tl.float32)
        products += g * (tl.load(h_MN + m * h_m + n, mask=n < N, other=0.0).to(tl.float32) * rstd)
    along_hat = tl.sum(products, 0) / N
    for start in range(0, N, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        g = tl.load(g_MN + m * g_m + n, mask=n < N, other=0.0).to(tl.float32)
        h = tl.load(h_MN + m * h_m + n, mask=n < N, other=0.0).to(tl.float32)
        if HAS_W:
            g *= tl.load(w_N + n, mask=n < N, other=0.0).to(tl.float32)
        dx = (g - h * rstd * along_hat) * rstd
        if HAS_GH:
            dx += tl.load(gh_MN + m * gh_m + n, mask=n < N, other=0.0).to(tl.float32)
        tl.store(dx_MN + m * N + n, dx.to(dx_MN.dtype.element_ty), mask=n < N)


@triton.jit
def rms_norm_backward_scale(g_MN, h_MN, rstd_M, dw_PN, M, N, g_m, h_m, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """dw of wide rows: program (c, p) sums BLOCK_N columns over every P-th group of rows."""
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    dw = tl.zeros([BLOCK_N], tl.float32)
    for group in range(tl.program_id(1), tl.cdiv(M, BLOCK_M), tl.num_programs(1)):
        m = group * BLOCK_M + tl.arange(0, BLOCK_M)
        row = m.to(tl.int64)[:, None]
        inside = (m < M)[:, None] & (n < N)[None, :]
        h = tl.load(h_MN + row * h_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
        g = tl.load(g_MN + row * g_m + n[None, :], mask=inside, other=0.0).to(tl.float32)
        dw += tl.sum(g * (h * tl.load(rstd_M + m, mask=m < M, other=0.0)[:, None]), 0)
    tl.store(dw_PN + tl.program_id(1).to(tl.int64) * N + n, dw, mask=n < N)


def rms_norm_forward(x, residual, weight, eps):
    """y, h, rstd; h is x itself without a residual."""
    x_MN, M, N = rows_of(x)
    r_MN = None if residual is None else rows_of(residual)[0]
    h_MN = x_MN if residual is None else empty_like(x)
    y_MN, rstd_M = empty_like(x), scratch(x, M)
    weight = None if weight is None else weight.contiguous()
    strides = (x_MN.stride(0), 0 if r_MN is None else r_MN.stride(0))
    flags = dict(HAS_R=residual is not None, HAS_W=weight is not None)
    if N <= MAX_FORWARD:
        shape = tile(N, 32)
        launch(rms_norm_row, (cdiv(M, shape["BLOCK_M"]),), x_MN, r_MN, weight, h_MN, y_MN, rstd_M, M, N, *strides, eps, **flags, **shape)
    else:
        launch(rms_norm_long, (M,), x_MN, r_MN, weight, h_MN, y_MN, rstd_M, N, *strides, eps, **flags, BLOCK_N=4096, num_warps=8)
    return y_MN, h_MN, rstd_M


def rms_norm_gradient(g, gh, h, rstd, weight):
    """dx (the residual's gradient too) and dw; gh is the gradient that reached h by its other uses."""
    h_MN, M, N = rows_of(h)
    g_MN = rows_of(g)[0]
    gh_MN = None if gh is None else rows_of(gh)[0]
    dx_MN, dtype = empty_like(h), h.dtype if weight is None else weight.dtype
    if not h.numel():
        return dx_MN, zeros((N,), dtype, h.device)
    weight = None if weight is None else weight.contiguous()
    flags = dict(HAS_GH=gh is not None, HAS_W=weight is not None)
    strides = (g_MN.stride(0), 0 if gh is None else gh_MN.stride(0), h_MN.stride(0))
    if N <= MAX_BACKWARD:
        shape = tile(N, 16)
        P = min(PARTIALS, cdiv(M, shape["BLOCK_M"]))
        dw_PN = scratch(h, P, N)
        launch(rms_norm_backward_row, (P,), g_MN, gh_MN, h_MN, weight, rstd, dx_MN, dw_PN, M, N, *strides, **flags, **shape)
    else:
        launch(rms_norm_backward_long, (M,), g_MN, gh_MN, h_MN, weight, rstd, dx_MN, N, *strides, **flags, BLOCK_N=4096, num_warps=8)
        P = min(32, cdiv(M, 64))
        dw_PN = scratch(h, P, N)
        arguments = (g_MN, h_MN, rstd, dw_PN, M, N, strides[0], strides[2])
        launch(rms_norm_backward_scale, (cdiv(N, COLUMNS), P), *arguments, BLOCK_M=4, BLOCK_N=COLUMNS, num_warps=8)
    return dx_MN, column_sum(dw_PN, dtype)


def rms_norm_backward(g, x, weight, rstd):
    dx, dw = rms_norm_gradient(g, None, x, rstd, weight)
    return dict(x=dx, weight=dw)


def add_rms_norm_backward(g_y, g_h, h, weight, rstd):
    dx, dw = rms_norm_gradient(g_y, g_h, h, rstd, weight)
    return dict(x=dx, residual=dx, weight=dw)


def rms_norm_reference(x, weight=None, eps=1e-6):
    y = x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
    return y if weight is None else y * weight


def add_rms_norm_reference(x, residual, weight=None, eps=1e-6):
    return rms_norm_reference(x + residual, weight, eps), x + residual


@op(
    "rms_norm(x, weight, eps) -> y, _rstd",
    backward=rms_norm_backward,
    reference=rms_norm_reference,
    cases=[
        case(x=rand(5, 257), weight=rand(257)),
        case(x=rand(33, 4, layout="transposed"), eps=0.1),
        case(x=rand(7, 31, layout="padded", scale=30.0), weight=rand(31, layout="offset")),
        case(x=rand(3, 1), weight=rand(1)),
        case(x=rand(0, 7), weight=rand(7)),
        case(x=rand(2, 16700), weight=rand(16700), dtypes=("bfloat16",)),
    ],
    aot=[case(x=rand(4096, n), weight=rand(n), dtypes=("float32", "bfloat16")) for n in (1000, 4096, 65536)],
    bench=[case(x=rand(16384, n), weight=rand(n), dtypes=("float32", "bfloat16")) for n in (1024, 4096, 8192)],
    flops=lambda x, **_: 5 * x.numel(),
    bytes=lambda x, **_: 2 * x.numel() * x.itemsize,
)
def rms_norm(x, weight=None, eps=1e-6):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension of `x` (…, N)."""
    y, _, rstd = rms_norm_forward(x, None, weight, eps)
    return y, rstd


@op(
    "add_rms_norm(x, residual, weight, eps) -> y, h, _rstd",
    backward=add_rms_norm_backward,
    reference=add_rms_norm_reference,
    cases=[
        case(x=rand(5, 257), residual=rand(5, 257), weight=rand(257)),
        case(x=rand(2, 9, 30, layout="padded"), residual=rand(2, 9, 30), weight=rand(30)),
        case(x=rand(2, 16700), residual=rand(2, 16700), weight=rand(16700), dtypes=("bfloat16",)),
    ],
    aot=[case(x=rand(4096, n), residual=rand(4096, n), weight=rand(n), dtypes=("float32", "bfloat16")) for n in (4096, 65536)],
    bench=[case(x=rand(16384, n), residual=rand(16384, n), weight=rand(n), dtypes=("float32", "bfloat16")) for n in (1024, 4096)],
    flops=lambda x, **_: 6 * x.numel(),
    bytes=lambda x, **_: 4 * x.numel() * x.itemsize,
)
def add_rms_norm(x, residual, weight=None, eps=1e-6):
    """h = x + residual and its rms_norm, in one pass: the step between two layers of a transformer. Returns (y, h)."""
    return rms_norm_forward(x, residual, weight, eps)


if __name__ == "__main__":
    main(rms_norm, add_rms_norm)
