// Drivers of Winograd convolution: what is transformed, multiplied and written by whom. conv_winograd.h is the map.
//
// A task takes whole rows of tiles, about kTiles tiles, through three steps: transform the inputs of all channels,
// multiply, transform the outputs; its V and M stay in cache. With many tasks threads share out tasks; with few, the
// steps inside a task (a nested parallel region runs inline, so both are the same code).
#include "conv_winograd.h"

#include <algorithm>
#include <atomic>

#include "../core/parallel.h"
#include "../core/tensor.h"
#include "isa.h"
#include "prepared.h"

namespace mg::cpu {

namespace {

constexpr int64_t kTiles = 96, kMaxTileColumns = 256;
constexpr int64_t kSliceFloats = 512 * 1024;  // of a weight's transform: small enough for a copy per slice of the tiles
constexpr int64_t kMaxSlices = 8;
constexpr int64_t kPreparedTiles = 128;  // more, and reading the transform from memory takes what making it takes

struct Loops {
  const WinogradTable& table;
  const WinogradSchemes& schemes;
};
Loops loops() {
#if MG_HAVE_avx512
  if (isa() == Isa::Avx512) return {avx512::winograd_table, avx512::winograd_schemes};
#endif
#if MG_HAVE_avx2
  if (isa() == Isa::Avx2) return {avx2::winograd_table, avx2::winograd_schemes};
#endif
  return {portable::winograd_table, portable::winograd_schemes};
}

// A convolution from (N, C, H, W) to (N, O, OH, OW) with one scheme. The gradient of an input is one from dy to dx.
struct Winograd {
  const ConvShape& s;
  const WinogradScheme& f;
  int64_t top, left;  // inputs that the first tile sees outside of the image
  ChannelsLast last;
  const WinogradTable& g = loops().table;
  int64_t tile_rows, tile_cols, rows, tasks, tiles;  // tile rows of one image; of a task, with its number of tiles
  int64_t in_stride, out_stride;                     // between positions of V and of M

  Winograd(const ConvShape& shape, const WinogradScheme& scheme, int64_t above, int64_t before, ChannelsLast layout)
      : s(shape), f(scheme), top(above), left(before), last(layout) {
    tile_rows = ceil_div(s.OH, f.out_step), tile_cols = ceil_div(s.OW, f.out_step);
    rows = std::clamp<int64_t>((kTiles + tile_cols / 2) / tile_cols, 1, s.N * tile_rows);
    tasks = ceil_div(s.N * tile_rows, rows);
    tiles = rows * tile_cols;
    // One vector more than the data: strides that are multiples of 4 KiB would put all positions into one cache set.
    in_stride = blocks(s.C) * tiles * g.block + g.lanes;
    out_stride = blocks(s.O) * tiles * g.block + g.lanes;
  }
  int64_t positions() const { return f.positions * f.positions; }
  int64_t transformed_weights() const { return f.weights * f.weights; }
  int64_t weight_of(int64_t position) const {
    const int64_t most = f.weights - 1;
    return std::min(position / f.positions, most) * f.weights + std::min(position % f.positions, most);
  }
  int64_t blocks(int64_t channels) const { return ceil_div(channels, g.block); }
  int64_t vectors(int64_t channels) const { return ceil_div(channels, g.lanes); }
  int lanes_of(int64_t vector, int64_t channels) const {
    return int(std::min<int64_t>(g.lanes, channels - vector * g.lanes));
  }
  int64_t tiles_of(int64_t task) const {
    return (std::min((task + 1) * rows, s.N * tile_rows) - task * rows) * tile_cols;
  }
  // Where a vector of channels starts in [block][tile][B].
  int64_t start(int64_t vector) const {
    const int64_t channel = vector * g.lanes;
    return channel / g.block * tiles * g.block + channel % g.block;
  }
  // Strides of an image with those channels, and where a vector of channels of image n starts in it.
  static PixelStrides strides(bool last, int64_t channels, int64_t plane) {
    return last ? PixelStrides{1, channels} : PixelStrides{plane, 1};
  }
  int64_t origin(PixelStrides p, int64_t n, int64_t channels, int64_t plane, int64_t vector) const {
    return n * channels * plane + vector * g.lanes * p.channel;
  }
  template <class F>
  void over_tasks(F&& f) const {
    if (tasks >= 4 * get_num_threads()) return parallel_chunks(tasks, f);
    for (int64_t i = 0; i < tasks; ++i) f(i);
  }
  // f(image, first tile row, end, first tile) for the parts of images that a task covers.
  template <class F>
  void for_pieces(int64_t task, F&& f) const {
    int64_t tile = 0;
    for (int64_t r = task * rows, end = std::min(r + rows, s.N * tile_rows); r < end;) {
      const int64_t n = r / tile_rows, first = r % tile_rows, count = std::min(tile_rows - first, end - r);
      f(n, first, first + count, tile);
      r += count;
      tile += count * tile_cols;
    }
  }

