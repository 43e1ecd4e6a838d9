// Loops over one contiguous row for the per-ISA kernels (softmax, norms): whole vectors, then a masked rest.
#pragma once
#include "vec.h"

#define MG_LAMBDA __attribute__((always_inline))

namespace mg::simd::MG_ISA_NS {

// Calls f(offset, lanes) for whole vectors, then for the rest.
template <class T, class F>
MG_INL void each(int64_t n, F f) {
  constexpr int W = Vec<T>::size;
  int64_t i = 0;
  for (; i + W <= n; i += W) f(i, W);
  if (i < n) f(i, int(n - i));
}
template <class T>
MG_INL Vec<T> get(const T* p, int lanes) {
  return lanes == Vec<T>::size ? Vec<T>::load(p) : Vec<T>::load(p, lanes);
}
template <class T>
MG_INL void put(T* p, Vec<T> v, int lanes) {
  lanes == Vec<T>::size ? v.store(p) : v.store(p, lanes);
}

constexpr int64_t kIota8[8] = {0, 1, 2, 3, 4, 5, 6, 7};
constexpr int32_t kIota4[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// Mask of the first n lanes.
template <class T>
MG_INL typename Vec<T>::M first_lanes(int n) {
  using I = typename Vec<T>::I;
  if constexpr (sizeof(T) == 8)
    return I::load(kIota8) < I(int64_t(n));
  else
    return I::load(kIota4) < I(int32_t(n));
}

// The first `lanes` lanes of a, `fill` in the others.
template <class T>
MG_INL Vec<T> keep(Vec<T> a, int lanes, T fill) {
  return lanes == Vec<T>::size ? a : select(first_lanes<T>(lanes), a, Vec<T>(fill));
}

// Sum over i of f(i, lanes) (zero in the missing lanes): float within 64 vectors, double across.
template <class T, class F>
MG_INL double sum_of(int64_t n, F f) {
  constexpr int W = Vec<T>::size;
  constexpr int64_t kBlock = 64 * W;
  double total = 0;
  for (int64_t b = 0; b < n; b += kBlock) {
    const int64_t end = n - b < kBlock ? n : b + kBlock;
    Vec<T> s0 = T(0), s1 = T(0);
    int64_t i = b;
    for (; i + 2 * W <= end; i += 2 * W) {
      s0 = s0 + f(i, W);
      s1 = s1 + f(i + W, W);
    }
    for (; i + W <= end; i += W) s0 = s0 + f(i, W);
    if (i < end) s1 = s1 + keep(f(i, int(end - i)), int(end - i), T(0));
    total += double(hsum(s0 + s1));
  }
  return total;
}

template <class T>
MG_INL T row_max(const T* x, int64_t n) {
  constexpr int W = Vec<T>::size;
  const T low = -T(__builtin_inf());
  Vec<T> a = low, b = low;
  int64_t i = 0;
  for (; i + 2 * W <= n; i += 2 * W) {
    a = maximum(a, Vec<T>::load(x + i));
    b = maximum(b, Vec<T>::load(x + i + W));
  }
  for (; i + W <= n; i += W) a = maximum(a, Vec<T>::load(x + i));
  if (i < n) b = maximum(b, keep(Vec<T>::load(x + i, int(n - i)), int(n - i), low));
  return hmax(maximum(a, b));
}

}  // namespace mg::simd::MG_ISA_NS
