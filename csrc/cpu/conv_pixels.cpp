// Dense convolution over (N, H, W, C) and its transpose, as products that read the image where it lies. conv_pixels.h
// is the map.
//
// A task owns some rows of results of one image. For each row of taps, block of the summed elements and panel of
// weights (in the first cache) it goes through its rows; every row is one product of its pixels. The blocks are short
// chains, as in conv_forward.cpp.
#include "conv_pixels.h"

#include <algorithm>

#include "../core/parallel.h"
#include "prepared.h"

namespace mg::cpu {

namespace {

constexpr int64_t kBlock = 144;  // kBlock: kTapBlock of conv_forward.cpp
constexpr int64_t kPreparedPixels = 512;  // as there

// Results of a row at first, first + step … (`count` of them): result i reads, for its t-th tap, column
// source + i * advance + t * tap_step of a padded row.
struct Columns {
  int64_t first, step, count, source, advance, tap_step;
  std::vector<int64_t> taps;  // columns of the kernel, in the order of their sources
};
// What the columns of a row read: `left` zeros, the source's, zeros up to `width`.
struct PaddedRow {
  int64_t left, width;
};

PaddedRow padded_forward(const ConvShape& s) { return {s.PW, std::max(s.seen_w(), s.PW + s.W)}; }
std::vector<Columns> columns_forward(const ConvShape& s) {
  Columns c{0, 1, s.OW, 0, s.SW, s.DW, {}};
  for (int64_t k = 0; k < s.KW; ++k) c.taps.push_back(k);
  return {c};
}

PaddedRow padded_data(const ConvShape& s) {
  const int64_t left = (s.KW - 1) * s.DW / s.SW;
  return {left, left + std::max(s.OW, (s.W - 1 + s.PW) / s.SW + 1)};
}
// One for each phase of the stride: column i * SW + phase - PW meets the taps with k * DW = phase modulo SW.
std::vector<Columns> columns_data(const ConvShape& s) {
  std::vector<Columns> all;
  const int64_t left = padded_data(s).left;
  for (int64_t phase = 0; phase < s.SW; ++phase) {
    const int64_t i = ceil_div(std::max<int64_t>(s.PW - phase, 0), s.SW), first = i * s.SW + phase - s.PW;
    if (first >= s.W) continue;
    Columns c{first, s.SW, (s.W - first - 1) / s.SW + 1, 0, 1, 1, {}};
    for (int64_t k = s.KW - 1; k >= 0; --k) {
      if (k * s.DW < phase || (k * s.DW - phase) % s.SW != 0) continue;
      const int64_t source = left + i - (k * s.DW - phase) / s.SW;
      if (c.taps.empty()) c.source = source;
      if (c.taps.size() == 1) c.tap_step = source - c.source;
      c.taps.push_back(k);
    }
    all.push_back(std::move(c));
  }
  return all;
}

struct Dense {
  const ConvShape& s;
  std::vector<Reach> rows;
  std::vector<Columns> columns;
  PaddedRow row;
  int64_t source_height, source_width, from, to, width;  // of the source; channels of source and result; of the result
  const GemmTable<float>& g = gemm_table<float>();
  Tensor padded = Tensor();
  const float* x = nullptr;

  int64_t vectors() const { return ceil_div(to, g.lanes); }
  int64_t panels() const { return ceil_div(vectors(), g.nr / g.lanes); }

  void pad(const float* source) {
    x = source;
    if (row.left == 0 && row.width == source_width) return;
    padded = padded_rows(s.N * source_height, source_width, from, row.left, row.width, source);
    x = padded.ptr<float>();
  }

  // The summed elements of a row of taps, in blocks: `at` in the source from the result's first tap, k0 counts them
  // all.
  struct Block {
    int64_t at, k0, count;
  };
  std::vector<Block> blocks(const Columns& c) const {
    std::vector<Block> all;
    const int64_t taps = int64_t(c.taps.size());
    const bool together = c.tap_step == 1 || taps == 1;
    const int64_t stretch = together ? taps * from : from, parts = ceil_div(stretch, kBlock);
    for (int64_t t = 0; t < (together ? 1 : taps) && taps > 0; ++t)
      for (int64_t i = 0; i < parts; ++i) {
        const int64_t k = panel_start(i, stretch, parts);
        all.push_back({t * c.tap_step * from + k, t * from + k, panel_start(i + 1, stretch, parts) - k});
      }
    return all;
  }

