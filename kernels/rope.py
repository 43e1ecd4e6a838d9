"""Rotary position embedding: pairs of features are turned by an angle that grows with the position.

Source: Su et al., "RoFormer", arXiv 2104.09864. Halves (features d and d + R/2 are a pair) as in GPT-NeoX and Llama, or interleaved (2 d
and 2 d + 1) as in GPT-J.

Shapes: B batch, H heads, L positions, D features of which the first R are turned, P = R / 2 pairs.
  x_BHLD, y_BHLD          float32, float16, bfloat16; any strides but the last of x, which is 1
  cos_LP, sin_LP          any float type; the same for all heads
    y_1 = x_1 cos - x_2 sin        y_2 = x_2 cos + x_1 sin        backward: the same with -sin

Bytes (s = bytes an element): 2 B H L D s; cos and sin come from L2 after the first head. Flops: 3 an element: memory-bound.
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty, launch, main, mg, next_power_of_2, op, rand


@triton.jit
def rope_kernel(x_BHLD, y_BHLD, cos_LP, sin_LP, H, L, D, P, x_b, x_h, x_l, y_b, y_h, y_l, SIGN: tl.constexpr, INTERLEAVED: tl.constexpr,
                BLOCK_L: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_REST: tl.constexpr):  # fmt: skip
    i = (tl.program_id(0) * BLOCK_L + tl.arange(0, BLOCK_L)).to(tl.int64)
    head = tl.program_id(1).to(tl.int64)
    x_at = x_BHLD + head // H * x_b + head % H * x_h + i[:, None] * x_l
    y_at = y_BHLD + head // H * y_b + head % H * y_h + i[:, None] * y_l
    p = tl.arange(0, BLOCK_P)
    inside = (i < L)[:, None] & (p < P)[None, :]
    cos = tl.load(cos_LP + i[:, None] * P + p[None, :], mask=inside, other=0.0).to(tl.float32)
    sin = tl.load(sin_LP + i[:, None] * P + p[None, :], mask=inside, other=0.0).to(tl.float32) * SIGN
    if INTERLEAVED:  # one wide load of whole pairs, taken apart in registers
        r = tl.arange(0, 2 * BLOCK_P)
        pairs_in = (i < L)[:, None] & (r < 2 * P)[None, :]
        pairs = tl.load(x_at + r[None, :], mask=pairs_in, other=0.0).to(tl.float32)
        one, two = tl.split(pairs.reshape(BLOCK_L, BLOCK_P, 2))
        y = tl.join(one * cos - two * sin, two * cos + one * sin).reshape(BLOCK_L, 2 * BLOCK_P)
        tl.store(y_at + r[None, :], y.to(y_BHLD.dtype.element_ty), mask=pairs_in)
    else:
        one = tl.load(x_at + p[None, :], mask=inside, other=0.0).to(tl.float32)
        two = tl.load(x_at + P + p[None, :], mask=inside, other=0.0).to(tl.float32)
        tl.store(y_at + p[None, :], (one * cos - two * sin).to(y_BHLD.dtype.element_ty), mask=inside)
        tl.store(y_at + P + p[None, :], (two * cos + one * sin).to(y_BHLD.dtype.element_ty), mask=inside)
    if BLOCK_REST > 0:
        d = 2 * P + tl.arange(0, BLOCK_REST)
        rest_in = (i < L)[:, None] & (d < D)[None, :]
        tl.store(y_at + d[None, :], tl.load(x_at + d[None, :], mask=rest_in, other=0.0), mask=rest_in)


def _turn(x, cos, sin, interleaved, sign):
    x = x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()
    (B, H, L, D), P = x.shape, cos.shape[-1]
    if cos.shape != (L, P) or sin.shape != cos.shape or 2 * P > D:
        raise RuntimeError(f"rope: got x {tuple(x.shape)}, cos {tuple(cos.shape)}, sin {tuple(sin.shape)}, expected (B, H, L, D) and "
                           "twice (L, P) with 2 P <= D")  # fmt: skip
    y, block = empty(x.shape, x.dtype, x.device), next_power_of_2(P)
    block_l = max(1, min(64, 2048 // block))
    rest = 0 if D == 2 * P else next_power_of_2(D - 2 * P)
    flags = dict(SIGN=sign, INTERLEAVED=interleaved, BLOCK_L=block_l, BLOCK_P=block, BLOCK_REST=rest)
    arguments = (x, y, cos.contiguous(), sin.contiguous(), H, L, D, P, *x.stride()[:3], *y.stride()[:3])
    launch(rope_kernel, (cdiv(L, block_l), B * H), *arguments, **flags, num_warps=4)
    return y


def rope_reference(x, cos, sin, interleaved=False):
    P = cos.shape[-1]
    turned, rest = x[..., : 2 * P], x[..., 2 * P :]
    one, two = (turned[..., 0::2], turned[..., 1::2]) if interleaved else (turned[..., :P], turned[..., P:])
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    parts = one * cos - two * sin, two * cos + one * sin
    turned = mg.stack(parts, -1).flatten(-2) if interleaved else mg.cat(parts, -1)
    return mg.cat([turned, rest], -1)


def _case(*shape, pairs, layout="contiguous", **more):
    angles = dict(cos=rand(shape[2], pairs, dtype="float32"), sin=rand(shape[2], pairs, dtype="float32"))
    return case(x=rand(*shape, layout=layout), **angles, **more)


@op(
    "rope(x, cos, sin, interleaved) -> y",
    backward=lambda g, cos, sin, interleaved: dict(x=_turn(g, cos, sin, interleaved, -1)),
    reference=rope_reference,
    cases=[
        _case(2, 3, 17, 16, pairs=8),
        _case(1, 2, 70, 40, pairs=20, layout="padded"),
        _case(1, 2, 9, 22, pairs=5, interleaved=True),
        _case(2, 1, 5, 8, pairs=4, layout="transposed", interleaved=True),
        _case(1, 1, 0, 8, pairs=4),
    ],
    aot=[_case(4, 32, 4096, 128, pairs=64, interleaved=i, dtypes=("float32", "bfloat16")) for i in (False, True)],
    bench=[_case(4, 32, 4096, 128, pairs=64, dtypes=("float32", "bfloat16"))],
    flops=lambda x, **_: 3 * x.numel(),
    bytes=lambda x, **_: 2 * x.numel() * x.itemsize,
)
def rope(x, cos, sin, interleaved=False):
    """x (B, H, L, D) with its first 2 P features turned by the angles whose cos and sin (L, P) are given. cos and sin get no gradient."""
    return _turn(x, cos, sin, interleaved, 1)


if __name__ == "__main__":
    main(rope)
