// Gradients of attention (FlashAttention-2, arXiv 2307.08691, section 3.1): weights are computed again block by block from the saved
// logsumexp. attention.h is the map.
//
//   P = exp(scale Q K^T + mask - logsumexp)        dV = P^T dO
//   dS = P (dO V^T - delta), delta = sum(dO O)     dQ = scale dS K      dK = scale dS^T Q
//
// Two passes instead of floating atomics: one owns blocks of queries (dQ), one blocks of keys (dK, dV) and goes over all query heads that
// share them, in order.
#include "attention.h"

namespace mg::cuda {
namespace {

enum Part { kIndex, kQuery, kKey, kValue, kMask, kGrad, kParts };

template <class C, class T>
struct Inputs {
  const T *q, *k, *v, *g;
  const void* mask;
  DType mask_dtype;
  const C *lse, *delta;
  const int64_t* rng;
  KeepRule keep;
};

// delta of each query, 32 threads a row.
template <class C, class T>
__global__ void delta_kernel(Offsets<3> heads, const T* g, const T* out, MatrixStep gs, MatrixStep os, int64_t queries, int64_t values, C* delta) {
  const int64_t row = blockIdx.x, head = row / queries, query = row - head * queries;
  int64_t at[3];
  heads.get(head, at);
  const T *const a = byte_at(g, at[1]) + query * gs.row, *const b = byte_at(out, at[2]) + query * os.row;
  C sum = 0;
  for (int64_t e = threadIdx.x; e < values; e += 32) sum += convert<C>(a[e * gs.col]) * convert<C>(b[e * os.col]);
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (threadIdx.x == 0) delta[row] = sum;
}

// Of a pair of blocks: p (weights after dropout) and ds, each a B x B block in shared memory.
template <class Tile, class C, class T>
__device__ inline void pair_gradients(const AttentionCall& c, const Inputs<C, T>& in, const MaskView& view, const C* q, const C* k, const C* v, const C* g,
                              int64_t head, int64_t q0, int64_t k0, C* p_tile, C* ds_tile) {
  constexpr int K = Tile::keys;
  const int ty = int(threadIdx.x) / 8, tx = int(threadIdx.x) % 8;
  C s[2][K], dp[2][K];
  dot_rows<Tile>(q, k, ty, tx, s);
  dot_rows<Tile>(g, v, ty, tx, dp);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int64_t row = q0 + 2 * ty + i;
    const bool inside = row < c.queries;
    const C lse = inside ? in.lse[head * c.queries + row] : std::numeric_limits<C>::infinity();
    const C delta = inside ? in.delta[head * c.queries + row] : C(0);
#pragma unroll
    for (int j = 0; j < K; ++j) {
      const int64_t key = k0 + tx + 8 * j;
      const C score = masked_score(c, view, s[i][j], row, key);
      const C p = score == -std::numeric_limits<C>::infinity() ? C(0) : exp(score - lse);
      C factor = 1;
      if (in.rng != nullptr) {
        const uint64_t number = uint64_t((head * c.keys + key) * c.padded_queries() + row);
        factor = in.keep.kept(in.rng, number) ? C(in.keep.factor) : C(0);
      }
      const int at = (2 * ty + i) * Tile::score_ld + tx + 8 * j;
      if (p_tile != nullptr) p_tile[at] = p * factor;
      ds_tile[at] = p * (factor * dp[i][j] - delta);
    }
  }
}

template <class Tile, class C, class T>
__global__ void __launch_bounds__(Tile::threads) query_gradient_kernel(AttentionCall c, Offsets<kParts> heads, Offsets<2> results, Inputs<C, T> in,
                                                                       T* dq) {
  constexpr int B = Tile::B, N = Tile::columns;
  MG_DYN_SHARED(C, room);
  C *const q = room, *const g = q + B * Tile::ld, *const k = g + B * Tile::ld, *const v = k + B * Tile::ld, *const ds = v + B * Tile::ld;
  const int64_t blocks = (c.queries + B - 1) / B, head = blockIdx.x / blocks, q0 = (blocks - 1 - blockIdx.x % blocks) * B;
  const int ty = int(threadIdx.x) / 8, tx = int(threadIdx.x) % 8;
  int64_t at[kParts], to[2];
  heads.get(head, at);
  results.get(head, to);
  const MaskView view{in.mask == nullptr ? nullptr : static_cast<const char*>(in.mask) + at[kMask], in.mask_dtype, c.mask};
  load_rows<Tile>(q, byte_at(in.q, at[kQuery]), c.q, q0, c.queries - q0, c.width, nullptr);
  load_rows<Tile>(g, byte_at(in.g, at[kGrad]), c.g, q0, c.queries - q0, c.values, nullptr);
  C acc[2][N];
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < N; ++j) acc[i][j] = 0;
  for (int64_t k0 = 0, seen = c.keys_seen(q0, B); k0 < seen; k0 += B) {
    load_rows<Tile>(k, byte_at(in.k, at[kKey]), c.k, k0, c.keys - k0, c.width, nullptr);
    load_rows<Tile>(v, byte_at(in.v, at[kValue]), c.v, k0, c.keys - k0, c.values, nullptr);
    __syncthreads();
    pair_gradients<Tile>(c, in, view, q, k, v, g, head, q0, k0, static_cast<C*>(nullptr), ds);
    __syncthreads();
    for (int n = 0; n < B; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const C x = ds[(2 * ty + i) * Tile::score_ld + n];
#pragma unroll
        for (int j = 0; j < N; ++j) acc[i][j] += x * k[n * Tile::ld + tx + 8 * j];
      }
    __syncthreads();
  }
  T* const out = byte_at(dq, to[1]);
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < N; ++j)
      if (q0 + 2 * ty + i < c.queries && tx + 8 * j < c.width)
        out[(q0 + 2 * ty + i) * c.dq.row + (tx + 8 * j) * c.dq.col] = convert<T>(C(C(c.scale) * acc[i][j]));
}

