// Gradient of a convolution with respect to its input, which is also the transposed convolution. conv.h is the map and
// the legend.
//
// Stride 1: a forward convolution of dy with flipped weights, channels and roles swapped. Kernels of one tap: the same,
// spread over the pixels that the tap looked at. Otherwise: patches_grad[p, q]
// = w^T dy block by block of pixels, scattered into a padded image (its columns split into phases, see Extent), from
// which the borders are then cut off. A task owns some input channels of one image, so nothing is written twice and
// each pixel is summed in one order.
#include "conv_depthwise.h"
#include "conv_patches.h"
#include "conv_winograd.h"
#include "isa.h"

namespace mg::cpu {

namespace {

constexpr int64_t kPixels = 384;

template <class T>
void flipped(const ConvShape& s, const T* dy, const T* w, const T* bias, T* dx) {
  const ConvShape f = flipped_shape(s);
  const Tensor weight = empty({s.C * s.Og() * s.kernel()}, dtype_of<T>());
  T* dst = weight.ptr<T>();
  const int64_t area = s.kernel();
  for (int64_t c = 0; c < s.C; ++c)
    for (int64_t o = 0; o < s.Og(); ++o, dst += area) {
      const T* src = w + ((c / s.Cg() * s.Og() + o) * s.Cg() + c % s.Cg()) * area;
      for (int64_t i = 0; i < area; ++i) dst[i] = src[area - 1 - i];
    }
  conv_forward(f, dy, weight.ptr<T>(), bias, dx);
}

// Kernels of one tap without padding: pixels between those that the tap looked at get the bias.
template <class T>
void spread(const ConvShape& s, const T* dy, const T* w, const T* bias, T* dx) {
  ConvShape seen = s;
  seen.D = s.OD, seen.H = s.OH, seen.W = s.OW;
  seen.SD = seen.SH = seen.SW = 1;
  const Tensor compact = empty({s.N * s.C * s.pixels()}, dtype_of<T>());
  flipped(seen, dy, w, bias, compact.ptr<T>());
  const T* src = compact.ptr<T>();
  parallel_for(0, s.N * s.C, ceil_div(16 * 1024, s.D * s.H * s.W), [&](int64_t i0, int64_t i1) {
    for (int64_t i = i0; i < i1; ++i) {
      const T b = bias == nullptr ? T(0) : bias[i % s.C];
      for (int64_t z = 0; z < s.D; ++z)
        for (int64_t y = 0; y < s.H; ++y) {
          const int64_t od = z / s.SD, oh = y / s.SH;
          const bool met = z % s.SD == 0 && y % s.SH == 0 && od < s.OD && oh < s.OH;
          conv_table<T>().spread_row(met ? s.OW : 0, src + ((i * s.OD + od) * s.OH + oh) * s.OW, s.SW, b,
                                     dx + ((i * s.D + z) * s.H + y) * s.W, s.W);
        }
    }
  });
}

template <class T>
struct Scatter {
  const ConvShape& s;
  const T *dy, *w, *bias;
  T* dx;
  Extent e;  // of the padded image

  // Channels [c0, c1) of one group of image n.
  void task(int64_t n, int64_t group, int64_t c0, int64_t c1) const {
    const int64_t area = s.kernel(), rows = (c1 - c0) * area;
    T* image = scratch<T>(ScratchSlot::Image, (c1 - c0) * e.channel());
    std::fill_n(image, (c1 - c0) * e.channel(), T(0));
    const T* weights = w + group * s.Og() * s.taps() + c0 * area;
    for (int64_t q0 = 0; q0 < s.pixels(); q0 += kPixels) {
      const int64_t q1 = std::min(q0 + kPixels, s.pixels());
      T* grad = scratch<T>(ScratchSlot::Tile, rows * (q1 - q0));
      gemm<T, T>(rows, q1 - q0, s.Og(), {weights, 1, s.taps()},
                 {dy + (n * s.O + group * s.Og()) * s.pixels() + q0, s.pixels(), 1}, grad, q1 - q0);
      add_patches(c1 - c0, q0, q1, grad, image);
    }
    crop(n, group * s.Cg() + c0, c1 - c0, image);
  }