  // weight(ky, kx) is [from][to]. dst: the panels of block after block.
  template <class W>
  void pack(const Columns& c, const std::vector<Block>& all, int64_t ky, W&& weight, float* dst) const {
    for (const Block& b : all)
      for (int64_t p = 0; p < panels(); ++p) {
        const int64_t v0 = panel_start(p, vectors(), panels()), v1 = panel_start(p + 1, vectors(), panels());
        const int64_t j = v0 * g.lanes, n = std::min(v1 * g.lanes, to) - j;
        for (int64_t k = b.k0; k < b.k0 + b.count;) {
          const int64_t tap = k / from, c0 = k % from, count = std::min(from - c0, b.k0 + b.count - k);
          g.pack.pack_b(count, n, weight(ky, c.taps[size_t(tap)]).at(c0, j), dst);
          dst += count * (v1 - v0) * g.lanes;
          k += count;
        }
      }
  }

  // Rows [r0, r1) of image n, some columns of each. `packed`: of all rows of taps, each `size` elements.
  void task(const Columns& c, const std::vector<Block>& all, const float* packed, int64_t size, int64_t n, int64_t r0,
            int64_t r1, const float* bias, float* y) const {
    const int64_t ldc = c.step * to, ld_row = width * to;
    float* const image = y + n * int64_t(rows.size()) * ld_row + c.first * to;
    const float* const source = x + (n * source_height * row.width + c.source) * from;
    for (int64_t r = r0; r < r1; ++r)
      if (all.empty() || rows[size_t(r)].taps == 0)
        for (int64_t i = 0; i < c.count; ++i)
          for (int64_t o = 0; o < to; ++o) image[r * ld_row + i * ldc + o] = bias == nullptr ? 0 : bias[o];
    for (int64_t ky = 0; ky < s.KH; ++ky) {
      const float* b = packed + ky * size;
      for (const Block& block : all)
        for (int64_t p = 0; p < panels(); ++p) {
          const int64_t v0 = panel_start(p, vectors(), panels()), v1 = panel_start(p + 1, vectors(), panels());
          const int64_t j = v0 * g.lanes, columns = std::min(v1 * g.lanes, to) - j;
          for (int64_t r = r0; r < r1; ++r) {
            const int64_t at = rows[size_t(r)].at(ky);
            if (at < 0) continue;
            float* out = image + r * ld_row + j;
            Epilogue<float> e;
            const bool first = ky == rows[size_t(r)].tap && block.k0 == 0;
            if (!first) e.add = out, e.add_rs = ldc;
            if (first && bias != nullptr) e.add = bias + j;
            g.blocked.in_place(c.count, columns, block.count, source + at * row.width * from + block.at,
                               c.advance * from, b, 1, out, ldc, e);
          }
          b += block.count * (v1 - v0) * g.lanes;
        }
    }
  }

  // What the packed weights depend on, besides their elements.
  PreparedKey key(const Tensor& w, bool transposed) const {
    const Dims& st = w.strides();
    const int64_t ways = int64_t(columns.size());  // some, where a row is shorter than its phases
    return {"pixels", w.ptr<float>(), {transposed, s.O, s.C, s.KH, s.KW, s.SW, s.PW, s.DW, st[0], st[1], st[2], st[3], ways}};
  }

