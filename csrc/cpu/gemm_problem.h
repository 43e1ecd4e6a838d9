// What the drivers of gemm() share: a product with its strides, the way its columns are dealt into panels and its k into
// blocks. Rows and columns may be split at will, by the number of threads too: an element's value depends only on the
// blocks of k, which depend on the sizes alone. Included by gemm.cpp only.
#pragma once
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "../core/parallel.h"
#include "gemm.h"
#include "gemm_tuning.h"
#include "prepared.h"

namespace mg::cpu {

constexpr int64_t kFarBytes = 16 << 20;
constexpr int64_t kStreamElements = 64 * 1024;  // of a matrix read once: worth a thread
constexpr int64_t kPreparedRows = 256;          // more, and packing B takes less than 5 % of the time

template <class S, class T>
struct Problem {
  int64_t m, n, k;
  Strided<S> a, b;
  T* c;
  int64_t ldc;
  Epilogue<T> e;
  bool far = n * k * int64_t(sizeof(S)) >= kFarBytes;  // B comes from memory

  bool a_rows() const { return a.cs == 1 || k == 1; }     // contiguous along k
  bool b_columns() const { return b.rs == 1 || k == 1; }  // contiguous along k
  bool b_rows() const { return b.cs == 1 || n == 1; }
  int64_t fma() const { return m * n * k; }
  // The part with rows from i and columns from j on.
  Problem at(int64_t i, int64_t j, int64_t rows, int64_t columns) const {
    return {rows, columns, k, a.at(i, 0), b.at(0, j), c + i * ldc + j, ldc, e.at(i, j), far};
  }
  // The block [k0, k1) of k: all but the first accumulate, the last one finishes.
  Problem block(int64_t k0, int64_t k1) const {
    Problem p = *this;
    p.k = k1 - k0;
    p.a = a.at(0, k0);
    p.b = b.at(k0, 0);
    if (k0 > 0) p.e.add = c, p.e.add_rs = ldc, p.e.add_cs = 1, p.e.beta = T(1);
    if (k1 < k) p.e.act = nullptr, p.e.pre = nullptr, p.e.residual = nullptr;
    return p;
  }
};

// How n columns are dealt into panels of at most nr.
struct Panels {
  int64_t vectors, count;
  int lanes;
  Panels(int64_t n, int lanes_, int nr)
      : vectors(ceil_div(n, lanes_)), count(ceil_div(vectors, nr / lanes_)), lanes(lanes_) {}
  int64_t column(int64_t p) const { return panel_start(p, vectors, count) * lanes; }
  int64_t padded() const { return vectors * lanes; }
};

// A number of the tuning table that counts floats, for elements of T.
template <class T>
int64_t floats(int64_t count) {
  return count * 4 / int64_t(sizeof(T));
}

// The bounds of block q when k is cut into equal blocks of at most `block` whole words of `unit` elements.
struct KBlocks {
  int64_t k, words, count;
  int unit;
  KBlocks(int64_t k_, int unit_, int64_t block)
      : k(k_), words(ceil_div(k_, unit_)), count(ceil_div(words, block)), unit(unit_) {}
  int64_t start(int64_t q) const { return std::min(k, panel_start(q, words, count) * unit); }
};

// Act, copy and residual over m x n finished elements, in cache.
template <class T>
void finish(int64_t m, int64_t n, T* c, int64_t ldc, const Epilogue<T>& e) {
  for (int64_t i = 0; i < m; ++i, c += ldc) {
    if (e.pre != nullptr) std::memcpy(e.pre + i * e.pre_rs, c, size_t(n) * sizeof(T));
    if (e.act != nullptr) {
      const void* in[] = {c};
      e.act(c, in, n);
    }
    if (e.residual != nullptr)
      for (int64_t j = 0; j < n; ++j) c[j] += e.residual[i * e.residual_rs + j];
  }
}
template <class S, class T>
void finish(const Problem<S, T>& p) {
  if (p.e.has_finish()) finish(p.m, p.n, p.c, p.ldc, p.e);
}

// Whether packed panels of B are worth keeping, if B is a weight (prepared.h): widened ones would be read from memory
// twice as wide, which takes what packing takes.
template <class S, class T>
bool keeps_b(const Problem<S, T>& p, int unit) {
  return p.m <= kPreparedRows && sizeof(T) == sizeof(S) * size_t(unit);
}
template <class S, class T>
PreparedKey key_of_b(const char* how, const Problem<S, T>& p, int64_t cut = 0) {
  return {how, p.b.data, {int64_t(sizeof(S)), p.k, p.n, p.b.rs, p.b.cs, cut}};
}

}  // namespace mg::cpu
