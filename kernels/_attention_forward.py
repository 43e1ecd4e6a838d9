"""The forward kernel of attention.py (legend, sources and masks: there) and what it shares with the backward kernels."""

import triton
import triton.language as tl

from minigrad.kernels.dropout import philox

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def load_rows(at, rows, limit, d, D, MASKED: tl.constexpr, EVEN_D: tl.constexpr):
    """at + d for every row; 0 where row >= limit or d >= D. The cheapest mask that will do."""
    if MASKED and EVEN_D:
        x = tl.load(at[:, None] + d[None, :], mask=(rows < limit)[:, None], other=0.0)
    elif MASKED:
        x = tl.load(at[:, None] + d[None, :], mask=(rows < limit)[:, None] & (d < D)[None, :], other=0.0)
    elif EVEN_D:
        x = tl.load(at[:, None] + d[None, :])
    else:
        x = tl.load(at[:, None] + d[None, :], mask=(d < D)[None, :], other=0.0)
    return x


@triton.jit
def biased(s, i, j, L, S, bias_LS, bias_m, bias_n, slope, offset, window, MASKED: tl.constexpr, CAUSAL: tl.constexpr,
           WINDOW: tl.constexpr, BIAS: tl.constexpr, ALIBI: tl.constexpr):  # fmt: skip
    """Base-2 scores plus what is added to them; -inf where j may not be seen. i and j broadcast to the shape of s."""
    if ALIBI:
        s += slope * LOG2E * (j - i - offset).to(tl.float32)
    if BIAS:
        at = bias_LS + i.to(tl.int64) * bias_m + j * bias_n
        bias = tl.load(at, mask=(i < L) & (j < S), other=0)
        if bias_LS.dtype.element_ty == tl.uint8:
            s = tl.where(bias != 0, s, float("-inf"))
        else:
            s += bias.to(tl.float32) * LOG2E
    if MASKED:
        seen = j < S
        if CAUSAL:
            seen = seen & (j <= i + offset)
        if WINDOW:
            seen = seen & (j > i + offset - window)
        s = tl.where(seen, s, float("-inf"))
    return s


