// Hurwitz zeta, polygamma, and the regularised incomplete gamma functions.
#pragma once
#include <algorithm>

#include "../scalar_special.h"
#include "chebyshev.h"

namespace mg::special {

// sum over k >= 0 of (q + k)^-s for s > 1, q > 0: Euler-Maclaurin (DLMF 25.11.5) from where its Bernoulli series
// converges to 1e-17.
MG_SPECIAL double zeta_positive(double s, double q) {
  constexpr double bernoulli[] = {1.0 / 12,
                                  -1.0 / 720,
                                  1.0 / 30240,
                                  -1.0 / 1209600,
                                  1.0 / 47900160,
                                  -691.0 / 1307674368000.0,
                                  1.0 / 74724249600.0,
                                  -3617.0 / 10670622842880000.0};  // B_2j / (2j)!
  double sum = 0, a = q;
  const double start = 10 + s;
  while (a < start) {
    const double term = std::pow(a, -s);
    sum += term;
    a += 1;
    // Nothing of the tail is left (large s), or it can change nothing: without these two, s = 1e38 would count up to
    // it.
    if (term == 0 || sum == kInf || term * (1 + a / (s - 1)) < 1e-17 * sum) return sum;
  }
  const double power = std::pow(a, -s);
  if (power == 0) return sum;
  double tail = a * power / (s - 1) + 0.5 * power, rising = s, w = power / a;
  for (int j = 0; j < 8; ++j) {
    tail += bernoulli[j] * rising * w;
    rising *= (s + 2 * j + 1) * (s + 2 * j + 2);
    w /= a * a;
  }
  return sum + tail;
}

// zeta(s, q) with PyTorch's domain: inf at s = 1 and at the poles q = 0, -1, -2 …; NaN for s < 1, and for q < 0 unless
// s is an integer.
MG_SPECIAL double zeta(double s, double q) {
  if (s == 1) return kInf;
  if (s < 1 || q != q) return kNan;
  if (q > 0) return s == kInf ? (q > 1 ? 0 : q == 1 ? 1 : kInf) : q == kInf ? 0 : zeta_positive(s, q);
  if (q == std::floor(q)) return q == -kInf ? kNan : kInf;
  if (s != std::floor(s) || s == kInf) return kNan;
  // The terms left of 0 are those of zeta(s, 1 - f) up to 1 - q, with the sign (-1)^s; f = fractional part of q.
  const double f = q - std::floor(q), left = zeta_positive(s, 1 - f) - zeta_positive(s, 1 - q);
  return zeta_positive(s, f) + (std::fmod(s, 2) == 0 ? left : -left);
}

// Derivative of digamma: recurrence up to 12, then the asymptotic series (DLMF 5.15.8); reflection (5.15.6) for x < 0.
MG_SPECIAL double trigamma(double x) {
  if (x <= 0) {
    if (x == std::floor(x)) return x == -kInf ? kNan : kInf;
    const double s = std::sin(kPi * (x - std::rint(x)));
    return kPi * kPi / (s * s) - trigamma(1 - x);
  }
  double sum = 0;
  for (; x < 12; x += 1) sum += 1 / (x * x);
  const double z = 1 / (x * x);  // Bernoulli numbers B_2j
  const double series =
      1.0 / 6 - z * (1.0 / 30 - z * (1.0 / 42 - z * (1.0 / 30 - z * (5.0 / 66 - z * (691.0 / 2730 - z * 7 / 6)))));
  return sum + (1 + 0.5 / x + z * series) / x;
}

// n-th derivative of digamma (DLMF 5.15.1).
MG_SPECIAL double polygamma(double x, double n) {
  if (n == 0) return digamma(x);
  if (n == 1) return trigamma(x);
  const double sign = std::fmod(n, 2) == 0 ? -1 : 1, z = zeta(n + 1, x);
  if (n <= 170) return sign * std::tgamma(n + 1) * z;
  return sign * std::copysign(std::exp(lgamma(n + 1) + std::log(std::fabs(z))), z);
}

// --- incomplete gamma functions

// log(1 + u) - u without cancellation.
MG_SPECIAL double log1p_minus(double u) {
  if (std::fabs(u) > 0.25) return std::log1p(u) - u;
  // 2 atanh(w) - u with w = u / (2 + u): -u w + 2 (w^3/3 + w^5/5 + …)
  const double w = u / (2 + u), z = w * w;
  double odd = 0;
  for (int k = 21; k >= 3; k -= 2) odd = odd * z + 1.0 / k;
  return 2 * w * z * odd - u * w;
}

// x^a e^-x / gamma(a): near x = a through Stirling's series, so that no large logarithms cancel.
MG_SPECIAL double gamma_density(double a, double x) {
  if (a < 10 || std::fabs(x - a) > 0.5 * a) {
    const double e = a * std::log(x) - x - lgamma(a);
    return std::exp(e);
  }
  const double z = 1 / (a * a);
  const double stirling =
      (1.0 / 12 - z * (1.0 / 360 - z * (1.0 / 1260 - z * (1.0 / 1680 - z * (1.0 / 1188 - z * (691.0 / 360360)))))) / a;
  return std::sqrt(a / (2 * kPi)) * std::exp(a * log1p_minus((x - a) / a) - stirling);
}

// P(a, x) by its power series (DLMF 8.11.4); all terms are positive.
MG_SPECIAL double igamma_series(double a, double x) {
  double term = 1, sum = 1;
  for (double k = a + 1; term > 1e-17 * sum; k += 1) {
    term *= x / k;
    sum += term;
  }
  return gamma_density(a, x) / a * sum;
}

// Q(a, x) by its continued fraction (DLMF 8.9.2, even part), evaluated by Lentz's method.
MG_SPECIAL double igammac_fraction(double a, double x) {
  double b = x + 1 - a, c = 1e300, d = 1 / b, h = d;
  for (int i = 1; i < 20000; ++i) {
    const double n = -i * (i - a);
    b += 2;
    d = 1 / (n * d + b);
    c = b + n / c;
    const double step = c * d;
    h *= step;
    if (std::fabs(step - 1) < 1e-16) break;
  }
  return gamma_density(a, x) * h;
}

// Q for a <= 1 and x <= 1.1, where 1 - P would cancel: 1 - x^a / gamma(1 + a) - (the rest of the alternating series,
// DLMF 8.7.1).
MG_SPECIAL double igammac_small(double a, double x) {
  const double exponent = a * (std::log(x) - chebyshev(coefficients::lgamma1p_all, 2 * a - 1));
  double term = 1, sum = 0;
  for (int n = 1; n < 40; ++n) {
    term *= -x / n;
    sum += term / (a + n);
  }
  return -std::expm1(exponent) - std::exp(exponent) * a * sum;
}

// Q near x = a for large a: Temme's uniform expansion (DLMF 8.12.3-4). `upper` chooses Q, else P.
MG_SPECIAL double igamma_uniform(double a, double x, bool upper) {
  const double u = (x - a) / a, half = -log1p_minus(u), eta = std::copysign(std::sqrt(2 * half), u);
  double series = 0;
  for (int k = 5; k >= 0; --k) {
    double c = 0;
    for (int n = 15; n >= 0; --n) c = c * eta + coefficients::temme[k][n];
    series = series / a + c;
  }
  const double r = std::exp(-a * half) / std::sqrt(2 * kPi * a) * series, tail = eta * std::sqrt(a / 2);
  return upper ? 0.5 * std::erfc(tail) + r : 0.5 * std::erfc(-tail) - r;
}

// P (upper = false) or Q (true).
MG_SPECIAL double incomplete_gamma(double a, double x, bool upper) {
  if (!(a >= 0 && x >= 0)) return kNan;
  if (a == 0) return x > 0 ? !upper : kNan;
  if (x == 0) return upper;
  if (a == kInf) return x == kInf ? kNan : upper;
  if (x == kInf) return !upper;
  if (a > 1000 && std::fabs(x - a) < 0.25 * a) return igamma_uniform(a, x, upper);
  if (a <= 1 && x <= 1.1) return upper ? igammac_small(a, x) : igamma_series(a, x);
  if (x <= a || x <= 1.1) {
    const double p = igamma_series(a, x);
    return upper ? 1 - p : p;
  }
  const double q = igammac_fraction(a, x);
  return upper ? q : 1 - q;
}
MG_SPECIAL double igamma(double a, double x) { return incomplete_gamma(a, x, false); }
MG_SPECIAL double igammac(double a, double x) { return incomplete_gamma(a, x, true); }

}  // namespace mg::special
