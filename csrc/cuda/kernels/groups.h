// Threads that work on one line (a row, or a column) together, and how they read it. The bodies of softmax, the norms and the losses are
// written once over a Group and a Line:
//
//   Warp     a warp per row, several rows a block; rows of up to 256 elements
//   Block    a block per row
//   Columns  32 neighbouring columns a block, threadIdx.y along the column: reads along the rows are whole cache lines
//
// A line of up to kHeld elements per thread stays in registers between the passes over it, so memory is read once. V neighbouring
// elements travel together (16 bytes) where the rows allow it.
#pragma once
#include "warp.h"

namespace mg::cuda {

constexpr int kHeld = 8;  // elements of a line in the registers of one thread
constexpr int kWarpsPerBlock = 4;  // rows of a Warp block

struct Lines {  // (outer, size, inner), contiguous; a line for each (outer, inner)
  int64_t outer, size, inner;
};

struct WarpGroup {
  int64_t line, count;
  int lane, width = 32;
  __device__ explicit WarpGroup(const Lines& l)
      : line(int64_t(blockIdx.x) * blockDim.y + threadIdx.y), count(l.outer), lane(int(threadIdx.x)) {}
  __device__ int64_t start(const Lines& l) const { return line * l.size; }
  template <class A, class Merge>
  __device__ A reduce(A a, Merge merge) const {
    return shuffle_from(warp_reduce(a, merge), 0);
  }
};
struct BlockGroup {
  int64_t line, count;
  int lane, width;
  __device__ explicit BlockGroup(const Lines& l) : line(blockIdx.x), count(l.outer), lane(int(threadIdx.x)), width(int(blockDim.x)) {}
  __device__ int64_t start(const Lines& l) const { return line * l.size; }
  template <class A, class Merge>
  __device__ A reduce(A a, Merge merge) const {
    return block_reduce(a, merge);
  }
};
struct ColumnGroup {
  int64_t line, count, column;
  int lane, width;
  __device__ explicit ColumnGroup(const Lines& l) : lane(int(threadIdx.y)), width(int(blockDim.y)) {
    const int64_t tiles = (l.inner + 31) / 32, outer = blockIdx.x / tiles;
    column = blockIdx.x % tiles * 32 + threadIdx.x;
    count = l.outer * l.inner;
    line = column < l.inner ? outer * l.inner + column : count;  // beyond the last column: no line
  }
  __device__ int64_t start(const Lines& l) const { return line / l.inner * l.size * l.inner + column; }
  template <class A, class Merge>
  __device__ A reduce(A a, Merge merge) const {
    MG_SHARED(A, parts, [32][32]);
    __syncthreads();
    parts[lane][threadIdx.x] = a;
    __syncthreads();
    a = parts[0][threadIdx.x];
    for (int k = 1; k < width; ++k) a = merge(a, parts[k][threadIdx.x]);
    return a;
  }
};

// One thread's elements of a line: packs of V neighbours, `width` packs apart. held: read once, kept converted; otherwise each pass
// reads again.
template <class T, int V, bool held>
struct Line {
  using C = compute_t<T>;
  const T* x;
  int64_t size, step;
  int lane, width;
  C kept[held ? kHeld : 1];

  template <class G>
  __device__ Line(const G& group, const Lines& l, const T* data)
      : x(data), size(0), step(l.inner), lane(group.lane), width(group.width) {
    if (group.line < group.count) {
      x += group.start(l);
      size = l.size;
    }
    if constexpr (held) {
#pragma unroll
      for (int j = 0; j < kHeld / V; ++j) {
        const int64_t at = (int64_t(j) * width + lane) * V;
        if (at >= size) break;
        load(at, kept + j * V);
      }
    }
  }
  __device__ void load(int64_t at, C* to) const {
    if constexpr (V == 1) {
      to[0] = convert<C>(x[at * step]);
    } else {
      const Pack<T, V> pack = *reinterpret_cast<const Pack<T, V>*>(x + at);
#pragma unroll
      for (int k = 0; k < V; ++k) to[k] = convert<C>(pack.v[k]);
    }
  }
  // f(first position, V elements) for every pack.
  template <class F>
  __device__ void packs(F f) const {
    if constexpr (held) {
#pragma unroll
      for (int j = 0; j < kHeld / V; ++j) {
        const int64_t at = (int64_t(j) * width + lane) * V;
        if (at >= size) break;
        f(at, kept + j * V);
      }
    } else {
      for (int64_t at = int64_t(lane) * V; at < size; at += int64_t(width) * V) {
        C now[V];
        load(at, now);
        f(at, now);
      }
    }
  }
  // f(element, position)
  template <class F>
  __device__ void each(F f) const {
    packs([&](int64_t at, const C* v) {
#pragma unroll
      for (int k = 0; k < V; ++k) f(v[k], at + k);
    });
  }
  // y[position] = f(element, position), y laid out like x.
  template <class D, class F>
  __device__ void write(D* y, F f) const {
    packs([&](int64_t at, const C* v) {
      if constexpr (V == 1) {
        y[at * step] = convert<D>(f(v[0], at));
      } else {
        Pack<D, V> pack;
#pragma unroll
        for (int k = 0; k < V; ++k) pack.v[k] = convert<D>(f(v[k], at + k));
        *reinterpret_cast<Pack<D, V>*>(y + at) = pack;
      }
    });
  }
};

template <class G_, int V_, bool held_>
struct Shape {
  using G = G_;
  static constexpr int V = V_;
  static constexpr bool held = held_;
};

// run(Shape, blocks, block size) with the shape that suits lines of T whose starts are `aligned` to 16 bytes.
template <class T, class F>
void for_lines(const Lines& l, bool aligned, F&& run) {
  if (l.outer * l.inner == 0 || l.size == 0) return;
  constexpr int V = kVector<T> < kHeld ? kVector<T> : kHeld;
  const bool wide = aligned && l.size % V == 0;
  if (l.inner > 1) {
    const unsigned depth = unsigned(std::clamp<int64_t>((l.size + kHeld - 1) / kHeld, 1, 32));
    const dim3 block(32, depth);
    const int64_t blocks = l.outer * ((l.inner + 31) / 32);
    if (l.size <= int64_t(depth) * kHeld) return run(Shape<ColumnGroup, 1, true>{}, blocks, block);
    return run(Shape<ColumnGroup, 1, false>{}, blocks, block);
  }
  if (l.size <= 32 * kHeld) {
    const unsigned rows = unsigned(std::min<int64_t>(l.outer, kWarpsPerBlock));
    const dim3 block(32, rows);
    const int64_t blocks = (l.outer + rows - 1) / rows;
    if (wide) return run(Shape<WarpGroup, V, true>{}, blocks, block);
    return run(Shape<WarpGroup, 1, true>{}, blocks, block);
  }
  const dim3 block(threads_for_row((l.size + kHeld - 1) / kHeld, 1024));
  if (l.size > int64_t(block.x) * kHeld) return run(Shape<BlockGroup, 1, false>{}, l.outer, block);
  if (wide) return run(Shape<BlockGroup, V, true>{}, l.outer, block);
  run(Shape<BlockGroup, 1, true>{}, l.outer, block);
}

// Storage type of a kernel that reads `in` and writes `out`: theirs if they agree and are floating, else what is computed in.
inline DType common_float(DType in, DType out, DType compute) {
  return in == out && is_floating(in) && (float_compute(in) == float_compute(compute)) ? in : float_compute(compute);
}

}  // namespace mg::cuda
