// Pooling over the last two dims: max (with indices), average, their adaptive forms, and the adjoints.
//
// A plane is one (H, W) image of one channel; planes are independent and are what threads share out. half and bfloat16
// are compared and summed in float. PoolAxis (../core/pool_axis.h) maps output positions to input ranges. Meta:
// ../core/meta_pool.cpp.
#include <limits>

#include "../core/op.h"
#include "../core/parallel.h"
#include "../core/pool_axis.h"
#include "gemm.h"

namespace mg::cpu {

namespace {

struct Axes {
  PoolAxis h, w;
  int64_t in() const { return h.size * w.size; }
  int64_t out() const { return h.out * w.out; }
};

PoolAxis axis_of(int d, int64_t size, int64_t out, const Dims& kernel, const Dims& stride, const Dims& padding,
                 const Dims& dilation) {
  const auto at = [d](const Dims& v) { return v[v.size() == 1 ? 0 : d]; };
  PoolAxis a{size, at(kernel), at(stride.empty() ? kernel : stride), at(padding), at(dilation), false};
  a.out = out;
  return a;
}
Axes windows(const TensorImpl& big, const TensorImpl& small, const Dims& kernel, const Dims& stride,
             const Dims& padding, const Dims& dilation) {
  const int d = big.dim() - 2;
  return {axis_of(0, big.sizes[d], small.sizes[d], kernel, stride, padding, dilation),
          axis_of(1, big.sizes[d + 1], small.sizes[d + 1], kernel, stride, padding, dilation)};
}
Axes adaptive(const TensorImpl& big, const TensorImpl& small) {
  const int d = big.dim() - 2;
  Axes a{{big.sizes[d], 1, 1, 0, 1, false}, {big.sizes[d + 1], 1, 1, 0, 1, false}};
  a.h.out = small.sizes[d], a.w.out = small.sizes[d + 1];
  a.h.adaptive = a.w.adaptive = true;
  return a;
}

// The type that half and bfloat16 are computed in.
template <class T>
struct WideOf {
  using type = T;
};
template <>
struct WideOf<half> {
  using type = float;
};
template <>
struct WideOf<bfloat16> {
  using type = float;
};
template <class T>
using Wide = typename WideOf<T>::type;

// A contiguous output to write into, copied to where the caller wants it at the end.
struct Target {
  const Tensor& result;
  Tensor out;
  explicit Target(const Tensor& r) : result(r), out(r->contiguous ? r : empty(r.sizes(), r.dtype())) {}
  void finish() const {
    if (!out.is(result)) copy_into(result, out);
  }
};

template <class F>
void over_planes(int64_t planes, int64_t cost, F&& f) {
  parallel_for(0, planes, ceil_div(32 * 1024, std::max<int64_t>(cost, 1)), [&](int64_t b, int64_t e) {
    for (int64_t p = b; p < e; ++p) f(p);
  });
}

template <class T>
T lowest() {
  using Limits = std::numeric_limits<T>;
  return Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
}

template <class T>
void max_plane(const Axes& a, const T* x, T* y, int64_t* index) {
  for (int64_t i = 0; i < a.h.out; ++i) {
    const int64_t h0 = a.h.first(i), h1 = a.h.last(i);
    for (int64_t j = 0; j < a.w.out; ++j, ++y, ++index) {
      const int64_t w0 = a.w.first(j), w1 = a.w.last(j);
      if (h0 >= h1 || w0 >= w1) {  // a dilated window can step over a tiny input: nothing to take a maximum of
        *y = T(lowest<Wide<T>>());
        *index = 0;
        continue;
      }
      int64_t best = h0 * a.w.size + w0;
      Wide<T> top = x[best];
      for (int64_t h = h0; h < h1; h += a.h.dilation)
        for (int64_t w = w0; w < w1; w += a.w.dilation) {
          const Wide<T> v = x[h * a.w.size + w];
          if (v > top || v != v) top = v, best = h * a.w.size + w;  // as PyTorch: the first maximum, the last NaN
        }
      *y = T(top);
      *index = best;
    }
  }
}

void max_pool(Invocation& inv, const Axes& a) {
  const Target out(inv.outs[0]), indices(inv.outs[1]);
  const Tensor x = contiguous(inv.tensor(0));
  const int64_t planes = out.out.numel() / a.out();
  dispatch(x.dtype(), [&]<class T>(T) {
    over_planes(planes, a.out() * a.h.kernel * a.w.kernel + a.in() / 4, [&](int64_t p) {
      max_plane(a, x.ptr<T>() + p * a.in(), out.out.ptr<T>() + p * a.out(), indices.out.ptr<int64_t>() + p * a.out());
    });
  });
  out.finish();
  indices.finish();
}
void max_pool2d_cpu(Invocation& inv) {
  max_pool(inv, windows(inv.in(0), inv.out(), inv.ints(1), inv.ints(2), inv.ints(3), inv.ints(4)));
}
void adaptive_max_pool2d_cpu(Invocation& inv) { max_pool(inv, adaptive(inv.in(0), inv.out())); }

// What a window's sum is divided by: PyTorch counts padding (but not what ceil_mode adds beyond it) unless told
// otherwise.
struct Divisor {
  bool count_padding = false;
  int64_t fixed = 0;
  int64_t operator()(const Axes& a, int64_t i, int64_t j) const {
    if (fixed != 0) return fixed;
    if (count_padding) return (a.h.stop(i) - a.h.start(i)) * (a.w.stop(j) - a.w.start(j));
    return (a.h.last(i) - a.h.first(i)) * (a.w.last(j) - a.w.first(j));
  }
};

template <class T>
void average_plane(const Axes& a, const Divisor& divisor, const T* x, T* y) {
  for (int64_t i = 0; i < a.h.out; ++i)
    for (int64_t j = 0; j < a.w.out; ++j) {
      Wide<T> sum = 0;
      for (int64_t h = a.h.first(i); h < a.h.last(i); ++h)
        for (int64_t w = a.w.first(j); w < a.w.last(j); ++w) sum += Wide<T>(x[h * a.w.size + w]);
      *y++ = T(sum / Wide<T>(divisor(a, i, j)));
    }
}

// The adjoint: every output's gradient is spread evenly over its window. `dx` starts at zero.
template <class T>
void spread_plane(const Axes& a, const Divisor& divisor, const T* g, Wide<T>* dx) {
  for (int64_t i = 0; i < a.h.out; ++i)
    for (int64_t j = 0; j < a.w.out; ++j) {
      const Wide<T> share = Wide<T>(*g++) / Wide<T>(divisor(a, i, j));
      for (int64_t h = a.h.first(i); h < a.h.last(i); ++h)
        for (int64_t w = a.w.first(j); w < a.w.last(j); ++w) dx[h * a.w.size + w] += share;
    }
}

template <class F>
void dispatch_floating(DType d, F&& f) {
  switch (d) {
    case DType::Float16:
      return f(half{});
    case DType::BFloat16:
      return f(bfloat16{});
    case DType::Float64:
      return f(double{});
    case DType::Float32:
      return f(float{});
    default:
      MG_INTERNAL(false, "pooling of ", d, " passed its meta");
  }
}

void average(Invocation& inv, const Axes& a, const Divisor& divisor) {
  const Target out(inv.outs[0]);
  const Tensor x = contiguous(inv.tensor(0));
  dispatch_floating(x.dtype(), [&]<class T>(T) {
    over_planes(out.out.numel() / a.out(), a.out() * a.h.kernel * a.w.kernel + a.in(),
                [&](int64_t p) { average_plane(a, divisor, x.ptr<T>() + p * a.in(), out.out.ptr<T>() + p * a.out()); });
  });
  out.finish();
}

void spread(Invocation& inv, const Axes& a, const Divisor& divisor) {
  const Target out(inv.outs[0]);
  const Tensor g = contiguous(inv.tensor(0));
  dispatch_floating(g.dtype(), [&]<class T>(T) {
    over_planes(out.out.numel() / a.in(), a.out() * a.h.kernel * a.w.kernel + a.in(), [&](int64_t p) {
      Wide<T>* sums = scratch<Wide<T>>(ScratchSlot::Image, a.in());
      std::fill_n(sums, a.in(), Wide<T>(0));
      spread_plane(a, divisor, g.ptr<T>() + p * a.out(), sums);
      T* dx = out.out.ptr<T>() + p * a.in();
      for (int64_t i = 0; i < a.in(); ++i) dx[i] = T(sums[i]);
    });
  });
  out.finish();
}

Divisor divisor_of(const Invocation& inv, int count_padding) {
  return {inv.b(count_padding), inv.has(count_padding + 1) ? inv.i(count_padding + 1) : 0};
}
void avg_pool2d_cpu(Invocation& inv) {
  average(inv, windows(inv.in(0), inv.out(), inv.ints(1), inv.ints(2), inv.ints(3), Dims{1}), divisor_of(inv, 5));
}
void avg_pool2d_backward_cpu(Invocation& inv) {
  spread(inv, windows(inv.out(), inv.in(0), inv.ints(2), inv.ints(3), inv.ints(4), Dims{1}), divisor_of(inv, 6));
}
void adaptive_avg_pool2d_cpu(Invocation& inv) { average(inv, adaptive(inv.in(0), inv.out()), {}); }
void adaptive_avg_pool2d_backward_cpu(Invocation& inv) { spread(inv, adaptive(inv.out(), inv.in(0)), {}); }

struct FlatPlanes {
  int64_t big, small, planes;
  FlatPlanes(const TensorImpl& b, const TensorImpl& s) : big(plane(b)), small(plane(s)), planes(1) {
    for (int d = 0; d + 2 < b.dim(); ++d) planes *= b.sizes[d];
  }
  static int64_t plane(const TensorImpl& t) { return t.sizes[t.dim() - 2] * t.sizes[t.dim() - 1]; }
};

int64_t checked(int64_t index, int64_t size, const char* op) {
  MG_CHECK(index >= 0 && index < size, Index, op, ": index ", index, " is out of range for a plane of ", size,
           " elements.");
  return index;
}

void pool_scatter_cpu(Invocation& inv) {
  const Target out(inv.outs[0]);
  const Tensor g = contiguous(inv.tensor(0)), indices = contiguous(inv.tensor(1));
  const FlatPlanes f(inv.out(), inv.in(0));
  dispatch_floating(g.dtype(), [&]<class T>(T) {
    over_planes(f.planes, f.big + f.small, [&](int64_t p) {
      Wide<T>* sums = scratch<Wide<T>>(ScratchSlot::Image, f.big);
      std::fill_n(sums, f.big, Wide<T>(0));
      const int64_t* index = indices.ptr<int64_t>() + p * f.small;
      const T* src = g.ptr<T>() + p * f.small;
      for (int64_t i = 0; i < f.small; ++i) sums[checked(index[i], f.big, "max_pool2d gradient")] += Wide<T>(src[i]);
      T* dx = out.out.ptr<T>() + p * f.big;
      for (int64_t i = 0; i < f.big; ++i) dx[i] = T(sums[i]);
    });
  });
  out.finish();
}

void pool_gather_cpu(Invocation& inv) {
  const Target out(inv.outs[0]);
  const Tensor x = contiguous(inv.tensor(0)), indices = contiguous(inv.tensor(1));
  const FlatPlanes f(inv.in(0), inv.in(1));
  dispatch(x.dtype(), [&]<class T>(T) {
    over_planes(f.planes, f.small, [&](int64_t p) {
      const int64_t* index = indices.ptr<int64_t>() + p * f.small;
      const T* src = x.ptr<T>() + p * f.big;
      T* y = out.out.ptr<T>() + p * f.small;
      for (int64_t i = 0; i < f.small; ++i) y[i] = src[checked(index[i], f.big, "max_pool2d gradient")];
    });
  });
  out.finish();
}

}  // namespace

MG_KERNEL("max_pool2d_with_indices", CPU, max_pool2d_cpu);
MG_KERNEL("adaptive_max_pool2d_with_indices", CPU, adaptive_max_pool2d_cpu);
MG_KERNEL("avg_pool2d", CPU, avg_pool2d_cpu);
MG_KERNEL("_avg_pool2d_backward", CPU, avg_pool2d_backward_cpu);
MG_KERNEL("adaptive_avg_pool2d", CPU, adaptive_avg_pool2d_cpu);
MG_KERNEL("_adaptive_avg_pool2d_backward", CPU, adaptive_avg_pool2d_backward_cpu);
MG_KERNEL("_pool_scatter", CPU, pool_scatter_cpu);
MG_KERNEL("_pool_gather", CPU, pool_gather_cpu);

}  // namespace mg::cpu
