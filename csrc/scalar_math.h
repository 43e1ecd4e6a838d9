// What the expressions of scalar.h may call, for single numbers: float, double and Int<T> (scalar_int.h); plus the few
// functions written once for every kind of T (numbers and SIMD registers alike). Usable on host and device; the SIMD
// versions are in simd/vecmath.h. Code that computes with plain float or double must stand inside mg::scalar, or exp(x)
// would mean ::exp.
#pragma once
#include <cmath>

#include "scalar_int.h"
#include "scalar_special.h"

namespace mg::scalar {

// --- float and double
#define MG_SCALAR1(name, f, d)               \
  MG_HD float name(float x) { return f(x); } \
  MG_HD double name(double x) { return d(x); }
#define MG_SCALAR2(name, f, d)                           \
  MG_HD float name(float x, float y) { return f(x, y); } \
  MG_HD double name(double x, double y) { return d(x, y); }
MG_SCALAR1(abs, ::fabsf, ::fabs)
MG_SCALAR1(sqrt, ::sqrtf, ::sqrt)
MG_SCALAR1(floor, ::floorf, ::floor)
MG_SCALAR1(ceil, ::ceilf, ::ceil)
MG_SCALAR1(trunc, ::truncf, ::trunc)
MG_SCALAR1(rint, ::rintf, ::rint)
MG_SCALAR1(exp, ::expf, ::exp)
MG_SCALAR1(exp2, ::exp2f, ::exp2)
MG_SCALAR1(expm1, ::expm1f, ::expm1)
MG_SCALAR1(log, ::logf, ::log)
MG_SCALAR1(log2, ::log2f, ::log2)
MG_SCALAR1(log10, ::log10f, ::log10)
MG_SCALAR1(log1p, ::log1pf, ::log1p)
MG_SCALAR1(sin, ::sinf, ::sin)
MG_SCALAR1(cos, ::cosf, ::cos)
MG_SCALAR1(tan, ::tanf, ::tan)
MG_SCALAR1(asin, ::asinf, ::asin)
MG_SCALAR1(acos, ::acosf, ::acos)
MG_SCALAR1(atan, ::atanf, ::atan)
MG_SCALAR1(sinh, ::sinhf, ::sinh)
MG_SCALAR1(cosh, ::coshf, ::cosh)
MG_SCALAR1(tanh, ::tanhf, ::tanh)
MG_SCALAR1(asinh, ::asinhf, ::asinh)
MG_SCALAR1(acosh, ::acoshf, ::acosh)
MG_SCALAR1(atanh, ::atanhf, ::atanh)
MG_SCALAR1(erf, ::erff, ::erf)
MG_SCALAR1(erfc, ::erfcf, ::erfc)
MG_SCALAR2(pow, ::powf, ::pow)
MG_SCALAR2(fmod, ::fmodf, ::fmod)
MG_SCALAR2(atan2, ::atan2f, ::atan2)
MG_SCALAR2(hypot, ::hypotf, ::hypot)
MG_SCALAR2(copysign, ::copysignf, ::copysign)
MG_SCALAR2(nextafter, ::nextafterf, ::nextafter)
#undef MG_SCALAR1
#undef MG_SCALAR2
MG_HD double erfinv(double x) { return special::erfinv(x); }
MG_HD float erfinv(float x) { return float(special::erfinv(double(x))); }
MG_HD double lgamma(double x) { return special::lgamma(x); }
MG_HD float lgamma(float x) { return float(special::lgamma(double(x))); }
MG_HD double digamma(double x) { return special::digamma(x); }
MG_HD float digamma(float x) { return float(special::digamma(double(x))); }
template <class T>
using IfFloat = std::enable_if_t<std::is_floating_point_v<T>, T>;
template <class T>
MG_HD IfFloat<T> select(bool m, T a, T b) {
  return m ? a : b;
}
template <class T>
MG_HD std::enable_if_t<std::is_floating_point_v<T>, bool> isnan(T x) {
  return x != x;
}
template <class T>
MG_HD std::enable_if_t<std::is_floating_point_v<T>, bool> signbit(T x) {
  return __builtin_signbit(x);
}
template <class T>
MG_HD IfFloat<T> maximum(T a, T b) {
  return (a > b) | (a != a) ? a : b;
}
template <class T>
MG_HD IfFloat<T> minimum(T a, T b) {
  return (a < b) | (a != a) ? a : b;
}
template <class T>
MG_HD IfFloat<T> normal_cdf(T x) {
  return T(0.5) * erfc(x * T(-0.70710678118654752440));
}
template <class T>
MG_HD IfFloat<T> ndtr(T x) {
  return normal_cdf(x);
}
// x - tanh(x) without cancellation.
template <class T>
MG_HD IfFloat<T> tanhshrink(T x) {
  const double v = double(x), z = v * v;
  if (::fabs(v) >= 0.02) return T(v - ::tanh(v));
  return T(v * z * (1 / 3.0 + z * (-2 / 15.0 + z * (17 / 315.0 - z * (62 / 2835.0)))));
}
// sin(pi x) / (pi x), exact zeros at the integers.
template <class T>
MG_HD IfFloat<T> sinc(T x) {
  const double v = double(x), whole = ::rint(v), s = ::sin((v - whole) * 3.14159265358979323846);
  if (v == 0) return T(1);
  const bool odd = ::rint(whole * 0.5) != whole * 0.5;
  return T((odd ? -s : s) / (v * 3.14159265358979323846));
}
template <class T>
MG_HD IfFloat<T> sigmoid(T x) {
  const T e = exp(-abs(x));
  return (x < T(0) ? e : T(1)) / (T(1) + e);
}

// --- written once for numbers and registers
template <class T>
MG_HD auto isinf(T x) {
  return abs(x) == T(__builtin_inf());
}
template <class T>
MG_HD auto isfinite(T x) {
  return abs(x) < T(__builtin_inf());
}

template <class T>
MG_HD T trunc_divide(T a, T b) {
  return trunc(a / b);
}
template <class T>
MG_HD T remainder(T a, T b) {  // the divisor's sign; exact, as fmod is
  const T r = fmod(a, b);
  return select((r != T(0)) & ((r < T(0)) ^ (b < T(0))), r + b, r);
}
// Python's: (a - remainder) / b, which is an integer up to rounding; so floor(a / b) == -1 for a = -1e-20, b = 1.
template <class T>
MG_HD T floor_divide(T a, T b) {
  const T m = fmod(a, b), q = (a - m) / b;
  const T d = select((m != T(0)) & ((m < T(0)) ^ (b < T(0))), q - T(1), q), f = floor(d);
  const T r = select(d == T(0), copysign(T(0), a / b), select(d - f > T(0.5), f + T(1), f));
  return select(b == T(0), a / b, r);
}

}  // namespace mg::scalar

#include "scalar_activation.h"  // silu, mish, gelu and their slopes
