// Logarithms of Vec<float> and Vec<double>; included by vecmath.h, where the map and the errors in ulp are.
#pragma once
#include "vecmath.h"

namespace mg::simd::MG_ISA_NS {

template <class T>
struct Split {
  Vec<T> e, f;  // x = 2^e (1 + f), f in [sqrt(1/2) - 1, sqrt(2) - 1]
};
// For finite x > 0.
template <class T>
MG_INL Split<T> split_log(Vec<T> x) {
  using K = Constants<T>;
  using I = typename Vec<T>::I;
  const Vec<T> up = T(sizeof(T) == 4 ? 0x1p25 : 0x1p54);
  const auto tiny = x < Vec<T>(sizeof(T) == 4 ? T(0x1p-126) : T(0x1p-1022));
  x = select(tiny, x * up, x);
  const I k = (bits(x) - bits(Vec<T>(T(0.70710678118654752)))) >> K::mantissa_bits;
  const Vec<T> m = from_bits<T>(bits(x) - (k << K::mantissa_bits)), e = convert<T>(k);
  return {select(tiny, e - Vec<T>(T(sizeof(T) == 4 ? 25 : 54)), e), m - Vec<T>(T(1))};
}

// log(1 + f) = f + tail
template <class T>
MG_INL Vec<T> log1p_tail(Vec<T> f) {
  const Vec<T> half_f2 = f * f * Vec<T>(T(0.5));
  if constexpr (sizeof(T) == 4) {
    return fma(f * f, f * poly(f, Constants<T>::log), -half_f2);
  } else {
    const Vec<T> s = f / (f + Vec<T>(T(2))), z = s * s;
    return s * fma(z, poly(z, Constants<T>::log), half_f2) - half_f2;
  }
}

// log of 0, negative numbers, inf and NaN; y elsewhere.
template <class T>
MG_INL Vec<T> log_specials(Vec<T> x, Vec<T> y) {
  const Vec<T> inf = T(__builtin_inf());
  y = select(x < inf, y, x);  // inf and NaN return themselves
  y = select(x == Vec<T>(T(0)), -inf, y);
  return select(x < Vec<T>(T(0)), Vec<T>(T(__builtin_nan(""))), y);
}

template <class T>
MG_INL Vec<T> log_from(Vec<T> e, Vec<T> f) {
  using K = Constants<T>;
  return fma(e, Vec<T>(K::ln2_hi), f + fma(e, Vec<T>(K::ln2_lo), log1p_tail(f)));
}
template <class T>
MG_INL Vec<T> log(Vec<T> x) {
  const auto [e, f] = split_log(x);
  return log_specials(x, log_from(e, f));
}

// u = 1 + x loses the low digits of x; `carry` gives them back, scaled by 2^-e as u was. It is negligible where 2^-e
// would be subnormal.
template <class T>
MG_INL Vec<T> log1p(Vec<T> x) {
  const Vec<T> one = T(1), zero = T(0), u = x + one;
  const Vec<T> carry = select(x > one, one - (u - x), x - (u - one));
  const auto [e, f] = split_log(u);
  const Vec<T> scaled = select(e < Vec<T>(T(64)), carry * pow2i(-e), zero);
  return select(x == zero, x, log_specials(u, log_from(e, f + scaled)));
}

MG_INL Vec<float> log2(Vec<float> x) {
  const auto [e, f] = split_log(x);
  const Vec<float> t = log1p_tail(f), hi = 1.44269502f;  // log2(e) = hi + 1.926e-8
  return log_specials(x, e + fma(f, hi, fma(t, hi, (f + t) * Vec<float>(1.9259629e-8f))));
}

MG_INL Vec<float> log10(Vec<float> x) {
  const auto [e, f] = split_log(x);
  // log10(2) = 0x1.344p-2 + 4.605e-6 (the first exact times e), log10(e) = hi - 1.0103e-8
  const Vec<float> t = log1p_tail(f), hi = 0.434294492f;
  const Vec<float> low = fma(e, Vec<float>(4.60503898e-6f), (f + t) * Vec<float>(-1.01030e-8f));
  return log_specials(x, fma(e, Vec<float>(0x1.344p-2f), fma(f, hi, fma(t, hi, low))));
}

}  // namespace mg::simd::MG_ISA_NS
