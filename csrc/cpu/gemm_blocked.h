// What the drivers of gemm.cpp and gemm_low.cpp share: a product with its strides, the way its columns are dealt into
// panels and its k into blocks, and the blocked driver over packed panels. Rows and columns may be split at will, by the
// number of threads too: an element's value depends only on the blocks of k, which depend on the sizes alone.
#pragma once
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "../core/parallel.h"
#include "gemm.h"
#include "gemm_tuning.h"

namespace mg::cpu {

constexpr int64_t kFarBytes = 16 << 20;
constexpr int64_t kStreamElements = 64 * 1024;  // of a matrix read once: worth a thread

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

// Products over packed panels, in two orders. Few rows: A is packed once, tasks own columns and pack B for themselves
// into L2, block by block. Many rows: B is packed once per block and shared, tasks own rows and pack A.
template <class S, class T>
class Blocked {
 public:
  explicit Blocked(const PackedTable<S, T>& table) : g(table) {}

  void run(const Problem<S, T>& p) const {
    if (p.m <= gemm_tuning().few_rows) return few_rows(p);
    for (int64_t j = 0; j < p.n; j += kMaxColumns) many_rows(p.at(0, j, p.m, std::min(kMaxColumns, p.n - j)));
  }

 private:
  static constexpr int64_t kMaxColumns = 3072, kGroup = 384, kRowsInPlace = 48;
  const PackedTable<S, T>& g;

  int64_t words(int64_t k) const { return ceil_div(k, g.unit) + g.extra; }  // of a column of a packed panel

  // C of one task: packed A times the panels [p0, p1) of `panels`, finished while it is in cache.
  void multiply(const Problem<S, T>& p, const T* a, const T* b, const Panels& panels, int64_t p0, int64_t p1) const {
    const int64_t step = p.e.has_finish() ? 4 : p1 - p0;
    for (int64_t q = p0; q < p1; q += step) {
      const int64_t end = std::min(p1, q + step);
      g.packed(p.m, p.n, words(p.k), a, b, panels.count, q, end, p.c, p.ldc, p.e);
      const int64_t j = panels.column(q);
      finish(p.at(0, j, p.m, std::min(p.n, panels.column(end)) - j));
    }
  }

  void few_rows(const Problem<S, T>& p) const {
    const KBlocks blocks(p.k, g.unit, floats<T>(gemm_tuning().block_k));
    const int64_t rows = ceil_div(p.m, g.mr) * g.mr;
    const auto a_offset = [&](int64_t q) { return rows * (blocks.start(q) / g.unit + q * g.extra); };
    T* a = scratch<T>(ScratchSlot::PackB, rows * (blocks.words + blocks.count * g.extra));
    parallel_for(0, blocks.count, ceil_div(kStreamElements, rows * blocks.start(1)), [&](int64_t q0, int64_t q1) {
      for (int64_t q = q0; q < q1; ++q) {
        const int64_t k0 = blocks.start(q), k1 = blocks.start(q + 1);
        g.pack_a(p.m, k1 - k0, p.a.at(0, k0), a + a_offset(q), g.mr * words(k1 - k0));
      }
    });
    const bool in_place = g.skinny != nullptr && p.b_rows() && p.m >= g.mr;
    const int64_t threads = std::min<int64_t>(get_num_threads(), ceil_div(p.fma(), kTaskFma));
    if constexpr (std::is_same_v<S, T>)
      if (in_place && blocks.count == 1 && threads > 1 && p.m >= kRowsInPlace * threads)
        return rows_in_place(p, a, threads);
    const int64_t wanted = std::min<int64_t>(2 * get_num_threads(), ceil_div(p.fma(), kTaskFma));
    const int64_t share = ceil_div(ceil_div(p.n, wanted), g.lanes) * g.lanes;
    const int64_t columns = std::min(kGroup, std::max<int64_t>(share, 2 * g.lanes));
    parallel_chunks(ceil_div(p.n, columns), [&](int64_t task) {
      const int64_t j = task * columns;
      const Problem<S, T> mine = p.at(0, j, p.m, std::min(columns, p.n - j));
      const Panels panels(mine.n, g.lanes, g.nr);
      for (int64_t q = 0; q < blocks.count; ++q) {
        const Problem<S, T> part = mine.block(blocks.start(q), blocks.start(q + 1));
        if constexpr (std::is_same_v<S, T>)
          if (in_place) {
            T* panel = scratch<T>(ScratchSlot::PackA, g.nr * part.k);
            g.skinny(part.m, part.n, part.k, a + a_offset(q), part.b.data, p.b.rs, p.far, panel, part.c, p.ldc, part.e);
            finish(part);
            continue;
          }
        T* b = scratch<T>(ScratchSlot::PackA, panels.padded() * words(part.k));
        g.pack_b(part.k, part.n, part.b, panels.count, b);
        multiply(part, a + a_offset(q), b, panels, 0, panels.count);
      }
    });
  }

