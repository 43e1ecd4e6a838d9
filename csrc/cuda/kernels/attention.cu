// The forward pass of attention, attention over int8 keys and values, and the decisions of dropout as a tensor. attention.h is the map.
#include "attention.h"

namespace mg::cuda {
namespace {

enum Part { kIndex, kQuery, kKey, kValue, kMask, kOut, kParts };

// One block of queries of one head against all keys it sees. `lse`: logsumexp of each query, null where nobody asks.
template <class Tile, class C, class T, class KV>
__global__ void __launch_bounds__(Tile::threads) attention_kernel(AttentionCall c, Offsets<kParts> heads, const T* query, const KV* key,
                                                                  const KV* value, const void* mask, DType mask_dtype, const float* key_factors,
                                                                  const float* value_factors, T* out, C* lse, const int64_t* rng, KeepRule keep) {
  constexpr int B = Tile::B, K = Tile::keys, N = Tile::columns;
  MG_DYN_SHARED(C, room);
  C *const q_tile = room, *const kv_tile = room + B * Tile::ld, *const weights = kv_tile + B * Tile::ld;
  const int64_t blocks = (c.queries + B - 1) / B, head = blockIdx.x / blocks, q0 = (blocks - 1 - blockIdx.x % blocks) * B;  // longest first
  const int ty = int(threadIdx.x) / 8, tx = int(threadIdx.x) % 8;
  int64_t at[kParts];
  heads.get(head, at);
  const int64_t key_head = head / c.group;
  const KV *const k = byte_at(key, at[kKey]), *const v = byte_at(value, at[kValue]);
  const MaskView view{mask == nullptr ? nullptr : static_cast<const char*>(mask) + at[kMask], mask_dtype, c.mask};
  load_rows<Tile>(q_tile, byte_at(query, at[kQuery]), c.q, q0, c.queries - q0, c.width, nullptr);
  C top[2], sum[2] = {0, 0}, acc[2][N];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    top[i] = -std::numeric_limits<C>::infinity();
#pragma unroll
    for (int j = 0; j < N; ++j) acc[i][j] = 0;
  }
  for (int64_t k0 = 0, seen = c.keys_seen(q0, B); k0 < seen; k0 += B) {
    load_rows<Tile>(kv_tile, k, c.k, k0, c.keys - k0, c.width, key_factors == nullptr ? nullptr : key_factors + key_head * c.keys);
    __syncthreads();
    C s[2][K];
    dot_rows<Tile>(q_tile, kv_tile, ty, tx, s);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t row = q0 + 2 * ty + i;
      C best = -std::numeric_limits<C>::infinity();
#pragma unroll
      for (int j = 0; j < K; ++j) {
        s[i][j] = masked_score(c, view, s[i][j], row, k0 + tx + 8 * j);
        best = s[i][j] > best ? s[i][j] : best;
      }
      for (int step = 4; step > 0; step /= 2) {
        const C other = __shfl_xor_sync(0xffffffffu, best, step);
        best = other > best ? other : best;
      }
      best = best > top[i] ? best : top[i];
      const bool none = best == -std::numeric_limits<C>::infinity();
      const C shrink = none ? C(1) : exp(top[i] - best);
      C part = 0;
#pragma unroll
      for (int j = 0; j < K; ++j) {
        C p = none && s[i][j] == s[i][j] ? C(0) : exp(s[i][j] - best);
        part += p;
        const int64_t column = k0 + tx + 8 * j;
        if (rng != nullptr)
          p *= keep.kept(rng, uint64_t((head * c.keys + column) * c.padded_queries() + row)) ? C(keep.factor) : C(0);
        weights[(2 * ty + i) * Tile::score_ld + tx + 8 * j] = p;
      }
      for (int step = 4; step > 0; step /= 2) part += __shfl_xor_sync(0xffffffffu, part, step);
      sum[i] = sum[i] * shrink + part;
      top[i] = best;
#pragma unroll
      for (int j = 0; j < N; ++j) acc[i][j] *= shrink;
    }
    __syncthreads();
    load_rows<Tile>(kv_tile, v, c.v, k0, c.keys - k0, c.values, value_factors == nullptr ? nullptr : value_factors + key_head * c.keys);
    __syncthreads();
    for (int n = 0; n < B; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const C p = weights[(2 * ty + i) * Tile::score_ld + n];
#pragma unroll
        for (int j = 0; j < N; ++j) acc[i][j] += p * kv_tile[n * Tile::ld + tx + 8 * j];
      }
    __syncthreads();
  }
  // A query that sees no key gets zeros and a logsumexp of inf, which makes its weights 0 in the backward pass.
  T* const to = byte_at(out, at[kOut]);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int64_t row = q0 + 2 * ty + i;
    if (row >= c.queries) continue;
    const bool none = sum[i] == C(0);
    const C factor = none ? C(0) : C(1) / sum[i];
#pragma unroll
    for (int j = 0; j < N; ++j)
      if (tx + 8 * j < c.values) to[row * c.out.row + (tx + 8 * j) * c.out.col] = convert<T>(C(acc[i][j] * factor));
    if (lse != nullptr && tx == 0) lse[head * c.queries + row] = none ? std::numeric_limits<C>::infinity() : top[i] + log(sum[i]);
  }
}

