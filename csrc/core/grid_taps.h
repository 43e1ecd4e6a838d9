// What a point of a sampling grid (spatial transformers) reads: up to 16 taps, flat positions in a channel with weights, and the
// derivatives of the weights by the point's coordinates. Border rules and constants are PyTorch's. Host and device code: the
// grid_sample kernels of both devices use it.
#pragma once
#include <cmath>

#include "op.h"

#if defined(__CUDACC__)
#define MG_GRID __host__ __device__ __forceinline__
#else
#define MG_GRID inline
#endif

namespace mg::grid {

enum GridMode : int64_t { Bilinear, Nearest, Bicubic };
enum GridBorder : int64_t { Zeros, Clamp, Reflect };

struct GridSampling {
  int dims;         // 2 or 3
  int64_t size[3];  // input sizes in the order of the grid's coordinates: W, H, D
  int64_t step[3];  // distance of neighbours in a channel
  GridMode mode;
  GridBorder border;
  bool align_corners;
};

template <class T>
struct GridTaps {
  int count = 0;
  int64_t index[16];
  T weight[16];
};
template <class T>
struct GridSlopes {
  T by[16][3];  // derivative of each weight by each grid coordinate
};

template <class T>
MG_GRID T limit(T v, int64_t size, T& slope) {
  if (v <= 0) return slope = 0, T(0);
  if (v >= T(size - 1)) return slope = 0, T(size - 1);
  return v;
}

// Position v inside the image by the border rule; `slope` is multiplied by its derivative.
template <class T>
MG_GRID T place(T v, int64_t size, GridBorder border, bool align_corners, T& slope) {
  if (border == Reflect) {
    const T low = align_corners ? T(0) : T(-0.5), span = align_corners ? T(size - 1) : T(size);
    if (span <= 0) {
      slope = 0;
      v = 0;
    } else {
      v -= low;
      if (v < 0) v = -v, slope = -slope;
      const T extra = std::fmod(v, span), flips = std::floor(v / span);
      if (std::fmod(flips, T(2)) == 0)
        v = extra + low;
      else
        v = span - extra + low, slope = -slope;
    }
  }
  if (border != Zeros) v = limit(v, size, slope);
  // What no integer can hold, NaN included, is outside.
  return v > T(-1e9) && v < T(1e9) ? v : T(-100);
}

// Coordinate in [-1, 1] to a position in pixels; `slope` becomes the derivative.
template <class T>
MG_GRID T pixel(T v, int64_t size, bool align_corners, T& slope) {
  slope = (align_corners ? T(size - 1) : T(size)) / 2;
  return align_corners ? (v + 1) / 2 * T(size - 1) : ((v + 1) * T(size) - 1) / 2;
}

// The weights of one coordinate: `n` taps from `first`, each with its derivative.
template <class T>
struct AxisTaps {
  int n;
  int64_t at[4];  // -1: outside
  T weight[4], slope[4];
};

template <class T>
MG_GRID void cubic_weights(T t, T* w, T* dw) {
  constexpr T a = T(-0.75);
  const T x[4] = {t + 1, t, 1 - t, 2 - t}, sign[4] = {1, 1, -1, -1};
  for (int k = 0; k < 4; ++k) {
    const bool outer = k == 0 || k == 3;
    w[k] = outer ? ((a * x[k] - 5 * a) * x[k] + 8 * a) * x[k] - 4 * a : ((a + 2) * x[k] - (a + 3)) * x[k] * x[k] + 1;
    dw[k] = sign[k] * (outer ? (3 * a * x[k] - 10 * a) * x[k] + 8 * a : (3 * (a + 2) * x[k] - 2 * (a + 3)) * x[k]);
  }
}

template <class T>
MG_GRID AxisTaps<T> axis_taps(const GridSampling& s, int d, T coordinate) {
  AxisTaps<T> a{};
  const int64_t size = s.size[d];
  T slope;
  T v = pixel(coordinate, size, s.align_corners, slope);
  const auto inside = [&](int64_t i) { return i >= 0 && i < size ? i : -1; };
  if (s.mode == Bicubic) {
    T unused = 1;
    v = place(v, size, Zeros, s.align_corners, unused);
    const T base = std::floor(v);
    a.n = 4;
    cubic_weights(v - base, a.weight, a.slope);
    for (int k = 0; k < 4; ++k) {
      a.slope[k] *= slope;
      a.at[k] = inside(int64_t(place(base - 1 + T(k), size, s.border, s.align_corners, unused)));
    }
    return a;
  }
  v = place(v, size, s.border, s.align_corners, slope);
  if (s.mode == Nearest) {
    a.n = 1;
    a.at[0] = inside(int64_t(std::nearbyint(v)));
    a.weight[0] = 1;
    return a;
  }
  const T base = std::floor(v);
  a.n = 2;
  for (int k = 0; k < 2; ++k) a.at[k] = inside(int64_t(base) + k);
  a.weight[0] = base + 1 - v, a.weight[1] = v - base;
  a.slope[0] = -slope, a.slope[1] = slope;
  return a;
}

// All combinations of the coordinates' taps that lie inside; `slopes` may be null.
template <class T>
MG_GRID void point_taps(const GridSampling& s, const T* point, GridTaps<T>& taps, GridSlopes<T>* slopes) {
  AxisTaps<T> a[3]{};
  for (int d = 0; d < s.dims; ++d) a[d] = axis_taps(s, d, point[d]);
  if (s.dims == 2) a[2] = AxisTaps<T>{1, {0}, {1}, {0}};
  taps.count = 0;
  for (int k = 0; k < a[2].n; ++k)
    for (int j = 0; j < a[1].n; ++j)
      for (int i = 0; i < a[0].n; ++i) {
        if (a[0].at[i] < 0 || a[1].at[j] < 0 || a[2].at[k] < 0) continue;
        const int c = taps.count++;
        taps.index[c] = a[0].at[i] * s.step[0] + a[1].at[j] * s.step[1] + a[2].at[k] * s.step[2];
        taps.weight[c] = a[0].weight[i] * a[1].weight[j] * a[2].weight[k];
        if (slopes == nullptr) continue;
        slopes->by[c][0] = a[0].slope[i] * a[1].weight[j] * a[2].weight[k];
        slopes->by[c][1] = a[0].weight[i] * a[1].slope[j] * a[2].weight[k];
        slopes->by[c][2] = a[0].weight[i] * a[1].weight[j] * a[2].slope[k];
      }
}

// Sizes of one call; `x` and `grid` are the forward op's operands, their arguments begin at k.
struct GridShape {
  GridSampling s;
  int64_t n, channels, in, points;  // in: elements of one input channel; points: grid points of one image
  GridShape(const Invocation& inv, int k) {
    const TensorImpl &x = inv.in(k), &grid = inv.in(k + 1);
    s.dims = x.dim() - 2;
    s.mode = GridMode(inv.i(k + 2));
    s.border = GridBorder(inv.i(k + 3));
    s.align_corners = inv.b(k + 4);
    n = x.sizes[0], channels = x.sizes[1], in = points = 1;
    for (int d = 0; d < 3; ++d) s.size[d] = 1, s.step[d] = 0;
    for (int d = 0; d < s.dims; ++d) {
      s.size[d] = x.sizes[x.dim() - 1 - d];
      s.step[d] = in;
      in *= s.size[d];
      points *= grid.sizes[1 + d];
    }
  }
};

}  // namespace mg::grid
