// The simulated device, seen from a kernel: qualifiers, vector types, built-in variables, shared memory, barriers, warp
// operations, atomics and intrinsics under CUDA's names. half.h has the 16-bit floats, runtime.h launches and the host
// API; engine.cpp runs blocks, queue.cpp streams, memory.cpp device memory. docs/simulated-device.md tells it whole.
//
// One OS thread at a time runs device code, one block after another, so the variables below are plain globals and an
// atomic is a plain read and write. A CUDA thread gives way only inside barrier() and exchange().
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __launch_bounds__(...)
#define __constant__ __attribute__((unused))
#define __shared__ static
#define __forceinline__ __inline__ __attribute__((always_inline))
#define __align__(n) alignas(n)

#define CUDASIM_VECTOR(T, name, align2, align4)                         \
  struct name##1 { T x; };                                              \
  struct alignas(align2) name##2 { T x, y; };                           \
  struct name##3 { T x, y, z; };                                        \
  struct alignas(align4) name##4 { T x, y, z, w; };                     \
  constexpr name##1 make_##name##1(T x) { return {x}; }                 \
  constexpr name##2 make_##name##2(T x, T y) { return {x, y}; }         \
  constexpr name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
CUDASIM_VECTOR(signed char, char, 2, 4)
CUDASIM_VECTOR(unsigned char, uchar, 2, 4)
CUDASIM_VECTOR(short, short, 4, 8)
CUDASIM_VECTOR(unsigned short, ushort, 4, 8)
CUDASIM_VECTOR(int, int, 8, 16)
CUDASIM_VECTOR(unsigned, uint, 8, 16)
CUDASIM_VECTOR(long long, longlong, 16, 16)
CUDASIM_VECTOR(unsigned long long, ulonglong, 16, 16)
CUDASIM_VECTOR(float, float, 8, 16)
CUDASIM_VECTOR(double, double, 16, 16)
#undef CUDASIM_VECTOR

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};

namespace cudasim {
using Where = std::source_location;

struct Place {
  uint3 thread_idx;
  unsigned index;
};  // of the running CUDA thread; index counts within its block
struct Frame {
  dim3 grid_dim, block_dim;
  uint3 block_idx;
};
extern const Place* place;
extern Frame frame;

// A warp operation: every lane posts a value, the last to arrive combines them for all. `lanes` are those present.
struct Warp {
  uint64_t value[32], result[32];
  uint8_t source[32];
  unsigned waiting, exited;
};
using Combine = void (*)(Warp& warp, unsigned lanes);
struct Votes {
  int count, threads;
};

Votes barrier(bool predicate, Where where);
uint64_t exchange(unsigned mask, uint64_t value, unsigned source, Combine combine, const char* what, Where where);
void* static_shared(const void* site, const char* name, size_t bytes, size_t align);
void* dynamic_shared();
[[noreturn]] void trap(Where where);

template <class T>
uint64_t to_bits(T v) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>, "warp operations move values of at most 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  return bits;
}
template <class T>
T from_bits(uint64_t bits) {
  T v;
  std::memcpy(static_cast<void*>(&v), &bits, sizeof v);
  return v;
}
void combine_shuffle(Warp& warp, unsigned lanes);
void combine_ballot(Warp& warp, unsigned lanes);
void combine_match(Warp& warp, unsigned lanes);
template <class T>
T shuffle(unsigned mask, T v, unsigned source, const char* what, Where where) {
  return from_bits<T>(exchange(mask, to_bits(v), source, combine_shuffle, what, where));
}
inline unsigned lane() { return place->index & 31; }
template <class T, class F>
void combine_fold(Warp& warp, unsigned lanes, F f) {
  T total = from_bits<T>(warp.value[std::countr_zero(lanes)]);
  for (unsigned rest = lanes & (lanes - 1); rest != 0; rest &= rest - 1)
    total = f(total, from_bits<T>(warp.value[std::countr_zero(rest)]));
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) warp.result[std::countr_zero(rest)] = to_bits(total);
}
}  // namespace cudasim

#define threadIdx (::cudasim::place->thread_idx)
#define blockIdx (::cudasim::frame.block_idx)
#define blockDim (::cudasim::frame.block_dim)
#define gridDim (::cudasim::frame.grid_dim)
inline constexpr int warpSize = 32;
#define MG_SHARED(type, name, ...)                                                                     \
  static char cudasim_site_##name;                                                                     \
  static_assert(std::is_trivially_default_constructible_v<type>, "shared memory has no constructors"); \
  using cudasim_type_##name = type __VA_ARGS__;                                                        \
  cudasim_type_##name& name = *static_cast<cudasim_type_##name*>(::cudasim::static_shared(             \
      &cudasim_site_##name, #name #__VA_ARGS__, sizeof(cudasim_type_##name), alignof(cudasim_type_##name)))
