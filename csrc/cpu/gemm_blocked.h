// The blocked driver of gemm() over packed panels. Included by gemm.cpp only.
#pragma once
#include "gemm_problem.h"

namespace mg::cpu {

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

  int64_t all_words(const KBlocks& blocks) const { return blocks.words + blocks.count * g.extra; }

  // B as the tasks of few_rows pack it: columns [j, j + columns) from j * all_words on, block of k after block.
  Ref<Storage> kept_columns(const Problem<S, T>& p, const KBlocks& blocks, int64_t columns) const {
    if (!keeps_b(p, g.unit) || !may_prepare(p.b.data)) return {};
    const int64_t size = ceil_div(p.n, g.lanes) * g.lanes * all_words(blocks);
    return kept<T>(key_of_b("gemm columns", p, columns), size, [&](T* packed) {
      parallel_chunks(ceil_div(p.n, columns), [&](int64_t task) {
        const int64_t j = task * columns;
        const Problem<S, T> mine = p.at(0, j, p.m, std::min(columns, p.n - j));
        const Panels panels(mine.n, g.lanes, g.nr);
        T* b = packed + j * all_words(blocks);
        for (int64_t q = 0; q < blocks.count; ++q) {
          const Problem<S, T> part = mine.block(blocks.start(q), blocks.start(q + 1));
          g.pack_b(part.k, part.n, part.b, panels.count, b);
          b += panels.padded() * words(part.k);
        }
      });
    });
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
    const Ref<Storage> kept_b = in_place ? Ref<Storage>() : kept_columns(p, blocks, columns);
    parallel_chunks(ceil_div(p.n, columns), [&](int64_t task) {
      const int64_t j = task * columns;
      const Problem<S, T> mine = p.at(0, j, p.m, std::min(columns, p.n - j));
      const Panels panels(mine.n, g.lanes, g.nr);
      const T* ready = kept_b ? static_cast<const T*>(kept_b->data) + j * all_words(blocks) : nullptr;
      for (int64_t q = 0; q < blocks.count; ++q) {
        const Problem<S, T> part = mine.block(blocks.start(q), blocks.start(q + 1));
        if constexpr (std::is_same_v<S, T>)
          if (in_place) {
            T* panel = scratch<T>(ScratchSlot::PackA, g.nr * part.k);
            g.skinny(part.m, part.n, part.k, a + a_offset(q), part.b.data, p.b.rs, p.far, panel, part.c, p.ldc, part.e);
            finish(part);
            continue;
          }
        if (ready != nullptr) {
          multiply(part, a + a_offset(q), ready, panels, 0, panels.count);
          ready += panels.padded() * words(part.k);
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
    const auto pack = [&](T* b) {
      parallel_for(0, panels.count, ceil_div(kStreamElements, g.nr * p.k), [&](int64_t q0, int64_t q1) {
        for (int64_t q = q0; q < q1; ++q) {
          const int64_t j = panels.column(q), width = panels.column(q + 1) - j;
          g.pack_b(p.k, std::min(width, p.n - j), p.b.at(0, j), 1, b + j * words(p.k));
        }
      });
    };
    const Prepared<T> packed = prepared<T>(key_of_b("gemm", p), panels.padded() * words(p.k), ScratchSlot::PackB,
                                           keeps_b(p, g.unit), pack);
    const T* const b = packed.data;
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
