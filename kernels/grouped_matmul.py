"""Products of consecutive groups of rows with a matrix each, in one launch: the experts of a mixture.

Source: Gale et al., "MegaBlocks", arXiv 2211.15841; the flat list of tiles: CUTLASS's grouped GEMM.

Shapes: T rows (tokens, sorted by group), E groups (experts), K features in, N out.
  x_TK, y_TN, g_TN    float32, float16, bfloat16          w_EKN, dw_EKN    any strides (a weight's transposed view)
  starts_E+1          int32: group e is rows starts[e] … starts[e + 1]; groups may be empty

Flops 2 T K N; backward twice that. Bytes: s (T K + T N) + s K N for each group that has rows: with few rows a group the weights
decide (memory-bound), with BLOCK_M rows and more the flops.
The lengths are on the device only: the grid has room for the worst case, ceil(T / BLOCK_M) + E tiles, and each program finds its
group by counting tiles; those left over return at once.
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty, launch, main, mg, next_power_of_2, op, rand, target


@triton.jit
def find_group(tile, starts_E, E, BLOCK_M: tl.constexpr, BLOCK_E: tl.constexpr):
    """(group, first row, one past the group's last row) of a tile; group = E: none."""
    e = tl.arange(0, BLOCK_E)
    first = tl.load(starts_E + e, mask=e < E, other=0)
    after = tl.load(starts_E + e + 1, mask=e < E, other=0)
    tiles = tl.cdiv(after - first, BLOCK_M)
    up_to = tl.cumsum(tiles, 0)
    group = tl.sum(((up_to <= tile) & (e < E)).to(tl.int32), 0)
    here = e == group
    start = tl.sum(tl.where(here, first + (tile - (up_to - tiles)) * BLOCK_M, 0), 0)
    return group, start, tl.sum(tl.where(here, after, 0), 0)


@triton.jit
def grouped_rows(x_TK, w_EKN, y_TN, starts_E, E, K, N, x_t, x_k, w_e, w_k, w_n, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
                 BLOCK_K: tl.constexpr, BLOCK_E: tl.constexpr):  # fmt: skip
    """Program (columns, tile): neighbours share the rows, and the weights of a group stay in L2."""
    group, start, stop = find_group(tl.program_id(1), starts_E, E, BLOCK_M, BLOCK_E)
    if group < E:
        t = start + tl.arange(0, BLOCK_M)
        n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
        total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
        x_at = x_TK + t.to(tl.int64)[:, None] * x_t
        w_at = w_EKN + group.to(tl.int64) * w_e + n.to(tl.int64)[None, :] * w_n
        for first in range(0, K, BLOCK_K):
            k = first + tl.arange(0, BLOCK_K)
            x = tl.load(x_at + k[None, :] * x_k, mask=(t < stop)[:, None] & (k < K)[None, :], other=0.0)
            w = tl.load(w_at + k[:, None] * w_k, mask=(k < K)[:, None] & (n < N)[None, :], other=0.0)
            total = tl.dot(x, w, total, input_precision="ieee")
        at = y_TN + start.to(tl.int64) * N + tl.program_id(0) * BLOCK_N
        at += tl.arange(0, BLOCK_M)[:, None] * N + tl.arange(0, BLOCK_N)[None, :]
        tl.store(at, total.to(y_TN.dtype.element_ty), mask=(t < stop)[:, None] & (n < N)[None, :])


@triton.jit
def grouped_weights(x_TK, g_TN, dw_EKN, starts_E, K, N, x_t, g_t, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    """Program (columns, rows of K, group): dw = x^T g over the group's rows, BLOCK_M of K by BLOCK_N, BLOCK_K rows at a time."""
    e = tl.program_id(2).to(tl.int64)
    start, stop = tl.load(starts_E + e), tl.load(starts_E + e + 1)
    k = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for first in range(start, stop, BLOCK_K):
        t = first + tl.arange(0, BLOCK_K)
        x = tl.load(x_TK + t.to(tl.int64)[None, :] * x_t + k[:, None], mask=(k < K)[:, None] & (t < stop)[None, :], other=0.0)
        g = tl.load(g_TN + t.to(tl.int64)[:, None] * g_t + n[None, :], mask=(t < stop)[:, None] & (n < N)[None, :], other=0.0)
        total = tl.dot(x, g, total, input_precision="ieee")
    at = dw_EKN + e * K * N + (tl.program_id(1) * BLOCK_M).to(tl.int64) * N + tl.program_id(0) * BLOCK_N
    at += tl.arange(0, BLOCK_M)[:, None] * N + tl.arange(0, BLOCK_N)[None, :]
    tl.store(at, total.to(dw_EKN.dtype.element_ty), mask=(k < K)[:, None] & (n < N)[None, :])


def _tile(x):
    if x.itemsize == 4:
        return dict(BLOCK_M=32, BLOCK_N=64, BLOCK_K=32, num_warps=4, num_stages=3)
    return dict(BLOCK_M=64, BLOCK_N=128, BLOCK_K=64, num_warps=4, num_stages=4 if target(x.device).arch >= 90 else 3)


def _starts(starts, device):
    """int32 on the device, from a tensor or from numbers."""
    values = starts if isinstance(starts, mg.Tensor) else mg.tensor(starts, dtype=mg.int32)
    marks = empty(values.shape, mg.int32, device)
    marks.copy_(values)
    return marks


def _product(x, w, starts):
    (T, K), (E, _, N) = x.shape, w.shape
    y, tile = empty((T, N), x.dtype, x.device), _tile(x)
    grid = (cdiv(N, tile["BLOCK_N"]), cdiv(T, tile["BLOCK_M"]) + E if T else 0)
    launch(grouped_rows, grid, x, w, y, starts, E, K, N, *x.stride(), *w.stride(), BLOCK_E=next_power_of_2(E), **tile)
    return y


def grouped_matmul_backward(g, x, weight, starts):
    marks = _starts(starts, x.device)
    E, K, N = weight.shape
    x, g = (t if t.stride(-1) == 1 else t.contiguous() for t in (x, g))
    dweight, tile = empty((E, K, N), weight.dtype, x.device), _tile(x)
    grid = (cdiv(N, tile["BLOCK_N"]), cdiv(K, tile["BLOCK_M"]), E)
    launch(grouped_weights, grid, x, g, dweight, marks, K, N, x.stride(0), g.stride(0), **tile)
    return dict(x=_product(g, weight.mT, marks), weight=dweight)


def grouped_matmul_reference(x, weight, starts):
    return mg.cat([x[a:b] @ w for a, b, w in zip(starts[:-1], starts[1:], weight)])


@op(
    "grouped_matmul(x, weight, starts) -> y",
    backward=grouped_matmul_backward,
    reference=grouped_matmul_reference,
    cases=[
        case(x=rand(100, 40), weight=rand(3, 40, 33), starts=[0, 30, 30, 100]),
        case(x=rand(20, 17, layout="padded"), weight=rand(2, 17, 70, layout="transposed"), starts=[0, 1, 20]),
        case(x=rand(0, 8), weight=rand(2, 8, 5), starts=[0, 0, 0]),
    ],
    aot=[case(x=rand(8192, 4096), weight=rand(8, 4096, 4096), starts=[1024 * e for e in range(9)], dtypes=("float32", "bfloat16"))],
    bench=[case(x=rand(8192, 4096), weight=rand(8, 4096, 4096), starts=[1024 * e for e in range(9)], dtypes=("bfloat16",))],
    flops=lambda x, weight, **_: 2 * x.numel() * weight.shape[2],
    bytes=lambda x, weight, **_: (x.numel() + weight.numel() + x.shape[0] * weight.shape[2]) * x.itemsize,
    tensor_cores=True,
)
def grouped_matmul(x, weight, starts):
    """Rows starts[e] … starts[e + 1] of x (T, K) times weight[e] (K, N), for every e. starts: int32 on the device, or numbers."""
    return _product(x, weight, _starts(starts, x.device))


if __name__ == "__main__":
    main(grouped_matmul)
