// Forward convolution: y[o, q] = sum_p w[o, p] patch[p, q], as packed matrix products whose B panels are read straight
// from the image.
//
// A task owns a block of output pixels (of all images, in order) and a block of output channels of one group; it packs
// up to kMaxPanels panels of patches for one block of taps at a time (they stay in L2) and multiplies them with the
// weights, packed once for all tasks. Blocks that lie in one image are written in place, others through a tile that is
// dealt out afterwards. Groups with few channels go to the direct rows of conv_depthwise.cpp. conv.h is the map and the
// legend.
#include "conv_depthwise.h"
#include "conv_patches.h"
#include "conv_winograd.h"
#include "prepared.h"

namespace mg::cpu {

namespace {

constexpr int64_t kMaxPanels = 8;
// Taps that are summed up in one chain: longer ones would lose more digits than PyTorch's, which have 144.
constexpr int64_t kTapBlock = 144;
// More pixels than that, and packing the weights takes little beside the products: a copy does not pay.
constexpr int64_t kPreparedPixels = 512;

template <class T>
struct Forward {
  const ConvShape& s;
  const GemmTable<T>& g = gemm_table<T>();
  PaddedImages<T> images;
  std::vector<int64_t> taps;
  Prepared<T> weights{};  // packed: group, then block of taps, then panels of channels
  const T* bias;
  T* y;
  int64_t blocks, group_channels;  // blocks of taps; channels of a group rounded up to whole panels

  Forward(const ConvShape& shape, const T* x, const T* w, const T* b, T* out)
      : s(shape),
        images(shape, x),
        taps(tap_offsets(shape, images.size)),
        bias(b),
        y(out),
        blocks(ceil_div(shape.taps(), kTapBlock)),
        group_channels(ceil_div(shape.Og(), g.mr) * g.mr) {
    const PreparedKey key{"conv", w, {int64_t(sizeof(T)), s.G, s.O, s.C, s.KD, s.KH, s.KW}};
    weights = prepared<T>(key, s.G * group_channels * s.taps(), ScratchSlot::PackB, s.N * s.pixels() <= kPreparedPixels,
                          [&](T* packed) { pack_weights(w, packed); });
  }
  int64_t tap(int64_t block) const { return panel_start(block, s.taps(), blocks); }

  void pack_weights(const T* w, T* packed) const {
    parallel_for(0, s.G * blocks, ceil_div(16 * 1024, group_channels * kTapBlock), [&](int64_t i0, int64_t i1) {
      for (int64_t i = i0; i < i1; ++i) {
        const int64_t group = i / blocks, p0 = tap(i % blocks), count = tap(i % blocks + 1) - p0;
        g.pack.pack_a(s.Og(), count, Strided<T>{w + group * s.Og() * s.taps() + p0, s.taps(), 1},
                      packed + (group * s.taps() + p0) * group_channels, g.mr * count);
      }
    });
  }

  void pack_panel(int64_t group, int64_t p0, int64_t count, int64_t q0, int64_t q1, T* dst, int64_t width) const {
    PatchRun runs[64];  // at most one per pixel of a panel, and panels have at most 48
    int n = 0;
    const int64_t channel = images.size.channel();
    for_runs(s, s.C * channel, images.size, q0, q1, [&](PatchRun r) { runs[n++] = r; });
    conv_table<T>().pack_patches(count, taps.data() + p0, images.data + group * s.Cg() * channel, runs, n,
                                 images.size.step, dst, width);
  }

