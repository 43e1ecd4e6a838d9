// See mask_table.h. Plain loops that the compiler turns into masked moves of this file's instruction set.
#include "mask_table.h"

namespace mg::cpu::MG_ISA_NS {

namespace {

// In bits, not with `?:`, which the compiler turns into a branch per element when dst is src.
template <class W>
void fill(W* dst, const W* src, const bool* __restrict mask, W value, int64_t n) {
  auto pick = [value](W old, bool on) {
    const W keep = W(W(on) - 1);  // all ones where the mask is off
    return W((old & keep) | (value & W(~keep)));
  };
  if (dst == src) {
    for (int64_t i = 0; i < n; ++i) dst[i] = pick(dst[i], mask[i]);
  } else {
    W* __restrict d = dst;
    const W* __restrict s = src;
    for (int64_t i = 0; i < n; ++i) d[i] = pick(s[i], mask[i]);
  }
}

template <class T>
void scale(T* __restrict dst, const T* __restrict src, const bool* __restrict mask, T factor, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dst[i] = mask[i] ? src[i] * factor : T(0);
}

template <class T>
void drop(T* __restrict dst, bool* __restrict kept, const T* __restrict src, const uint32_t* __restrict bits,
          uint32_t last, T factor, int64_t n) {
  for (int64_t i = 0; i < n; ++i) kept[i] = bits[i] <= last;
  for (int64_t i = 0; i < n; ++i) dst[i] = bits[i] <= last ? src[i] * factor : T(0);
}

}  // namespace

extern const MaskTable mask_functions;
constinit const MaskTable mask_functions = {fill<uint8_t>, fill<uint16_t>, fill<uint32_t>, fill<uint64_t>,
                                            scale<float>,  scale<double>,  drop<float>,    drop<double>};

}  // namespace mg::cpu::MG_ISA_NS
