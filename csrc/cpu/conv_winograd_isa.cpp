// Loops of Winograd convolution for one instruction set: images to vectors of channels and back, and the products.
// The transforms are in conv_winograd_tiles_isa.cpp; conv_winograd.h is the map and the legend.
#include "conv_winograd_lanes.h"

namespace mg::cpu::MG_ISA_NS {

static void gather(const float* x, PixelStrides strides, int lanes, const TileWindow& w, float* p) {
  const int64_t pitch = w.cols * L, begin = w.first < 0 ? -w.first : 0;
  const int64_t inside = w.width < w.cols - w.left ? w.width : w.cols - w.left;  // columns that are used
  const int64_t stop = w.height - w.first < w.rows ? w.height - w.first : w.rows;
  for (int64_t row = 0; row < w.rows; ++row) {
    float* d = p + row * pitch;
    if (row < begin || row >= stop) {
      zeros(d, w.cols);
      continue;
    }
    zeros(d, w.left);
    zeros(d + (w.left + inside) * L, w.cols - w.left - inside);
  }
  if (strides.pixel != 1) {
    for (int64_t row = begin; row < stop; ++row) {
      const float* src = x + (w.first + row) * w.width * strides.pixel;
      float* d = p + row * pitch + w.left * L;
      for (int64_t col = 0; col < inside; ++col, src += strides.pixel, d += L)
        (lanes == L ? V::load(src) : V::load(src, lanes)).store(d);
    }
    return;
  }
  // The rows inside are one run of pixels in every channel.
  const float* src = x + (w.first + begin) * w.width;
  float* d = p + begin * pitch + w.left * L;
  int64_t col = 0;
  for (int64_t i = 0, n = (stop - begin) * w.width; i < n; i += L) {
    const int count = n - i < L ? int(n - i) : L;
    V r[L];
    load_square(src + i, strides.channel, lanes, count, r);
    transpose_square(r);
    alignas(64) float pixels[L * L];
#pragma GCC unroll 16
    for (int k = 0; k < L; ++k) r[k].store(pixels + k * L);
    for (int k = 0; k < count; ++k) {
      if (col < inside) V::load(pixels + k * L).store(d);
      d += L;
      if (++col == w.width) col = 0, d += pitch - w.width * L;
    }
  }
}

// Channels stay together: pixels are copied one by one.
static bool scatter_pixels(const float* q, int64_t n, float* y, int64_t pixel, int lanes, const float* bias) {
  const V b = bias == nullptr ? V(0.0f) : lanes == L ? V::load(bias) : V::load(bias, lanes);
  V wrong(0.0f);
  for (int64_t i = 0; i < n; ++i, y += pixel) {
    const V v = V::load(q + i * L);
    wrong = fma(v, V(0.0f), wrong);
    if (lanes == L)
      (v + b).store(y);
    else
      (v + b).store(y, lanes);
  }
  return !any(wrong != wrong);
}

static bool scatter(const float* q, int64_t n, float* y, PixelStrides strides, int lanes, const float* bias) {
  if (strides.pixel != 1) return scatter_pixels(q, n, y, strides.pixel, lanes, bias);
  V wrong(0.0f);
  for (int64_t i = 0; i < n; i += L) {
    const int count = n - i < L ? int(n - i) : L;
    V r[L];
    if (count == L) {
#pragma GCC unroll 16
      for (int k = 0; k < L; ++k) r[k] = V::load(q + (i + k) * L);
    } else {
#pragma GCC unroll 16
      for (int k = 0; k < L; ++k) r[k] = k < count ? V::load(q + (i + k) * L) : V(0.0f);
    }
#pragma GCC unroll 16
    for (int k = 0; k < L; ++k) wrong = fma(r[k], V(0.0f), wrong);  // inf and NaN times 0 are NaN
    transpose_square(r);
#pragma GCC unroll 16
    for (int k = 0; k < L; ++k) {
      if (k >= lanes) break;
      const V v = bias == nullptr ? r[k] : r[k] + V(bias[k]);
      if (count == L)
        v.store(y + k * strides.channel + i);
      else
        v.store(y + k * strides.channel + i, count);
    }
  }
  return !any(wrong != wrong);
}

// Products are added up in chains of kLink terms, chains in runs of kRun, and runs at last: rounding errors grow with the root
// of the number of additions in a row, and the transforms have used up what shorter sums than the definition's save. In
// one chain 64 channels lose 1.2 to 1.5 times what PyTorch's chains of 144 do; the additions hide behind the products.
constexpr int kLink = kBlock < 16 ? kBlock : 16, kRun = 64;

// sum = x y over n rows of MR numbers at x (x_row apart, x_col from one to the next) and NV vectors at y.
template <int MR, int NV>
MG_INL void chain(int64_t n, const float* x, int64_t x_row, int64_t x_col, const float* y, V (&sum)[MR][NV]) {
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) sum[i][j] = V(0.0f);
  for (int64_t k = 0; k < n; ++k, x += x_row, y += kBlock) {
    V row[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) row[j] = V::load(y + j * L);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
      const V a(x[i * x_col]);
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) sum[i][j] = fma(a, row[j], sum[i][j]);
    }
  }
}

