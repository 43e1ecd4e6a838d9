// Products of matrices in device code, for every kernel that is one: matmul.cu, conv.cu, rnn.cu.
//
//   out(i, j) = alpha * sum_k a(i, k) b(k, j) + beta * add(i, j)
//
// a and b are functors (an Operand: element(row, column) of one batch entry), so transposed and strided matrices, broadcast batches and the
// patches of a convolution are read where they lie. Ways, chosen by the shape alone, so that a sum has one order on every device:
//   direct   one thread per element: very few rows or columns
//   tiles    shared-memory tiles, a register block per thread; long sums of small results are cut into slices, added in order (slice_sum)
//   tensor   the same tiles on tensor cores for float16 and bfloat16 (gemm_tensor.h), not on the simulator
// Sums are folded: a chain of 16 terms, then a chain of those, so that the error grows like a library's, not like that of one long chain
// (a convolution's weight gradient, k = 420, float: relative error 2.3e-7 as one chain, 1.1e-7 folded; the CPU's 1.1e-7).
#pragma once
#include "gemm_operands.h"
#include "gemm_tile.h"

namespace mg::cuda {

// One (tile, slice, batch entry) per block; batch entries beyond the grid are looped over. `partial` (slices > 1): [slice][batch][m][n].
template <class Config, class Acc, class A, class B, class Result, class Batches>
__global__ void __launch_bounds__(Config::threads) gemm_tiles(GemmShape s, A a, B b, Result result, Batches batches, Acc* partial) {
  constexpr int BM = Config::BM, BN = Config::BN, BK = Config::BK, TM = Config::TM, TN = Config::TN;
  using Slot = typename Bare<Acc>::type;
  MG_SHARED(Slot, a_tile, [BK][BM + 4]);
  MG_SHARED(Slot, b_tile, [BK][BN + 4]);
  const int thread = int(threadIdx.x);
  const int64_t tiles_n = (s.n + BN - 1) / BN;
  const int64_t row0 = blockIdx.x / tiles_n * BM, column0 = blockIdx.x % tiles_n * BN;
  const int64_t slice = blockIdx.y, k_begin = slice * s.slice_k, k_end = k_begin + s.slice_k < s.k ? k_begin + s.slice_k : s.k;
  for (int64_t entry = blockIdx.z; entry < s.batch; entry += gridDim.z) {
    int64_t at[4];
    batches.get(entry, at);
    const auto av = a.begin(entry, at[1]);
    const auto bv = b.begin(entry, at[2]);
    constexpr bool folded = is_folded<Config, Acc>;
    Acc a_next[Config::a_loads], b_next[Config::b_loads], sum[TM][TN], part[TM][TN];
#pragma unroll
    for (int i = 0; i < TM; ++i)
#pragma unroll
      for (int j = 0; j < TN; ++j) sum[i][j] = part[i][j] = Acc{};
    const auto fetch = [&](int64_t k0) {
#pragma unroll
      for (int i = 0; i < Config::a_loads; ++i) {
        const TilePlace p = tile_place<BM, BK, Config::threads>(thread, i, a.rows_adjacent);
        const bool inside = row0 + p.row < s.m && k0 + p.inner < k_end;
        a_next[i] = inside ? gemm_load<Acc>(av(row0 + p.row, k0 + p.inner)) : Acc{};
      }
#pragma unroll
      for (int i = 0; i < Config::b_loads; ++i) {
        const TilePlace p = tile_place<BN, BK, Config::threads>(thread, i, !b.rows_adjacent);
        const bool inside = column0 + p.row < s.n && k0 + p.inner < k_end;
        b_next[i] = inside ? gemm_load<Acc>(bv(k0 + p.inner, column0 + p.row)) : Acc{};
      }
    };
    fetch(k_begin);
    for (int64_t k0 = k_begin; k0 < k_end; k0 += BK) {
#pragma unroll
      for (int i = 0; i < Config::a_loads; ++i) {
        const TilePlace p = tile_place<BM, BK, Config::threads>(thread, i, a.rows_adjacent);
        a_tile[p.inner][p.row] = a_next[i];
      }
#pragma unroll
      for (int i = 0; i < Config::b_loads; ++i) {
        const TilePlace p = tile_place<BN, BK, Config::threads>(thread, i, !b.rows_adjacent);
        b_tile[p.inner][p.row] = b_next[i];
      }
      __syncthreads();
      if (k0 + BK < k_end) fetch(k0 + BK);  // on its way while this tile is multiplied
#pragma unroll
      for (int k = 0; k < BK; ++k) {
        Acc x[TM], y[TN];
        for (int i = 0; i < TM; ++i) x[i] = a_tile[k][Config::row(thread, i)];
        for (int j = 0; j < TN; ++j) y[j] = b_tile[k][Config::column(thread, j)];
        for (int i = 0; i < TM; ++i)
          for (int j = 0; j < TN; ++j) multiply_add(folded ? part[i][j] : sum[i][j], x[i], y[j]);
      }
      if (folded && ((k0 - k_begin) % kFold + BK == kFold || k0 + BK >= k_end)) {
#pragma unroll
        for (int i = 0; i < TM; ++i)
#pragma unroll
          for (int j = 0; j < TN; ++j) sum[i][j] = plus(sum[i][j], part[i][j]), part[i][j] = Acc{};
      }
      __syncthreads();
    }
    const auto to = result.begin(entry, at[0], at[3]);
    const int own = not_hoisted(thread);
#pragma unroll  // an index that is no constant would put the sums into local memory
    for (int i = 0; i < TM; ++i)
#pragma unroll
      for (int j = 0; j < TN; ++j) {
        const int64_t row = row0 + Config::row(own, i), column = column0 + Config::column(own, j);
        if (row >= s.m || column >= s.n) continue;
        if (s.slices == 1) result(to, row, column, sum[i][j]);
        else partial[((slice * s.batch + entry) * s.m + row) * s.n + column] = sum[i][j];
      }
  }
}

// The slices of each element, first to last.
template <class Acc, class Result, class Batches>
__global__ void slice_sum(GemmShape s, const Acc* partial, Result result, Batches batches) {
  const int64_t count = s.batch * s.m * s.n;
  MG_GRID_LOOP(i, count) {
    const Acc sum = folded_sum<Acc>(0, s.slices, [&](Acc& part, int64_t slice) { part = plus(part, partial[slice * count + i]); });
    int64_t at[4];
    const int64_t entry = i / (s.m * s.n), within = i - entry * s.m * s.n;
    batches.get(entry, at);
    result(result.begin(entry, at[0], at[3]), within / s.n, within % s.n, sum);
  }
}

// One thread per element, neighbours along columns.
template <class Acc, class A, class B, class Result, class Batches>
__global__ void gemm_direct(GemmShape s, A a, B b, Result result, Batches batches) {
  MG_GRID_LOOP(i, s.batch * s.m * s.n) {
    const int64_t entry = i / (s.m * s.n), within = i - entry * s.m * s.n, row = within / s.n, column = within - row * s.n;
    int64_t at[4];
    batches.get(entry, at);
    const auto av = a.begin(entry, at[1]);
    const auto bv = b.begin(entry, at[2]);
    const Acc sum = folded_sum<Acc>(0, s.k, [&](Acc& part, int64_t k) { multiply_add(part, gemm_load<Acc>(av(row, k)), gemm_load<Acc>(bv(k, column))); });
    result(result.begin(entry, at[0], at[3]), row, column, sum);
  }
}

inline int64_t tile_count(int64_t size, int64_t tile) { return (size + tile - 1) / tile; }

// Slices of a long sum whose result fills few blocks. Constants, not the device's size: every device sums in one order.
inline void cut_slices(GemmShape& s, int64_t tile_m, int64_t tile_n, int64_t tile_k) {
  constexpr int64_t kBlocks = 256, kLeast = 256, kMost = 256;
  const int64_t blocks = tile_count(s.m, tile_m) * tile_count(s.n, tile_n) * s.batch;
  s.slices = std::clamp<int64_t>(std::min(kBlocks / std::max<int64_t>(blocks, 1), s.k / kLeast), 1, kMost);
  s.slice_k = std::max<int64_t>(tile_count(tile_count(s.k, s.slices), tile_k) * tile_k, tile_k);
  s.slices = std::max<int64_t>(tile_count(s.k, s.slice_k), 1);
}

template <class Config, class Acc, class A, class B, class Result, class Batches>
void launch_tiles(GemmShape s, const A& a, const B& b, const Result& result, const Batches& batches, Device device) {
  cut_slices(s, Config::BM, Config::BN, Config::BK);
  Tensor partial;
  if (s.slices > 1)
    partial = workspace(s.slices * s.batch * s.m * s.n * int64_t(sizeof(Acc)) / 4, DType::Int32, device);
  Acc* const room = s.slices > 1 ? reinterpret_cast<Acc*>(partial.ptr<int32_t>()) : nullptr;
  const dim3 grid(unsigned(tile_count(s.m, Config::BM) * tile_count(s.n, Config::BN)), unsigned(s.slices),
                  unsigned(std::min<int64_t>(s.batch, 65535)));
  launch(gemm_tiles<Config, Acc, A, B, Result, Batches>, grid, dim3(Config::threads), 0, current_stream(), s, a, b, result, batches, room);
  if (s.slices > 1)
    launch_items(slice_sum<Acc, Result, Batches>, s.batch * s.m * s.n, s, static_cast<const Acc*>(room), result, batches);
}

}  // namespace mg::cuda

