// scaled_dot_product_attention in blocks that fit shared memory (FlashAttention: Dao et al., arXiv 2205.14135, 2307.08691), never a
// queries x keys matrix in memory: what attention.cu (forward) and attention_backward.cu share.
//
// Legend: L queries, S keys, E width of queries and keys, V width of values; heads: all leading dims together; `group` query heads share one
// key head. D: E and V padded to a power of two. A block of threads has 8 threads for each 2 rows of a B x B block of scores; a thread owns
// columns tx, tx + 8, … of its rows, in arrays that are registers only where every loop over them is unrolled. Operands are read where they
// lie. Every sum has one order, whatever the device.
#pragma once
#include "random.h"

namespace mg::cuda {

constexpr int64_t kPadQueries = 64;  // the CPU's block of queries: numbers of dropout's stream are counted in it

template <class C, int D_>
struct AttentionTile {
  static constexpr int D = D_, B = D <= 128 ? 32 : 16, threads = B / 2 * 8, keys = B / 8, columns = D / 8, ld = D + 1, score_ld = B + 1;
  static constexpr size_t forward_bytes = (2 * B * ld + B * score_ld) * sizeof(C), backward_bytes = (4 * B * ld + 2 * B * score_ld) * sizeof(C);
};

// Strides of one operand's matrix, in elements.
struct MatrixStep {
  int64_t row = 0, col = 0;
};

struct AttentionCall {
  int64_t heads, group, queries, keys, width, values;
  double scale, dropout;
  bool causal;
  MatrixStep q, k, v, mask, out, g, dq, dk, dv;

  MG_DEVICE int64_t keys_seen(int64_t first_query, int64_t count) const {
    return causal && first_query + count < keys ? first_query + count : keys;
  }
  MG_DEVICE int64_t padded_queries() const { return (queries + kPadQueries - 1) / kPadQueries * kPadQueries; }
};

// Dropout: number ((head * S + key) * padded L + query) of the stream decides about a weight.
struct KeepRule {
  uint64_t threshold;
  double factor;
  explicit KeepRule(double dropout)
      : threshold(uint64_t(std::llround((1 - dropout) * 0x1p32))), factor(dropout < 1 ? 1 / (1 - dropout) : 0) {}
  MG_DEVICE bool kept(const int64_t* rng, uint64_t number) const {
    const auto four = philox(uint64_t(rng[0]), uint64_t(rng[1]) + number / 4);
    const uint32_t low = number % 2 == 0 ? four.v[0] : four.v[1], high = number % 2 == 0 ? four.v[2] : four.v[3];  // an index makes a local array
    return (number % 4 < 2 ? low : high) < threshold;
  }
};

// Rows [row0, row0 + rows) of a matrix, zero beyond them and beyond `width`; int8 rows come with a factor each.
template <class Tile, class C, class T>
__device__ inline void load_rows(C* tile, const T* p, MatrixStep step, int64_t row0, int64_t rows, int64_t width, const float* factors) {
  for (int at = int(threadIdx.x); at < Tile::B * Tile::D; at += Tile::threads) {
    const int r = at / Tile::D, e = at % Tile::D;
    C v = 0;
    if (r < rows && e < width) {
      v = convert<C>(p[(row0 + r) * step.row + e * step.col]);
      if (factors != nullptr) v *= C(factors[row0 + r]);
    }
    tile[r * Tile::ld + e] = v;
  }
}

// sum[i][j] = x[row of i] . y[j-th key of the thread]
template <class Tile, class C>
__device__ inline void dot_rows(const C* x, const C* y, int ty, int tx, C (&sum)[2][Tile::keys]) {
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < Tile::keys; ++j) sum[i][j] = 0;
  for (int e = 0; e < Tile::D; ++e)
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < Tile::keys; ++j) sum[i][j] += x[(2 * ty + i) * Tile::ld + e] * y[(tx + 8 * j) * Tile::ld + e];
}