// d (+)= the sum of n rows; the rows from k on start at x_of(k).
template <int MR, int NV, class X>
MG_INL void sums(int64_t n, X&& x_of, int64_t x_row, int64_t x_col, const float* y, float* d, int64_t stride, bool add) {
  for (int64_t k0 = 0; k0 < n; k0 += kRun) {
    const int64_t stop = n - k0 < kRun ? n : k0 + kRun;
    alignas(64) float run[MR * NV * L];
    for (int64_t k = k0; k < stop; k += kLink) {
      V sum[MR][NV];
      const bool last = stop - k <= kLink;
      chain<MR, NV>(last ? stop - k : kLink, x_of(k), x_row, x_col, y + k * kBlock, sum);
      float* to = last ? d : run;
      const int64_t pitch = last ? stride : NV * L;
#pragma GCC unroll 8
      for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) {
          V v = sum[i][j];
          if (k != k0) v = v + V::load(run + (i * NV + j) * L);
          if (last && (add || k0 != 0)) v = v + V::load(d + i * stride + j * L);
          v.store(to + i * pitch + j * L);
        }
    }
  }
}

template <int MR, int NV>
static void product_tile(int64_t depth, const float* v, int64_t v_block, const float* u, float* m) {
  const auto row = [=](int64_t k) { return v + k / kBlock * v_block + k % kBlock; };
  sums<MR, NV>(depth, row, 1, kBlock, u, m, kBlock, false);
}

template <int MR, int NV>
static void weight_tile(int64_t tiles, const float* m, const float* v, float* du, int64_t ldu, bool add) {
  const auto row = [=](int64_t t) { return m + t * kBlock; };
  sums<MR, NV>(tiles, row, kBlock, 1, v, du, ldu, add);
}

// The instantiation of f<rows, vectors> for run-time numbers of both; `Weight` picks weight_tile.
template <bool Weight, int NV, int MR = kTiles>
static auto pick_rows(int64_t rows) {
  if constexpr (MR > 1)
    if (rows < MR) return pick_rows<Weight, NV, MR - 1>(rows);
  if constexpr (Weight)
    return &weight_tile<MR, NV>;
  else
    return &product_tile<MR, NV>;
}
template <bool Weight, int NV = kVectors>
static auto pick(int64_t rows, int64_t vectors) {
  if constexpr (NV > 1)
    if (vectors < NV) return pick<Weight, NV - 1>(rows, vectors);
  return pick_rows<Weight, NV>(rows);
}

static void product(int64_t tiles, int64_t width, int64_t depth, const float* v, int64_t v_block, const float* u,
                    float* m) {
  const int64_t vectors = (width + L - 1) / L;
  for (int64_t t = 0; t < tiles; t += kTiles)
    pick<false>(tiles - t, vectors)(depth, v + t * kBlock, v_block, u, m + t * kBlock);
}

static void weight_product(int64_t rows, int64_t width, int64_t tiles, const float* m, const float* v, float* du,
                           int64_t ldu, bool add) {
  const int64_t vectors = (width + L - 1) / L;
  for (int64_t i = 0; i < rows; i += kTiles) pick<true>(rows - i, vectors)(tiles, m + i, v, du + i * ldu, ldu, add);
}

extern constinit const WinogradTable winograd_table = {L, kBlock, kTiles, gather, scatter, product, weight_product};

}  // namespace mg::cpu::MG_ISA_NS
