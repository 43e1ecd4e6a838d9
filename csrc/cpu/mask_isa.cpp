// See mask_table.h.
#include "../simd/row_math.h"
#include "mask_table.h"

namespace mg::cpu::MG_ISA_NS {

namespace {

using namespace simd::MG_ISA_NS;

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

const uint8_t* bytes(const bool* p) { return reinterpret_cast<const uint8_t*>(p); }

template <class T>
void scale(T* dst, const T* src, const bool* mask, T factor, int64_t n) {
  const Vec<T> f = factor, zero = T(0);
  each<T>(n, [&](int64_t i, int k) MG_LAMBDA {
    put(dst + i, select(Mask<sizeof(T)>::load(bytes(mask) + i, k), get(src + i, k) * f, zero), k);
  });
}

template <class T>
void drop(T* dst, bool* kept, const T* src, const uint32_t* bits, uint32_t last, T factor, int64_t n) {
  const auto signed_order = [](Vec<int32_t> v)
                                MG_LAMBDA { return v ^ Vec<int32_t>(INT32_MIN); };  // compares as unsigned
  const Vec<int32_t> limit = signed_order(Vec<int32_t>(int32_t(last)));
  each<int32_t>(n, [&](int64_t i, int k) MG_LAMBDA {
    const auto v = get(reinterpret_cast<const int32_t*>(bits) + i, k);
    (signed_order(v) <= limit).store(reinterpret_cast<uint8_t*>(kept) + i, k);
  });
  scale(dst, src, kept, factor, n);
}

}  // namespace

extern const MaskTable mask_functions;
constinit const MaskTable mask_functions = {fill<uint8_t>, fill<uint16_t>, fill<uint32_t>, fill<uint64_t>,
                                            scale<float>,  scale<double>,  drop<float>,    drop<double>};

}  // namespace mg::cpu::MG_ISA_NS