// Scores after the mask; -inf where there is nothing to see.
struct MaskView {
  const void* p;  // null: none
  DType dtype;
  MatrixStep step;
  template <class C>
  MG_DEVICE C operator()(C score, int64_t query, int64_t key) const {
    if (p == nullptr) return score;
    const int64_t at = query * step.row + key * step.col;
    switch (dtype) {
      case DType::Bool: return static_cast<const uint8_t*>(p)[at] != 0 ? score : -std::numeric_limits<C>::infinity();
      case DType::Float16: return score + convert<C>(static_cast<const __half*>(p)[at]);
      case DType::BFloat16: return score + convert<C>(static_cast<const __nv_bfloat16*>(p)[at]);
      case DType::Float64: return score + C(static_cast<const double*>(p)[at]);
      default: return score + C(static_cast<const float*>(p)[at]);
    }
  }
};
template <class C>
MG_DEVICE C masked_score(const AttentionCall& c, const MaskView& mask, C product, int64_t query, int64_t key) {
  if (query >= c.queries || key >= c.keys || (c.causal && key > query)) return -std::numeric_limits<C>::infinity();
  return mask(C(C(c.scale) * product), query, key);
}

// --- host side

// Byte offsets of N operands for each head; operand 0 is the head's index.
template <int N>
Offsets<N> all_offsets(LoopPlan& plan, const Op& op) {
  plan.finish();
  Offsets<N> offsets{};
  with_offsets<N>(plan, [&](const Offsets<N>& o, char* const*) { offsets = o; });
  MG_CHECK(offsets.count == plan.numel, NotImplemented, op.name, ": no cuda kernel for more than ", kOffsetDims, " batch dims.");
  return offsets;
}

// The leading dims of one call, the query heads of a key head apart: (N…, H, group).
struct HeadDims {
  Dims lead, query_lead, key_lead;
  int64_t group = 1;
  HeadDims(const TensorImpl& like_out, const TensorImpl& key, bool enable_gqa) {
    const int n = like_out.dim() - 2;
    lead = query_lead = key_lead = Dims(std::span<const int64_t>(like_out.sizes.data(), size_t(n)));
    if (!enable_gqa) return;
    key_lead.back() = key.sizes[key.dim() - 3];
    group = key_lead.back() == 0 ? 1 : lead.back() / key_lead.back();
    query_lead.back() = key_lead.back();
    query_lead.push_back(group);
  }
  int64_t heads() const {
    int64_t n = 1;
    for (int64_t s : lead) n *= s;
    return n;
  }
  void add_index(LoopPlan& plan) const { plan.add(nullptr, query_lead, contiguous_strides(query_lead), 1); }
  void add_key_index(LoopPlan& plan) const { plan.add(nullptr, key_lead, contiguous_strides(key_lead), 1); }
  // An operand with a matrix per query head (`of_key`: per key head), broadcast; returns the matrix's strides.
  MatrixStep add(LoopPlan& plan, const TensorImpl& t, bool of_key, int64_t rows, int64_t cols) const {
    Dims shape = of_key ? key_lead : lead;
    shape.push_back(rows), shape.push_back(cols);
    Dims strides = broadcast_strides(t.sizes, t.strides, shape);
    const MatrixStep step{strides[strides.size() - 2], strides.back()};
    strides.resize_uninitialized(strides.size() - 2);
    if (query_lead.size() != lead.size()) {
      const int64_t last = strides.back();
      strides.back() = of_key ? last : last * group;
      strides.push_back(of_key ? 0 : last);
    }
    plan.add(t.data(), query_lead, strides, itemsize(t.dtype));
    return step;
  }
  MatrixStep add_key_result(LoopPlan& plan, const TensorImpl& t) const {
    Dims strides = t.strides;
    const MatrixStep step{strides[strides.size() - 2], strides.back()};
    strides.resize_uninitialized(strides.size() - 2);
    plan.add(t.data(), key_lead, strides, itemsize(t.dtype));
    return step;
  }
};

// f(D) as a constant: the power of two that holds both widths.
template <class F>
void dispatch_width(const Op& op, int64_t width, F&& f) {
  if (width <= 32) return f(std::integral_constant<int, 32>{});
  if (width <= 64) return f(std::integral_constant<int, 64>{});
  if (width <= 128) return f(std::integral_constant<int, 128>{});
  if (width <= 256) return f(std::integral_constant<int, 256>{});
  fail(ErrorKind::NotImplemented, op.name, ": no cuda kernel for heads of width ", width, ", the widest is 256. Try more heads.");
}

// Blocks beyond 48 KiB of shared memory have to be asked for.
template <class... P, class... A>
void launch_wide(void (*kernel)(P...), int64_t blocks, int threads, size_t bytes, A&&... args) {
  if (bytes > 48 * 1024)
    MG_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)));
  launch_blocks(kernel, blocks, unsigned(threads), bytes, std::forward<A>(args)...);
}

}  // namespace mg::cuda
