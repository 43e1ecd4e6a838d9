"""Attention of a few new queries to a long cache (decoding), the keys split between programs; the cache may lie in pages.

Sources: Dao, Haziza, Massa, Sizov, "Flash-Decoding for long-context inference", 2023 (splits); Kwon et al., "PagedAttention",
arXiv 2309.06180 (pages).

Shapes: B sequences, H heads, G heads of the cache, R = H / G query heads a cache head, T new tokens (usually 1), D width,
  S longest cache, P pages of N positions each, C splits.
  q_BHTD                          float32, float16, bfloat16
  k_BSGD, v_BSGD                  the cache, or pages k_PNGD, v_PNGD and a table_BS/N of page numbers
  length_B                        integers: positions of the cache in use, the new tokens among them (they are its last)
  part_BGCXD, top_BGCX, sum_BGCX  float32 results of the splits; X = R T rows

Bytes: the cache once, 2 B S G D s. Flops 4 B H T S D: R T flops a byte and more, so memory-bound; what counts is that all
multiprocessors read. One program a (sequence, head) would be B G of them; hence the splits. The R query heads that share a
cache head make up the rows of one tile, so that the cache is read once for all of them, and tl.dot has rows to work on.
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty, ints, launch, main, mg, next_power_of_2, op, rand, target
from minigrad.kernels._rows import scratch


@triton.jit
def decode_split(q_BHTD, k_cache, v_cache, length_B, table_BP, part_BGCXD, top_BGCX, sum_BGCX, G, R, T, D, q_b, q_h, q_t, k_b, k_s, k_g,
                 v_b, v_s, v_g, table_b, scale, SPLITS: tl.constexpr, PAGE: tl.constexpr, BLOCK_X: tl.constexpr, BLOCK_N: tl.constexpr,
                 BLOCK_D: tl.constexpr):  # fmt: skip
    """Program (split, g, b): BLOCK_X rows (head of the group, new token) against this split's share of the cache."""
    split, g, b = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    length = tl.load(length_B + b).to(tl.int32)
    x = tl.arange(0, BLOCK_X)
    d = tl.arange(0, BLOCK_D)
    q_at = q_BHTD + b * q_b + (g * R + x // T) * q_h + (x % T) * q_t
    q = tl.load(q_at[:, None] + d[None, :], mask=(x < R * T)[:, None] & (d < D)[None, :], other=0.0)
    last = length - T + x % T  # the last position that row may see: the new tokens are causal among themselves
    blocks = tl.cdiv(tl.cdiv(length, BLOCK_N), SPLITS)
    start = split * blocks * BLOCK_N
    acc = tl.zeros([BLOCK_X, BLOCK_D], tl.float32)
    total = tl.zeros([BLOCK_X], tl.float32)
    top = tl.full([BLOCK_X], float("-inf"), tl.float32)
    for n in range(start, tl.minimum(length, start + blocks * BLOCK_N), BLOCK_N):
        s = n + tl.arange(0, BLOCK_N)
        if PAGE > 0:
            page = tl.load(table_BP + b * table_b + s // PAGE, mask=s < length, other=0).to(tl.int64)
            k_at = k_cache + page * k_b + (s % PAGE) * k_s + g * k_g
            v_at = v_cache + page * v_b + (s % PAGE) * v_s + g * v_g
        else:
            k_at = k_cache + b * k_b + s.to(tl.int64) * k_s + g * k_g
            v_at = v_cache + b * v_b + s.to(tl.int64) * v_s + g * v_g
        inside = (s < length)[:, None] & (d < D)[None, :]
        k = tl.load(k_at[:, None] + d[None, :], mask=inside, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * (scale * 1.4426950408889634)
        scores = tl.where(s[None, :] <= last[:, None], scores, float("-inf"))
        new = tl.maximum(top, tl.max(scores, 1))
        safe = tl.where(new == float("-inf"), 0.0, new)
        weights = tl.exp2(scores - safe[:, None])
        correction = tl.exp2(top - safe)
        total = total * correction + tl.sum(weights, 1)
        v = tl.load(v_at[:, None] + d[None, :], mask=inside, other=0.0)
        acc = tl.dot(weights.to(v.dtype), v, acc * correction[:, None], input_precision="ieee")
        top = new
    row = ((b * G + g) * SPLITS + split) * BLOCK_X + x
    tl.store(part_BGCXD + row[:, None] * BLOCK_D + d[None, :], acc)
    tl.store(top_BGCX + row, top)
    tl.store(sum_BGCX + row, total)


@triton.jit
def decode_merge(part_BGCXD, top_BGCX, sum_BGCX, o_BHTD, G, R, T, D, SPLITS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_X: tl.constexpr,
                 BLOCK_D: tl.constexpr):  # fmt: skip
    """Program (x, g, b): o = sum of 2^(top_c - top) part_c / sum of 2^(top_c - top) sum_c over the splits c, in their order."""
    x, g, b = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    d = tl.arange(0, BLOCK_D)
    row = ((b * G + g) * SPLITS + c) * BLOCK_X + x
    tops = tl.load(top_BGCX + row, mask=c < SPLITS, other=float("-inf"))
    top = tl.max(tops, 0)
    factor = tl.exp2(tops - tl.where(top == float("-inf"), 0.0, top))
    total = tl.sum(factor * tl.load(sum_BGCX + row, mask=c < SPLITS, other=0.0), 0)
    parts = tl.load(part_BGCXD + row[:, None] * BLOCK_D + d[None, :], mask=(c < SPLITS)[:, None], other=0.0)
    o = tl.sum(parts * factor[:, None], 0) / tl.where(total > 0, total, 1.0)
    at = ((b * G + g) * R + x // T) * T + x % T
    tl.store(o_BHTD + at * D + d, o.to(o_BHTD.dtype.element_ty), mask=d < D)


def _decode(q, k, v, length, table, scale):
    q, k, v = (t if t.stride(-1) == 1 else t.contiguous() for t in (q, k, v))
    (B, H, T, D), G = q.shape, k.shape[2]
    R, page = H // G, 0 if table is None else k.shape[1]
    longest = k.shape[1] if table is None else page * table.shape[1]
    block_x, block_d = max(16, next_power_of_2(R * T)), max(16, next_power_of_2(D))
    block_n = 32 if q.itemsize == 4 else 64
    splits = max(1, min(cdiv(longest, 4 * block_n), cdiv(2 * target(q.device).multiprocessors, max(B * G, 1)), 64))
    o, rows = empty(q.shape, q.dtype, q.device), B * G * splits * block_x
    part, top, total = scratch(q, rows, block_d), scratch(q, rows), scratch(q, rows)
    strides = (*q.stride()[:3], *k.stride()[:3], *v.stride()[:3], 0 if table is None else table.stride(0))
    shape = dict(SPLITS=splits, BLOCK_X=block_x, BLOCK_D=block_d)
    arguments = (q, k, v, length, None if table is None else table, part, top, total, G, R, T, D, *strides)
    warps = 4 if block_x <= 64 else 8
    launch(decode_split, (splits, G, B), *arguments, D**-0.5 if scale is None else scale, PAGE=page, BLOCK_N=block_n, **shape,
           num_warps=warps, num_stages=2)  # fmt: skip
    launch(decode_merge, (R * T, G, B), part, top, total, o, G, R, T, D, BLOCK_C=next_power_of_2(splits), **shape, num_warps=4)
    return o


def decode_reference(q, k, v, length, scale=None):
    share, T, S = q.shape[1] // k.shape[2], q.shape[2], k.shape[1]
    k, v = (x.movedim(1, 2).repeat_interleave(share, 1) for x in (k, v))
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    last = length.view(-1, 1, 1, 1) - T + mg.arange(T).view(1, 1, -1, 1)
    scores = scores.masked_fill(mg.arange(S).view(1, 1, 1, -1) > last, float("-inf"))
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return weights / weights.sum(-1, keepdim=True) @ v


def paged_reference(q, k, v, length, table, scale=None):
    k, v = (x[table.long()].flatten(1, 2) for x in (k, v))
    return decode_reference(q, k, v, length, scale)


def _dense(B, H, G, T, S, D, **more):
    return case(q=rand(B, H, T, D), k=rand(B, S, G, D), v=rand(B, S, G, D), length=ints(B, low=T, high=S + 1, dtype="int32"), **more)


def _paged(B, H, G, T, pages, page, used, D, **more):
    cache = dict(k=rand(pages, page, G, D), v=rand(pages, page, G, D), table=ints(B, used, high=pages, dtype="int32"))
    return case(q=rand(B, H, T, D), **cache, length=ints(B, low=T, high=page * used + 1, dtype="int32"), **more)


def _flops(q, k, **_):
    return 4 * q.numel() * k.shape[1]


@op(
    "attention_decode(q, k, v, length, scale) -> o",
    reference=decode_reference,
    cases=[
        _dense(2, 4, 2, 1, 300, 16),
        _dense(1, 2, 2, 3, 70, 40),
        _dense(1, 8, 1, 4, 600, 8, scale=0.2),
    ],
    aot=[_dense(8, 32, 8, 1, 16384, d, dtypes=("float32", "bfloat16")) for d in (64, 128)],
    bench=[_dense(b, 32, 8, 1, 16384, 128, dtypes=("bfloat16",)) for b in (1, 16)],
    flops=_flops,
    bytes=lambda q, k, **_: 2 * k.numel() * k.itemsize,
    tensor_cores=True,
)
def attention_decode(q, k, v, length, scale=None):
    """Attention of the last T of `length` (B) positions, q (B, H, T, D), to a cache k, v (B, S, G, D). Not differentiable."""
    return _decode(q, k, v, length, None, scale)


@op(
    "attention_paged(q, k, v, length, table, scale) -> o",
    reference=paged_reference,
    cases=[_paged(2, 2, 1, 1, 7, 16, 6, 16), _paged(1, 4, 2, 2, 9, 5, 20, 24)],
    aot=[_paged(8, 32, 8, 1, 4096, 16, 1024, 128, dtypes=("bfloat16",))],
    bench=[_paged(16, 32, 8, 1, 16384, 16, 1024, 128, dtypes=("bfloat16",))],
    flops=lambda q, k, table, **_: 4 * q.numel() * k.shape[1] * table.shape[1],
    bytes=lambda q, k, table, **_: 2 * table.numel() * k.shape[1] * k.shape[2] * k.shape[3] * k.itemsize,
    tensor_cores=True,
)
def attention_paged(q, k, v, length, table, scale=None):
    """attention_decode with the cache in pages k, v (P, N, G, D): position s of sequence b is row s % N of page table[b, s // N]."""
    return _decode(q, k, v, length, table, scale)


if __name__ == "__main__":
    main(attention_decode, attention_paged)
