// What one instruction set offers attention beyond the GEMM tiles: the passes over a block of scores, and the streaming
// kernels of decoding. attention.h is the map.
//
// A block of scores is kept TRANSPOSED, st[key][query] with queries along the vector: maxima and sums over keys are
// then plain vertical operations, keys and values are read as they lie (the tiles broadcast them), and a mask row is a
// lane mask. Columns beyond the last query are padding: computed, never read.
#pragma once
#include <cstdint>

#include "../core/dtype.h"
#include "gemm_table.h"

namespace mg::cpu {

constexpr int64_t kSeeAll = int64_t(1) << 40;  // `diagonal` of a block without causal masking

// nk keys by `cols` queries (whole vectors), rows ld apart. Key k is seen by column c when k <= diagonal + c.
template <class T>
struct ScoreBlock {
  T* st;
  int64_t ld, nk, cols, diagonal;
  const T* keep;  // dropout factors, same layout: 0 or 1 / (1 - p); null: none
};

// C[m, n] = alpha A[m, k] B[k, n], plus C if `add`; B and C with unit column stride.
template <class T>
struct BlockProduct {
  int64_t m, n, k;
  T alpha;
  Strided<T> a;
  const T* b;
  int64_t ldb;
  T* c;
  int64_t ldc;
  bool add;
};

// Decoding: one query over `n` keys in memory of another type S, rows ldk and ldv apart, elements next to each other.
template <class T>
struct DecodeRow {
  const T* q;                  // already times scale, zero-padded to whole vectors
  const T* bias;               // n numbers added to the scores, or null
  const T *k_scale, *v_scale;  // one number per key, for int8
  const void *k, *v;
  int64_t ldk, ldv, n, width, values;
  T* scores;     // room for n, rounded up to whole vectors
  T *top, *sum;  // running maximum and sum
  T* out;        // `values` numbers, running
};

template <class T>
struct AttentionFns {
  int lanes;
  void (*product)(const BlockProduct<T>& p);
  // dst[column][row] of n rows of `width` numbers, rows padded with zeros to whole vectors.
  void (*transpose)(int64_t n, int64_t width, Strided<T> rows, T* dst);
  // st becomes -inf where bit `column` of seen[k] is not set.
  void (*hide)(const ScoreBlock<T>& b, const uint64_t* seen);
  // What the n columns of a bias hold: bit 0: something but -inf, bit 1: something but 0.
  int (*bias_kinds)(const T* bias, int64_t ld, int64_t nk, int64_t n);
  // st += bias; row k of bias starts at bias + k * rs, one number per column (per_column) or one for all.
  void (*add_bias)(const ScoreBlock<T>& b, const T* bias, int64_t rs, bool per_column);
  // One step of the online softmax: st becomes exp(st - top) (times keep), top and sum are brought up to date, and
  // `shrink` says by how much what was summed before counts less. Returns whether any column shrinks.
  bool (*softmax)(const ScoreBlock<T>& b, T* top, T* sum, T* shrink);
  // st becomes P = exp(st - lse) (times keep), dp becomes dS = P (dp keep - delta).
  void (*gradient)(const ScoreBlock<T>& b, T* dp, const T* lse, const T* delta);
  void (*keep_factors)(T* keep, const uint32_t* bits, int64_t n, uint64_t threshold, T factor);
  void (*scale_rows)(T* x, int64_t ld, int64_t rows, int64_t n, const T* factor);
  void (*row_dots)(const T* a, int64_t lda, const T* b, int64_t ldb, int64_t rows, int64_t n, T* out);
  void (*add_to)(T* sum, const T* x, int64_t n);
  void (*decode)(const DecodeRow<T>& row);  // S = T
};

struct AttentionTable {
  AttentionFns<float> f32;
  AttentionFns<double> f64;
  void (*transpose_half)(int64_t n, int64_t width, Strided<half> rows, float* dst);
  void (*transpose_bfloat16)(int64_t n, int64_t width, Strided<bfloat16> rows, float* dst);
  void (*decode_half)(const DecodeRow<float>& row);
  void (*decode_bfloat16)(const DecodeRow<float>& row);
  void (*decode_int8)(const DecodeRow<float>& row);
};

namespace avx512 {
extern const AttentionTable attention_table;
}
namespace avx2 {
extern const AttentionTable attention_table;
}
namespace portable {
extern const AttentionTable attention_table;
}

const AttentionTable& attention_table();  // of this machine
template <class T>
inline const AttentionFns<T>& attention_fns() {
  if constexpr (sizeof(T) == 4)
    return attention_table().f32;
  else
    return attention_table().f64;
}

}  // namespace mg::cpu
