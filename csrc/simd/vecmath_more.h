// Trigonometry, erf and the functions derived from vecmath.h's; rare ones go lane by lane through the C library.
//
// Largest error in ulp for float, measured (tests/cpp/test_vecmath.cpp): sin 1.55, cos 1.55, erf 1.3,
// normal_cdf 3.6; everything computed through in_double() (tan, asin … atanh, pow, hypot, atan2, fmod, lgamma, digamma,
// erfc, ndtr, sinc, tanhshrink) is correctly rounded but for rare ties: 0.54. For double all of these are the C library's. sin, cos and tan of |x| > 1e6 take the
// C library's exact reduction, for the whole register.
#pragma once
#include <cmath>

#include "../scalar_math.h"
#include "../scalar_special.h"
#include "vecmath.h"

namespace mg::simd::MG_ISA_NS {

// --- lane by lane
template <class T, class F>
inline Vec<T> lanewise(Vec<T> x, F f) {
  for (int i = 0; i < Vec<T>::size; ++i) x.set(i, T(f(double(x[i]))));
  return x;
}
template <class T, class F>
inline Vec<T> lanewise(Vec<T> x, Vec<T> y, F f) {
  for (int i = 0; i < Vec<T>::size; ++i) x.set(i, T(f(double(x[i]), double(y[i]))));
  return x;
}
#define MG_LANES1(T, name, fn)                          \
  [[gnu::noinline]] static Vec<T> name(Vec<T> x) {      \
    return lanewise(x, [](double v) { return fn(v); }); \
  }
#define MG_LANES2(T, name, fn)                                          \
  [[gnu::noinline]] static Vec<T> name(Vec<T> x, Vec<T> y) {            \
    return lanewise(x, y, [](double v, double w) { return fn(v, w); }); \
  }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
MG_LANES1(double, sin, ::sin)
MG_LANES1(double, cos, ::cos)
MG_LANES1(double, tan, ::tan)
MG_LANES1(double, asin, ::asin)
MG_LANES1(double, acos, ::acos)
MG_LANES1(double, atan, ::atan)
MG_LANES1(double, sinh, ::sinh)
MG_LANES1(double, cosh, ::cosh)
MG_LANES1(double, asinh, ::asinh)
MG_LANES1(double, acosh, ::acosh)
MG_LANES1(double, atanh, ::atanh)
MG_LANES1(double, log2, ::log2)
MG_LANES1(double, log10, ::log10)
MG_LANES1(double, erf, ::erf)
MG_LANES1(double, erfc, ::erfc)
MG_LANES1(double, normal_cdf, special::normal_cdf)
MG_LANES1(double, ndtr, special::normal_cdf)
MG_LANES1(double, sinc, scalar::sinc<double>)
MG_LANES1(double, tanhshrink, scalar::tanhshrink<double>)
MG_LANES1(double, lgamma, special::lgamma)
MG_LANES1(double, digamma, special::digamma)
MG_LANES1(float, sin_huge, ::sin)
MG_LANES1(float, cos_huge, ::cos)
MG_LANES1(float, tan_huge, ::tan)
MG_LANES2(double, pow, ::pow)
MG_LANES2(double, fmod, ::fmod)
MG_LANES2(float, fmod_far, ::fmod)
MG_LANES2(double, atan2, ::atan2)
MG_LANES2(double, hypot, ::hypot)
#pragma GCC diagnostic pop
#undef MG_LANES1
#undef MG_LANES2

// --- trigonometry of float
// -------------------------------------------------------------------------------------------------------------- x = k
// pi/2 + r for |x| <= 1e6; hi has 33 bits, so that k * hi is exact.
struct QuarterTurns {
  Vec<double> k, r;
};
MG_INL QuarterTurns quarter_turns(Vec<double> x) {
  const Vec<double> k = rint(x * Vec<double>(0.63661977236758134));
  return {k, fma(k, Vec<double>(-0x1.0b4611a626331p-34), fma(k, Vec<double>(-0x1.921fb544p0), x))};
}
constexpr float kHugeAngle = 1e6f;

template <int Shift>  // sin(x + Shift pi/2)
MG_INL Vec<float> sin_shifted(Vec<float> x) {
  using V = Vec<float>;
  const DoublePair p = widen(x);
  const QuarterTurns lo = quarter_turns(p.lo), hi = quarter_turns(p.hi);
  const V r = narrow({lo.r, hi.r}), z = r * r;
  const Vec<int32_t> q = convert<int32_t>(nan_to_zero(narrow({lo.k, hi.k}))) + Vec<int32_t>(Shift);
  const float sin_c[3] = {-0.16666654944f, 0.0083321781463f, -0.00019517298981f};
  const float cos_c[3] = {0.041666646867f, -0.0013887367527f, 2.4438452465e-5f};
  const V s = fma(r * z, poly(z, sin_c), r), c = fma(z * z, poly(z, cos_c), fma(z, V(-0.5f), V(1.0f)));
  const V y = select((q & Vec<int32_t>(1)) != Vec<int32_t>(0), c, s);
  return y ^ from_bits<float>((q & Vec<int32_t>(2)) << 30);
}
MG_INL Vec<float> sin(Vec<float> x) {
  if (any(abs(x) > Vec<float>(kHugeAngle))) [[unlikely]]
    return sin_huge(x);
  return select(x == Vec<float>(0.0f), x, sin_shifted<0>(x));
}
MG_INL Vec<float> cos(Vec<float> x) {
  if (any(abs(x) > Vec<float>(kHugeAngle))) [[unlikely]]
    return cos_huge(x);
  return sin_shifted<1>(x);
}
inline Vec<float> tan(Vec<float> x) {
  if (any(abs(x) > Vec<float>(kHugeAngle))) [[unlikely]]
    return tan_huge(x);
  return select(
      x == Vec<float>(0.0f), x, in_double(x, [](Vec<double> v) {
        const auto [k, r] = quarter_turns(v);
        const double sin_c[5] = {-0.16666666666631626073, 0.0083333333252773101374, -0.00019841263825899072023,
                                 2.7555358364746093546e-6, -2.4761695951453383796e-8};
        const double cos_c[5] = {0.041666666666602256486, -0.0013888888878274302135, 0.000024801580971669619894,
                                 -2.7555567131965495643e-7, 2.0647737986970791474e-9};
        const Vec<double> z = r * r, s = fma(r * z, poly(z, sin_c), r);
        const Vec<double> c = fma(z * z, poly(z, cos_c), fma(z, Vec<double>(-0.5), Vec<double>(1.0)));
        const Vec<double> half = k * Vec<double>(0.5);
        const auto odd = rint(half) != half;
        return select(odd, -c, s) / select(odd, s, c);
      }));
}

// atan2 for finite doubles, to 2^-45: enough for a correctly rounded float.
MG_INL Vec<double> atan2_float_accuracy(Vec<double> y, Vec<double> x) {
  using V = Vec<double>;
  const V ay = abs(y), ax = abs(x), zero = 0.0, one = 1.0;
  const auto steep = ay > ax;
  const V top = select(steep, ax, ay), bottom = select(steep, ay, ax);
  const V t = select(top == bottom, select(top == zero, zero, one), top / bottom);  // also inf/inf and 0/0
  const auto upper = t > V(0.41421356237309503);
  const V s = select(upper, (t - one) / (t + one), t), z = s * s;
  const double c[8] = {-0.33333333331697338026,  0.19999999685636211115,   -0.14285693596719508028,
                       0.11110450003923242201,   -0.090791379621459877594, 0.075685433117517656306,
                       -0.058910736472674283723, 0.030894979008310148745};
  V r = fma(s * z, poly(z, c), s);
  r = select(upper, r + V(0.78539816339744831), r);
  r = select(steep, V(1.5707963267948966) - r, r);
  r = select(bits(x) < Vec<int64_t>(0), V(3.1415926535897932) - r, r);
  return select((x != x) | (y != y), x + y, copysign(r, y));
}
inline Vec<float> atan2(Vec<float> y, Vec<float> x) {
  return in_double(y, x, [](auto a, auto b) { return atan2_float_accuracy(a, b); });
}
inline Vec<float> atan(Vec<float> x) {
  return in_double(x, [](Vec<double> v) { return atan2_float_accuracy(v, Vec<double>(1.0)); });
}
MG_INL Vec<double> cos_of_asin(Vec<double> v) { return sqrt((Vec<double>(1.0) - v) * (Vec<double>(1.0) + v)); }
inline Vec<float> asin(Vec<float> x) {
  return in_double(x, [](Vec<double> v) { return atan2_float_accuracy(v, cos_of_asin(v)); });
}
inline Vec<float> acos(Vec<float> x) {
  return in_double(x, [](Vec<double> v) { return atan2_float_accuracy(cos_of_asin(v), v); });
}

}  // namespace mg::simd::MG_ISA_NS

#include "vecmath_special.h"  // erf, hyperbolic functions, pow, fmod …
