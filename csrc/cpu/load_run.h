// Loads of every element or of every second one, for per-ISA files: pooling and convolution of stride 1 and 2.
#pragma once
#include <utility>

#include "../simd/vec.h"

namespace mg::cpu::MG_ISA_NS {

using simd::MG_ISA_NS::Vec;

// Elements 0, 2, 4, … of 2 L - 1 consecutive ones; b starts with the last of a.
template <int L, class V, int... I>
MG_INL V even_lanes(V a, V b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (I < (L + 1) / 2 ? 2 * I : 2 * I + 1)...);
}

// n lanes (at most one vector) at p, p + stride, …; nothing beyond the last is read.
template <class T>
MG_INL Vec<T> load_run(const T* p, int64_t stride, int n) {
  constexpr int L = Vec<T>::size;
  if (stride == 1) return n == L ? Vec<T>::load(p) : Vec<T>::load(p, n);
  const int span = 2 * n - 1;
  const Vec<T> a = span >= L ? Vec<T>::load(p) : Vec<T>::load(p, span);
  const Vec<T> b = n == L ? Vec<T>::load(p + L - 1) : span > L ? Vec<T>::load(p + L - 1, span - L + 1) : a;
  return Vec<T>(even_lanes<L>(a.v, b.v, std::make_integer_sequence<int, L>()));
}

}  // namespace mg::cpu::MG_ISA_NS
