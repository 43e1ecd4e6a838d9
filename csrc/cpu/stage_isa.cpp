// Row conversions between all dtypes, built once per instruction set. stage.h is the map.
#include "../simd/vec.h"
#include "stage.h"

namespace mg::cpu::MG_ISA_NS {

// Raw storage; dtype.h's own conversions are shared inline functions, which code with special -m flags must not emit
// (see simd/vec.h).
struct F16 {
  uint16_t bits;
};
struct B16 {
  uint16_t bits;
};
template <class T>
constexpr bool kLow = std::is_same_v<T, F16> || std::is_same_v<T, B16>;

MG_INL float as_float(uint32_t b) { return __builtin_bit_cast(float, b); }
MG_INL uint32_t as_bits(float f) { return __builtin_bit_cast(uint32_t, f); }

// Without branches, so that loops vectorise where there is no F16C.
MG_INL float widen(F16 h) {
  const uint32_t magnitude = uint32_t(h.bits & 0x7fff) << 13, sign = uint32_t(h.bits & 0x8000) << 16;
  const uint32_t finite = as_bits(as_float(magnitude) * 0x1p112f);  // also makes subnormal halves normal
  return as_float(((h.bits & 0x7c00) == 0x7c00 ? magnitude | 0x7f800000u : finite) | sign);
}
MG_INL float widen(B16 b) { return as_float(uint32_t(b.bits) << 16); }

MG_INL F16 narrow(float f, F16*) {
  const uint32_t x = as_bits(f), a = x & 0x7fffffffu, sign = (x >> 16) & 0x8000;
  const uint32_t normal = (a - 0x38000000u + 0xfff + ((a >> 13) & 1)) >> 13;
  const uint32_t subnormal = as_bits(as_float(a) + 0.5f) - 0x3f000000u;  // the adder rounds to nearest even
  uint32_t r = a < 0x38800000u ? subnormal : normal;
  r = a >= 0x477ff000u ? 0x7c00 : r;  // rounds to 65536 or above
  r = a > 0x7f800000u ? 0x7e00 : r;
  return {uint16_t(r | sign)};
}
MG_INL B16 narrow(float f, B16*) {
  const uint32_t x = as_bits(f), rounded = (x + 0x7fff + ((x >> 16) & 1)) >> 16;
  return {uint16_t((x & 0x7fffffffu) > 0x7f800000u ? (x >> 16) | 0x40 : rounded)};
}

// bool is stored in a byte of which any nonzero value counts as true.
struct Byte {
  uint8_t v;
};

template <class D, class S>
MG_INL D cast(S s) {
  if constexpr (std::is_same_v<D, S>) return s;
  else if constexpr (std::is_same_v<S, Byte>) return cast<D>(uint8_t(s.v != 0));
  else if constexpr (kLow<S>) return cast<D>(widen(s));
  else if constexpr (kLow<D>) return narrow(float(s), static_cast<D*>(nullptr));
  else if constexpr (std::is_same_v<D, Byte>) return {uint8_t(s != S(0))};
  else if constexpr (std::is_floating_point_v<S> && std::is_integral_v<D>) {
    using Wide = std::conditional_t<sizeof(D) == 8, int64_t, int32_t>;
    constexpr S limit = sizeof(D) == 8 ? S(0x1p63) : S(0x1p31);
    const bool fits = (s >= -limit) & (s < limit);
    const Wide w = Wide(fits ? s : S(0));
    return D(fits ? w : Wide(Wide(1) << (sizeof(Wide) * 8 - 1)));
  } else {
    return static_cast<D>(s);
  }
}

#if defined(__F16C__)
// The part of a float16 <-> float row that fills whole registers; returns how much was done.
MG_INL int64_t f16_row(float* d, const F16* s, int64_t n) {
  constexpr int W = simd::MG_ISA_NS::kVecBytes / 4;
  int64_t i = 0;
  for (; i + W <= n; i += W) {
#if defined(__AVX512F__)
    _mm512_storeu_ps(d + i,
                     _mm512_maskz_cvtph_ps(__mmask16(-1), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(s + i))));
#else
    _mm256_storeu_ps(d + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(s + i))));
