// Winograd's minimal filtering F(2x2, 3x3) for float convolutions of stride 1 with 3x3 kernels: 16 multiplications
// where the definition takes 36 (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, arXiv:1509.09308).
// With
//   B^T = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1]   G = [1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1]
//   A^T = [1 1 1 0; 0 1 -1 -1]
// a 2x2 tile of outputs is y = A^T [sum_c (G w G^T) * (B^T d B)] A for its 4x4 tile d of inputs, and the gradient of
// the weight is the exact adjoint, dw = G^T [sum_tiles (A dy A^T) * (B^T d B)] G. The sums are 16 matrix products, one
// per position xi of the 4x4 transform.
//
// Sums are shorter than the definition's (C terms, not 9 C), which pays for what the transforms round: the error is not
// above that of the direct sum. What differs are non-finite values, which spread over a tile: the drivers return false
// when they see one in a result, and the caller computes directly.
//
// Layouts: pixels and tiles are vectors of L channels. Transformed data V and M lie in blocks of B channels,
// [xi][block][tile][B]; transformed weights U as [xi][block of outputs][input channel][B].
// Files: conv_winograd.cpp (drivers), conv_winograd_isa.cpp (loops).
#pragma once
#include "conv.h"

namespace mg::cpu {

bool winograd_suits(const ConvShape& s);
// The stride 1 convolution of dy that the gradient of s's input is; its weight is that of `adjoint` below.
ConvShape flipped_shape(const ConvShape& s);
// Which images are channels_last (N, H, W, C in memory): `in` of the image side, `out` of the pixel side.
struct ChannelsLast {
  bool in = false, out = false;
};
// y = conv(x, w) + bias. `adjoint`: w is (C, O, 3, 3), flipped and transposed as the gradient of the input needs it.
// Both return false, with any values written, where a result is not finite.
bool winograd_forward(const ConvShape& s, const float* x, const float* w, bool adjoint, const float* bias, float* y,
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
  // u[xi * xi_stride + k * block] for `depth` values of k: 3x3 kernels of `lanes` channels at w + lane * lane_stride +
  // k
  // * k_stride.
  void (*weights)(const float* w, int64_t lane_stride, int64_t k_stride, int lanes, int64_t depth, bool flip, float* u,
                  int64_t xi_stride);
  // p[(row * cols + col) * L + lane] = x[lane * strides.channel + …], the window of up to L channels.
  void (*gather)(const float* x, PixelStrides strides, int lanes, const TileWindow& w, float* p);
  // y[lane * channel + i * pixel] = q[i * L + lane] + bias[lane] (or 0) for n pixels; true if all are finite.
  bool (*scatter)(const float* q, int64_t n, float* y, PixelStrides strides, int lanes, const float* bias);
  // Tiles of a window: v[xi * xi_stride + tile * block] = B^T d B, or for gradients A dy A^T (2x2 tiles).
  void (*input_tiles)(const float* p, int64_t rows, int64_t cols, float* v, int64_t xi_stride);
  void (*grad_tiles)(const float* p, int64_t rows, int64_t cols, float* v, int64_t xi_stride);
  // q = A^T m A for tiles [rows][cols], cut to height x width pixels.
  void (*output_tiles)(const float* m, int64_t xi_stride, int64_t rows, int64_t cols, int64_t height, int64_t width,
                       float* q);
  // m[tile][width] = sum_k v[tile][k] u[k][width]; k runs over blocks of v that are v_block apart.
  void (*product)(int64_t tiles, int64_t width, int64_t depth, const float* v, int64_t v_block, const float* u,
                  float* m);
  // du[i][width] (+)= sum_tile m[tile][i] v[tile][width] for i < rows.
  void (*weight_product)(int64_t rows, int64_t width, int64_t tiles, const float* m, const float* v, float* du,
                         int64_t ldu, bool add);
  // dw[lane * 9 + tap] = G^T (sum of the slices of du) G; true if all are finite.
  bool (*weight_out)(const float* du, int64_t xi_stride, int64_t slices, int64_t slice_stride, int lanes, float* dw);
};
namespace avx512 {
extern const WinogradTable winograd_table;
}
namespace avx2 {
extern const WinogradTable winograd_table;
}
namespace portable {
extern const WinogradTable winograd_table;
}

}  // namespace mg::cpu
