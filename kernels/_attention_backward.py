"""The backward kernels of attention.py (legend and sources: there).

With P the weights and dS = P (g v^T - delta): dv = P^T g, dk = scale dS^T q, dq = scale dS k. One pass over the keys' tiles makes dk and
dv, another over the queries' tiles dq; both compute P again from q, k and the saved logsumexp. One pass alone would have to add its dq
to memory that other programs add to: atomics, whose order differs from run to run.
"""

import triton
import triton.language as tl

from minigrad.kernels._attention_forward import LOG2E, biased, kept, load_rows, sequence


@triton.jit
def attention_delta(g_BHLD, o_BHLD, delta_BHL, L, D, g_b, g_h, g_l, o_b, o_h, o_l, lse_b, lse_h, EVEN_D: tl.constexpr,
                    BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr):  # fmt: skip
    """delta = sum of g o over D: what the softmax's gradient takes off every weight's."""
    i = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    h, b = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    g = load_rows(g_BHLD + b * g_b + h * g_h + i.to(tl.int64) * g_l, i, L, d, D, True, EVEN_D).to(tl.float32)
    o = load_rows(o_BHLD + b * o_b + h * o_h + i.to(tl.int64) * o_l, i, L, d, D, True, EVEN_D).to(tl.float32)
    tl.store(delta_BHL + b * lse_b + h * lse_h + i, tl.sum(g * o, 1), mask=i < L)