@triton.jit
def kept(rng_2, number, i, j, L, S, threshold, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """Which weights dropout keeps, keys x queries, of the block of queries from i (a multiple of 4) on and the keys j of head `number`.

    As in csrc/cuda/kernels/attention.h: 32-bit number (head S + key) L' + query of the stream decides, L' being L up to a multiple of 64;
    four queries share one call of philox. rng_2: seed, and where the stream begins."""
    seed = tl.load(rng_2)
    padded = tl.cdiv(L, 64) * 64
    first = ((number * S + j) * padded + i) // 4 + tl.load(rng_2 + 1)
    counter = first[:, None] + tl.arange(0, BLOCK_M // 4)[None, :]
    a, b, c, d = philox(seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF, counter)
    return tl.join(tl.join(a, c), tl.join(b, d)).reshape(BLOCK_N, BLOCK_M).to(tl.int64) < threshold


@triton.jit
def attend(acc, total, top, q, i, start, stop, k_SD, v_SD, bias_LS, L, S, D, k_s, v_s, bias_m, bias_n, slope, scale, offset, window,
           rng_2, number, threshold, MASKED: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, BIAS: tl.constexpr,
           ALIBI: tl.constexpr, DROPOUT: tl.constexpr, EVEN_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
           BLOCK_D: tl.constexpr):  # fmt: skip
    """The keys from start to stop: acc = sum of weights times v, total = sum of weights, both relative to 2^top."""
    d = tl.arange(0, BLOCK_D)
    for n in range(start, stop, BLOCK_N):
        j = n + tl.arange(0, BLOCK_N)
        k = load_rows(k_SD + j.to(tl.int64) * k_s, j, S, d, D, MASKED, EVEN_D)
        s = tl.dot(q, tl.trans(k), input_precision="ieee") * (scale * LOG2E)
        s = biased(s, i[:, None], j[None, :], L, S, bias_LS, bias_m, bias_n, slope, offset, window, MASKED, CAUSAL, WINDOW, BIAS, ALIBI)
        new = tl.maximum(top, tl.max(s, 1))
        safe = new
        if MASKED or BIAS:
            safe = tl.where(new == float("-inf"), 0.0, new)  # a row that has seen nothing yet: -inf - -inf is NaN
        weights = tl.exp2(s - safe[:, None])
        correction = tl.exp2(top - safe)
        total = total * correction + tl.sum(weights, 1)
        if DROPOUT:
            low = tl.min(i, 0)
            weights = tl.where(tl.trans(kept(rng_2, number, low, j, L, S, threshold, BLOCK_M, BLOCK_N)), weights, 0.0)
        v = load_rows(v_SD + j.to(tl.int64) * v_s, j, S, d, D, MASKED, EVEN_D)
        acc = tl.dot(weights.to(v.dtype), v, acc * correction[:, None], input_precision="ieee")
        top = new
    return acc, total, top


@triton.jit
def sequence(starts, b, PACKED: tl.constexpr, length):
    """(first row, number of rows) of sequence b."""
    first = tl.full([], 0, tl.int64)
    if PACKED:
        first = tl.load(starts + b).to(tl.int64)
        length = (tl.load(starts + b + 1) - first).to(tl.int32)
    return first, length


@triton.jit
def attention_forward(q_BHLD, k_BGSD, v_BGSD, o_BHLD, lse_BHL, bias_BHLS, slope_H, starts_q, starts_k, rng_2, H, G, L, S, D, q_b, q_h, q_l,
                      k_b, k_g, k_s, v_b, v_g, v_s, o_b, o_h, o_l, lse_b, lse_h, bias_b, bias_h, bias_m, bias_n, scale, offset, window,
                      threshold, keep_scale, PACKED: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, BIAS: tl.constexpr,
                      ALIBI: tl.constexpr, DROPOUT: tl.constexpr, EVEN_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
                      BLOCK_D: tl.constexpr):  # fmt: skip
    block, h, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    if CAUSAL:
        block = tl.num_programs(0) - 1 - block  # the longest first
    first_q, L = sequence(starts_q, b, PACKED, L)
    first_k, S = sequence(starts_k, b, PACKED, S)
    low = block * BLOCK_M
    if low < L:
        g = h // (H // G)
        i = low + tl.arange(0, BLOCK_M)
        d = tl.arange(0, BLOCK_D)
        q_at = q_BHLD + b * q_b + h.to(tl.int64) * q_h + (first_q + i) * q_l
        q = load_rows(q_at, i, L, d, D, True, EVEN_D)
        k_SD = k_BGSD + b * k_b + g.to(tl.int64) * k_g + first_k * k_s
        v_SD = v_BGSD + b * v_b + g.to(tl.int64) * v_g + first_k * v_s
        bias_LS = bias_BHLS + b * bias_b + h.to(tl.int64) * bias_h if BIAS else bias_BHLS
        slope = tl.load(slope_H + h).to(tl.float32) if ALIBI else 0.0
        number = b * H + h
        start, whole, cut, stop = 0, 0, S // BLOCK_N * BLOCK_N, S
        if CAUSAL:
            stop = tl.maximum(0, tl.minimum(S, low + BLOCK_M + offset))
            cut = tl.maximum(0, tl.minimum(S, low + offset + 1)) // BLOCK_N * BLOCK_N
        if WINDOW:
            start = tl.maximum(0, low + offset - window + 1) // BLOCK_N * BLOCK_N
            whole = tl.cdiv(tl.maximum(0, low + BLOCK_M + offset - window), BLOCK_N) * BLOCK_N
            whole = tl.minimum(whole, tl.cdiv(stop, BLOCK_N) * BLOCK_N)
            cut = tl.maximum(cut, whole)
        acc = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
        total = tl.zeros([BLOCK_M], tl.float32)
        top = tl.full([BLOCK_M], float("-inf"), tl.float32)
        if WINDOW:
            acc, total, top = attend(acc, total, top, q, i, start, whole, k_SD, v_SD, bias_LS, L, S, D, k_s, v_s, bias_m, bias_n, slope,
                                     scale, offset, window, rng_2, number, threshold, True, CAUSAL, WINDOW, BIAS, ALIBI, DROPOUT, EVEN_D,
                                     BLOCK_M, BLOCK_N, BLOCK_D)  # fmt: skip
        acc, total, top = attend(acc, total, top, q, i, whole, cut, k_SD, v_SD, bias_LS, L, S, D, k_s, v_s, bias_m, bias_n, slope,
                                 scale, offset, window, rng_2, number, threshold, False, CAUSAL, WINDOW, BIAS, ALIBI, DROPOUT, EVEN_D,
                                 BLOCK_M, BLOCK_N, BLOCK_D)  # fmt: skip
        acc, total, top = attend(acc, total, top, q, i, cut, stop, k_SD, v_SD, bias_LS, L, S, D, k_s, v_s, bias_m, bias_n, slope,
                                 scale, offset, window, rng_2, number, threshold, True, CAUSAL, WINDOW, BIAS, ALIBI, DROPOUT, EVEN_D,
                                     BLOCK_M, BLOCK_N, BLOCK_D)  # fmt: skip
        lse = tl.where(total > 0, top + tl.log2(total), float("inf"))
        o = acc / tl.where(total > 0, total, 1.0)[:, None]
        if DROPOUT:
            o *= keep_scale
        o_at = o_BHLD + b * o_b + h.to(tl.int64) * o_h + (first_q + i) * o_l
        tl.store(o_at[:, None] + d[None, :], o.to(o_BHLD.dtype.element_ty), mask=(i < L)[:, None] & (d < D)[None, :])
        tl.store(lse_BHL + b * lse_b + h.to(tl.int64) * lse_h + first_q + i, lse, mask=i < L)
