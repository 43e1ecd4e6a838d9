// The loops of clip.h over simd::Vec.
#include "../simd/row_math.h"
#include "../simd/vecmath.h"
#include "clip_table.h"

namespace mg::cpu::MG_ISA_NS {

namespace sv = simd::MG_ISA_NS;
using namespace simd::MG_ISA_NS;

template <class T>
double square_sum(const T* x, int64_t n) {
  return sum_of<T>(n, [&](int64_t i, int k) MG_LAMBDA {
    const Vec<T> v = get(x + i, k);
    return v * v;
  });
}

template <class T>
double abs_max(const T* x, int64_t n) {
  Vec<T> top = T(0);
  each<T>(n, [&](int64_t i, int k) MG_LAMBDA { top = sv::maximum(top, sv::abs(get(x + i, k))); });  // missing lanes read as 0
  return double(hmax(top));
}

template <class T>
void scale(T* x, int64_t n, T factor) {
  each<T>(n, [&](int64_t i, int k) MG_LAMBDA { put(x + i, get(x + i, k) * factor, k); });
}

template <class T>
void clamp(T* x, int64_t n, T low, T high) {
  each<T>(n, [&](int64_t i, int k) MG_LAMBDA { put(x + i, sv::minimum(sv::maximum(get(x + i, k), Vec<T>(low)), Vec<T>(high)), k); });
}

extern const ClipTable clip_table;
constinit const ClipTable clip_table = {{square_sum<float>, abs_max<float>, scale<float>, clamp<float>},
                                        {square_sum<double>, abs_max<double>, scale<double>, clamp<double>}};

}  // namespace mg::cpu::MG_ISA_NS
