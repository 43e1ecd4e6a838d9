// Rounding, sqrt and float <-> double halves for Vec; included by vec.h only.
#pragma once
#include "vec.h"

namespace mg::simd::MG_ISA_NS {

enum class Rounding { NearestEven = 0, Floor = 1, Ceil = 2, Trunc = 3 };

template <Rounding R, class T>
MG_INL Vec<T> round_to(Vec<T> x) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(typename Vec<T>::V(_mm512_maskz_roundscale_ps(__mmask16(-1), __m512(x.v), 8 | int(R))));
  else return Vec<T>(typename Vec<T>::V(_mm512_maskz_roundscale_pd(__mmask8(-1), __m512d(x.v), 8 | int(R))));
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) return Vec<T>(typename Vec<T>::V(_mm256_round_ps(__m256(x.v), 8 | int(R))));
  else return Vec<T>(typename Vec<T>::V(_mm256_round_pd(__m256d(x.v), 8 | int(R))));
#else
  // Adding 2^23 (2^52) rounds to an integer, ties to even; anything larger is one already. NaN fails the comparison and
  // passes through.
  const Vec<T> big = T(sizeof(T) == 4 ? 0x1p23 : 0x1p52), a = abs(x);
  Vec<T> r;
  if constexpr (R == Rounding::NearestEven) r = (a + big) - big;
  if constexpr (R == Rounding::Trunc) {
    r = (a + big) - big;
    r = select(r > a, r - Vec<T>(T(1)), r);
  }
  if constexpr (R == Rounding::Floor || R == Rounding::Ceil) {
    const Vec<T> s = copysign(big, x);
    r = (x + s) - s;
    if constexpr (R == Rounding::Floor) r = select(r > x, r - Vec<T>(T(1)), r);
    else r = select(r < x, r + Vec<T>(T(1)), r);
  }
  return select(a < big, copysign(abs(r), x), x);
#endif
}
template <class T>
MG_INL Vec<T> rint(Vec<T> x) {
  return round_to<Rounding::NearestEven>(x);
}
template <class T>
MG_INL Vec<T> floor(Vec<T> x) {
  return round_to<Rounding::Floor>(x);
}
template <class T>
MG_INL Vec<T> ceil(Vec<T> x) {
  return round_to<Rounding::Ceil>(x);
}
template <class T>
MG_INL Vec<T> trunc(Vec<T> x) {
  return round_to<Rounding::Trunc>(x);
}

// max(x, bound), min(x, bound) for a bound that is not NaN: one instruction on x86; NaN in x passes through.
template <class T>
MG_INL Vec<T> at_least(Vec<T> x, Vec<T> bound) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(typename Vec<T>::V(_mm512_maskz_max_ps(__mmask16(-1), __m512(bound.v), __m512(x.v))));
  else return Vec<T>(typename Vec<T>::V(_mm512_maskz_max_pd(__mmask8(-1), __m512d(bound.v), __m512d(x.v))));
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) return Vec<T>(typename Vec<T>::V(_mm256_max_ps(__m256(bound.v), __m256(x.v))));
  else return Vec<T>(typename Vec<T>::V(_mm256_max_pd(__m256d(bound.v), __m256d(x.v))));
#else
  return select(x < bound, bound, x);
#endif
}
template <class T>
MG_INL Vec<T> at_most(Vec<T> x, Vec<T> bound) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(typename Vec<T>::V(_mm512_maskz_min_ps(__mmask16(-1), __m512(bound.v), __m512(x.v))));
  else return Vec<T>(typename Vec<T>::V(_mm512_maskz_min_pd(__mmask8(-1), __m512d(bound.v), __m512d(x.v))));
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) return Vec<T>(typename Vec<T>::V(_mm256_min_ps(__m256(bound.v), __m256(x.v))));
  else return Vec<T>(typename Vec<T>::V(_mm256_min_pd(__m256d(bound.v), __m256d(x.v))));
#else
  return select(x > bound, bound, x);
#endif
}

template <class T>
MG_INL Vec<T> sqrt(Vec<T> x) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return Vec<T>(typename Vec<T>::V(_mm512_maskz_sqrt_ps(__mmask16(-1), __m512(x.v))));
  else return Vec<T>(typename Vec<T>::V(_mm512_maskz_sqrt_pd(__mmask8(-1), __m512d(x.v))));
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) return Vec<T>(typename Vec<T>::V(_mm256_sqrt_ps(__m256(x.v))));
  else return Vec<T>(typename Vec<T>::V(_mm256_sqrt_pd(__m256d(x.v))));
#elif defined(__SSE2__)
  if constexpr (sizeof(T) == 4) return Vec<T>(typename Vec<T>::V(_mm_sqrt_ps(__m128(x.v))));
  else return Vec<T>(typename Vec<T>::V(_mm_sqrt_pd(__m128d(x.v))));
#else
  for (int i = 0; i < Vec<T>::size; ++i)
    x.v[i] = sizeof(T) == 4 ? __builtin_sqrtf(float(x.v[i])) : __builtin_sqrt(x.v[i]);
  return x;
#endif
}

