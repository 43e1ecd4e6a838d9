"""Symmetric quantisation to int8 or int4 with a scale for each group of a row, and back.

Sources: Dettmers et al., "LLM.int8()", arXiv 2208.07339; Frantar et al., "GPTQ", arXiv 2210.17323 (groups); Yao et al., "ZeroQuant",
arXiv 2206.01861.

Shapes: M rows, N columns in groups of K.
  x_MN, y_MN    float32, float16, bfloat16; rows of any stride
  q_MN          int8: round(x / scale), half to even, in [-127, 127]; int4 in [-7, 7], two a byte: the even column in the low half
  s_MK          float32 scale: largest |x| of the group / 127 (or 7); 1 for a group of zeros

Bytes (s = bytes an element): M N (s + 1), or M N (s + 0.5). Flops: about 4 an element: memory-bound.
The gradient of dequantise is that of neither q nor the scale: it is for frozen weights (see int8_linear in matmul.py).
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty, ints, launch, main, mg, next_power_of_2, op, rand, rows_of


@triton.jit
def round_even(x):
    """To the nearest integer, half to even, by pushing the fraction out of a float32's 24 bits; |x| < 2^22."""
    return (x + 12582912.0) - 12582912.0


@triton.jit
def quantise_kernel(x_MN, q_MN, s_MK, N, x_m, GROUP: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr):
    """Program (m, group)."""
    m, k = tl.program_id(0).to(tl.int64), tl.program_id(1)
    n = k * GROUP + tl.arange(0, BLOCK)
    inside = (tl.arange(0, BLOCK) < GROUP) & (n < N)
    x = tl.load(x_MN + m * x_m + n, mask=inside, other=0.0).to(tl.float32)
    largest: tl.constexpr = 127 if BITS == 8 else 7
    top = tl.max(tl.abs(x), 0)
    scale = tl.where(top > 0, tl.div_rn(top, largest * 1.0), 1.0)
    q = round_even(tl.div_rn(x, scale + tl.zeros_like(x))).to(tl.int32)
    tl.store(s_MK + m * tl.num_programs(1) + k, scale)
    if BITS == 8:
        tl.store(q_MN + m * N + n, q.to(tl.int8), mask=inside)
    else:
        low, high = tl.split(q.reshape(BLOCK // 2, 2))
        half = k * (GROUP // 2) + tl.arange(0, BLOCK // 2)
        packed = ((low & 15) | (high << 4)).to(tl.int8)
        tl.store(q_MN + m * (N // 2) + half, packed, mask=(tl.arange(0, BLOCK // 2) < GROUP // 2) & (half < N // 2))


@triton.jit
def dequantise_kernel(q_MN, s_MK, y_MN, N, K, GROUP: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr):
    """Program (m, block of columns)."""
    m = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    scale = tl.load(s_MK + m * K + n // GROUP, mask=n < N, other=0.0)
    if BITS == 8:
        q = tl.load(q_MN + m * N + n, mask=n < N, other=0).to(tl.float32)
    else:
        byte = tl.program_id(1) * (BLOCK // 2) + tl.arange(0, BLOCK // 2)
        packed = tl.load(q_MN + m * (N // 2) + byte, mask=byte < N // 2, other=0).to(tl.int32)
        q = tl.join((packed << 28) >> 28, packed >> 4).reshape(BLOCK).to(tl.float32)  # arithmetic shifts bring the sign along
    tl.store(y_MN + m * N + n, (q * scale).to(y_MN.dtype.element_ty), mask=n < N)


def _group(N, group, bits):
    group = N if group is None else group
    if bits not in (4, 8) or (bits == 4 and (N % 2 or group % 2)):
        raise ValueError(f"quantise: bits={bits}, {N} columns in groups of {group}: expected 8, or 4 with even numbers of both")
    return group, cdiv(N, group)


def quantise_reference(x, group=None, bits=8):
    (M, N), top = x.shape, 127 if bits == 8 else 7
    group = group or N
    K = cdiv(N, group)
    padded = mg.cat([x.float(), mg.zeros(M, K * group - N)], 1).view(M, K, group)
    scale = padded.abs().amax(-1) / top
    scale = scale.masked_fill(scale == 0, 1.0)
    q = (padded / scale.unsqueeze(-1)).round().view(M, -1)[:, :N].to(mg.int8)
    if bits == 4:
        q = q.view(M, N // 2, 2).to(mg.int32)
        q = ((q[..., 0] & 15) | (q[..., 1] * 16)).to(mg.int8)
    return q, scale


def dequantise_reference(q, scale, like, group=None, bits=8):
    if bits == 4:
        wide = q.to(mg.int32)
        low = wide & 15
        q = mg.stack([low - 16 * (low >= 8).to(mg.int32), (wide - low) // 16], -1).flatten(1)
    group = group or q.shape[1]
    return (q.float() * scale.float().repeat_interleave(group, 1)[:, : q.shape[1]]).to(like.dtype)


@op(
    "quantise(x, group, bits) -> q, scale",
    reference=quantise_reference,
    cases=[
        case(x=rand(5, 257)),
        case(x=rand(3, 200, layout="padded"), group=64),
        case(x=rand(3, 100), group=32, bits=4),
        case(x=rand(33, 4, layout="transposed", scale=0.0)),
    ],
    aot=[case(x=rand(4096, 4096), group=128, bits=b, dtypes=("bfloat16",)) for b in (4, 8)],
    bench=[case(x=rand(8192, 4096), group=128, bits=b, dtypes=("bfloat16",)) for b in (4, 8)],
    bytes=lambda x, bits=8, **_: x.numel() * (x.itemsize + bits / 8),
    exact=True,
)
def quantise(x, group=None, bits=8):
    """(q, scale) of `x` (M, N): int8 (M, N) or, two a byte, (M, N / 2); scale (M, N / group), a group being a row unless told."""
    x_MN, M, N = rows_of(x)
    group, K = _group(N, group, bits)
    q = empty((M, N * bits // 8), mg.int8, x.device)
    scale, block = empty((M, K), mg.float32, x.device), next_power_of_2(group)
    shape = dict(GROUP=group, BITS=bits, BLOCK=block, num_warps=max(1, min(8, block // 256)))
    launch(quantise_kernel, (M, K), x_MN, q, scale, N, x_MN.stride(0), **shape)
    return q, scale


def _packed_case(M, N, group, bits, **more):
    scale = rand(M, cdiv(N, group), dtype="float32", positive=True)
    q = ints(M, N * bits // 8, low=-128, high=128, dtype="int8")
    return case(q=q, scale=scale, like=rand(1), group=group, bits=bits, **more)


@op(
    "dequantise(q, scale, like, group, bits) -> y",
    reference=dequantise_reference,
    cases=[
        case(q=ints(5, 257, low=-127, high=128, dtype="int8"), scale=rand(5, 1, dtype="float32", positive=True), like=rand(1)),
        _packed_case(3, 100, 32, 4),
    ],
    aot=[_packed_case(4096, 4096, 128, b, dtypes=("bfloat16",)) for b in (4, 8)],
    bench=[_packed_case(4096, 4096, 128, b, dtypes=("bfloat16",)) for b in (4, 8)],
    bytes=lambda q, like, bits=8, **_: q.numel() * (1 + like.itemsize * 8 // bits),
    exact=True,
)
def dequantise(q, scale, like, group=None, bits=8):
    """q * scale in the dtype of `like`; the inverse of quantise up to rounding."""
    M, N = q.shape[0], q.shape[1] * 8 // bits
    group, K = _group(N, group, bits)
    y = empty((M, N), like.dtype, q.device)
    arguments = (q.contiguous(), scale.contiguous(), y, N, K)
    launch(dequantise_kernel, (M, cdiv(N, 1024)), *arguments, GROUP=group, BITS=bits, BLOCK=1024, num_warps=4)
    return y


if __name__ == "__main__":
    main(quantise, dequantise)
