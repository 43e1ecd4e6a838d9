// Depthwise and other thin-group convolutions, one output row at a time (conv_depthwise.h says when).
#include "conv_depthwise.h"

#include "conv_patches.h"

namespace mg::cpu {

// f(where output row (od, oh) reads tap 0), row after row.
template <class F>
static void for_rows(const ConvShape& s, const Extent& e, F&& f) {
  for (int64_t od = 0; od < s.OD; ++od)
    for (int64_t oh = 0; oh < s.OH; ++oh) f((od * s.SD * e.h + oh * s.SH) * e.w);
}

template <class T>
void depthwise_forward(const ConvShape& s, const T* x, const T* w, const T* bias, T* y) {
  const PaddedImages<T> images(s, x);
  const std::vector<int64_t> taps = tap_offsets(s, images.size);
  const ConvTable<T>& table = conv_table<T>();
  parallel_for(0, s.N * s.O, ceil_div(kTaskFma / 4, s.pixels() * s.taps()), [&](int64_t i0, int64_t i1) {
    for (int64_t i = i0; i < i1; ++i) {
      const int64_t n = i / s.O, o = i % s.O, group = o / s.Og();
      const T* src = images.data + (n * s.C + group * s.Cg()) * images.size.channel();
      const T b = bias == nullptr ? T(0) : bias[o];
      T* out = y + i * s.pixels();
      for_rows(s, images.size, [&](int64_t source) {
        table.row(s.OW, s.taps(), taps.data(), w + o * s.taps(), src + source, s.SW, b, out);
        out += s.OW;
      });
    }
  });
}

// Images are summed in order within an output channel; the rows of one image first, so that long batches keep their
// digits.
template <class T>
void depthwise_weight(const ConvShape& s, const T* x, const T* dy, T* dw) {
  const PaddedImages<T> images(s, x);
  const std::vector<int64_t> taps = tap_offsets(s, images.size);
  const ConvTable<T>& table = conv_table<T>();
  parallel_for(0, s.O, ceil_div(kTaskFma / 4, s.N * s.pixels() * s.taps()), [&](int64_t o0, int64_t o1) {
    T* sums = scratch<T>(ScratchSlot::Tile, s.taps());
    for (int64_t o = o0; o < o1; ++o) {
      T* out = dw + o * s.taps();
      std::fill_n(out, s.taps(), T(0));
      for (int64_t n = 0; n < s.N; ++n) {
        std::fill_n(sums, s.taps(), T(0));
        const T* src = images.data + (n * s.C + o / s.Og() * s.Cg()) * images.size.channel();
        const T* g = dy + (n * s.O + o) * s.pixels();
        for_rows(s, images.size, [&](int64_t source) {
          table.row_weight(s.OW, s.taps(), taps.data(), g, src + source, s.SW, sums);
          g += s.OW;
        });
        for (int64_t p = 0; p < s.taps(); ++p) out[p] += sums[p];
      }
    }
  });
}

template void depthwise_forward(const ConvShape&, const float*, const float*, const float*, float*);
template void depthwise_forward(const ConvShape&, const double*, const double*, const double*, double*);
template void depthwise_weight(const ConvShape&, const float*, const float*, float*);
template void depthwise_weight(const ConvShape&, const double*, const double*, double*);

}  // namespace mg::cpu
