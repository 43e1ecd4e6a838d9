// The norms of distance.cpp, as f(norm) with: add(sum, |difference|), join(sum, sum), finish(sum), and slope(difference, distance): the
// derivative of the distance by the difference. A distance of 0 has slope 0 (PyTorch's choice).
//
// Included once per instruction set (distance_isa.cpp) and by the baseline: everything is in MG_ISA_NS.
#pragma once
#include <cmath>
#include <cstdint>

#ifndef MG_ISA_NS
#define MG_ISA_NS portable
#endif

namespace mg::cpu {

// sums[j] = || a - column j || for the `n` columns of b, (m, n) by rows; one per instruction set.
struct DistanceTable {
  void (*row32)(double p, const float* a, const float* b, float* sums, int64_t n, int64_t m);
  void (*row64)(double p, const double* a, const double* b, double* sums, int64_t n, int64_t m);
};

namespace MG_ISA_NS {

template <class T>
struct Norm0 {
  static T add(T sum, T d) { return sum + T(d != 0); }
  static T join(T a, T b) { return a + b; }
  static T finish(T sum) { return sum; }
  static T slope(T, T) { return 0; }
};
template <class T>
struct Norm1 {
  static T add(T sum, T d) { return sum + d; }
  static T join(T a, T b) { return a + b; }
  static T finish(T sum) { return sum; }
  static T slope(T d, T) { return T(d > 0) - T(d < 0); }
};
template <class T>
struct Norm2 {
  static T add(T sum, T d) { return sum + d * d; }
  static T join(T a, T b) { return a + b; }
  static T finish(T sum) { return std::sqrt(sum); }
  static T slope(T d, T distance) { return distance == 0 ? T(0) : d / distance; }
};
template <class T>
struct NormMax {
  static T add(T sum, T d) { return d > sum || d != d ? d : sum; }
  static T join(T a, T b) { return add(a, b); }
  static T finish(T sum) { return sum; }
  static T slope(T d, T distance) { return std::abs(d) == distance ? T(d > 0) - T(d < 0) : T(0); }
};
template <class T>
struct NormP {
  T p;
  T add(T sum, T d) const { return sum + std::pow(d, p); }
  T join(T a, T b) const { return a + b; }
  T finish(T sum) const { return std::pow(sum, 1 / p); }
  T slope(T d, T distance) const {
    if (distance == 0 || (d == 0 && p < 1)) return 0;
    const T s = std::pow(std::abs(d) / distance, p - 1);
    return d > 0 ? s : d < 0 ? -s : T(0);
  }
};

template <class T, class F>
void with_norm(double p, F&& f) {
  if (p == 0) return f(Norm0<T>{});
  if (p == 1) return f(Norm1<T>{});
  if (p == 2) return f(Norm2<T>{});
  if (std::isinf(p)) return f(NormMax<T>{});
  f(NormP<T>{T(p)});
}

}  // namespace MG_ISA_NS
}  // namespace mg::cpu
