"""Sums and means of consecutive groups of rows, and histograms.

Sources: segments in compressed rows as in graph libraries (Fey, Lenssen, arXiv 1903.02428); histogram by shared counters: Podlozhnyuk,
"Histogram calculation in CUDA", NVIDIA 2007.

Shapes: T rows, D columns, E segments, n integers, K bins.
  x_TD, dx_TD, y_ED, g_ED    float32, float16, bfloat16; rows of any stride
  starts_E+1                 int32: segment e is rows starts[e] … starts[e + 1], also none
  index_n, count_K           integers; int64 counts

Bytes (s = bytes an element): segments s (T D + E D), memory-bound; histogram n times the integers' size. Sums are in the order of the
rows, blocks of rows as trees: the same bits on every run. Counts are integers, so their atomic additions may come in any order.

Versions of the histogram, simplest first:
  histogram_v1_atomic   an atomic addition for each integer
  histogram_v2_blocks   a program counts its block on its own (tl.histogram), one atomic addition a bin and program: for up to 1024 bins
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty, ints, launch, main, mg, next_power_of_2, op, rand, rows_of, zeros

MAX_BINS = 1024


@triton.jit
def segment_forward(x_TD, starts_E, y_ED, D, x_t, MEAN: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr):
    e = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    start, stop = tl.load(starts_E + e), tl.load(starts_E + e + 1)
    total = tl.zeros([BLOCK_D], tl.float32)
    for first in range(start, stop, BLOCK_T):
        t = first + tl.arange(0, BLOCK_T)
        at = x_TD + t.to(tl.int64)[:, None] * x_t + d[None, :]
        total += tl.sum(tl.load(at, mask=(t < stop)[:, None] & (d < D)[None, :], other=0.0).to(tl.float32), 0)
    if MEAN:
        total /= tl.maximum(stop - start, 1).to(tl.float32)
    tl.store(y_ED + e * D + d, total.to(y_ED.dtype.element_ty), mask=d < D)


@triton.jit
def segment_backward_rows(g_ED, starts_E, dx_TD, D, g_e, MEAN: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr):
    e = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    start, stop = tl.load(starts_E + e), tl.load(starts_E + e + 1)
    g = tl.load(g_ED + e * g_e + d, mask=d < D, other=0.0).to(tl.float32)
    if MEAN:
        g /= tl.maximum(stop - start, 1).to(tl.float32)
    rows = g[None, :] + tl.zeros([BLOCK_T, BLOCK_D], tl.float32)
    for first in range(start, stop, BLOCK_T):
        t = first + tl.arange(0, BLOCK_T)
        at = dx_TD + t.to(tl.int64)[:, None] * D + d[None, :]
        tl.store(at, rows.to(dx_TD.dtype.element_ty), mask=(t < stop)[:, None] & (d < D)[None, :])


@triton.jit
def histogram_v1_atomic(index_n, count_K, n, K, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    index = tl.load(index_n + i, mask=i < n, other=-1).to(tl.int64)
    tl.atomic_add(count_K + index, tl.full([BLOCK], 1, tl.int64), mask=(index >= 0) & (index < K))


@triton.jit
def histogram_v2_blocks(index_n, count_K, n, K, BINS: tl.constexpr, BLOCK: tl.constexpr):
    counts = tl.zeros([BINS], tl.int32)
    for first in range(tl.program_id(0) * BLOCK, n, tl.num_programs(0) * BLOCK):
        i = first + tl.arange(0, BLOCK)
        index = tl.load(index_n + i, mask=i < n, other=-1).to(tl.int64)
        inside = (index >= 0) & (index < K)
        counts += tl.histogram(tl.where(inside, index, 0).to(tl.int32), BINS, inside)
    k = tl.arange(0, BINS)
    tl.atomic_add(count_K + k, counts.to(tl.int64), mask=(k < K) & (counts > 0))


def _shape(D):
    block_d = min(128, next_power_of_2(D))
    return dict(BLOCK_T=max(1, 2048 // block_d // 4), BLOCK_D=block_d, num_warps=4)


def _starts(starts, device):
    values = starts if isinstance(starts, mg.Tensor) else mg.tensor(starts, dtype=mg.int32)
    marks = empty(values.shape, mg.int32, device)
    marks.copy_(values)
    return marks


def segment_reduce_backward(g, x, starts, reduce):
    marks, (T, D), g_ED = _starts(starts, x.device), x.shape, rows_of(g)[0]
    dx, shape = zeros((T, D), x.dtype, x.device), _shape(D)
    grid = (g.shape[0], cdiv(D, shape["BLOCK_D"]))
    launch(segment_backward_rows, grid, g_ED, marks, dx, D, g_ED.stride(0), MEAN=reduce == "mean", **shape)
    return dict(x=dx)


def segment_reduce_reference(x, starts, reduce="sum"):
    sums = [x[a:b].sum(0, keepdim=True) / (max(b - a, 1) if reduce == "mean" else 1) for a, b in zip(starts[:-1], starts[1:])]
    return mg.cat(sums)


@op(
    "segment_reduce(x, starts, reduce) -> y",
    backward=segment_reduce_backward,
    reference=segment_reduce_reference,
    cases=[
        case(x=rand(50, 33), starts=[0, 7, 7, 50]),
        case(x=rand(9, 300, layout="padded"), starts=[0, 1, 9], reduce="mean"),
        case(x=rand(31, 4, layout="transposed"), starts=[2, 20, 30], reduce="mean"),
        case(x=rand(0, 5), starts=[0, 0]),
    ],
    aot=[case(x=rand(65536, 512), starts=[0, 256, 65536], reduce=r, dtypes=("float32", "bfloat16")) for r in ("sum", "mean")],
    bench=[case(x=rand(65536, 512), starts=list(range(0, 65537, 64)), dtypes=("float32", "bfloat16"))],
    bytes=lambda x, **_: x.numel() * x.itemsize,
)
def segment_reduce(x, starts, reduce="sum"):
    """Sum or mean of rows starts[e] … starts[e + 1] of x (T, D), for each e; 0 for none. starts: int32 on the device, or numbers."""
    if reduce not in ("sum", "mean"):
        raise ValueError(f"segment_reduce: got reduce={reduce!r}, expected 'sum' or 'mean'")
    marks, (x_TD, _, D) = _starts(starts, x.device), rows_of(x)
    E, shape = marks.shape[0] - 1, _shape(D)
    y = empty((E, D), x.dtype, x.device)
    launch(segment_forward, (E, cdiv(D, shape["BLOCK_D"])), x_TD, marks, y, D, x_TD.stride(0), MEAN=reduce == "mean", **shape)
    return y


def histogram_reference(index, bins, version=None):
    index = index.flatten()
    return mg.stack([(index == k).sum() for k in range(bins)]) if bins else mg.zeros(0, dtype=mg.int64)


@op(
    "histogram(index, bins, version) -> count",
    reference=histogram_reference,
    cases=[
        case(index=ints(3, 700, low=-2, high=12), bins=10),
        case(index=ints(500, high=40, dtype="int32"), bins=37, version=1),
        case(index=ints(0, high=5), bins=4),
    ],
    aot=[case(index=ints(2**20, high=k, dtype="int32"), bins=k) for k in (256, 65536)],
    bench=[case(index=ints(2**24, high=k, dtype="int32"), bins=k) for k in (256, 65536)],
    bytes=lambda index, **_: index.numel() * index.itemsize,
    exact=True,
)
def histogram(index, bins, version=None):
    """How often each of 0 … bins - 1 is in `index` (int64 counts); numbers outside are not counted. version: 1 or 2, else by `bins`."""
    count, n, index = zeros((bins,), mg.int64, index.device), index.numel(), index.contiguous()
    if (version or (2 if bins <= MAX_BINS else 1)) == 1:
        launch(histogram_v1_atomic, (cdiv(n, 1024),), index, count, n, bins, BLOCK=1024, num_warps=4)
    else:
        programs = min(cdiv(n, 2048), 1024)
        launch(histogram_v2_blocks, (programs,), index, count, n, bins, BINS=max(32, next_power_of_2(bins)), BLOCK=2048, num_warps=4)
    return count


if __name__ == "__main__":
    main(segment_reduce, histogram)
