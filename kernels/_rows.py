"""What the kernels that walk over rows share: the tile of a program, the (M, N) view, the second stage of a column sum."""

import triton
import triton.language as tl

from minigrad.kernels._harness import cdiv, empty, launch, mg, next_power_of_2

PARTIALS = 256  # programs of a two-stage column sum: fixed, so that sums have one order on every device


@triton.jit
def sum_partials(part_PN, out_N, P, N, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr):
    """out_N = the sum of the P float32 rows of part_PN, always in the same order."""
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    total = tl.zeros([BLOCK_N], tl.float32)
    for start in range(0, P, BLOCK_P):
        p = start + tl.arange(0, BLOCK_P)
        inside = (p < P)[:, None] & (n < N)[None, :]
        total += tl.sum(tl.load(part_PN + p[:, None].to(tl.int64) * N + n[None, :], mask=inside, other=0.0), 0)
    tl.store(out_N + n, total.to(out_N.dtype.element_ty), mask=n < N)


def column_sum(part_PN, dtype):
    """The sum of P rows, in `dtype`."""
    P, N = part_PN.shape
    out_N = empty((N,), dtype, part_PN.device)
    launch(sum_partials, (cdiv(N, 64),), part_PN, out_N, P, N, BLOCK_P=64, BLOCK_N=64, num_warps=4)
    return out_N


def tile(columns, per_thread):
    """dict(BLOCK_M, BLOCK_N, num_warps): narrow rows share a program, so that each thread has about `per_thread` elements."""
    block_n = next_power_of_2(columns)
    block_m = max(1, min(16, 1024 // block_n))
    return dict(BLOCK_M=block_m, BLOCK_N=block_n, num_warps=max(1, min(16, block_m * block_n // (32 * per_thread))))


def scratch(like, *shape):
    """Uninitialised float32 on the device of `like`."""
    return empty(shape, mg.float32, like.device)
