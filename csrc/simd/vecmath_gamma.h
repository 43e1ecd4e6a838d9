// lgamma and digamma of Vec<float>, computed in double; included by vecmath_special.h only.
//
// Both shift x up to at least 8 (lgamma(x) = lgamma(x + 8) - log(x (x+1) … (x+7)), psi likewise with a sum of
// reciprocals), use Stirling's series there, and reflect x < 0.5 through pi / sin(pi x). In double all of this is good
// to ~1e-15 absolutely, which is <= 1 float ulp even beside the zeros of lgamma at 1 and 2. Poles as in PyTorch: lgamma
// inf; digamma -+inf at +-0 and NaN at -1, -2 …
#pragma once
#include "vecmath_special.h"

namespace mg::simd::MG_ISA_NS {

// sin(pi x) and cos(pi x) up to a common sign (that of (-1)^rint(x)).
struct SinCosPi {
  Vec<double> s, c;
};
MG_INL SinCosPi sincos_pi(Vec<double> x) {
  using V = Vec<double>;
  const double sin_c[5] = {-0.16666666666631626073, 0.0083333333252773101374, -0.00019841263825899072023,
                           2.7555358364746093546e-6, -2.4761695951453383796e-8};
  const double cos_c[5] = {0.041666666666602256486, -0.0013888888878274302135, 0.000024801580971669619894,
                           -2.7555567131965495643e-7, 2.0647737986970791474e-9};
  const V f = x - rint(x);                        // exact, |f| <= 1/2
  const auto outer = abs(f) > V(0.25);            // the polynomials are for |r| <= pi/4
  const V g = select(outer, V(0.5) - abs(f), f);  // exact
  const V r = g * V(3.14159265358979323846), z = r * r;
  const V s = fma(r * z, poly(z, sin_c), r), c = fma(z * z, poly(z, cos_c), fma(z, V(-0.5), V(1.0)));
  return {select(outer, copysign(c, f), s), select(outer, s, c)};
}

// sin(pi x) / (pi x), exact zeros at the integers.
inline Vec<float> sinc(Vec<float> x) {
  return in_double(x, [](Vec<double> v) {
    using V = Vec<double>;
    const V half = rint(v) * V(0.5), s = sincos_pi(v).s;
    return select(v == V(0.0), V(1.0), select(rint(half) != half, -s, s) / (v * V(3.14159265358979323846)));
  });
}

struct Rising {
  Vec<double> product, slope;  // P = x (x+1) … (x+7) and its derivative
};
MG_INL Rising rising_factorial(Vec<double> x) {
  using V = Vec<double>;
  V p = x, d = 1.0;
#pragma GCC unroll 8
  for (int i = 1; i < 8; ++i) {
    const V t = x + V(double(i));
    d = fma(d, t, p);
    p = p * t;
  }
  return {p, d};
}

MG_INL Vec<double> lgamma_float_accuracy(Vec<double> x) {
  using V = Vec<double>;
  const V inf = __builtin_inf(), one = 1.0;
  const auto reflect = x < V(0.5);
  const V a = select(reflect, one - x, x);  // >= 0.5
  const auto small = a < V(8.0);
  const V y = select(small, a + V(8.0), a), z = one / y, w = z * z;
  const double c[5] = {1.0 / 12, -1.0 / 360, 1.0 / 1260, -1.0 / 1680, 1.0 / 1188};
  V r = (y - V(0.5)) * log(y) - y + V(0.91893853320467274178) + z * poly(w, c);
  r = select(small, r - log(rising_factorial(select(small, a, one)).product), r);
  const V other = V(1.1447298858494001741) - log(abs(sincos_pi(x).s)) - r;  // log(pi) - log|sin(pi x)| - lgamma(1 - x)
  r = select(reflect, other, r);
  r = select(reflect & (rint(x) == x), inf, r);
  r = select((x == one) | (x == V(2.0)), V(0.0), r);
  return select(abs(x) == inf, inf, r);
}
MG_INL Vec<double> digamma_float_accuracy(Vec<double> x) {
  using V = Vec<double>;
  const V zero = 0.0, one = 1.0, inf = __builtin_inf();
  const auto reflect = x < zero;
  const V a = select(reflect, one - x, x);
  const auto small = a < V(8.0);
  const V y = select(small, a + V(8.0), a), z = one / y, w = z * z;
  const double c[5] = {1.0 / 12, -1.0 / 120, 1.0 / 252, -1.0 / 240, 1.0 / 132};
  V r = log(y) - V(0.5) * z - w * poly(w, c);
  const Rising p = rising_factorial(select(small, a, one));
  r = select(small, r - p.slope / p.product, r);
  const SinCosPi sc = sincos_pi(x);
  r = select(reflect, r - V(3.14159265358979323846) * sc.c / sc.s, r);
  r = select(reflect & (rint(x) == x), V(__builtin_nan("")), r);  // -inf too
  r = select(x == inf, inf, r);
  return select(x == zero, copysign(inf, -x), r);
}

[[gnu::noinline]] inline Vec<float> lgamma(Vec<float> x) {
  return in_double(x, [](auto v) { return lgamma_float_accuracy(v); });
}
[[gnu::noinline]] inline Vec<float> digamma(Vec<float> x) {
  return in_double(x, [](auto v) { return digamma_float_accuracy(v); });
}

}  // namespace mg::simd::MG_ISA_NS