  // One vector of channels of x to V.
  void transform_input(int64_t task, int64_t vector, const float* x, float* v) const {
    const int64_t cols = f.in_step * tile_cols + f.in_extra, plane = s.H * s.W;
    const PixelStrides layout = strides(last.in, s.C, plane);
    for_pieces(task, [&](int64_t n, int64_t begin, int64_t end, int64_t tile) {
      const TileWindow window{f.in_step * begin - top, f.in_step * (end - begin) + f.in_extra, left, cols, s.H, s.W};
      float* p = scratch<float>(ScratchSlot::Image, window.rows * cols * g.lanes);
      g.gather(x + origin(layout, n, s.C, plane, vector), layout, lanes_of(vector, s.C), window, p);
      f.input_tiles(p, end - begin, tile_cols, v + start(vector) + tile * g.block, in_stride);
    });
  }
  void transform_grad(int64_t task, int64_t vector, const float* dy, float* m) const {
    const int64_t cols = 2 * tile_cols, plane = s.OH * s.OW;
    const PixelStrides layout = strides(last.out, s.O, plane);
    for_pieces(task, [&](int64_t n, int64_t begin, int64_t end, int64_t tile) {
      const TileWindow window{2 * begin, 2 * (end - begin), 0, cols, s.OH, s.OW};
      float* p = scratch<float>(ScratchSlot::Image, window.rows * cols * g.lanes);
      g.gather(dy + origin(layout, n, s.O, plane, vector), layout, lanes_of(vector, s.O), window, p);
      f.grad_tiles(p, end - begin, tile_cols, m + start(vector) + tile * g.block, out_stride);
    });
  }
  // One vector of channels of M to y; false if something in it is not finite.
  bool write_output(int64_t task, int64_t vector, const float* m, const float* bias, float* y) const {
    const int64_t plane = s.OH * s.OW, channel = vector * g.lanes;
    const PixelStrides layout = strides(last.out, s.O, plane);
    bool finite = true;
    for_pieces(task, [&](int64_t n, int64_t begin, int64_t end, int64_t tile) {
      const int64_t height = std::min(f.out_step * end, s.OH) - f.out_step * begin;
      float* q = scratch<float>(ScratchSlot::Image, height * s.OW * g.lanes);
      f.output_tiles(m + start(vector) + tile * g.block, out_stride, end - begin, tile_cols, height, s.OW, q);
      float* out = y + origin(layout, n, s.O, plane, vector) + f.out_step * begin * s.OW * layout.pixel;
      finite &=
          g.scatter(q, height * s.OW, out, layout, lanes_of(vector, s.O), bias == nullptr ? bias : bias + channel);
    });
    return finite;
  }