  // Few rows, but enough for every thread, times a B that all of them read in place: as in the gradient of a weight
  // over a small batch. A thread then owns whole rows of it, which are also its own when the optimizer steps and the
  // next forward pass reads the weight; dealt by columns, half of the weight changes its core three times a step.
  void rows_in_place(const Problem<S, T>& p, const T* a, int64_t threads) const {
    const int64_t rows = ceil_div(ceil_div(p.m, threads), g.mr) * g.mr;
    parallel_chunks(ceil_div(p.m, rows), [&](int64_t task) {
      const int64_t i = task * rows;
      const Problem<S, T> mine = p.at(i, 0, std::min(rows, p.m - i), p.n);
      T* panel = scratch<T>(ScratchSlot::PackA, g.nr * p.k);
      g.skinny(mine.m, mine.n, p.k, a + i * words(p.k), p.b.data, p.b.rs, p.far, panel, mine.c, p.ldc, mine.e);
      finish(mine);
    });
  }

  void many_rows(const Problem<S, T>& p) const {
    const KBlocks blocks(p.k, g.unit, floats<T>(gemm_tuning().block_k));
    for (int64_t q = 0; q < blocks.count; ++q) many_rows_block(p.block(blocks.start(q), blocks.start(q + 1)));
  }

  void many_rows_block(const Problem<S, T>& p) const {
    const Panels panels(p.n, g.lanes, g.nr);
    T* b = scratch<T>(ScratchSlot::PackB, panels.padded() * words(p.k));
    parallel_for(0, panels.count, ceil_div(kStreamElements, g.nr * p.k), [&](int64_t q0, int64_t q1) {
      for (int64_t q = q0; q < q1; ++q) {
        const int64_t j = panels.column(q), width = panels.column(q + 1) - j;
        g.pack_b(p.k, std::min(width, p.n - j), p.b.at(0, j), 1, b + j * words(p.k));
      }
    });
    const int64_t threads = std::min<int64_t>(get_num_threads(), ceil_div(p.fma(), kTaskFma));
    const int64_t wanted =
        ceil_div(ceil_div(p.m, floats<T>(gemm_tuning().block_rows)), threads) * threads;  // as many for each thread
    const int64_t rows = ceil_div(ceil_div(p.m, wanted), g.mr) * g.mr;
    parallel_chunks(ceil_div(p.m, rows), [&](int64_t task) {
      const int64_t i = task * rows;
      const Problem<S, T> mine = p.at(i, 0, std::min(rows, p.m - i), p.n);
      T* a = scratch<T>(ScratchSlot::PackA, ceil_div(mine.m, g.mr) * g.mr * words(p.k));
      g.pack_a(mine.m, p.k, mine.a, a, g.mr * words(p.k));
      multiply(mine, a, b, panels, 0, panels.count);
    });
  }
};

}  // namespace mg::cpu
