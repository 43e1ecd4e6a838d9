// What one instruction set offers the GEMM family: packing, the blocked kernel over packed operands, and the unpacked
// small kernels.
//
// Compiled three times (gemm_isa.cpp); gemm.cpp picks a table; it and the conv_*.cpp drivers do all the
// blocking, scratch and threading.
// Legend: M rows of C, N columns, K the summed index. A_MK is packed in panels of `mr` rows, laid out [k][mr]; B_KN in
// panels of at most `nr` columns, laid out [k][width] with the width rounded up to whole vectors and zero-filled.
// Panels of B are balanced (128 columns of AVX-512 floats are 48 + 48 + 32): panel_start() gives the bounds, in
// vectors. Every element of C is the same chain of fused multiply-adds over k whatever tile it falls in, so results
// depend neither on tiling nor on the thread count.
#pragma once
#include <cstdint>

#include "../core/dtype.h"
#include "pointwise_table.h"

namespace mg::cpu {

// C = residual + act(alpha * A B + beta * D). The tiles know alpha and D; act and what follows run over each block of C
// while it lies in cache (gemm.cpp), and only gemm() does them.
template <class T>
struct Epilogue {
  T alpha = 1, beta = 1;
  const T* add = nullptr;  // D; null: nothing; C itself: accumulate
  int64_t add_rs = 0;      // row stride of D; 0: one row for all, as a bias of linear
  int64_t add_cs = 1;      // 0: one column for all, as a bias of a 1x1 convolution; else 1
  PointwiseFn act = nullptr;  // kernel of T of any pointwise op of one operand: the bits are those of the op by itself
  T* pre = nullptr;           // where alpha * A B + beta * D is kept as well, for the backward of act
  int64_t pre_rs = 0;
  const T* residual = nullptr;
  int64_t residual_rs = 0;

