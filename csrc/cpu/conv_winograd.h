// Winograd's minimal filtering for float convolutions with 3x3 kernels and stride 1 or 2: 16 multiplications where the
// definition takes 36, or 25 (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, arXiv:1509.09308).
//
// A scheme of one dimension is y = A^T [(G w) * (B^T d)]; in two it is applied to columns and rows, and the sums over
// channels are one matrix product per position xi of the transform.
//   Stride 1 is F(2, 3), 4 products for 2 outputs:
//     B^T = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1]   G = [1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1]
//     A^T = [1 1 1 0; 0 1 -1 -1]
//   Stride 2 (padding 1): the outer taps meet the inputs of one parity, F(2, 2) with 3 products, and the middle tap the
//   others, 2 products with one weight: 5 where the definition takes 6, and no factor but 1.
//     v = (d0 - d2, d2, d4 - d2, d1, d3)   u = (w0, w0 + w2, w2, w1, w1)   y = (m0 + m1 + m3, m1 + m2 + m4)
// The gradient of the weight is the exact adjoint, dw = G^T [sum_tiles (A dy) * (B^T d)]; that of the input is a
// stride 1 convolution with flipped weights, or the scheme StridedAdjoint with tiles of 4x4 inputs.
//
// Rounding: sums are cut into short chains (kLink in conv_winograd_isa.cpp), which pays for what the transforms round:
// the error is not above that of a direct sum as PyTorch computes it (docs/accuracy.md). What differs are non-finite
// values, which spread over a tile: the drivers return false when they see one in a result, and the caller computes
// directly.
//
// Layouts: pixels and tiles are vectors of L channels. Transformed data V and M lie in blocks of B channels,
// [xi][block][tile][B]; transformed weights U as [u][block of outputs][input channel][B].
// Files: conv_winograd.cpp (drivers), conv_winograd_isa.cpp (gathering, products), conv_winograd_tiles_isa.cpp
// (transforms).
#pragma once
#include "conv.h"

namespace mg::cpu {

// Which images are channels_last (N, H, W, C in memory): `in` of the image side, `out` of the pixel side.
struct ChannelsLast {
  bool in = false, out = false;
};
// The three operations of conv.h for the shapes that suit. All return false, with any values written, where a result is
// not finite.
bool winograd_suits(const ConvShape& s);
bool winograd_data_suits(const ConvShape& s);
bool winograd_forward(const ConvShape& s, const float* x, const float* w, const float* bias, float* y,
                      ChannelsLast last = {});
bool winograd_data(const ConvShape& s, const float* dy, const float* w, const float* bias, float* dx,
                   ChannelsLast last = {});
bool winograd_weight(const ConvShape& s, const float* x, const float* dy, float* dw, ChannelsLast last = {});

// Distance of channels and of pixels in memory; one of them is 1.
struct PixelStrides {
  int64_t channel, pixel;
};

// A part of an image as the tiles of a run of tile rows see it: `rows` rows from `first` on (which may lie outside:
// they are zero) and `cols` columns, `left` of them before the image.
struct TileWindow {
  int64_t first, rows, left, cols, height, width;
};

struct WinogradTable {
  int lanes, block, tile_rows;  // L, B, and tiles that one register tile takes
  // p[(row * cols + col) * L + lane] = x[lane * strides.channel + …], the window of up to L channels.
  void (*gather)(const float* x, PixelStrides strides, int lanes, const TileWindow& w, float* p);
  // y[lane * channel + i * pixel] = q[i * L + lane] + bias[lane] (or 0) for n pixels; true if all are finite.
  bool (*scatter)(const float* q, int64_t n, float* y, PixelStrides strides, int lanes, const float* bias);
  // m[tile][width] = sum_k v[tile][k] u[k][width]; k runs over blocks of v that are v_block apart.
  void (*product)(int64_t tiles, int64_t width, int64_t depth, const float* v, int64_t v_block, const float* u,
                  float* m);
  // du[i][width] (+)= sum_tile m[tile][i] v[tile][width] for i < rows.
  void (*weight_product)(int64_t rows, int64_t width, int64_t tiles, const float* m, const float* v, float* du,
                         int64_t ldu, bool add);
};

// The transforms of one scheme. `positions` and `weights` count one dimension, so there are positions^2 products with
// weights^2 different U: position (i, j) uses u (min(i, weights - 1), min(j, weights - 1)).
struct WinogradScheme {
  int positions, weights, in_step, in_extra, out_step;  // a tile: in_step + in_extra inputs, out_step outputs
  // u[xi * xi_stride + k * block] for `depth` values of k: 3x3 kernels of `lanes` channels at
  // w + lane * lane_stride + k * k_stride.
  void (*transform_weights)(const float* w, int64_t lane_stride, int64_t k_stride, int lanes, int64_t depth, bool flip,
                            float* u, int64_t xi_stride);
  // Tiles of a window: v[xi * xi_stride + tile * block] = B^T d B.
  void (*input_tiles)(const float* p, int64_t rows, int64_t cols, float* v, int64_t xi_stride);
  // q = A^T m A for tiles [rows][cols], cut to height x width pixels.
  void (*output_tiles)(const float* m, int64_t xi_stride, int64_t rows, int64_t cols, int64_t height, int64_t width,
                       float* q);
  // For the gradient of the weight: v = A dy A^T, and dw[lane * 9 + tap] = G^T (sum of the slices of du) G; true if all
  // are finite.
  void (*grad_tiles)(const float* p, int64_t rows, int64_t cols, float* v, int64_t xi_stride);
  bool (*weight_out)(const float* du, int64_t xi_stride, int64_t slices, int64_t slice_stride, int lanes, float* dw);
};
struct WinogradSchemes {
  WinogradScheme unit, strided, strided_adjoint;
};
namespace avx512 {
extern const WinogradTable winograd_table;
extern const WinogradSchemes winograd_schemes;
}
namespace avx2 {
extern const WinogradTable winograd_table;
extern const WinogradSchemes winograd_schemes;
}
namespace portable {
extern const WinogradTable winograd_table;
extern const WinogradSchemes winograd_schemes;
}

}  // namespace mg::cpu