#define MG_DYN_SHARED(type, name) type* name = static_cast<type*>(::cudasim::dynamic_shared())

#define CUDASIM_HERE ::cudasim::Where where = ::cudasim::Where::current()
inline void __syncthreads(CUDASIM_HERE) { cudasim::barrier(true, where); }
inline int __syncthreads_count(int p, CUDASIM_HERE) { return cudasim::barrier(p, where).count; }
inline int __syncthreads_or(int p, CUDASIM_HERE) { return cudasim::barrier(p, where).count > 0; }
inline int __syncthreads_and(int p, CUDASIM_HERE) {
  const cudasim::Votes votes = cudasim::barrier(p, where);
  return votes.count == votes.threads;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, CUDASIM_HERE) {
  cudasim::exchange(mask, 0, 0, cudasim::combine_ballot, "__syncwarp", where);
}
inline unsigned __ballot_sync(unsigned mask, int p, CUDASIM_HERE) {
  return unsigned(cudasim::exchange(mask, p != 0, 0, cudasim::combine_ballot, "__ballot_sync", where) >> 32);
}
inline int __any_sync(unsigned mask, int p, CUDASIM_HERE) {
  return cudasim::exchange(mask, p != 0, 0, cudasim::combine_ballot, "__any_sync", where) >> 32 != 0;
}
inline int __all_sync(unsigned mask, int p, CUDASIM_HERE) {
  const uint64_t r = cudasim::exchange(mask, p != 0, 0, cudasim::combine_ballot, "__all_sync", where);
  return unsigned(r >> 32) == unsigned(r);
}
// Nothing says which lanes run together here; any set that holds the caller is a right answer, so take the smallest.
inline unsigned __activemask() { return 1u << cudasim::lane(); }
template <class T>
unsigned __match_any_sync(unsigned mask, T v, CUDASIM_HERE) {
  return unsigned(cudasim::exchange(mask, cudasim::to_bits(v), 0, cudasim::combine_match, "__match_any_sync", where));
}
template <class T>
unsigned __match_all_sync(unsigned mask, T v, int* all, CUDASIM_HERE) {
  const uint64_t r = cudasim::exchange(mask, cudasim::to_bits(v), 0, cudasim::combine_match, "__match_all_sync", where);
  *all = unsigned(r) == unsigned(r >> 32);
  return *all ? unsigned(r) : 0;
}
template <class T>
T __shfl_sync(unsigned mask, T v, int source, int width = 32, CUDASIM_HERE) {
  const unsigned lane = cudasim::lane(), w = unsigned(width);
  return cudasim::shuffle(mask, v, (lane & ~(w - 1)) + (unsigned(source) & (w - 1)), "__shfl_sync", where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32, CUDASIM_HERE) {
  const unsigned lane = cudasim::lane(), within = lane & unsigned(width - 1);
  return cudasim::shuffle(mask, v, delta <= within ? lane - delta : lane, "__shfl_up_sync", where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32, CUDASIM_HERE) {
  const unsigned lane = cudasim::lane(), within = lane & unsigned(width - 1);
  return cudasim::shuffle(mask, v, within + delta < unsigned(width) ? lane + delta : lane, "__shfl_down_sync", where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32, CUDASIM_HERE) {
  const unsigned lane = cudasim::lane(), source = lane ^ unsigned(bits), end = (lane | unsigned(width - 1)) + 1;
  return cudasim::shuffle(mask, v, source < end ? source : lane, "__shfl_xor_sync", where);
}
#define CUDASIM_REDUCE(name, expression)                                                                  \
  template <class T>                                                                                      \
  T name(unsigned mask, T v, CUDASIM_HERE) {                                                              \
    static_assert(std::is_same_v<T, int> || std::is_same_v<T, unsigned>, #name " takes int or unsigned"); \
    const cudasim::Combine fold = [](cudasim::Warp& warp, unsigned lanes) {                               \
      cudasim::combine_fold<T>(warp, lanes, [](T a, T b) -> T { return expression; });                    \
    };                                                                                                    \
    return cudasim::from_bits<T>(cudasim::exchange(mask, cudasim::to_bits(v), 0, fold, #name, where));    \
  }
CUDASIM_REDUCE(__reduce_add_sync, T(unsigned(a) + unsigned(b)))
CUDASIM_REDUCE(__reduce_min_sync, std::min(a, b))
CUDASIM_REDUCE(__reduce_max_sync, std::max(a, b))
CUDASIM_REDUCE(__reduce_and_sync, a & b)
CUDASIM_REDUCE(__reduce_or_sync, a | b)
CUDASIM_REDUCE(__reduce_xor_sync, a ^ b)
#undef CUDASIM_REDUCE
inline void __trap(CUDASIM_HERE) { cudasim::trap(where); }
