// Depthwise convolution over (N, H, W, C): one row of results at a time, its columns cut into runs that meet the same
// taps. conv_pixels.h is the map.
#include <algorithm>

#include "../core/parallel.h"
#include "conv_pixels.h"
#include "isa.h"
#include "staged.h"

namespace mg::cpu {

namespace {

const PixelTable& table() {
  static const PixelTable& t = MG_PICK(pixel_table);
  return t;
}

// Results at `first`, first + step … whose reaches differ in the source alone, which moves by `advance`.
struct ColumnRun {
  int64_t first, count;
  Reach reach;
};
std::vector<ColumnRun> cut(const std::vector<Reach>& all, int64_t step, int64_t advance) {
  std::vector<ColumnRun> runs;
  for (int64_t phase = 0; phase < step; ++phase)
    for (int64_t i = phase; i < int64_t(all.size()); i += step) {
      const Reach& r = all[size_t(i)];
      if (i != phase) {
        ColumnRun& last = runs.back();
        const Reach& a = last.reach;
        const bool same =
            a.taps == r.taps && (a.taps == 0 || (a.tap == r.tap && a.source + last.count * advance == r.source));
        if (same && (a.taps <= 1 || a.tap_step == r.tap_step)) {
          ++last.count;
          continue;
        }
      }
      runs.push_back({i, 1, r});
    }
  return runs;
}

// [KH][KW][C] of any weight (C, 1, KH, KW).
Tensor tap_major(const ConvShape& s, const Tensor& w) {
  const Dims& st = w.strides();
  return staged(*alias(*w, {s.KH, s.KW, s.C}, {st[2], st[3], st[0]}, w->offset), DType::Float32);
}

// Results of `width` columns in each row of n images, from sources of height x columns.
struct Walk {
  std::vector<Reach> rows;
  std::vector<ColumnRun> runs;
  int64_t step, advance;  // of the columns of a run, in results and in sources
  int64_t width, source_height, source_width;
};

void walk(const ConvShape& s, const Walk& k, const float* x, const Tensor& weight, const float* bias, float* y) {
  const Tensor w_taps = tap_major(s, weight);
  const float* w = w_taps.ptr<float>();
  const int64_t height = int64_t(k.rows.size()), row_work = k.width * s.C * (s.KH * s.KW + 4);
  parallel_for(0, s.N * height, ceil_div(kTaskFma / 2, row_work), [&](int64_t i0, int64_t i1) {
    for (int64_t i = i0; i < i1; ++i) {
      const Reach& row = k.rows[size_t(i % height)];
      const float* image = x + i / height * k.source_height * k.source_width * s.C;
      for (const ColumnRun& c : k.runs) {
        const Reach& col = c.reach;
        const bool none = row.taps == 0 || col.taps == 0;
        const PixelRun r{c.count,
                         s.C,
                         none ? 0 : row.taps,
                         col.taps,
                         k.advance * s.C,
                         row.source_step * k.source_width * s.C,
                         col.source_step * s.C,
                         row.tap_step * s.KW * s.C,
                         col.tap_step * s.C,
                         k.step * s.C};
        const float* from = none ? x : image + (row.source * k.source_width + col.source) * s.C;
        table().run(r, from, none ? w : w + (row.tap * s.KW + col.tap) * s.C, bias, y + (i * k.width + c.first) * s.C);
      }
    }
  });
}

}  // namespace

std::vector<Reach> forward_reach(const PixelDim& d) {
  std::vector<Reach> all;
  for (int64_t o = 0; o < d.out; ++o) {
    const int64_t base = o * d.stride - d.padding, first = ceil_div(std::max<int64_t>(-base, 0), d.dilation);
    const int64_t end = base >= d.in ? 0 : std::min(d.kernel, (d.in - 1 - base) / d.dilation + 1);
    all.push_back({first, std::max<int64_t>(end - first, 0), 1, base + first * d.dilation, d.dilation});
  }
  return all;
}

std::vector<Reach> data_reach(const PixelDim& d) {
  std::vector<Reach> all;
  for (int64_t i = 0; i < d.in; ++i) {
    Reach r{0, 0, 1, 0, 0};
    for (int64_t k = 0; k < d.kernel; ++k) {
      const int64_t at = i + d.padding - k * d.dilation;
      if (at < 0 || at % d.stride != 0 || at / d.stride >= d.out) continue;
      if (r.taps == 0) r.tap = k, r.source = at / d.stride;
      if (r.taps == 1) r.tap_step = k - r.tap, r.source_step = at / d.stride - r.source;
      ++r.taps;
    }
    all.push_back(r);
  }
  return all;
}

void pixels_depthwise_forward(const ConvShape& s, const float* x, const Tensor& w, const float* bias, float* y) {
  const Walk k{forward_reach(rows_of(s)), cut(forward_reach(columns_of(s)), 1, s.SW), 1, s.SW, s.OW, s.H, s.W};
  walk(s, k, x, w, bias, y);
}

void pixels_depthwise_data(const ConvShape& s, const float* dy, const Tensor& w, const float* bias, float* dx) {
  const Walk k{data_reach(rows_of(s)), cut(data_reach(columns_of(s)), s.SW, 1), s.SW, 1, s.W, s.OH, s.OW};
  walk(s, k, dy, w, bias, dx);
}

// Sums of at most 64 pixels, of such within a slice of the rows, and of slices: the slices depend on the shape alone.
void pixels_depthwise_weight(const ConvShape& s, const float* x, const float* dy, const Tensor& dw) {
  constexpr int64_t kPixels = 64, kSlices = 32;
  const std::vector<Reach> rows = forward_reach(rows_of(s));
  const std::vector<ColumnRun> runs = cut(forward_reach(columns_of(s)), 1, s.SW);
  const int64_t all = s.N * s.OH, size = s.KH * s.KW * s.C;
  const int64_t slices = std::clamp<int64_t>(all * s.OW * size / (kTaskFma / 2), 1, std::min(all, kSlices));
  const Tensor sums = empty({slices, s.KH, s.KW, s.C}, DType::Float32);
  float* const total = sums.ptr<float>();
  parallel_chunks(slices, [&](int64_t slice) {
    float* to = total + slice * size;
    std::fill_n(to, size, 0.0f);
    for (int64_t i = panel_start(slice, all, slices); i < panel_start(slice + 1, all, slices); ++i) {
      const Reach& row = rows[size_t(i % s.OH)];
      if (row.taps == 0) continue;
      const float* image = x + (i / s.OH * s.H + row.source) * s.W * s.C;
      for (const ColumnRun& c : runs)
        for (int64_t j = 0; j < c.count && c.reach.taps > 0; j += kPixels) {
          const PixelRun r{std::min(kPixels, c.count - j),
                           s.C,
                           row.taps,
                           c.reach.taps,
                           s.SW * s.C,
                           s.DH * s.W * s.C,
                           s.DW * s.C,
                           s.KW * s.C,
                           s.C,
                           s.C};
          table().run_weight(r, image + (c.reach.source + j * s.SW) * s.C, dy + (i * s.OW + c.first + j) * s.C,
                             to + (row.tap * s.KW + c.reach.tap) * s.C);
        }
    }
  });
  for (int64_t slice = 1; slice < slices; ++slice)
    for (int64_t i = 0; i < size; ++i) total[i] += total[slice * size + i];
  const Tensor first = alias(*sums, {s.C, 1, s.KH, s.KW}, {1, s.C, s.KW * s.C, s.C}, sums->offset);
  copy_into(dw, first);
}

}  // namespace mg::cpu
