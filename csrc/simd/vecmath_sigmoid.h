// sigmoid, silu and tanh of Vec<float> and Vec<double>; included by vecmath.h, where the errors in ulp are.
#pragma once
#include "vecmath.h"

namespace mg::simd::MG_ISA_NS {

// n / (1 + e) for 0 <= e <= 1. What rounding 1 + e loses would count as much as the other errors together: the residual
// is taken from 1 and e instead. One correction makes 2^-28 of the 2^-14 of rcp14.
MG_INL Vec<float> over_one_plus(Vec<float> n, Vec<float> e) {
  const Vec<float> sum = Vec<float>(1.0f) + e;
#if defined(__AVX512F__)
  const Vec<float> r(Vec<float>::V(_mm512_maskz_rcp14_ps(__mmask16(-1), __m512(sum.v)))), q = n * r;
#else
  const Vec<float> r = Vec<float>(1.0f) / sum, q = n * r;
#endif
  return fma(fma(-e, q, n - q), r, q);
}
MG_INL Vec<double> over_one_plus(Vec<double> n, Vec<double> e) { return n / (Vec<double>(1.0) + e); }

// 1 / (1 + e^-x); e^-|x| never overflows, so both tails keep full relative accuracy.
template <class T>
MG_INL Vec<T> sigmoid(Vec<T> x) {
  const Vec<T> one = T(1), e = exp_bounded(at_least(-abs(x), Vec<T>(Constants<T>::exp_min)));
  return over_one_plus(select(x < Vec<T>(T(0)), e, one), e);
}

// e^x = 2^n (1 + q): a factor is best multiplied in before the power of 2.
struct ExpParts {
  Vec<float> n, q;
};
MG_INL ExpParts exp_parts(Vec<float> n, Vec<float> r) { return {n, fma(r * r, poly(r, Constants<float>::exp), r)}; }
// x * 2^n for -290 <= n <= 0; from -278 on the result is 0, even for the largest x.
MG_INL Vec<float> scale_down(Vec<float> x, Vec<float> n) {
#if defined(__AVX512F__)
  return scale(x, n);
#else
  return scale(x, at_least(n, Vec<float>(-254.0f)));  // pow2i(-127) is 0
#endif
}
// x / (1 + e^-u) for x of u's sign, from e^-|u|: nothing cancels, and no factor of a negative x's result becomes subnormal
// before the result does.
MG_INL Vec<float> times_sigmoid(Vec<float> x, ExpParts p) {
  const Vec<float> e = scale_down(p.q + Vec<float>(1.0f), p.n), tail = scale_down(fma(x, p.q, x), p.n);
  const Vec<float> y = over_one_plus(select(x < Vec<float>(0.0f), tail, x), e);
  return select(x == Vec<float>(__builtin_inff()), x, y);
}
MG_INL Vec<float> silu(Vec<float> x) {
  const auto [n, r] = reduce_exp(at_least(-abs(x), Vec<float>(-200.4f)));  // r < 0: x (1 + q) cannot overflow
  return times_sigmoid(x, exp_parts(n, r));
}
MG_INL Vec<double> silu(Vec<double> x) { return x * sigmoid(x); }

MG_INL Vec<float> tanh(Vec<float> x) {  // odd polynomial below 0.6, 1 - 2 / (e^(2|x|) + 1) above
  using V = Vec<float>;
  const float c[5] = {-0.33333299272f, 0.13331958235f, -0.053786682565f, 0.020805380309f, -0.005905862717f};
  const V a = abs(x), z = x * x, e = exp_bounded(at_most(a + a, V(20.0f)));
  const V large = V(1.0f) - fast_div(V(2.0f), e + V(1.0f));
  return select(a < V(0.6f), fma(x * z, poly(z, c), x), copysign(large, x));
}
MG_INL Vec<double> tanh(Vec<double> x) {  // m / (m + 2) = 1 - 2 / (m + 2), m = e^(2|x|) - 1
  using V = Vec<double>;
  const V a = abs(x), m = expm1(at_most(a + a, V(44.0)));
  const auto small = a < V(0.55);
  const V q = select(small, m, V(-2.0)) / (m + V(2.0));
  return copysign(select(small, q, q + V(1.0)), x);
}

}  // namespace mg::simd::MG_ISA_NS
