// Sampling of images and volumes at the points of a grid (spatial transformers), and its gradients.
//
// A point becomes up to 16 taps (../core/grid_taps.h); all channels then share them. Forward: threads share the points.
// Backward: threads share the images, so that nothing is written twice. Meta: ../core/meta_interpolate.cpp.
// Source: Jaderberg et al., Spatial Transformer Networks, arXiv:1506.02025.
#include "../core/grid_taps.h"
#include "../core/op.h"
#include "../core/parallel.h"
#include "staged.h"

namespace mg::cpu {

namespace {

using namespace grid;

constexpr int kPoints = 32;  // points whose taps are worked out before the channels are walked

template <class T>
T weighted(const GridTaps<T>& taps, const T* x) {
  if (taps.count == 4)  // bilinear, inside: the common case
    return taps.weight[0] * x[taps.index[0]] + taps.weight[1] * x[taps.index[1]] + taps.weight[2] * x[taps.index[2]] +
           taps.weight[3] * x[taps.index[3]];
  T sum = 0;
  for (int k = 0; k < taps.count; ++k) sum += taps.weight[k] * x[taps.index[k]];
  return sum;
}

// _grid_sample(input, grid, mode, padding_mode, align_corners)
void grid_sample_cpu(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const GridShape shape(inv, 0);
  const DType dtype = float_compute(inv.compute);
  const Tensor input = staged(inv.in(0), dtype), points = staged(inv.in(1), dtype);
  const StagedOut out(inv.outs[0], dtype);
  dispatch_float(dtype, [&](auto tag) {
    using T = decltype(tag);
    const int64_t blocks = (shape.points + kPoints - 1) / kPoints;
    const int64_t grain = std::max<int64_t>(8192 / (kPoints * std::max<int64_t>(shape.channels, 1)), 1);
    parallel_for(0, shape.n * blocks, grain, [&](int64_t begin, int64_t end) {
      GridTaps<T> taps[kPoints];
      for (int64_t b = begin; b < end; ++b) {
        const int64_t image = b / blocks, p = b % blocks * kPoints,
                      count = std::min<int64_t>(shape.points - p, kPoints);
        const T* at = points.ptr<T>() + (image * shape.points + p) * shape.s.dims;
        for (int64_t i = 0; i < count; ++i) point_taps<T>(shape.s, at + i * shape.s.dims, taps[i], nullptr);
        const T* x = input.ptr<T>() + image * shape.channels * shape.in;
        T* y = out.ptr<T>() + image * shape.channels * shape.points + p;
        for (int64_t c = 0; c < shape.channels; ++c, x += shape.in, y += shape.points)
          for (int64_t i = 0; i < count; ++i) y[i] = weighted(taps[i], x);
      }
    });
  });
  out.commit();
}

// _grid_sample_backward(g, input, grid, mode, padding_mode, align_corners) -> dinput, dgrid
void grid_sample_backward_cpu(Invocation& inv) {
  const GridShape shape(inv, 1);
  const DType dtype = float_compute(inv.compute);
  const Tensor g = staged(inv.in(0), dtype), input = staged(inv.in(1), dtype), points = staged(inv.in(2), dtype);
  const StagedOut dinput(inv.outs[0], dtype), dgrid(inv.outs[1], dtype);
  dispatch_float(dtype, [&](auto tag) {
    using T = decltype(tag);
    const int64_t image_size = shape.channels * shape.in;
    parallel_for(0, shape.n, 1, [&](int64_t begin, int64_t end) {
      GridTaps<T> taps;
      GridSlopes<T> slopes;
      for (int64_t image = begin; image < end; ++image) {
        T* dx = dinput.ptr<T>() + image * image_size;
        const T* x = input.ptr<T>() + image * image_size;
        std::fill_n(dx, image_size, T(0));
        for (int64_t p = 0; p < shape.points; ++p) {
          const int64_t at = (image * shape.points + p) * shape.s.dims;
          point_taps(shape.s, points.ptr<T>() + at, taps, &slopes);
          const T* gy = g.ptr<T>() + image * shape.channels * shape.points + p;
          T slope[3] = {0, 0, 0};
          for (int64_t c = 0; c < shape.channels; ++c)
            for (int k = 0; k < taps.count; ++k) {
              const int64_t i = c * shape.in + taps.index[k];
              const T gc = gy[c * shape.points];
              dx[i] += gc * taps.weight[k];
              for (int d = 0; d < 3; ++d) slope[d] += gc * x[i] * slopes.by[k][d];
            }
          for (int d = 0; d < shape.s.dims; ++d) dgrid.ptr<T>()[at + d] = slope[d];
        }
      }
    });
  });
  dinput.commit();
  dgrid.commit();
}

}  // namespace

MG_KERNEL("_grid_sample", CPU, grid_sample_cpu);
MG_KERNEL("_grid_sample_backward", CPU, grid_sample_backward_cpu);

}  // namespace mg::cpu
