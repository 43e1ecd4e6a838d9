// exp, log and their relatives for Vec<float> and Vec<double>: polynomials of our own (Remez fits), no tables, no
// branches.
//
// Every function is correct for infinities, NaN, zeros, subnormals and overflow. Largest error in ulp, measured against
// long double by tests/cpp/test_vecmath.cpp on each instruction set (float / double):
//   exp 1.0/1.0  exp2 1.0/1.05  expm1 1.5/1.9  log 0.8/0.8  log2 1.8/lib  log10 1.7/lib  log1p 1.4/1.2
//   sigmoid 1.8/2.2  tanh 1.4/2.5  silu 1.9/2.7         (10M points per function)
// ("lib": lane by lane through the C library). The rest is in vecmath_more.h (sin, erf, pow …).
#pragma once
#include "vec.h"

namespace mg::simd::MG_ISA_NS {

// Horner's scheme: c[0] + x*(c[1] + x*(...)).
template <class T, int N>
MG_INL Vec<T> poly(Vec<T> x, const T (&c)[N]) {
  Vec<T> r = c[N - 1];
#pragma GCC unroll 24
  for (int i = N - 2; i >= 0; --i) r = fma(r, x, Vec<T>(c[i]));
  return r;
}

template <class T>
struct Constants;
template <>
struct Constants<float> {
  static constexpr int mantissa_bits = 23, bias = 127;
  static constexpr float log2e = 1.44269504f, ln2_hi = 0x1.62e4p-1f, ln2_lo = 0x1.7f7d1cp-20f;  // ln2_hi * n is exact
  static constexpr float identity = 0x1p-26f;  // below, expm1(x) = x
  static constexpr float exp_max = 89.0f, exp_min = -110.0f;                                    // beyond: inf, 0
  // (e^r - 1 - r) / r^2 on |r| <= ln2/2
  static constexpr float exp[5] = {0.49999993414f, 0.16666520111f, 0.041668393943f, 0.0083687802105f, 0.0013814480615f};
  static constexpr float expm1[6] = {0.50000000467f,   0.16666666818f,   0.041666353548f,
                                     0.0083332727798f, 0.0013941101709f, 0.00019914332911f};
  // log(1 + f) = f - f^2/2 + f^3 * P(f)
  static constexpr float log[9] = {0.33333312605f,  -0.25000009589f, 0.20002118586f,  -0.16667996047f, 0.14219554017f,
                                   -0.12405589839f, 0.11888153172f,  -0.11675631588f, 0.067466255442f};
};
template <>
struct Constants<double> {
  static constexpr int mantissa_bits = 52, bias = 1023;
  static constexpr double log2e = 1.4426950408889634, ln2_hi = 0x1.62e42fee00000p-1, ln2_lo = 0x1.a39ef35793c76p-33;
  static constexpr double identity = 0x1p-55;
  static constexpr double exp_max = 710.0, exp_min = -746.0;
  static constexpr double expm1[11] = {0.49999999999999999985,   0.16666666666666676688,   0.041666666666666702033,
                                       0.0083333333333215315329, 0.0013888888888866532719, 0.00019841269886400748772,
                                       0.000024801587361115706,  2.7557243912019440936e-6, 2.7557242310995961968e-7,
                                       2.5109147272853924068e-8, 2.0924574548375374181e-9};
  static constexpr const double (&exp)[11] = expm1;
  // log(1 + f) = 2s + s^3 * P(s^2), s = f / (2 + f)
  static constexpr double log[7] = {0.66666666666667344178, 0.39999999999414655098, 0.28571428742391598331,
                                    0.22222198572840464877, 0.18183564342221893442, 0.15314050162244671272,
                                    0.14795953525208240445};
};

// 2^n for integer-valued n whose result is a normal number.
template <class T>
MG_INL Vec<T> pow2i(Vec<T> n) {
  using K = Constants<T>;
  return from_bits<T>((convert<IntLane<T>>(n) + typename Vec<T>::I(K::bias)) << K::mantissa_bits);
}

// x * 2^n, n integer-valued and |n| <= 2 * bias; overflows to inf and into the subnormals.
template <class T>
MG_INL Vec<T> scale(Vec<T> x, Vec<T> n) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(typename Vec<T>::V(_mm512_maskz_scalef_ps(__mmask16(-1), __m512(x.v), __m512(n.v))));
  else return Vec<T>(typename Vec<T>::V(_mm512_maskz_scalef_pd(__mmask8(-1), __m512d(x.v), __m512d(n.v))));
#else
  const Vec<T> half = floor(n * Vec<T>(T(0.5)));
  return x * pow2i(half) * pow2i(n - half);
#endif
}

