// scaled_dot_product_attention without a queries x keys matrix in memory: FlashAttention's blocked softmax (Dao et al.,
// arXiv 2205.14135, 2307.08691) on the GEMM family's register tiles.
//
//   attention.cpp           the operands of one call (AttentionProblem), the forward pass
//   attention_backward.cpp  gradients: blocks of scores are computed again from logsumexp
//   attention_decode.cpp    few queries over many keys: streams keys and values once
//   attention_isa.cpp       passes over blocks of scores, per instruction set (attention_table.h)
//
// Legend: L queries, S keys, E width of queries and keys, V width of values; heads: all leading dims together; `group`
// query heads share one key head. st[key][query] is a block of scores (attention_table.h says why transposed).
// Invariants: memory beyond the outputs grows with S, never with L * S; every item of work (a block of queries, a key
// head) is cut by shapes alone and summed in a fixed order, so results do not depend on the thread count; operands are
// read where they lie unless their dtype, column stride or cache behaviour asks for a copy of the block.
#pragma once
#include "../core/op.h"
#include "../core/random.h"
#include "attention_table.h"
#include "gemm.h"
#include "stage.h"

namespace mg::cpu {

constexpr int64_t kQueryBlock = 64, kKeyBlock = 64;  // st, queries and output of one block together fill L1 at E = 64

// One operand: a matrix per head, anywhere in memory. Strides in elements.
struct Operand {
  char* data = nullptr;
  DType dtype = DType::Float32;
  int64_t row = 0, col = 0;
  Dims sizes, strides;  // of the leading dims

  Operand() = default;
  Operand(const TensorImpl& t, const Dims& lead);  // broadcast to `lead`
  bool defined() const { return data != nullptr; }
  char* head(int64_t h) const;
};

// Rows with unit column stride.
template <class T>
struct RowBlock {
  const T* data;
  int64_t ld;
};

struct AttentionProblem {
  Dims lead;
  int64_t heads = 1, group = 1, queries, keys, width, values;
  Operand q, k, v, mask, out;
  double scale, dropout = 0;
  double unseen = 0;  // what a query that sees no key gets
  bool causal;
  PhiloxRange range{};

  // Of (query, key, value, mask?), in this order from argument `first` on, and the leading dims of the result.
  AttentionProblem(const Invocation& inv, int first, const TensorImpl& like_out, bool enable_gqa);

  int64_t key_heads() const { return heads / group; }
  int64_t query_blocks() const { return ceil_div(queries, kQueryBlock); }
  int64_t keys_seen(int64_t first_query, int64_t count) const {
    return causal ? std::min(keys, first_query + count) : keys;
  }
  int64_t padded_queries() const { return query_blocks() * kQueryBlock; }
  uint64_t random_numbers() const { return uint64_t(heads) * uint64_t(keys) * uint64_t(padded_queries()); }
};

// Rows [first, first + n) of a head, `width` wide: as they lie or copied to `room` (n * width numbers).
template <class T>
RowBlock<T> rows_of(const Operand& o, const char* head, int64_t first, int64_t n, int64_t width, T* room);
// dst[column][row] of the same rows, ld apart, zero where there is no row.
template <class T>
void transposed_rows(const Operand& o, const char* head, int64_t first, int64_t n, int64_t width, T* dst, int64_t ld);
// Writes dense rows of T to rows [first, first + n) of a head.
template <class T>
void write_rows(const Operand& o, char* head, int64_t first, int64_t n, int64_t width, const T* src, int64_t ld);

// C = alpha A B + C (or without C), B and C with unit column stride: operands of a block as they lie, in cache.
template <class T>
void block_product(int64_t m, int64_t n, int64_t k, T alpha, Strided<T> a, RowBlock<T> b, T* c, int64_t ldc, bool add) {
  attention_fns<T>().product({m, n, k, alpha, a, b.data, b.ld, c, ldc, add});
}

// One block of queries meeting one block of keys. Under causal masking a block on the diagonal is a triangle: its
// columns are taken in strips of two vectors, each with the keys it sees, and products along queries likewise by strips
// of rows.
template <class T>
struct BlockPair {
  int64_t q0, nq, ld, k0, nk, strip;
  bool triangle;

  BlockPair(const AttentionProblem& p, int64_t q0, int64_t nq, int64_t ld, int64_t k0, int64_t nk);
  int64_t diagonal() const { return triangle ? q0 - k0 : kSeeAll; }
  // f(first column, columns, keys they see), columns in whole vectors
  template <class F>
  void columns(F f) const {
    if (!triangle) return f(int64_t(0), ld, nk);
    for (int64_t c = 0; c < ld; c += strip)
      if (const int64_t n = std::min(nk, q0 + c + strip - k0); n > 0) f(c, std::min(strip, ld - c), n);
  }
  // f(first key, keys, first query that sees them)
  template <class F>
  void rows(F f) const {
    if (!triangle) return f(int64_t(0), nk, int64_t(0));
    for (int64_t r = 0; r < nk; r += strip) {
      const int64_t c = std::max<int64_t>(k0 + r - q0, 0) / strip * strip;
      if (c < nq) f(r, std::min(strip, nk - r), c);
    }
  }
};

// Room of one thread, dealt out in pieces.
template <class T>
class Room {
 public:
  explicit Room(int64_t count) : at_(scratch<T>(ScratchSlot::Image, count + 64)) {}
  T* take(int64_t count) {
    T* p = at_;
    at_ += ceil_div(count, 16) * 16;
    return p;
  }

 private:
  T* at_;
};

// A mask over one pair of blocks, and dropout factors.
template <class T>
class BlockMask {
 public:
  BlockMask(const AttentionProblem& p, int64_t head, Room<T>& room);
  static int64_t room(const AttentionProblem& p) {
    return (p.mask.defined() ? 2 : 0) * kQueryBlock * kKeyBlock + (p.dropout > 0 ? kQueryBlock * kKeyBlock : 0) + 256;
  }
  // False when the mask hides every key of the block from every query: nothing to do then.
  bool load(const BlockPair<T>& b);
  void apply(const ScoreBlock<T>& s) const;  // the mask, to scores
  const T* keep() const { return keep_; }

 private:
  enum class Kind { Nothing, Bits, PerKey, Full };
  bool load_bits(const BlockPair<T>& b);
  bool load_bias(const BlockPair<T>& b);
  void load_keep(const BlockPair<T>& b);

  const AttentionProblem& p_;
  int64_t head_, ld_ = 0;
  const char* mask_ = nullptr;
  Kind kind_ = Kind::Nothing;
  T *rows_ = nullptr, *bias_ = nullptr, *keep_ = nullptr;
  uint64_t seen_[kKeyBlock];  // bit i: query i of the block sees the key
};

// st = scale K q^T of a pair of blocks, masked; q_T is the transposed block of queries.
template <class T>
void block_scores(const AttentionProblem& p, const BlockPair<T>& b, const RowBlock<T>& k, const T* q_T, T* st);

// Few queries: true when the call was served (attention_decode.cpp).
template <class T>
bool attention_decode(const AttentionProblem& p, T* logsumexp);

}  // namespace mg::cpu