@triton.jit
def attention_backward_keys(q_BHLD, k_BGSD, v_BGSD, g_BHLD, dk_BGSD, dv_BGSD, lse_BHL, delta_BHL, bias_BHLS, slope_H, starts_q, starts_k,
                            rng_2, H, G, L, S, D, q_b, q_h, q_l, k_b, k_g, k_s, v_b, v_g, v_s, g_b, g_h, g_l, dk_b, dk_g, dk_s,
                            lse_b, lse_h, bias_b, bias_h, bias_m, bias_n, scale, offset, window, threshold, keep_scale,
                            PACKED: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, BIAS: tl.constexpr, ALIBI: tl.constexpr,
                            DROPOUT: tl.constexpr, EVEN_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
                            BLOCK_D: tl.constexpr):  # fmt: skip
    """Program (keys, g, b): dk and dv of BLOCK_N keys; the query heads that share them come one after the other."""
    group, b = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    first_q, L = sequence(starts_q, b, PACKED, L)
    first_k, S = sequence(starts_k, b, PACKED, S)
    low = tl.program_id(0) * BLOCK_N
    if low < S:
        j = low + tl.arange(0, BLOCK_N)
        d = tl.arange(0, BLOCK_D)
        k = load_rows(k_BGSD + b * k_b + group * k_g + (first_k + j) * k_s, j, S, d, D, True, EVEN_D)
        v = load_rows(v_BGSD + b * v_b + group * v_g + (first_k + j) * v_s, j, S, d, D, True, EVEN_D)
        start, stop = 0, L
        if CAUSAL:  # the first queries that see any of these keys
            start = tl.maximum(0, low - offset) // BLOCK_M * BLOCK_M
        if WINDOW:
            stop = tl.maximum(0, tl.minimum(L, low + BLOCK_N + window - offset))
        dk = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
        dv = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
        for h in range(group * (H // G), (group + 1) * (H // G)):
            q_LD = q_BHLD + b * q_b + h * q_h + first_q * q_l
            g_LD = g_BHLD + b * g_b + h * g_h + first_q * g_l
            row = b * lse_b + h * lse_h + first_q
            bias_LS = bias_BHLS + b * bias_b + h * bias_h if BIAS else bias_BHLS
            slope = tl.load(slope_H + h).to(tl.float32) if ALIBI else 0.0
            for m in range(start, stop, BLOCK_M):  # all products transposed: dv += P^T g, dk += dS^T q
                i = m + tl.arange(0, BLOCK_M)
                q = load_rows(q_LD + i.to(tl.int64) * q_l, i, L, d, D, True, EVEN_D)
                lse = tl.load(lse_BHL + row + i, mask=i < L, other=float("inf"))
                s = tl.dot(k, tl.trans(q), input_precision="ieee") * (scale * LOG2E)
                s = biased(s, i[None, :], j[:, None], L, S, bias_LS, bias_m, bias_n, slope, offset, window, CAUSAL, CAUSAL, WINDOW, BIAS,
                           ALIBI)  # fmt: skip
                weights = tl.exp2(s - lse[None, :])
                g = load_rows(g_LD + i.to(tl.int64) * g_l, i, L, d, D, True, EVEN_D)
                used = weights
                if DROPOUT:
                    keep = kept(rng_2, b * H + h, m, j, L, S, threshold, BLOCK_M, BLOCK_N)
                    used = tl.where(keep, weights * keep_scale, 0.0)
                dv = tl.dot(used.to(g.dtype), g, dv, input_precision="ieee")
                delta = tl.load(delta_BHL + row + i, mask=i < L, other=0.0)
                dweights = tl.dot(v, tl.trans(g), input_precision="ieee")
                if DROPOUT:
                    dweights = tl.where(keep, dweights * keep_scale, 0.0)
                dscores = weights * (dweights - delta[None, :])
                dk = tl.dot(dscores.to(q.dtype), q, dk, input_precision="ieee")
        at = b * dk_b + group * dk_g + (first_k + j)[:, None] * dk_s + d[None, :]
        inside = (j < S)[:, None] & (d < D)[None, :]
        tl.store(dk_BGSD + at, (dk * scale).to(dk_BGSD.dtype.element_ty), mask=inside)
        tl.store(dv_BGSD + at, dv.to(dv_BGSD.dtype.element_ty), mask=inside)


@triton.jit
def attention_backward_queries(q_BHLD, k_BGSD, v_BGSD, g_BHLD, dq_BHLD, lse_BHL, delta_BHL, bias_BHLS, slope_H, starts_q, starts_k,
                               dbias_BHLS, rng_2, H, G, L, S, D, q_b, q_h, q_l, k_b, k_g, k_s, v_b, v_g, v_s, g_b, g_h, g_l, dq_b, dq_h,
                               dq_l, lse_b, lse_h, bias_b, bias_h, bias_m, bias_n, scale, offset, window, threshold, keep_scale,
                               PACKED: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, BIAS: tl.constexpr, DBIAS: tl.constexpr,
                               ALIBI: tl.constexpr, DROPOUT: tl.constexpr, EVEN_D: tl.constexpr, BLOCK_M: tl.constexpr,
                               BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr):  # fmt: skip
    """Program (queries, h, b): dq of BLOCK_M queries, and on demand their rows of dscores (B, H, L, S), a bias's gradient."""
    h, b = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    first_q, L = sequence(starts_q, b, PACKED, L)
    first_k, S = sequence(starts_k, b, PACKED, S)
    low = tl.program_id(0) * BLOCK_M
    if low < L:
        group = h // (H // G)
        i = low + tl.arange(0, BLOCK_M)
        d = tl.arange(0, BLOCK_D)
        q = load_rows(q_BHLD + b * q_b + h * q_h + (first_q + i) * q_l, i, L, d, D, True, EVEN_D)
        g = load_rows(g_BHLD + b * g_b + h * g_h + (first_q + i) * g_l, i, L, d, D, True, EVEN_D)
        lse = tl.load(lse_BHL + b * lse_b + h * lse_h + first_q + i, mask=i < L, other=float("inf"))
        delta = tl.load(delta_BHL + b * lse_b + h * lse_h + first_q + i, mask=i < L, other=0.0)
        k_SD = k_BGSD + b * k_b + group * k_g + first_k * k_s
        v_SD = v_BGSD + b * v_b + group * v_g + first_k * v_s
        bias_LS = bias_BHLS + b * bias_b + h * bias_h if BIAS else bias_BHLS
        slope = tl.load(slope_H + h).to(tl.float32) if ALIBI else 0.0
        start, stop = 0, S
        if CAUSAL and not DBIAS:  # dbias wants its zeros too
            stop = tl.maximum(0, tl.minimum(S, low + BLOCK_M + offset))
        if WINDOW and not DBIAS:
            start = tl.maximum(0, low + offset - window + 1) // BLOCK_N * BLOCK_N
        dq = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
        for n in range(start, stop, BLOCK_N):
            j = n + tl.arange(0, BLOCK_N)
            k = load_rows(k_SD + j.to(tl.int64) * k_s, j, S, d, D, True, EVEN_D)
            v = load_rows(v_SD + j.to(tl.int64) * v_s, j, S, d, D, True, EVEN_D)
            s = tl.dot(q, tl.trans(k), input_precision="ieee") * (scale * LOG2E)
            s = biased(s, i[:, None], j[None, :], L, S, bias_LS, bias_m, bias_n, slope, offset, window, True, CAUSAL, WINDOW, BIAS, ALIBI)
            weights = tl.exp2(s - lse[:, None])
            dweights = tl.dot(g, tl.trans(v), input_precision="ieee")
            if DROPOUT:
                keep = tl.trans(kept(rng_2, b * H + h, low, j, L, S, threshold, BLOCK_M, BLOCK_N))
                dweights = tl.where(keep, dweights * keep_scale, 0.0)
            dscores = weights * (dweights - delta[:, None])
            if DBIAS:
                at = dbias_BHLS + ((b * H + h) * L + i)[:, None] * S + j[None, :]
                tl.store(at, dscores.to(dbias_BHLS.dtype.element_ty), mask=(i < L)[:, None] & (j < S)[None, :])
            dq = tl.dot(dscores.to(k.dtype), k, dq, input_precision="ieee")
        dq_at = dq_BHLD + b * dq_b + h * dq_h + (first_q + i)[:, None] * dq_l + d[None, :]
        tl.store(dq_at, (dq * scale).to(dq_BHLD.dtype.element_ty), mask=(i < L)[:, None] & (d < D)[None, :])
