// Functions of complex numbers in device code, in double: complex64 comes and goes through complex128, so that its results are rounded
// once and no intermediate overflows. Branch cuts and signs of zero are C99's.
#pragma once
#include "../elements.h"

namespace mg::cuda::zmath {

using Z = complex128;

MG_DEVICE Z operator+(Z a, Z b) { return {a.re + b.re, a.im + b.im}; }
MG_DEVICE Z operator-(Z a, Z b) { return {a.re - b.re, a.im - b.im}; }
MG_DEVICE Z operator-(Z a) { return {-a.re, -a.im}; }
MG_DEVICE Z operator*(Z a, Z b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
MG_DEVICE Z operator*(double s, Z a) { return {s * a.re, s * a.im}; }
MG_DEVICE Z operator/(Z a, Z b) {  // scaled by the larger part of the divisor
  const bool wide = ::fabs(b.re) >= ::fabs(b.im);
  const double big = wide ? b.re : b.im, small = wide ? b.im : b.re;
  if (big == 0) return {a.re / ::fabs(big), a.im / ::fabs(big)};
  const double ratio = small / big, scale = 1 / (big + small * ratio);
  return wide ? Z{(a.re + a.im * ratio) * scale, (a.im - a.re * ratio) * scale}
              : Z{(a.re * ratio + a.im) * scale, (a.im * ratio - a.re) * scale};
}
MG_DEVICE bool same(Z a, Z b) { return a.re == b.re && a.im == b.im; }
MG_DEVICE bool nonzero(Z a) { return a.re != 0 || a.im != 0; }
MG_DEVICE Z conj(Z a) { return {a.re, -a.im}; }
MG_DEVICE double modulus(Z a) { return ::hypot(a.re, a.im); }
MG_DEVICE bool nan_part(Z a) { return a.re != a.re || a.im != a.im; }
MG_DEVICE bool inf_part(Z a) { return ::fabs(a.re) == __builtin_inf() || ::fabs(a.im) == __builtin_inf(); }
MG_DEVICE Z reciprocal(Z a) { return Z{1, 0} / a; }
MG_DEVICE Z sgn(Z a) {
  const double m = modulus(a);
  return m == 0 ? Z{0, 0} : Z{a.re / m, a.im / m};
}

MG_DEVICE Z sqrt(Z a) {
  if (!nonzero(a)) return {0, a.im};
  if (::fabs(a.im) == __builtin_inf()) return {__builtin_inf(), a.im};
  if (::fabs(a.re) == __builtin_inf())
    return a.re > 0 ? Z{a.re, a.im != a.im ? a.im : ::copysign(0.0, a.im)} : Z{a.im != a.im ? a.im : 0.0, ::copysign(__builtin_inf(), a.im)};
  const bool large = ::fabs(a.re) > 1e300 || ::fabs(a.im) > 1e300;
  const Z b = large ? Z{a.re / 4, a.im / 4} : a;
  const double grown = ::sqrt((::fabs(b.re) + ::hypot(b.re, b.im)) / 2) * (large ? 2 : 1);
  const double other = a.im / (2 * grown);
  return a.re >= 0 ? Z{grown, other} : Z{::fabs(other), ::copysign(grown, a.im)};
}
MG_DEVICE Z exp(Z a) {
  if (a.im == 0) return {::exp(a.re), a.im};
  if (a.re == -__builtin_inf()) return inf_part({a.im, 0}) || a.im != a.im ? Z{0, 0} : Z{0 * ::cos(a.im), 0 * ::sin(a.im)};
  const double m = ::exp(a.re);
  return {m * ::cos(a.im), m * ::sin(a.im)};
}
MG_DEVICE Z log(Z a) {
  const double large = ::fmax(::fabs(a.re), ::fabs(a.im)), small = ::fmin(::fabs(a.re), ::fabs(a.im)), m = modulus(a);
  // Near |a| = 1 the logarithm of the modulus cancels: log1p((large - 1) (large + 1) + small^2) / 2.
  const double re = m > 0.5 && m < 2 ? ::log1p((large - 1) * (large + 1) + small * small) / 2 : ::log(m);
  return {re, ::atan2(a.im, a.re)};
}
MG_DEVICE Z expm1(Z a) {
  const double half = ::sin(a.im / 2);
  return {::expm1(a.re) * ::cos(a.im) - 2 * half * half, ::exp(a.re) * ::sin(a.im)};
}
MG_DEVICE Z log1p(Z a) {
  const double angle = ::atan2(a.im, 1 + a.re);
  if (::fabs(a.re) < 0.5 && ::fabs(a.im) < 0.5) return {::log1p(a.re * (2 + a.re) + a.im * a.im) / 2, angle};
  return {::log(::hypot(1 + a.re, a.im)), angle};
}
MG_DEVICE Z exp2(Z a) {
  constexpr double ln2 = 0.69314718055994530942;
  const double m = ::exp2(a.re);
  return a.im == 0 ? Z{m, a.im} : Z{m * ::cos(ln2 * a.im), m * ::sin(ln2 * a.im)};
}

MG_DEVICE Z sinh(Z a) {
  if (a.im == 0) return {::sinh(a.re), a.im};
  return {a.re == 0 ? a.re : ::sinh(a.re) * ::cos(a.im), ::cosh(a.re) * ::sin(a.im)};
}
MG_DEVICE Z cosh(Z a) {
  if (a.im == 0) return {::cosh(a.re), a.re < 0 ? -a.im : a.im};
  return {::cosh(a.re) * ::cos(a.im), ::sinh(a.re) * ::sin(a.im)};
}
MG_DEVICE Z tanh(Z a) {  // Kahan: t = tan(im), s = sinh(re)
  if (::fabs(a.re) > 22) return {::copysign(1.0, a.re), ::copysign(0.0, a.im != a.im ? a.im : ::sin(2 * a.im))};
  const double t = ::tan(a.im), beta = 1 + t * t, s = ::sinh(a.re), rho = ::sqrt(1 + s * s);
  if (::fabs(t) == __builtin_inf()) return {rho / s, 1 / t};
  const double d = 1 + beta * s * s;
  return {beta * rho * s / d, t / d};
}
MG_DEVICE Z turned(Z a) { return {-a.im, a.re}; }    // i a
MG_DEVICE Z turned_back(Z a) { return {a.im, -a.re}; }  // -i a
MG_DEVICE Z sin(Z a) { return turned_back(sinh(turned(a))); }
MG_DEVICE Z cos(Z a) { return cosh(turned(a)); }
MG_DEVICE Z tan(Z a) { return turned_back(tanh(turned(a))); }

// Kahan, Branch cuts for complex elementary functions (1987).
MG_DEVICE Z asin(Z a) {
  const Z p = sqrt(Z{1 - a.re, -a.im}), q = sqrt(Z{1 + a.re, a.im});
  return {::atan2(a.re, (p * q).re), ::asinh((conj(p) * q).im)};
}
MG_DEVICE Z acos(Z a) {
  const Z p = sqrt(Z{1 - a.re, -a.im}), q = sqrt(Z{1 + a.re, a.im});
  return {2 * ::atan2(p.re, q.re), ::asinh((conj(q) * p).im)};
}
MG_DEVICE Z acosh(Z a) {
  const Z p = sqrt(Z{a.re - 1, a.im}), q = sqrt(Z{a.re + 1, a.im});
  return {::asinh((conj(p) * q).re), 2 * ::atan2(p.im, q.re)};
}
MG_DEVICE Z asinh(Z a) { return turned_back(asin(turned(a))); }
MG_DEVICE Z atanh(Z a) {
  const double x = ::fabs(a.re), y = ::copysign(1.0, a.re) * a.im;
  const double near = (1 - x) * (1 - x) + y * y;
  double re = near == 0 ? __builtin_inf() : ::log1p(4 * x / near) / 4;
  if (x > 1e150 || ::fabs(y) > 1e150) re = x / x / x / (1 + (y / x) * (y / x));
  if (re != re) re = 0;
  const double im = ::atan2(2 * y, (1 - x) * (1 + x) - y * y) / 2;
  return {::copysign(re, a.re), ::copysign(1.0, a.re) < 0 ? -im : im};
}
MG_DEVICE Z atan(Z a) { return turned_back(atanh(turned(a))); }

MG_DEVICE Z sigmoid(Z a) {
  if (a.re >= 0) return reciprocal(Z{1, 0} + exp(-a));
  const Z small = exp(a);  // of the number whose exponential does not overflow
  return small / (Z{1, 0} + small);
}
MG_DEVICE Z silu_slope(Z a) {
  const Z s = sigmoid(a), one{1, 0};
  return s * (one + a * (one - s));
}
MG_DEVICE Z sinc(Z a) {
  if (!nonzero(a)) return {1, 0};
  const Z x = 3.14159265358979323846 * a;
  return sin(x) / x;
}
// z ** 0 is 1 for every z; 0 ** w is 0 for re(w) > 0.
MG_DEVICE Z pow(Z a, Z b) {
  if (!nonzero(b)) return {1, 0};
  if (!nonzero(a) && b.im == 0 && b.re > 0) return {0, 0};
  return exp(b * log(a));
}
// log(exp(a) + exp(b)); the number with the smaller real part goes into the exponential.
MG_DEVICE Z logaddexp(Z a, Z b) {
  if (nan_part(a)) return a;
  if (nan_part(b)) return b;
  const Z low = a.re < b.re ? a : b, high = a.re < b.re ? b : a;
  if (low.re == -__builtin_inf()) return low.re == high.re ? low : high;
  if (::fabs(low.re) == __builtin_inf() && low.re == high.re) return log(exp(low) + exp(high));
  return log1p(exp(low - high)) + high;
}

}  // namespace mg::cuda::zmath
