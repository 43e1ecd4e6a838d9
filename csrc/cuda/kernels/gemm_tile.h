// How gemm() (gemm.h) cuts its work: tiles of blocks and threads, places that a thread loads, and sums in chains.
#pragma once
#include "gemm_operands.h"

namespace mg::cuda {

template <int BM_, int BN_, int BK_, int TM_, int TN_>
struct Tile {
  static constexpr int BM = BM_, BN = BN_, BK = BK_, TM = TM_, TN = TN_;
  static constexpr int columns = BN / TN, threads = BM / TM * columns;
  static constexpr int a_loads = BM * BK / threads, b_loads = BN * BK / threads;
  static_assert(BM * BK % threads == 0 && BN * BK % threads == 0);
  // A thread's rows and columns come in runs of four, a tile's quarter apart: 16-byte reads of shared memory without conflicts.
  static constexpr int run_m = TM < 4 ? TM : 4, run_n = TN < 4 ? TN : 4;
  MG_DEVICE static int row(int thread, int i) { return (i / run_m * (BM / TM) + thread / columns) * run_m + i % run_m; }
  MG_DEVICE static int column(int thread, int j) { return (j / run_n * columns + thread % columns) * run_n + j % run_n; }
};
using SmallTile = Tile<16, 16, 16, 2, 2>;
using MiddleTile = Tile<64, 64, 16, 4, 4>;
using LargeTile = Tile<128, 128, 8, 8, 4>;

constexpr int kFold = 16;  // terms of a chain
// Integers are exact; 4 x 4 sums of complex128 twice would not fit the registers.
template <class Config, class Acc>
constexpr bool is_folded = !std::is_integral_v<Acc> && sizeof(Acc) * Config::TM * Config::TN <= 128;

// Place of the `i`-th load of a thread in a tile of `rows` x `inner`.
struct TilePlace {
  int row, inner;
};
template <int rows, int inner, int threads>
MG_DEVICE TilePlace tile_place(int thread, int i, bool rows_adjacent) {
  const int at = thread + i * threads;
  if (rows_adjacent) return {at % rows, at / rows};
  return {at / inner, at % inner};
}

// add(part, k) for k of [begin, end).
template <class Acc, class Add>
MG_DEVICE Acc folded_sum(int64_t begin, int64_t end, Add&& add) {
  Acc sum{};
  while (begin < end) {
    const int64_t stop = begin + kFold < end ? begin + kFold : end;
    Acc part{};
    for (; begin < stop; ++begin) add(part, begin);
    sum = plus(sum, part);
  }
  return sum;
}

}  // namespace mg::cuda
