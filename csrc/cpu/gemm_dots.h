// Dot products of the GEMM family, for products with a short side: dot_tile<MI, NJ> holds MI*NJ sums in registers, their
// vectors along k. Included by gemm_isa.cpp only (one build per instruction set).
#pragma once
#include "../simd/vec.h"

namespace mg::cpu::MG_ISA_NS {

using simd::MG_ISA_NS::Vec;

// C[i][j] = alpha * <A row i, B column j> + beta * D, MI x NJ of them at once; both run along k in memory.
template <class T, int MI, int NJ>
void dot_tile(int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* out) {
  constexpr int W = Vec<T>::size;
  Vec<T> acc[MI][NJ];
  for (int i = 0; i < MI; ++i)
    for (int j = 0; j < NJ; ++j) acc[i][j] = Vec<T>(T(0));
  int64_t p = 0;
  for (; p + W <= k; p += W) {
    Vec<T> x[MI];
#pragma GCC unroll 4
    for (int i = 0; i < MI; ++i) x[i] = Vec<T>::load(a + i * lda + p);
#pragma GCC unroll 4
    for (int j = 0; j < NJ; ++j) {
      const Vec<T> y = Vec<T>::load(b + j * ldb + p);
#pragma GCC unroll 4
      for (int i = 0; i < MI; ++i) acc[i][j] = fma(x[i], y, acc[i][j]);
    }
  }
  if (p < k) {
    const int rest = int(k - p);
#pragma GCC unroll 4
    for (int j = 0; j < NJ; ++j) {
      const Vec<T> y = Vec<T>::load(b + j * ldb + p, rest);
#pragma GCC unroll 4
      for (int i = 0; i < MI; ++i) acc[i][j] = fma(Vec<T>::load(a + i * lda + p, rest), y, acc[i][j]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < MI; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NJ; ++j) out[i * 4 + j] = hsum(acc[i][j]);
}

template <class T>
using DotFn = void (*)(int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* out);
template <class T>
constexpr DotFn<T> kDots[4][4] = {
    {dot_tile<T, 1, 1>, dot_tile<T, 1, 2>, dot_tile<T, 1, 3>, dot_tile<T, 1, 4>},
    {dot_tile<T, 2, 1>, dot_tile<T, 2, 2>, dot_tile<T, 2, 3>, dot_tile<T, 2, 4>},
    {dot_tile<T, 3, 1>, dot_tile<T, 3, 2>, dot_tile<T, 3, 3>, dot_tile<T, 3, 4>},
    {dot_tile<T, 4, 1>, dot_tile<T, 4, 2>, dot_tile<T, 4, 3>, dot_tile<T, 4, 4>},
};

}  // namespace mg::cpu::MG_ISA_NS
