// Gradient of a dense convolution over (N, H, W, C) with respect to its weight:
// dw[o, (ky, kx, c)] = sum over pixels of dy[pixel, o] x[pixel, (ky, kx, c)]. conv_pixels.h is the map.
//
// A task owns a block of the columns (ky, kx, c) and a slice of the rows of results; it packs about kPixels pixels of
// both images at a time, runs of the image as they lie. Slices depend on the shape alone and are added in order.
#include <algorithm>

#include "../core/parallel.h"
#include "conv_pixels.h"
#include "staged.h"

namespace mg::cpu {

namespace {

constexpr int64_t kPixels = 128, kPanels = 4, kMinTasks = 8;

struct PixelWeight {
  const ConvShape& s;
  const float *x, *dy;
  int64_t width;  // columns of a row of x, padded
  const GemmTable<float>& g = gemm_table<float>();
  std::vector<Reach> rows = forward_reach(rows_of(s));

  // A run of pixels of one row of results.
  struct Piece {
    int64_t row, first, count;
  };
  // Pieces of rows [r0, r1), about kPixels pixels of them at a time: f(pieces, pixels).
  template <class F>
  void for_blocks(int64_t r0, int64_t r1, F&& f) const {
    std::vector<Piece> pieces;
    int64_t pixels = 0;
    const int64_t parts = ceil_div(s.OW, kPixels);
    for (int64_t r = r0; r < r1; ++r)
      for (int64_t i = 0; i < parts; ++i) {
        const int64_t q0 = panel_start(i, s.OW, parts), n = panel_start(i + 1, s.OW, parts) - q0;
        if (pixels + n > kPixels) f(pieces, pixels), pieces.clear(), pixels = 0;
        pieces.push_back({r, q0, n});
        pixels += n;
      }
    f(pieces, pixels);
  }

  // dst[pixel * columns + j - j0] = x[pixel, j] for the columns [j0, j1), zeros from `end` on and where taps meet
  // nothing.
  void pack_image(const Piece& piece, int64_t j0, int64_t j1, int64_t end, float* dst) const {
    const int64_t row = s.KW * s.C, stretch = s.DW == 1 ? row : s.C, columns = j1 - j0;
    const Reach& reach = rows[size_t(piece.row % s.OH)];
    for (int64_t j = j0; j < j1;) {
      const bool beyond = j >= end;
      const int64_t n = beyond ? j1 - j : std::min({stretch - j % stretch, j1 - j, end - j});
      const int64_t ky = j / row, kx = j % row / stretch * (stretch / s.C), at = beyond ? -1 : reach.at(ky);
      if (at >= 0) {
        const int64_t source = (piece.row / s.OH * s.H + at) * width + piece.first * s.SW + kx * s.DW;
        conv_table<float>().copy_rows(piece.count, n, x + source * s.C + j % stretch, s.SW * s.C, 1, dst + j - j0,
                                      columns);
      } else {
        for (int64_t q = 0; q < piece.count; ++q) std::fill_n(dst + q * columns + j - j0, n, 0.0f);
      }
      j += n;
    }
  }

  // Columns [j0, j1); `dw` is [O][ldw] from column j0 on.
  void task(int64_t j0, int64_t j1, int64_t r0, int64_t r1, float* dw, int64_t ldw) const {
    const int64_t vectors = ceil_div(j1 - j0, g.lanes), panels = ceil_div(vectors, g.nr / g.lanes);
    float* const a = scratch<float>(ScratchSlot::PackA, ceil_div(s.O, g.mr) * g.mr * kPixels);
    float* const b = scratch<float>(ScratchSlot::Tile, vectors * g.lanes * kPixels);
    bool first = true;
    for_blocks(r0, r1, [&](const std::vector<Piece>& pieces, int64_t pixels) {
      int64_t q = 0;
      for (const Piece& piece : pieces) {
        const Strided<float> grad{dy + (piece.row * s.OW + piece.first) * s.O, 1, s.O};
        g.pack.pack_a(s.O, piece.count, grad, a + q * g.mr, pixels * g.mr);
        for (int64_t p = 0; p < panels; ++p) {
          const int64_t v0 = panel_start(p, vectors, panels) * g.lanes,
                        v1 = panel_start(p + 1, vectors, panels) * g.lanes;
          pack_image(piece, j0 + v0, j0 + v1, j1, b + v0 * pixels + q * (v1 - v0));
        }
        q += piece.count;
      }
      Epilogue<float> e;
      if (!first) e.add = dw, e.add_rs = ldw;
      first = false;
      g.packed(s.O, j1 - j0, pixels, a, b, panels, 0, panels, dw, ldw, e);
    });
  }

  // sums: [slices][O][KH][KW][C]
  void run(int64_t slices, float* sums) const {
    const int64_t columns = s.KH * s.KW * s.C, size = s.O * columns, all = s.N * s.OH;
    const int64_t blocks = ceil_div(columns, kPanels * g.nr);
    parallel_chunks(blocks * slices, [&](int64_t i) {
      const int64_t slice = i % slices, j0 = panel_start(i / slices, columns, blocks);
      task(j0, panel_start(i / slices + 1, columns, blocks), panel_start(slice, all, slices),
           panel_start(slice + 1, all, slices), sums + slice * size + j0, columns);
    });
    for (int64_t slice = 1; slice < slices; ++slice)
      for (int64_t i = 0; i < size; ++i) sums[i] += sums[slice * size + i];
  }
};

}  // namespace

void pixels_weight(const ConvShape& s, const float* x, const float* dy, const Tensor& dw) {
  if (is_depthwise(s)) return pixels_depthwise_weight(s, x, dy, dw);
  if (pixels_dilated_weight(s, x, dy, dw)) return;
  const int64_t width = std::max(s.seen_w(), s.PW + s.W);
  Tensor padded;
  const float* source = x;
  if (width != s.W || s.PW != 0)
    padded = padded_rows(s.N * s.H, s.W, s.C, s.PW, width, x), source = padded.ptr<float>();
  const int64_t blocks = ceil_div(s.taps(), kPanels * gemm_table<float>().nr);
  const int64_t slices = std::clamp<int64_t>(ceil_div(kMinTasks, blocks), 1, s.N * s.OH);
  const Tensor sums = empty({slices, s.O, s.KH, s.KW, s.C}, DType::Float32);
  PixelWeight{s, source, dy, width}.run(slices, sums.ptr<float>());
  copy_into(dw, alias(*sums, dw.sizes(), {s.taps(), 1, s.KW * s.C, s.C}, sums->offset));
}

}  // namespace mg::cpu