  // U[u][block of outputs][input channel][B]: kept, or made for this call.
  Ref<Storage> transformed(const float* w, bool adjoint, int64_t stride) const {
    const auto make = [&](float* u) { transform_weights(w, adjoint, stride, u); };
    const int64_t size = transformed_weights() * stride;
    if (s.N * tile_rows * tile_cols <= kPreparedTiles && may_prepare(w))
      return kept<float>({"winograd", w, {reinterpret_cast<int64_t>(&f), adjoint, s.O, s.C}}, size, make);
    Ref<Storage> u = Storage::allocate(size_t(size) * sizeof(float), Device{});
    make(static_cast<float*>(u->data));
    return u;
  }

  void transform_weights(const float* w, bool adjoint, int64_t stride, float* u) const {
    const int64_t lane_stride = adjoint ? 9 : s.C * 9, k_stride = adjoint ? s.O * 9 : 9;
    constexpr int64_t kDepth = 32;
    const int64_t parts = ceil_div(s.C, kDepth);
    parallel_for(0, vectors(s.O) * parts, 4, [&](int64_t i0, int64_t i1) {
      for (int64_t i = i0; i < i1; ++i) {
        const int64_t o = i / parts * g.lanes, k = i % parts * kDepth;
        f.transform_weights(w + o * lane_stride + k * k_stride, lane_stride, k_stride, lanes_of(i / parts, s.O),
                            std::min(kDepth, s.C - k), adjoint,
                u + o / g.block * s.C * g.block + k * g.block + o % g.block, stride);
      }
    });
  }

  bool forward(const float* x, const float* w, bool adjoint, const float* bias, float* y) const {
    const int64_t out_blocks = blocks(s.O), u_stride = out_blocks * s.C * g.block + g.lanes;
    const Ref<Storage> weights = transformed(w, adjoint, u_stride);
    const float* u = static_cast<const float*>(weights->data);
    std::atomic<bool> finite = true;
    over_tasks([&](int64_t task) {
      float* v = scratch<float>(ScratchSlot::PackA, positions() * in_stride);
      float* m = scratch<float>(ScratchSlot::Tile, positions() * out_stride);
      parallel_chunks(vectors(s.C), [&](int64_t i) { transform_input(task, i, x, v); });
      parallel_chunks(positions() * out_blocks, [&](int64_t i) {
        const int64_t xi = i / out_blocks, block = i % out_blocks;
        g.product(tiles_of(task), std::min<int64_t>(g.block, s.O - block * g.block), s.C, v + xi * in_stride,
                  tiles * g.block, u + weight_of(xi) * u_stride + block * s.C * g.block,
                  m + xi * out_stride + block * tiles * g.block);
      });
      parallel_chunks(vectors(s.O), [&](int64_t i) {
        if (!write_output(task, i, m, bias, y)) finite = false;
      });
    });
    return finite;
  }

  // Adds the tasks [t0, t1) into du[xi][o][ld].
  void accumulate(int64_t t0, int64_t t1, const float* x, const float* dy, float* du, int64_t ld) const {
    const int64_t in_blocks = blocks(s.C), out_blocks = blocks(s.O), in_vectors = vectors(s.C);
    for (int64_t task = t0; task < t1; ++task) {
      float* v = scratch<float>(ScratchSlot::PackA, positions() * in_stride);
      float* m = scratch<float>(ScratchSlot::Tile, positions() * out_stride);
      parallel_chunks(in_vectors + vectors(s.O), [&](int64_t i) {
        if (i < in_vectors)
          transform_input(task, i, x, v);
        else
          transform_grad(task, i - in_vectors, dy, m);
      });
      // Positions that share a sum are one chunk: nothing is written twice.
      parallel_chunks(transformed_weights() * out_blocks, [&](int64_t i) {
        const int64_t u = i / out_blocks, o = i % out_blocks * g.block;
        bool add = task != t0;
        for (int64_t xi = 0; xi < positions(); ++xi) {
          if (weight_of(xi) != u) continue;
          for (int64_t b = 0; b < in_blocks; ++b)
            g.weight_product(std::min<int64_t>(g.block, s.O - o), std::min<int64_t>(g.block, s.C - b * g.block),
                             tiles_of(task), m + xi * out_stride + o * tiles, v + xi * in_stride + b * tiles * g.block,
                             du + (u * s.O + o) * ld + b * g.block, ld, add);
          add = true;
        }
      });
    }
  }

