"""cumsum along the last dimension.

Source: Blelloch, "Prefix Sums and Their Applications", CMU-CS-90-190; Merrill, Garland, "Single-pass Parallel Prefix Scan with
Decoupled Look-back", NVIDIA NVR-2016-002 (why the second version here reads twice: look-back spins between programs, whose order
of arrival would decide the bits).

Shapes: M rows, N columns, C chunks of a row.
  x_MN, y_MN    float32, float16, bfloat16, or integers (summed as int64); rows of any stride
  total_MC      float64, float32 (half precision) or int64: the sum of a chunk, then the sum of all before it

Bytes (s = bytes an element): v1 2 M N s; v2 3 M N s, but with M C programs. Flops: N log N adds in a tree, memory-bound.

Versions, simplest first:
  cumsum_v1_row     a program a row, block by block, the running total carried along: for many rows
  cumsum_v2_chunks  chunks at once: their sums, a scan of those, then every chunk from its start: for few long rows
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty, ints, launch, main, mg, next_power_of_2, op, rand, rows_of, target

CHUNK = 8192


@triton.jit
def scan_columns(x_MN, y_MN, m, start, stop, carry, x_m, N, REVERSE: tl.constexpr, KIND: tl.constexpr, BLOCK: tl.constexpr):
    """y[start … stop] = carry + running sums; REVERSE counts columns from the end."""
    for first in range(start, stop, BLOCK):
        n = first + tl.arange(0, BLOCK)
        column = N - 1 - n if REVERSE else n
        x = tl.load(x_MN + m * x_m + column, mask=n < stop, other=0).to(KIND)
        tl.store(y_MN + m * N + column, (carry + tl.cumsum(x, 0)).to(y_MN.dtype.element_ty), mask=n < stop)
        carry += tl.sum(x, 0)


@triton.jit
def cumsum_v1_row(x_MN, y_MN, N, x_m, REVERSE: tl.constexpr, KIND: tl.constexpr, BLOCK: tl.constexpr):
    scan_columns(x_MN, y_MN, tl.program_id(0).to(tl.int64), 0, N, tl.full([], 0, KIND), x_m, N, REVERSE, KIND, BLOCK)


@triton.jit
def chunk_sums(x_MN, total_MC, N, x_m, REVERSE: tl.constexpr, KIND: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    m, c = tl.program_id(0).to(tl.int64), tl.program_id(1)
    total = tl.zeros([BLOCK], KIND)
    for first in range(c * CHUNK, tl.minimum(N, (c + 1) * CHUNK), BLOCK):
        n = first + tl.arange(0, BLOCK)
        column = N - 1 - n if REVERSE else n
        total += tl.load(x_MN + m * x_m + column, mask=n < N, other=0).to(KIND)
    tl.store(total_MC + m * tl.num_programs(1) + c, tl.sum(total, 0))


@triton.jit
def chunk_starts(total_MC, C, KIND: tl.constexpr, BLOCK: tl.constexpr):
    """In place: the sum of all chunks before each."""
    m = tl.program_id(0).to(tl.int64)
    carry = tl.full([], 0, KIND)
    for first in range(0, C, BLOCK):
        c = first + tl.arange(0, BLOCK)
        x = tl.load(total_MC + m * C + c, mask=c < C, other=0)
        tl.store(total_MC + m * C + c, carry + tl.cumsum(x, 0) - x, mask=c < C)
        carry += tl.sum(x, 0)


@triton.jit
def cumsum_v2_chunks(x_MN, y_MN, total_MC, N, x_m, REVERSE: tl.constexpr, KIND: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    m, c = tl.program_id(0).to(tl.int64), tl.program_id(1)
    carry = tl.load(total_MC + m * tl.num_programs(1) + c)
    scan_columns(x_MN, y_MN, m, c * CHUNK, tl.minimum(N, (c + 1) * CHUNK), carry, x_m, N, REVERSE, KIND, BLOCK)


def _kinds(dtype):
    """What to add in. Float32 in float64, as on the CPU: a running sum keeps every rounding that was ever made."""
    if not dtype.is_floating_point:
        return tl.int64, mg.int64
    return (tl.float64, mg.float64) if dtype == mg.float32 else (tl.float32, mg.float32)


def _cumsum(x, version, reverse):
    x_MN, M, N = rows_of(x)
    kind, wide = _kinds(x.dtype)
    y = empty(x.shape, x.dtype if x.is_floating_point() else mg.int64, x.device)
    flags = dict(REVERSE=reverse, KIND=kind)
    if version is None:
        version = 2 if N > 2 * CHUNK and M < 2 * target(x.device).multiprocessors else 1
    if version == 1:
        block = min(4096, next_power_of_2(N))
        launch(cumsum_v1_row, (M,), x_MN, y, N, x_MN.stride(0), **flags, BLOCK=block, num_warps=max(1, min(8, block // 512)))
        return y
    C = cdiv(N, CHUNK)
    total_MC = empty((M, C), wide, x.device)
    flags, grid = dict(flags, BLOCK=1024, num_warps=4), (M, C)
    launch(chunk_sums, grid, x_MN, total_MC, N, x_MN.stride(0), **flags, CHUNK=CHUNK)
    launch(chunk_starts, (M,), total_MC, C, KIND=kind, BLOCK=1024, num_warps=4)
    launch(cumsum_v2_chunks, grid, x_MN, y, total_MC, N, x_MN.stride(0), **flags, CHUNK=CHUNK)
    return y


@op(
    "cumsum(x, version) -> y",
    backward=lambda g, version: _cumsum(g, version, True),
    reference=lambda x, version=None: x.cumsum(-1),
    cases=[
        case(x=rand(5, 257)),
        case(x=rand(2, 3, 5000), version=1),
        case(x=rand(1, 17001), version=2),
        case(x=rand(33, 4, layout="transposed")),
        case(x=rand(7, 31, layout="padded")),
        case(x=ints(3, 300, low=-50, high=50), backward=False),
        case(x=rand(0, 4)),
    ],
    aot=[case(x=rand(*s), dtypes=("float32", "bfloat16")) for s in ((4096, 4096), (4, 2**20))],
    bench=[case(x=rand(*s), dtypes=("float32", "bfloat16")) for s in ((8192, 4096), (1, 2**26))],
    flops=lambda x, **_: x.numel(),
    bytes=lambda x, **_: 2 * x.numel() * x.itemsize,
)
def cumsum(x, version=None):
    """Running sums along the last dimension of `x`; integers give int64."""
    return _cumsum(x, version, False)


if __name__ == "__main__":
    main(cumsum)
