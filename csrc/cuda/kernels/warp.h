// Threads of a warp and of a block together: values passed between lanes, merges in fixed order, and packs of neighbouring elements.
#pragma once
#include <math.h>  // exp(float) and the like at global scope, as nvcc has them
#include <string.h>

#include "../kernel.h"

namespace mg::cuda {

constexpr unsigned kFullMask = 0xffffffffu;

template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
  T v[V];
};
template <class T>
inline constexpr int kVector = int(16 / sizeof(T));

// shuffle(word) for each word of a trivially copyable value. Copied, not read through a union, which nvcc keeps in local memory.
template <class A, class Shuffle>
__device__ A each_word(A a, Shuffle shuffle) {
  static_assert(sizeof(A) % 4 == 0);
  unsigned words[sizeof(A) / 4];
  memcpy(words, &a, sizeof(A));
#pragma unroll
  for (unsigned& w : words) w = shuffle(w);
  memcpy(&a, words, sizeof(A));
  return a;
}
// The value that another lane of the warp holds: `distance` lanes above or below, or a given one.
template <class A>
__device__ A shuffle_down(A a, unsigned distance) {
  return each_word(a, [=](unsigned w) { return __shfl_down_sync(kFullMask, w, distance); });
}
template <class A>
__device__ A shuffle_up(A a, unsigned distance) {
  return each_word(a, [=](unsigned w) { return __shfl_up_sync(kFullMask, w, distance); });
}
template <class A>
__device__ A shuffle_from(A a, int lane) {
  return each_word(a, [=](unsigned w) { return __shfl_sync(kFullMask, w, lane); });
}

// The merge of all lanes of a warp, right in lane 0. The order is fixed: results have the same bits in every run.
template <class A, class Merge>
__device__ A warp_reduce(A a, Merge merge) {
  for (unsigned distance = 16; distance > 0; distance /= 2) a = merge(a, shuffle_down(a, distance));
  return a;
}
// The merge of all threads of a block (whole warps, 1-d), in every thread.
template <class A, class Merge>
__device__ A block_reduce(A a, Merge merge) {
  MG_SHARED(A, parts, [32]);
  const int lane = int(threadIdx.x % 32), warp = int(threadIdx.x / 32), warps = int(blockDim.x / 32);
  a = warp_reduce(a, merge);
  if (warps == 1) return shuffle_from(a, 0);
  __syncthreads();  // of the reduction before
  if (lane == 0) parts[warp] = a;
  __syncthreads();
  a = parts[0];
  for (int w = 1; w < warps; ++w) a = merge(a, parts[w]);
  return a;
}

inline bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

}  // namespace mg::cuda
