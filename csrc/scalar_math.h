// What the expressions of scalar.h may call, for single numbers: float, double and Int<T>; plus the few functions written once for every
// kind of T (numbers and SIMD registers alike). Usable on host and device; the SIMD versions are in simd/vecmath.h.
//
// Int<T> is an integer (or bool) whose arithmetic wraps and never traps: overflow, division by zero (gives 0; the kernel has reported it)
// and min / -1 are all defined. Int<bool> follows PyTorch: + is or, * is and.
#pragma once
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "scalar_special.h"

#if defined(__CUDACC__)
#define MG_HD __host__ __device__ __forceinline__
#else
#define MG_HD __attribute__((always_inline)) inline  // never emitted out of line: these files are compiled once per instruction set
#endif

namespace mg::scalar {

// --- integers -------------------------------------------------------------------------------------------------------------------------
template <class T>
struct Int {
  using Wide = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;  // unsigned: wraps, and wide enough for a product
  using Signed = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;  // holds every T but for uint64, which we do not have
  static constexpr int width = sizeof(T) * 8;
  T v;
  Int() = default;
  MG_HD Int(T x) : v(x) {}
  MG_HD static Int wrap(Wide x) { return Int(T(x)); }
  MG_HD Wide w() const { return Wide(v); }

  MG_HD friend Int operator+(Int a, Int b) { return wrap(a.w() + b.w()); }
  MG_HD friend Int operator-(Int a, Int b) { return wrap(a.w() - b.w()); }
  MG_HD friend Int operator*(Int a, Int b) { return wrap(a.w() * b.w()); }
  MG_HD friend Int operator-(Int a) { return wrap(Wide(0) - a.w()); }
  MG_HD friend Int operator&(Int a, Int b) { return wrap(a.w() & b.w()); }
  MG_HD friend Int operator|(Int a, Int b) { return wrap(a.w() | b.w()); }
  MG_HD friend Int operator^(Int a, Int b) { return wrap(a.w() ^ b.w()); }
  MG_HD friend Int operator~(Int a) {
    if constexpr (std::is_same_v<T, bool>) return Int(!a.v);
    else return wrap(~a.w());
  }
  MG_HD friend bool operator==(Int a, Int b) { return a.v == b.v; }
  MG_HD friend bool operator!=(Int a, Int b) { return a.v != b.v; }
  MG_HD friend bool operator<(Int a, Int b) { return a.v < b.v; }
  MG_HD friend bool operator<=(Int a, Int b) { return a.v <= b.v; }
  MG_HD friend bool operator>(Int a, Int b) { return a.v > b.v; }
  MG_HD friend bool operator>=(Int a, Int b) { return a.v >= b.v; }
};

template <class T> MG_HD Int<T> select(bool m, Int<T> a, Int<T> b) { return m ? a : b; }
template <class T> MG_HD Int<T> abs(Int<T> a) { return a < Int<T>(T(0)) ? -a : a; }
template <class T> MG_HD Int<T> floor(Int<T> a) { return a; }
template <class T> MG_HD Int<T> ceil(Int<T> a) { return a; }
template <class T> MG_HD Int<T> trunc(Int<T> a) { return a; }
template <class T> MG_HD Int<T> rint(Int<T> a) { return a; }
template <class T> MG_HD bool isnan(Int<T>) { return false; }
template <class T> MG_HD bool isinf(Int<T>) { return false; }
template <class T> MG_HD bool isfinite(Int<T>) { return true; }
template <class T> MG_HD bool signbit(Int<T> a) { return a < Int<T>(T(0)); }
template <class T> MG_HD Int<T> maximum(Int<T> a, Int<T> b) { return a > b ? a : b; }
template <class T> MG_HD Int<T> minimum(Int<T> a, Int<T> b) { return a < b ? a : b; }

template <class T>
MG_HD Int<T> trunc_divide(Int<T> a, Int<T> b) {
  using S = typename Int<T>::Signed;
  if (b.v == T(0)) return Int<T>(T(0));
  if constexpr (std::is_signed_v<T>)
    if (b.v == T(-1)) return -a;  // the lowest number / -1 traps on x86
  return Int<T>(T(S(a.v) / S(b.v)));
}
template <class T> MG_HD Int<T> fmod(Int<T> a, Int<T> b) { return a - trunc_divide(a, b) * b; }
template <class T>
MG_HD Int<T> remainder(Int<T> a, Int<T> b) {  // the divisor's sign
  const Int<T> r = fmod(a, b), zero = T(0);
  return (r != zero) & ((r < zero) != (b < zero)) ? r + b : r;
}
template <class T>
MG_HD Int<T> floor_divide(Int<T> a, Int<T> b) {
  const Int<T> q = trunc_divide(a, b), r = a - q * b, zero = T(0);
  return (r != zero) & ((r < zero) != (b < zero)) ? q - Int<T>(T(1)) : q;
}
template <class T>
MG_HD Int<T> pow(Int<T> base, Int<T> exponent) {  // negative exponents: the exact result truncated
  const Int<T> one = T(1), minus_one = -one;
  if (exponent < Int<T>(T(0))) {
    if (base == one) return one;
    return base == minus_one ? ((exponent & one) == one ? minus_one : one) : Int<T>(T(0));
  }
  Int<T> r = one;
  for (typename Int<T>::Wide e = exponent.w(); e != 0; e >>= 1, base = base * base)
    if (e & 1) r = r * base;
  return r;
}
template <class T>
MG_HD Int<T> shift_left(Int<T> a, Int<T> n) {
  using S = typename Int<T>::Signed;
  const bool outside = (S(n.v) < 0) | (S(n.v) >= Int<T>::width);
  return outside ? Int<T>(T(0)) : Int<T>::wrap(a.w() << (n.w() & (sizeof(T) == 8 ? 63 : 31)));
}
template <class T>
MG_HD Int<T> shift_right(Int<T> a, Int<T> n) {
  using S = typename Int<T>::Signed;
  const bool outside = (S(n.v) < 0) | (S(n.v) >= Int<T>::width);
  return outside ? Int<T>(a.v < T(0) ? T(-1) : T(0)) : Int<T>(T(S(a.v) >> (S(n.v) & (sizeof(T) == 8 ? 63 : 31))));
}

// --- float and double -------------------------------------------------------------------------------------------------------------------
#define MG_SCALAR1(name, f, d)                 \
  MG_HD float name(float x) { return f(x); }   \
  MG_HD double name(double x) { return d(x); }
#define MG_SCALAR2(name, f, d)                                    \
  MG_HD float name(float x, float y) { return f(x, y); }          \
  MG_HD double name(double x, double y) { return d(x, y); }
MG_SCALAR1(abs, ::fabsf, ::fabs)
MG_SCALAR1(sqrt, ::sqrtf, ::sqrt)
MG_SCALAR1(floor, ::floorf, ::floor)
MG_SCALAR1(ceil, ::ceilf, ::ceil)
MG_SCALAR1(trunc, ::truncf, ::trunc)
MG_SCALAR1(rint, ::rintf, ::rint)
MG_SCALAR1(exp, ::expf, ::exp)
MG_SCALAR1(exp2, ::exp2f, ::exp2)
MG_SCALAR1(expm1, ::expm1f, ::expm1)
MG_SCALAR1(log, ::logf, ::log)
MG_SCALAR1(log2, ::log2f, ::log2)
MG_SCALAR1(log10, ::log10f, ::log10)
MG_SCALAR1(log1p, ::log1pf, ::log1p)
MG_SCALAR1(sin, ::sinf, ::sin)
MG_SCALAR1(cos, ::cosf, ::cos)
MG_SCALAR1(tan, ::tanf, ::tan)
MG_SCALAR1(asin, ::asinf, ::asin)
MG_SCALAR1(acos, ::acosf, ::acos)
MG_SCALAR1(atan, ::atanf, ::atan)
MG_SCALAR1(sinh, ::sinhf, ::sinh)
MG_SCALAR1(cosh, ::coshf, ::cosh)
MG_SCALAR1(tanh, ::tanhf, ::tanh)
MG_SCALAR1(asinh, ::asinhf, ::asinh)
MG_SCALAR1(acosh, ::acoshf, ::acosh)
MG_SCALAR1(atanh, ::atanhf, ::atanh)
MG_SCALAR1(erf, ::erff, ::erf)
MG_SCALAR1(erfc, ::erfcf, ::erfc)
MG_SCALAR2(pow, ::powf, ::pow)
MG_SCALAR2(fmod, ::fmodf, ::fmod)
MG_SCALAR2(atan2, ::atan2f, ::atan2)
MG_SCALAR2(hypot, ::hypotf, ::hypot)
MG_SCALAR2(copysign, ::copysignf, ::copysign)
MG_SCALAR2(nextafter, ::nextafterf, ::nextafter)
#undef MG_SCALAR1
#undef MG_SCALAR2
MG_HD double erfinv(double x) { return special::erfinv(x); }
MG_HD float erfinv(float x) { return float(special::erfinv(double(x))); }
MG_HD double lgamma(double x) { return special::lgamma(x); }
MG_HD float lgamma(float x) { return float(special::lgamma(double(x))); }
MG_HD double digamma(double x) { return special::digamma(x); }
MG_HD float digamma(float x) { return float(special::digamma(double(x))); }
template <class T> using IfFloat = std::enable_if_t<std::is_floating_point_v<T>, T>;
template <class T> MG_HD IfFloat<T> select(bool m, T a, T b) { return m ? a : b; }
template <class T> MG_HD std::enable_if_t<std::is_floating_point_v<T>, bool> isnan(T x) { return x != x; }
template <class T> MG_HD std::enable_if_t<std::is_floating_point_v<T>, bool> signbit(T x) { return __builtin_signbit(x); }
template <class T> MG_HD IfFloat<T> maximum(T a, T b) { return (a > b) | (a != a) ? a : b; }
template <class T> MG_HD IfFloat<T> minimum(T a, T b) { return (a < b) | (a != a) ? a : b; }
template <class T> MG_HD IfFloat<T> normal_cdf(T x) { return T(0.5) * erfc(x * T(-0.70710678118654752440)); }
template <class T>
MG_HD IfFloat<T> sigmoid(T x) {
  const T e = exp(-abs(x));
  return (x < T(0) ? e : T(1)) / (T(1) + e);
}

// --- written once for numbers and registers ------------------------------------------------------------------------------------------
template <class T> MG_HD auto isinf(T x) { return abs(x) == T(__builtin_inf()); }
template <class T> MG_HD auto isfinite(T x) { return abs(x) < T(__builtin_inf()); }

template <class T> MG_HD T trunc_divide(T a, T b) { return trunc(a / b); }
template <class T>
MG_HD T remainder(T a, T b) {  // the divisor's sign; exact, as fmod is
  const T r = fmod(a, b);
  return select((r != T(0)) & ((r < T(0)) ^ (b < T(0))), r + b, r);
}
// Python's: (a - remainder) / b, which is an integer up to rounding; so floor(a / b) == -1 for a = -1e-20, b = 1.
template <class T>
MG_HD T floor_divide(T a, T b) {
  const T m = fmod(a, b), q = (a - m) / b;
  const T d = select((m != T(0)) & ((m < T(0)) ^ (b < T(0))), q - T(1), q), f = floor(d);
  const T r = select(d == T(0), copysign(T(0), a / b), select(d - f > T(0.5), f + T(1), f));
  return select(b == T(0), a / b, r);
}

// x tanh(log(1 + e^x)) = x n / (n + 2), n = e^x (e^x + 2); beyond 40 the quotient is 1.
template <class T>
MG_HD T mish(T x) {
  const T e = exp(minimum(x, T(40))), n = e * (e + T(2));
  return x * (n / (n + T(2)));
}
// gelu_tanh(x) = x/2 (1 + tanh(u/2)) = x sigmoid(u), u = 2 sqrt(2/pi) (x + 0.044715 x^3): no cancellation for negative x
template <class T> MG_HD T gelu_tanh_argument(T x) {
  return x * (T(1.59576912160573071176) + T(0.07135481627260025) * x * x);
}
template <class T> MG_HD T gelu_tanh_slope(T x, T s) {
  return s + x * s * (T(1) - s) * (T(1.59576912160573071176) + T(3 * 0.07135481627260025) * x * x);
}
template <class T> MG_HD T silu_slope(T x, T s) { return s * (T(1) + x * (T(1) - s)); }

}  // namespace mg::scalar
