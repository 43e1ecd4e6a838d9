// Resampling along one dim: nearest, linear, cubic, and their antialiased forms; images and volumes go dim by dim.
//
// Every mode is a table of taps (../core/resample_taps.h), worked out once per call. The adjoint walks the same table the
// other way. Meta: ../core/meta_interpolate.cpp; interpolate itself: minigrad/ops/layers/interpolate.py.
#include <algorithm>
#include <string_view>
#include <vector>

#include "../core/op.h"
#include "../core/parallel.h"
#include "../core/reduce_dims.h"
#include "../core/resample_taps.h"
#include "staged.h"

namespace mg::cpu {

namespace {

using namespace resample;

template <class F>
void over_outer(int64_t outer, int64_t cost, F&& f) {
  parallel_for(0, outer, std::max<int64_t>(32 * 1024 / std::max<int64_t>(cost, 1), 1), [&](int64_t b, int64_t e) {
    for (int64_t o = b; o < e; ++o) f(o);
  });
}

// The same table as one column of indices and one of weights per tap, for at most kMaxTaps taps; an output with fewer
// repeats its first tap with weight 0, one without any is in `empty`.
constexpr int64_t kMaxTaps = 4;
template <class S>
struct TapColumns {
  int64_t n, taps = 0;
  std::vector<int64_t> index, empty;
  std::vector<S> weight;
  explicit TapColumns(const Taps<S>& t) : n(int64_t(t.start.size()) - 1) {
    for (int64_t i = 0; i < n; ++i) taps = std::max(taps, t.start[size_t(i) + 1] - t.start[size_t(i)]);
    if (!usable()) return;
    index.resize(size_t(n * taps));
    weight.resize(size_t(n * taps));
    for (int64_t i = 0; i < n; ++i) {
      const int64_t first = t.start[size_t(i)], count = t.start[size_t(i) + 1] - first;
      if (count == 0) empty.push_back(i);
      for (int64_t k = 0; k < taps; ++k) {
        index[size_t(k * n + i)] = count == 0 ? 0 : t.index[size_t(first + (k < count ? k : 0))];
        weight[size_t(k * n + i)] = k < count ? t.weight[size_t(first + k)] : S(0);
      }
    }
  }
  bool usable() const { return taps > 0 && taps <= kMaxTaps; }
};

// y[i] = sum of K weighted elements of x.
template <int K, class T>
void weigh_line(const TapColumns<T>& t, int64_t, const T* x, T* y) {
  const int64_t* at = t.index.data();
  const T* w = t.weight.data();
  for (int64_t i = 0; i < t.n; ++i) {
    T sum = w[i] * x[at[i]];
    for (int k = 1; k < K; ++k) sum += w[k * t.n + i] * x[at[k * t.n + i]];
    y[i] = sum;
  }
  for (const int64_t i : t.empty) y[i] = T(0);
}
// The same for rows of `inner` elements: y[i, :] = sum of K weighted rows.
template <int K, class T>
void weigh_rows(const TapColumns<T>& t, int64_t inner, const T* x, T* y) {
  for (int64_t i = 0; i < t.n; ++i) {
    const T* row[K];
    T w[K];
    for (int k = 0; k < K; ++k) row[k] = x + t.index[size_t(k * t.n + i)] * inner, w[k] = t.weight[size_t(k * t.n + i)];
    T* __restrict to = y + i * inner;
    for (int64_t j = 0; j < inner; ++j) {
      T sum = w[0] * row[0][j];
      for (int k = 1; k < K; ++k) sum += w[k] * row[k][j];
      to[j] = sum;
    }
  }
  for (const int64_t i : t.empty) std::fill_n(y + i * inner, inner, T(0));
}

template <class T>
void forward(const Taps<T>& taps, const DimView& x, int64_t out, const T* src, T* dst) {
  const TapColumns<T> columns(taps);
  using Weigh = void (*)(const TapColumns<T>&, int64_t, const T*, T*);
  constexpr Weigh lines[] = {weigh_line<1, T>, weigh_line<2, T>, weigh_line<3, T>, weigh_line<4, T>};
  constexpr Weigh rows[] = {weigh_rows<1, T>, weigh_rows<2, T>, weigh_rows<3, T>, weigh_rows<4, T>};
  const Weigh weigh = !columns.usable() ? nullptr : (x.inner == 1 ? lines : rows)[columns.taps - 1];
  over_outer(x.outer, out * x.inner * 2, [&](int64_t o) {
    const T* from = src + o * x.size * x.inner;
    T* y = dst + o * out * x.inner;
    if (weigh != nullptr) return weigh(columns, x.inner, from, y);
    std::fill_n(y, out * x.inner, T(0));
    for (int64_t i = 0; i < out; ++i, y += x.inner)
      for (int64_t k = taps.start[size_t(i)]; k < taps.start[size_t(i) + 1]; ++k) {
        const T w = taps.weight[size_t(k)];
        const T* row = from + taps.index[size_t(k)] * x.inner;
        for (int64_t j = 0; j < x.inner; ++j) y[j] += w * row[j];
      }
  });
}

// Nearest neighbours of any dtype: U is an integer of its size.
template <class U>
void copy_nearest(const Taps<float>& taps, const DimView& x, int64_t out, const U* src, U* dst) {
  over_outer(x.outer, out * x.inner, [&](int64_t o) {
    const U* from = src + o * x.size * x.inner;
    U* y = dst + o * out * x.inner;
    if (x.inner == 1) {
      for (int64_t i = 0; i < out; ++i) y[i] = from[taps.index[size_t(i)]];
      return;
    }
    for (int64_t i = 0; i < out; ++i, y += x.inner) std::copy_n(from + taps.index[size_t(i)] * x.inner, x.inner, y);
  });
}

ResampleRule rule_of(const Invocation& inv, int64_t in, int64_t out) {
  return {in, out, inv.args[3].str, inv.b(4), inv.has(5) ? inv.f(5) : 0.0, inv.b(6)};
}

// (input, dim, size, mode, align_corners, scale?, antialias)
void resample_cpu(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const TensorImpl& in = inv.in(0);
  const int64_t dim = inv.i(1) < 0 ? inv.i(1) + in.dim() : inv.i(1), size = inv.i(2);
  const DimView view(in.sizes, dim);
  const ResampleRule rule = rule_of(inv, view.size, size);
  const Tensor x = staged(in, in.dtype);
  const StagedOut out(inv.outs[0], in.dtype);
  if (rule.mode.starts_with("nearest")) {
    const Taps<float> taps = taps_of<float>(rule);
    switch (itemsize(in.dtype)) {
      case 1:
        copy_nearest(taps, view, size, x.ptr<uint8_t>(), out.ptr<uint8_t>());
        break;
      case 2:
        copy_nearest(taps, view, size, x.ptr<uint16_t>(), out.ptr<uint16_t>());
        break;
      case 4:
        copy_nearest(taps, view, size, x.ptr<uint32_t>(), out.ptr<uint32_t>());
        break;
      default:
        copy_nearest(taps, view, size, x.ptr<uint64_t>(), out.ptr<uint64_t>());
    }
  } else {
    dispatch_float(in.dtype, [&](auto tag) {
      using T = decltype(tag);
      forward(taps_of<T>(rule), view, size, x.ptr<T>(), out.ptr<T>());
    });
  }
  out.commit();
}

// (grad, dim, input size, mode, align_corners, scale?, antialias): the adjoint
void resample_backward_cpu(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const TensorImpl& g = inv.in(0);
  const int64_t dim = inv.i(1) < 0 ? inv.i(1) + g.dim() : inv.i(1), size = inv.i(2);
  const DimView view(g.sizes, dim);
  const ResampleRule rule = rule_of(inv, size, view.size);
  const Tensor grad = staged(g, g.dtype);
  const StagedOut out(inv.outs[0], g.dtype);
  dispatch_float(g.dtype, [&](auto tag) {
    using T = decltype(tag);
    forward(adjoint(taps_of<T>(rule), size), view, size, grad.ptr<T>(), out.ptr<T>());
  });
  out.commit();
}

}  // namespace

MG_KERNEL("_resample", CPU, resample_cpu);
MG_KERNEL("_resample_backward", CPU, resample_backward_cpu);

}  // namespace mg::cpu
