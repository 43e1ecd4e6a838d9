// What the convolution drivers share: the padded copy of the images, tap offsets, and the cutting of pixels into runs.
#pragma once
#include <algorithm>
#include <vector>

#include "../core/parallel.h"
#include "../core/tensor.h"
#include "conv.h"

namespace mg::cpu {

// Sizes of the (padded) images that patches are read from: slices, rows, columns, and elements of one channel. With a
// stride SW the columns of a row are split into SW phases of `phase` columns (0, SW, 2 SW … first), so that the pixels
// of a run read consecutive elements; in a borrowed image they are `step` apart.
struct Extent {
  int64_t d, h, w, phase, step = 1;
  int64_t channel() const { return d * h * w; }
  int64_t column(const ConvShape& s, int64_t j) const { return j * s.DW % s.SW * phase + j * s.DW / s.SW; }
};
inline Extent extent(const ConvShape& s, int64_t d, int64_t h, int64_t w) {
  const int64_t phase = ceil_div(std::max<int64_t>(w, 1), s.SW);
  return {std::max<int64_t>(d, 1), std::max<int64_t>(h, 1), phase * s.SW, phase};
}

// Images with the zero border that the taps reach into, PD slices before, PH rows above and PW columns left. Borrows x
// when no border is needed and columns need no splitting, or are looked at only once.
template <class T>
struct PaddedImages {
  Tensor owner;
  const T* data;
  Extent size;
  PaddedImages(const ConvShape& s, const T* x) : data(x), size{s.D, s.H, s.W, s.W} {
    const Extent need = extent(s, s.seen_d(), s.seen_h(), s.seen_w());
    const bool inside = s.PD == 0 && s.PH == 0 && s.PW == 0 && need.d <= s.D && need.h <= s.H && need.w <= s.W;
    size.step = s.SW;
    if (inside && (s.SW == 1 || s.kernel() == 1)) return;
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
    const int64_t used = std::min(s.SW, (s.KW - 1) * s.DW + 1);  // phases that a tap looks at
    const int64_t step = s.KH > 1 ? 1 : s.SH;                    // a kernel of one row skips the others
    const int64_t top = (step - s.PH % step) % step, rows = std::min(s.H, size.h - s.PH);
    std::fill_n(dst, size.channel(), T(0));
    for (int64_t z = s.PD; z < std::min(size.d, s.PD + s.D); ++z)
      for (int64_t p = 0; p < used; ++p) {
        const int64_t first = std::min(ceil_div(std::max<int64_t>(s.PW - p, 0), s.SW), size.phase);
        const int64_t end = std::clamp(ceil_div(std::max<int64_t>(s.W + s.PW - p, 0), s.SW), first, size.phase);
        conv_table<T>().copy_rows(ceil_div(rows - top, step), end - first,
                                  x + ((z - s.PD) * s.H + top) * s.W + first * s.SW + p - s.PW, step * s.W, s.SW,
                                  dst + (z * size.h + top + s.PH) * size.w + p * size.phase + first, step * size.w);
      }
  }
};

inline std::vector<int64_t> tap_offsets(const ConvShape& s, const Extent& e) {
  std::vector<int64_t> offsets;
  offsets.reserve(size_t(s.taps()));
  for (int64_t c = 0; c < s.Cg(); ++c)
    for (int64_t z = 0; z < s.KD; ++z)
      for (int64_t i = 0; i < s.KH; ++i)
        for (int64_t j = 0; j < s.KW; ++j)
          offsets.push_back(((c * e.d + z * s.DD) * e.h + i * s.DH) * e.w + e.column(s, j));
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
    f(PatchRun{n * image + (od * s.SD * e.h + oh * s.SH) * e.w + ow * e.step, int(length)});
    q0 += length;
    ow = 0;
    if (++oh == s.OH) {
      oh = 0;
      if (++od == s.OD) od = 0, ++n;
    }
  }
}

}  // namespace mg::cpu
