// Pooling over the last 1 to 3 dims: max (with indices), average, their adaptive and fractional forms, and the
// adjoints.
//
// A plane is the spatial part of one channel, seen as (D, H, W) with leading sizes of 1 for images and sequences;
// planes are independent and are what threads share out. Each dim's windows are worked out once per call (Axis).
// half and bfloat16 are compared and summed in float. PoolAxis (../core/pool_axis.h) has the window rules. Meta:
// ../core/meta_pool.cpp.
#include <limits>
#include <vector>

#include "../core/op.h"
#include "../core/parallel.h"
#include "../core/pool_axis.h"
#include "gemm.h"

namespace mg::cpu {

namespace {

// The windows of one dim: input positions [first, last) in steps of `dilation`; `span` counts padding as well.
struct Axis {
  int64_t size = 1, dilation = 1;
  std::vector<int64_t> first{0}, last{1}, span{1};

  Axis() = default;
  explicit Axis(const PoolAxis& a) : size(a.size), dilation(a.dilation), first(0), last(0), span(0) {
    for (int64_t i = 0; i < a.out; ++i) {
      first.push_back(a.first(i));
      last.push_back(a.last(i));
      span.push_back(a.stop(i) - a.start(i));
    }
  }
  int64_t out() const { return int64_t(first.size()); }
};

struct Axes {
  Axis d, h, w;
  Axis& operator[](int i) { return i == 0 ? d : i == 1 ? h : w; }
  int64_t in() const { return d.size * h.size * w.size; }
  int64_t out() const { return d.out() * h.out() * w.out(); }
  int64_t window() const { return (d.last[0] - d.first[0]) * (h.last[0] - h.first[0]) * (w.last[0] - w.first[0]); }
  int64_t cost() const { return out() == 0 ? in() : out() * window() + in() / 4; }
};

int64_t at(const Dims& v, int d) { return v[v.size() == 1 ? 0 : d]; }

// `big` is the side that windows look at, `small` holds one element per window.
Axes windows(const TensorImpl& big, const TensorImpl& small, int dims, const Dims& kernel, const Dims& step,
             const Dims& padding, const Dims& dilation) {
  const Dims& stride = step.empty() ? kernel : step;
  Axes a;
  for (int i = 0; i < dims; ++i) {
    const int d = big.dim() - dims + i;
    PoolAxis p{big.sizes[d], at(kernel, i), at(stride, i), at(padding, i), at(dilation, i), false};
    p.out = small.sizes[d];
    a[3 - dims + i] = Axis(p);
  }
  return a;
}
Axes adaptive(const TensorImpl& big, const TensorImpl& small, int dims) {
  Axes a;
  for (int i = 0; i < dims; ++i) {
    const int d = big.dim() - dims + i;
    PoolAxis p{big.sizes[d], 1, 1, 0, 1, false};
    p.out = small.sizes[d];
    p.adaptive = true;
    a[3 - dims + i] = Axis(p);
  }
  return a;
}

// Number of spatial dims: that of the list argument k.
int dims_of(const Invocation& inv, int k) { return inv.args[k].len; }

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

// Positions and values of the maxima of one plane; as PyTorch, the first of equals, but the last NaN. What the loops
// need is in locals: the compiler must assume that writing `index` changes the windows' vectors.
template <class T>
void max_plane(const Axes& a, const T* x, T* y, int64_t* index) {
  const int64_t H = a.h.size, W = a.w.size, outputs = a.w.out(), step_d = a.d.dilation, step_h = a.h.dilation,
                step_w = a.w.dilation;
  const int64_t *const w_first = a.w.first.data(), *const w_last = a.w.last.data();
  for (int64_t od = 0; od < a.d.out(); ++od)
    for (int64_t oh = 0; oh < a.h.out(); ++oh) {
      const int64_t d0 = a.d.first[od], d1 = a.d.last[od], h0 = a.h.first[oh], h1 = a.h.last[oh];
      for (int64_t ow = 0; ow < outputs; ++ow) {
        const int64_t w0 = w_first[ow], w1 = w_last[ow];
        // a dilated window can step over a tiny input: no maximum
        const bool empty = d0 >= d1 || h0 >= h1 || w0 >= w1;
        int64_t best = empty ? 0 : (d0 * H + h0) * W + w0;
        Wide<T> top = empty ? lowest<Wide<T>>() : Wide<T>(x[best]);
        for (int64_t d = d0; d < d1; d += step_d)
          for (int64_t h = h0; h < h1; h += step_h) {
            const int64_t row = (d * H + h) * W;
            for (int64_t w = w0; w < w1; w += step_w) {
              const Wide<T> v = x[row + w];
              const bool take = (v > top) | (v != v);  // chosen, not branched on: which one wins is a coin flip
              top = take ? v : top;
              best = take ? row + w : best;
            }
          }
        *y++ = T(top);
        *index++ = best;
      }
    }
}

void max_pool(Invocation& inv, const Axes& a) {
  if (inv.out().numel == 0) return;
  const Target out(inv.outs[0]), indices(inv.outs[1]);
  const Tensor x = contiguous(inv.tensor(0));
  const int64_t planes = out.out.numel() / a.out();
  dispatch(x.dtype(), [&]<class T>(T) {
    over_planes(planes, a.cost(), [&](int64_t p) {
      max_plane(a, x.ptr<T>() + p * a.in(), out.out.ptr<T>() + p * a.out(), indices.out.ptr<int64_t>() + p * a.out());
    });
  });
  out.finish();
  indices.finish();
}
void max_pool_cpu(Invocation& inv) {
  max_pool(inv, windows(inv.in(0), inv.out(), dims_of(inv, 1), inv.ints(1), inv.ints(2), inv.ints(3), inv.ints(4)));
}
void adaptive_max_pool_cpu(Invocation& inv) { max_pool(inv, adaptive(inv.in(0), inv.out(), dims_of(inv, 1))); }

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

// Windows of a fractional pool: all of one size, placed by a random number per plane and dim (Graham,
// arXiv:1412.6071); `sample` in [0, 1), the arithmetic in T as in PyTorch.
template <class T>
Axis fractional_axis(T sample, int64_t size, int64_t out, int64_t kernel) {
  Axis a;
  a.size = size;
  a.first.assign(size_t(out), 0);
  const T alpha = out > 1 ? T(size - kernel) / T(out - 1) : T(0);
  for (int64_t i = 0; i + 1 < out; ++i) {
    const int64_t start = int64_t((T(i) + sample) * alpha) - int64_t(sample * alpha);
    a.first[size_t(i)] = std::clamp<int64_t>(start, 0, size - kernel);
  }
  a.first.back() = size - kernel;
  a.last = a.span = a.first;
  for (int64_t& last : a.last) last += kernel;
  return a;
}

// (input, kernel_size, output_size, random_samples) -> out, indices
void fractional_max_pool_cpu(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const Target out(inv.outs[0]), indices(inv.outs[1]);
  const Tensor x = contiguous(inv.tensor(0)), samples = contiguous(inv.tensor(3));
  const int dims = dims_of(inv, 1);
  const Dims kernel = inv.ints(1), in_sizes(std::span(x.sizes()).last(size_t(dims))), sizes = inv.ints(2);
  int64_t in = 1, small = 1;
  for (int d = 0; d < dims; ++d) in *= in_sizes[d], small *= at(sizes, d);
  dispatch_floating(x.dtype(), [&]<class T>(T) {
    over_planes(out.out.numel() / small, 4 * in, [&](int64_t p) {
      Axes a;
      for (int d = 0; d < dims; ++d) {  // PyTorch's order of the samples: last dim first for images, first for volumes
        const int64_t k = dims == 2 ? 1 - d : d;
        a[3 - dims + d] =
            fractional_axis(Wide<T>(samples.ptr<T>()[p * dims + k]), in_sizes[d], at(sizes, d), at(kernel, d));
      }
      max_plane(a, x.ptr<T>() + p * in, out.out.ptr<T>() + p * small, indices.out.ptr<int64_t>() + p * small);
    });
  });
  out.finish();
  indices.finish();
}

// What a window's sum is divided by: PyTorch counts padding (but not what ceil_mode adds beyond it) unless told
// otherwise.
struct Divisor {
  bool count_padding = false;
  int64_t fixed = 0;
  int64_t operator()(const Axes& a, int64_t od, int64_t oh, int64_t ow) const {
    if (fixed != 0) return fixed;
    if (count_padding) return a.d.span[od] * a.h.span[oh] * a.w.span[ow];
    return (a.d.last[od] - a.d.first[od]) * (a.h.last[oh] - a.h.first[oh]) * (a.w.last[ow] - a.w.first[ow]);
  }
};

// f(first element of a run of the window, its length) for every row of window (od, oh, ow).
template <class F>
void for_window_rows(const Axes& a, int64_t od, int64_t oh, int64_t ow, F&& f) {
  for (int64_t d = a.d.first[od]; d < a.d.last[od]; ++d)
    for (int64_t h = a.h.first[oh]; h < a.h.last[oh]; ++h)
      f((d * a.h.size + h) * a.w.size + a.w.first[ow], a.w.last[ow] - a.w.first[ow]);
}

// Integers wrap.
template <class W>
W plus(W a, W b) {
  if constexpr (std::is_integral_v<W>) return W(uint64_t(a) + uint64_t(b));
  else return a + b;
}

template <class T>
void average_plane(const Axes& a, const Divisor& divisor, const T* x, T* y) {
  for (int64_t od = 0; od < a.d.out(); ++od)
    for (int64_t oh = 0; oh < a.h.out(); ++oh)
      for (int64_t ow = 0; ow < a.w.out(); ++ow) {
        Wide<T> sum = 0;
        for_window_rows(a, od, oh, ow, [&](int64_t from, int64_t n) {
          for (int64_t i = 0; i < n; ++i) sum = plus(sum, Wide<T>(x[from + i]));
        });
        const int64_t n = divisor(a, od, oh, ow);
        if constexpr (std::is_integral_v<T>)
          *y++ = n == -1 ? T(plus(~sum, Wide<T>(1))) : T(sum / n);  // the least integer has no negative: it wraps
        else
          *y++ = T(sum / Wide<T>(n));
      }
}

// The adjoint: every output's gradient is spread evenly over its window. `dx` starts at zero.
template <class T>
void spread_plane(const Axes& a, const Divisor& divisor, const T* g, Wide<T>* dx) {
  for (int64_t od = 0; od < a.d.out(); ++od)
    for (int64_t oh = 0; oh < a.h.out(); ++oh)
      for (int64_t ow = 0; ow < a.w.out(); ++ow) {
        const Wide<T> share = Wide<T>(*g++) / Wide<T>(divisor(a, od, oh, ow));
        for_window_rows(a, od, oh, ow, [&](int64_t from, int64_t n) {
          for (int64_t i = 0; i < n; ++i) dx[from + i] += share;
        });
      }
}

void average(Invocation& inv, const Axes& a, const Divisor& divisor) {
  if (inv.out().numel == 0) return;
  const Target out(inv.outs[0]);
  const Tensor x = contiguous(inv.tensor(0));
  const auto run = [&]<class T>(T) {
    over_planes(out.out.numel() / a.out(), a.cost(),
                [&](int64_t p) { average_plane(a, divisor, x.ptr<T>() + p * a.in(), out.out.ptr<T>() + p * a.out()); });
  };
  if (x.dtype() == DType::Int64)
    run(int64_t{});
  else
    dispatch_floating(x.dtype(), run);
  out.finish();
}

// Fills every plane of the output with sums that add(plane, sums) collects, in the wide type.
template <class T, class F>
void sum_planes(const Tensor& out, int64_t size, int64_t cost, F&& add) {
  if (out.numel() == 0) return;
  over_planes(out.numel() / size, cost, [&](int64_t p) {
    Wide<T>* sums = scratch<Wide<T>>(ScratchSlot::Image, size);
    std::fill_n(sums, size, Wide<T>(0));
    add(p, sums);
    T* dx = out.ptr<T>() + p * size;
    for (int64_t i = 0; i < size; ++i) dx[i] = T(sums[i]);
  });
}

void spread(Invocation& inv, const Axes& a, const Divisor& divisor) {
  const Target out(inv.outs[0]);
  const Tensor g = contiguous(inv.tensor(0));
  dispatch_floating(g.dtype(), [&]<class T>(T) {
    sum_planes<T>(out.out, a.in(), a.cost(),
                  [&](int64_t p, Wide<T>* sums) { spread_plane(a, divisor, g.ptr<T>() + p * a.out(), sums); });
  });
  out.finish();
}

Divisor divisor_of(const Invocation& inv, int count_padding) {
  return {inv.b(count_padding), inv.has(count_padding + 1) ? inv.i(count_padding + 1) : 0};
}
void avg_pool_cpu(Invocation& inv) {
  average(inv, windows(inv.in(0), inv.out(), dims_of(inv, 1), inv.ints(1), inv.ints(2), inv.ints(3), Dims{1}),
          divisor_of(inv, 5));
}
void avg_pool_backward_cpu(Invocation& inv) {
  spread(inv, windows(inv.out(), inv.in(0), dims_of(inv, 1), inv.ints(2), inv.ints(3), inv.ints(4), Dims{1}),
         divisor_of(inv, 6));
}
void adaptive_avg_pool_cpu(Invocation& inv) { average(inv, adaptive(inv.in(0), inv.out(), dims_of(inv, 1)), {}); }
void adaptive_avg_pool_backward_cpu(Invocation& inv) {
  spread(inv, adaptive(inv.out(), inv.in(0), dims_of(inv, 1)), {});
}

// Elements of the last `dims` dims, and of all dims before them.
int64_t plane_size(const TensorImpl& t, int dims) {
  int64_t n = 1;
  for (int d = t.dim() - dims; d < t.dim(); ++d) n *= t.sizes[d];
  return n;
}
int64_t plane_count(const TensorImpl& t, int dims) {
  int64_t n = 1;
  for (int d = 0; d + dims < t.dim(); ++d) n *= t.sizes[d];
  return n;
}

int64_t checked(int64_t index, int64_t size) {
  MG_CHECK(index >= 0 && index < size, Index, "max_pool gradient: index ", index, " is out of range for a plane of ",
           size, " elements.");
  return index;
}

// (grad, indices, input_size): zeros with grad added at flat positions of each plane.
void pool_scatter_cpu(Invocation& inv) {
  const Target out(inv.outs[0]);
  const Tensor g = contiguous(inv.tensor(0)), indices = contiguous(inv.tensor(1));
  const int64_t big = plane_size(inv.out(), dims_of(inv, 2)), small = plane_size(inv.in(0), dims_of(inv, 2));
  dispatch_floating(g.dtype(), [&]<class T>(T) {
    sum_planes<T>(out.out, big, big + small, [&](int64_t p, Wide<T>* sums) {
      const int64_t* index = indices.ptr<int64_t>() + p * small;
      const T* src = g.ptr<T>() + p * small;
      for (int64_t i = 0; i < small; ++i) sums[checked(index[i], big)] += Wide<T>(src[i]);
    });
  });
  out.finish();
}

// (input, indices, dims): the elements of each plane at flat positions.
void pool_gather_cpu(Invocation& inv) {
  const Target out(inv.outs[0]);
  const Tensor x = contiguous(inv.tensor(0)), indices = contiguous(inv.tensor(1));
  const int dims = int(inv.i(2));
  const int64_t big = plane_size(inv.in(0), dims), small = plane_size(inv.in(1), dims);
  dispatch(x.dtype(), [&]<class T>(T) {
    over_planes(plane_count(inv.in(0), dims), small, [&](int64_t p) {
      const int64_t* index = indices.ptr<int64_t>() + p * small;
      const T* src = x.ptr<T>() + p * big;
      T* y = out.out.ptr<T>() + p * small;
      for (int64_t i = 0; i < small; ++i) y[i] = src[checked(index[i], big)];
    });
  });
  out.finish();
}

}  // namespace

MG_KERNEL("_max_pool", CPU, max_pool_cpu);
MG_KERNEL("_adaptive_max_pool", CPU, adaptive_max_pool_cpu);
MG_KERNEL("_fractional_max_pool", CPU, fractional_max_pool_cpu);
MG_KERNEL("_avg_pool", CPU, avg_pool_cpu);
MG_KERNEL("_avg_pool_backward", CPU, avg_pool_backward_cpu);
MG_KERNEL("_adaptive_avg_pool", CPU, adaptive_avg_pool_cpu);
MG_KERNEL("_adaptive_avg_pool_backward", CPU, adaptive_avg_pool_backward_cpu);
MG_KERNEL("_pool_scatter", CPU, pool_scatter_cpu);
MG_KERNEL("_pool_gather", CPU, pool_gather_cpu);

}  // namespace mg::cpu
