// Width, raw compiler vector types and Mask; included by vec.h, where the map is.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#endif

#ifndef MG_ISA_NS
#define MG_ISA_NS portable
#endif
#define MG_INL __attribute__((always_inline)) inline

namespace mg::simd::MG_ISA_NS {

#if defined(__AVX512F__)
constexpr int kVecBytes = 64;
#elif defined(__AVX2__)
constexpr int kVecBytes = 32;
#else
constexpr int kVecBytes = 16;
#endif
#if defined(__FMA__) || defined(__AVX512F__) || defined(__ARM_FEATURE_FMA)
constexpr bool kHasFma = true;
#else
constexpr bool kHasFma = false;
#endif

template <int Bytes>
struct IntOfSize;
template <>
struct IntOfSize<1> {
  using type = int8_t;
};
template <>
struct IntOfSize<2> {
  using type = int16_t;
};
template <>
struct IntOfSize<4> {
  using type = int32_t;
};
template <>
struct IntOfSize<8> {
  using type = int64_t;
};
template <class T>
using IntLane = typename IntOfSize<sizeof(T)>::type;

// The compiler's vector types, spelled out: GCC mishandles vector_size on a dependent type.
template <class T>
struct Raw;
#define MG_RAW(T)                                           \
  template <>                                               \
  struct Raw<T> {                                           \
    typedef T type __attribute__((vector_size(kVecBytes))); \
  }
MG_RAW(float);
MG_RAW(double);
MG_RAW(int8_t);
MG_RAW(int16_t);
MG_RAW(int32_t);
MG_RAW(int64_t);
MG_RAW(uint8_t);
MG_RAW(uint16_t);
MG_RAW(uint32_t);
MG_RAW(uint64_t);
#undef MG_RAW
// The type to add, subtract and multiply in: unsigned for integers, where overflow wraps.
template <class T>
struct WrapLane {
  using type = T;
};
template <>
struct WrapLane<int8_t> {
  using type = uint8_t;
};
template <>
struct WrapLane<int16_t> {
  using type = uint16_t;
};
template <>
struct WrapLane<int32_t> {
  using type = uint32_t;
};
template <>
struct WrapLane<int64_t> {
  using type = uint64_t;
};
template <int Lanes>
struct RawBytes;  // one byte per lane
template <>
struct RawBytes<kVecBytes / 8> {
  typedef int8_t type __attribute__((vector_size(kVecBytes / 8)));
};
template <>
struct RawBytes<kVecBytes / 4> {
  typedef int8_t type __attribute__((vector_size(kVecBytes / 4)));
};

// Lanes of 0 / -1 to one byte each, and bytes sign-extended to lanes; by intrinsic because GCC 12 scalarises these
// convertvectors.
template <class Narrow, class V>
MG_INL Narrow narrow_lanes(V v) {
#if defined(__AVX512F__) || !defined(__SSE2__)
  return __builtin_convertvector(v, Narrow);
#else
  __m128i half[2];
  std::memcpy(half, &v, kVecBytes);
  __m128i x = _mm_packs_epi32(half[0], half[kVecBytes == 32]);
  if constexpr (sizeof(v[0]) == 8) x = _mm_packs_epi32(x, x);  // each 64-bit lane was two equal 32-bit ones
  x = _mm_packs_epi16(x, x);
  Narrow n;
  std::memcpy(&n, &x, sizeof n);
  return n;
#endif
}
template <class V, class Narrow>
MG_INL V widen_bytes(Narrow n) {
#if defined(__AVX2__)
  __m128i x = {};
  std::memcpy(&x, &n, sizeof n);
#if defined(__AVX512F__)
  if constexpr (sizeof n == 16) return V(_mm512_maskz_cvtepi8_epi32(__mmask16(-1), x));
  else return V(_mm512_maskz_cvtepi8_epi64(__mmask8(-1), x));
#else
  if constexpr (sizeof n == 8) return V(_mm256_cvtepi8_epi32(x));
  else return V(_mm256_cvtepi8_epi64(x));
#endif
#else
  return __builtin_convertvector(n, V);
#endif
}

template <int Bytes>  // lane width
struct Mask {
  using V = typename Raw<typename IntOfSize<Bytes>::type>::type;
  V v;
  MG_INL friend Mask operator&(Mask a, Mask b) { return {a.v & b.v}; }
  MG_INL friend Mask operator|(Mask a, Mask b) { return {a.v | b.v}; }
  MG_INL friend Mask operator^(Mask a, Mask b) { return {a.v ^ b.v}; }
  MG_INL friend Mask operator!(Mask a) { return {~a.v}; }
  // One byte (0 or 1) per lane.
  MG_INL void store(uint8_t* p, int n = kVecBytes / Bytes) const {
    const auto bytes = narrow_lanes<typename RawBytes<kVecBytes / Bytes>::type>(v) & int8_t(1);
    if (n == kVecBytes / Bytes) {
      std::memcpy(p, &bytes, sizeof bytes);
    } else {
      for (int i = 0; i < n; ++i) p[i] = uint8_t(bytes[i]);
    }
  }
  // Nonzero bytes are true.
  static MG_INL Mask load(const uint8_t* p, int n = kVecBytes / Bytes) {
    typename RawBytes<kVecBytes / Bytes>::type bytes = {};
    if (n == kVecBytes / Bytes) {
      std::memcpy(&bytes, p, sizeof bytes);
    } else {
      for (int i = 0; i < n; ++i) bytes[i] = int8_t(p[i]);
    }
    return {widen_bytes<V>(bytes) != 0};
  }
};

}  // namespace mg::simd::MG_ISA_NS