  bool weight(const float* x, const float* dy, float* dw) const {
    const int64_t ld = blocks(s.C) * g.block, size = transformed_weights() * s.O * ld;
    const int64_t slices = size <= kSliceFloats ? std::min(kMaxSlices, tasks) : 1;
    const Tensor sums = empty({slices * size}, DType::Float32);
    float* du = sums.ptr<float>();
    parallel_chunks(slices, [&](int64_t i) {
      accumulate(panel_start(i, tasks, slices), panel_start(i + 1, tasks, slices), x, dy, du + i * size, ld);
    });
    std::atomic<bool> finite = true;
    parallel_for(0, s.O, ceil_div(4096, s.C), [&](int64_t o0, int64_t o1) {
      for (int64_t o = o0; o < o1; ++o)
        for (int64_t i = 0; i < vectors(s.C); ++i)
          if (!f.weight_out(du + o * ld + i * g.lanes, s.O * ld, slices, size, lanes_of(i, s.C),
                            dw + (o * s.C + i * g.lanes) * 9))
            finite = false;
    });
    return finite;
  }
};

bool is_strided(const ConvShape& s) { return s.SH == 2; }

// height x width pixels are written in tiles of step x step.
bool pays(const ConvShape& s, int64_t step, int64_t height, int64_t width) {
  const int64_t rows = ceil_div(height, step), cols = ceil_div(width, step), covered = rows * cols * step * step;
  if (cols > kMaxTileColumns) return false;
  // Half tiles at the border must not eat up the gain, and the tiles must pay for the transform of the weights.
  return is_strided(s) ? 5 * covered <= 6 * height * width && s.N * rows * cols >= 24
                       : 2 * covered <= 3 * height * width && s.N * rows * cols >= 12;
}

bool has_kernel(const ConvShape& s) {
  const bool images = s.D == 1 && s.OD == 1 && s.KD == 1 && s.PD == 0 && s.G == 1;
  const bool dense = s.KH == 3 && s.KW == 3 && s.DH == 1 && s.DW == 1 && std::min(s.C, s.O) >= 16;
  const bool unit = s.SH == 1 && s.SW == 1 && s.PH <= 2 && s.PW <= 2;
  return images && dense && (unit || (s.SH == 2 && s.SW == 2 && s.PH == 1 && s.PW == 1));
}

Winograd forward_of(const ConvShape& s, ChannelsLast last) {
  const WinogradSchemes& all = loops().schemes;
  return Winograd(s, is_strided(s) ? all.strided : all.unit, s.PH, s.PW, last);
}

}  // namespace

bool winograd_suits(const ConvShape& s) { return has_kernel(s) && pays(s, 2, s.OH, s.OW); }
bool winograd_data_suits(const ConvShape& s) { return has_kernel(s) && pays(s, is_strided(s) ? 4 : 2, s.H, s.W); }

bool winograd_forward(const ConvShape& s, const float* x, const float* w, const float* bias, float* y,
                      ChannelsLast last) {
  return forward_of(s, last).forward(x, w, false, bias, y);
}

bool winograd_data(const ConvShape& s, const float* dy, const float* w, const float* bias, float* dx,
                   ChannelsLast last) {
  const WinogradSchemes& all = loops().schemes;
  const ConvShape f = flipped_shape(s);
  const ChannelsLast swapped{last.out, last.in};
  const Winograd task = is_strided(s) ? Winograd(f, all.strided_adjoint, 0, 0, swapped)
                                      : Winograd(f, all.unit, f.PH, f.PW, swapped);
  return task.forward(dy, w, true, bias, dx);
}

bool winograd_weight(const ConvShape& s, const float* x, const float* dy, float* dw, ChannelsLast last) {
  return forward_of(s, last).weight(x, dy, dw);
}

}  // namespace mg::cpu
