// Sorting: elements become unsigned integers in sorting order, packed with their positions, so that kernels compare integers only and every
// algorithm is stable. Order (PyTorch's): NaN above every number and equal to itself, -0 equal to 0; "flip" reverses it.
//
// Rows of keys lie side by side, whatever dim they came from. Rows of up to kTile keys are sorted in shared memory (bitonic network);
// longer ones as tiles, which are then merged pairwise: each key finds its place in the other run by bisection.
#pragma once
#include "groups.h"

namespace mg::cuda {

constexpr int64_t kTile = 2048;

MG_DEVICE uint64_t ordered_bits(float x) {
  if (x != x) return 0xffffffffu;
  union {
    float f;
    uint32_t b;
  } u{x + 0.0f};
  return u.b & 0x80000000u ? ~u.b & 0xffffffffu : u.b | 0x80000000u;
}
MG_DEVICE uint64_t ordered_bits(double x) {
  if (x != x) return ~uint64_t(0);
  union {
    double f;
    uint64_t b;
  } u{x + 0.0};
  return u.b >> 63 ? ~u.b : u.b | uint64_t(1) << 63;
}
MG_DEVICE uint64_t ordered_bits(int64_t x) { return uint64_t(x) ^ uint64_t(1) << 63; }

struct NarrowKey {  // elements of up to 4 bytes, rows of up to 2^32
  uint64_t word;
  static constexpr int kDigits = 8, kKeyDigits = 4;
  template <class T>
  MG_DEVICE static NarrowKey make(T x, int64_t at, bool flip) {
    uint64_t bits;
    if constexpr (std::is_integral_v<T>) bits = uint64_t(int64_t(x) + (int64_t(1) << 31));
    else bits = ordered_bits(convert<float>(x));
    return {(flip ? ~bits & 0xffffffffu : bits) << 32 | uint64_t(at)};
  }
  MG_DEVICE static NarrowKey last() { return {~uint64_t(0)}; }
  MG_DEVICE int64_t at() const { return int64_t(word & 0xffffffffu); }
  MG_DEVICE bool operator<(NarrowKey o) const { return word < o.word; }
  MG_DEVICE bool same(NarrowKey o) const { return word >> 32 == o.word >> 32; }
  MG_DEVICE bool is_nan() const { return word >> 32 == 0xffffffffu; }  // of floating elements, not flipped
  // Base-256 digit d, 0 the most significant; key digits first, then those of the position.
  MG_DEVICE int digit(int d) const { return int(word >> (56 - 8 * d) & 255); }
};
struct alignas(16) WideKey {
  uint64_t bits, position;
  static constexpr int kDigits = 16, kKeyDigits = 8;
  template <class T>
  MG_DEVICE static WideKey make(T x, int64_t at, bool flip) {
    uint64_t bits;
    if constexpr (std::is_integral_v<T>) bits = ordered_bits(int64_t(x));
    else bits = ordered_bits(convert<double>(x));
    return {flip ? ~bits : bits, uint64_t(at)};
  }
  MG_DEVICE static WideKey last() { return {~uint64_t(0), ~uint64_t(0)}; }
  MG_DEVICE int64_t at() const { return int64_t(position); }
  MG_DEVICE bool operator<(WideKey o) const { return bits != o.bits ? bits < o.bits : position < o.position; }
  MG_DEVICE bool same(WideKey o) const { return bits == o.bits; }
  MG_DEVICE bool is_nan() const { return bits == ~uint64_t(0); }
  MG_DEVICE int digit(int d) const { return int((d < 8 ? bits >> (56 - 8 * d) : position >> (120 - 8 * d)) & 255); }
};

template <class T, class K>
__global__ void make_keys_kernel(K* keys, const T* x, Lines lines, bool flip) {
  MG_GRID_LOOP(i, lines.outer * lines.size * lines.inner) {
    const int64_t row = i / lines.size, at = i - row * lines.size;
    keys[i] = K::make(x[(row / lines.inner * lines.size + at) * lines.inner + row % lines.inner], at, flip);
  }
}

// values and indices (outer, count, inner): those of keys[row][0 … count), rows `stride` keys apart.
template <class T, class K>
__global__ void gather_keys_kernel(T* values, int64_t* indices, const T* x, const K* keys, Lines lines, int64_t count, int64_t stride) {
  MG_GRID_LOOP(i, lines.outer * count * lines.inner) {
    const int64_t inner = i % lines.inner, rest = i / lines.inner, k = rest % count, outer = rest / count;
    const int64_t at = keys[(outer * lines.inner + inner) * stride + k].at();
    values[i] = x[(outer * lines.size + at) * lines.inner + inner];
    indices[i] = at;
  }
}

// Sorts `padded` (a power of two) keys in shared memory.
template <class K>
__device__ void bitonic_sort(K* keys, int padded) {
  for (int size = 2; size <= padded; size *= 2)
    for (int step = size / 2; step > 0; step /= 2) {
      __syncthreads();
      for (int p = int(threadIdx.x); p < padded / 2; p += int(blockDim.x)) {
        const int low = 2 * p - (p & (step - 1)), high = low + step;
        const bool up = (low & size) == 0;
        const K a = keys[low], b = keys[high];
        if ((b < a) == up) keys[low] = b, keys[high] = a;
      }
    }
  __syncthreads();
}

// A block sorts one tile of a row, in place.
template <class K>
__global__ void sort_tiles_kernel(K* keys, int64_t n, int64_t tiles, int padded) {
  MG_DYN_SHARED(K, tile);
  const int64_t row = blockIdx.x / tiles, first = blockIdx.x % tiles * kTile;
  const int count = int(n - first < kTile ? n - first : kTile);
  K* from = keys + row * n + first;
  for (int i = int(threadIdx.x); i < padded; i += int(blockDim.x)) tile[i] = i < count ? from[i] : K::last();
  bitonic_sort(tile, padded);
  for (int i = int(threadIdx.x); i < count; i += int(blockDim.x)) from[i] = tile[i];
}

// Runs of `run` keys become runs of 2 * run.
template <class K>
__global__ void merge_runs_kernel(K* to, const K* from, int64_t rows, int64_t n, int64_t run) {
  MG_GRID_LOOP(i, rows * n) {
    const int64_t row = i / n, at = i - row * n, pair = at / (2 * run) * (2 * run);
    const bool second = at - pair >= run;
    const int64_t middle = pair + run < n ? pair + run : n, end = pair + 2 * run < n ? pair + 2 * run : n;
    const K* keys = from + row * n;
    const K own = keys[at];
    int64_t low = second ? pair : middle, high = second ? middle : end;
    const int64_t other = low;
    while (low < high) {
      const int64_t half = low + (high - low) / 2;
      if (keys[half] < own) low = half + 1;
      else high = half;
    }
    to[row * n + pair + (at - (second ? middle : pair)) + (low - other)] = own;
  }
}

inline int padded_size(int64_t n) {
  int p = 2;
  while (p < n) p *= 2;
  return p;
}

template <class K>
struct Keys {
  Tensor room, spare;
  K* data;
  int64_t rows, n;
  Keys(int64_t rows_, int64_t n_, Device device)
      : room(workspace(rows_ * n_ * int64_t(sizeof(K)), DType::UInt8, device)), data(reinterpret_cast<K*>(room.ptr<char>())), rows(rows_), n(n_) {}

