// Scans along lines, for rules (scan.cu, complex_reduce.cu): A, In, A make(x, position), A merge(earlier, later), identity() on both sides,
// write(index, A).
//
// Rows (last dim): a block takes a row in tiles, each thread four neighbours, warps by shuffles; 2 n elements moved. Long rows of few are
// cut into pieces whose totals are found first: 3 n elements. Columns: 32 side by side, threadIdx.y takes a stretch each and sums it before it
// writes: 3 n elements, whole cache lines. (A single pass with look-back needs blocks that wait for each other, which the simulated
// device cannot run.)
#pragma once
#include "../../core/reduce_dims.h"
#include "groups.h"

namespace mg::cuda {

constexpr int kItems = 4;

// What comes before this thread's value in its block, and the block's total.
template <class R>
__device__ typename R::A before_in_block(typename R::A own, typename R::A& total) {
  using A = typename R::A;
  MG_SHARED(A, warps, [32]);
  const int lane = int(threadIdx.x % 32), warp = int(threadIdx.x / 32), count = int(blockDim.x / 32);
  for (unsigned d = 1; d < 32; d *= 2) {
    const A other = shuffle_up(own, d);
    if (lane >= int(d)) own = R::merge(other, own);
  }
  __syncthreads();
  if (lane == 31) warps[warp] = own;
  __syncthreads();
  A before = shuffle_up(own, 1);
  if (lane == 0) before = R::identity();
  A sum = R::identity();
  for (int w = 0; w < count; ++w) {
    if (w == warp) before = R::merge(sum, before);
    sum = R::merge(sum, warps[w]);
  }
  total = sum;
  return before;
}

struct Pieces {
  int64_t count, length;  // of a row; the length a multiple of a block's tile
};

// A block per piece. Without `totals`, or with `scan`, results are written; otherwise the piece's total is.
template <class R>
__global__ void scan_rows_kernel(const typename R::In* x, R rule, Lines lines, Pieces pieces, typename R::A* totals, bool scan) {
  using A = typename R::A;
  const int64_t line = blockIdx.x / pieces.count, piece = blockIdx.x % pieces.count, first = line * lines.size;
  const int64_t end = (piece + 1) * pieces.length < lines.size ? (piece + 1) * pieces.length : lines.size;
  A carry = R::identity();
  if (totals != nullptr && scan) {  // all pieces before this one, each thread a stretch of them, in order
    const int64_t share = (piece + blockDim.x - 1) / blockDim.x, from = int64_t(threadIdx.x) * share;
    A sum = R::identity();
    for (int64_t p = from; p < from + share && p < piece; ++p) sum = R::merge(sum, totals[line * pieces.count + p]);
    before_in_block<R>(sum, carry);
  }
  for (int64_t tile = piece * pieces.length; tile < end; tile += int64_t(blockDim.x) * kItems) {
    const int64_t at = tile + int64_t(threadIdx.x) * kItems;
    A own[kItems];
    A sum = R::identity();
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
      if (at + k < end) sum = R::merge(sum, R::make(x[first + at + k], at + k));
      own[k] = sum;
    }
    A total;
    const A before = R::merge(carry, before_in_block<R>(sum, total));
    carry = R::merge(carry, total);
    if (!scan) continue;
#pragma unroll
    for (int k = 0; k < kItems; ++k)
      if (at + k < end) rule.write(first + at + k, R::merge(before, own[k]));
  }
  if (!scan && threadIdx.x == 0) totals[blockIdx.x] = carry;
}

// Block (32, depth): a column each, threadIdx.y one stretch of it.
template <class R>
__global__ void scan_columns_kernel(const typename R::In* x, R rule, Lines lines) {
  using A = typename R::A;
  MG_SHARED(A, sums, [32][32]);
  const ColumnGroup group(lines);
  const bool active = group.line < group.count;
  const int64_t start = active ? group.start(lines) : 0, share = (lines.size + blockDim.y - 1) / blockDim.y;
  const int64_t from = threadIdx.y * share, end = !active ? from : from + share < lines.size ? from + share : lines.size;
  A sum = R::identity();
  if (blockDim.y > 1) {
    for (int64_t i = from; i < end; ++i) sum = R::merge(sum, R::make(x[start + i * lines.inner], i));
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    sum = R::identity();
    for (unsigned y = 0; y < threadIdx.y; ++y) sum = R::merge(sum, sums[y][threadIdx.x]);
  }
  for (int64_t i = from; i < end; ++i) {
    sum = R::merge(sum, R::make(x[start + i * lines.inner], i));
    rule.write(start + i * lines.inner, sum);
  }
}

template <class R>
void scan(const typename R::In* x, const R& rule, const Lines& lines, Device device) {
  if (lines.outer * lines.size * lines.inner == 0) return;
  if (lines.inner > 1) {
    const unsigned depth = unsigned(std::clamp<int64_t>(lines.size / 32, 1, 32));
    return launch(scan_columns_kernel<R>, dim3(unsigned(lines.outer * ((lines.inner + 31) / 32))), dim3(32, depth), 0, current_stream(), x, rule,
                  lines);
  }
  const unsigned threads = threads_for_row((lines.size + kItems - 1) / kItems);
  const int64_t tile = int64_t(threads) * kItems;
  const int64_t wanted = std::clamp<int64_t>(std::min(lines.size / 8192, 2048 / lines.outer), 1, 1024);
  Pieces pieces{1, (lines.size + tile - 1) / tile * tile};
  if (wanted > 1) {
    pieces.length = ((lines.size + wanted - 1) / wanted + tile - 1) / tile * tile;
    pieces.count = (lines.size + pieces.length - 1) / pieces.length;
  }
  Tensor room;
  typename R::A* totals = nullptr;
  if (pieces.count > 1) {
    room = workspace(lines.outer * pieces.count * int64_t(sizeof(typename R::A)), DType::UInt8, device);
    totals = reinterpret_cast<typename R::A*>(room.ptr<char>());
    launch_blocks(scan_rows_kernel<R>, lines.outer * pieces.count, threads, 0, x, rule, lines, pieces, totals, false);
  }
  launch_blocks(scan_rows_kernel<R>, lines.outer * pieces.count, threads, 0, x, rule, lines, pieces, totals, true);
}

inline Lines scan_lines(const Invocation& inv) {
  const TensorImpl& x = inv.in(0);
  const DimView v(x.sizes, x.dim() == 0 ? 0 : wrap_dim(inv.i(1), x.dim(), public_name(inv.op)));
  return {v.outer, v.size, v.inner};
}

}  // namespace mg::cuda
