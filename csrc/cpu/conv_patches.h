// What the convolution drivers share: the padded copy of the images, tap offsets, and the cutting of pixels into runs.
#pragma once
#include <algorithm>
#include <vector>

#include "../core/parallel.h"
#include "../core/tensor.h"
#include "conv.h"

namespace mg::cpu {

// Sizes of the (padded) images that patches are read from: slices, rows, columns, and elements of one channel.
struct Extent {
  int64_t d, h, w;
  int64_t channel() const { return d * h * w; }
};

// Images with the zero border that the taps reach into, PD slices before, PH rows above and PW columns left. Borrows x
// when no border is needed.
template <class T>
struct PaddedImages {
  Tensor owner;
  const T* data;
  Extent size;
  PaddedImages(const ConvShape& s, const T* x) : data(x), size{s.D, s.H, s.W} {
    const Extent need{std::max(s.seen_d(), int64_t(1)), std::max(s.seen_h(), int64_t(1)),
                      std::max(s.seen_w(), int64_t(1))};
    if (s.PD == 0 && s.PH == 0 && s.PW == 0 && need.d <= s.D && need.h <= s.H && need.w <= s.W) return;
    size = need;
    owner = empty({s.N, s.C, size.d, size.h, size.w}, dtype_of<T>());
    T* dst = owner.ptr<T>();
    data = dst;
    parallel_for(0, s.N * s.C, ceil_div(64 * 1024, size.channel()), [&](int64_t i0, int64_t i1) {
      for (int64_t i = i0; i < i1; ++i) copy_channel(s, x + i * s.D * s.H * s.W, dst + i * size.channel());
    });
  }

 private:
  void copy_channel(const ConvShape& s, const T* x, T* dst) const {
    const int64_t slice = size.h * size.w, rows = std::clamp<int64_t>(size.h - s.PH, 0, s.H);
    const int64_t before = std::min(s.PW, size.w), cols = std::clamp<int64_t>(size.w - s.PW, 0, s.W);
    for (int64_t z = 0; z < size.d; ++z, dst += slice) {
      const int64_t from = z - s.PD;
      if (from < 0 || from >= s.D) {
        std::fill_n(dst, slice, T(0));
        continue;
      }
      std::fill_n(dst, std::min(s.PH, size.h) * size.w, T(0));
      for (int64_t r = 0; r < rows; ++r) {
        T* line = dst + (r + s.PH) * size.w;
        std::fill_n(line, before, T(0));
        std::copy_n(x + (from * s.H + r) * s.W, cols, line + before);
        std::fill(line + before + cols, line + size.w, T(0));
      }
      std::fill(dst + std::min(size.h, s.PH + rows) * size.w, dst + slice, T(0));
    }
  }
};

inline std::vector<int64_t> tap_offsets(const ConvShape& s, const Extent& e) {
  std::vector<int64_t> offsets;
  offsets.reserve(size_t(s.taps()));
  for (int64_t c = 0; c < s.Cg(); ++c)
    for (int64_t z = 0; z < s.KD; ++z)
      for (int64_t i = 0; i < s.KH; ++i)
        for (int64_t j = 0; j < s.KW; ++j) offsets.push_back(((c * e.d + z * s.DD) * e.h + i * s.DH) * e.w + j * s.DW);
  return offsets;
}

// A 1x1 convolution without stride or padding sees an image as one long row.
inline ConvShape flattened(ConvShape s) {
  const bool plain = s.kernel() == 1 && s.SD == 1 && s.SH == 1 && s.SW == 1 && s.PD == 0 && s.PH == 0 && s.PW == 0;
  if (plain && s.OD == s.D && s.OH == s.H && s.OW == s.W) {
    s.W = s.OW = s.D * s.H * s.W;
    s.D = s.OD = s.H = s.OH = 1;
  }
  return s;
}

// Cuts the pixels [q0, q1) of all images into runs. `image` is the distance between images in the padded data.
template <class F>
void for_runs(const ConvShape& s, int64_t image, const Extent& e, int64_t q0, int64_t q1, F&& f) {
  int64_t n = q0 / s.pixels(), row = q0 % s.pixels() / s.OW, ow = q0 % s.OW;
  int64_t od = row / s.OH, oh = row % s.OH;
  while (q0 < q1) {
    const int64_t length = std::min(s.OW - ow, q1 - q0);
    f(PatchRun{n * image + (od * s.SD * e.h + oh * s.SH) * e.w + ow * s.SW, int(length)});
    q0 += length;
    ow = 0;
    if (++oh == s.OH) {
      oh = 0;
      if (++od == s.OD) od = 0, ++n;
    }
  }
}

}  // namespace mg::cpu