  // In place, or into a second buffer that becomes the first.
  void sort() {
    if (rows * n == 0) return;
    const int64_t tiles = (n + kTile - 1) / kTile;
    const int padded = padded_size(std::min(n, kTile));
    launch_blocks(sort_tiles_kernel<K>, rows * tiles, threads_for_row(padded / 2, 1024), size_t(padded) * sizeof(K), data, n, tiles, padded);
    for (int64_t run = kTile; run < n; run *= 2) {
      if (!spare.defined()) spare = workspace(rows * n * int64_t(sizeof(K)), DType::UInt8, room.device());
      K* to = reinterpret_cast<K*>(spare.ptr<char>());
      launch_items(merge_runs_kernel<K>, rows * n, to, static_cast<const K*>(data), rows, n, run);
      std::swap(room, spare);
      data = to;
    }
  }
};

// What the ops share: rows along a dim as keys, and results read back from the input by position.
struct SortCall {
  Lines lines;
  Tensor x;
  DType dtype;
  SortCall(const Invocation& inv, int dim_arg);
  int64_t rows() const { return lines.outer * lines.inner; }

  // f(T{}, keys) with the keys of all rows, in input order.
  template <class F>
  void with_keys(bool flip, F&& f) const {
    dispatch_real(dtype, [&](auto tag) {
      using T = decltype(tag);
      auto go = [&](auto key) {
        using K = decltype(key);
        Keys<K> keys(rows(), lines.size, x.device());
        launch_items(make_keys_kernel<T, K>, rows() * lines.size, keys.data, static_cast<const T*>(x.ptr<T>()), lines, flip);
        f(tag, keys);
      };
      if constexpr (sizeof(T) <= 4)
        if (lines.size < int64_t(1) << 32) return go(NarrowKey{});
      go(WideKey{});
    });
  }
  // Writes the first `count` of rows of keys that lie `stride` apart.
  template <class T, class K>
  void store(const Invocation& inv, T, const K* keys, int64_t count, int64_t stride) const {
    const StagedOut value(inv.outs[0], dtype), index(inv.outs[1], DType::Int64);
    launch_items(gather_keys_kernel<T, K>, rows() * count, value.template ptr<T>(), index.template ptr<int64_t>(),
                 static_cast<const T*>(x.ptr<T>()), keys, lines, count, stride);
    value.commit();
    index.commit();
  }
};

}  // namespace mg::cuda