  bool has_finish() const { return act != nullptr || pre != nullptr || residual != nullptr; }
  // The part that starts at row i, column j.
  Epilogue at(int64_t i, int64_t j) const {
    Epilogue e = *this;
    if (add != nullptr) e.add += i * add_rs + j * add_cs;
    if (pre != nullptr) e.pre += i * pre_rs + j;
    if (residual != nullptr) e.residual += i * residual_rs + j;
    return e;
  }
};

// A matrix in memory: element (i, j) at data[i * rs + j * cs].
template <class T>
struct Strided {
  const T* data;
  int64_t rs, cs;
  Strided mT() const { return {data, cs, rs}; }
  Strided at(int64_t i, int64_t j) const { return {data + i * rs + j * cs, rs, cs}; }
};

// First vector of panel p when `vectors` vectors are dealt over `panels` panels.
inline int64_t panel_start(int64_t p, int64_t vectors, int64_t panels) { return p * vectors / panels; }

// S: element type in memory, T: float or double, the type of packed panels and of the accumulation.
template <class S, class T>
struct PackTable {
  // Packs A[m, k]; panel i starts at dst + i * panel_stride (>= k * mr), so that several k ranges can share one panel.
  void (*pack_a)(int64_t m, int64_t k, Strided<S> a, T* dst, int64_t panel_stride);
  void (*pack_b)(int64_t k, int64_t n, Strided<S> b, T* dst);  // one panel, n <= nr columns
};

// Products over packed panels of words: a word is one T, or `unit` narrow elements that one instruction multiplies and
// adds (k is padded with zeros to whole words). Panels of B have `extra` more rows of words than k needs.
template <class S, class T>
struct PackedTable {
  int mr, nr, lanes, unit, extra;
  void (*pack_a)(int64_t m, int64_t k, Strided<S> a, T* dst, int64_t panel_stride);
  // All of B, which is dealt into `panels` panels.
  void (*pack_b)(int64_t k, int64_t n, Strided<S> b, int64_t panels, T* dst);
  // As GemmTable::packed, with the words of a column, `extra` included, for k.
  void (*packed)(int64_t m, int64_t n, int64_t words, const T* a, const T* b, int64_t panels, int64_t p0, int64_t p1,
                 T* c, int64_t ldc, const Epilogue<T>& e);
  // C[m, n], m >= mr, from packed A and B with unit column stride, which is copied to `panel` (k * nr elements) panel by
  // panel on the way; far: B is to come from memory. Null: B must be packed.
  void (*skinny)(int64_t m, int64_t n, int64_t k, const T* a, const T* b, int64_t ldb, bool far, T* panel, T* c,
                 int64_t ldc, const Epilogue<T>& e);
  // As packed for all panels, with A as it lies, its columns contiguous, k in whole words. Null: A must be packed.
  void (*in_place)(int64_t m, int64_t n, int64_t words, const S* a, int64_t lda, const T* b, int64_t panels, T* c,
                   int64_t ldc, const Epilogue<T>& e);
  // C[m, n] for A with unit column stride and B with unit row stride: dot products, vectors along k. For m <= 8 or n
  // <= 4.
  void (*dots)(int64_t m, int64_t n, int64_t k, const S* a, int64_t lda, const S* b, int64_t ldb, T* c, int64_t ldc,
               const Epilogue<T>& e);
  // C[m, n] for few rows of A and B with unit column stride: streams rows of B. Null: B must be packed.
  void (*stream)(int64_t m, int64_t n, int64_t k, Strided<S> a, const S* b, int64_t ldb, T* c, int64_t ldc,
                 const Epilogue<T>& e);
};

template <class T>
struct GemmTable {
  int mr, nr, lanes;
  PackTable<T, T> pack;
  // C[m, n] from packed A (panel stride k * mr) and the panels [p0, p1) of the `panels` packed B panels that cover n
  // columns.
  void (*packed)(int64_t m, int64_t n, int64_t k, const T* a, const T* b, int64_t panels, int64_t p0, int64_t p1, T* c,
                 int64_t ldc, const Epilogue<T>& e);
  // C[m, n] from A as it lies and B with unit column stride: no packing at all.
  void (*direct)(int64_t m, int64_t n, int64_t k, Strided<T> a, const T* b, int64_t ldb, T* c, int64_t ldc,
                 const Epilogue<T>& e);
  decltype(direct) direct_far;  // the same for a B that has to come from memory
  // C[m, n] = alpha * the transpose of turned_NM, rows of `ld` elements, + beta * D.
  void (*turn)(int64_t m, int64_t n, const T* turned_NM, int64_t ld, T* c, int64_t ldc, const Epilogue<T>& e);
  PackedTable<T, T> blocked;
  // Does n rounds of independent multiply-adds on the `lanes` numbers at sink and returns how many: for benchmarks.
  int64_t (*multiply_adds)(int64_t n, T* sink);
};

struct GemmTables {
  GemmTable<float> f32;
  GemmTable<double> f64;
  PackedTable<half, float> f16;
  PackedTable<bfloat16, float> bf16;
};

namespace avx512 {
extern const GemmTables gemm_table;
extern const PackedTable<int8_t, int32_t> int8_pairs;
extern const PackedTable<int8_t, int32_t> int8_quads;         // needs AVX512-VNNI
extern const PackedTable<bfloat16, float> bfloat16_pairs;  // needs AVX512-BF16
}
namespace avx2 {
extern const GemmTables gemm_table;
extern const PackedTable<int8_t, int32_t> int8_pairs;
}
namespace portable {
extern const GemmTables gemm_table;
extern const PackedTable<int8_t, int32_t> int8_pairs;
}

const GemmTables& gemm_tables();  // of this machine
const PackedTable<int8_t, int32_t>& int8_table();
const PackedTable<bfloat16, float>& bfloat16_table();
template <class T>
inline const GemmTable<T>& gemm_table() {
  if constexpr (sizeof(T) == 4)
    return gemm_tables().f32;
  else
    return gemm_tables().f64;
}

}  // namespace mg::cpu
