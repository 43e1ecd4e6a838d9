// The normal distribution and the scaled complementary error function.
#pragma once
#include "chebyshev.h"

namespace mg::special {

// exp(x^2) erfc(x). For x >= 0 one Chebyshev series on the whole half line (form of Shepherd and Laframboise, Math.
// Comp. 36, 1981).
MG_SPECIAL double erfcx_positive(double x) {
  if (x > 1e8) return 0.56418958354775628695 / x;  // 1 / (sqrt(pi) x); also inf
  return chebyshev(coefficients::erfcx_all, (x - 3.75) / (x + 3.75)) / (1 + 2 * x);
}
MG_SPECIAL double erfcx(double x) {
  if (x >= 0 || x != x) return x != x ? x : erfcx_positive(x);
  if (x < -26.7) return kInf;
  // exp(x^2) with the rounding error of the square put back
  const double s = x * x, e = std::fma(x, x, -s);
  return 2 * std::exp(s) * (1 + e) - erfcx_positive(-x);
}

// log P(N(0,1) <= x): both tails without cancellation.
MG_SPECIAL double log_ndtr(double x) {
  const double t = x * 0.70710678118654752440;
  if (x < -1) return x == -kInf ? x : std::log(erfcx_positive(-t) / 2) - t * t;
  return std::log1p(-std::erfc(t) / 2);
}

// Inverse of the normal distribution function: a series in (p - 1/2)^2 in the middle, in sqrt(-log p) towards the ends.
MG_SPECIAL double ndtri(double p) {
  if (!(p >= 0 && p <= 1)) return kNan;
  if (p == 0 || p == 1) return p == 0 ? -kInf : kInf;
  const double q = p - 0.5;
  if (std::fabs(q) <= 0.425) return q * chebyshev(coefficients::ndtri_mid, q * q / 0.0903125 - 1);
  const double r = std::sqrt(-std::log(q < 0 ? p : 1 - p));
  const double x = r <= 5 ? chebyshev(coefficients::ndtri_tail, (r - 3.3) / 1.7)
                          : chebyshev(coefficients::ndtri_deep, (r - 16.25) / 11.25);
  return q < 0 ? -x : x;
}

}  // namespace mg::special
