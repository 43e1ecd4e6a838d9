// Products with one vector (a matrix times a column, a row times a matrix, two vectors): every element of the matrix is read once, so that
// memory is the limit. Two ways, by which neighbours of the matrix lie side by side; both read whole lines of memory:
//   across   along k: a warp, or for long sums a block, per result
//   down     along the results: 32 results per block, its rows of threads share the sum
// Few results of long sums are cut into slices, added in order (slice_sum of gemm.h). Shapes alone decide: one order of sums on every device.
#pragma once
#include "gemm.h"
#include "warp.h"

namespace mg::cuda {

constexpr int kVectorThreads = 256, kVectorRows = kVectorThreads / 32, kVectorUnroll = 4;

// Element (line, k) of the matrix and k of the vector, whichever side they are on. `column`: b is one column, else a is one row.
template <class Acc, class AV, class BV>
struct LineProduct {
  AV a;
  BV b;
  bool column;
  __device__ void add(Acc& sum, int64_t line, int64_t k) const {
    multiply_add(sum, gemm_load<Acc>(column ? a(line, k) : a(0, k)), gemm_load<Acc>(column ? b(k, 0) : b(k, line)));
  }
  // k, k + step, … below end, in several sums at once: the loads do not wait for each other.
  __device__ Acc sum(int64_t line, int64_t k, int64_t end, int64_t step) const {
    Acc sums[kVectorUnroll];
    for (Acc& s : sums) s = Acc{};
    for (; k + (kVectorUnroll - 1) * step < end; k += kVectorUnroll * step)
#pragma unroll
      for (int u = 0; u < kVectorUnroll; ++u) add(sums[u], line, k + u * step);
    for (; k < end; k += step) add(sums[0], line, k);
    for (int u = 1; u < kVectorUnroll; ++u) sums[0] = plus(sums[0], sums[u]);
    return sums[0];
  }
};

template <class Acc>
struct PlusBare {
  using Slot = typename Bare<Acc>::type;
  MG_DEVICE Slot operator()(Slot a, Slot b) const {
    Slot sum;
    sum = plus(Acc(a), Acc(b));
    return sum;
  }
};

template <class Acc, class Result, class Batches>
__device__ void finish_line(const GemmShape& s, int64_t entry, int64_t line, bool column, Acc sum, const Result& result, const Batches& batches,
                            Acc* partial) {
  if (s.slices > 1) {
    partial[(blockIdx.y * s.batch + entry) * s.m * s.n + line] = sum;
    return;
  }
  int64_t at[4];
  batches.get(entry, at);
  result(result.begin(entry, at[0], at[3]), column ? line : 0, column ? 0 : line, sum);
}

template <bool block, class Acc, class A, class B, class Result, class Batches>
__global__ void gemv_across(GemmShape s, A a, B b, Result result, Batches batches, bool column, Acc* partial) {
  const int64_t lines = s.m * s.n, count = s.batch * lines, warp = threadIdx.x / 32;
  const int64_t i = block ? int64_t(blockIdx.x) : int64_t(blockIdx.x) * kVectorRows + warp;
  if (i >= count) return;  // a whole warp; blocks have one line each
  const int64_t entry = i / lines, line = i - entry * lines, begin = blockIdx.y * s.slice_k, end = begin + s.slice_k < s.k ? begin + s.slice_k : s.k;
  int64_t at[4];
  batches.get(entry, at);
  const LineProduct<Acc, decltype(a.begin(0, 0)), decltype(b.begin(0, 0))> product{a.begin(entry, at[1]), b.begin(entry, at[2]), column};
  typename Bare<Acc>::type sum;
  sum = product.sum(line, begin + (block ? threadIdx.x : threadIdx.x % 32), end, block ? blockDim.x : 32);
  if constexpr (block) sum = block_reduce(sum, PlusBare<Acc>{});
  else sum = warp_reduce(sum, PlusBare<Acc>{});
  if (threadIdx.x % (block ? kVectorThreads : 32) == 0) finish_line(s, entry, line, column, Acc(sum), result, batches, partial);
}

template <class Acc, class A, class B, class Result, class Batches>
__global__ void gemv_down(GemmShape s, A a, B b, Result result, Batches batches, bool column, Acc* partial) {
  using Slot = typename Bare<Acc>::type;
  MG_SHARED(Slot, parts, [kVectorRows][32]);
  const int64_t lines = s.m * s.n, groups = (lines + 31) / 32, entry = blockIdx.x / groups, line = blockIdx.x % groups * 32 + threadIdx.x;
  const int64_t begin = blockIdx.y * s.slice_k, end = begin + s.slice_k < s.k ? begin + s.slice_k : s.k;
  int64_t at[4];
  batches.get(entry, at);
  const LineProduct<Acc, decltype(a.begin(0, 0)), decltype(b.begin(0, 0))> product{a.begin(entry, at[1]), b.begin(entry, at[2]), column};
  parts[threadIdx.y][threadIdx.x] = line < lines ? product.sum(line, begin + threadIdx.y, end, kVectorRows) : Acc{};
  __syncthreads();
  if (threadIdx.y != 0 || line >= lines) return;
  Acc sum = parts[0][threadIdx.x];
  for (int y = 1; y < kVectorRows; ++y) sum = plus(sum, Acc(parts[y][threadIdx.x]));
  finish_line(s, entry, line, column, sum, result, batches, partial);
}

// Slices of at least `least` terms until about `blocks` of them are there.
inline void slice_lines(GemmShape& s, int64_t units, int64_t blocks, int64_t least) {
  s.slices = std::clamp<int64_t>(std::min(blocks / std::max<int64_t>(units, 1), s.k / least), 1, 256);
  s.slice_k = (s.k + s.slices - 1) / s.slices;
  s.slices = (s.k + s.slice_k - 1) / s.slice_k;
}

// Does what gemm() does for m or n of 1; false where that is as well done by one thread per result.
template <class Acc, class A, class B, class Result, class Batches>
bool gemv(int64_t m, int64_t n, int64_t k, int64_t batch, const A& a, const B& b, const Result& result, const Batches& batches, Device device) {
  if (std::min(m, n) != 1 || k <= 32 || batch == 0) return false;
  const bool column = n == 1, down = m * n >= 8 && (column ? a.rows_adjacent : !b.rows_adjacent);
  const int64_t lines = m * n * batch, groups = (m * n + 31) / 32 * batch;
  GemmShape s{m, n, k, batch, 1, k};
  if (down) slice_lines(s, groups, 1024, 64);
  else slice_lines(s, lines, 512, 4096);
  Tensor room;
  Acc* partial = nullptr;
  if (s.slices > 1) {
    room = workspace(s.slices * lines * int64_t(sizeof(Acc)) / 4, DType::Int32, device);
    partial = reinterpret_cast<Acc*>(room.ptr<int32_t>());
  }
  const auto run = [&](auto kernel, int64_t blocks, dim3 threads) {
    launch(kernel, dim3(unsigned(blocks), unsigned(s.slices)), threads, 0, current_stream(), s, a, b, result, batches, column, partial);
  };
  if (down) run(gemv_down<Acc, A, B, Result, Batches>, groups, dim3(32, kVectorRows));
  else if (s.slice_k > 4096) run(gemv_across<true, Acc, A, B, Result, Batches>, lines, dim3(kVectorThreads));
  else run(gemv_across<false, Acc, A, B, Result, Batches>, (lines + kVectorRows - 1) / kVectorRows, dim3(kVectorThreads));
  if (s.slices > 1) launch_items(slice_sum<Acc, Result, Batches>, lines, s, static_cast<const Acc*>(partial), result, batches);
  return true;
}

}  // namespace mg::cuda