#ifndef MINIGRAD_CUDASIM
#include "gemm_tensor.h"
#endif

namespace mg::cuda {

// result = a b for every batch entry. Acc is gemm_sum_t of what is multiplied.
template <class Acc, class A, class B, class Result, class Batches>
void gemm(int64_t m, int64_t n, int64_t k, int64_t batch, const A& a, const B& b, const Result& result, const Batches& batches,
          Device device) {
  if (m == 0 || n == 0 || batch == 0) return;
  const GemmShape s{m, n, k, batch, 1, k};
  if (std::min(m, n) <= 4 && k <= 512)
    return launch_items(gemm_direct<Acc, A, B, Result, Batches>, batch * m * n, s, a, b, result, batches);
#ifndef MINIGRAD_CUDASIM
  if constexpr (is_low_precision<typename A::element> && std::is_same_v<typename A::element, typename B::element>)
    if (m > 8 && n > 8 && k > 8) return launch_tensor_tiles(s, a, b, result, batches, device);
#endif
  if (std::min(m, n) <= 32) return launch_tiles<SmallTile, Acc>(s, a, b, result, batches, device);
  if constexpr (std::is_same_v<typename A::element, float>)
    if (tile_count(m, 128) * tile_count(n, 128) * batch >= 128) return launch_tiles<LargeTile, Acc>(s, a, b, result, batches, device);
  launch_tiles<MiddleTile, Acc>(s, a, b, result, batches, device);
}

}  // namespace mg::cuda
