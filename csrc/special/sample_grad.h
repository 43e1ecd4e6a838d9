// How a gamma or beta distributed sample moves with its parameter when its probability is held fixed: dx/da = -(dF(x; a)/da) / f(x; a).
// Source: Figurnov, Mohamed, Mnih, "Implicit Reparameterization Gradients", NeurIPS 2018. Every sum is taken from the side of the mean
// on which its terms have one sign, and the density is divided out term by term, so that nothing cancels or underflows.
#pragma once
#include "gamma.h"

namespace mg::special {

constexpr int kMaxTerms = 1000000;

// F = P(a, x) by its power series (DLMF 8.11.4), each term differentiated and divided by the density.
MG_SPECIAL double gamma_slope_series(double a, double x) {
  const double log_x = std::log(x);
  double term = x / a, psi = digamma(a + 1), sum = 0;
  for (int k = 0; k < kMaxTerms; ++k) {
    const double add = term * (log_x - psi);
    sum += add;
    if (term < 1e-17 * std::fabs(sum) && k > 3) break;
    const double next = a + k + 1;
    psi += 1 / next;
    term *= x / next;
  }
  return -sum;
}

// F = 1 - Q by Q's continued fraction h (DLMF 8.9.2, Lentz's method), with dh/da carried along.
MG_SPECIAL double gamma_slope_fraction(double a, double x) {
  double b = x + 1 - a, c = 1e300, dc = 0, d = 1 / b, dd = d * d, h = d, dh = dd;  // db/da = -1
  for (int i = 1; i < kMaxTerms; ++i) {
    const double n = -i * (i - a), dn = i;
    b += 2;
    const double below = n * d + b, dbelow = dn * d + n * dd - 1;
    d = 1 / below;
    dd = -d * d * dbelow;
    const double previous = c, dprevious = dc;
    c = b + n / previous;
    dc = -1 + dn / previous - n * dprevious / (previous * previous);
    const double step = c * d, dstep = dc * d + c * dd;
    dh = dh * step + h * dstep;
    h *= step;
    if (std::fabs(step - 1) < 1e-16 && std::fabs(h * dstep) < 1e-15 * std::fabs(dh)) break;
  }
  return x * (h * (std::log(x) - digamma(a)) + dh);
}

// Large a: x = a (1 + mu(eta)), where P(a, x) = Phi(z) with eta = z / sqrt(a) + log(eta / mu) / (eta a) + O(a^-2)  (DLMF 8.12.21).
MG_SPECIAL double gamma_slope_uniform(double a, double x) {
  const double mu = (x - a) / a, eta = std::copysign(std::sqrt(-2 * log1p_minus(mu)), mu);
  if (std::fabs(mu) < 1e-3)  // the same in powers of mu
    return 1 + mu / 2 * (1 - mu / 3 * (1 - mu / 2)) + (1 + mu / 2) / (6 * a);
  const double correction = 1 / eta - eta * (1 + mu) / (mu * mu);
  return (1 + mu) * (1 - eta / mu * (eta / 2 + correction / (2 * a)));
}

// dx/da of x ~ Gamma(a, 1).
MG_SPECIAL double standard_gamma_grad(double a, double x) {
  if (!(a > 0 && x >= 0)) return kNan;
  if (x == 0) return 0;
  if (x == kInf) return kInf;
  if (a > 1e5 && std::fabs(x - a) < 0.1 * a) return gamma_slope_uniform(a, x);
  return x <= std::max(a + 0.5, 1.5) ? gamma_slope_series(a, x) : gamma_slope_fraction(a, x);
}

// dx/da / (1 - x) of x ~ Beta(a, total - a), the second parameter held fixed: DLMF 8.17.8 for I_x(a, b) or for 1 - I_x(a, b) =
// I_y(b, a). Divided by 1 - x, because a Dirichlet sample moves by that times e_i - x: the other parts shrink in proportion.
MG_SPECIAL double dirichlet_grad(double x, double a, double total) {
  const double b = total - a, y = 1 - x;
  if (!(a > 0 && b > 0 && x >= 0 && x <= 1)) return kNan;
  if (x == 0) return 0;
  const bool lower = x < 0.1 || (x <= a / total && x < 0.9);
  const double log_x = std::log(x), ratio = lower ? x : y, start = lower ? a : b;
  double term = x / start, psi = digamma(total) - digamma(lower ? a + 1 : a), sum = 0;
  for (int n = 0; n < kMaxTerms; ++n) {
    sum += term * (log_x + psi);
    const double growth = (total + n) / (start + 1 + n) * ratio;
    if (growth < 1 && term * growth < 1e-17 * (1 - growth) * std::fabs(sum)) break;
    psi += 1 / (total + n) - (lower ? 1 / (a + 1 + n) : 0);
    term *= growth;
  }
  return lower ? -sum : sum;
}

}  // namespace mg::special
