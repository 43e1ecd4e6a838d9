// Classical orthogonal polynomials p_n(x) by their three-term recurrences (DLMF table 18.9.1); the Chebyshev families
// through their trigonometric and hyperbolic forms (DLMF 18.5.1-4) once n is larger. n is cut to an integer; n < 0
// gives 0 and a NaN n gives NaN, as does a degree above kMaxDegree where only the recurrence exists.
#pragma once
#include "chebyshev.h"

namespace mg::special {

constexpr double kMaxDegree = 1 << 24;  // a tenth of a second for one element

// p_0 = 1, p_1 = first, then next(k, p_k, p_{k-1}) gives p_{k+1}. Stops when the value has left the finite numbers.
template <class Next>
MG_SPECIAL double three_term(double n, double x, double first, Next next) {
  n = std::trunc(n);
  if (!(n >= 0)) return n < 0 ? 0 : kNan;
  if (n == 0) return 1;
  if (n > kMaxDegree || x != x) return kNan;
  double older = 1, p = first;
  const int64_t degree = int64_t(n);
  for (int64_t k = 1; k < degree && p - p == 0; ++k) {
    const double q = next(double(k), p, older);
    older = p;
    p = q;
  }
  return p;
}

MG_SPECIAL bool is_odd(double n) { return std::fmod(n, 2) != 0; }

// T, U, V, W differ in p_1 = 2x + shift (T: x). `wave(n, theta)` is the form for x = cos(theta), also used with cosh
// and sinh.
enum class Kind { T, U, V, W };
MG_SPECIAL double chebyshev_near(Kind kind, double n, double theta) {
  switch (kind) {
    case Kind::T:
      return std::cos(n * theta);
    case Kind::U:
      return std::sin((n + 1) * theta) / std::sin(theta);
    case Kind::V:
      return std::cos((n + 0.5) * theta) / std::cos(theta / 2);
    default:
      return std::sin((n + 0.5) * theta) / std::sin(theta / 2);
  }
}
MG_SPECIAL double chebyshev_far(Kind kind, double n, double theta) {
  // Quotients of exponentials; past overflow the result is inf, not inf / inf.
  if ((n + 1) * theta > 709) {
    const double below = kind == Kind::T   ? 0
                         : kind == Kind::U ? std::log(std::sinh(theta))
                         : kind == Kind::V ? std::log(std::cosh(theta / 2))
                                           : std::log(std::sinh(theta / 2));
    return 0.5 * std::exp((kind == Kind::T ? n : kind == Kind::U ? n + 1 : n + 0.5) * theta - below);
  }
  switch (kind) {
    case Kind::T:
      return std::cosh(n * theta);
    case Kind::U:
      return std::sinh((n + 1) * theta) / std::sinh(theta);
    case Kind::V:
      return std::cosh((n + 0.5) * theta) / std::cosh(theta / 2);
    default:
      return std::sinh((n + 0.5) * theta) / std::sinh(theta / 2);
  }
}
MG_SPECIAL double chebyshev_end(Kind kind, double n) {  // at x = 1
  return kind == Kind::U ? n + 1 : kind == Kind::W ? 2 * n + 1 : 1;
}
MG_SPECIAL double chebyshev_polynomial(Kind kind, double x, double n) {
  n = std::trunc(n);
  if (!(n >= 0)) return n < 0 ? 0 : kNan;
  // p_n(-x) = (-1)^n p_n(x) for T and U; V and W change places.
  const Kind mirrored = kind == Kind::V ? Kind::W : kind == Kind::W ? Kind::V : kind;
  if (n > 32 || std::fabs(x) == 1) {
    if (x != x) return kNan;
    const Kind k = x < 0 ? mirrored : kind;
    const double a = std::fabs(x);
    const double p = a == 1  ? chebyshev_end(k, n)
                     : a < 1 ? chebyshev_near(k, n, std::acos(a))
                             : chebyshev_far(k, n, std::acosh(a));
    return x < 0 && is_odd(n) ? -p : p;
  }
  const double first = kind == Kind::T ? x : 2 * x + (kind == Kind::V ? -1 : kind == Kind::W ? 1 : 0);
  return three_term(n, x, first, [x](double, double p, double older) { return 2 * x * p - older; });
}

MG_SPECIAL double chebyshev_t(double x, double n) { return chebyshev_polynomial(Kind::T, x, n); }
MG_SPECIAL double chebyshev_u(double x, double n) { return chebyshev_polynomial(Kind::U, x, n); }
MG_SPECIAL double chebyshev_v(double x, double n) { return chebyshev_polynomial(Kind::V, x, n); }
MG_SPECIAL double chebyshev_w(double x, double n) { return chebyshev_polynomial(Kind::W, x, n); }
MG_SPECIAL double shifted_chebyshev_t(double x, double n) { return chebyshev_t(2 * x - 1, n); }
MG_SPECIAL double shifted_chebyshev_u(double x, double n) { return chebyshev_u(2 * x - 1, n); }
MG_SPECIAL double shifted_chebyshev_v(double x, double n) { return chebyshev_v(2 * x - 1, n); }
MG_SPECIAL double shifted_chebyshev_w(double x, double n) { return chebyshev_w(2 * x - 1, n); }

MG_SPECIAL double hermite_h(double x, double n) {
  return three_term(n, x, 2 * x, [x](double k, double p, double older) { return 2 * (x * p - k * older); });
}
MG_SPECIAL double hermite_he(double x, double n) {
  return three_term(n, x, x, [x](double k, double p, double older) { return x * p - k * older; });
}
MG_SPECIAL double laguerre_l(double x, double n) {
  return three_term(n, x, 1 - x,
                    [x](double k, double p, double older) { return ((2 * k + 1 - x) * p - k * older) / (k + 1); });
}
MG_SPECIAL double legendre_p(double x, double n) {
  if (std::fabs(x) == 1 && n > -1) return x < 0 && is_odd(std::trunc(n)) ? -1 : 1;
  return three_term(n, x, x,
                    [x](double k, double p, double older) { return ((2 * k + 1) * x * p - k * older) / (k + 1); });
}

}  // namespace mg::special
