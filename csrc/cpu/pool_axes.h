// What the pooling kernels share: windows of each dim, planes, and low-precision sums. A plane is the spatial part of
// one channel, seen as (D, H, W) with leading sizes of 1 for images and sequences; planes are independent and are what
// threads share out. Each dim's windows are worked out once per call (Axis); PoolAxis (../core/pool_axis.h) has the
// rules. half and bfloat16 are compared and summed in float.
#pragma once
#include <limits>
#include <vector>

#include "../core/memory_format.h"
#include "../core/op.h"
#include "../core/parallel.h"
#include "../core/pool_axis.h"
#include "gemm.h"
#include "pool_rows.h"

namespace mg::cpu {

// The windows of one dim: input positions [first, last) in steps of `dilation`; `span` counts padding as well.
// Outputs [inner, inner_end) have windows of `taps` positions `stride` apart that lie inside; none where windows vary.
struct Axis {
  int64_t size = 1, dilation = 1, stride = 1, taps = 1, inner = 0, inner_end = 0;
  std::vector<int64_t> first{0}, last{1}, span{1};

  Axis() = default;
  explicit Axis(const PoolAxis& a)
      : size(a.size), dilation(a.dilation), stride(a.stride), taps(a.kernel), first(0), last(0), span(0) {
    for (int64_t i = 0; i < a.out; ++i) {
      first.push_back(a.first(i));
      last.push_back(a.last(i));
      span.push_back(a.stop(i) - a.start(i));
    }
    if (a.adaptive) return;
    inner = std::min(ceil_div(a.padding, a.stride), a.out);
    const int64_t room = a.size + a.padding - a.dilation * (a.kernel - 1) - 1;  // the start of the last window inside
    inner_end = room < 0 ? inner : std::clamp(room / a.stride + 1, inner, a.out);
  }
  int64_t out() const { return int64_t(first.size()); }
};

struct Axes {
  Axis d, h, w;
  int dims = 0;  // spatial dims of the tensors
  Axis& operator[](int i) { return i == 0 ? d : i == 1 ? h : w; }
  int64_t in() const { return d.size * h.size * w.size; }
  int64_t out() const { return d.out() * h.out() * w.out(); }
  int64_t window() const { return (d.last[0] - d.first[0]) * (h.last[0] - h.first[0]) * (w.last[0] - w.first[0]); }
  int64_t cost() const { return out() == 0 ? in() : out() * window() + in() / 4; }
};

inline int64_t at(const Dims& v, int d) { return v[v.size() == 1 ? 0 : d]; }

// `big` is the side that windows look at, `small` holds one element per window.
inline Axes windows(const TensorImpl& big, const TensorImpl& small, int dims, const Dims& kernel, const Dims& step,
                    const Dims& padding, const Dims& dilation) {
  const Dims& stride = step.empty() ? kernel : step;
  Axes a;
  a.dims = dims;
  for (int i = 0; i < dims; ++i) {
    const int d = big.dim() - dims + i;
    PoolAxis p{big.sizes[d], at(kernel, i), at(stride, i), at(padding, i), at(dilation, i), false};
    p.out = small.sizes[d];
    a[3 - dims + i] = Axis(p);
  }
  return a;
}
inline Axes adaptive(const TensorImpl& big, const TensorImpl& small, int dims) {
  Axes a;
  a.dims = dims;
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
inline int dims_of(const Invocation& inv, int k) { return inv.args[k].len; }

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

// Images that lie as (N, D, H, W, C): pool_last.h has the loops for float and double. Positions are 32-bit lanes there.
inline bool lies_channels_last(const TensorImpl& t, int dims) {
  return t.dim() == dims + 2 && (t.dtype == DType::Float32 || t.dtype == DType::Float64 || t.dtype == DType::Int64) &&
         is_channels_last(t) && t.strides == channels_last_strides(t.sizes);
}

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

// The rows of input that a row of outputs looks at, for the vector loops of pool_rows.h.
struct RowStarts {
  std::vector<int64_t> starts;
  explicit RowStarts(const Axes& a) {
    if (usable(a)) starts.reserve(size_t(a.d.taps * a.h.taps));
  }
  // False where the vector loops do not apply. Positions are 32-bit lanes there.
  bool find(const Axes& a, int64_t od, int64_t oh) {
    starts.clear();
    if (!usable(a)) return false;
    for (int64_t d = a.d.first[od]; d < a.d.last[od]; d += a.d.dilation)
      for (int64_t h = a.h.first[oh]; h < a.h.last[oh]; h += a.h.dilation)
        starts.push_back((d * a.h.size + h) * a.w.size + a.w.first[a.w.inner]);
    return !starts.empty();
  }
  PoolRun run(const Axes& a) const {
    return {starts.data(), int64_t(starts.size()), a.w.taps, a.w.dilation, a.w.stride, a.w.inner_end - a.w.inner};
  }
  static bool usable(const Axes& a) {
    return a.w.stride <= 2 && a.w.inner_end > a.w.inner && a.in() <= std::numeric_limits<int32_t>::max();
  }
};

}  // namespace mg::cpu