  void add_patches(int64_t channels, int64_t q0, int64_t q1, const T* grad, T* image) const {
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t z = 0; z < s.KD; ++z)
        for (int64_t i = 0; i < s.KH; ++i)
          for (int64_t j = 0; j < s.KW; ++j, grad += q1 - q0) {
            const T* src = grad;
            T* tap = image + ((c * e.d + z * s.DD) * e.h + i * s.DH) * e.w + e.column(s, j);
            for_runs(s, 0, e, q0, q1, [&](PatchRun r) {
              T* d = tap + r.source;
              for (int x = 0; x < r.length; ++x) d[x] += src[x];
              src += r.length;
            });
          }
  }

  void crop(int64_t n, int64_t channel, int64_t channels, const T* image) const {
    for (int64_t c = 0; c < channels; ++c) {
      const T b = bias == nullptr ? T(0) : bias[channel + c];
      T* d = dx + (n * s.C + channel + c) * s.D * s.H * s.W;
      for (int64_t z = 0; z < s.D; ++z)
        for (int64_t i = 0; i < s.H; ++i, d += s.W) {
          const T* src = image + ((c * e.d + z + s.PD) * e.h + i + s.PH) * e.w;
          for (int64_t p = 0; p < s.SW; ++p) {
            const int64_t first = ceil_div(std::max<int64_t>(s.PW - p, 0), s.SW);
            const int64_t end = ceil_div(std::max<int64_t>(s.W + s.PW - p, 0), s.SW);
            for (int64_t j = first; j < end; ++j) d[j * s.SW + p - s.PW] = src[p * e.phase + j] + b;
          }
        }
    }
  }

  void run() const {
    const int64_t work = s.N * s.O * s.pixels() * s.taps();
    const int64_t wanted = std::min<int64_t>(2 * get_num_threads(), ceil_div(work, kTaskFma));
    // A padded image per task in L2 (64k floats) unless that would make the products very thin.
    const int64_t fitting = std::max<int64_t>(ceil_div(32, s.kernel()), 64 * 1024 / e.channel());
    const int64_t parts =
        std::clamp<int64_t>(std::max(ceil_div(wanted, s.N * s.G), ceil_div(s.Cg(), fitting)), 1, s.Cg());
    parallel_chunks(s.N * s.G * parts, [&](int64_t i) {
      const int64_t part = i % parts, group = i / parts % s.G, n = i / (parts * s.G);
      task(n, group, panel_start(part, s.Cg(), parts), panel_start(part + 1, s.Cg(), parts));
    });
  }
};

}  // namespace

ConvShape flipped_shape(const ConvShape& s) {
  ConvShape f = s;
  f.C = s.O, f.O = s.C;
  f.D = s.OD, f.H = s.OH, f.W = s.OW;
  f.OD = s.D, f.OH = s.H, f.OW = s.W;
  f.PD = s.DD * (s.KD - 1) - s.PD;
  f.PH = s.DH * (s.KH - 1) - s.PH;
  f.PW = s.DW * (s.KW - 1) - s.PW;
  return f;
}

template <class T>
void conv_data(const ConvShape& s, const T* dy, const T* w, const T* bias, T* dx) {
  if (s.N * s.C * s.D * s.H * s.W == 0) return;
  if (few_channels(s) && s.O * s.pixels() * s.kernel() > 0) return depthwise_data(s, dy, w, bias, dx);
  if constexpr (sizeof(T) == 4)
    if (winograd_data_suits(s) && winograd_data(s, dy, w, bias, dx)) return;
  const bool fits = s.PD <= s.DD * (s.KD - 1) && s.PH <= s.DH * (s.KH - 1) && s.PW <= s.DW * (s.KW - 1);
  if (s.SD == 1 && s.SH == 1 && s.SW == 1 && fits) return flipped(s, dy, w, bias, dx);
  if (s.kernel() == 1 && fits && s.O * s.pixels() > 0) return spread(s, dy, w, bias, dx);
  const Extent e =
      extent(s, std::max(s.PD + s.D, s.seen_d()), std::max(s.PH + s.H, s.seen_h()), std::max(s.PW + s.W, s.seen_w()));
  Scatter<T>{s, dy, w, bias, dx, e}.run();
}

template void conv_data(const ConvShape&, const float*, const float*, const float*, float*);
template void conv_data(const ConvShape&, const double*, const double*, const double*, double*);

template <class T>
const ConvTable<T>& conv_table() {
  static const ConvTables& tables = MG_PICK(conv_table);
  if constexpr (sizeof(T) == 4)
    return tables.f32;
  else
    return tables.f64;
}
template const ConvTable<float>& conv_table();
template const ConvTable<double>& conv_table();

}  // namespace mg::cpu
