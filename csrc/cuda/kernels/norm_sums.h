// Sums over two tensors at once, which the gradients of the norms need, and the elementwise pass after them. Pairs are double: partial
// sums are in the compute type within a thread, and merged in fixed order.
#pragma once
#include "groups.h"

namespace mg::cuda {

struct Two {
  double a, b;
};
struct AddTwo {
  MG_DEVICE Two operator()(Two x, Two y) const { return {x.a + y.a, x.b + y.b}; }
};

// out[line] = sums of f(line, position, g, x) (a Two of C) along each line. Reads both once.
template <class T, class S, class F>
__global__ void line_sums_kernel(Two* out, const T* g, const T* x, Lines lines, F f) {
  const typename S::G group(lines);
  const Line<T, S::V, false> gradient(group, lines, g), input(group, lines, x);
  double a = 0, b = 0;
  gradient.packs([&](int64_t at, const auto* gv) {
    compute_t<T> xv[S::V];
    input.load(at, xv);
#pragma unroll
    for (int k = 0; k < S::V; ++k) {
      const Two term = f(group.line, at + k, gv[k], xv[k]);
      a += term.a, b += term.b;
    }
  });
  const Two total = group.reduce(Two{a, b}, AddTwo{});
  if (group.lane == 0 && group.line < group.count) out[group.line] = total;
}

// parts[piece * columns + c] = sums over a piece of the rows of f(row, column, g, x). Block (32, depth); grid x: tiles of columns, y: pieces.
template <class T, class F>
__global__ void column_sums_kernel(Two* parts, const T* g, const T* x, int64_t rows, int64_t columns, int64_t piece, F f) {
  MG_SHARED(Two, shared, [16][32]);
  using C = compute_t<T>;
  const int64_t c = int64_t(blockIdx.x) * 32 + threadIdx.x, end = (blockIdx.y + 1) * piece < rows ? (blockIdx.y + 1) * piece : rows;
  Two sum{0, 0};
  if (c < columns)
    for (int64_t r = int64_t(blockIdx.y) * piece + threadIdx.y; r < end; r += blockDim.y)
      sum = AddTwo{}(sum, f(r, c, convert<C>(g[r * columns + c]), convert<C>(x[r * columns + c])));
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || c >= columns) return;
  for (unsigned k = 1; k < blockDim.y; ++k) sum = AddTwo{}(sum, shared[k][threadIdx.x]);
  parts[int64_t(blockIdx.y) * columns + c] = sum;
}

struct Parts {  // of `columns` sums, `count` each, to be added in order
  Tensor room;
  Two* data;
  int64_t count;
};
inline Parts make_parts(int64_t count, int64_t columns, Device device) {
  Parts p{workspace(count * columns * int64_t(sizeof(Two)), DType::UInt8, device), nullptr, count};
  p.data = reinterpret_cast<Two*>(p.room.ptr<char>());
  return p;
}

template <class T, class F>
Parts column_sums(const T* g, const T* x, int64_t rows, int64_t columns, Device device, F f) {
  const int64_t tiles = (columns + 31) / 32;
  const int64_t pieces = std::clamp<int64_t>(std::min(rows / 128, 2048 / std::max<int64_t>(tiles, 1)), 1, 1024);
  const int64_t piece = std::max<int64_t>((rows + pieces - 1) / pieces, 1);
  const Parts parts = make_parts(pieces, columns, device);
  const unsigned depth = unsigned(std::clamp<int64_t>(piece / 4, 1, 16));
  if (tiles > 0)
    launch(column_sums_kernel<T, F>, dim3(unsigned(tiles), unsigned(pieces)), dim3(32, depth), 0, current_stream(), parts.data, g, x, rows,
           columns, piece, f);
  return parts;
}
template <class T, class F>
Parts line_sums(const T* g, const T* x, int64_t lines, int64_t size, Device device, F f) {
  const Parts parts = make_parts(1, lines, device);
  for_lines<T>({lines, size, 1}, aligned16(g) && aligned16(x), [&](auto shape, int64_t blocks, dim3 block) {
    launch(line_sums_kernel<T, decltype(shape), F>, dim3(unsigned(blocks)), block, 0, current_stream(), parts.data, g, x,
           Lines{lines, size, 1}, f);
  });
  return parts;
}

// y = g * a + (x - m) * b + c, the coefficients those of (i / size) % period. Two elements read (one without g), one written.
template <class C>
struct alignas(4 * sizeof(C)) Blend {
  C a, b, c, m;
};
template <class T, int V, bool with_g, class C>
__global__ void blend_kernel(T* y, const T* g, const T* x, const Blend<C>* coefficients, int64_t packs, int64_t size, int64_t period) {
  MG_GRID_LOOP(p, packs) {
    const Pack<T, V> xv = reinterpret_cast<const Pack<T, V>*>(x)[p];
    Pack<T, V> gv, out;
    if constexpr (with_g) gv = reinterpret_cast<const Pack<T, V>*>(g)[p];
    const int64_t line = p * V / size, first = line % period;
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const Blend<C> q = coefficients[size == 1 ? first + k : first];
      C v = (convert<C>(xv.v[k]) - q.m) * q.b + q.c;
      if constexpr (with_g) v += convert<C>(gv.v[k]) * q.a;
      out.v[k] = convert<T>(v);
    }
    reinterpret_cast<Pack<T, V>*>(y)[p] = out;
  }
}
template <class T, class C>
void blend(T* y, const T* g, const T* x, const Blend<C>* coefficients, int64_t n, int64_t size, int64_t period) {
  constexpr int V = kVector<T>;
  const bool wide = (size % V == 0 || (size == 1 && period % V == 0)) && n % V == 0 && aligned16(y) && aligned16(g) && aligned16(x);
  auto go = [&](auto kernel, int64_t packs) { launch_items(kernel, packs, y, g, x, coefficients, packs, size, period); };
  if (g != nullptr) return wide ? go(blend_kernel<T, V, true, C>, n / V) : go(blend_kernel<T, 1, true, C>, n);
  wide ? go(blend_kernel<T, V, false, C>, n / V) : go(blend_kernel<T, 1, false, C>, n);
}

inline Tensor optional_staged(const Invocation& inv, int k, DType dtype) { return inv.has(k) ? staged(inv.in(k), dtype) : Tensor(); }
template <class T>
const T* optional_ptr(const Tensor& t) {
  return t.defined() ? t.ptr<T>() : nullptr;
}

}  // namespace mg::cuda
