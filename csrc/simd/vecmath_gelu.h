// gelu, its tanh form and their slopes; included by vecmath_special.h only.
//
// Every instruction set has the forms *_everywhere. With AVX-512 these serve the lanes far left of zero only: else
// gelu(x) = max(x, 0) - T(|x|) and gelu'(x) = D(|x|) or, right of zero, 1 - D(|x|), with T and D from gelu_pieces.h, in
// about 24 operations where the form everywhere takes 70. A register with such a lane pays for both.
//
// Largest error in ulp (AVX-512, every float): gelu 1.26, gelu_tanh 1.13, their slopes 1.65 and 1.48 down to -6.5 and
// -5.5; left of there, where they are below 1e-6, 7.5 and 300. Slopes of the forms everywhere have an error of about
// 2^-22 beside their zero at -0.75.
#pragma once
#include "gelu_pieces.h"
#include "vecmath_normal.h"

namespace mg::simd::MG_ISA_NS {

// x Phi(x); the form and its polynomials are in scalar_activation.h.
MG_INL Vec<float> gelu_everywhere(Vec<float> x) {
  using V = Vec<float>;
  using K = Constants<float>;
  const V a = abs(x), v = at_most(a, V(scalar::kGeluFar)), h = v * V(0.5f), s = v * h, half = x * V(0.5f);
  const V n = rint(s * V(-K::log2e)), r = -fma(n, V(K::ln2_hi), s) - fma(n, V(K::ln2_lo), product_error(v, h, s));
  const V t = rough_div(v - V(1.5f), v + V(1.5f)), slope = scalar::gelu_ratio_slope(t), g0 = scalar::kGeluRatio;
  const V g = fma(t, slope, g0), rest = fma(t, slope, g0 - g);  // what rounding G lost
  // G e^r, e^r = 1 + r + ..., the largest part added last
  const V tail = scale(g + fma(g, r, fma(g, r * r * poly(r, K::exp), rest)), nan_to_zero(n));
  return select(a < V(scalar::kGeluNear), scalar::gelu_near(x), (half + abs(half)) - tail);  // NaN for -inf, as x * 0
}
MG_INL Vec<float> gelu_slope_everywhere(Vec<float> x) {
  const NormalParts n = normal_parts(x);
  return fma(n.x * n.bell, Vec<float>(0.39894228040143267794f), n.cdf);
}
MG_INL Vec<float> gelu_tanh_everywhere(Vec<float> x) {
  using V = Vec<float>;
  const auto [u, error] = scalar::gelu_tanh_cubic(at_least(-abs(x), V(-13.6f)));
  // times 2 sqrt(2 / pi), and reduced by ln 2: u = n ln2 / (2 sqrt(2 / pi)) + r
  const V n = rint(u * V(2.3022082f)), r = fma(n, V(-0x1.bcccp-2f), u), k = 0x1.988454p+0f;
  const V small = fma(r, V(-0x1.857936p-25f), fma(n, V(0x1.ab581ap-18f), error) * k);
  return times_sigmoid(x, exp_parts(nan_to_zero(n), fma(r, k, small)));
}
template <class T>
MG_INL Vec<T> gelu_tanh_slope_everywhere(Vec<T> x) {
  return scalar::gelu_tanh_slope(x);
}

#if defined(__AVX512F__)
[[gnu::noinline]] inline Vec<float> gelu_far(Vec<float> x) { return gelu_everywhere(x); }
[[gnu::noinline]] inline Vec<float> gelu_slope_far(Vec<float> x) { return gelu_slope_everywhere(x); }
[[gnu::noinline]] inline Vec<float> gelu_tanh_far(Vec<float> x) { return gelu_tanh_everywhere(x); }
[[gnu::noinline]] inline Vec<float> gelu_tanh_slope_far(Vec<float> x) {
  return gelu_tanh_slope_everywhere(x);
}

template <int Degree>
MG_INL Vec<float> at_distance(const Pieces<Degree>& p, Vec<float> x) {
  return piecewise(p, at_most(abs(x), Vec<float>(p.end)));
}
// y, but far(x) in the lanes left of the last interval: a lane's result does not depend on its neighbours.
template <int Degree>
MG_INL Vec<float> or_far(const Pieces<Degree>& p, Vec<float> x, Vec<float> y, Vec<float> (*far)(Vec<float>)) {
  const __mmask16 beyond = _mm512_cmp_ps_mask(__m512(x.v), __m512(Vec<float>(-p.end).v), _CMP_LT_OQ);
  if (beyond != 0) [[unlikely]]
    return Vec<float>(Vec<float>::V(_mm512_mask_mov_ps(__m512(y.v), beyond, __m512(far(x).v))));
  return y;
}
MG_INL Vec<float> gelu(Vec<float> x) {
  return or_far(kGelu, x, at_least(x, Vec<float>(0.0f)) - at_distance(kGelu, x), gelu_far);
}
MG_INL Vec<float> gelu_tanh(Vec<float> x) {
  return or_far(kGeluTanh, x, at_least(x, Vec<float>(0.0f)) - at_distance(kGeluTanh, x), gelu_tanh_far);
}
MG_INL Vec<float> right_or_left(Vec<float> x, Vec<float> d) {
  return select(x > Vec<float>(0.0f), Vec<float>(1.0f) - d, d);
}
MG_INL Vec<float> gelu_slope(Vec<float> x) {
  return or_far(kGeluSlope, x, right_or_left(x, at_distance(kGeluSlope, x)), gelu_slope_far);
}
MG_INL Vec<float> gelu_tanh_slope(Vec<float> x) {
  return or_far(kGeluTanhSlope, x, right_or_left(x, at_distance(kGeluTanhSlope, x)), gelu_tanh_slope_far);
}
#else
MG_INL Vec<float> gelu(Vec<float> x) { return gelu_everywhere(x); }
MG_INL Vec<float> gelu_slope(Vec<float> x) { return gelu_slope_everywhere(x); }
MG_INL Vec<float> gelu_tanh(Vec<float> x) { return gelu_tanh_everywhere(x); }
MG_INL Vec<float> gelu_tanh_slope(Vec<float> x) { return gelu_tanh_slope_everywhere(x); }
#endif

MG_INL Vec<double> gelu(Vec<double> x) { return x * normal_cdf(x); }
MG_INL Vec<double> gelu_tanh(Vec<double> x) { return x * sigmoid(scalar::gelu_tanh_argument(x)); }
MG_INL Vec<double> gelu_tanh_slope(Vec<double> x) { return gelu_tanh_slope_everywhere(x); }

}  // namespace mg::simd::MG_ISA_NS
