// Vec<T>: a register full of T (float, double or an integer type), over the GCC/Clang vector extension.
//
// Used by kernels that are compiled once per instruction set: each such .cpp (*_isa.cpp) is built with its own -m flags
// and with -DMG_ISA_NS=avx512 | avx2 | portable; everything here lives in mg::simd::MG_ISA_NS, so that the builds never
// share a symbol (a weak function compiled for AVX-512 must not be picked by the linker for baseline code; for the same
// reason such files use no std:: containers or algorithms). Width: 64, 32 or 16 bytes. `portable` also builds on
// machines that are not x86. Comparisons give a Mask (all ones / zeros per lane); select() is the only use of a mask as
// data. maximum/minimum propagate NaN, as PyTorch's do. load(p, n)/store(p, n) touch exactly n lanes; missing lanes
// read as zero. Read next: vecmath.h (exp, log, tanh …), ../cpu/pointwise_kernels.h (the loops).
#pragma once
#include <type_traits>

#include "vec_mask.h"

namespace mg::simd::MG_ISA_NS {

template <class T>
struct Vec {
  static constexpr int size = kVecBytes / int(sizeof(T));
  using V = typename Raw<T>::type;
  using W = typename Raw<typename WrapLane<T>::type>::type;
  using M = Mask<sizeof(T)>;
  using I = Vec<IntLane<T>>;
  V v;

  Vec() = default;
  MG_INL Vec(T s) : v(s - V{}) {}  // broadcast (x - 0 keeps -0 and NaN)
  MG_INL explicit Vec(V raw) : v(raw) {}
  static MG_INL Vec load(const T* p) {
    Vec r;
    std::memcpy(&r.v, p, kVecBytes);
    return r;
  }
  MG_INL void store(T* p) const { std::memcpy(p, &v, kVecBytes); }
  static MG_INL Vec load(const T* p, int n);
  MG_INL void store(T* p, int n) const;
  MG_INL T operator[](int i) const { return v[i]; }
  MG_INL void set(int i, T x) { v[i] = x; }

