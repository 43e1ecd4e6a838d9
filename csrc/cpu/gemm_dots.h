// Dot products of the GEMM family, for products with a short side whose operands are both contiguous along k: tiles of
// up to 4 x 4 sums in registers, vectors along k, nothing packed. Included by per-ISA files only.
//
// A policy D names the elements S and sums T, how a vector of S is loaded and multiplied (DotFloats here, words of
// narrow types in gemm_words_isa.cpp).
#pragma once
#include "gemm_stream.h"

namespace mg::cpu::MG_ISA_NS {

// Elements widened to float or double on the way.
template <class S_, class T_>
struct DotFloats {
  using S = S_;
  using T = T_;
  using Reg = Vec<T>;
  static constexpr int kStep = Vec<T>::size;
  static constexpr bool kShifted = false;
  static MG_INL Reg load_a(const S* p) { return load_wide<T>(p); }
  static MG_INL Reg load_b(const S* p) { return load_wide<T>(p); }
  static MG_INL Reg load_a(const S* p, int n) { return load_wide<T>(p, n); }
  static MG_INL Reg load_b(const S* p, int n) { return load_wide<T>(p, n); }
  static MG_INL void multiply_add(Vec<T>& acc, Reg x, Reg y) { acc = fma(x, y, acc); }
};

// out[i * 4 + j] = <A row i, B column j>.
template <class D, int MI, int NJ>
void dot_tile(int64_t k, const typename D::S* a, int64_t lda, const typename D::S* b, int64_t ldb, typename D::T* out) {
  using T = typename D::T;
  Vec<T> acc[MI][NJ], shift[NJ];
  for (int j = 0; j < NJ; ++j) {
    shift[j] = Vec<T>(T(0));
    for (int i = 0; i < MI; ++i) acc[i][j] = Vec<T>(T(0));
  }
  int64_t p = 0;
  for (; p + D::kStep <= k; p += D::kStep) {
    typename D::Reg x[MI];
#pragma GCC unroll 4
    for (int i = 0; i < MI; ++i) x[i] = D::load_a(a + i * lda + p);
#pragma GCC unroll 4
    for (int j = 0; j < NJ; ++j) {
      const typename D::Reg y = D::load_b(b + j * ldb + p);
      if constexpr (D::kShifted) D::add_shift(shift[j], y);
#pragma GCC unroll 4
      for (int i = 0; i < MI; ++i) D::multiply_add(acc[i][j], x[i], y);
    }
  }
  if (p < k) {
    const int rest = int(k - p);
#pragma GCC unroll 4
    for (int j = 0; j < NJ; ++j) {
      const typename D::Reg y = D::load_b(b + j * ldb + p, rest);
      if constexpr (D::kShifted) D::add_shift(shift[j], y);
#pragma GCC unroll 4
      for (int i = 0; i < MI; ++i) D::multiply_add(acc[i][j], D::load_a(a + i * lda + p, rest), y);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < MI; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NJ; ++j) out[i * 4 + j] = hsum(D::kShifted ? acc[i][j] - shift[j] : acc[i][j]);
}

template <class D>
using DotFn = void (*)(int64_t k, const typename D::S* a, int64_t lda, const typename D::S* b, int64_t ldb,
                       typename D::T* out);
template <class D>
constexpr DotFn<D> kDots[4][4] = {
    {dot_tile<D, 1, 1>, dot_tile<D, 1, 2>, dot_tile<D, 1, 3>, dot_tile<D, 1, 4>},
    {dot_tile<D, 2, 1>, dot_tile<D, 2, 2>, dot_tile<D, 2, 3>, dot_tile<D, 2, 4>},
    {dot_tile<D, 3, 1>, dot_tile<D, 3, 2>, dot_tile<D, 3, 3>, dot_tile<D, 3, 4>},
    {dot_tile<D, 4, 1>, dot_tile<D, 4, 2>, dot_tile<D, 4, 3>, dot_tile<D, 4, 4>},
};

// Long dot products are cut into blocks of kDotBlock whose sums are added in order: 16 running sums over a million
// terms would lose digits.
constexpr int64_t kDotBlock = 8192;

template <class D>
void dots(int64_t m, int64_t n, int64_t k, const typename D::S* a, int64_t lda, const typename D::S* b, int64_t ldb,
          typename D::T* c, int64_t ldc, const Epilogue<typename D::T>& e) {
  using T = typename D::T;
  for (int64_t j = 0; j < n; j += 4) {
    const int nj = int(n - j < 4 ? n - j : 4);
    for (int64_t i = 0; i < m; i += 4) {
      const int mi = int(m - i < 4 ? m - i : 4);
      T sums[16], part[16];
      const DotFn<D> fn = kDots<D>[mi - 1][nj - 1];
      fn(k < kDotBlock ? k : kDotBlock, a + i * lda, lda, b + j * ldb, ldb, sums);
      for (int64_t p = kDotBlock; p < k; p += kDotBlock) {
        fn(k - p < kDotBlock ? k - p : kDotBlock, a + i * lda + p, lda, b + j * ldb + p, ldb, part);
        for (int x = 0; x < mi; ++x)
          for (int y = 0; y < nj; ++y) sums[x * 4 + y] += part[x * 4 + y];
      }
      for (int x = 0; x < mi; ++x)
        for (int y = 0; y < nj; ++y) {
          T v = e.alpha * sums[x * 4 + y];
          if (e.add != nullptr) v += e.beta * e.add[(i + x) * e.add_rs + (j + y) * e.add_cs];
          c[(i + x) * ldc + j + y] = v;
        }
    }
  }
}

}  // namespace mg::cpu::MG_ISA_NS
