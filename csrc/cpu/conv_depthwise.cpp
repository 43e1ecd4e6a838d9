// Drivers of depthwise and other thin-group convolutions: padded copies, lists of taps, threads. conv_depthwise.h is
// the map, conv.h the legend.
#include "conv_depthwise.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "../core/parallel.h"
#include "isa.h"

namespace mg::cpu {

namespace {

constexpr int64_t kSlack = 5 * 16;  // elements that the loops may read beyond a copy

template <class T>
const DepthwiseTable<T>& table() {
  static const DepthwiseTables& tables = MG_PICK(depthwise_table);
  if constexpr (sizeof(T) == 4)
    return tables.f32;
  else
    return tables.f64;
}

// One dim of the convolution.
struct Side {
  int64_t in, out, kernel, stride, padding, dilation;
  int64_t seen() const { return std::max<int64_t>((out - 1) * stride + (kernel - 1) * dilation + 1, 1); }
  // Positions i of phase r, at i * stride + r - padding, that lie in the input: the first and how many (up to `room`).
  int64_t first(int64_t r) const { return std::max<int64_t>(padding - r + stride - 1, 0) / stride; }
  int64_t count(int64_t r, int64_t room) const {
    const int64_t end =
        std::min(in + padding - r + stride - 1 >= 0 ? (in + padding - r + stride - 1) / stride : 0, room);
    return std::max<int64_t>(end - first(r), 0);
  }
};
struct Sides {
  Side d, h, w;
  explicit Sides(const ConvShape& s)
      : d{s.D, s.OD, s.KD, s.SD, s.PD, s.DD},
        h{s.H, s.OH, s.KH, s.SH, s.PH, s.DH},
        w{s.W, s.OW, s.KW, s.SW, s.PW, s.DW} {}
};

// Copy of one group's input planes: [channel][slice][row phase][column phase][row][column], zero outside of the input.
template <class T>
struct PhasedInput {
  const ConvShape& s;
  Sides side;
  int64_t rows, pitch, phase, slice, channel;
  std::vector<int64_t> taps;

  explicit PhasedInput(const ConvShape& shape) : s(shape), side(shape) {
    rows = ceil_div(side.h.seen(), s.SH), pitch = ceil_div(side.w.seen(), s.SW), phase = rows * pitch;
    slice = s.SH * s.SW * phase, channel = side.d.seen() * slice;
    for (int64_t c = 0; c < s.Cg(); ++c)
      for (int64_t z = 0; z < s.KD; ++z)
        for (int64_t i = 0, y = 0; i < s.KH; ++i, y += s.DH)
          for (int64_t j = 0, x = 0; j < s.KW; ++j, x += s.DW)
            taps.push_back(c * channel + z * s.DD * slice + (y % s.SH * s.SW + x % s.SW) * phase + y / s.SH * pitch +
                           x / s.SW);
  }
  int64_t size() const { return s.Cg() * channel; }
  // Zeroed memory of this thread. fill() writes the same places every time, so the border stays zero.
  T* memory() const {
    T* p = scratch<T>(ScratchSlot::Image, size() + kSlack);
    std::fill_n(p, size() + kSlack, T(0));
    return p;
  }
  void fill(const T* x, T* p) const {
    for (int64_t c = 0; c < s.Cg(); ++c)
      for (int64_t z = std::max<int64_t>(0, s.PD); z < std::min(side.d.seen(), s.PD + s.D); ++z) {
        const T* src = x + (c * s.D + z - s.PD) * s.H * s.W;
        for (int64_t i = 0; i < s.SH; ++i)
          for (int64_t j = 0; j < s.SW; ++j) {
            const int64_t y0 = side.h.first(i), x0 = side.w.first(j);
            table<T>().copy_rows(side.h.count(i, rows), side.w.count(j, pitch),
                                 src + (y0 * s.SH + i - s.PH) * s.W + x0 * s.SW + j - s.PW, s.SH * s.W, s.SW,
                                 p + c * channel + z * slice + (i * s.SW + j) * phase + y0 * pitch + x0, pitch, 1);
          }
      }
  }
};

// Length of a plane of `rows` outputs as one run.
int64_t flat(int64_t rows, int64_t n, int64_t pitch) { return rows > 0 && n > 0 ? (rows - 1) * pitch + n : 0; }

int64_t planes_per_task(const ConvShape& s) { return ceil_div(kTaskFma / 4, s.pixels() * s.taps() * s.Og() + 1); }

}  // namespace

template <class T>
void depthwise_forward(const ConvShape& s, const T* x, const T* w, const T* bias, T* y) {
  const PhasedInput<T> input(s);
  const DepthwiseTable<T>& t = table<T>();
  const bool by_row = s.OW >= 2 * t.lanes;  // rows long enough to be written in place
  const int64_t length = flat(s.OH, s.OW, input.pitch);
  parallel_for(0, s.N * s.G, planes_per_task(s), [&](int64_t i0, int64_t i1) {
    T* p = input.memory();
    T* tile = scratch<T>(ScratchSlot::Tile, length);
    for (int64_t i = i0; i < i1; ++i) {
      input.fill(x + i * s.Cg() * s.D * s.H * s.W, p);
      for (int64_t o = i % s.G * s.Og(), k = 0; k < s.Og(); ++k, ++o) {
        const T b = bias == nullptr ? T(0) : bias[o];
        const T* weights = w + o * s.taps();
        T* out = y + (i * s.Og() + k) * s.pixels();
        for (int64_t od = 0; od < s.OD; ++od, out += s.OH * s.OW) {
          const T* src = p + od * s.SD * input.slice;
          if (by_row) {
            for (int64_t oh = 0; oh < s.OH; ++oh)
              t.run(s.OW, s.taps(), input.taps.data(), weights, src + oh * input.pitch, b, out + oh * s.OW);
          } else {
            t.run(length, s.taps(), input.taps.data(), weights, src, b, tile);
            t.copy_rows(s.OH, s.OW, tile, input.pitch, 1, out, s.OW, 1);
          }
        }
      }
    }
  });
}

namespace {

// Copy of one group's planes of dy with margins for the taps that reach over them, and for each phase of the input the
// taps that meet it: dx[i * S + r - P] = sum of w[k] dy[i - (k * D - r) / S] over the k with k * D % S == r.
template <class T>
struct PaddedGrad {
  struct Phase {
    std::vector<int64_t> offsets, taps;  // into the copy, from the place of i; into w[o][c], o * Cg * kernel added
  };
  const ConvShape& s;
  Sides side;
  int64_t margin[3], rows[3], channel, pitch;
  std::vector<Phase> phases;

