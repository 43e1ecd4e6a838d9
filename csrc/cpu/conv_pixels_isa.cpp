// Loops of depthwise convolution over (N, H, W, C) for one instruction set; conv_pixels.h is the map.
#include "conv_pixels.h"
#include "load_run.h"

namespace mg::cpu::MG_ISA_NS {

using simd::MG_ISA_NS::Vec;
using V = Vec<float>;
constexpr int L = V::size;
constexpr int kRegisters = L == 16 ? 24 : 12;  // for sums

MG_INL V part(const float* p, int lanes) { return lanes == L ? V::load(p) : V::load(p, lanes); }
MG_INL void put(const V& v, float* p, int lanes) { lanes == L ? v.store(p) : v.store(p, lanes); }

// Sums of NC vectors of channels of NP pixels; `lanes` of the last vector.
template <int NC, int NP>
MG_INL void block(const PixelRun& r, const float* x, const float* w, const float* bias, float* y, int lanes) {
  V acc[NC][NP];
#pragma GCC unroll 4
  for (int i = 0; i < NC; ++i) {
    const V first = bias == nullptr ? V(0.0f) : part(bias + i * L, lanes);
#pragma GCC unroll 8
    for (int j = 0; j < NP; ++j) acc[i][j] = first;
  }
  for (int64_t row = 0; row < r.rows; ++row, x += r.x_row, w += r.w_row) {
    const float *a = x, *b = w;
    for (int64_t col = 0; col < r.cols; ++col, a += r.x_col, b += r.w_col)
#pragma GCC unroll 4
      for (int i = 0; i < NC; ++i) {
        const V tap = part(b + i * L, lanes);
#pragma GCC unroll 8
        for (int j = 0; j < NP; ++j) acc[i][j] = fma(tap, part(a + j * r.x_step + i * L, lanes), acc[i][j]);
      }
  }
#pragma GCC unroll 4
  for (int i = 0; i < NC; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < NP; ++j) put(acc[i][j], y + j * r.y_step + i * L, lanes);
}

// NP pixels, all channels.
template <int NC, int NP>
static void pixels(const PixelRun& r, const float* x, const float* w, const float* bias, float* y) {
  int64_t c = 0;
  const auto at = [&](const float* p) { return p == nullptr ? nullptr : p + c; };
  for (; c + NC * L <= r.channels; c += NC * L) block<NC, NP>(r, x + c, w + c, at(bias), y + c, L);
  if constexpr (NC > 1)
    for (; c + L <= r.channels; c += L) block<1, NP>(r, x + c, w + c, at(bias), y + c, L);
  if (c < r.channels) block<1, NP>(r, x + c, w + c, at(bias), y + c, int(r.channels - c));
}

static void run(const PixelRun& r, const float* x, const float* w, const float* bias, float* y) {
  int64_t i = 0;
  for (; i + 8 <= r.pixels; i += 8) pixels<1, 8>(r, x + i * r.x_step, w, bias, y + i * r.y_step);
  for (; i + 4 <= r.pixels; i += 4) pixels<2, 4>(r, x + i * r.x_step, w, bias, y + i * r.y_step);
  for (; i + 2 <= r.pixels; i += 2) pixels<4, 2>(r, x + i * r.x_step, w, bias, y + i * r.y_step);
  for (; i < r.pixels; ++i) pixels<4, 1>(r, x + i * r.x_step, w, bias, y + i * r.y_step);
}

// Sums over the pixels for NC vectors of channels and NK taps of one row of the kernel.
template <int NC, int NK>
MG_INL void weight_block(const PixelRun& r, const float* x, const float* dy, float* dw, int lanes) {
  V acc[NC][NK];
#pragma GCC unroll 8
  for (int i = 0; i < NC; ++i)
#pragma GCC unroll 8
    for (int k = 0; k < NK; ++k) acc[i][k] = V(0.0f);
  for (int64_t p = 0; p < r.pixels; ++p, x += r.x_step, dy += r.y_step)
#pragma GCC unroll 8
    for (int i = 0; i < NC; ++i) {
      const V g = part(dy + i * L, lanes);
#pragma GCC unroll 8
      for (int k = 0; k < NK; ++k) acc[i][k] = fma(g, part(x + k * r.x_col + i * L, lanes), acc[i][k]);
    }
#pragma GCC unroll 8
  for (int i = 0; i < NC; ++i)
#pragma GCC unroll 8
    for (int k = 0; k < NK; ++k) {
      float* to = dw + k * r.w_col + i * L;
      put(part(to, lanes) + acc[i][k], to, lanes);
    }
}

template <int NK>
static void weight_taps(const PixelRun& r, const float* x, const float* dy, float* dw) {
  constexpr int NC = kRegisters / NK > 4 ? 4 : kRegisters / NK > 1 ? kRegisters / NK : 1;
  int64_t c = 0;
  for (; c + NC * L <= r.channels; c += NC * L) weight_block<NC, NK>(r, x + c, dy + c, dw + c, L);
  if constexpr (NC > 1)
    for (; c + L <= r.channels; c += L) weight_block<1, NK>(r, x + c, dy + c, dw + c, L);
  if (c < r.channels) weight_block<1, NK>(r, x + c, dy + c, dw + c, int(r.channels - c));
}

template <int NK = 8>
static auto pick_taps(int64_t taps) {
  if constexpr (NK > 1)
    if (taps < NK) return pick_taps<NK - 1>(taps);
  return &weight_taps<NK>;
}

static void run_weight(const PixelRun& r, const float* x, const float* dy, float* dw) {
  for (int64_t row = 0; row < r.rows; ++row, x += r.x_row, dw += r.w_row)
    for (int64_t col = 0; col < r.cols; col += 8) {
      const int64_t taps = r.cols - col < 8 ? r.cols - col : 8;
      pick_taps(taps)(r, x + col * r.x_col, dy, dw + col * r.w_col);
    }
}

extern constinit const PixelTable pixel_table = {run, run_weight};

}  // namespace mg::cpu::MG_ISA_NS
