// What the convolution drivers share: the padded copy of the images, tap offsets, and the cutting of pixels into runs.
#pragma once
#include <algorithm>
#include <vector>

#include "../core/parallel.h"
#include "../core/tensor.h"
#include "conv.h"

namespace mg::cpu {

// Images with the zero border that the taps reach into, PH rows above and PW columns left. Borrows x when no border is
// needed.
template <class T>
struct PaddedImages {
  Tensor owner;
  const T* data;
  int64_t h, w, plane;
  PaddedImages(const ConvShape& s, const T* x) : data(x), h(s.H), w(s.W) {
    const int64_t need_h = std::max(s.seen_h(), int64_t(1)), need_w = std::max(s.seen_w(), int64_t(1));
    const bool border = s.PH != 0 || s.PW != 0 || need_h > s.H || need_w > s.W;
    if (border) h = need_h, w = need_w;
    plane = h * w;
    if (!border) return;
    owner = empty({s.N, s.C, h, w}, dtype_of<T>());
    T* dst = owner.ptr<T>();
    data = dst;
    const int64_t rows = std::clamp<int64_t>(h - s.PH, 0, s.H), cols = std::clamp<int64_t>(w - s.PW, 0, s.W);
    parallel_for(0, s.N * s.C, ceil_div(64 * 1024, plane), [&](int64_t i0, int64_t i1) {
      for (int64_t i = i0; i < i1; ++i) {
        T* d = dst + i * plane;
        std::fill_n(d, std::min(s.PH, h) * w, T(0));
        for (int64_t r = 0; r < rows; ++r) {
          T* line = d + (r + s.PH) * w;
          std::fill_n(line, std::min(s.PW, w), T(0));
          std::copy_n(x + (i * s.H + r) * s.W, cols, line + s.PW);
          std::fill(line + std::min(w, s.PW + cols), line + w, T(0));
        }
        std::fill(d + std::min(h, s.PH + rows) * w, d + plane, T(0));
      }
    });
  }
};

inline std::vector<int64_t> tap_offsets(const ConvShape& s, int64_t h, int64_t w) {
  std::vector<int64_t> offsets;
  offsets.reserve(size_t(s.taps()));
  for (int64_t c = 0; c < s.Cg(); ++c)
    for (int64_t i = 0; i < s.KH; ++i)
      for (int64_t j = 0; j < s.KW; ++j) offsets.push_back((c * h + i * s.DH) * w + j * s.DW);
  return offsets;
}

// A 1x1 convolution without stride or padding sees an image as one long row.
inline ConvShape flattened(ConvShape s) {
  if (s.KH == 1 && s.KW == 1 && s.SH == 1 && s.SW == 1 && s.PH == 0 && s.PW == 0 && s.OH == s.H && s.OW == s.W) {
    s.W = s.OW = s.H * s.W;
    s.H = s.OH = 1;
  }
  return s;
}

// Cuts the pixels [q0, q1) of all images into runs. `image` is the distance between images in the padded data.
template <class F>
void for_runs(const ConvShape& s, int64_t image, int64_t w, int64_t q0, int64_t q1, F&& f) {
  int64_t n = q0 / s.pixels(), oh = q0 % s.pixels() / s.OW, ow = q0 % s.OW;
  while (q0 < q1) {
    const int64_t length = std::min(s.OW - ow, q1 - q0);
    f(PatchRun{n * image + oh * s.SH * w + ow * s.SW, int(length)});
    q0 += length;
    ow = 0;
    if (++oh == s.OH) oh = 0, ++n;
  }
}

}  // namespace mg::cpu
