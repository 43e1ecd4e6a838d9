// Convolutions of volumes with 3x3 kernels in their planes, as convolutions of images: a slice of the result sees KD
// slices of the source, which are gathered as channels (kd, c) of one image, and Winograd's kernels do the rest. Costs
// KD copies of the source (2x16x16x32x32 -> 32: 5.4 -> 3.6 ms).
#include <algorithm>

#include "../core/memory_format.h"
#include "../core/parallel.h"
#include "conv_pixels.h"
#include "conv_winograd.h"
#include "staged.h"

namespace mg::cpu {

namespace {

constexpr int64_t kMostSlices = 4;  // KD: what may be copied

PixelDim depth_of(const ConvShape& s) { return {s.D, s.OD, s.KD, s.SD, s.PD, s.DD}; }

// The images' convolution: `slices` results of a volume, `c` and `o` channels.
ConvShape planar(const ConvShape& s, int64_t slices, int64_t c, int64_t o) {
  ConvShape p = s;
  p.N = s.N * slices, p.C = c, p.O = o;
  p.D = p.KD = p.SD = p.DD = p.OD = 1, p.PD = 0;
  return p;
}

// (N, C, D, H, W) as memory of (N, D, H, W, C).
Tensor pixels_of(const Tensor& t, int64_t n, int64_t c, int64_t d, int64_t h, int64_t w) {
  const Tensor planes = staged(*t, DType::Float32);
  const Dims sizes{n, c, d * h, w};
  const Tensor image = empty_strided(sizes, channels_last_strides(sizes), DType::Float32);
  copy_into(image, alias(*planes, sizes, contiguous_strides(sizes), planes->offset));
  return image;
}

// [n][result slice][pixel][kd][c] from [n][source slice][pixel][c].
Tensor gathered(const std::vector<Reach>& reach, int64_t kd, int64_t n, int64_t depth, int64_t pixels, int64_t c,
                const float* x) {
  const int64_t results = int64_t(reach.size());
  const Tensor t = empty({n * results, pixels, kd, c}, DType::Float32);
  float* const to = t.ptr<float>();
  parallel_for(0, n * results, 1, [&](int64_t i0, int64_t i1) {
    for (int64_t i = i0; i < i1; ++i)
      for (int64_t k = 0; k < kd; ++k) {
        const int64_t slice = reach[size_t(i % results)].at(k);
        const float* from = x + (i / results * depth + slice) * pixels * c;
        float* d = to + (i * pixels * kd + k) * c;
        for (int64_t p = 0; p < pixels; ++p, d += kd * c)
          if (slice < 0)
            std::fill_n(d, c, 0.0f);
          else
            std::copy_n(from + p * c, c, d);
      }
  });
  return t;
}

// The weight (O, C, KD, KH, KW) as (O, (KD, C), KH, KW), or ((KD, O), C, KH, KW) for the gradient of the source.
Tensor planar_weight(const ConvShape& s, const Tensor& w, bool transposed) {
  const Dims& st = w.strides();
  const Tensor view = transposed
                          ? alias(*w, {s.KD, s.O, s.C, s.KH, s.KW}, {st[2], st[0], st[1], st[3], st[4]}, w->offset)
                          : alias(*w, {s.O, s.KD, s.C, s.KH, s.KW}, {st[0], st[2], st[1], st[3], st[4]}, w->offset);
  return staged(*view, DType::Float32);
}

}  // namespace

bool volume_suits(const ConvShape& s, bool transposed) {
  if (s.KD == 1 || s.KD > kMostSlices || s.G != 1 || s.C < 16 || s.O < 16) return false;
  return transposed ? winograd_data_suits(planar(s, s.D, s.C, s.KD * s.O))
                    : winograd_suits(planar(s, s.OD, s.KD * s.C, s.O));
}

bool volume_convolved(const ConvShape& s, const Tensor& x, const Tensor& w, const float* bias, const Tensor& y,
                      bool transposed) {
  const int64_t slices = transposed ? s.D : s.OD, to = transposed ? s.C : s.O;
  const int64_t rows = transposed ? s.H : s.OH, columns = transposed ? s.W : s.OW;
  const Dims sizes{s.N, to, slices * rows, columns};
  const Tensor weight = planar_weight(s, w, transposed),
               out = empty_strided(sizes, channels_last_strides(sizes), DType::Float32);
  const ChannelsLast last{true, true};
  if (transposed) {
    const Tensor from = pixels_of(x, s.N, s.O, s.OD, s.OH, s.OW);
    const Tensor images = gathered(data_reach(depth_of(s)), s.KD, s.N, s.OD, s.OH * s.OW, s.O, from.ptr<float>());
    const ConvShape p = planar(s, s.D, s.C, s.KD * s.O);
    if (!winograd_data(p, images.ptr<float>(), weight.ptr<float>(), bias, out.ptr<float>(), last)) return false;
  } else {
    const Tensor from = pixels_of(x, s.N, s.C, s.D, s.H, s.W);
    const Tensor images = gathered(forward_reach(depth_of(s)), s.KD, s.N, s.D, s.H * s.W, s.C, from.ptr<float>());
    const ConvShape p = planar(s, s.OD, s.KD * s.C, s.O);
    if (!winograd_forward(p, images.ptr<float>(), weight.ptr<float>(), bias, out.ptr<float>(), last)) return false;
  }
  copy_into(alias(*y, sizes, contiguous_strides(sizes), y->offset), out);
  return true;
}

bool volume_weight(const ConvShape& s, const Tensor& x, const Tensor& dy, const Tensor& dw) {
  const Tensor from = pixels_of(x, s.N, s.C, s.D, s.H, s.W), grad = pixels_of(dy, s.N, s.O, s.OD, s.OH, s.OW);
  const Tensor images = gathered(forward_reach(depth_of(s)), s.KD, s.N, s.D, s.H * s.W, s.C, from.ptr<float>());
  const ConvShape p = planar(s, s.OD, s.KD * s.C, s.O);
  const Tensor sums = empty({s.O, s.KD, s.C, s.KH, s.KW}, DType::Float32);
  if (!winograd_weight(p, images.ptr<float>(), grad.ptr<float>(), sums.ptr<float>(), {true, true})) return false;
  const int64_t area = s.KH * s.KW;
  copy_into(dw, alias(*sums, dw.sizes(), {s.KD * s.C * area, area, s.C * area, s.KW, 1}, sums->offset));
  return true;
}

}  // namespace mg::cpu
