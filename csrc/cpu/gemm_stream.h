// Products with few rows of A and contiguous rows of B: the rows of B stream by once, eight or fewer at a time, while the
// sums stay in L1. Included by per-ISA files only.
//
// Bound by memory, so nothing is packed, and half and bfloat16 are widened in registers: they need half the traffic.
#pragma once
#include "gemm_pack.h"

namespace mg::cpu::MG_ISA_NS {

// acc[M][ld] += x[M][R] times R rows of B, `columns` of them.
template <class S, class T, int M, int R>
MG_INL void add_rows(const T (&x)[M][8], const S* b, int64_t ldb, T* acc, int64_t ld, int64_t columns) {
  constexpr int W = Vec<T>::size;
  Vec<T> xs[M][R];
  for (int i = 0; i < M; ++i)
    for (int r = 0; r < R; ++r) xs[i][r] = Vec<T>(x[i][r]);
  const auto at = [&](int64_t j, auto load) {
    Vec<T> sums[M];
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i) sums[i] = Vec<T>::load(acc + i * ld + j);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Vec<T> row = load(b + r * ldb + j);
#pragma GCC unroll 8
      for (int i = 0; i < M; ++i) sums[i] = fma(xs[i][r], row, sums[i]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i) sums[i].store(acc + i * ld + j);
  };
  int64_t j = 0;
  for (; j + W <= columns; j += W) at(j, [](const S* p) { return load_wide<T>(p); });
  if (j < columns) at(j, [n = int(columns - j)](const S* p) { return load_wide<T>(p, n); });
}

// At most M rows; those that A does not have are zeros and not written.
template <class S, class T, int M>
void stream_some(int64_t m, int64_t n, int64_t k, Strided<S> a, const S* b, int64_t ldb, T* c, int64_t ldc,
                 const Epilogue<T>& e) {
  constexpr int W = Vec<T>::size, kColumns = (M <= 2 ? 2048 : 4096 / M), kRegisters = kVectorRegisters / 2;
  constexpr int R = kRegisters / M < 8 ? kRegisters / M : 8;
  for (int64_t j0 = 0; j0 < n; j0 += kColumns) {
    T acc[M * kColumns];
    const int64_t columns = n - j0 < kColumns ? n - j0 : kColumns, padded = (columns + W - 1) / W * W;
    for (int i = 0; i < M; ++i)
      for (int64_t j = 0; j < padded; ++j) acc[i * kColumns + j] = 0;
    T x[M][8] = {};
    for (int64_t p = 0; p < k;) {
      const int rows = k - p < R ? 1 : R;
      for (int i = 0; i < m; ++i)
        for (int r = 0; r < rows; ++r) x[i][r] = widen_element(a.data[i * a.rs + (p + r) * a.cs]);
      const S* from = b + p * ldb + j0;
      if (rows == R)
        add_rows<S, T, M, R>(x, from, ldb, acc, kColumns, columns);
      else
        add_rows<S, T, M, 1>(x, from, ldb, acc, kColumns, columns);
      p += rows;
    }
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < columns; ++j)
        c[i * ldc + j0 + j] = e.alpha * acc[i * kColumns + j] +
                              (e.add == nullptr ? T(0) : e.beta * e.add[i * e.add_rs + (j0 + j) * e.add_cs]);
  }
}

// C[m, n] = A B for B with unit column stride.
template <class S, class T>
void stream(int64_t m, int64_t n, int64_t k, Strided<S> a, const S* b, int64_t ldb, T* c, int64_t ldc,
            const Epilogue<T>& e) {
  for (int64_t i = 0; i < m; i += 8) {
    const int64_t rows = m - i < 8 ? m - i : 8;
    (rows == 1   ? stream_some<S, T, 1>
     : rows == 2 ? stream_some<S, T, 2>
     : rows <= 4 ? stream_some<S, T, 4>
                 : stream_some<S, T, 8>)(rows, n, k, a.at(i, 0), b, ldb, c + i * ldc, ldc, e.at(i, 0));
  }
}

}  // namespace mg::cpu::MG_ISA_NS