// a*b - c rounded once, opaque to the optimiser: in the rounding error of a product, fma(a, b, -(a*b)), it would reuse
// the product.
MG_INL Vec<float> fused_msub(Vec<float> a, Vec<float> b, Vec<float> c) {
#if defined(__AVX512F__)
  return Vec<float>(Vec<float>::V(_mm512_fmsub_ps(__m512(a.v), __m512(b.v), __m512(c.v))));
#elif defined(__FMA__)
  return Vec<float>(Vec<float>::V(_mm256_fmsub_ps(__m256(a.v), __m256(b.v), __m256(c.v))));
#else
  for (int i = 0; i < Vec<float>::size; ++i) c.v[i] = __builtin_fmaf(a.v[i], b.v[i], -c.v[i]);
  return c;
#endif
}

// a / b to 1 ulp where b is normal and b, 1/b and a/b do not overflow; rcp14 + Newton is ~2x faster than a 512-bit
// divide.
MG_INL Vec<float> fast_div(Vec<float> a, Vec<float> b) {
#if defined(__AVX512F__)
  const Vec<float> r0(Vec<float>::V(_mm512_maskz_rcp14_ps(__mmask16(-1), __m512(b.v))));
  const Vec<float> r = fma(r0, fma(-b, r0, Vec<float>(1.0f)), r0), q = a * r;
  return fma(r, fma(-b, q, a), q);
#else
  return a / b;
#endif
}
// The same to about 2^-22, where more is not needed.
MG_INL Vec<float> rough_div(Vec<float> a, Vec<float> b) {
#if defined(__AVX512F__)
  const Vec<float> r0(Vec<float>::V(_mm512_maskz_rcp14_ps(__mmask16(-1), __m512(b.v))));
  return a * fma(r0, fma(-b, r0, Vec<float>(1.0f)), r0);
#else
  return a / b;
#endif
}
MG_INL Vec<double> rough_div(Vec<double> a, Vec<double> b) {  // about 2^-50
#if defined(__AVX512F__)
  const Vec<double> one = 1.0, r0(Vec<double>::V(_mm512_maskz_rcp14_pd(__mmask8(-1), __m512d(b.v))));
  const Vec<double> r1 = fma(r0, fma(-b, r0, one), r0);
  return a * fma(r1, fma(-b, r1, one), r1);
#else
  return a / b;
#endif
}
MG_INL Vec<double> fast_div(Vec<double> a, Vec<double> b) { return a / b; }

// A Vec<float> seen as two Vec<double>, for functions that need the extra digits.
struct DoublePair {
  Vec<double> lo, hi;
};
MG_INL DoublePair widen(Vec<float> x) {
#if defined(__AVX512F__)
  constexpr __mmask8 all = 0xff;
  const __m256 lo = __builtin_shufflevector(x.v, x.v, 0, 1, 2, 3, 4, 5, 6, 7),
               hi = __builtin_shufflevector(x.v, x.v, 8, 9, 10, 11, 12, 13, 14, 15);
  return {Vec<double>(Vec<double>::V(_mm512_maskz_cvtps_pd(all, lo))),
          Vec<double>(Vec<double>::V(_mm512_maskz_cvtps_pd(all, hi)))};
#elif defined(__AVX2__)
  const __m256 a = __m256(x.v);
  return {Vec<double>(Vec<double>::V(_mm256_cvtps_pd(_mm256_castps256_ps128(a)))),
          Vec<double>(Vec<double>::V(_mm256_cvtps_pd(_mm256_extractf128_ps(a, 1))))};
#elif defined(__SSE2__)
  const __m128 a = __m128(x.v);
  return {Vec<double>(Vec<double>::V(_mm_cvtps_pd(a))), Vec<double>(Vec<double>::V(_mm_cvtps_pd(_mm_movehl_ps(a, a))))};
#else
  using V = Vec<double>::V;
  V lo, hi;
  for (int i = 0; i < Vec<double>::size; ++i) lo[i] = x.v[i], hi[i] = x.v[i + Vec<double>::size];
  return {Vec<double>(lo), Vec<double>(hi)};
#endif
}
MG_INL Vec<float> narrow(DoublePair p) {
#if defined(__AVX512F__)
  constexpr __mmask8 all = 0xff;
  const __m256 lo = _mm512_maskz_cvtpd_ps(all, __m512d(p.lo.v)), hi = _mm512_maskz_cvtpd_ps(all, __m512d(p.hi.v));
  return Vec<float>(
      Vec<float>::V(__builtin_shufflevector(lo, hi, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
#elif defined(__AVX2__)
  return Vec<float>(Vec<float>::V(_mm256_set_m128(_mm256_cvtpd_ps(__m256d(p.hi.v)), _mm256_cvtpd_ps(__m256d(p.lo.v)))));
#elif defined(__SSE2__)
  return Vec<float>(Vec<float>::V(_mm_movelh_ps(_mm_cvtpd_ps(__m128d(p.lo.v)), _mm_cvtpd_ps(__m128d(p.hi.v)))));
#else
  Vec<float>::V r;
  for (int i = 0; i < Vec<double>::size; ++i) r[i] = float(p.lo.v[i]), r[i + Vec<double>::size] = float(p.hi.v[i]);
  return Vec<float>(r);
#endif
}

// f applied to both halves in double.
template <class F>
MG_INL Vec<float> in_double(Vec<float> x, F f) {
  const DoublePair p = widen(x);
  return narrow({f(p.lo), f(p.hi)});
}
template <class F>
MG_INL Vec<float> in_double(Vec<float> x, Vec<float> y, F f) {
  const DoublePair p = widen(x), q = widen(y);
  return narrow({f(p.lo, q.lo), f(p.hi, q.hi)});
}

}  // namespace mg::simd::MG_ISA_NS
