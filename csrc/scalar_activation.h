// silu, mish, gelu and their slopes for float and double, and what their forms for registers (simd/vecmath*.h) share
// with them. Float loses little in the tails, where a factor would become subnormal before the result does, or an error
// of an exponent counts as often as the exponent is large. Included by scalar_math.h only.
#pragma once
#include "scalar_math.h"

namespace mg::scalar {

// x / (1 + e^-u) for x of u's sign.
template <class T>
MG_HD IfFloat<T> times_sigmoid(T x, T u) {
  if (u < T(-80)) return T(double(x) * ::exp(double(u)));  // where a factor may be subnormal, not yet the result
  return x * sigmoid(u);
}
template <class T>
MG_HD IfFloat<T> silu(T x) {
  return times_sigmoid(x, x);
}
// x tanh(log(1 + e^x)) = x n / (n + 2), n = e^x (e^x + 2); beyond 40 the quotient is 1.
template <class T>
MG_HD IfFloat<T> mish(T x) {
  if (x < T(-80)) return T(double(x) * ::exp(double(x)));
  const T e = exp(minimum(x, T(40))), n = e * (e + T(2));
  return x * (n / (n + T(2)));
}
// Rounding error of s = a * b.
MG_HD float product_error(float a, float b, float s) { return ::fmaf(a, b, -s); }

// x Phi(x) = max(x, 0) - G(|x|) e^(-x^2 / 2) without cancellation. G(a) = a sqrt(pi/8) erfcx(a / sqrt 2) tends slowly
// to 0.4, as a polynomial in t = (a - 1.5) / (a + 1.5); near 0, x^2 times a polynomial is added to x/2.
constexpr float kGeluNear = 0.7f, kGeluFar = 14.7f;  // |x| from which G is taken, and beyond which its term is 0
template <class T>
MG_HD T gelu_near(T x) {
  const T z = x * x, p = T(-0.0011869857402f) + z * (T(0.00011446822997f) + z * T(-8.1689944825e-6f));
  return T(0.5f) * x + z * (T(0.39894228037f) + z * (T(-0.06649037679f) + z * (T(0.0099735017629f) + z * p)));
}
constexpr float kGeluRatio = 0.30867100053f;
template <class T>
MG_HD T gelu_ratio_slope(T t) {  // G = kGeluRatio + t gelu_ratio_slope(t)
  const T p =
      T(0.00078697588453f) +
      t * (T(-0.0023679886346f) + t * (T(-0.0020801012568f) + t * (T(-0.00089670375516f) + t * T(0.0012524147417f))));
  const T q = T(-0.019797816714f) + t * (T(0.01776877139f) + t * (T(0.010785981911f) + t * p));
  return T(0.21112122956f) + t * (T(-0.12629750504f) + t * q);
}
MG_HD float gelu(float x) {
  if (abs(x) < kGeluNear) return gelu_near(x);
  const float v = abs(x) > kGeluFar ? kGeluFar : abs(x), h = 0.5f * v, s = v * h, p = exp(-s), half = 0.5f * x;
  const float t = (v - 1.5f) / (v + 1.5f), g = kGeluRatio + t * gelu_ratio_slope(t);
  const float tail =
      s > 80.0f ? float(double(g) * ::exp(-0.5 * double(v) * double(v))) : g * (p - p * product_error(v, h, s));
  return (half + abs(half)) - tail;
}
MG_HD double gelu(double x) { return x * normal_cdf(x); }

// gelu_tanh(x) = x/2 (1 + tanh(u/2)) = x sigmoid(u), u = 2 sqrt(2/pi) (x + 0.044715 x^3): no cancellation for negative
// x. An error of u counts as often as u is large, so float takes twice the digits.
template <class T>
MG_HD T gelu_tanh_argument(T x) {
  return x * (T(1.59576912160573071176) + T(0.07135481627260025) * x * x);
}
template <class T>
struct TwoParts {
  T value, error;  // the exact number is their sum
};
template <class T>
MG_HD TwoParts<T> gelu_tanh_cubic(T x) {  // x + 0.044715 x^3 for float and its registers
  const T k(0x1.6e4e26p-5f), one(1.0f), z = x * x, w = k * z + one, d = w - one, u = x * w;
  const T low = product_error(k, z, d) + k * product_error(x, x, z) + T(0x1.a9003ep-30f) * z;
  return {u, product_error(x, w, u) + x * low};
}
MG_HD float gelu_tanh(float x) {
  const TwoParts<float> c = gelu_tanh_cubic(abs(x) > 30.0f ? 30.0f : abs(x));
  const float k = 0x1.988454p+0f, u = k * c.value,
              rest = product_error(k, c.value, u) + k * c.error - 0x1.857936p-25f * c.value;
  if (x < 0 && u > 80.0f) return float(double(x) * ::exp(-(double(u) + double(rest))));
  const float p = exp(-u), e = p - p * rest;
  return x < 0 ? x * e / (1.0f + e) : x / (1.0f + e);
}
MG_HD double gelu_tanh(double x) { return times_sigmoid(x, gelu_tanh_argument(x)); }
// Derivative of x Phi(x). Slopes are 0 or 1 long before 40; an infinity, or a square that overflowed, times 0 would be NaN.
template <class T>
MG_HD T gelu_slope(T x) {
  const T y = minimum(maximum(x, T(-40)), T(40));
  return normal_cdf(y) + y * exp(T(-0.5) * y * y) * T(0.39894228040143267794);
}
template <class T>
MG_HD T gelu_tanh_slope(T x) {
  const T y = minimum(maximum(x, T(-40)), T(40)), s = sigmoid(gelu_tanh_argument(y));
  return s + y * s * (T(1) - s) * (T(1.59576912160573071176) + T(3 * 0.07135481627260025) * y * y);
}
template <class T>
MG_HD T silu_slope(T x, T s) {
  return s * (T(1) + x * (T(1) - s));
}

}  // namespace mg::scalar
