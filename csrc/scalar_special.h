// Scalar special functions in double that the C library lacks (or, lgamma, has only with a global side effect).
// Each including file gets its own copies (static): they are compiled once per instruction set.
#pragma once
#include <cmath>

#if defined(__CUDACC__)
#define MG_SPECIAL_BASE __host__ __device__ static
#else
#define MG_SPECIAL_BASE static
#endif

namespace mg::special {

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

// Phi(x) = P(N(0,1) <= x)
MG_SPECIAL_BASE double normal_cdf(double x) { return 0.5 * ::erfc(-x * 0.70710678118654752440); }

// std::lgamma writes the global `signgam`, a data race between threads.
MG_SPECIAL_BASE double lgamma(double x) {
#if defined(__CUDA_ARCH__)
  return ::lgamma(x);
#else
  int sign;
  return ::lgamma_r(x, &sign);
#endif
}

// Winitzki's closed form (relative error 2e-3), then three Halley steps on erf, or on erfc near the ends where erf
// saturates.
MG_SPECIAL_BASE double erfinv(double y) {
  if (!(y > -1 && y < 1)) return y == 1 || y == -1 ? y * __builtin_inf() : __builtin_nan("");
  if (y == 0) return y;
  const double a = y < 0 ? -y : y, a1 = 0.147;
  const double l = ::log1p(-a * a), t = 2 / (3.14159265358979323846 * a1) + 0.5 * l;
  double x = ::sqrt(::sqrt(t * t - l / a1) - t);
  for (int i = 0; i < 3; ++i) {
    const double error = a > 0.5 ? (1 - a) - ::erfc(x) : ::erf(x) - a;
    const double u = error / (1.12837916709551257390 * ::exp(-x * x));
    x -= u / (1 + x * u);
  }
  return y < 0 ? -x : x;
}

// psi(x): reflection for x < 0, recurrence up to 10, then the asymptotic series. PyTorch's values at the poles: -+inf
// at +-0, NaN at -1, -2 …
MG_SPECIAL_BASE double digamma(double x) {
  if (x == 0) return ::copysign(__builtin_inf(), -x);
  double shift = 0;
  if (x < 0) {
    if (x == ::floor(x)) return __builtin_nan("");
    const double pi = 3.14159265358979323846;
    shift = -pi / ::tan(pi * (x - ::trunc(x)));
    x = 1 - x;
  }
  for (; x < 10; x += 1) shift -= 1 / x;
  const double z = 1 / (x * x);
  const double series =
      z *
      (1.0 / 12 - z * (1.0 / 120 - z * (1.0 / 252 - z * (1.0 / 240 - z * (1.0 / 132 - z * (691.0 / 32760 - z / 12))))));
  return shift + ::log(x) - 0.5 / x - (x == __builtin_inf() ? 0 : series);
}

#pragma GCC diagnostic pop

}  // namespace mg::special
