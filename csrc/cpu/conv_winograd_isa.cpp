// Loops of Winograd convolution for one instruction set; conv_winograd.h is the map and the legend.
#include "conv_winograd.h"
#include "gemm_pack.h"

namespace mg::cpu::MG_ISA_NS {

using V = Vec<float>;
constexpr int L = V::size;
#if defined(__AVX512F__)
constexpr int kTiles = 6, kVectors = 4;  // 24 sums, 4 of U and a broadcast of 32 registers
#elif defined(__AVX2__)
constexpr int kTiles = 6, kVectors = 2;  // 12 sums, 2 and 1 of 16
#else
constexpr int kTiles = 4, kVectors = 2;
#endif
constexpr int kBlock = kVectors * L;

MG_INL void transpose_square(V (&r)[L]) {
  V::V raw[L];
#pragma GCC unroll 16
  for (int i = 0; i < L; ++i) raw[i] = r[i].v;
  transpose<L>(raw);
#pragma GCC unroll 16
  for (int i = 0; i < L; ++i) r[i].v = raw[i];
}

// Row i of a tile of `lanes` rows, n columns each; zero outside.
MG_INL void load_square(const float* x, int64_t stride, int lanes, int n, V (&r)[L]) {
  if (lanes == L && n == L) {
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) r[i] = V::load(x + i * stride);
    return;
  }
#pragma GCC unroll 16
  for (int i = 0; i < L; ++i) r[i] = i < lanes ? V::load(x + i * stride, n) : V(0.0f);
}

// [row, 3 values] -> 4 values of G.
MG_INL void times_g(V a, V b, V c, V (&out)[4]) {
  const V half(0.5f), ends = (a + c) * half, mid = b * half;
  out[0] = a, out[1] = ends + mid, out[2] = ends - mid, out[3] = c;
}

constexpr int kTaps = 9, kPieces = (kTaps + L - 1) / L;

// The 3x3 kernels of L channels as 9 vectors.
MG_INL void load_taps(const float* w, int64_t lane_stride, int lanes, V (&tap)[kPieces * L]) {
#pragma GCC unroll 4
  for (int piece = 0; piece < kPieces; ++piece) {
    V r[L];
    load_square(w + piece * L, lane_stride, lanes, kTaps - piece * L < L ? kTaps - piece * L : L, r);
    transpose_square(r);
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) tap[piece * L + i] = r[i];
  }
}

static void weights(const float* w, int64_t lane_stride, int64_t k_stride, int lanes, int64_t depth, bool flip,
                    float* u, int64_t xi_stride) {
  for (int64_t k = 0; k < depth; ++k, w += k_stride, u += kBlock) {
    V tap[kPieces * L], rows[4][3];
    load_taps(w, lane_stride, lanes, tap);
#pragma GCC unroll 4
    for (int j = 0; j < 3; ++j) {
      V column[4];
      if (flip)
        times_g(tap[8 - j], tap[5 - j], tap[2 - j], column);
      else
        times_g(tap[j], tap[3 + j], tap[6 + j], column);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) rows[i][j] = column[i];
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      V out[4];
      times_g(rows[i][0], rows[i][1], rows[i][2], out);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) out[j].store(u + (4 * i + j) * xi_stride);
    }
  }
}

MG_INL void zeros(float* p, int64_t vectors) {
  for (int64_t i = 0; i < vectors; ++i) V(0.0f).store(p + i * L);
}

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

// B^T applied to four values.
MG_INL void times_b(V a, V b, V c, V d, V (&out)[4]) { out[0] = a - c, out[1] = b + c, out[2] = c - b, out[3] = b - d; }

MG_INL void input_column(const float* p, int64_t pitch, V (&out)[4]) {
  times_b(V::load(p), V::load(p + pitch), V::load(p + 2 * pitch), V::load(p + 3 * pitch), out);
}

static void input_tiles(const float* p, int64_t rows, int64_t cols, float* v, int64_t xi_stride) {
  const int64_t pitch = (2 * cols + 2) * L;
  for (int64_t row = 0; row < rows; ++row, p += 2 * pitch) {
    V done[4][4];  // columns of B^T d; the last two of a tile are the first two of the next
    input_column(p, pitch, done[0]);
    input_column(p + L, pitch, done[1]);
    for (int64_t col = 0; col < cols; ++col, v += kBlock) {
      input_column(p + (2 * col + 2) * L, pitch, done[2]);
      input_column(p + (2 * col + 3) * L, pitch, done[3]);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        V out[4];
        times_b(done[0][i], done[1][i], done[2][i], done[3][i], out);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) out[j].store(v + (4 * i + j) * xi_stride);
        done[0][i] = done[2][i], done[1][i] = done[3][i];
      }
    }
  }
}

static void grad_tiles(const float* p, int64_t rows, int64_t cols, float* v, int64_t xi_stride) {
  const int64_t pitch = 2 * cols * L;
  for (int64_t row = 0; row < rows; ++row, p += 2 * pitch)
    for (int64_t col = 0; col < cols; ++col, v += kBlock) {
      V half[4][2];
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        const V a = V::load(p + (2 * col + j) * L), b = V::load(p + pitch + (2 * col + j) * L);
        half[0][j] = a, half[1][j] = a + b, half[2][j] = a - b, half[3][j] = -b;
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const V a = half[i][0], b = half[i][1];
        a.store(v + 4 * i * xi_stride);
        (a + b).store(v + (4 * i + 1) * xi_stride);
        (a - b).store(v + (4 * i + 2) * xi_stride);
        (-b).store(v + (4 * i + 3) * xi_stride);
      }
    }
}

