"""softmax and log_softmax over one dimension.

Shapes   x (M, N), rows along N: y = exp(x - max) / sum(exp(x - max)), in float32 whatever the dtype.
Bytes    forward reads x and writes y: 2 M N itemsize. backward reads g, y, writes dx: 3 M N itemsize.
Flops    about 5 M N; the memory decides.
Versions (forward and backward)
         v1_row: a whole row in registers, one program a row (N <= 16384); v2_online: a row in pieces, the running maximum corrects the sum
         (Milakov, Gimelshein 2018, "Online normalizer calculation for softmax"): one more read of x.
Gradient softmax: dx = y (g - sum(g y)); log_softmax: dx = g - exp(y) sum(g).
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, empty_like, launch, main, next_power_of_2, op, rand, rows_of

MAX_ROW = 16384  # elements of a row kept in registers: 64 KiB of float32 over 16 warps


@triton.jit
def softmax_v1_row(y_ptr, x_ptr, x_stride, N, LOG: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    mask = cols < N
    x = tl.load(x_ptr + row * x_stride + cols, mask=mask, other=float("-inf")).to(tl.float32)
    shifted = x - tl.max(x, axis=0)
    e = tl.exp(shifted)
    total = tl.sum(e, axis=0)
    if LOG:
        y = shifted - tl.log(total)
    else:
        y = e / total
    tl.store(y_ptr + row * N + cols, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def softmax_v2_online(y_ptr, x_ptr, x_stride, N, LOG: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    top = tl.full((BLOCK,), float("-inf"), tl.float32)  # one running maximum and sum a lane; combined once, behind the loop
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, N, BLOCK):
        x = tl.load(x_ptr + row * x_stride + start + cols, mask=start + cols < N, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(top, x)
        safe = tl.where(higher == float("-inf"), 0.0, higher)  # -inf - -inf is NaN
        total = total * tl.exp(top - safe) + tl.exp(x - safe)
        top = higher
    peak = tl.max(top, axis=0)
    total = tl.sum(tl.where(top == float("-inf"), 0.0, total * tl.exp(top - peak)), axis=0)
    for start in range(0, N, BLOCK):
        mask = start + cols < N
        x = tl.load(x_ptr + row * x_stride + start + cols, mask=mask, other=float("-inf")).to(tl.float32)
        if LOG:
            y = x - peak - tl.log(total)
        else:
            y = tl.exp(x - peak) / total
        tl.store(y_ptr + row * N + start + cols, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def softmax_backward_v1_row(dx_ptr, g_ptr, y_ptr, g_stride, y_stride, N, LOG: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    mask = cols < N
    g = tl.load(g_ptr + row * g_stride + cols, mask=mask, other=0.0).to(tl.float32)
    y = tl.load(y_ptr + row * y_stride + cols, mask=mask, other=0.0).to(tl.float32)
    if LOG:
        dx = g - tl.exp(y) * tl.sum(g, axis=0)
    else:
        dx = y * (g - tl.sum(g * y, axis=0))
    tl.store(dx_ptr + row * N + cols, dx.to(dx_ptr.dtype.element_ty), mask=mask)


@triton.jit
def softmax_backward_v2_pieces(dx_ptr, g_ptr, y_ptr, g_stride, y_stride, N, LOG: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, N, BLOCK):
        mask = start + cols < N
        g = tl.load(g_ptr + row * g_stride + start + cols, mask=mask, other=0.0).to(tl.float32)
        if LOG:
            acc += g
        else:
            acc += g * tl.load(y_ptr + row * y_stride + start + cols, mask=mask, other=0.0).to(tl.float32)
    total = tl.sum(acc, axis=0)
    for start in range(0, N, BLOCK):
        mask = start + cols < N
        g = tl.load(g_ptr + row * g_stride + start + cols, mask=mask, other=0.0).to(tl.float32)
        y = tl.load(y_ptr + row * y_stride + start + cols, mask=mask, other=0.0).to(tl.float32)
        if LOG:
            dx = g - tl.exp(y) * total
        else:
            dx = y * (g - total)
        tl.store(dx_ptr + row * N + start + cols, dx.to(dx_ptr.dtype.element_ty), mask=mask)


def _warps(block):
    return min(max(block // 256, 1), 16)


def _forward(x, dim, log):
    rows, m, n = rows_of(x, dim)
    y = empty_like(rows)
    block = next_power_of_2(n)
    if block <= MAX_ROW:
        launch(softmax_v1_row, (m,), y, rows, rows.stride(0), n, LOG=log, BLOCK=block, num_warps=_warps(block))
    else:
        launch(softmax_v2_online, (m,), y, rows, rows.stride(0), n, LOG=log, BLOCK=4096, num_warps=8)
    return y.reshape(x.movedim(dim, -1).shape).movedim(-1, dim)


def _backward(g, y, dim, log):
    g_rows, m, n = rows_of(g, dim)
    y_rows, _, _ = rows_of(y, dim)
    dx = empty_like(y_rows)
    block = next_power_of_2(n)
    kernel = softmax_backward_v1_row if block <= MAX_ROW else softmax_backward_v2_pieces
    block = block if block <= MAX_ROW else 4096
    launch(kernel, (m,), dx, g_rows, y_rows, g_rows.stride(0), y_rows.stride(0), n, LOG=log, BLOCK=block, num_warps=_warps(block))
    return dx.reshape(y.movedim(dim, -1).shape).movedim(-1, dim)


def softmax_reference(x, dim=-1):
    e = (x - x.amax(dim, keepdim=True)).exp()
    return e / e.sum(dim, keepdim=True)


def log_softmax_reference(x, dim=-1):
    shifted = x - x.amax(dim, keepdim=True)
    return shifted - shifted.exp().sum(dim, keepdim=True).log()


CASES = [
    case(x=rand(5, 257), dim=-1),
    case(x=rand(3, 64, scale=8.0), dim=-1),
    case(x=rand(2, 5, 3), dim=1),
    case(x=rand(4, 33, layout="padded"), dim=-1),
    case(x=rand(33, 4, layout="transposed"), dim=-1),
    case(x=rand(2, 31, layout="offset"), dim=-1),
    case(x=rand(2, 20000), dim=-1),
    case(x=rand(3, 1), dim=-1),
    case(x=rand(0, 7), dim=-1),
]
AOT = [case(x=rand(4096, n), dim=-1, dtypes=("float32", "bfloat16")) for n in (1000, 4096, 16384, 131072)]
BENCH = [case(x=rand(16384, n), dim=-1, dtypes=("float32", "bfloat16")) for n in (1024, 4096, 16384)]
COMMON = dict(cases=CASES, aot=AOT, bench=BENCH, flops=lambda x, dim: 5 * x.numel(), bytes=lambda x, dim: 2 * x.numel() * x.itemsize)


@op("softmax(x, dim) -> y", backward=lambda g, y, dim: _backward(g, y, dim, False), reference=softmax_reference, **COMMON)
def softmax(x, dim=-1):
    """softmax of `x` over `dim`."""
    return _forward(x, dim, False)


@op("log_softmax(x, dim) -> y", backward=lambda g, y, dim: _backward(g, y, dim, True), reference=log_softmax_reference, **COMMON)
def log_softmax(x, dim=-1):
    """log(softmax) of `x` over `dim`."""
    return _forward(x, dim, True)


if __name__ == "__main__":
    main(softmax, log_softmax)