  MG_INL friend Vec operator+(Vec a, Vec b) { return Vec(V(W(a.v) + W(b.v))); }
  MG_INL friend Vec operator-(Vec a, Vec b) { return Vec(V(W(a.v) - W(b.v))); }
  MG_INL friend Vec operator*(Vec a, Vec b) { return Vec(V(W(a.v) * W(b.v))); }
  MG_INL friend Vec operator/(Vec a, Vec b) { return Vec(a.v / b.v); }
  MG_INL friend Vec operator-(Vec a) { return Vec(V(-W(a.v))); }
  MG_INL friend Vec operator&(Vec a, Vec b) { return Vec(V(typename I::V(a.v) & typename I::V(b.v))); }
  MG_INL friend Vec operator|(Vec a, Vec b) { return Vec(V(typename I::V(a.v) | typename I::V(b.v))); }
  MG_INL friend Vec operator^(Vec a, Vec b) { return Vec(V(typename I::V(a.v) ^ typename I::V(b.v))); }
  MG_INL friend Vec operator<<(Vec a, int n) { return Vec(V(W(a.v) << n)); }
  MG_INL friend Vec operator>>(Vec a, int n) { return Vec(a.v >> n); }
  MG_INL friend M operator==(Vec a, Vec b) { return {a.v == b.v}; }
  MG_INL friend M operator!=(Vec a, Vec b) { return {a.v != b.v}; }
  MG_INL friend M operator<(Vec a, Vec b) { return {a.v < b.v}; }
  MG_INL friend M operator<=(Vec a, Vec b) { return {a.v <= b.v}; }
  MG_INL friend M operator>(Vec a, Vec b) { return {a.v > b.v}; }
  MG_INL friend M operator>=(Vec a, Vec b) { return {a.v >= b.v}; }
  MG_INL friend Vec select(M m, Vec a, Vec b) { return Vec(m.v ? a.v : b.v); }
};

template <class T>
MG_INL typename Vec<T>::I bits(Vec<T> a) {
  return typename Vec<T>::I(typename Vec<T>::I::V(a.v));
}
template <class T, class J>
MG_INL Vec<T> from_bits(Vec<J> a) {
  return Vec<T>(typename Vec<T>::V(a.v));
}
template <class To, class From>  // same lane width; float to int truncates, and the value must fit
MG_INL Vec<To> convert(Vec<From> a) {
  return Vec<To>(__builtin_convertvector(a.v, typename Vec<To>::V));
}

template <class T>
MG_INL Vec<T> Vec<T>::load(const T* p, int n) {
#if defined(__AVX512BW__)
  if constexpr (sizeof(T) == 4) return Vec(V(_mm512_maskz_loadu_epi32(__mmask16((1u << n) - 1), p)));
  if constexpr (sizeof(T) == 8) return Vec(V(_mm512_maskz_loadu_epi64(__mmask8((1u << n) - 1), p)));
#endif
  Vec r = T(0);
  for (int i = 0; i < n; ++i) r.v[i] = p[i];
  return r;
}
template <class T>
MG_INL void Vec<T>::store(T* p, int n) const {
#if defined(__AVX512BW__)
  if constexpr (sizeof(T) == 4) return _mm512_mask_storeu_epi32(p, __mmask16((1u << n) - 1), __m512i(v));
  if constexpr (sizeof(T) == 8) return _mm512_mask_storeu_epi64(p, __mmask8((1u << n) - 1), __m512i(v));
#endif
  for (int i = 0; i < n; ++i) p[i] = v[i];
}

// True if any lane is set. Lanes are 0 or -1.
template <int B>
MG_INL bool any(Mask<B> m) {
  int64_t words[kVecBytes / 8], all = 0;
  std::memcpy(words, &m.v, kVecBytes);
  for (int64_t w : words) all |= w;
  return all != 0;
}

template <class T>
MG_INL Vec<T> abs(Vec<T> a) {
  if constexpr (std::is_floating_point_v<T>) return from_bits<T>(bits(a) & ~bits(Vec<T>(T(-0.0))));
  else return select(a < Vec<T>(T(0)), -a, a);
}
template <class I>
MG_INL Vec<I> operator~(Vec<I> a) {
  return Vec<I>(~a.v);
}
template <class T>
MG_INL Vec<T> sign_bit(Vec<T> a) {
  return a & Vec<T>(T(-0.0));
}
template <class T>
MG_INL typename Vec<T>::M signbit(Vec<T> a) {
  return bits(a) < typename Vec<T>::I(0);
}
template <class T>
MG_INL Vec<T> copysign(Vec<T> a, Vec<T> b) {
  return abs(a) | sign_bit(b);
}
template <class T>
MG_INL typename Vec<T>::M isnan(Vec<T> a) {
  return a != a;
}
template <class T>
MG_INL Vec<T> maximum(Vec<T> a, Vec<T> b) {
  return select((a > b) | (a != a), a, b);
}
template <class T>
MG_INL Vec<T> minimum(Vec<T> a, Vec<T> b) {
  return select((a < b) | (a != a), a, b);
}

// a*b + c, fused where the machine can (kHasFma); code that depends on the single rounding must test kHasFma.
template <class T>
MG_INL Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
  return Vec<T>(a.v * b.v + c.v);
}

// Combines the lanes in a fixed tree order with the vector function f.
template <class T, class F, int W = Vec<T>::size / 2>
MG_INL T horizontal(Vec<T> a, F f, std::integral_constant<int, W> = {}) {
  typename Vec<T>::I::V swap;
  for (int i = 0; i < Vec<T>::size; ++i) swap[i] = IntLane<T>(i ^ W);
  a = f(a, Vec<T>(__builtin_shuffle(a.v, swap)));
  if constexpr (W == 1) return a[0];
  else return horizontal(a, f, std::integral_constant<int, W / 2>());
}
template <class T>
MG_INL T hsum(Vec<T> a) {
  return horizontal(a, [](Vec<T> x, Vec<T> y) { return x + y; });
}
template <class T>
MG_INL T hmax(Vec<T> a) {
  return horizontal(a, [](Vec<T> x, Vec<T> y) { return maximum(x, y); });
}
template <class T>
MG_INL T hmin(Vec<T> a) {
  return horizontal(a, [](Vec<T> x, Vec<T> y) { return minimum(x, y); });
}

}  // namespace mg::simd::MG_ISA_NS

#include "vec_round.h"  // sqrt, floor, ceil, trunc, round; float <-> double halves
