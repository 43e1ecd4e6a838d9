// Bessel functions of order 0 and 1, their modified and scaled forms, the spherical j0 and Airy's Ai.
//
// Each splits at a point: below it a Chebyshev series times the known logarithm, above it the asymptotic form with
// Chebyshev series for its slowly varying factors (Abramowitz & Stegun 9.4, 9.8, 10.4; DLMF 9.7, 10.17, 10.40).
// Absolute errors of J and Y stay near 1e-16 of the envelope sqrt(2 / (pi x)); the others are good relatively. Domains
// and special values are PyTorch's.
#pragma once
#include "chebyshev.h"

namespace mg::special {

namespace c = coefficients;
constexpr double kTiny = 1e-9;  // below it the first term is exact; the series would be off by one rounding

// --- modified Bessel functions

MG_SPECIAL double i0e(double x) {
  x = std::fabs(x);
  if (x < kTiny) return 1 - x;
  if (x <= 8) return chebyshev(c::i0e_near, x / 4 - 1);
  return chebyshev(c::i0e_far, 16 / x - 1) / std::sqrt(x);  // NaN too
}
MG_SPECIAL double i1e(double x) {
  const double a = std::fabs(x);
  if (a < kTiny) return x / 2 * (1 - a);
  if (a <= 8) return x * chebyshev(c::i1e_near, a / 4 - 1);
  return std::copysign(chebyshev(c::i1e_far, 16 / a - 1) / std::sqrt(a), x);
}
// e^a * small in two steps: e^a alone overflows a little before the product does.
MG_SPECIAL double scale_up(double scaled, double a) {
  if (a == kInf) return std::copysign(kInf, scaled);
  if (a <= 700) return std::exp(a) * scaled;
  const double half = std::exp(a / 2);
  return half * scaled * half;
}
MG_SPECIAL double i0(double x) { return scale_up(i0e(x), std::fabs(x)); }
MG_SPECIAL double i1(double x) { return scale_up(i1e(x), std::fabs(x)); }

MG_SPECIAL double k0_small(double x) { return chebyshev(c::k0_near, x * x / 2 - 1) - std::log(x / 2) * i0(x); }
MG_SPECIAL double k1_small(double x) {
  const double value = chebyshev(c::k1_near, x * x / 2 - 1) / x;
  return value == kInf ? value : std::log(x / 2) * i1(x) + value;
}
MG_SPECIAL double k0e(double x) {
  if (x == 0) return kInf;
  if (x < 0) return kNan;
  return x <= 2 ? k0_small(x) * std::exp(x) : chebyshev(c::k0_far, 4 / x - 1) / std::sqrt(x);
}
MG_SPECIAL double k1e(double x) {
  if (x == 0) return kInf;
  if (x < 0) return kNan;
  return x <= 2 ? k1_small(x) * std::exp(x) : chebyshev(c::k1_far, 4 / x - 1) / std::sqrt(x);
}
MG_SPECIAL double k0(double x) {
  if (x == 0) return kInf;
  if (x < 0) return kNan;
  return x <= 2 ? k0_small(x) : k0e(x) * std::exp(-x);
}
MG_SPECIAL double k1(double x) {
  if (x == 0) return kInf;
  if (x < 0) return kNan;
  return x <= 2 ? k1_small(x) : k1e(x) * std::exp(-x);
}

// --- Bessel functions

// P and Q of DLMF 10.17.3-4 for x > 8, and sin and cos of x - pi/4 (order 0) or x - 3 pi/4 (order 1).
struct Wave {
  double p, q, sine, cosine, envelope;
  MG_SPECIAL double first() const { return envelope * (p * cosine - q * sine); }
  MG_SPECIAL double second() const { return envelope * (p * sine + q * cosine); }
};
MG_SPECIAL Wave wave(double x, int order) {
  const double s = std::sin(x), k = std::cos(x), z = 8 / x, t = 2 * z * z - 1;
  Wave w;
  w.envelope = 1 / std::sqrt(kPi * x);  // the other sqrt(2) is in sine and cosine
  if (order == 0) {
    w.p = chebyshev(c::p0, t), w.q = chebyshev(c::q0, t) / x;
    w.sine = s - k, w.cosine = s + k;
  } else {
    w.p = chebyshev(c::p1, t), w.q = chebyshev(c::q1, t) / x;
    w.sine = -s - k, w.cosine = s - k;
  }
  return w;
}
MG_SPECIAL double j0(double x) {
  x = std::fabs(x);
  if (x < kTiny) return 1;
  if (x <= 8) return chebyshev(c::j0_near, x * x / 32 - 1);
  return x == kInf ? 0 : wave(x, 0).first();
}
MG_SPECIAL double j1(double x) {
  const double a = std::fabs(x);
  if (a < kTiny) return x / 2;
  if (a <= 8) return x * chebyshev(c::j1_near, x * x / 32 - 1);
  const double r = a == kInf ? 0 : wave(a, 1).first();
  return x < 0 ? -r : r;
}
MG_SPECIAL double y0(double x) {
  if (x == 0) return -kInf;
  if (x < 0) return kNan;
  if (x <= 8) return 2 / kPi * std::log(x / 2) * j0(x) + chebyshev(c::y0_near, x * x / 32 - 1);
  return x == kInf ? 0 : wave(x, 0).second();
}
MG_SPECIAL double y1(double x) {
  if (x == 0) return -kInf;
  if (x < 0) return kNan;
  if (x > 8) return x == kInf ? 0 : wave(x, 1).second();
  const double pole = 2 / kPi / x;
  if (pole == kInf) return -kInf;
  return 2 / kPi * std::log(x / 2) * j1(x) - pole + x * chebyshev(c::y1_near, x * x / 32 - 1);
}

// sin(x) / x; the series where the quotient would lose the last digit.
MG_SPECIAL double spherical_j0(double x) {
  const double a = std::fabs(x);
  if (a == kInf) return 0;
  if (a > 0.5) return std::sin(x) / x;
  const double z = x * x;
  return 1 - z / 6 * (1 - z / 20 * (1 - z / 42 * (1 - z / 72 * (1 - z / 110 * (1 - z / 156)))));
}

// --- Ai

MG_SPECIAL double airy_ai(double x) {
  if (x != x) return x;
  if (std::fabs(x) == kInf) return 0;
  if (x >= -4 && x <= 2) return chebyshev(c::airy_near, (x + 1) / 3);
  const double a = std::fabs(x), root = std::sqrt(a), zeta = a * root / 1.5, quarter = std::sqrt(root);
  if (x > 0) {
    if (x > 110) return 0;                          // below the smallest double
    const double z = 1.8856180831641267317 / zeta;  // zeta at x = 2
    return std::exp(-zeta) * chebyshev(c::airy_right, 2 * z - 1) * 0.5 / (std::sqrt(kPi) * quarter);
  }
  const double z = 5.3333333333333333333 / zeta, t = 2 * z * z - 1;  // zeta at x = 4
  const double s = std::sin(zeta), k = std::cos(zeta), root2 = 0.70710678118654752440;
  const double f = chebyshev(c::airy_left_f, t), g = chebyshev(c::airy_left_g, t) / zeta;
  return root2 * ((s + k) * f - (k - s) * g) / (std::sqrt(kPi) * quarter);
}

}  // namespace mg::special
