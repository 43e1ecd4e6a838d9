"""Matrix product by as many programs as the chip has multiprocessors, each taking tile after tile; on Hopper tiles are fetched and
stored by the tensor memory accelerator (TMA).

Sources: NVIDIA's CUTLASS documentation, "Efficient GEMM in CUDA" (persistent kernels, TMA); Triton's tutorial 9, "Persistent matmul";
"NVIDIA H100 Tensor Core GPU Architecture" (TMA).

Shapes: a_MK @ b_KN = y_MN in float32, float16, bfloat16, any strides (version 1). TMA wants one stride of each matrix to be 1, the other
a multiple of 16 bytes, and so the address: else version 1 runs.

Flops: 2 M N K. Bytes: s (M K + K N + M N) if every tile were read once, as in matmul.py.

Versions, simplest first:
  persistent_v1_pointers  the loop over tiles is around the loop over K, and the compiler makes them one: the next tile's first loads
                          are under way while this one's sums are stored
  persistent_v2_tma       a descriptor says what a matrix looks like; one instruction of one thread fetches a tile into shared memory, so
                          no registers hold addresses and no instructions compute them; outside the matrix it reads 0 and writes nothing
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty, launch, main, next_power_of_2, op, rand, target, tuned
from minigrad.kernels.matmul import grouped


@triton.jit
def persistent_v1_pointers(a_MK, b_KN, y_MN, M, N, K, a_m, a_k, b_k, b_n, PROGRAMS: tl.constexpr, BLOCK_M: tl.constexpr,
                           BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr):  # fmt: skip
    for tile in tl.range(tl.program_id(0), tl.cdiv(M, BLOCK_M) * tl.cdiv(N, BLOCK_N), PROGRAMS, flatten=True):
        row, column = grouped(tile, M, N, BLOCK_M, BLOCK_N, GROUP)
        m = row.to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
        n = column.to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
        total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
        for start in range(0, K, BLOCK_K):
            k = start + tl.arange(0, BLOCK_K).to(tl.int64)
            a = tl.load(a_MK + m[:, None] * a_m + k[None, :] * a_k, mask=(m < M)[:, None] & (k < K)[None, :], other=0.0)
            b = tl.load(b_KN + k[:, None] * b_k + n[None, :] * b_n, mask=(k < K)[:, None] & (n < N)[None, :], other=0.0)
            total = tl.dot(a, b, total, input_precision="ieee")
        inside = (m < M)[:, None] & (n < N)[None, :]
        corner = y_MN + row.to(tl.int64) * BLOCK_M * N + column * BLOCK_N
        at = tl.arange(0, BLOCK_M)[:, None] * N + tl.arange(0, BLOCK_N)[None, :]
        tl.store(corner + at, total.to(y_MN.dtype.element_ty), mask=inside)


@triton.jit
def tiles_of(x, ROWS, COLUMNS, pitch, TURNED: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr):
    """The descriptor of a matrix whose rows, or TURNED: columns, lie `pitch` elements apart."""
    if TURNED:
        return tl.make_tensor_descriptor(x, [COLUMNS, ROWS], [pitch, 1], [BLOCK_C, BLOCK_R])
    else:
        return tl.make_tensor_descriptor(x, [ROWS, COLUMNS], [pitch, 1], [BLOCK_R, BLOCK_C])


@triton.jit
def fetch(tiles, row, column, TURNED: tl.constexpr):
    """The tile whose corner is (row, column)."""
    if TURNED:
        return tiles.load([column, row]).T
    else:
        return tiles.load([row, column])


@triton.jit
def persistent_v2_tma(a_MK, b_KN, y_MN, M, N, K, a_pitch, b_pitch, PROGRAMS: tl.constexpr, A_TURNED: tl.constexpr,
                      B_TURNED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
                      GROUP: tl.constexpr):  # fmt: skip
    a_tiles = tiles_of(a_MK, M, K, a_pitch, A_TURNED, BLOCK_M, BLOCK_K)
    b_tiles = tiles_of(b_KN, K, N, b_pitch, B_TURNED, BLOCK_K, BLOCK_N)
    y_tiles = tl.make_tensor_descriptor(y_MN, [M, N], [N, 1], [BLOCK_M, BLOCK_N])
    for tile in tl.range(tl.program_id(0), tl.cdiv(M, BLOCK_M) * tl.cdiv(N, BLOCK_N), PROGRAMS, flatten=True):
        row, column = grouped(tile, M, N, BLOCK_M, BLOCK_N, GROUP)
        total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
        for k in range(0, K, BLOCK_K):
            a = fetch(a_tiles, row * BLOCK_M, k, A_TURNED)
            b = fetch(b_tiles, k, column * BLOCK_N, B_TURNED)
            total = tl.dot(a, b, total, input_precision="ieee")
        y_tiles.store([row * BLOCK_M, column * BLOCK_N], total.to(y_MN.dtype.element_ty))


def _pitch(x):
    """(whether columns lie together instead of rows, distance of the other ones); None: no layout for TMA."""
    for turned in (False, True):
        rows, inner = (x.stride(1), x.stride(0)) if turned else x.stride()
        if inner == 1 and rows * x.itemsize % 16 == 0 and rows >= x.shape[0 if turned else 1] and x.data_ptr() % 16 == 0:
            return turned, rows
    return None


def fits_tma(a, b, y):
    """Whether version 2 takes these, on this device."""
    return target(a.device).arch >= 90 and 0 not in (*a.shape, *b.shape) and None not in (_pitch(a), _pitch(b), _pitch(y))


def _shapes(M, N, itemsize, arch, version):
    """Candidate tiles, the first for any size: (BLOCK_M, BLOCK_N, BLOCK_K, warps, stages)."""
    if itemsize == 4:
        shapes = [(64, 64, 32, 8, 2), (128, 64, 16, 8, 3)]
    elif min(M, N) <= 256:
        shapes = [(64, 64, 64, 4, 3)]
    elif version == 1:
        shapes = [(128, 128, 64, 8, 3), (128, 128, 32, 8, 4)]
    else:
        shapes = [(128, 128, 64, 8, 4), (128, 256, 64, 8, 3), (256, 128, 64, 8, 3)]
    return [dict(BLOCK_M=m, BLOCK_N=n, BLOCK_K=k, GROUP=8, num_warps=w, num_stages=s) for m, n, k, w, s in shapes]


def product(a, b, version=None):
    """a @ b; version 1 or 2, by default 2 where it is possible."""
    (M, K), N = a.shape, b.shape[1]
    y = empty((M, N), a.dtype, a.device)
    possible = fits_tma(a, b, y)
    if version == 2 and not possible:
        raise ValueError(f"matmul_persistent: version 2 (TMA): got strides {a.stride()} and {b.stride()} on sm_{target(a.device).arch}, "
                         "expected sm_90 and rows or columns a multiple of 16 bytes apart")  # fmt: skip
    version = version or (2 if possible else 1)

    def run(shape):
        tiles = cdiv(M, shape["BLOCK_M"]) * cdiv(N, shape["BLOCK_N"])
        programs = min(tiles, target(a.device).multiprocessors)
        if version == 1:
            return launch(persistent_v1_pointers, (programs,), a, b, y, M, N, K, *a.stride(), *b.stride(), PROGRAMS=programs, **shape)
        (a_turned, a_pitch), (b_turned, b_pitch) = _pitch(a), _pitch(b)
        flags = dict(PROGRAMS=programs, A_TURNED=a_turned, B_TURNED=b_turned)
        launch(persistent_v2_tma, (programs,), a, b, y, M, N, K, a_pitch, b_pitch, **flags, **shape)

    rounded = tuple(next_power_of_2(n) for n in (M, N, K))
    layout = (a.stride(-1) == 1, b.stride(-1) == 1, version)
    tuned(("matmul_persistent", *rounded, str(a.dtype), *layout), _shapes(M, N, a.itemsize, target(a.device).arch, version), run)
    return y


def matmul_backward(g, a, b, version):
    version = None if version == 2 else version  # g may have another layout
    return dict(a=matmul_persistent(g, b.mT, version), b=matmul_persistent(a.mT, g, version))


_BOTH = ("float32", "bfloat16")


@op(
    "matmul_persistent(a, b, version) -> y",
    backward=matmul_backward,
    reference=lambda a, b, version=None: a @ b,
    cases=[
        case(a=rand(150, 72), b=rand(72, 144)),
        case(a=rand(130, 72, layout="transposed"), b=rand(72, 40)),
        case(a=rand(72, 64), b=rand(64, 136, layout="transposed")),
        case(a=rand(33, 65, layout="transposed"), b=rand(65, 31, layout="transposed")),
        case(a=rand(150, 70), b=rand(70, 140), version=1, dtypes=_BOTH),
        case(a=rand(20, 33, layout="padded"), b=rand(33, 40, layout="offset"), dtypes=_BOTH),
        case(a=rand(1, 1), b=rand(1, 1), dtypes=_BOTH),
        case(a=rand(0, 8), b=rand(8, 8), dtypes=_BOTH),
        case(a=rand(8, 0), b=rand(0, 8), dtypes=_BOTH),
    ],
    aot=[
        case(a=rand(4096, 4096), b=rand(4096, 4096), dtypes=("float32", "bfloat16")),
        case(a=rand(4096, 4096), b=rand(4096, 4096), dtypes=("float16",), backward=False),
        case(a=rand(4096, 4096), b=rand(4096, 4096), version=1, dtypes=("bfloat16",), backward=False),
        case(a=rand(64, 4096), b=rand(4096, 4096), dtypes=("bfloat16",), backward=False),
    ],
    bench=[case(a=rand(n, n), b=rand(n, n), version=v, dtypes=("bfloat16",)) for n in (4096, 8192) for v in (1, 2)],
    flops=lambda a, b, **_: 2 * a.numel() * b.shape[1],
    bytes=lambda a, b, **_: (a.numel() + b.numel() + a.shape[0] * b.shape[1]) * a.itemsize,
    tensor_cores=True,
)
def matmul_persistent(a, b, version=None):
    """a @ b of (M, K) and (K, N). version: 1 pointers, 2 TMA (sm_90; rows or columns multiples of 16 bytes apart); None: what fits."""
    return product(a, b, version)


if __name__ == "__main__":
    main(matmul_persistent)
