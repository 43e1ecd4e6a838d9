// Strided operands in device code: a LoopPlan (core/layout.h: broadcast, merged and ordered dims) packed as a kernel argument.
//
//   LoopPlan plan(out.sizes);  plan.add(out);  plan.add(a);  plan.finish();
//   with_offsets<2>(plan, [&](const Offsets<2>& offsets, char* const* base) {
//     launch_items(kernel, offsets.count, (float*)base[0], (const float*)base[1], offsets);
//   });
//   in the kernel:  MG_GRID_LOOP(i, offsets.count) { int64_t at[2]; offsets.get(i, at); *byte_at(out, at[0]) = *byte_at(a, at[1]); }
#pragma once
#include "../core/layout.h"
#include "elements.h"

namespace mg::cuda {

constexpr int kOffsetDims = 12;  // after merging; more are looped over on the host

template <int N>
struct Offsets {
  int64_t count;
  int ndim;
  bool narrow;  // all indices fit 32 bits: the division is several times cheaper
  int64_t sizes[kOffsetDims];
  int64_t strides[kOffsetDims][N];  // bytes

  // Byte offsets of all operands at element i, in the order of the plan.
  MG_DEVICE void get(int64_t i, int64_t (&at)[N]) const {
    for (int k = 0; k < N; ++k) at[k] = 0;
    for (int d = ndim - 1; d > 0; --d) {
      int64_t here, rest;
      if (narrow) {
        const uint32_t size = uint32_t(sizes[d]);
        rest = uint32_t(i) / size;
        here = uint32_t(i) - uint32_t(rest) * size;
      } else {
        rest = i / sizes[d];
        here = i - rest * sizes[d];
      }
      for (int k = 0; k < N; ++k) at[k] += here * strides[d][k];
      i = rest;
    }
    for (int k = 0; k < N; ++k) at[k] += i * strides[0][k];
  }
};

template <class T>
MG_DEVICE T* byte_at(T* p, int64_t bytes) {
  return reinterpret_cast<T*>(reinterpret_cast<std::conditional_t<std::is_const_v<T>, const char, char>*>(p) + bytes);
}

// f(offsets, base pointers), once or, for more than kOffsetDims dims, once for each index of the leading ones.
template <int N, class F>
void with_offsets(const LoopPlan& plan, F&& f) {
  if (plan.numel == 0) return;
  const int lead = std::max(plan.ndim - kOffsetDims, 0);
  Offsets<N> o;
  o.ndim = std::max(plan.ndim - lead, 1);
  o.count = 1;
  o.sizes[0] = 1;
  for (int k = 0; k < N; ++k) o.strides[0][k] = 0;
  for (int d = 0; d < plan.ndim - lead; ++d) {
    o.count *= o.sizes[d] = plan.sizes[lead + d];
    for (int k = 0; k < N; ++k) o.strides[d][k] = plan.strides[k][lead + d];
  }
  o.narrow = o.count <= INT32_MAX;
  for (int64_t at = 0, n = plan.numel / o.count; at < n; ++at) {
    char* base[N];
    for (int k = 0; k < N; ++k) base[k] = plan.base[k];
    for (int64_t d = lead - 1, rest = at; d >= 0; --d) {
      for (int k = 0; k < N; ++k) base[k] += rest % plan.sizes[d] * plan.strides[k][d];
      rest /= plan.sizes[d];
    }
    f(o, base);
  }
}

}  // namespace mg::cuda
