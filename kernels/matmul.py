"""Matrix product with its neighbours: y = act(a @ b + bias); an int8 weight; batches; transposed operands by their strides.

Sources: grouped order of tiles: Tillet, Kung, Cox, "Triton", MAPL 2019 and the Triton tutorials; split-K: NVIDIA's CUTLASS
documentation, "Efficient GEMM in CUDA"; weight-only int8: Dettmers et al., "LLM.int8()", arXiv 2208.07339.

Shapes: B batch, M, K, N: a_BMK @ b_BKN = y_BMN; S splits of K.
  a_BMK, b_BKN    float32, float16, bfloat16; any strides (b may be a weight's transposed view)
  bias_N          or None         pre_MN  a @ b + bias, kept for the gradient of act
  w_NK, s_N       int8 weight, one row an output, and its float scale: b = (w * s)^T
  part_SMN        float32 partial products of split-K

Flops: 2 B M N K. Bytes: s (M K + K N + M N) if every tile were read once; a tile of BLOCK_M x BLOCK_N reads
(1/BLOCK_M + 1/BLOCK_N) s bytes a multiply-add from L2, so large tiles, and the order of tiles keeps those reads in L2.
Low precision is multiplied by tensor cores (HMMA, on Hopper HGMMA) and summed in float32; float32 exactly (FFMA), not as tf32.

Versions, simplest first:
  matmul_v1_tiles    a program a tile, row after row
  matmul_v2_grouped  GROUP rows of tiles at a time: neighbours in time share a and b in L2; bias and activation before the store
  ... with SPLIT > 1 the K loop is shared between programs: for few tiles and a long K; partial sums added in a fixed order
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty, ints, launch, main, mg, next_power_of_2, op, rand, target, tuned
from minigrad.kernels.activation import ACTIVATIONS, activated, activation_reference, bias_activation_gradient


@triton.jit
def matmul_v1_tiles(a_MK, b_KN, y_MN, M, N, K, a_m, a_k, b_k, b_n, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    m = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    n = (tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        a = tl.load(a_MK + m[:, None] * a_m + k[None, :] * a_k, mask=(m < M)[:, None] & (k < K)[None, :], other=0.0)
        b = tl.load(b_KN + k[:, None] * b_k + n[None, :] * b_n, mask=(k < K)[:, None] & (n < N)[None, :], other=0.0)
        total = tl.dot(a, b, total, input_precision="ieee")
    tl.store(y_MN + m[:, None] * N + n[None, :], total.to(y_MN.dtype.element_ty), mask=(m < M)[:, None] & (n < N)[None, :])


@triton.jit
def grouped(tile, M, N, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, GROUP: tl.constexpr):
    """(row, column) of the `tile`-th tile: down GROUP rows of tiles, then one to the right.

        order of 1 x 12 tiles, GROUP 1:  0 1 2 3 / 4 5 6 7 / 8 9 ..    GROUP 2:  0 2 4 6 / 1 3 5 7 / 8 10 ..
    """
    columns = tl.cdiv(N, BLOCK_N)
    first = tile // (GROUP * columns) * GROUP
    height = tl.minimum(tl.cdiv(M, BLOCK_M) - first, GROUP)
    inside = tile % (GROUP * columns)
    return first + inside % height, inside // height


@triton.jit
def matmul_v2_grouped(a_BMK, b_BKN, scale_N, bias_N, pre_BMN, y_BMN, M, N, K, a_b, a_m, a_k, b_b, b_k, b_n, y_b, SPLIT: tl.constexpr,
                      EVEN_K: tl.constexpr, ACT: tl.constexpr, HAS_SCALE: tl.constexpr, HAS_BIAS: tl.constexpr,
                      HAS_PRE: tl.constexpr, ADD: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
                      GROUP: tl.constexpr):  # fmt: skip
    """Program (tile, split, batch). With SPLIT > 1, y is part_SMN and bias and activation wait for split_sum.

    ADD: y += instead of y = (sums over chunks, in linear_cross_entropy.py). A b of another type (int8) is cast to a's."""
    row, column = grouped(tl.program_id(0), M, N, BLOCK_M, BLOCK_N, GROUP)
    split = tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)
    m = (row * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    n = (column * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    k = split * BLOCK_K + tl.arange(0, BLOCK_K)
    a_at = a_BMK + batch * a_b + m[:, None] * a_m + k[None, :].to(tl.int64) * a_k
    b_at = b_BKN + batch * b_b + k[:, None].to(tl.int64) * b_k + n[None, :] * b_n
    m_in, n_in = (m < M)[:, None], (n < N)[None, :]
    total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in range(split * BLOCK_K, K, BLOCK_K * SPLIT):
        if EVEN_K:
            a = tl.load(a_at, mask=m_in, other=0.0)
            b = tl.load(b_at, mask=n_in, other=0.0)
        else:
            left = K - start
            k_in = tl.arange(0, BLOCK_K) < left
            a = tl.load(a_at, mask=m_in & k_in[None, :], other=0.0)
            b = tl.load(b_at, mask=k_in[:, None] & n_in, other=0.0)
        total = tl.dot(a, b.to(a.dtype), total, input_precision="ieee")
        a_at += a_k * (BLOCK_K * SPLIT)
        b_at += b_k * (BLOCK_K * SPLIT)
    if HAS_SCALE:
        total *= tl.load(scale_N + n, mask=n < N, other=0.0).to(tl.float32)[None, :]
    # 64-bit arithmetic for the tile's corner only: 64-bit offsets of a whole tile would need as many registers as its sums.
    corner = (split + batch) * y_b + row.to(tl.int64) * BLOCK_M * N + column * BLOCK_N
    at = tl.arange(0, BLOCK_M)[:, None] * N + tl.arange(0, BLOCK_N)[None, :]
    if HAS_BIAS:
        total += tl.load(bias_N + n, mask=n < N, other=0.0).to(tl.float32)[None, :]
    if HAS_PRE:
        tl.store(pre_BMN + corner + at, total.to(pre_BMN.dtype.element_ty), mask=m_in & n_in)
    if ADD:
        total += tl.load(y_BMN + corner + at, mask=m_in & n_in, other=0.0).to(tl.float32)
    tl.store(y_BMN + corner + at, activated(total, ACT).to(y_BMN.dtype.element_ty), mask=m_in & n_in)


@triton.jit
def split_sum(part_SMN, scale_N, bias_N, pre_MN, y_MN, size, N, SPLIT: tl.constexpr, ACT: tl.constexpr, HAS_SCALE: tl.constexpr,
              HAS_BIAS: tl.constexpr, HAS_PRE: tl.constexpr, ADD: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """y = act(sum over splits * scale + bias)."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for split in range(SPLIT):
        total += tl.load(part_SMN + split * size + i, mask=i < size, other=0.0)
    if HAS_SCALE:
        total *= tl.load(scale_N + i % N, mask=i < size, other=0.0).to(tl.float32)
    if HAS_BIAS:
        total += tl.load(bias_N + i % N, mask=i < size, other=0.0).to(tl.float32)
    if HAS_PRE:
        tl.store(pre_MN + i, total.to(pre_MN.dtype.element_ty), mask=i < size)
    if ADD:
        total += tl.load(y_MN + i, mask=i < size, other=0.0).to(tl.float32)
    tl.store(y_MN + i, activated(total, ACT).to(y_MN.dtype.element_ty), mask=i < size)


def _tiles(M, N, itemsize, arch, epilogue):
    """Candidate tiles, the first for any size: (BLOCK_M, BLOCK_N, BLOCK_K, warps, stages)."""
    if itemsize == 4:  # plain FFMA: registers decide
        shapes = [(64, 64, 32, 8, 3), (128, 64, 16, 8, 3)]
    elif min(M, N) <= 32:
        shapes = [(16, 128, 64, 4, 4), (32, 64, 128, 4, 3)] if M <= N else [(128, 16, 64, 4, 4), (64, 32, 128, 4, 3)]
    elif M * N <= 1024 * 1024:
        shapes = [(64, 64, 64, 4, 4), (128, 64, 64, 4, 4), (64, 128, 64, 4, 4)]
    elif epilogue:  # exp or erf, or a second operand, of a thread's whole tile: 64 sums a thread, more would spill
        shapes = [(128, 128, 64, 8, 3), (64, 128, 64, 4, 4)]
    else:
        shapes = [(128, 128, 64, 8 if arch < 90 else 4, 3), (128, 256, 64, 8, 3), (256, 128, 64, 8, 3)]
    return [dict(BLOCK_M=m, BLOCK_N=n, BLOCK_K=k, GROUP=8, num_warps=w, num_stages=s) for m, n, k, w, s in shapes]


def _splits(M, N, K, shape, device):
    """How many programs share a tile's K loop: enough to occupy the chip, each with at least 8 steps."""
    tiles = cdiv(M, shape["BLOCK_M"]) * cdiv(N, shape["BLOCK_N"])
    spare = target(device).multiprocessors // max(tiles, 1)
    return max(1, min(spare, K // (8 * shape["BLOCK_K"]), 16))


def product(a, b, bias=None, activation="none", scale=None, keep_pre=False, out=None, add=False, dtype=None, split=None):
    """(y, pre): y = act(a @ b * scale + bias) of a (M, K) or (B, M, K) and b (K, N) or (B, K, N), in a's dtype unless told.

    `out`: contiguous memory for y, with `add` to be added to. `split`: overrides the number of splits of K."""
    (M, K), N = a.shape[-2:], b.shape[-1]
    B = a.shape[0] if a.dim() == 3 else 1
    a_b, b_b = (x.stride(0) if x.dim() == 3 else 0 for x in (a, b))
    y = empty((*a.shape[:-1], N), dtype or a.dtype, a.device) if out is None else out
    pre = empty(y.shape, y.dtype, a.device) if keep_pre else None
    strides = (a_b, *a.stride()[-2:], b_b, *b.stride()[-2:])
    bias, scale = (None if v is None else v.contiguous() for v in (bias, scale))
    flags = dict(ACT=activation, HAS_SCALE=scale is not None, HAS_BIAS=bias is not None, HAS_PRE=keep_pre, ADD=add)

    def run(shape):
        splits = split or (_splits(M, N, K, shape, a.device) if B == 1 else 1)
        even = K % shape["BLOCK_K"] == 0 and K // shape["BLOCK_K"] % splits == 0
        grid = (cdiv(M, shape["BLOCK_M"]) * cdiv(N, shape["BLOCK_N"]), splits, B)
        if splits == 1:
            arguments = (a, b, scale, bias, pre, y, M, N, K, *strides, M * N)
            return launch(matmul_v2_grouped, grid, *arguments, SPLIT=1, EVEN_K=even, **flags, **shape)
        part = empty((splits, M, N), mg.float32, a.device)
        none = dict(ACT="none", HAS_SCALE=False, HAS_BIAS=False, HAS_PRE=False, ADD=False)
        launch(matmul_v2_grouped, grid, a, b, None, None, None, part, M, N, K, *strides, M * N, SPLIT=splits, EVEN_K=even, **none, **shape)
        launch(split_sum, (cdiv(M * N, 1024),), part, scale, bias, pre, y, M * N, N, SPLIT=splits, **flags, BLOCK=1024, num_warps=4)

    candidates = _tiles(M, N, a.itemsize, target(a.device).arch, add or activation in ("silu", "gelu", "gelu_tanh"))
    rounded = tuple(next_power_of_2(n) for n in (B, M, N, K))
    layout = (a.stride(-1) == 1, b.stride(-1) == 1, str(b.dtype))
    tuned(("matmul", *rounded, str(a.dtype), *layout, activation), candidates[:1] if add else candidates, run)  # `add` must run once
    return y, pre


def matmul_backward(g, a, b):
    return dict(a=matmul(g, b.mT), b=matmul(a.mT, g))  # of the op, not of product(): differentiable itself


def linear_backward(g, x, weight, bias, activation, pre):
    g_MN, x_MK = g.reshape(-1, g.shape[-1]), x.reshape(-1, x.shape[-1])
    dbias = None
    if bias is not None or activation != "none":
        before = g_MN if activation == "none" else pre.reshape(g_MN.shape)  # act' = 1 whatever was there
        g_MN, dbias = bias_activation_gradient(g_MN, before, bias, activation, added=True)
    return dict(x=product(g_MN, weight)[0].reshape(x.shape), weight=product(g_MN.mT, x_MK)[0], bias=dbias)


def int8_linear_backward(g, x, weight, scale):
    g_MN = (g.reshape(-1, g.shape[-1]) * scale).to(g.dtype)
    return dict(x=product(g_MN, weight)[0].reshape(x.shape))


def linear_reference(x, weight, bias=None, activation="none", split=None):
    y = x @ weight.mT
    return activation_reference(y if bias is None else y + bias, activation)


def _flops(a, b, **_):
    return 2 * a.numel() * b.shape[-1]


@op(
    "matmul(a, b, version) -> y",
    backward=matmul_backward,
    reference=lambda a, b, version=2: a @ b,
    cases=[
        case(a=rand(150, 70), b=rand(70, 140)),
        case(a=rand(33, 65, layout="transposed"), b=rand(65, 31, layout="transposed")),
        case(a=rand(20, 33, layout="padded"), b=rand(33, 40, layout="offset")),
        case(a=rand(3, 17, 40), b=rand(3, 40, 21)),
        case(a=rand(1, 2300), b=rand(2300, 3)),
        case(a=rand(1, 1), b=rand(1, 1)),
        case(a=rand(0, 5), b=rand(5, 4)),
        case(a=rand(3, 0), b=rand(0, 4)),
        case(a=rand(70, 40), b=rand(40, 33), version=1, backward=False),
    ],
    aot=[
        case(a=rand(m, k), b=rand(k, n), dtypes=("float16", "bfloat16"))
        for m, n, k in ((4096, 4096, 4096), (512, 512, 8192), (16, 4096, 4096))
    ]
    + [case(a=rand(m, k), b=rand(k, n), dtypes=("float32",)) for m, n, k in ((4096, 4096, 4096), (512, 512, 8192))],
    bench=[case(a=rand(n, n), b=rand(n, n), dtypes=("float32", "bfloat16")) for n in (1024, 4096, 8192)],
    flops=_flops,
    bytes=lambda a, b, **_: (a.numel() + b.numel() + a.numel() // a.shape[-1] * b.shape[-1]) * a.itemsize,
    tensor_cores=True,
)
def matmul(a, b, version=2):
    """a @ b of (M, K) and (K, N), or of (B, M, K) and (B, K, N). version=1: the kernel to read first (no batches)."""
    if version == 2:
        return product(a, b)[0]
    (M, K), N = a.shape, b.shape[1]
    y = empty((M, N), a.dtype, a.device)
    launch(matmul_v1_tiles, (cdiv(M, 32), cdiv(N, 32)), a, b, y, M, N, K, *a.stride(), *b.stride(), BLOCK_M=32, BLOCK_N=32, BLOCK_K=32)
    return y


@op(
    "linear(x, weight, bias, activation, split) -> y, _pre",
    backward=linear_backward,
    reference=linear_reference,
    cases=[
        *(case(x=rand(40, 70), weight=rand(33, 70, scale=0.1), bias=rand(33), activation=a) for a in ACTIVATIONS),
        case(x=rand(3, 5, 257), weight=rand(40, 257, scale=0.1), activation="gelu"),
        case(x=rand(5, 700), weight=rand(20, 700, scale=0.1), bias=rand(20), activation="silu", split=2, dtypes=("float32", "bfloat16")),
        case(x=rand(0, 7), weight=rand(5, 7), bias=rand(5)),
    ],
    aot=[case(x=rand(8192, 4096), weight=rand(4096, 4096), bias=rand(4096), activation="gelu", dtypes=("float32", "bfloat16"))],
    bench=[case(x=rand(8192, n), weight=rand(4 * n, n), bias=rand(4 * n), activation="gelu", dtypes=("bfloat16",)) for n in (1024, 4096)],
    flops=lambda x, weight, **_: 2 * x.numel() * weight.shape[0],
    bytes=lambda x, weight, **_: (x.numel() + weight.numel() + 2 * x.numel() // x.shape[-1] * weight.shape[0]) * x.itemsize,
    tensor_cores=True,
)
def linear(x, weight, bias=None, activation="none", split=None):
    """act(x @ weight^T + bias) of `x` (…, K), `weight` (N, K), `bias` (N). `split`: programs that share a tile's K loop, else chosen."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"linear: unknown activation: got {activation!r}, expected one of {', '.join(ACTIVATIONS)}")
    x_MK = x.reshape(-1, x.shape[-1])
    y, pre = product(x_MK, weight.mT, bias, activation, keep_pre=activation != "none", split=split)
    return y.reshape(*x.shape[:-1], weight.shape[0]), pre


def _int8_case(m):
    weight = ints(4096, 4096, low=-127, high=128, dtype="int8")
    return case(x=rand(m, 4096), weight=weight, scale=rand(4096, dtype="float32"), dtypes=("bfloat16",))


@op(
    "int8_linear(x, weight, scale) -> y",
    backward=int8_linear_backward,
    reference=lambda x, weight, scale: x @ (weight.to(x.dtype) * scale.to(x.dtype).unsqueeze(1)).mT,
    cases=[
        case(x=rand(40, 70), weight=ints(33, 70, low=-127, high=128, dtype="int8"), scale=rand(33, dtype="float32", positive=True)),
        case(x=rand(1, 257), weight=ints(70, 257, low=-127, high=128, dtype="int8"), scale=rand(70, dtype="float32", positive=True)),
    ],
    aot=[_int8_case(m) for m in (16, 4096)],
    bench=[_int8_case(m) for m in (1, 16, 4096)],
    flops=lambda x, weight, scale: 2 * x.numel() * weight.shape[0],
    bytes=lambda x, weight, scale: x.numel() * x.itemsize + weight.numel() + x.shape[0] * weight.shape[0] * x.itemsize,
    tensor_cores=True,
)
def int8_linear(x, weight, scale):
    """x @ (weight * scale)^T with an int8 `weight` (N, K) and its float `scale` (N): a frozen weight at half of bfloat16's bytes.

    Small integers are exact in float16 and bfloat16, so the product runs on tensor cores and is scaled once, behind the sum.
    The gradient is that of x alone."""
    return product(x.reshape(-1, x.shape[-1]), weight.mT, scale=scale)[0].reshape(*x.shape[:-1], weight.shape[0])


if __name__ == "__main__":
    main(matmul, linear, int8_linear)