static void output_tiles(const float* m, int64_t xi_stride, int64_t rows, int64_t cols, int64_t height, int64_t width,
                         float* q) {
  for (int64_t row = 0; row < rows; ++row) {
    const bool two_rows = 2 * row + 1 < height;
    for (int64_t col = 0; col < cols; ++col, m += kBlock) {
      V half[2][4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const V a = V::load(m + j * xi_stride), b = V::load(m + (4 + j) * xi_stride),
                c = V::load(m + (8 + j) * xi_stride), d = V::load(m + (12 + j) * xi_stride);
        half[0][j] = a + b + c, half[1][j] = b - c - d;
      }
      const bool two = 2 * col + 1 < width;
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        if (i == 1 && !two_rows) break;
        float* d = q + ((2 * row + i) * width + 2 * col) * L;
        (half[i][0] + half[i][1] + half[i][2]).store(d);
        if (two) (half[i][1] - half[i][2] - half[i][3]).store(d + L);
      }
    }
  }
}

// Sums of 64 products are added up on their own: one long chain would lose digits that the definition's code keeps.
constexpr int64_t kChain = kBlock < 64 ? 64 : kBlock;

template <int MR, int NV>
static void product_tile(int64_t depth, const float* v, int64_t v_block, const float* u, float* m) {
  for (int64_t first = 0; first < depth; first += kChain) {
    V acc[MR][NV];
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) acc[i][j] = V(0.0f);
    const int64_t stop = depth - first < kChain ? depth : first + kChain;
    for (int64_t k0 = first; k0 < stop; k0 += kBlock, v += v_block) {
      const int64_t n = stop - k0 < kBlock ? stop - k0 : kBlock;
      for (int64_t k = 0; k < n; ++k, u += kBlock) {
        V row[NV];
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j) row[j] = V::load(u + j * L);
#pragma GCC unroll 8
        for (int i = 0; i < MR; ++i) {
          const V x(v[i * kBlock + k]);
#pragma GCC unroll 4
          for (int j = 0; j < NV; ++j) acc[i][j] = fma(x, row[j], acc[i][j]);
        }
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) {
        float* d = m + i * kBlock + j * L;
        (first == 0 ? acc[i][j] : acc[i][j] + V::load(d)).store(d);
      }
  }
}

template <int MR, int NV>
static void weight_tile(int64_t tiles, const float* m, const float* v, float* du, int64_t ldu, bool add) {
  V acc[MR][NV];
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) acc[i][j] = add ? V::load(du + i * ldu + j * L) : V(0.0f);
  for (int64_t t = 0; t < tiles; ++t, v += kBlock, m += kBlock) {
    V row[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) row[j] = V::load(v + j * L);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
      const V x(m[i]);
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) acc[i][j] = fma(x, row[j], acc[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) acc[i][j].store(du + i * ldu + j * L);
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

// G^T applied to four values.
MG_INL void times_gt(V a, V b, V c, V d, V (&out)[3]) {
  const V half(0.5f), sum = (b + c) * half;
  out[0] = a + sum, out[1] = (b - c) * half, out[2] = sum + d;
}

static bool weight_out(const float* du, int64_t xi_stride, int64_t slices, int64_t slice_stride, int lanes, float* dw) {
  V rows[3][4], tap[kPieces * L];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    V s[4], out[3];
    for (int i = 0; i < 4; ++i) {
      const float* p = du + (4 * i + j) * xi_stride;
      s[i] = V::load(p);
      for (int64_t k = 1; k < slices; ++k) s[i] = s[i] + V::load(p + k * slice_stride);
    }
    times_gt(s[0], s[1], s[2], s[3], out);
#pragma GCC unroll 4
    for (int i = 0; i < 3; ++i) rows[i][j] = out[i];
  }
  V wrong(0.0f);
#pragma GCC unroll 4
  for (int i = 0; i < 3; ++i) {
    V out[3];
    times_gt(rows[i][0], rows[i][1], rows[i][2], rows[i][3], out);
#pragma GCC unroll 4
    for (int j = 0; j < 3; ++j) tap[3 * i + j] = out[j], wrong = fma(out[j], V(0.0f), wrong);
  }
  for (int i = kTaps; i < kPieces * L; ++i) tap[i] = V(0.0f);
#pragma GCC unroll 4
  for (int piece = 0; piece < kPieces; ++piece) {
    V r[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) r[i] = tap[piece * L + i];
    transpose_square(r);
    const int n = kTaps - piece * L < L ? kTaps - piece * L : L;
    for (int i = 0; i < lanes; ++i) r[i].store(dw + i * kTaps + piece * L, n);
  }
  return !any(wrong != wrong);
}

extern constinit const WinogradTable winograd_table = {
    L,           kBlock,     kTiles,       weights, gather,         scatter,
    input_tiles, grad_tiles, output_tiles, product, weight_product, weight_out};

}  // namespace mg::cpu::MG_ISA_NS
