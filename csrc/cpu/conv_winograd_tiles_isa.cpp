// The transforms of Winograd convolution for one instruction set. A scheme is one-dimensional, applied to columns and
// then to rows; conv_winograd.h is the map, the legend and the algebra.
//
// A scheme takes kIn inputs, kStep apart from tile to tile, gives kOut outputs through kPos products, and has kU
// different transformed weights: the products from kU - 1 on share the last one.
#include "conv_winograd_lanes.h"

namespace mg::cpu::MG_ISA_NS {

namespace {

// F(2, 3), stride 1.
struct Unit {
  static constexpr int kIn = 4, kStep = 2, kOut = 2, kPos = 4, kU = 4;
  static MG_INL void input(V a, V b, V c, V d, V (&v)[kPos]) { v[0] = a - c, v[1] = b + c, v[2] = c - b, v[3] = b - d; }
  static MG_INL void input(const V (&x)[kIn], V (&v)[kPos]) { input(x[0], x[1], x[2], x[3], v); }
  static MG_INL void output(const V (&m)[kPos], V (&y)[kOut]) { y[0] = m[0] + m[1] + m[2], y[1] = m[1] - m[2] - m[3]; }
  static MG_INL void grad(V a, V b, V (&m)[kPos]) { m[0] = a, m[1] = a + b, m[2] = a - b, m[3] = -b; }
  static MG_INL void weight(V a, V b, V c, V (&u)[kU]) {
    const V half(0.5f), ends = (a + c) * half, mid = b * half;
    u[0] = a, u[1] = ends + mid, u[2] = ends - mid, u[3] = c;
  }
  static MG_INL void weight_grad(const V (&u)[kU], V (&w)[3]) {
    const V half(0.5f), sum = (u[1] + u[2]) * half;
    w[0] = u[0] + sum, w[1] = (u[1] - u[2]) * half, w[2] = sum + u[3];
  }
};

// Stride 2: F(2, 2) for the outer taps, which meet every second input, and two products for the middle one.
struct Strided {
  static constexpr int kIn = 5, kStep = 4, kOut = 2, kPos = 5, kU = 4;
  static MG_INL void input(const V (&x)[kIn], V (&v)[kPos]) {
    v[0] = x[0] - x[2], v[1] = x[2], v[2] = x[4] - x[2], v[3] = x[1], v[4] = x[3];
  }
  static MG_INL void output(const V (&m)[kPos], V (&y)[kOut]) { y[0] = m[0] + m[1] + m[3], y[1] = m[1] + m[2] + m[4]; }
  static MG_INL void grad(V a, V b, V (&m)[kPos]) { m[0] = a, m[1] = a + b, m[2] = b, m[3] = a, m[4] = b; }
  static MG_INL void weight(V a, V b, V c, V (&u)[kU]) { u[0] = a, u[1] = a + c, u[2] = c, u[3] = b; }
  static MG_INL void weight_grad(const V (&u)[kU], V (&w)[3]) { w[0] = u[0] + u[1], w[1] = u[3], w[2] = u[1] + u[2]; }
};

// Its adjoint from the gradient of the output to that of the input; the weights come flipped.
struct StridedAdjoint {
  static constexpr int kIn = 3, kStep = 2, kOut = 4, kPos = 5, kU = 4;
  static MG_INL void input(const V (&x)[kIn], V (&v)[kPos]) {
    v[0] = x[0] - x[1], v[1] = x[1], v[2] = x[2] - x[1], v[3] = x[0], v[4] = x[1];
  }
  static MG_INL void output(const V (&m)[kPos], V (&y)[kOut]) {
    y[0] = m[3], y[1] = m[0] + m[1], y[2] = m[4], y[3] = m[1] + m[2];
  }
  static MG_INL void weight(V a, V b, V c, V (&u)[kU]) { Strided::weight(a, b, c, u); }
};

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

template <class S>
void weights(const float* w, int64_t lane_stride, int64_t k_stride, int lanes, int64_t depth, bool flip, float* u,
             int64_t xi_stride) {
  for (int64_t k = 0; k < depth; ++k, w += k_stride, u += kBlock) {
    V tap[kPieces * L], rows[S::kU][3];
    load_taps(w, lane_stride, lanes, tap);
#pragma GCC unroll 4
    for (int j = 0; j < 3; ++j) {
      V column[S::kU];
      if (flip)
        S::weight(tap[8 - j], tap[5 - j], tap[2 - j], column);
      else
        S::weight(tap[j], tap[3 + j], tap[6 + j], column);
#pragma GCC unroll 4
      for (int i = 0; i < S::kU; ++i) rows[i][j] = column[i];
    }
#pragma GCC unroll 4
    for (int i = 0; i < S::kU; ++i) {
      V out[S::kU];
      S::weight(rows[i][0], rows[i][1], rows[i][2], out);
#pragma GCC unroll 4
      for (int j = 0; j < S::kU; ++j) out[j].store(u + (S::kU * i + j) * xi_stride);
    }
  }
}

template <class S>
MG_INL void input_column(const float* p, int64_t pitch, V (&out)[S::kPos]) {
  V x[S::kIn];
#pragma GCC unroll 8
  for (int i = 0; i < S::kIn; ++i) x[i] = V::load(p + i * pitch);
  S::input(x, out);
}

template <class S>
void input_tiles(const float* p, int64_t rows, int64_t cols, float* v, int64_t xi_stride) {
  constexpr int kShared = S::kIn - S::kStep;  // a tile's last columns are the first of the next
  const int64_t pitch = (S::kStep * cols + kShared) * L;
  for (int64_t row = 0; row < rows; ++row, p += S::kStep * pitch) {
    V done[S::kIn][S::kPos];  // columns, transformed
#pragma GCC unroll 8
    for (int j = 0; j < kShared; ++j) input_column<S>(p + j * L, pitch, done[j]);
    for (int64_t col = 0; col < cols; ++col, v += kBlock) {
#pragma GCC unroll 8
      for (int j = kShared; j < S::kIn; ++j) input_column<S>(p + (S::kStep * col + j) * L, pitch, done[j]);
#pragma GCC unroll 8
      for (int i = 0; i < S::kPos; ++i) {
        V x[S::kIn], out[S::kPos];
#pragma GCC unroll 8
        for (int j = 0; j < S::kIn; ++j) x[j] = done[j][i];
        S::input(x, out);
#pragma GCC unroll 8
        for (int j = 0; j < S::kPos; ++j) out[j].store(v + (S::kPos * i + j) * xi_stride);
#pragma GCC unroll 8
        for (int j = 0; j < kShared; ++j) done[j][i] = done[S::kStep + j][i];
      }
    }
  }
}

template <class S>
void grad_tiles(const float* p, int64_t rows, int64_t cols, float* v, int64_t xi_stride) {
  const int64_t pitch = 2 * cols * L;
  for (int64_t row = 0; row < rows; ++row, p += 2 * pitch)
    for (int64_t col = 0; col < cols; ++col, v += kBlock) {
      V columns[2][S::kPos];
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j)
        S::grad(V::load(p + (2 * col + j) * L), V::load(p + pitch + (2 * col + j) * L), columns[j]);
#pragma GCC unroll 8
      for (int i = 0; i < S::kPos; ++i) {
        V out[S::kPos];
        S::grad(columns[0][i], columns[1][i], out);
#pragma GCC unroll 8
        for (int j = 0; j < S::kPos; ++j) out[j].store(v + (S::kPos * i + j) * xi_stride);
      }
    }
}

template <class S>
void output_tiles(const float* m, int64_t xi_stride, int64_t rows, int64_t cols, int64_t height, int64_t width,
                  float* q) {
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t col = 0; col < cols; ++col, m += kBlock) {
      V columns[S::kOut][S::kPos];
#pragma GCC unroll 8
      for (int j = 0; j < S::kPos; ++j) {
        V x[S::kPos], y[S::kOut];
#pragma GCC unroll 8
        for (int i = 0; i < S::kPos; ++i) x[i] = V::load(m + (S::kPos * i + j) * xi_stride);
        S::output(x, y);
#pragma GCC unroll 4
        for (int i = 0; i < S::kOut; ++i) columns[i][j] = y[i];
      }
#pragma GCC unroll 4
      for (int i = 0; i < S::kOut; ++i) {
        if (S::kOut * row + i >= height) break;
        V y[S::kOut];
        S::output(columns[i], y);
        float* d = q + ((S::kOut * row + i) * width + S::kOut * col) * L;
#pragma GCC unroll 4
        for (int j = 0; j < S::kOut; ++j)
          if (j == 0 || S::kOut * col + j < width) y[j].store(d + j * L);
      }
    }
}

