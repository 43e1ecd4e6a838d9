// Sampling of images and volumes at the points of a grid, and its gradients. A point becomes up to 16 taps (../../core/grid_taps.h, the text
// that the CPU runs). The gradient of the input is added up per pixel in the order of the points (chains.h): no floating atomics.
// Meta: ../../core/meta_interpolate.cpp. Source: Jaderberg et al., Spatial Transformer Networks, arXiv:1506.02025.
#include "../../core/grid_taps.h"
#include "chains.h"

namespace mg::cuda {
namespace {

using namespace grid;
constexpr int kMostTaps = 16;

template <class T>
__global__ void grid_sample_kernel(GridSampling s, int64_t channels, int64_t in, int64_t points, const T* input, const T* grid, T* out,
                                   int64_t count) {
  MG_GRID_LOOP(i, count) {
    const int64_t image = i / points, p = i - image * points;
    GridTaps<T> taps;
    point_taps<T>(s, grid + i * s.dims, taps, nullptr);
    const T* x = input + image * channels * in;
    T* y = out + image * channels * points + p;
    for (int64_t c = 0; c < channels; ++c, x += in, y += points) {
      T sum = 0;
      for (int k = 0; k < taps.count; ++k) sum += taps.weight[k] * x[taps.index[k]];
      *y = sum;
    }
  }
}

// The gradient of each point, and its taps: weights, and links of the pixels' chains.
template <class T>
__global__ void grid_slopes_kernel(GridSampling s, int64_t channels, int64_t in, int64_t points, const T* g, const T* input, const T* grid,
                                   T* dgrid, T* weights, int* head, int* next, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const int64_t image = i / points, p = i - image * points;
    GridTaps<T> taps;
    GridSlopes<T> slopes;
    point_taps<T>(s, grid + i * s.dims, taps, &slopes);
    T sum[3] = {0, 0, 0};
    for (int64_t c = 0; c < channels; ++c) {
      const T gc = g[(image * channels + c) * points + p];
      for (int k = 0; k < taps.count; ++k) {
        const T x = input[(image * channels + c) * in + taps.index[k]];
        for (int d = 0; d < 3; ++d) sum[d] += gc * x * slopes.by[k][d];
      }
    }
    for (int d = 0; d < s.dims; ++d) dgrid[i * s.dims + d] = sum[d];
    for (int k = 0; k < taps.count; ++k) {
      weights[i * kMostTaps + k] = taps.weight[k];
      chain_to(head + image * in, next + image * points * kMostTaps, taps.index[k], int(p * kMostTaps + k));
    }
  }
}

template <class T>
__global__ void grid_input_kernel(int64_t channels, int64_t in, int64_t points, const T* g, const T* weights, const int* head, const int* next,
                                  T* dinput, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const int64_t pixel = i % in, plane = i / in, image = plane / channels, first = image * points * kMostTaps;
    T sum = 0;
    for (int link = head[image * in + pixel]; link >= 0; link = next[first + link])
      sum += g[plane * points + link / kMostTaps] * weights[first + link];
    dinput[i] = sum;
  }
}

template <class F>
void dispatch_single_double(DType d, F&& f) {
  if (d == DType::Float64) return f(double{});
  f(float{});
}

// _grid_sample(input, grid, mode, padding_mode, align_corners)
void grid_sample_cuda(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const GridShape shape(inv, 0);
  const DType dtype = float_compute(inv.compute);
  const Tensor input = staged(inv.in(0), dtype), points = staged(inv.in(1), dtype);
  const StagedOut out(inv.outs[0], dtype);
  dispatch_single_double(dtype, [&](auto tag) {
    using T = decltype(tag);
    const int64_t count = shape.n * shape.points;
    launch_items(grid_sample_kernel<T>, count, shape.s, shape.channels, shape.in, shape.points, static_cast<const T*>(input.ptr<T>()),
                 static_cast<const T*>(points.ptr<T>()), out.template ptr<T>(), count);
  });
  out.commit();
}

// _grid_sample_backward(g, input, grid, mode, padding_mode, align_corners) -> dinput, dgrid
void grid_sample_backward_cuda(Invocation& inv) {
  const GridShape shape(inv, 1);
  const DType dtype = float_compute(inv.compute);
  const Tensor g = staged(inv.in(0), dtype), input = staged(inv.in(1), dtype), points = staged(inv.in(2), dtype);
  const StagedOut dinput(inv.outs[0], dtype), dgrid(inv.outs[1], dtype);
  dispatch_single_double(dtype, [&](auto tag) {
    using T = decltype(tag);
    const int64_t count = shape.n * shape.points, places = shape.n * shape.channels * shape.in;
    const Chains chains(inv.op.name.c_str(), shape.n, shape.in, shape.points * kMostTaps, g.device());
    const Tensor weights = workspace(std::max<int64_t>(count * kMostTaps, 1), dtype, g.device());
    launch_items(grid_slopes_kernel<T>, count, shape.s, shape.channels, shape.in, shape.points, static_cast<const T*>(g.ptr<T>()),
                 static_cast<const T*>(input.ptr<T>()), static_cast<const T*>(points.ptr<T>()), dgrid.template ptr<T>(), weights.ptr<T>(),
                 chains.head(), chains.next(), count);
    chains.sort();
    launch_items(grid_input_kernel<T>, places, shape.channels, shape.in, shape.points, static_cast<const T*>(g.ptr<T>()),
                 static_cast<const T*>(weights.ptr<T>()), static_cast<const int*>(chains.head()), static_cast<const int*>(chains.next()),
                 dinput.template ptr<T>(), places);
  });
  dinput.commit();
  dgrid.commit();
}

MG_CUDA_KERNEL("_grid_sample", grid_sample_cuda);
MG_CUDA_KERNEL("_grid_sample_backward", grid_sample_backward_cuda);

}  // namespace
}  // namespace mg::cuda
