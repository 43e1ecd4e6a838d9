// Convolutions whose groups have too few output channels to fill a matrix tile: computed directly, plane by plane, from
// a padded copy of the plane that stays in the first cache. conv.h is the legend.
//
// The copy is split into phases: with stride SW, columns j, j + SW, j + 2 SW … of one phase lie next to each other (and
// rows likewise), so that every tap reads consecutive elements whatever the stride. A plane of outputs is then a flat
// run with the pitch of the copy; what is computed between its rows is dropped. The gradient of the input comes phase
// by phase from a padded copy of dy in the same way.
#pragma once
#include "conv.h"

namespace mg::cpu {

inline bool few_channels(const ConvShape& s) { return s.G > 1 && s.Og() < 4 && s.Cg() < 16; }

template <class T>
void depthwise_forward(const ConvShape& s, const T* x, const T* w, const T* bias, T* y);
template <class T>
void depthwise_data(const ConvShape& s, const T* dy, const T* w, const T* bias, T* dx);
template <class T>
void depthwise_weight(const ConvShape& s, const T* x, const T* dy, T* dw);

// Loops for one instruction set (conv_depthwise_isa.cpp). Sources may be read a few vectors beyond their last element,
// destinations are written exactly.
template <class T>
struct DepthwiseTable {
  int lanes;
  // dst[r * dst_rs + j * dst_cs] = src[r * src_rs + j * src_cs] for j < n; reads exactly.
  void (*copy_rows)(int64_t rows, int64_t n, const T* src, int64_t src_rs, int64_t src_cs, T* dst, int64_t dst_rs,
                    int64_t dst_cs);
  // y[i] = bias + sum_p w[p] src[tap_offset[p] + i]
  void (*run)(int64_t n, int64_t taps, const int64_t* tap_offset, const T* w, const T* src, T bias, T* y);
  // acc[p * lanes + lane] += sum of dy[i] src[tap_offset[p] + i] over the i < n of that lane; reads exactly.
  void (*run_weight)(int64_t n, int64_t taps, const int64_t* tap_offset, const T* dy, const T* src, T* acc);
};
struct DepthwiseTables {
  DepthwiseTable<float> f32;
  DepthwiseTable<double> f64;
};
namespace avx512 {
extern const DepthwiseTables depthwise_table;
}
namespace avx2 {
extern const DepthwiseTables depthwise_table;
}
namespace portable {
extern const DepthwiseTables depthwise_table;
}

}  // namespace mg::cpu