  template <class W>
  void run(const PreparedKey& key, W&& weight, const float* bias, float* y) const {
    const int64_t panel_width = vectors() * g.lanes, height = int64_t(rows.size());
    std::vector<std::vector<Block>> lists;
    std::vector<int64_t> starts(1, 0);
    for (const Columns& c : columns) {
      lists.push_back(blocks(c));
      starts.push_back(starts.back() + s.KH * int64_t(c.taps.size()) * from * panel_width);
    }
    const auto pack_all = [&](float* packed) {
      parallel_for(0, s.KH * int64_t(columns.size()), ceil_div(16 * 1024, from * to), [&](int64_t i0, int64_t i1) {
        for (int64_t i = i0; i < i1; ++i) {
          const size_t k = size_t(i / s.KH);
          const int64_t ky = i % s.KH, size = int64_t(columns[k].taps.size()) * from * panel_width;
          pack(columns[k], lists[k], ky, weight, packed + starts[k] + ky * size);
        }
      });
    };
    const bool pays = s.N * height * width <= kPreparedPixels;
    const Prepared<float> weights = prepared<float>(key, starts.back(), ScratchSlot::PackB, pays, pack_all);
    const float* const packed = weights.data;
    const int64_t row_work = width * to * from * s.KH * s.KW / (s.SH * s.SW) + 1;
    const int64_t least = ceil_div(kTaskFma, row_work), wanted = ceil_div(height * s.N, 4 * get_num_threads());
    const int64_t share = std::min(std::max(least, std::min<int64_t>(wanted, 8)), height),
                  tasks = ceil_div(height, share);
    parallel_chunks(s.N * tasks, [&](int64_t i) {
      const int64_t n = i / tasks, t = i % tasks;
      for (size_t k = 0; k < columns.size(); ++k)
        task(columns[k], lists[k], packed + starts[k], int64_t(columns[k].taps.size()) * from * panel_width, n,
             panel_start(t, height, tasks), panel_start(t + 1, height, tasks), bias, y);
    });
  }
};

// The weight with one of its channel dims contiguous, which packing wants.
Tensor packable(const ConvShape& s, const Tensor& w) {
  const Dims& st = w.strides();
  if (st[0] == 1 || st[1] == 1) return w;
  const Tensor taps =
      staged_weight(*alias(*w, {s.KH, s.KW, s.O, s.C}, {st[2], st[3], st[0], st[1]}, w->offset), DType::Float32);
  return alias(*taps, w.sizes(), {s.C, 1, s.KW * s.O * s.C, s.O * s.C}, taps->offset);
}

}  // namespace

Tensor padded_rows(int64_t rows, int64_t columns, int64_t channels, int64_t left, int64_t width, const float* source) {
  const Tensor owner = empty({rows, width, channels}, DType::Float32);
  const int64_t n = std::min(columns, width - left) * channels, skip = left * channels, all = width * channels;
  parallel_for(0, rows, ceil_div(64 * 1024, all), [&](int64_t i0, int64_t i1) {
    for (int64_t i = i0; i < i1; ++i) {
      float* p = owner.ptr<float>() + i * all;
      std::fill_n(p, skip, 0.0f);
      std::copy_n(source + i * columns * channels, n, p + skip);
      std::fill(p + skip + n, p + all, 0.0f);
    }
  });
  return owner;
}

bool pixels_suit(const ConvShape& s) {
  if (s.D != 1 || s.KD != 1 || s.OD != 1 || s.PD != 0 || s.N * s.C * s.H * s.W * s.O * s.pixels() * s.kernel() == 0)
    return false;
  return is_depthwise(s) || (s.G == 1 && gemm_table<float>().blocked.in_place != nullptr);
}

void pixels_forward(const ConvShape& s, const float* x, const Tensor& w, const float* bias, float* y) {
  if (is_depthwise(s)) return pixels_depthwise_forward(s, x, w, bias, y);
  if (pixels_dilated(s, x, w, bias, y, false)) return;
  const Tensor weight = packable(s, w);
  const Dims& st = weight.strides();
  const float* p = weight.ptr<float>();
  Dense d{s, forward_reach(rows_of(s)), columns_forward(s), padded_forward(s), s.H, s.W, s.C, s.O, s.OW};
  d.pad(x);
  d.run(d.key(weight, false), [&](int64_t i, int64_t j) { return Strided<float>{p + i * st[2] + j * st[3], st[1], st[0]}; },
        bias, y);
}

void pixels_data(const ConvShape& s, const float* dy, const Tensor& w, const float* bias, float* dx) {
  if (is_depthwise(s)) return pixels_depthwise_data(s, dy, w, bias, dx);
  if (pixels_dilated(s, dy, w, bias, dx, true)) return;
  const Tensor weight = packable(s, w);
  const Dims& st = weight.strides();
  const float* p = weight.ptr<float>();
  Dense d{s, data_reach(rows_of(s)), columns_data(s), padded_data(s), s.OH, s.OW, s.O, s.C, s.W};
  d.pad(dy);
  d.run(d.key(weight, true), [&](int64_t i, int64_t j) { return Strided<float>{p + i * st[2] + j * st[3], st[0], st[1]}; },
        bias, dx);
}

}  // namespace mg::cpu