struct Operands {
  const TensorImpl &q, &k, &v;
  const TensorImpl* mask;
};
struct Prepared {
  AttentionCall c{};
  Offsets<kParts> heads;
};
Prepared prepare(const Invocation& inv, const Operands& t, bool enable_gqa) {
  const HeadDims dims(inv.out(), t.k, enable_gqa);
  Prepared p;
  AttentionCall& c = p.c;
  c.heads = dims.heads(), c.group = dims.group;
  c.queries = t.q.sizes[t.q.dim() - 2], c.keys = t.k.sizes[t.k.dim() - 2], c.width = t.q.sizes.back(), c.values = t.v.sizes.back();
  LoopPlan plan(dims.query_lead);
  dims.add_index(plan);
  c.q = dims.add(plan, t.q, false, c.queries, c.width);
  c.k = dims.add(plan, t.k, true, c.keys, c.width);
  c.v = dims.add(plan, t.v, true, c.keys, c.values);
  c.mask = dims.add(plan, t.mask == nullptr ? t.q : *t.mask, false, c.queries, t.mask == nullptr ? c.width : c.keys);
  c.out = dims.add(plan, inv.out(), false, c.queries, c.values);
  p.heads = all_offsets<kParts>(plan, inv.op);
  return p;
}

template <class C, class T, class KV>
void run(const Invocation& inv, const Operands& t, const Prepared& p, const float* key_factors, const float* value_factors, C* lse,
         const int64_t* rng) {
  dispatch_width(inv.op, std::max(p.c.width, p.c.values), [&](auto width) {
    using Tile = AttentionTile<C, decltype(width)::value>;
    const int64_t blocks = p.c.heads * ((p.c.queries + Tile::B - 1) / Tile::B);
    launch_wide(attention_kernel<Tile, C, T, KV>, blocks, Tile::threads, Tile::forward_bytes, p.c, p.heads, static_cast<const T*>(t.q.template ptr<T>()),
                static_cast<const KV*>(t.k.template ptr<KV>()), static_cast<const KV*>(t.v.template ptr<KV>()),
                static_cast<const void*>(t.mask == nullptr ? nullptr : t.mask->data()), t.mask == nullptr ? DType::Bool : t.mask->dtype, key_factors,
                value_factors, inv.out().template ptr<T>(), lse, rng, KeepRule(p.c.dropout));
  });
}