template <class T>
MG_INL Vec<T> clamp_finite(Vec<T> x, T lo, T hi) {
  return at_least(at_most(x, Vec<T>(hi)), Vec<T>(lo));
}
template <class T>
MG_INL Vec<T> nan_to_zero(Vec<T> n) {
  return select(n == n, n, Vec<T>(T(0)));
}

template <class T>
struct Reduced {
  Vec<T> n, r;  // x = n ln2 + r
};
template <class T>
MG_INL Reduced<T> reduce_exp(Vec<T> x) {
  using K = Constants<T>;
  const Vec<T> n = rint(x * Vec<T>(K::log2e));
  const Vec<T> r = fma(n, Vec<T>(-K::ln2_lo), fma(n, Vec<T>(-K::ln2_hi), x));
#if defined(__AVX512F__)
  return {n, r};
#else
  return {nan_to_zero(n), r};  // n becomes an integer; r carries the NaN
#endif
}

// p * 2^n for p between 0.7 and 1.42, or NaN. Where it rounds to 0 a mask says so: a product that underflows costs some processors (Intel's) a
// trap into microcode, and exp(-inf), or of a masked score, is no rare case.
template <class T>
MG_INL Vec<T> scale_of_exp(Vec<T> p, Vec<T> n) {
  const Vec<T> least = T(-(Constants<T>::bias + Constants<T>::mantissa_bits));  // 2^least is half the smallest number
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(typename Vec<T>::V(
        _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(__m512(n.v), __m512(least.v), _CMP_NLT_UQ), __m512(p.v), __m512(n.v))));
  else
    return Vec<T>(typename Vec<T>::V(
        _mm512_maskz_scalef_pd(_mm512_cmp_pd_mask(__m512d(n.v), __m512d(least.v), _CMP_NLT_UQ), __m512d(p.v), __m512d(n.v))));
#else
  return scale(select(n < least, Vec<T>(T(0)), p), n);
#endif
}

template <class T>
MG_INL Vec<T> exp_bounded(Vec<T> x) {  // exp_min <= x <= exp_max, or NaN
  const auto [n, r] = reduce_exp(x);
  return scale_of_exp(fma(r * r, poly(r, Constants<T>::exp), r) + Vec<T>(T(1)), n);
}
template <class T>
MG_INL Vec<T> exp(Vec<T> x) {
  return exp_bounded(clamp_finite(x, Constants<T>::exp_min, Constants<T>::exp_max));
}

template <class T>
MG_INL Vec<T> exp2(Vec<T> x) {
  using K = Constants<T>;
  x = clamp_finite(x, T(-K::bias - K::mantissa_bits - 3), T(K::bias + 2));
  const Vec<T> n = rint(x), f = x - n;
  const Vec<T> r = f * Vec<T>(T(0.693147180559945309417)), p = fma(r * r, poly(r, K::exp), r) + Vec<T>(T(1));
#if defined(__AVX512F__)
  return scale(p, n);
#else
  return scale(p, nan_to_zero(n));
#endif
}

// e^x - 1 without cancellation: 2^n (e^r - 1) + (2^n - 1), computed at half scale so that n = bias + 1 does not
// overflow early.
template <class T>
MG_INL Vec<T> expm1(Vec<T> x) {
  using K = Constants<T>;
  const auto [n, r] = reduce_exp(clamp_finite(x, T(-(K::mantissa_bits + 3) * 0.7), K::exp_max));
  const Vec<T> q = fma(r * r, poly(r, K::expm1), r), s = pow2i(n - Vec<T>(T(1)));
  const Vec<T> y = fma(s, q, s - Vec<T>(T(0.5)));
  return select(abs(x) < Vec<T>(Constants<T>::identity), x, y + y);  // halves of subnormals lose a digit
}

}  // namespace mg::simd::MG_ISA_NS

#include "vecmath_log.h"  // log, log2, log10, log1p
#include "vecmath_sigmoid.h"  // sigmoid, silu, tanh
