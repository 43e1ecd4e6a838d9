// Gradient of a convolution with respect to its weight: dw[o, p] = sum_q dy[o, q] patch[p, q], summed over all pixels
// of all images.
//
// A task owns a block of taps of one group and a fixed slice of the images; it walks its pixels in blocks of kPixels,
// packs dy (A) and the transposed patches (B), and accumulates. When there are several slices, each has its own copy of
// dw and they are added in order afterwards: slices depend on the shape alone, so the result does not depend on the
// number of threads. conv.h is the map and the legend.
#include "conv_depthwise.h"
#include "conv_patches.h"
#include "conv_winograd.h"

namespace mg::cpu {

namespace {

constexpr int64_t kPixels = 128, kTapPanels = 4, kMinTasks = 8;  // kPixels: as kTapBlock in conv_forward.cpp

template <class T>
struct Weight {
  const ConvShape& s;
  const GemmTable<T>& g = gemm_table<T>();
  PaddedImages<T> images;
  std::vector<int64_t> taps;
  const T* dy;
  int64_t tap_block, tap_tasks, slices;

  Weight(const ConvShape& shape, const T* x, const T* gradient)
      : s(shape),
        images(shape, x),
        taps(tap_offsets(shape, images.size)),
        dy(gradient),
        tap_block(kTapPanels * g.nr),
        tap_tasks(ceil_div(shape.taps(), tap_block)),
        slices(std::clamp<int64_t>(ceil_div(kMinTasks, tap_tasks * shape.G), 1, shape.N)) {}

  // Packs pixels [q0, q1) of one group: a receives dy, b the patches of taps [p0, p1).
  void pack(int64_t group, int64_t p0, int64_t p1, int64_t q0, int64_t q1, T* a, T* b) const {
    const int64_t count = q1 - q0, vectors = ceil_div(p1 - p0, g.lanes), panels = ceil_div(vectors, g.nr / g.lanes);
    for (int64_t q = q0; q < q1;) {  // dy is contiguous along pixels within an image
      const int64_t image = q / s.pixels(), first = q % s.pixels(), n = std::min(s.pixels() - first, q1 - q);
      const T* src = dy + (image * s.O + group * s.Og()) * s.pixels() + first;
      g.pack.pack_a(s.Og(), n, Strided<T>{src, s.pixels(), 1}, a + (q - q0) * g.mr, count * g.mr);
      q += n;
    }
    PatchRun runs[kPixels];
    int n = 0;
    const int64_t channel = images.size.channel();
    for_runs(s, s.C * channel, images.size, q0, q1, [&](PatchRun r) { runs[n++] = r; });
    for (int64_t i = 0; i < panels; ++i) {
      const int64_t v0 = panel_start(i, vectors, panels) * g.lanes, v1 = panel_start(i + 1, vectors, panels) * g.lanes;
      conv_table<T>().pack_patches_transposed(std::min(v1, p1 - p0) - v0, taps.data() + p0 + v0,
                                              images.data + group * s.Cg() * channel, runs, n, images.size.step,
                                              b + v0 * count, v1 - v0);
    }
  }

  void task(int64_t group, int64_t p0, int64_t p1, int64_t n0, int64_t n1, T* dw) const {
    const int64_t rows = ceil_div(s.Og(), g.mr) * g.mr, vectors = ceil_div(p1 - p0, g.lanes),
                  panels = ceil_div(vectors, g.nr / g.lanes);
    T* a = scratch<T>(ScratchSlot::PackA, rows * kPixels);
    T* b = scratch<T>(ScratchSlot::Tile, vectors * g.lanes * kPixels);
    T* c = dw + group * s.Og() * s.taps() + p0;
    for (int64_t q = n0 * s.pixels(), end = n1 * s.pixels(); q < end; q += kPixels) {
      const int64_t q1 = std::min(q + kPixels, end);
      pack(group, p0, p1, q, q1, a, b);
      Epilogue<T> e;
      if (q != n0 * s.pixels()) e.add = c, e.add_rs = s.taps();
      g.packed(s.Og(), p1 - p0, q1 - q, a, b, panels, 0, panels, c, s.taps(), e);
    }
  }

  void run(T* dw) const {
    const int64_t size = s.O * s.taps();
    Tensor partial;
    if (slices > 1) partial = empty({slices, size}, dtype_of<T>());
    T* sums = slices > 1 ? partial.ptr<T>() : dw;
    parallel_chunks(s.G * tap_tasks * slices, [&](int64_t i) {
      const int64_t slice = i % slices, block = i / slices % tap_tasks, group = i / (slices * tap_tasks);
      task(group, block * tap_block, std::min((block + 1) * tap_block, s.taps()), panel_start(slice, s.N, slices),
           panel_start(slice + 1, s.N, slices), sums + slice * size);
    });
    if (slices == 1) return;
    std::copy_n(sums, size, dw);
    for (int64_t slice = 1; slice < slices; ++slice)
      for (int64_t i = 0; i < size; ++i) dw[i] += sums[slice * size + i];
  }
};

}  // namespace

template <class T>
void conv_weight(const ConvShape& shape, const T* x, const T* dy, T* dw) {
  const ConvShape s = flattened(shape);
  if (s.O * s.taps() == 0) return;
  if (s.N * s.pixels() == 0) {
    std::fill_n(dw, s.O * s.taps(), T(0));
    return;
  }
  if (few_channels(s)) return depthwise_weight(s, x, dy, dw);
  if constexpr (sizeof(T) == 4)
    if (winograd_suits(s) && winograd_weight(s, x, dy, dw)) return;
  Weight<T>(s, x, dy).run(dw);
}

template void conv_weight(const ConvShape&, const float*, const float*, float*);
template void conv_weight(const ConvShape&, const double*, const double*, double*);

}  // namespace mg::cpu
