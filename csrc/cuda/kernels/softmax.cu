// softmax, log_softmax and their gradients along any dim (groups.h: which threads share a line). A line is read once and written once:
// 2 n elements moved forwards, 3 n backwards (g and the result in, dx out); lines of more than 8192 elements are read twice.
#include "groups.h"

#include "../../core/reduce_dims.h"

namespace mg::cuda {
namespace {

template <class C>
struct Softness {  // maximum so far, and the sum of exp(x - maximum)
  C top, sum;
};

// A line of -inf alone gives NaN, as in PyTorch: exp(-inf - -inf).
template <class C>
struct MergeSoftness {
  __device__ Softness<C> operator()(Softness<C> a, Softness<C> b) const {
    if (b.sum == 0) return a;  // nothing seen yet
    if (a.sum == 0) return b;
    const C top = a.top > b.top || a.top != a.top ? a.top : b.top;
    return {top, a.sum * exp(a.top - top) + b.sum * exp(b.top - top)};
  }
};

template <class T, class S>
__global__ void softmax_kernel(T* y, const T* x, Lines lines, bool log_form) {
  using C = compute_t<T>;
  const typename S::G group(lines);
  const Line<T, S::V, S::held> line(group, lines, x);
  C top, sum;
  if constexpr (S::held) {
    top = -std::numeric_limits<C>::infinity();
    line.each([&](C v, int64_t) { top = top > v || top != top ? top : v; });
    top = group.reduce(top, [](C a, C b) { return a > b || a != a ? a : b; });
    sum = 0;
    line.each([&](C v, int64_t) { sum += exp(v - top); });
    sum = group.reduce(sum, [](C a, C b) { return a + b; });
  } else {
    Softness<C> s{-std::numeric_limits<C>::infinity(), 0};
    line.packs([&](int64_t, const C* v) {
      Softness<C> now{v[0], 0};
      for (int k = 1; k < S::V; ++k) now.top = now.top > v[k] || now.top != now.top ? now.top : v[k];
      for (int k = 0; k < S::V; ++k) now.sum += exp(v[k] - now.top);
      if (now.top == -std::numeric_limits<C>::infinity()) now.sum = 0;
      s = MergeSoftness<C>{}(s, now);
    });
    s = group.reduce(s, MergeSoftness<C>{});
    top = s.top, sum = s.sum;
  }
  if (line.size == 0) return;
  T* to = y + (line.x - x);
  if (log_form) {
    const C shift = log(sum);
    line.write(to, [&](C v, int64_t) { return (v - top) - shift; });
  } else {
    const C scale = 1 / sum;
    line.write(to, [&](C v, int64_t) { return exp(v - top) * scale; });
  }
}

template <class T, class S>
__global__ void softmax_backward_kernel(T* dx, const T* g, const T* y, Lines lines, bool log_form) {
  using C = compute_t<T>;
  const typename S::G group(lines);
  const Line<T, S::V, S::held> gradient(group, lines, g), result(group, lines, y);
  C sum = 0;
  // The two lines have the same layout: element k of a pack of one goes with element k of the other's.
  if constexpr (S::held) {
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const int64_t at = (int64_t(k / S::V) * gradient.width + gradient.lane) * S::V;
      if (at < gradient.size) sum += log_form ? gradient.kept[k] : gradient.kept[k] * result.kept[k];
    }
  } else {
    gradient.each([&](C v, int64_t at) { sum += log_form ? v : v * convert<C>(result.x[at * result.step]); });
  }
  sum = group.reduce(sum, [](C a, C b) { return a + b; });
  if (gradient.size == 0) return;
  T* to = dx + (gradient.x - g);
  [[maybe_unused]] int k = 0;
  gradient.write(to, [&](C v, int64_t at) {
    C r;
    if constexpr (S::held) r = result.kept[k++];
    else r = convert<C>(result.x[at * result.step]);
    return log_form ? v - exp(r) * sum : (v - sum) * r;
  });
}

Lines lines_of(const Invocation& inv, int dim_arg) {
  const TensorImpl& x = inv.in(0);
  const DimView v(x.sizes, x.dim() == 0 ? 0 : wrap_dim(inv.i(dim_arg), x.dim(), inv.op.name.c_str()));
  return {v.outer, v.size, v.inner};
}

void forward(Invocation& inv, bool log_form) {
  const Lines lines = lines_of(inv, 1);
  const DType dtype = common_float(inv.in(0).dtype, inv.out().dtype, inv.compute);
  const Tensor x = staged(inv.in(0), dtype);
  const StagedOut out(inv.outs[0], dtype);
  dispatch_floating(dtype, [&](auto tag) {
    using T = decltype(tag);
    for_lines<T>(lines, aligned16(x.ptr<T>()) && aligned16(out.template ptr<T>()), [&](auto shape, int64_t blocks, dim3 block) {
      launch(softmax_kernel<T, decltype(shape)>, dim3(unsigned(blocks)), block, 0, current_stream(), out.template ptr<T>(),
             x.ptr<T>(), lines, log_form);
    });
  });
  out.commit();
}

void backward(Invocation& inv, bool log_form) {
  const Lines lines = lines_of(inv, 2);
  const bool same = inv.in(0).dtype == inv.in(1).dtype;
  const DType dtype = same ? common_float(inv.in(0).dtype, inv.out().dtype, inv.compute) : float_compute(inv.compute);
  const Tensor g = staged(inv.in(0), dtype), y = staged(inv.in(1), dtype);
  const StagedOut out(inv.outs[0], dtype);
  dispatch_floating(dtype, [&](auto tag) {
    using T = decltype(tag);
    const bool aligned = aligned16(g.ptr<T>()) && aligned16(y.ptr<T>()) && aligned16(out.template ptr<T>());
    for_lines<T>(lines, aligned, [&](auto shape, int64_t blocks, dim3 block) {
      launch(softmax_backward_kernel<T, decltype(shape)>, dim3(unsigned(blocks)), block, 0, current_stream(), out.template ptr<T>(),
             g.ptr<T>(), y.ptr<T>(), lines, log_form);
    });
  });
  out.commit();
}

void softmax_cuda(Invocation& inv) { forward(inv, false); }
void log_softmax_cuda(Invocation& inv) { forward(inv, true); }
void softmax_backward_cuda(Invocation& inv) { backward(inv, false); }
void log_softmax_backward_cuda(Invocation& inv) { backward(inv, true); }

MG_CUDA_KERNEL("softmax", softmax_cuda);
MG_CUDA_KERNEL("log_softmax", log_softmax_cuda);
MG_CUDA_KERNEL("_softmax_backward", softmax_backward_cuda);
MG_CUDA_KERNEL("_log_softmax_backward", log_softmax_backward_cuda);

}  // namespace
}  // namespace mg::cuda
