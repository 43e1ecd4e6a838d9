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

namespace mg::cpu {

// C = alpha * A B + beta * D, where D is `add` (null: nothing; C itself: accumulate; row stride 0: a bias row).
template <class T>
struct Epilogue {
  T alpha = 1, beta = 1;
  const T* add = nullptr;
  int64_t add_rs = 0;
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
  // C[m, n] for A with unit column stride and B with unit row stride: dot products, vectors along k. For m <= 4 or n
  // <= 4.
  void (*dots)(int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* c, int64_t ldc,
               int64_t c_cs, const Epilogue<T>& e);
  // y[n] = x[k] B[k, n] for B with unit column stride: streams rows of B.
  void (*axpys)(int64_t n, int64_t k, const T* x, int64_t incx, const T* b, int64_t ldb, T* y, const Epilogue<T>& e);
};

struct GemmTables {
  GemmTable<float> f32;
  GemmTable<double> f64;
  PackTable<half, float> f16;
  PackTable<bfloat16, float> bf16;
};

namespace avx512 {
extern const GemmTables gemm_table;
}
namespace avx2 {
extern const GemmTables gemm_table;
}
namespace portable {
extern const GemmTables gemm_table;
}

const GemmTables& gemm_tables();  // of this machine
template <class T>
inline const GemmTable<T>& gemm_table() {
  if constexpr (sizeof(T) == 4)
    return gemm_tables().f32;
  else
    return gemm_tables().f64;
}

}  // namespace mg::cpu