template <class Tile, class C, class T>
__global__ void __launch_bounds__(Tile::threads) key_gradient_kernel(AttentionCall c, Offsets<kParts> heads, Offsets<3> results, Inputs<C, T> in, T* dk,
                                                                     T* dv) {
  constexpr int B = Tile::B, N = Tile::columns;
  MG_DYN_SHARED(C, room);
  C *const q = room, *const g = q + B * Tile::ld, *const k = g + B * Tile::ld, *const v = k + B * Tile::ld, *const ds = v + B * Tile::ld,
          *const p = ds + B * Tile::score_ld;
  const int64_t blocks = (c.keys + B - 1) / B, key_head = blockIdx.x / blocks, k0 = blockIdx.x % blocks * B;
  const int ty = int(threadIdx.x) / 8, tx = int(threadIdx.x) % 8;
  int64_t at[kParts], to[3];
  results.get(key_head, to);
  heads.get(key_head * c.group, at);
  load_rows<Tile>(k, byte_at(in.k, at[kKey]), c.k, k0, c.keys - k0, c.width, nullptr);
  load_rows<Tile>(v, byte_at(in.v, at[kValue]), c.v, k0, c.keys - k0, c.values, nullptr);
  C dk_acc[2][N], dv_acc[2][N];
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < N; ++j) dk_acc[i][j] = dv_acc[i][j] = 0;
  for (int64_t head = key_head * c.group; head < (key_head + 1) * c.group; ++head) {
    heads.get(head, at);
    const MaskView view{in.mask == nullptr ? nullptr : static_cast<const char*>(in.mask) + at[kMask], in.mask_dtype, c.mask};
    for (int64_t q0 = c.causal ? k0 / B * B : 0; q0 < c.queries; q0 += B) {
      load_rows<Tile>(q, byte_at(in.q, at[kQuery]), c.q, q0, c.queries - q0, c.width, nullptr);
      load_rows<Tile>(g, byte_at(in.g, at[kGrad]), c.g, q0, c.queries - q0, c.values, nullptr);
      __syncthreads();
      pair_gradients<Tile>(c, in, view, q, k, v, g, head, q0, k0, p, ds);
      __syncthreads();
      for (int n = 0; n < B; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const C x = ds[n * Tile::score_ld + 2 * ty + i], w = p[n * Tile::score_ld + 2 * ty + i];
#pragma unroll
          for (int j = 0; j < N; ++j) {
            dk_acc[i][j] += x * q[n * Tile::ld + tx + 8 * j];
            dv_acc[i][j] += w * g[n * Tile::ld + tx + 8 * j];
          }
        }
      __syncthreads();
    }
  }
  T *const to_k = byte_at(dk, to[1]), *const to_v = byte_at(dv, to[2]);
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const int64_t key = k0 + 2 * ty + i, e = tx + 8 * j;
      if (key < c.keys && e < c.width) to_k[key * c.dk.row + e * c.dk.col] = convert<T>(C(C(c.scale) * dk_acc[i][j]));
      if (key < c.keys && e < c.values) to_v[key * c.dv.row + e * c.dv.col] = convert<T>(dv_acc[i][j]);
    }
}

