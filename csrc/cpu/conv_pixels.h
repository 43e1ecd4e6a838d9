// Convolutions of float images that lie as (N, H, W, C), computed as they lie; conv.cpp asks here first for
// channels_last tensors (after Winograd and plain products), conv.h is the legend.
//
//   depthwise (conv_pixels_depthwise.cpp)  vectors of channels; taps are a rectangle of the kernel, smaller at borders
//   dense     (conv_pixels.cpp, conv_pixels_weight.cpp)  per row of pixels and row of taps a product whose operand is
//             the image itself: the taps of a kernel's row lie next to each other, KW * C elements, and pixels SW * C
//             apart. Only columns are padded; rows of taps outside of the image are left out.
//   dilated   (conv_pixels_dilated.cpp)  3x3 kernels: the phases of the dilation as images of their own, by Winograd
//   volumes   (conv_volume.cpp)  slices of 3x3 kernels as channels of images, for Winograd as well
// The gradient of the input (the transposed convolution) is, for every phase of the stride, the same with some of the
// taps: no product is computed for nothing, nothing is scattered.
#pragma once
#include <vector>

#include "../core/tensor.h"
#include "conv.h"

namespace mg::cpu {

inline bool is_depthwise(const ConvShape& s) { return s.G == s.C && s.C == s.O; }
bool pixels_suit(const ConvShape& s);

// Images as in conv.h, but (N, H, W, C). w and dw are float tensors of (O, C / G, KH, KW) with any strides.
void pixels_forward(const ConvShape& s, const float* x, const Tensor& w, const float* bias, float* y);
void pixels_data(const ConvShape& s, const float* dy, const Tensor& w, const float* bias, float* dx);
void pixels_weight(const ConvShape& s, const float* x, const float* dy, const Tensor& dw);

// Dilated 3x3 kernels by Winograd's. False, with any values written, where the shape does not suit or a result is not
// finite.
bool pixels_dilated(const ConvShape& s, const float* x, const Tensor& w, const float* bias, float* y, bool transposed);
bool pixels_dilated_weight(const ConvShape& s, const float* x, const float* dy, const Tensor& dw);
bool deals_out(const ConvShape& s);  // they may suit

void pixels_depthwise_forward(const ConvShape& s, const float* x, const Tensor& w, const float* bias, float* y);
void pixels_depthwise_data(const ConvShape& s, const float* dy, const Tensor& w, const float* bias, float* dx);
void pixels_depthwise_weight(const ConvShape& s, const float* x, const float* dy, const Tensor& dw);

// Volumes with 3x3 kernels in their planes, contiguous results (conv_volume.cpp). The last two return false, with any
// values written, where a result is not finite.
bool volume_suits(const ConvShape& s, bool transposed);
bool volume_convolved(const ConvShape& s, const Tensor& x, const Tensor& w, const float* bias, const Tensor& y,
                      bool transposed);
bool volume_weight(const ConvShape& s, const Tensor& x, const Tensor& dy, const Tensor& dw);

// Copies of `rows` rows of `columns` pixels, each with `left` zeros in front and as many behind as make `width`.
Tensor padded_rows(int64_t rows, int64_t columns, int64_t channels, int64_t left, int64_t width, const float* source);

// One dim of a convolution, and what a position of its result meets: taps `tap`, `tap` + tap_step … (`taps` of them),
// the source positions `source`, `source` + source_step …
struct PixelDim {
  int64_t in, out, kernel, stride, padding, dilation;
};
inline PixelDim rows_of(const ConvShape& s) { return {s.H, s.OH, s.KH, s.SH, s.PH, s.DH}; }
inline PixelDim columns_of(const ConvShape& s) { return {s.W, s.OW, s.KW, s.SW, s.PW, s.DW}; }
struct Reach {
  int64_t tap, taps, tap_step, source, source_step;
  // The source of a tap, or -1.
  int64_t at(int64_t k) const {
    const int64_t i = (k - tap) / tap_step;
    return k >= tap && (k - tap) % tap_step == 0 && i < taps ? source + i * source_step : -1;
  }
};
std::vector<Reach> forward_reach(const PixelDim& d);  // of every output
std::vector<Reach> data_reach(const PixelDim& d);     // of every input, its sources are outputs

// A run of `pixels` results of one row, and the rectangle of taps that all of them meet. Distances in elements.
struct PixelRun {
  int64_t pixels, channels, rows, cols;
  int64_t x_step, x_row, x_col;  // of the source: from pixel to pixel, from row to row and column to column of taps
  int64_t w_row, w_col;          // of the weights
  int64_t y_step;                // from pixel to pixel of the result
};
struct PixelTable {
  // y[i * y_step + c] = bias[c] (or 0) + sum over the taps of w[… + c] x[i * x_step + … + c]
  void (*run)(const PixelRun& r, const float* x, const float* w, const float* bias, float* y);
  // dw[… + c] += sum_i dy[i * y_step + c] x[i * x_step + … + c]
  void (*run_weight)(const PixelRun& r, const float* x, const float* dy, float* dw);
};
namespace avx512 {
extern const PixelTable pixel_table;
}
namespace avx2 {
extern const PixelTable pixel_table;
}
namespace portable {
extern const PixelTable pixel_table;
}

}  // namespace mg::cpu
