// What the forward and backward passes of the recurrent layers share: the steps of (packed) sequences, blocks of hidden units, and
// the recurrent weights packed once for all steps.
//
// A step's work is cut by hidden units: a task computes all gates of its units for all rows and then their arithmetic, so that a
// step needs one meeting of the threads, and a thread meets the same part of the weights at every step (in its own L2). A unit's
// value does not depend on who computes it: same bits for any number of threads. Used by rnn_forward.cpp and rnn_backward.cpp.
#pragma once
#include "../core/parallel.h"
#include "../core/rnn_steps.h"
#include "gemm.h"
#include "rnn_table.h"

namespace mg::cpu {

// Columns in blocks of whole vectors, an even number of blocks where that is possible (two threads get equal shares).
struct UnitBlocks {
  int64_t units, vectors, count;
  int lanes;
  UnitBlocks(int64_t n, int lanes_, int nr) : units(n), vectors(ceil_div(n, lanes_)), count(ceil_div(vectors, nr / lanes_)), lanes(lanes_) {
    if (count % 2 == 1 && count < vectors) ++count;
  }
  int64_t begin(int64_t q) const { return panel_start(q, vectors, count) * lanes; }
  int64_t end(int64_t q) const { return q + 1 == count ? units : begin(q + 1); }
  int64_t padded() const { return vectors * lanes; }

  // f(q) for every block; each of the threads gets consecutive blocks, the same ones at every step.
  template <class F>
  void each(int64_t multiply_adds, F&& f) const {
    const int64_t tasks = multiply_adds < kTaskFma ? 1 : std::min<int64_t>(get_num_threads(), count);
    parallel_chunks(tasks, [&](int64_t c) {
      for (int64_t q = panel_start(c, count, tasks); q < panel_start(c + 1, count, tasks); ++q) f(q);
    });
  }
};

// B (K, gates * units) in panels [block][gate][K][width of the block], read at every step.
template <class T>
class PackedWeight {
 public:
  UnitBlocks blocks;
  int64_t k, gates;
  PackedWeight(Strided<T> b, int64_t k_, int64_t gates_, int64_t units)
      : blocks(units, gemm_table<T>().lanes, gemm_table<T>().nr), k(k_), gates(gates_),
        panels_(empty({blocks.padded() * gates * k}, dtype_of<T>())) {
    blocks.each(k * gates * units * 8, [&](int64_t q) {
      const int64_t u = blocks.begin(q);
      for (int64_t g = 0; g < gates; ++g) gemm_table<T>().pack.pack_b(k, blocks.end(q) - u, b.at(0, g * units + u), panel(q, g));
    });
  }
  // c (rows, units of block q) = [c +] [bias +] a @ B, for one gate.
  void multiply(int64_t q, int64_t g, int64_t rows, Matrix<const T> a, Matrix<T> c, bool add, const T* bias = nullptr) const {
    if (rows == 0) return;
    // 192 rows of 48 columns fit in L1. A single sequence, whose errors are carried on step after step, sums shorter runs,
    // as PyTorch's dot products do; there it costs nothing.
    const int64_t depth = rows == 1 ? 48 : 192;
    const int64_t width = this->width(q), columns = blocks.end(q) - blocks.begin(q), parts = ceil_div(k, depth);
    for (int64_t p = 0; p < parts; ++p) {
      const int64_t k0 = panel_start(p, k, parts), k1 = panel_start(p + 1, k, parts);
      Epilogue<T> e;
      if (p > 0 || add) {
        e.add = c.data;
        e.add_rs = c.stride;
      } else {
        e.add = bias;
      }
      gemm_table<T>().direct(rows, columns, k1 - k0, {a.data + k0, a.stride, 1}, panel(q, g) + k0 * width, width, c.data, c.stride, e);
    }
  }
  int64_t work(int64_t rows) const { return rows * k * gates * blocks.units; }

 private:
  Tensor panels_;
  int64_t width(int64_t q) const { return (q + 1 == blocks.count ? blocks.padded() : blocks.begin(q + 1)) - blocks.begin(q); }
  T* panel(int64_t q, int64_t g) const { return panels_.ptr<T>() + (blocks.begin(q) * gates + g * width(q)) * k; }
};

}  // namespace mg::cpu
