// Factorisations of tiny real matrices, column-major with leading dimension m (rows). A call of the library costs about
// 0.1 us, more than the arithmetic of a 3 x 3 matrix: batches of 10000 3 x 3 inverses took 2.3 ms through LAPACK, 4
// times PyTorch's. Same algorithms as LAPACK's unblocked ones: partial pivoting by the largest modulus, info as there.
#pragma once
#include <cmath>

#include "linalg_batch.h"

namespace mg::cpu {

constexpr int64_t kSmallMatrix = 8;

template <class S>
int small_lu(S* a, int m, int n, int* pivots) {
  int info = 0;
  for (int j = 0; j < std::min(m, n); ++j) {
    S* column = a + j * m;
    int p = j;
    for (int i = j + 1; i < m; ++i)
      if (std::abs(column[i]) > std::abs(column[p])) p = i;
    pivots[j] = p + 1;
    if (column[p] == S(0)) {
      if (info == 0) info = j + 1;
      continue;
    }
    if (p != j)
      for (int c = 0; c < n; ++c) std::swap(a[c * m + j], a[c * m + p]);
    const S pivot = column[j];
    for (int i = j + 1; i < m; ++i) column[i] /= pivot;
    for (int c = j + 1; c < n; ++c) {
      const S factor = a[c * m + j];
      for (int i = j + 1; i < m; ++i) a[c * m + i] -= column[i] * factor;
    }
  }
  return info;
}

// X with A X = B, or A^T X = B, in place; B has k columns of n rows.
template <class S>
void small_lu_solve(const S* lu, const int* pivots, int n, S* b, int k, bool transposed) {
  for (S* x = b; x != b + int64_t(n) * k; x += n) {
    if (!transposed) {
      for (int i = 0; i < n; ++i) std::swap(x[i], x[pivots[i] - 1]);
      for (int j = 0; j < n; ++j)
        for (int i = j + 1; i < n; ++i) x[i] -= lu[j * n + i] * x[j];
      for (int j = n - 1; j >= 0; --j) {
        x[j] /= lu[j * n + j];
        for (int i = 0; i < j; ++i) x[i] -= lu[j * n + i] * x[j];
      }
    } else {
      for (int j = 0; j < n; ++j) {
        for (int i = 0; i < j; ++i) x[j] -= lu[j * n + i] * x[i];
        x[j] /= lu[j * n + j];
      }
      for (int j = n - 1; j >= 0; --j)
        for (int i = j + 1; i < n; ++i) x[j] -= lu[j * n + i] * x[i];
      for (int i = n - 1; i >= 0; --i) std::swap(x[i], x[pivots[i] - 1]);
    }
  }
}

// Overwrites one triangle of a with its Cholesky factor; returns the order of the first minor that is not positive, or
// 0.
template <class S>
int small_cholesky(S* a, int n, bool upper) {
  const int row = upper ? n : 1, col = upper ? 1 : n;  // the upper factor is the lower one of the transposed matrix
  for (int j = 0; j < n; ++j) {
    S pivot = a[j * row + j * col];
    for (int p = 0; p < j; ++p) pivot -= a[j * row + p * col] * a[j * row + p * col];
    a[j * row + j * col] = pivot;
    if (!(pivot > S(0)) || !std::isfinite(pivot)) return j + 1;
    pivot = a[j * row + j * col] = std::sqrt(pivot);
    for (int i = j + 1; i < n; ++i) {
      S x = a[i * row + j * col];
      for (int p = 0; p < j; ++p) x -= a[i * row + p * col] * a[j * row + p * col];
      a[i * row + j * col] = x / pivot;
    }
  }
  return 0;
}

// Factors one matrix in place, by the library or, when it is tiny, here; returns LAPACK's info.
template <class S>
int factor_lu(const Lapack<S>& lib, S* a, int64_t m, int64_t n, int* pivots) {
  const int rows = int(m), cols = int(n), ld = ld_of(m);
  int code = 0;
  if (m == 0 || n == 0) return 0;
  if constexpr (!is_complex_scalar<S>)
    if (m <= kSmallMatrix && n <= kSmallMatrix) return small_lu(a, rows, cols, pivots);
  lib.getrf(&rows, &cols, a, &ld, pivots, &code);
  return code;
}

// x (n, k) becomes the solution of A X = x, or A^H X = x.
template <class S>
void solve_lu(const Lapack<S>& lib, const S* lu, const int* pivots, int64_t n, S* x, int64_t k, bool adjoint) {
  const int size = int(n), sides = int(k), ld = ld_of(n);
  int code = 0;
  if (n == 0 || k == 0) return;
  if constexpr (!is_complex_scalar<S>)
    if (n <= kSmallMatrix && k <= kSmallMatrix) return small_lu_solve(lu, pivots, size, x, sides, adjoint);
  lib.getrs(adjoint ? "C" : "N", &size, &sides, lu, &ld, pivots, x, &ld, &code, size_t(1));
}

}  // namespace mg::cpu
