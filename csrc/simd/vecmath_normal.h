// erf, erfc and the normal distribution; included by vecmath_gelu.h only.
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

// p * erfcx(a) for a in [0.65, 10.4] and p = e^-a^2: the tail of the normal distribution without cancellation.
MG_INL Vec<float> erfc_tail(Vec<float> a, Vec<float> p) {
  using V = Vec<float>;
  // erfcx(a) (1 + 2a) in t = (a - 2) / (a + 2)
  const float c[9] = {1.2769783787f,     -0.09276374028f,  -0.16603003417f,  0.16404740888f,   -0.054226268522f,
                      -0.0079848751731f, 0.0087486803496f, 0.0010268018137f, -0.0014310334872f};
  const V t = rough_div(a - V(2.0f), a + V(2.0f));
  return fast_div(p * poly(t, c), fma(a, V(2.0f), V(1.0f)));
}
// Rounding error of s = a * b.
MG_INL Vec<float> product_error(Vec<float> a, Vec<float> b, Vec<float> s) {
  if constexpr (kHasFma) return fused_msub(a, b, s);
  const Vec<int32_t> upper = int32_t(0xfffff000);
  const Vec<float> ah = from_bits<float>(bits(a) & upper), al = a - ah, bh = from_bits<float>(bits(b) & upper),
                   bl = b - bh;
  return ((ah * bh - s) + (ah * bl + al * bh)) + al * bl;
}
// The same in double, for a correctly rounded float.
MG_INL Vec<double> erfc_float_accuracy(Vec<double> x) {
  using V = Vec<double>;
  const double erf_c[8] = {0.12837916709546301,    -0.3761263890170831,   0.11283791598774309,
                           -0.026866157171001395,  0.005223853829020109,  -0.00085421277922718354,
                           0.00011882137405507142, -1.2362148747250527e-5};
  const double tail_c[11] = {1.2769783812660078,      -0.09276382640440282,  -0.16603034729705224,
                             0.16405124144211344,     -0.05422142865952137,  -0.0080326199099085724,
                             0.008736968341667914,    0.001254270610690348,  -0.0015157471298636789,
                             -0.00037035048595905377, 0.00029072026220824723};
  const V v = clamp_finite(x, -10.4, 10.4), a = abs(v), s = a * a, one = 1.0, two = 2.0;
  const V tail = exp(-s) * poly((a - two) / (a + two), tail_c) / fma(a, two, one);
  const V middle = one - fma(v, poly(s, erf_c), v);
  return select(a < V(0.65), middle, select(v < V(0.0), two - tail, tail));
}
inline Vec<float> erfc(Vec<float> x) {
  return in_double(x, [](Vec<double> v) { return erfc_float_accuracy(v); });
}
inline Vec<float> ndtr(Vec<float> x) {
  return in_double(x, [](Vec<double> v) {
    return Vec<double>(0.5) * erfc_float_accuracy(v * Vec<double>(-0.70710678118654752440));
  });
}
// Phi(x) = erfc(-x / sqrt 2) / 2, to a few ulp in both tails (1 + erf has no correct digit left at x = -6), and
// e^(-x^2 / 2), which it needs.
struct NormalParts {
  Vec<float> x, bell, cdf;  // x cut off where nothing changes any more
};
MG_INL NormalParts normal_parts(Vec<float> x) {
  using V = Vec<float>;
  const V v = clamp_finite(x, -14.6f, 14.6f), h = v * V(0.5f), s = v * h, u = v * V(0.70710678f), a = abs(u);
  const V p = exp_bounded(-s), bell = fma(p, -product_error(v, h, s), p), tail = V(0.5f) * erfc_tail(a, bell);
  const V far = select(v < V(0.0f), tail, V(1.0f) - tail);
  return {v, bell, select(a < V(0.65f), fma(erf_small(u), V(0.5f), V(0.5f)), far)};
}
MG_INL Vec<float> normal_cdf(Vec<float> x) { return normal_parts(x).cdf; }

}  // namespace mg::simd::MG_ISA_NS
