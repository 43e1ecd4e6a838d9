// Few rows of A and a B that is contiguous along k, as in linear() on a small batch: C' = B' A' is computed, whose left
// operand is read where it lies, element by element, and whose right operand, the few rows of A, is packed once. What
// would be packed and read back otherwise, B, is the larger side by far. Included by gemm.cpp only.
//
// Tasks own columns of C. Each keeps its part of C' in its own scratch, block of k by block of k, and writes it turned.
#pragma once
#include "gemm_blocked.h"

namespace mg::cpu {

constexpr int64_t kTurnedK = 256;  // below it, writing C costs more than is saved

// Rows are padded to whole vectors, of which a quarter at most may be wasted.
template <class S, class T>
bool turns(const PackedTable<S, T>& g, const Problem<S, T>& p) {
  const int64_t padded = ceil_div(p.m, g.lanes) * g.lanes;
  return g.in_place != nullptr && p.m <= gemm_tuning().turned_rows && p.b_columns() && p.k % g.unit == 0 &&
         p.k >= kTurnedK && p.n >= 4 * g.mr && (p.m < g.lanes || 4 * p.m >= 3 * padded);
}

template <class S, class T>
void turned(const PackedTable<S, T>& g, const Problem<S, T>& p) {
  const Panels panels(p.m, g.lanes, g.nr);
  const KBlocks blocks(p.k, g.unit, floats<T>(gemm_tuning().turned_k));
  T* x = scratch<T>(ScratchSlot::PackB, panels.padded() * blocks.words);
  const auto block = [&](int64_t q) { return x + panels.padded() * (blocks.start(q) / g.unit); };
  parallel_for(0, blocks.count, ceil_div(kStreamElements, p.m * blocks.start(1)), [&](int64_t q0, int64_t q1) {
    for (int64_t q = q0; q < q1; ++q) {
      const int64_t k0 = blocks.start(q);
      g.pack_b(blocks.start(q + 1) - k0, p.m, p.a.at(0, k0).mT(), panels.count, block(q));
    }
  });
  const int64_t units = ceil_div(p.n, g.lanes), wanted = ceil_div(p.fma(), 2 * kTaskFma);
  const int64_t columns = g.lanes * std::min<int64_t>(16, std::max<int64_t>(1, ceil_div(units, wanted)));
  parallel_chunks(ceil_div(p.n, columns), [&](int64_t task) {
    const int64_t j = task * columns;
    const Problem<S, T> mine = p.at(0, j, p.m, std::min(columns, p.n - j));
    T* turned_NM = scratch<T>(ScratchSlot::Turned, columns * panels.padded());
    for (int64_t q = 0; q < blocks.count; ++q) {
      const int64_t k0 = blocks.start(q), words = (blocks.start(q + 1) - k0) / g.unit;
      Epilogue<T> e;
      if (q > 0) e.add = turned_NM, e.add_rs = panels.padded();
      g.in_place(mine.n, p.m, words, mine.b.data + k0, mine.b.cs, block(q), panels.count, turned_NM, panels.padded(), e);
    }
    gemm_table<T>().turn(mine.m, mine.n, turned_NM, panels.padded(), mine.c, mine.ldc, mine.e);
    finish(mine);
  });
}

}  // namespace mg::cpu