template <class S>
bool weight_out(const float* du, int64_t xi_stride, int64_t slices, int64_t slice_stride, int lanes, float* dw) {
  V rows[3][S::kU], tap[kPieces * L];
#pragma GCC unroll 4
  for (int j = 0; j < S::kU; ++j) {
    V s[S::kU], out[3];
    for (int i = 0; i < S::kU; ++i) {
      const float* p = du + (S::kU * i + j) * xi_stride;
      s[i] = V::load(p);
      for (int64_t k = 1; k < slices; ++k) s[i] = s[i] + V::load(p + k * slice_stride);
    }
    S::weight_grad(s, out);
#pragma GCC unroll 4
    for (int i = 0; i < 3; ++i) rows[i][j] = out[i];
  }
  V wrong(0.0f);
#pragma GCC unroll 4
  for (int i = 0; i < 3; ++i) {
    V out[3];
    S::weight_grad(rows[i], out);
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

template <class S>
constexpr WinogradScheme forward_scheme() {
  return {S::kPos,        S::kU,         S::kStep,      S::kIn - S::kStep, S::kOut,
          weights<S>, input_tiles<S>, output_tiles<S>, grad_tiles<S>, weight_out<S>};
}

}  // namespace

extern constinit const WinogradSchemes winograd_schemes = {
    forward_scheme<Unit>(),
    forward_scheme<Strided>(),
    {StridedAdjoint::kPos, StridedAdjoint::kU, StridedAdjoint::kStep, StridedAdjoint::kIn - StridedAdjoint::kStep,
     StridedAdjoint::kOut, weights<StridedAdjoint>, input_tiles<StridedAdjoint>, output_tiles<StridedAdjoint>, nullptr,
     nullptr}};

}  // namespace mg::cpu::MG_ISA_NS