  explicit PaddedGrad(const ConvShape& shape) : s(shape), side(shape) {
    const Side* sides[3] = {&side.d, &side.h, &side.w};
    for (int k = 0; k < 3; ++k) {
      const Side& a = *sides[k];
      margin[k] = (a.kernel - 1) * a.dilation / a.stride;
      rows[k] = (a.in - 1 + a.padding) / a.stride + 1 + margin[k];
    }
    pitch = rows[2], channel = rows[0] * rows[1] * pitch;
    for (int64_t d = 0; d < s.SD; ++d)
      for (int64_t h = 0; h < s.SH; ++h)
        for (int64_t v = 0; v < s.SW; ++v) phases.push_back(phase(d, h, v));
  }
  Phase phase(int64_t d, int64_t h, int64_t v) const {
    Phase f;
    for (int64_t o = 0; o < s.Og(); ++o)
      for (int64_t z = 0; z < s.KD; ++z)
        for (int64_t i = 0; i < s.KH; ++i)
          for (int64_t j = 0; j < s.KW; ++j) {
            const int64_t a = z * s.DD - d, b = i * s.DH - h, c = j * s.DW - v;
            if (a % s.SD != 0 || b % s.SH != 0 || c % s.SW != 0) continue;
            // a, b, c may be negative multiples of the stride: a small tap and a large phase do not meet.
            if (a < 0 || b < 0 || c < 0) continue;
            f.offsets.push_back(o * channel - ((a / s.SD * rows[1] + b / s.SH) * pitch + c / s.SW));
            f.taps.push_back(o * s.taps() + (z * s.KH + i) * s.KW + j);
          }
    return f;
  }
  int64_t size() const { return s.Og() * channel; }
  int64_t at(int64_t d, int64_t h, int64_t v) const {
    return ((d + margin[0]) * rows[1] + h + margin[1]) * pitch + v + margin[2];
  }
  T* memory() const {
    T* p = scratch<T>(ScratchSlot::Image, size() + kSlack);
    std::fill_n(p, size() + kSlack, T(0));
    return p;
  }
  void fill(const T* dy, T* p) const {
    for (int64_t o = 0; o < s.Og(); ++o)
      for (int64_t z = 0; z < std::min(s.OD, rows[0] - margin[0]); ++z)
        table<T>().copy_rows(std::min(s.OH, rows[1] - margin[1]), std::min(s.OW, pitch - margin[2]),
                             dy + (o * s.OD + z) * s.OH * s.OW, s.OW, 1, p + o * channel + at(z, 0, 0), pitch, 1);
  }
};

}  // namespace

template <class T>
void depthwise_data(const ConvShape& s, const T* dy, const T* w, const T* bias, T* dx) {
  const PaddedGrad<T> grad(s);
  const DepthwiseTable<T>& t = table<T>();
  parallel_for(0, s.N * s.G, planes_per_task(s), [&](int64_t i0, int64_t i1) {
    T* p = grad.memory();
    T* tile = scratch<T>(ScratchSlot::Tile, grad.rows[1] * grad.pitch);
    T* weights = scratch<T>(ScratchSlot::Vector, s.Og() * s.kernel());
    for (int64_t i = i0; i < i1; ++i) {
      grad.fill(dy + i * s.Og() * s.pixels(), p);
      for (int64_t c = 0; c < s.Cg(); ++c) {
        const int64_t channel = i % s.G * s.Cg() + c;
        const T b = bias == nullptr ? T(0) : bias[channel];
        const T* from = w + i % s.G * s.Og() * s.taps() + c * s.kernel();
        T* out = dx + (i * s.Cg() + c) * s.D * s.H * s.W;
        for (int64_t f = 0; f < int64_t(grad.phases.size()); ++f) {
          const auto& phase = grad.phases[size_t(f)];
          const int64_t d = f / (s.SH * s.SW), h = f / s.SW % s.SH, v = f % s.SW, taps = int64_t(phase.taps.size());
          for (int64_t k = 0; k < taps; ++k) weights[k] = from[phase.taps[size_t(k)]];
          const int64_t d0 = grad.side.d.first(d), h0 = grad.side.h.first(h), v0 = grad.side.w.first(v);
          const int64_t rows = grad.side.h.count(h, grad.rows[1]), n = grad.side.w.count(v, grad.pitch);
          for (int64_t z = d0; z < d0 + grad.side.d.count(d, grad.rows[0]); ++z) {
            t.run(flat(rows, n, grad.pitch), taps, phase.offsets.data(), weights, p + grad.at(z, h0, v0), b, tile);
            t.copy_rows(rows, n, tile, grad.pitch, 1,
                        out + ((z * s.SD + d - s.PD) * s.H + h0 * s.SH + h - s.PH) * s.W + v0 * s.SW + v - s.PW,
                        s.SH * s.W, s.SW);
          }
        }
      }
    }
  });
}

namespace {

// dw of one group: sums per lane within a plane, planes in order, lanes at last. `by_row` keeps the gaps between rows
// out of the sums, where a zero would meet an infinity.
template <class T>
void weight_of_group(const PhasedInput<T>& input, int64_t group, const T* x, const T* dy, T* p, bool by_row, T* dw) {
  const ConvShape& s = input.s;
  const DepthwiseTable<T>& t = table<T>();
  const int64_t length = flat(s.OH, s.OW, input.pitch), sums = s.Og() * s.taps() * t.lanes;
  T* acc = scratch<T>(ScratchSlot::Vector, sums);
  T* g = scratch<T>(ScratchSlot::Tile, s.OH * input.pitch);
  std::fill_n(acc, sums, T(0));
  std::fill_n(g, s.OH * input.pitch, T(0));
  for (int64_t n = 0; n < s.N; ++n) {
    input.fill(x + (n * s.C + group * s.Cg()) * s.D * s.H * s.W, p);
    for (int64_t o = 0; o < s.Og(); ++o)
      for (int64_t od = 0; od < s.OD; ++od) {
        const T* from = dy + ((n * s.O + group * s.Og() + o) * s.OD + od) * s.OH * s.OW;
        const T* src = p + od * s.SD * input.slice;
        T* to = acc + o * s.taps() * t.lanes;
        if (by_row) {
          for (int64_t oh = 0; oh < s.OH; ++oh)
            t.run_weight(s.OW, s.taps(), input.taps.data(), from + oh * s.OW, src + oh * input.pitch, to);
        } else {
          t.copy_rows(s.OH, s.OW, from, s.OW, 1, g, input.pitch, 1);
          t.run_weight(length, s.taps(), input.taps.data(), g, src, to);
        }
      }
  }
  for (int64_t k = 0; k < s.Og() * s.taps(); ++k) {
    T sum = 0;
    for (int64_t lane = 0; lane < t.lanes; ++lane) sum += acc[k * t.lanes + lane];
    dw[k] = sum;
  }
}

}  // namespace

template <class T>
void depthwise_weight(const ConvShape& s, const T* x, const T* dy, T* dw) {
  const PhasedInput<T> input(s);
  parallel_for(0, s.G, ceil_div(kTaskFma / 4, s.N * s.pixels() * s.taps() * s.Og() + 1), [&](int64_t g0, int64_t g1) {
    T* p = input.memory();
    for (int64_t g = g0; g < g1; ++g) {
      T* out = dw + g * s.Og() * s.taps();
      weight_of_group(input, g, x, dy, p, false, out);
      if (!std::all_of(out, out + s.Og() * s.taps(), [](T v) { return std::isfinite(v); }))
        weight_of_group(input, g, x, dy, p, true, out);
    }
  });
}

template void depthwise_forward(const ConvShape&, const float*, const float*, const float*, float*);
template void depthwise_forward(const ConvShape&, const double*, const double*, const double*, double*);
template void depthwise_data(const ConvShape&, const float*, const float*, const float*, float*);
template void depthwise_data(const ConvShape&, const double*, const double*, const double*, double*);
template void depthwise_weight(const ConvShape&, const float*, const float*, float*);
template void depthwise_weight(const ConvShape&, const double*, const double*, double*);

}  // namespace mg::cpu
