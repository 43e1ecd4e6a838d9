// Resampling along one dim: the host works out the table of taps (../../core/resample_taps.h: every device chooses equal positions), the
// device adds them up, one thread per element; the adjoint walks the same table the other way. Meta: ../../core/meta_interpolate.cpp.
#include "../../core/reduce_dims.h"
#include "../../core/resample_taps.h"
#include "../kernel.h"
#include "copy.h"

namespace mg::cuda {
namespace {

// x and y are (outer, size, inner); taps of output i: [start[i], start[i + 1]).
template <class T>
__global__ void weigh_kernel(const int64_t* start, const int64_t* index, const T* weight, const T* x, T* y, int64_t in, int64_t out, int64_t inner,
                             int64_t count) {
  MG_GRID_LOOP(at, count) {
    const int64_t j = at % inner, row = at / inner, i = row % out;
    const T* from = x + row / out * in * inner + j;
    T sum = 0;
    for (int64_t k = start[i], end = start[i + 1]; k < end; ++k) sum += weight[k] * from[index[k] * inner];
    y[at] = sum;
  }
}

// Nearest neighbours of any dtype: one tap each.
template <class U>
__global__ void nearest_kernel(const int64_t* index, const U* x, U* y, int64_t in, int64_t out, int64_t inner, int64_t count) {
  MG_GRID_LOOP(at, count) {
    const int64_t j = at % inner, row = at / inner;
    y[at] = x[(row / out * in + index[row % out]) * inner + j];
  }
}

template <class V>
Tensor on_device(const std::vector<V>& values, DType dtype, Device device) {
  return uploaded(values.data(), int64_t(values.size()), dtype, device);
}

template <class T>
void weigh(const resample::Taps<T>& taps, const DimView& view, int64_t size, const Tensor& x, T* y) {
  const DType dtype = dtype_of<T>();
  const Tensor start = on_device(taps.start, DType::Int64, x.device()), index = on_device(taps.index, DType::Int64, x.device());
  const Tensor weight = on_device(taps.weight, dtype, x.device());
  const int64_t count = view.outer * size * view.inner;
  launch_items(weigh_kernel<T>, count, static_cast<const int64_t*>(start.ptr<int64_t>()), static_cast<const int64_t*>(index.ptr<int64_t>()),
               static_cast<const T*>(weight.ptr<T>()), static_cast<const T*>(x.ptr<T>()), y, view.size, size, view.inner, count);
}

template <class F>
void dispatch_single_double(DType d, F&& f) {
  if (d == DType::Float64) return f(double{});
  f(float{});
}

struct Call {
  const TensorImpl& in;
  DimView view;
  int64_t size;
  explicit Call(const Invocation& inv)
      : in(inv.in(0)), view(in.sizes, inv.i(1) < 0 ? inv.i(1) + in.dim() : inv.i(1)), size(inv.i(2)) {}
};
resample::ResampleRule rule_of(const Invocation& inv, int64_t in, int64_t out) {
  return {in, out, inv.args[3].str, inv.b(4), inv.has(5) ? inv.f(5) : 0.0, inv.b(6)};
}

// (input, dim, size, mode, align_corners, scale?, antialias)
void resample_cuda(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const Call call(inv);
  const resample::ResampleRule rule = rule_of(inv, call.view.size, call.size);
  const DType dtype = call.in.dtype;
  const Tensor x = staged(call.in, dtype);
  const StagedOut out(inv.outs[0], dtype);
  if (rule.mode.starts_with("nearest")) {
    const Tensor index = on_device(resample::taps_of<float>(rule).index, DType::Int64, x.device());
    dispatch_bits(itemsize(dtype), [&](auto bits) {
      using U = decltype(bits);
      launch_items(nearest_kernel<U>, inv.out().numel, static_cast<const int64_t*>(index.ptr<int64_t>()), static_cast<const U*>(x.ptr<U>()),
                   out.template ptr<U>(), call.view.size, call.size, call.view.inner, inv.out().numel);
    });
  } else {
    dispatch_single_double(dtype, [&](auto tag) {
      using T = decltype(tag);
      weigh(resample::taps_of<T>(rule), call.view, call.size, x, out.template ptr<T>());
    });
  }
  out.commit();
}

// (grad, dim, input size, mode, align_corners, scale?, antialias): the adjoint
void resample_backward_cuda(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const Call call(inv);
  const resample::ResampleRule rule = rule_of(inv, call.size, call.view.size);
  const DType dtype = call.in.dtype;
  const Tensor grad = staged(call.in, dtype);
  const StagedOut out(inv.outs[0], dtype);
  dispatch_single_double(dtype, [&](auto tag) {
    using T = decltype(tag);
    weigh(resample::adjoint(resample::taps_of<T>(rule), call.size), call.view, call.size, grad, out.template ptr<T>());
  });
  out.commit();
}

MG_CUDA_KERNEL("_resample", resample_cuda);
MG_CUDA_KERNEL("_resample_backward", resample_backward_cuda);

}  // namespace
}  // namespace mg::cuda
