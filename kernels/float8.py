"""8-bit floats: a matrix quantised row by row to e4m3 or e5m2, and y = x @ w^T of two such matrices on fp8 tensor cores.

Sources: Micikevicius et al., "FP8 Formats for Deep Learning", arXiv 2209.05433; "NVIDIA H100 Tensor Core GPU Architecture"; DeepSeek-AI,
"DeepSeek-V3 Technical Report", arXiv 2412.19437, section 3.3 (sums of fp8 products have few bits: add up short pieces in float32).

Shapes: M rows, N outputs, K summed over. minigrad has no dtype of 8-bit floats: uint8 tensors hold the bits, `format` says which.
  x_MK           float32, float16, bfloat16
  q_MK, q_NK     uint8: e4m3 (4 bits of exponent, 3 of mantissa; up to 448, no infinity) or e5m2 (5 and 2; up to 57344)
  s_M, s_N       float32: largest |x| of the row / largest number of the format; 1 for a row of zeros
  y_MN           (q_MK s_M) @ (q_NK s_N)^T

Flops: 2 M N K. Bytes: M K + K N + s M N. On sm_90 the product is of fp8 (QGMMA, twice bfloat16's rate), and each BLOCK_K of it is added
to the float32 sums outside the tensor core; sm_80 has no fp8: the bytes become float16 in registers, exactly, half of bfloat16's traffic.
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty, ints, launch, main, mg, next_power_of_2, op, rand, rows_of, target, tuned
from minigrad.kernels.matmul import grouped

LARGEST = {"e4m3": 448.0, "e5m2": 57344.0}
MANTISSA = {"e4m3": 3, "e5m2": 2}


@triton.jit
def encoded(x, MANTISSA: tl.constexpr):
    """The 8 bits of x, |x| at most the format's largest; to nearest, half to even.

    A float32's bits, rounded to MANTISSA bits of mantissa, are already the answer but for the exponent's bias. Below the smallest normal
    number the answer is the multiple of the smallest number: rounded by pushing the fraction out of a float32."""
    bias: tl.constexpr = 7 if MANTISSA == 3 else 15
    shift: tl.constexpr = 23 - MANTISSA
    bits = x.to(tl.int32, bitcast=True)
    size = bits & 0x7FFFFFFF
    normal = (size + ((1 << (shift - 1)) - 1) + ((size >> shift) & 1)) >> shift
    normal -= (127 - bias) << MANTISSA
    pushed = tl.abs(x) * (2.0 ** (bias - 1 + MANTISSA)) + 8388608.0
    small = pushed.to(tl.int32, bitcast=True) - 0x4B000000
    code = tl.where(size < ((128 - bias) << 23), small, normal)
    return (code | ((bits >> 24) & 128)).to(tl.uint8)


@triton.jit
def decoded(q, MANTISSA: tl.constexpr):
    """The float16 of 8 bits. e5m2 is a float16's upper half; e4m3's exponent has another bias, 2^8 makes up for it."""
    wide = q.to(tl.int16)
    if MANTISSA == 2:
        return (wide << 8).to(tl.float16, bitcast=True)
    value = (((wide & 128) << 8) | ((wide & 127) << 7)).to(tl.float16, bitcast=True) * 256.0
    return tl.where((wide & 127) == 127, float("nan"), value).to(tl.float16)


@triton.jit
def float8_kernel(x_MK, q_MK, s_M, K, x_m, LARGEST: tl.constexpr, MANTISSA: tl.constexpr, BLOCK: tl.constexpr):
    """Program m: the largest of the row, then the row again, now from L2, divided and encoded."""
    m = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    top = tl.zeros([BLOCK], tl.float32)
    for start in range(0, K, BLOCK):
        k = start + at
        top = tl.maximum(top, tl.abs(tl.load(x_MK + m * x_m + k, mask=k < K, other=0.0).to(tl.float32)))
    largest = tl.max(top, 0)
    scale = tl.where(largest > 0, tl.div_rn(largest, LARGEST), 1.0)
    tl.store(s_M + m, scale)
    for start in range(0, K, BLOCK):
        k = start + at
        x = tl.load(x_MK + m * x_m + k, mask=k < K, other=0.0).to(tl.float32)
        x = tl.div_rn(x, scale + tl.zeros_like(x))
        x = tl.minimum(tl.maximum(x, -LARGEST), LARGEST)  # the quotient of the largest may be rounded up
        tl.store(q_MK + m * K + k, encoded(x, MANTISSA), mask=k < K)


@triton.jit
def float8_linear_kernel(x_MK, w_NK, sx_M, sw_N, y_MN, M, N, K, x_m, w_n, KIND: tl.constexpr, MANTISSA: tl.constexpr, NATIVE: tl.constexpr,
                         BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr):  # fmt: skip
    """Program: a tile of y. NATIVE: products of KIND; else both operands become float16 first."""
    row, column = grouped(tl.program_id(0), M, N, BLOCK_M, BLOCK_N, GROUP)
    m = (row * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    n = (column * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    k = tl.arange(0, BLOCK_K)
    x_at = x_MK + m[:, None] * x_m + k[None, :]
    w_at = w_NK + n[None, :] * w_n + k[:, None]
    total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in range(0, K, BLOCK_K):
        x = tl.load(x_at + start, mask=(m < M)[:, None] & (k < K - start)[None, :], other=0)
        w = tl.load(w_at + start, mask=(k < K - start)[:, None] & (n < N)[None, :], other=0)
        if NATIVE:
            total = tl.dot(x.to(KIND, bitcast=True), w.to(KIND, bitcast=True), total, max_num_imprecise_acc=BLOCK_K)
        else:
            total = tl.dot(decoded(x, MANTISSA), decoded(w, MANTISSA), total)
    total *= tl.load(sx_M + m, mask=m < M, other=0.0)[:, None] * tl.load(sw_N + n, mask=n < N, other=0.0)[None, :]
    corner = y_MN + row.to(tl.int64) * BLOCK_M * N + column * BLOCK_N
    at = tl.arange(0, BLOCK_M)[:, None] * N + tl.arange(0, BLOCK_N)[None, :]
    tl.store(corner + at, total.to(y_MN.dtype.element_ty), mask=(m < M)[:, None] & (n < N)[None, :])


def _tiles(M, native):
    """Candidate tiles, the first for any size. Each sum is there twice, in and outside the tensor core: not more than 64 a thread."""
    if M <= 64:
        shapes = [(64, 64, 128, 4, 4), (64, 128, 128, 4, 3)] if native else [(64, 64, 128, 4, 4)]
    elif native:
        shapes = [(128, 128, 128, 8, 4), (128, 128, 64, 8, 4)]
    else:  # decoding needs registers beside the sums
        shapes = [(128, 64, 64, 8, 3)]
    return [dict(BLOCK_M=m, BLOCK_N=n, BLOCK_K=k, GROUP=8, num_warps=w, num_stages=s) for m, n, k, w, s in shapes]


def _known(format):
    if format not in LARGEST:
        raise ValueError(f"float8: unknown format: got {format!r}, expected one of {', '.join(LARGEST)}")
    return format


def numbers_of(q, format):
    """What the bytes mean, in float32, by ordinary operations; for references and tests."""
    bits, bias = MANTISSA[format], 7 if format == "e4m3" else 15
    code = q.to(mg.int64)
    low, exponent = code % 2**bits, code % 128 // 2**bits
    size = (low + 2**bits * (exponent > 0).to(mg.int64)).float() * 2.0 ** (exponent.clamp(min=1) - bias - bits).float()
    if format == "e4m3":
        size = size.masked_fill(code % 128 == 127, float("nan"))
    else:
        size = size.masked_fill(code % 128 == 124, float("inf")).masked_fill(code % 128 > 124, float("nan"))
    return mg.where(code >= 128, -size, size)


def to_float8_reference(x, format="e4m3"):
    bits, bias, largest = MANTISSA[format], 7 if format == "e4m3" else 15, LARGEST[format]
    x = x.float()
    scale = x.abs().amax(-1, keepdim=True) / largest if x.shape[-1] else mg.zeros(*x.shape[:-1], 1)
    scale = scale.masked_fill(scale == 0, 1.0)
    x = (x / scale).clamp(-largest, largest)
    exponent = (mg.frexp(x.abs())[1] - 1).clamp(min=1 - bias).to(mg.int64)
    exponent = exponent.masked_fill(x == 0, 1 - bias)
    code = (x.abs() / 2.0 ** (exponent - bits).float()).round().to(mg.int64) + (exponent + bias - 1) * 2**bits
    return (code + 128 * mg.signbit(x).to(mg.int64)).to(mg.uint8), scale.squeeze(-1)


@op(
    "to_float8(x, format) -> q, scale",
    reference=to_float8_reference,
    cases=[
        case(x=rand(5, 257)),
        case(x=rand(5, 257), format="e5m2"),
        case(x=rand(3, 2100, layout="padded", scale=1e-3)),
        case(x=rand(33, 4, layout="transposed", scale=0.0)),
    ],
    aot=[case(x=rand(8192, 4096), format=f) for f in LARGEST],
    bench=[case(x=rand(8192, 4096), format=f, dtypes=("bfloat16",)) for f in LARGEST],
    bytes=lambda x, **_: x.numel() * (x.itemsize + 1),
    exact=True,
)
def to_float8(x, format="e4m3"):
    """(q, scale) of `x` (M, K): the bits in uint8 (M, K), float32 (M): x is about scale * what the bits mean. format: "e4m3", "e5m2"."""
    x_MK, M, K = rows_of(x)
    q, scale = empty((M, K), mg.uint8, x.device), empty((M,), mg.float32, x.device)
    block = max(16, min(2048, next_power_of_2(K)))
    shape = dict(LARGEST=LARGEST[_known(format)], MANTISSA=MANTISSA[format], BLOCK=block, num_warps=max(1, min(8, block // 256)))
    launch(float8_kernel, (M,), x_MK, q, scale, K, x_MK.stride(0), **shape)
    return q, scale


def float8_linear_reference(x, scale_x, weight, scale_weight, like, format="e4m3", native=True):
    x, weight = (numbers_of(q, format).to(s.dtype) * s.unsqueeze(1) for q, s in ((x, scale_x), (weight, scale_weight)))
    return (x @ weight.mT).to(like.dtype)


def _linear_case(M, N, K, format, negative=False, **more):
    """Bytes below 120 are numbers of both formats; 128 more of them, negative ones."""
    sign = 128 if negative else 0
    x, weight = ints(M, K, low=0, high=120, dtype="uint8"), ints(N, K, low=sign, high=sign + 120, dtype="uint8")
    scales = dict(scale_x=rand(M, dtype="float32", positive=True), scale_weight=rand(N, dtype="float32", positive=True, scale=1e-3))
    return case(x=x, weight=weight, like=rand(1), format=format, **scales, **more)


@op(
    "float8_linear(x, scale_x, weight, scale_weight, like, format, native) -> y",
    reference=float8_linear_reference,
    cases=[
        _linear_case(40, 33, 150, "e4m3"),
        _linear_case(70, 33, 64, "e5m2", negative=True, dtypes=("float32", "bfloat16")),
        _linear_case(70, 33, 150, "e4m3", negative=True, native=False, dtypes=("float16", "bfloat16")),
        _linear_case(70, 33, 64, "e5m2", native=False, dtypes=("bfloat16",)),
        _linear_case(0, 3, 16, "e4m3", dtypes=("bfloat16",)),
    ],
    aot=[_linear_case(m, 4096, 4096, f, dtypes=("bfloat16",)) for m in (16, 4096) for f in LARGEST],
    bench=[_linear_case(m, 8192, 8192, f, dtypes=("bfloat16",)) for m in (16, 8192) for f in LARGEST],
    flops=lambda x, weight, **_: 2 * x.numel() * weight.shape[0],
    bytes=lambda x, weight, like, **_: x.numel() + weight.numel() + x.shape[0] * weight.shape[0] * like.itemsize,
    tensor_cores=True,
)
def float8_linear(x, scale_x, weight, scale_weight, like, format="e4m3", native=None):
    """(x scale_x) @ (weight scale_weight)^T in the dtype of `like`: x (M, K), weight (N, K) as to_float8 returns them. Not differentiable.

    native: products of fp8, by default where the chip has them (sm_90); else both become float16 in registers."""
    (M, K), N, arch = x.shape, weight.shape[0], target(x.device).arch
    native = arch >= 90 if native is None else native
    if native and arch < 90:
        raise ValueError(f"float8_linear: native=True: sm_{arch} has no 8-bit tensor cores, expected sm_90")
    x, weight = x.contiguous(), weight.contiguous()
    y = empty((M, N), like.dtype, x.device)
    kind = tl.float8e4nv if _known(format) == "e4m3" else tl.float8e5
    flags = dict(KIND=kind, MANTISSA=MANTISSA[format], NATIVE=native)

    def run(shape):
        arguments = (x, weight, scale_x.contiguous(), scale_weight.contiguous(), y, M, N, K, x.stride(0), weight.stride(0))
        launch(float8_linear_kernel, (cdiv(M, shape["BLOCK_M"]) * cdiv(N, shape["BLOCK_N"]),), *arguments, **flags, **shape)

    rounded = tuple(next_power_of_2(n) for n in (M, N, K))
    tuned(("float8_linear", *rounded, format, native, str(like.dtype)), _tiles(M, native), run)
    return y


if __name__ == "__main__":
    main(to_float8, float8_linear)