template <class C, class T>
void run(const Invocation& inv, const HeadDims& dims, AttentionCall c, const Tensor& lse, const Tensor& rng) {
  const TensorImpl &g = inv.in(0), &q = inv.in(1), &k = inv.in(2), &v = inv.in(3), &out = inv.in(5);
  const TensorImpl* mask = inv.has(4) ? &inv.in(4) : nullptr;
  LoopPlan plan(dims.query_lead), delta_plan(dims.query_lead), dq_plan(dims.query_lead), key_plan(dims.key_lead);
  dims.add_index(plan);
  c.q = dims.add(plan, q, false, c.queries, c.width);
  c.k = dims.add(plan, k, true, c.keys, c.width);
  c.v = dims.add(plan, v, true, c.keys, c.values);
  c.mask = dims.add(plan, mask == nullptr ? q : *mask, false, c.queries, mask == nullptr ? c.width : c.keys);
  c.g = dims.add(plan, g, false, c.queries, c.values);
  dims.add_index(delta_plan);
  dims.add(delta_plan, g, false, c.queries, c.values);
  c.out = dims.add(delta_plan, out, false, c.queries, c.values);
  dims.add_index(dq_plan);
  c.dq = dims.add(dq_plan, inv.out(0), false, c.queries, c.width);
  dims.add_key_index(key_plan);
  c.dk = dims.add_key_result(key_plan, inv.out(1));
  c.dv = dims.add_key_result(key_plan, inv.out(2));
  const auto heads = all_offsets<kParts>(plan, inv.op);
  const auto of_delta = all_offsets<3>(delta_plan, inv.op);
  const auto of_dq = all_offsets<2>(dq_plan, inv.op);
  const auto of_keys = all_offsets<3>(key_plan, inv.op);

  const Tensor delta = workspace(c.heads * c.queries, dtype_of<C>(), g.device);
  launch_blocks(delta_kernel<C, T>, c.heads * c.queries, 32, 0, of_delta, static_cast<const T*>(g.ptr<T>()), static_cast<const T*>(out.ptr<T>()), c.g,
                c.out, c.queries, c.values, delta.ptr<C>());
  const Inputs<C, T> in{q.ptr<T>(), k.ptr<T>(), v.ptr<T>(), g.ptr<T>(), mask == nullptr ? nullptr : mask->data(),
                        mask == nullptr ? DType::Bool : mask->dtype, lse.ptr<C>(), delta.ptr<C>(), rng.defined() ? rng.ptr<int64_t>() : nullptr,
                        KeepRule(c.dropout)};
  dispatch_width(inv.op, std::max(c.width, c.values), [&](auto width) {
    using Tile = AttentionTile<C, decltype(width)::value>;
    launch_wide(query_gradient_kernel<Tile, C, T>, c.heads * ((c.queries + Tile::B - 1) / Tile::B), Tile::threads, Tile::backward_bytes, c, heads,
                of_dq, in, inv.out(0).template ptr<T>());
    launch_wide(key_gradient_kernel<Tile, C, T>, c.heads / c.group * ((c.keys + Tile::B - 1) / Tile::B), Tile::threads, Tile::backward_bytes, c, heads,
                of_keys, in, inv.out(1).template ptr<T>(), inv.out(2).template ptr<T>());
  });
}

// _attention_backward(g, query, key, value, attn_mask?, out, logsumexp, rng, dropout_p, is_causal, scale, enable_gqa)
//   -> dquery, dkey, dvalue
void attention_backward_cuda(Invocation& inv) {
  const TensorImpl &q = inv.in(1), &k = inv.in(2), &v = inv.in(3);
  const HeadDims dims(inv.in(5), k, inv.b(11));
  AttentionCall c{};
  c.heads = dims.heads(), c.group = dims.group;
  c.queries = q.sizes[q.dim() - 2], c.keys = k.sizes[k.dim() - 2], c.width = q.sizes.back(), c.values = v.sizes.back();
  c.dropout = inv.f(8), c.causal = inv.b(9), c.scale = inv.f(10);
  if (c.queries == 0 || c.heads == 0) {  // nobody asked the keys anything
    fill_zero(inv.outs[1]);
    fill_zero(inv.outs[2]);
    return;
  }
  const Tensor lse = staged(inv.in(6), inv.compute), rng = c.dropout > 0 ? contiguous(inv.tensor(7)) : Tensor();
  dispatch_floating(q.dtype, [&](auto tag) {
    using T = decltype(tag);
    run<compute_t<T>, T>(inv, dims, c, lse, rng);
  });
}

MG_CUDA_KERNEL("_attention_backward", attention_backward_cuda);

}  // namespace
}  // namespace mg::cuda