#endif
  }
  return i;
}
MG_INL int64_t f16_row(F16* d, const float* s, int64_t n) {
  constexpr int W = simd::MG_ISA_NS::kVecBytes / 4;
  int64_t i = 0;
  for (; i + W <= n; i += W) {
#if defined(__AVX512F__)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(d + i),
                        _mm512_maskz_cvtps_ph(__mmask16(-1), _mm512_loadu_ps(s + i), 0));
#else
    _mm_storeu_si128(reinterpret_cast<__m128i*>(d + i), _mm256_cvtps_ph(_mm256_loadu_ps(s + i), 0));
#endif
  }
  return i;
}
#endif
template <class D, class S>
MG_INL int64_t f16_row(D*, const S*, int64_t) {
  return 0;
}

template <class D, class S>
void row(char* dst, int64_t dst_stride, const char* src, int64_t src_stride, int64_t n) {
  if (dst_stride == int64_t(sizeof(D)) && src_stride == int64_t(sizeof(S))) {
    if constexpr (std::is_same_v<D, S>) {
      if (dst != src) std::memcpy(dst, src, size_t(n) * sizeof(D));
      return;
    }
    D* d = reinterpret_cast<D*>(dst);
    const S* s = reinterpret_cast<const S*>(src);
    int64_t i = f16_row(d, s, n);
#pragma GCC ivdep
    for (; i < n; ++i) d[i] = cast<D>(s[i]);
  } else if (src_stride == 0) {
    const D value = cast<D>(*reinterpret_cast<const S*>(src));
    if (dst_stride == int64_t(sizeof(D))) {
      D* d = reinterpret_cast<D*>(dst);
      for (int64_t i = 0; i < n; ++i) d[i] = value;
    } else {
      for (int64_t i = 0; i < n; ++i) *reinterpret_cast<D*>(dst + i * dst_stride) = value;
    }
  } else {
    for (int64_t i = 0; i < n; ++i)
      *reinterpret_cast<D*>(dst + i * dst_stride) = cast<D>(*reinterpret_cast<const S*>(src + i * src_stride));
  }
}

template <class D>
constexpr void fill_row(StageFn (&fn)[kDTypes]) {
  fn[int(DType::Bool)] = row<D, Byte>;
  fn[int(DType::UInt8)] = row<D, uint8_t>;
  fn[int(DType::Int8)] = row<D, int8_t>;
  fn[int(DType::Int16)] = row<D, int16_t>;
  fn[int(DType::Int32)] = row<D, int32_t>;
  fn[int(DType::Int64)] = row<D, int64_t>;
  fn[int(DType::Float16)] = row<D, F16>;
  fn[int(DType::BFloat16)] = row<D, B16>;
  fn[int(DType::Float32)] = row<D, float>;
  fn[int(DType::Float64)] = row<D, double>;
}
constexpr StageTable make_table() {
  StageTable t = {};
  fill_row<Byte>(t.fn[int(DType::Bool)]);
  fill_row<uint8_t>(t.fn[int(DType::UInt8)]);
  fill_row<int8_t>(t.fn[int(DType::Int8)]);
  fill_row<int16_t>(t.fn[int(DType::Int16)]);
  fill_row<int32_t>(t.fn[int(DType::Int32)]);
  fill_row<int64_t>(t.fn[int(DType::Int64)]);
  fill_row<F16>(t.fn[int(DType::Float16)]);
  fill_row<B16>(t.fn[int(DType::BFloat16)]);
  fill_row<float>(t.fn[int(DType::Float32)]);
  fill_row<double>(t.fn[int(DType::Float64)]);
  return t;
}

extern const StageTable stage_table;
constinit const StageTable stage_table = make_table();

}  // namespace mg::cpu::MG_ISA_NS
