// Arithmetic and functions of complex elements, for baseline code (no special instruction sets).
//
// The products and quotients are the plain formulas that PyTorch vectorises (no C99 repair of inf * nan), so that the
// compiler can do the same. Functions without a better formula go through <complex>, that is the C library.
#pragma once
#include <cmath>
#include <complex>

#include "../core/dtype.h"

namespace mg::cpu {

template <class T>
inline Complex<T> operator+(Complex<T> a, Complex<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class T>
inline Complex<T> operator-(Complex<T> a, Complex<T> b) {
  return {a.re - b.re, a.im - b.im};
}
template <class T>
inline Complex<T> operator-(Complex<T> a) {
  return {-a.re, -a.im};
}
template <class T>
inline Complex<T> operator*(Complex<T> a, Complex<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
// Scaled by the larger part of the divisor, so that squares of large numbers do not overflow.
template <class T>
inline Complex<T> operator/(Complex<T> a, Complex<T> b) {
  const bool wide = std::abs(b.re) >= std::abs(b.im);
  const T big = wide ? b.re : b.im, small = wide ? b.im : b.re;
  if (big == 0) return {a.re / std::abs(big), a.im / std::abs(big)};
  const T ratio = small / big, scale = 1 / (big + small * ratio);
  return wide ? Complex<T>{(a.re + a.im * ratio) * scale, (a.im - a.re * ratio) * scale}
              : Complex<T>{(a.re * ratio + a.im) * scale, (a.im * ratio - a.re) * scale};
}
template <class T>
inline bool operator==(Complex<T> a, Complex<T> b) {
  return a.re == b.re && a.im == b.im;
}
template <class T>
inline bool nonzero(Complex<T> a) {
  return a.re != 0 || a.im != 0;
}
template <class T>
inline Complex<T> conj(Complex<T> a) {
  return {a.re, -a.im};
}
template <class T>
inline T modulus(Complex<T> a) {
  return std::hypot(a.re, a.im);
}

template <class T>
inline std::complex<T> wide(Complex<T> a) {
  return {a.re, a.im};
}
template <class T>
inline Complex<T> narrow(std::complex<T> a) {
  return {a.real(), a.imag()};
}

template <class T>
inline Complex<T> sgn(Complex<T> a) {
  const T m = modulus(a);
  return m == 0 ? Complex<T>{} : Complex<T>{a.re / m, a.im / m};
}
template <class T>
inline Complex<T> reciprocal(Complex<T> a) {
  return Complex<T>{1, 0} / a;
}

// exp(x) - 1 with the cancellation of the real part taken apart: expm1(re) cos(im) - 2 sin(im / 2)^2.
template <class T>
inline Complex<T> expm1(Complex<T> a) {
  const T grown = std::expm1(a.re), half = std::sin(a.im / 2);
  return {grown * std::cos(a.im) - 2 * half * half, std::exp(a.re) * std::sin(a.im)};
}

// log(1 + a): near 0, |1 + a|^2 - 1 = re (2 + re) + im^2 goes through log1p.
template <class T>
inline Complex<T> log1p(Complex<T> a) {
  const T angle = std::atan2(a.im, 1 + a.re);
  if (std::abs(a.re) < T(0.5) && std::abs(a.im) < T(0.5))
    return {std::log1p(a.re * (2 + a.re) + a.im * a.im) / 2, angle};
  return {std::log(std::hypot(1 + a.re, a.im)), angle};
}

template <class T>
inline Complex<T> exp2(Complex<T> a) {
  constexpr T ln2 = T(0.69314718055994530942);
  const T m = std::exp2(a.re);
  return a.im == 0 ? Complex<T>{m, a.im} : Complex<T>{m * std::cos(ln2 * a.im), m * std::sin(ln2 * a.im)};
}

template <class T>
inline Complex<T> sigmoid(Complex<T> a) {
  if (a.re >= 0) return reciprocal(Complex<T>{1, 0} + narrow(std::exp(-wide(a))));
  const Complex<T> small = narrow(std::exp(wide(a)));  // of the number whose exponential does not overflow
  return small / (Complex<T>{1, 0} + small);
}

template <class T>
inline Complex<T> silu_slope(Complex<T> a) {
  const Complex<T> s = sigmoid(a), one{1, 0};
  return s * (one + a * (one - s));
}

template <class T>
inline Complex<T> sinc(Complex<T> a) {
  if (!nonzero(a)) return {1, 0};
  const Complex<T> x = a * Complex<T>{T(3.14159265358979323846), 0};
  return narrow(std::sin(wide(x))) / x;
}

// z ** 0 is 1 for every z; 0 ** w is 0 for re(w) > 0.
template <class T>
inline Complex<T> pow(Complex<T> a, Complex<T> b) {
  if (!nonzero(b)) return {1, 0};
  if (!nonzero(a) && b.im == 0 && b.re > 0) return {};
  return narrow(std::pow(wide(a), wide(b)));
}

// log(exp(a) + exp(b)); the branch with the smaller real part goes into the exponential.
template <class T>
inline Complex<T> logaddexp(Complex<T> a, Complex<T> b) {
  if (std::isnan(a.re) || std::isnan(a.im)) return a;
  if (std::isnan(b.re) || std::isnan(b.im)) return b;
  const Complex<T> low = a.re < b.re ? a : b, high = a.re < b.re ? b : a;
  if (std::isinf(low.re) && low.re < 0) return high;
  if (!std::isfinite(low.re) && low.re == high.re) return low.re < 0 ? low : narrow(std::log(std::exp(wide(low)) + std::exp(wide(high))));
  return log1p(narrow(std::exp(wide(low - high)))) + high;
}

// The dtype switch over real and complex.
template <class F>
decltype(auto) dispatch_any(DType d, F&& f) {
  if (is_complex(d)) return dispatch_complex(d, f);
  return dispatch(d, f);
}

}  // namespace mg::cpu