  // Output channels [o0, o1) of `group`, pixels [q0, q1).
  void task(int64_t group, int64_t o0, int64_t o1, int64_t q0, int64_t q1) const {
    const int64_t columns = q1 - q0, image = q0 / s.pixels(), vectors = ceil_div(columns, g.lanes);
    const int64_t panels = ceil_div(vectors, g.nr / g.lanes), channel = group * s.Og() + o0;
    const bool in_place = (q1 - 1) / s.pixels() == image;
    const int64_t ldc = in_place ? s.pixels() : columns;
    T* c = in_place ? y + (image * s.O + channel) * s.pixels() + q0 % s.pixels()
                    : scratch<T>(ScratchSlot::Tile, (o1 - o0) * columns);
    if (bias != nullptr)
      for (int64_t o = 0; o < o1 - o0; ++o) std::fill_n(c + o * ldc, columns, bias[channel + o]);
    for (int64_t k = 0; k < blocks; ++k) {
      const int64_t p0 = tap(k), count = tap(k + 1) - p0;
      T* b = scratch<T>(ScratchSlot::PackA, (vectors * count + 1) * g.lanes);
      for (int64_t i = 0; i < panels; ++i) {
        const int64_t v0 = panel_start(i, vectors, panels) * g.lanes,
                      v1 = panel_start(i + 1, vectors, panels) * g.lanes;
        pack_panel(group, p0, count, q0 + v0, std::min(q0 + v1, q1), b + v0 * count, v1 - v0);
      }
      Epilogue<T> e;
      if (k > 0 || bias != nullptr) e.add = c, e.add_rs = ldc;
      const T* a = weights.data + (group * s.taps() + p0) * group_channels + o0 * count;
      g.packed(o1 - o0, columns, count, a, b, panels, 0, panels, c, ldc, e);
    }
    if (!in_place) deal_out(c, channel, o1 - o0, q0, q1);
  }

  void deal_out(const T* tile, int64_t channel, int64_t channels, int64_t q0, int64_t q1) const {
    const int64_t columns = q1 - q0;
    for (int64_t q = q0; q < q1;) {
      const int64_t image = q / s.pixels(), first = q % s.pixels(), n = std::min(s.pixels() - first, q1 - q);
      conv_table<T>().copy_rows(channels, n, tile + (q - q0), columns, 1,
                                y + (image * s.O + channel) * s.pixels() + first, s.pixels());
      q += n;
    }
  }

  void run() const {
    const int64_t pixels = s.N * s.pixels(), work = pixels * s.Og() * s.taps() * s.G;
    const int64_t wanted = std::min<int64_t>(2 * get_num_threads(), ceil_div(work, kTaskFma));
    const int64_t share = ceil_div(ceil_div(pixels * s.G, wanted), g.nr) * g.nr;
    const int64_t size = std::clamp<int64_t>(share, g.nr, kMaxPanels * g.nr), pixel_tasks = ceil_div(pixels, size);
    const int64_t wanted_rows = std::min(ceil_div(wanted, pixel_tasks * s.G), group_channels / g.mr);
    const int64_t rows = ceil_div(group_channels / g.mr, wanted_rows) * g.mr, row_tasks = ceil_div(s.Og(), rows);
    parallel_chunks(s.G * pixel_tasks * row_tasks, [&](int64_t i) {
      const int64_t group = i / (pixel_tasks * row_tasks), q = i / row_tasks % pixel_tasks * size,
                    o = i % row_tasks * rows;
      task(group, o, std::min(o + rows, s.Og()), q, std::min(q + size, pixels));
    });
  }
};

}  // namespace

template <class T>
void conv_forward(const ConvShape& shape, const T* x, const T* w, const T* bias, T* y) {
  const ConvShape s = flattened(shape);
  if (s.N * s.O * s.pixels() == 0) return;
  if (s.taps() == 0) {
    for (int64_t i = 0; i < s.N * s.O; ++i)
      std::fill_n(y + i * s.pixels(), s.pixels(), bias == nullptr ? T(0) : bias[i % s.O]);
    return;
  }
  if (few_channels(s)) return depthwise_forward(s, x, w, bias, y);
  if constexpr (sizeof(T) == 4)
    if (winograd_suits(s) && winograd_forward(s, x, w, bias, y)) return;
  Forward<T>(s, x, w, bias, y).run();
}

template void conv_forward(const ConvShape&, const float*, const float*, const float*, float*);
template void conv_forward(const ConvShape&, const double*, const double*, const double*, double*);

}  // namespace mg::cpu
