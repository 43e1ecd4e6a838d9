// Dilated 3x3 convolutions over (N, H, W, C): with dilation d the pixels of each phase (row modulo d, column modulo d)
// meet one another only, so the images are dealt out into d * d smaller ones, which suit Winograd's kernels. Twice a
// copy of the images, for less than half of the multiplications (4x64x56x56, d = 2). conv_pixels.h is the map.
#include <algorithm>

#include "../core/parallel.h"
#include "conv_pixels.h"
#include "conv_winograd.h"
#include "staged.h"

namespace mg::cpu {

namespace {

// The convolution of one phase, for as many images. Only where all phases are alike.
ConvShape phase_shape(const ConvShape& s) {
  ConvShape p = s;
  const int64_t d = s.DH;
  p.N *= d * d, p.H /= d, p.W /= d, p.OH /= d, p.OW /= d, p.PH /= d, p.PW /= d;
  p.DH = p.DW = 1;
  return p;
}

// images[n, i * d + a, j * d + b] <-> phases[n, a, b, i, j], C elements each.
template <bool Deal>
void move(int64_t n, int64_t h, int64_t w, int64_t channels, int64_t d, const float* from, float* to) {
  const int64_t row = w * channels;
  parallel_for(0, n * h, ceil_div(16 * 1024, row), [&](int64_t i0, int64_t i1) {
    for (int64_t i = i0; i < i1; ++i) {
      const int64_t image = i / h, y = i % h;
      for (int64_t b = 0; b < d; ++b) {
        const int64_t phase = (((image * d + y % d) * d + b) * (h / d) + y / d) * (row / d),
                      pixel = i * row + b * channels;
        for (int64_t j = 0; j < w / d; ++j) {
          const int64_t p = phase + j * channels, q = pixel + j * d * channels;
          std::copy_n(from + (Deal ? q : p), channels, to + (Deal ? p : q));
        }
      }
    }
  });
}
Tensor dealt(int64_t n, int64_t h, int64_t w, int64_t channels, int64_t d, const float* images) {
  const Tensor t = empty({n, h, w, channels}, DType::Float32);
  move<true>(n, h, w, channels, d, images, t.ptr<float>());
  return t;
}

}  // namespace

bool deals_out(const ConvShape& s) {
  const int64_t d = s.DH;
  if (d == 1 || s.DW != d || s.SH != 1 || s.SW != 1 || s.G != 1 || s.KH != 3 || s.KW != 3) return false;
  return s.H % d == 0 && s.W % d == 0 && s.OH % d == 0 && s.OW % d == 0 && s.PH % d == 0 && s.PW % d == 0;
}

bool pixels_dilated(const ConvShape& s, const float* x, const Tensor& w, const float* bias, float* y, bool transposed) {
  if (!deals_out(s)) return false;
  const ConvShape p = phase_shape(s);
  if (!(transposed ? winograd_data_suits(p) : winograd_suits(p))) return false;
  const Tensor weight = staged(*w, DType::Float32);
  const ChannelsLast last{true, true};
  if (transposed) {
    const Tensor from = dealt(s.N, s.OH, s.OW, s.O, s.DH, x), to = empty({s.N, s.H, s.W, s.C}, DType::Float32);
    if (!winograd_data(p, from.ptr<float>(), weight.ptr<float>(), bias, to.ptr<float>(), last)) return false;
    move<false>(s.N, s.H, s.W, s.C, s.DH, to.ptr<float>(), y);
  } else {
    const Tensor from = dealt(s.N, s.H, s.W, s.C, s.DH, x), to = empty({s.N, s.OH, s.OW, s.O}, DType::Float32);
    if (!winograd_forward(p, from.ptr<float>(), weight.ptr<float>(), bias, to.ptr<float>(), last)) return false;
    move<false>(s.N, s.OH, s.OW, s.O, s.DH, to.ptr<float>(), y);
  }
  return true;
}

bool pixels_dilated_weight(const ConvShape& s, const float* x, const float* dy, const Tensor& dw) {
  if (!deals_out(s) || !dw->contiguous) return false;
  const ConvShape p = phase_shape(s);
  if (!winograd_suits(p)) return false;
  const Tensor image = dealt(s.N, s.H, s.W, s.C, s.DH, x), grad = dealt(s.N, s.OH, s.OW, s.O, s.DH, dy);
  return winograd_weight(p, image.ptr<float>(), grad.ptr<float>(), dw.ptr<float>(), {true, true});
}

}  // namespace mg::cpu
