// scalar::Int<T>, the integer that the expressions of scalar.h compute with; part of scalar_math.h.
//
// Its arithmetic wraps and never traps: overflow, division by zero (gives 0; the kernel has reported it) and min / -1
// are all defined. Int<bool> follows PyTorch: + is or, * is and.
#pragma once
#include <cstdint>
#include <type_traits>

#include "core/host_device.h"

namespace mg::scalar {

template <class T>
struct Int {
  using Wide =
      std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;  // unsigned: wraps, and wide enough for a product
  using Signed =
      std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;  // holds every T but for uint64, which we do not have
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

template <class T>
MG_HD Int<T> select(bool m, Int<T> a, Int<T> b) {
  return m ? a : b;
}
template <class T>
MG_HD Int<T> abs(Int<T> a) {
  return a < Int<T>(T(0)) ? -a : a;
}
template <class T>
MG_HD Int<T> floor(Int<T> a) {
  return a;
}
template <class T>
MG_HD Int<T> ceil(Int<T> a) {
  return a;
}
template <class T>
MG_HD Int<T> trunc(Int<T> a) {
  return a;
}
template <class T>
MG_HD Int<T> rint(Int<T> a) {
  return a;
}
template <class T>
MG_HD bool isnan(Int<T>) {
  return false;
}
template <class T>
MG_HD bool isinf(Int<T>) {
  return false;
}
template <class T>
MG_HD bool isfinite(Int<T>) {
  return true;
}
template <class T>
MG_HD bool signbit(Int<T> a) {
  return a < Int<T>(T(0));
}
template <class T>
MG_HD Int<T> maximum(Int<T> a, Int<T> b) {
  return a > b ? a : b;
}
template <class T>
MG_HD Int<T> minimum(Int<T> a, Int<T> b) {
  return a < b ? a : b;
}

template <class T>
MG_HD Int<T> trunc_divide(Int<T> a, Int<T> b) {
  using S = typename Int<T>::Signed;
  if (b.v == T(0)) return Int<T>(T(0));
  if constexpr (std::is_signed_v<T>)
    if (b.v == T(-1)) return -a;  // the lowest number / -1 traps on x86
  return Int<T>(T(S(a.v) / S(b.v)));
}
template <class T>
MG_HD Int<T> fmod(Int<T> a, Int<T> b) {
  return a - trunc_divide(a, b) * b;
}
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
MG_HD Int<T> gcd(Int<T> a, Int<T> b) {  // of the magnitudes; gcd(0, 0) is 0
  a = abs(a), b = abs(b);
  while (b.v != T(0)) {
    const Int<T> r = fmod(a, b);
    a = b, b = r;
  }
  return abs(a);
}
template <class T>
MG_HD Int<T> lcm(Int<T> a, Int<T> b) {  // where it does not fit: the magnitude, cut (int8's -127 and 126: 16002, which is -126)
  using S = typename Int<T>::Signed;
  return Int<T>(T(abs(Int<S>(trunc_divide(a, gcd(a, b)).v) * Int<S>(b.v)).v));
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

}  // namespace mg::scalar
