// Convolution of 1 to 3 spatial dims and its two adjoints on contiguous (N, C, D, H, W) float or double data; conv.cpp
// wraps them as ops and gives sequences and images leading dims of size 1. Images in channels_last: conv_pixels.h.
//
// Legend: N images, C input and O output channels, G groups (Cg = C / G, Og = O / G), D H W input and OD OH OW output
// sizes, K* kernel, S* stride, P* padding, D* dilation of each dim. P = Cg*KD*KH*KW is the length of a patch; tap p =
// (c, kd, kh, kw); Q = N*OD*OH*OW output pixels. All three run as matrix products over patches that are read in place
// from a zero-padded copy of the image, never from an im2col matrix:
//   forward   y[o, q]  = sum_p w[o, p] patch[p, q]            (conv_forward.cpp; few channels a group:
//   conv_depthwise.cpp) data      dx      += w^T dy scattered back, or, for stride 1, forward with flipped weights
//   (conv_data.cpp) weight    dw[o, p] = sum_q dy[o, q] patch[p, q]           (conv_weight.cpp)
// The order in which an element is summed depends on the shape alone, never on the number of threads.
#pragma once
#include <cstdint>

#include "gemm.h"

namespace mg::cpu {

struct ConvShape {
  int64_t N, C, D, H, W, O, G, KD, KH, KW, SD, SH, SW, PD, PH, PW, DD, DH, DW, OD, OH, OW;
  int64_t Cg() const { return C / G; }
  int64_t Og() const { return O / G; }
  int64_t kernel() const { return KD * KH * KW; }
  int64_t taps() const { return Cg() * kernel(); }
  int64_t pixels() const { return OD * OH * OW; }
  // Slices, rows and columns of input that the outputs look at, padding included.
  int64_t seen_d() const { return (OD - 1) * SD + (KD - 1) * DD + 1; }
  int64_t seen_h() const { return (OH - 1) * SH + (KH - 1) * DH + 1; }
  int64_t seen_w() const { return (OW - 1) * SW + (KW - 1) * DW + 1; }
};

// The stride 1 convolution of dy that the gradient of s's input is, for flipped weights.
ConvShape flipped_shape(const ConvShape& s);

template <class T>
void conv_forward(const ConvShape& s, const T* x, const T* w, const T* bias, T* y);  // bias may be null
// dx[N, C, D, H, W] from dy[N, O, OD, OH, OW]; bias[C] (or null) is added, which makes this the transposed convolution.
template <class T>
void conv_data(const ConvShape& s, const T* dy, const T* w, const T* bias, T* dx);
template <class T>
void conv_weight(const ConvShape& s, const T* x, const T* dy, T* dw);

// A run of output pixels in one row, which reads a run of input per tap.
struct PatchRun {
  int64_t source;  // where the run's first pixel reads tap offset 0 in the padded image
  int length;
};

// Per-instruction-set loops over patches (conv_isa.cpp). tap_offset[p] is added to a run's source to find tap p.
template <class T>
struct ConvTable {
  // Panel of forward's B: dst[p * width + q] for `taps` taps and the pixels of the runs, which lie `step` apart; lanes
  // beyond them are zeroed. Writes up to a vector beyond the panel.
  void (*pack_patches)(int64_t taps, const int64_t* tap_offset, const T* src, const PatchRun* runs, int count,
                       int64_t step, T* dst, int64_t width);
  // Panel of weight's B: dst[q * width + p]; columns from `taps` to width are zeroed.
  void (*pack_patches_transposed)(int64_t taps, const int64_t* tap_offset, const T* src, const PatchRun* runs,
                                  int count, int64_t step, T* dst, int64_t width);
  // dst[r * dst_rs + j] = src[r * src_rs + j * stride] for j < n; reads and writes exactly.
  void (*copy_rows)(int64_t rows, int64_t n, const T* src, int64_t src_rs, int64_t stride, T* dst, int64_t dst_rs);
  // dst[j * stride] = src[j] for j < n, `fill` in all other places of dst[0, length).
  void (*spread_row)(int64_t n, const T* src, int64_t stride, T fill, T* dst, int64_t length);
};
struct ConvTables {
  ConvTable<float> f32;
  ConvTable<double> f64;
};
namespace avx512 {
extern const ConvTables conv_table;
}
namespace avx2 {
extern const ConvTables conv_table;
}
namespace portable {
extern const ConvTables conv_table;
}
template <class T>
const ConvTable<T>& conv_table();  // of this machine

}  // namespace mg::cpu
