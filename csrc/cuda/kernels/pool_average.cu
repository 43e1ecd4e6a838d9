// Average pooling over the last 1 to 3 dims, its adaptive form, and their adjoints. One thread per element; the adjoint gathers from the
// windows that hold it, in order. pool_axes.h has the windows. Meta: ../../core/meta_pool.cpp.
#include "pool_axes.h"

namespace mg::cuda {
namespace {

// What a window's sum is divided by: PyTorch counts padding (but not what ceil_mode adds beyond it) unless told otherwise.
struct Divisor {
  bool count_padding = false;
  int64_t fixed = 0;
  MG_DEVICE int64_t operator()(const WindowAxes& a, int64_t od, int64_t oh, int64_t ow) const {
    if (fixed != 0) return fixed;
    if (count_padding) return (a.d.stop(od) - a.d.start(od)) * (a.h.stop(oh) - a.h.start(oh)) * (a.w.stop(ow) - a.w.start(ow));
    return (a.d.last(od) - a.d.first(od)) * (a.h.last(oh) - a.h.first(oh)) * (a.w.last(ow) - a.w.first(ow));
  }
};

// sum / n; an integer divides as C does, and wraps.
template <class T, class W>
MG_DEVICE T quotient(W sum, int64_t n) {
  if constexpr (std::is_integral_v<T>) return n == -1 ? T(0 - uint64_t(sum)) : T(int64_t(sum) / n);
  else return convert<T>(W(sum / W(n)));
}

template <class T>
__global__ void average_kernel(WindowAxes a, Divisor divisor, const T* x, T* y, int64_t count) {
  using W = std::conditional_t<std::is_integral_v<T>, uint64_t, compute_t<T>>;
  MG_GRID_LOOP(i, count) {
    const PlanePlace o = plane_place(i, a.d.out, a.h.out, a.w.out);
    const T* plane = x + o.plane * a.in();
    W sum = 0;
    for (int64_t d = a.d.first(o.d), d1 = a.d.last(o.d); d < d1; ++d)
      for (int64_t h = a.h.first(o.h), h1 = a.h.last(o.h); h < h1; ++h)
        for (int64_t w = a.w.first(o.w), w1 = a.w.last(o.w); w < w1; ++w) sum += convert<W>(plane[(d * a.h.size + h) * a.w.size + w]);
    y[i] = quotient<T>(sum, divisor(a, o.d, o.h, o.w));
  }
}

// The adjoint: every output's gradient is spread evenly over its window.
template <class T>
__global__ void spread_kernel(WindowAxes a, Divisor divisor, const T* g, T* dx, int64_t count) {
  using W = compute_t<T>;
  MG_GRID_LOOP(i, count) {
    const PlanePlace at = plane_place(i, a.d.size, a.h.size, a.w.size);
    const T* plane = g + at.plane * a.out();
    W sum = 0;
    for (int64_t d = a.d.first_window(at.d), d1 = a.d.last_window(at.d); d <= d1; ++d)
      for (int64_t h = a.h.first_window(at.h), h1 = a.h.last_window(at.h); h <= h1; ++h)
        for (int64_t w = a.w.first_window(at.w), w1 = a.w.last_window(at.w); w <= w1; ++w)
          sum += convert<W>(plane[(d * a.h.out + h) * a.w.out + w]) / W(divisor(a, d, h, w));
    dx[i] = convert<T>(sum);
  }
}

void average(Invocation& inv, const WindowAxes& a, const Divisor& divisor) {
  if (inv.out().numel == 0) return;
  const Tensor x = contiguous(inv.tensor(0));
  const StagedOut out(inv.outs[0], x.dtype());
  const auto run = [&](auto tag) {
    using T = decltype(tag);
    launch_items(average_kernel<T>, inv.out().numel, a, divisor, static_cast<const T*>(x.ptr<T>()), out.template ptr<T>(), inv.out().numel);
  };
  if (x.dtype() == DType::Int64) run(int64_t{});
  else dispatch_floating(x.dtype(), run);
  out.commit();
}

void spread(Invocation& inv, const WindowAxes& a, const Divisor& divisor) {
  if (inv.out().numel == 0) return;
  const Tensor g = contiguous(inv.tensor(0));
  const StagedOut out(inv.outs[0], g.dtype());
  dispatch_floating(g.dtype(), [&](auto tag) {
    using T = decltype(tag);
    launch_items(spread_kernel<T>, inv.out().numel, a, divisor, static_cast<const T*>(g.ptr<T>()), out.template ptr<T>(), inv.out().numel);
  });
  out.commit();
}

Divisor divisor_of(const Invocation& inv, int count_padding) {
  return {inv.b(count_padding), inv.has(count_padding + 1) ? inv.i(count_padding + 1) : 0};
}
void avg_pool_cuda(Invocation& inv) {
  average(inv, windows(inv.in(0), inv.out(), dims_of(inv, 1), inv.ints(1), inv.ints(2), inv.ints(3), Dims{1}), divisor_of(inv, 5));
}
void avg_pool_backward_cuda(Invocation& inv) {
  spread(inv, windows(inv.out(), inv.in(0), dims_of(inv, 1), inv.ints(2), inv.ints(3), inv.ints(4), Dims{1}), divisor_of(inv, 6));
}
void adaptive_avg_pool_cuda(Invocation& inv) { average(inv, adaptive_windows(inv.in(0), inv.out(), dims_of(inv, 1)), {}); }
void adaptive_avg_pool_backward_cuda(Invocation& inv) { spread(inv, adaptive_windows(inv.out(), inv.in(0), dims_of(inv, 1)), {}); }

MG_CUDA_KERNEL("_avg_pool", avg_pool_cuda);
MG_CUDA_KERNEL("_avg_pool_backward", avg_pool_backward_cuda);
MG_CUDA_KERNEL("_adaptive_avg_pool", adaptive_avg_pool_cuda);
MG_CUDA_KERNEL("_adaptive_avg_pool_backward", adaptive_avg_pool_backward_cuda);

}  // namespace
}  // namespace mg::cuda
