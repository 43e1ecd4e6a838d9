// erf family, hyperbolic functions, pow, fmod, hypot; included by vecmath_more.h only.
#pragma once
#include "vecmath_more.h"

namespace mg::simd::MG_ISA_NS {

// erf on [-1, 1]: x + x * small correction, so that the rounding of the polynomial hardly counts.
MG_INL Vec<float> erf_small(Vec<float> x) {
  const float c[8] = {0.1283791671f,    -0.37612638435f,    0.11283781975f,    -0.026865400069f,
                      0.0052209454934f, -0.00084828295547f, 0.00011256952065f, -9.6415257592e-6f};
  return fma(x, poly(x * x, c), x);
}
MG_INL Vec<float> erf(Vec<float> x) {
  using V = Vec<float>;
  // log(erfc(a)) on [0.9, 4]
  const float c[8] = {0.00016920792416f, -1.1294884204f,    -0.6334008218f,    -0.10822041686f,
                      0.025080638191f,   -0.0041562633205f, 0.00043139533338f, -2.082877425e-5f};
  const V a = abs(x), b = at_most(a, V(4.0f));
  const V large = V(1.0f) - exp_bounded(poly(b, c));
  return select(a < V(0.92f), erf_small(x), copysign(large, x));
}

// e^-(s + e) * erfcx(a) for a = sqrt(s) in [0.65, 10.4]: the tail of the normal distribution without cancellation; e is
// the rounding error of s.
MG_INL Vec<float> erfc_tail(Vec<float> a, Vec<float> s, Vec<float> e) {
  using V = Vec<float>;
  // erfcx(a) (1 + 2a) in t = (a - 2) / (a + 2)
  const float c[9] = {1.2769783787f,     -0.09276374028f,  -0.16603003417f,  0.16404740888f,   -0.054226268522f,
                      -0.0079848751731f, 0.0087486803496f, 0.0010268018137f, -0.0014310334872f};
  const V t = rough_div(a - V(2.0f), a + V(2.0f)), p = exp_bounded(-s);
  return fast_div(fma(p, -e, p) * poly(t, c), fma(a, V(2.0f), V(1.0f)));
}
// Rounding error of s = a * b.
MG_INL Vec<float> product_error(Vec<float> a, Vec<float> b, Vec<float> s) {
  if constexpr (kHasFma) return fused_msub(a, b, s);
  const Vec<int32_t> upper = int32_t(0xfffff000);
  const Vec<float> ah = from_bits<float>(bits(a) & upper), al = a - ah, bh = from_bits<float>(bits(b) & upper),
                   bl = b - bh;
  return ((ah * bh - s) + (ah * bl + al * bh)) + al * bl;
}
MG_INL Vec<float> erfc(Vec<float> x) {
  using V = Vec<float>;
  const V v = clamp_finite(x, -10.4f, 10.4f), a = abs(v), s = a * a;
  const V tail = erfc_tail(a, s, product_error(a, a, s));
  return select(a < V(0.65f), V(1.0f) - erf_small(v), select(v < V(0.0f), V(2.0f) - tail, tail));
}
// Phi(x) = erfc(-x / sqrt 2) / 2, to a few ulp in both tails (1 + erf has no correct digit left at x = -6).
MG_INL Vec<float> normal_cdf(Vec<float> x) {
  using V = Vec<float>;
  const V v = clamp_finite(x, -14.6f, 14.6f), h = v * V(0.5f), s = v * h, u = v * V(0.70710678f), a = abs(u);
  const V tail = V(0.5f) * erfc_tail(a, s, product_error(v, h, s));
  return select(a < V(0.65f), fma(erf_small(u), V(0.5f), V(0.5f)), select(v < V(0.0f), tail, V(1.0f) - tail));
}

inline Vec<float> sinh(Vec<float> x) {
  const Vec<float> y = in_double(x, [](Vec<double> v) {
    const Vec<double> e = exp(v);
    return (e - Vec<double>(1.0) / e) * Vec<double>(0.5);
  });
  return select(abs(x) < Vec<float>(0x1p-20f), x, y);
}
inline Vec<float> cosh(Vec<float> x) {
  return in_double(x, [](Vec<double> v) {
    const Vec<double> e = exp(v);
    return (e + Vec<double>(1.0) / e) * Vec<double>(0.5);
  });
}
inline Vec<float> asinh(Vec<float> x) {
  const Vec<float> y = in_double(abs(x), [](Vec<double> v) { return log(v + sqrt(v * v + Vec<double>(1.0))); });
  return select(abs(x) < Vec<float>(0x1p-20f), x, copysign(y, x));
}
inline Vec<float> acosh(Vec<float> x) {
  const Vec<float> y = in_double(x, [](Vec<double> v) { return log(v + sqrt(v * v - Vec<double>(1.0))); });
  return select(x < Vec<float>(1.0f), Vec<float>(__builtin_nanf("")), y);
}
inline Vec<float> atanh(Vec<float> x) {
  const Vec<float> y = in_double(
      x, [](Vec<double> v) { return Vec<double>(0.5) * log((Vec<double>(1.0) + v) / (Vec<double>(1.0) - v)); });
  return select(abs(x) < Vec<float>(0x1p-20f), x, y);
}
inline Vec<float> hypot(Vec<float> x, Vec<float> y) {
  const Vec<float> inf = float(__builtin_inff()),
                   r = in_double(x, y, [](auto a, auto b) { return sqrt(a * a + b * b); });
  return select((abs(x) == inf) | (abs(y) == inf), inf, r);  // even if the other is NaN (C99)
}

// a^b for a >= 0 that is a float and b any: exp(b log(a)) to 2^-36, enough to round correctly to float in all but rare
// cases.
MG_INL Vec<double> pow_float_accuracy(Vec<double> a, Vec<double> b) {
  using V = Vec<double>;
  using I = Vec<int64_t>;
  const double log_c[5] = {0.66666666675799677865, 0.39999995622588521968, 0.2857210904826958852,
                           0.22176194418914655157, 0.19584054629996064084};
  const double exp_c[7] = {0.49999999999734106071,    0.16666666755015022182,   0.041666666956861608385,
                           0.0083332887976045439537,  0.0013888808990423029999, 0.00019905073659154130744,
                           0.000024882661254401842383};
  const V ln2 = 0.693147180559945309417, inf = __builtin_inf();
  const I k = (bits(a) - bits(V(0.70710678118654752))) >> 52;
  const V f = from_bits<double>(bits(a) - (k << 52)) - V(1.0), s = rough_div(f, f + V(2.0)), z = s * s;
  V log_a = fma(convert<double>(k), ln2, s * fma(z, poly(z, log_c), V(2.0)));
  log_a = select(a < inf, select(a == V(0.0), -inf, log_a), a);
  const V t = clamp_finite(b * log_a, -160.0, 100.0), n = rint(t * V(1.4426950408889634)), r = fma(n, -ln2, t);
  return (fma(r * r, poly(r, exp_c), r) + V(1.0)) * pow2i(nan_to_zero(n));  // r carries NaN
}

[[gnu::noinline]] inline Vec<float> pow(Vec<float> x, Vec<float> y) {
  using V = Vec<float>;
  const V one = 1.0f, inf = float(__builtin_inff()), half = y * V(0.5f);
  V r = in_double(abs(x), y, [](Vec<double> a, Vec<double> b) { return pow_float_accuracy(a, b); });
  const auto whole = rint(y) == y, odd = whole & (rint(half) != half) & (abs(y) < V(0x1p24f));
  r = select((abs(x) == one) & (y == y), one, r);  // 1^inf, (-1)^inf
  r = select(odd, r | sign_bit(x), r);
  r = select((x < V(0.0f)) & (x > -inf) & !whole & (y == y), V(__builtin_nanf("")), r);
  return select((y == V(0.0f)) | (x == one), one, r);
}

// x - trunc(x/y) y. The quotient, rounded in double, is off by at most one while it stays below 2^28.
[[gnu::noinline]] inline Vec<float> fmod(Vec<float> x, Vec<float> y) {
  if (any(!(abs(x) < abs(y) * Vec<float>(0x1p27f))) || any(!(abs(y) < Vec<float>(__builtin_inff())))) [[unlikely]]
    return fmod_far(x, y);  // also y = 0, inf, NaN
  const Vec<float> r = in_double(abs(x), abs(y), [](Vec<double> a, Vec<double> b) {
    const Vec<double> m = a - trunc(a / b) * b;
    return select(m < Vec<double>(0.0), m + b, m);
  });
  return copysign(r, x);
}

}  // namespace mg::simd::MG_ISA_NS

#include "vecmath_gamma.h"