// _attention(query, key, value, attn_mask?, dropout_p, is_causal, scale, enable_gqa, generator, unseen) -> out, logsumexp, rng
void attention_cuda(Invocation& inv) {
  MG_CHECK(inv.f(9) == 0, NotImplemented, "_attention: a query that sees no key gets zeros on cuda: got unseen=", inv.f(9));
  const Operands t{inv.in(0), inv.in(1), inv.in(2), inv.has(3) ? &inv.in(3) : nullptr};
  Tensor rng;
  const double dropout = inv.f(4);
  if (dropout > 0) {
    const int64_t heads = inv.out(1).numel / std::max<int64_t>(t.q.sizes[t.q.dim() - 2], 1), queries = t.q.sizes[t.q.dim() - 2];
    const uint64_t numbers = uint64_t(heads) * uint64_t(t.k.sizes[t.k.dim() - 2]) *
                             uint64_t((queries + kPadQueries - 1) / kPadQueries * kPadQueries);
    const RandomRange range = reserve(generator_of(inv, 8), numbers);
    const StagedOut state(inv.outs[2], DType::Int64);
    write_range(state.ptr<int64_t>(), range);
    state.commit();
    rng = contiguous(inv.outs[2]);
  }
  if (inv.out().numel == 0 && inv.out(1).numel == 0) return;
  Prepared p = prepare(inv, t, inv.b(7));
  p.c.dropout = dropout, p.c.causal = inv.b(5), p.c.scale = inv.f(6);
  const StagedOut logsumexp(inv.outs[1], inv.compute);
  dispatch_floating(t.q.dtype, [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    run<C, T, T>(inv, t, p, nullptr, nullptr, logsumexp.template ptr<C>(), rng.defined() ? rng.ptr<int64_t>() : nullptr);
  });
  logsumexp.commit();
}

// _attention_int8(query, key, value, attn_mask?, key_scale, value_scale, scale, enable_gqa) -> out
void attention_int8_cuda(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const Operands t{inv.in(0), inv.in(1), inv.in(2), inv.has(3) ? &inv.in(3) : nullptr};
  Prepared p = prepare(inv, t, inv.b(7));
  p.c.dropout = 0, p.c.causal = false, p.c.scale = inv.f(6);
  const Tensor ks = staged(inv.in(4), DType::Float32), vs = staged(inv.in(5), DType::Float32);  // (N…, H, S)
  const auto go = [&](auto tag) {
    using T = decltype(tag);
    run<float, T, int8_t>(inv, t, p, ks.ptr<float>(), vs.ptr<float>(), nullptr, nullptr);
  };
  if (t.q.dtype == DType::Float16) go(__half{});
  else if (t.q.dtype == DType::BFloat16) go(__nv_bfloat16{});
  else go(float{});
}

__global__ void attention_keep_kernel(bool* kept, const int64_t* rng, KeepRule keep, int64_t queries, int64_t keys, int64_t padded, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const int64_t key = i % keys, row = i / keys, query = row % queries, head = row / queries;
    kept[i] = keep.kept(rng, uint64_t((head * keys + key) * padded + query));
  }
}

// _attention_keep(rng, dropout_p, sizes) -> kept: the same decisions as a tensor (N…, L, S).
void attention_keep_cuda(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const Dims sizes = inv.ints(2);
  const int64_t queries = sizes[sizes.size() - 2], keys = sizes.back();
  const Tensor rng = staged(inv.in(0), DType::Int64);
  const StagedOut out(inv.outs[0], DType::Bool);
  launch_items(attention_keep_kernel, inv.out().numel, out.ptr<bool>(), static_cast<const int64_t*>(rng.ptr<int64_t>()), KeepRule(inv.f(1)), queries,
               keys, (queries + kPadQueries - 1) / kPadQueries * kPadQueries, inv.out().numel);
  out.commit();
}

MG_CUDA_KERNEL("_attention", attention_cuda);
MG_CUDA_KERNEL("_attention_int8", attention_int8_cuda);
MG_CUDA_KERNEL("_attention_keep", attention_keep_cuda);

}  // namespace
}  // namespace mg::cuda
