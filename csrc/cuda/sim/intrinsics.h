// Atomics, bit tricks, reinterpretations, cached loads and fast maths under CUDA's names. The fast maths is the exact
// maths here: a kernel that relies on __expf's error is judged on a real device.
#pragma once
#include <atomic>

#include "half.h"

// Atomics are plain reads and writes: one thread runs device code at a time (device.h). Types are CUDA's, no more.
namespace cudasim {
template <class T, class... U>
concept One = (std::is_same_v<T, U> || ...);
using ull = unsigned long long;
template <class T>
concept Addable = One<T, int, unsigned, ull, float, double, __half, __half2, __nv_bfloat16, __nv_bfloat162>;
template <class T>
concept Orderable = One<T, int, unsigned, long long, ull>;
template <class T>
concept Bitwise = One<T, int, unsigned, ull>;
template <class T>
concept Swappable = One<T, int, unsigned, ull, float, unsigned short>;
template <class T>
using Value = std::type_identity_t<T>;
template <class T, class F>
T update(T* address, F f) {
  const T old = *address;
  *address = f(old);
  return old;
}
}  // namespace cudasim
#define CUDASIM_ATOMIC(kind, name, expression)                                                \
  template <cudasim::kind T>                                                                  \
  T name(T* address, cudasim::Value<T> v) {                                                   \
    return cudasim::update(address, [&]([[maybe_unused]] T old) -> T { return expression; }); \
  }
CUDASIM_ATOMIC(Orderable, atomicMin, std::min(old, v))
CUDASIM_ATOMIC(Orderable, atomicMax, std::max(old, v))
CUDASIM_ATOMIC(Bitwise, atomicAnd, old& v)
CUDASIM_ATOMIC(Bitwise, atomicOr, old | v)
CUDASIM_ATOMIC(Bitwise, atomicXor, old ^ v)
CUDASIM_ATOMIC(Swappable, atomicExch, v)
#undef CUDASIM_ATOMIC
template <cudasim::Addable T>
T atomicAdd(T* address, cudasim::Value<T> v) {
  return cudasim::update(address, [&](T old) -> T {
    if constexpr (std::is_same_v<T, __half2> || std::is_same_v<T, __nv_bfloat162>)
      return __hadd2(old, v);
    else if constexpr (std::is_same_v<T, int>)
      return int(unsigned(old) + unsigned(v));
    else
      return old + v;
  });
}
inline int atomicSub(int* address, int v) { return atomicAdd(address, int(0u - unsigned(v))); }
inline unsigned atomicSub(unsigned* address, unsigned v) { return atomicAdd(address, 0u - v); }
inline unsigned atomicInc(unsigned* address, unsigned limit) {
  return cudasim::update(address, [&](unsigned old) { return old >= limit ? 0 : old + 1; });
}
inline unsigned atomicDec(unsigned* address, unsigned limit) {
  return cudasim::update(address, [&](unsigned old) { return old == 0 || old > limit ? limit : old - 1; });
}
template <cudasim::One<int, unsigned, cudasim::ull, unsigned short> T>
T atomicCAS(T* address, cudasim::Value<T> expected, cudasim::Value<T> v) {
  return cudasim::update(address, [&](T old) { return old == expected ? v : old; });
}

// Program order is all there is on one OS thread; the fences only keep the compiler from moving accesses across them.
inline void __threadfence_block() { std::atomic_signal_fence(std::memory_order_seq_cst); }
inline void __threadfence() { __threadfence_block(); }
inline void __threadfence_system() { __threadfence_block(); }

template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldca(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
void __stcg(T* p, cudasim::Value<T> v) {
  *p = v;
}
template <class T>
void __stcs(T* p, cudasim::Value<T> v) {
  *p = v;
}
template <class T>
void __stwt(T* p, cudasim::Value<T> v) {
  *p = v;
}

inline int __popc(unsigned v) { return std::popcount(v); }
inline int __popcll(unsigned long long v) { return std::popcount(v); }
inline int __clz(int v) { return std::countl_zero(unsigned(v)); }
inline int __clzll(long long v) { return std::countl_zero(static_cast<unsigned long long>(v)); }
inline int __ffs(int v) { return v == 0 ? 0 : std::countr_zero(unsigned(v)) + 1; }
inline int __ffsll(long long v) { return v == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(v)) + 1; }
inline unsigned __brev(unsigned v) {
  unsigned r = 0;
  for (int i = 0; i < 32; ++i) r |= (v >> i & 1) << (31 - i);
  return r;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
inline int __mulhi(int a, int b) { return int(int64_t(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ typedef unsigned __int128 Wide;
  return static_cast<unsigned long long>(Wide(a) * b >> 64);
}
inline int __float_as_int(float v) { return std::bit_cast<int>(v); }
inline unsigned __float_as_uint(float v) { return std::bit_cast<unsigned>(v); }
inline float __int_as_float(int v) { return std::bit_cast<float>(v); }
inline float __uint_as_float(unsigned v) { return std::bit_cast<float>(v); }
inline long long __double_as_longlong(double v) { return std::bit_cast<long long>(v); }
inline double __longlong_as_double(long long v) { return std::bit_cast<double>(v); }

inline float __expf(float v) { return std::exp(v); }
inline float __exp10f(float v) { return std::pow(10.0f, v); }
inline float __logf(float v) { return std::log(v); }
inline float __log2f(float v) { return std::log2(v); }
inline float __log10f(float v) { return std::log10(v); }
inline float __sinf(float v) { return std::sin(v); }
inline float __cosf(float v) { return std::cos(v); }
inline float __tanf(float v) { return std::tan(v); }
inline float __powf(float a, float b) { return std::pow(a, b); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float v) { return 1.0f / v; }
inline float __fsqrt_rn(float v) { return std::sqrt(v); }
inline float __frsqrt_rn(float v) { return float(1.0 / std::sqrt(double(v))); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __saturatef(float v) { return v > 0 ? std::min(v, 1.0f) : 0.0f; }
inline float rsqrtf(float v) { return float(1.0 / std::sqrt(double(v))); }
inline double rsqrt(double v) { return 1.0 / std::sqrt(v); }
inline int __float2int_rn(float v) { return int(std::nearbyint(v)); }
inline int __float2int_rz(float v) { return int(v); }

// Device code has min and max for numbers of any two types; for floats a NaN loses, as fmin and fmax have it.
template <class A, class B>
  requires(std::is_arithmetic_v<A> && std::is_arithmetic_v<B>)
constexpr auto min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>)
    return std::fmin(T(a), T(b));
  else
    return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B>
  requires(std::is_arithmetic_v<A> && std::is_arithmetic_v<B>)
constexpr auto max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>)
    return std::fmax(T(a), T(b));
  else
    return T(a) < T(b) ? T(b) : T(a);
}
