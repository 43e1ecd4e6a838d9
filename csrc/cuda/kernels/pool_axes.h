// Windows of the pooling kernels (pool.cu, pool_average.cu): how output positions of up to three dims map to ranges of input positions, and
// back. A plane is the spatial part of one channel, seen as (D, H, W) with leading sizes of 1. The rules are those of
// ../../core/pool_axis.h, worked out in device code for one position at a time.
#pragma once
#include "../kernel.h"

namespace mg::cuda {

struct WindowAxis {
  int64_t size = 1, kernel = 1, stride = 1, padding = 0, dilation = 1, out = 1;
  bool adaptive = false;

  MG_DEVICE int64_t start(int64_t i) const { return adaptive ? i * size / out : i * stride - padding; }
  MG_DEVICE int64_t stop(int64_t i) const {
    if (adaptive) return ((i + 1) * size + out - 1) / out;
    const int64_t end = start(i) + dilation * (kernel - 1) + 1;
    return end < size + padding ? end : size + padding;
  }
  // Without padding; steps of `dilation` from first() stay on the window's grid.
  MG_DEVICE int64_t first(int64_t i) const {
    const int64_t s = start(i);
    return s >= 0 ? s : s + (-s + dilation - 1) / dilation * dilation;
  }
  MG_DEVICE int64_t last(int64_t i) const {
    const int64_t end = stop(i);
    return end < size ? end : size;
  }
  // The windows that hold position `at` (dilation 1): [first_window, last_window].
  MG_DEVICE int64_t first_window(int64_t at) const {
    if (adaptive) return at * out / size;
    const int64_t from = at + padding - kernel + 1;
    return from <= 0 ? 0 : (from + stride - 1) / stride;
  }
  MG_DEVICE int64_t last_window(int64_t at) const {
    const int64_t w = adaptive ? ((at + 1) * out + size - 1) / size - 1 : (at + padding) / stride;
    return w < out ? w : out - 1;
  }
};

struct WindowAxes {
  WindowAxis d, h, w;
  WindowAxis& operator[](int i) { return i == 0 ? d : i == 1 ? h : w; }
  MG_DEVICE int64_t in() const { return d.size * h.size * w.size; }
  MG_DEVICE int64_t out() const { return d.out * h.out * w.out; }
};

// (plane, d, h, w) of element i of planes of d x h x w.
struct PlanePlace {
  int64_t plane, d, h, w;
};
MG_DEVICE PlanePlace plane_place(int64_t i, int64_t d, int64_t h, int64_t w) {
  PlanePlace p;
  p.w = i % w, i /= w;
  p.h = i % h, i /= h;
  p.d = i % d, p.plane = i / d;
  return p;
}

// Number of spatial dims: that of the list argument k.
inline int dims_of(const Invocation& inv, int k) { return inv.args[k].len; }
inline int64_t dim_value(const Dims& v, int d) { return v[v.size() == 1 ? 0 : d]; }

// `big` is the side that windows look at, `small` holds one element per window.
inline WindowAxes windows(const TensorImpl& big, const TensorImpl& small, int dims, const Dims& kernel, const Dims& step, const Dims& padding,
                          const Dims& dilation) {
  const Dims& stride = step.empty() ? kernel : step;
  WindowAxes a;
  for (int i = 0; i < dims; ++i) {
    const int d = big.dim() - dims + i;
    a[3 - dims + i] = {big.sizes[d],           dim_value(kernel, i), dim_value(stride, i), dim_value(padding, i),
                       dim_value(dilation, i), small.sizes[d],       false};
  }
  return a;
}
inline WindowAxes adaptive_windows(const TensorImpl& big, const TensorImpl& small, int dims) {
  WindowAxes a;
  for (int i = 0; i < dims; ++i) {
    const int d = big.dim() - dims + i;
    a[3 - dims + i] = {big.sizes[d], 1, 1, 0, 1, small.sizes[d], true};
  }
  return a;
}

}  // namespace mg::cuda
