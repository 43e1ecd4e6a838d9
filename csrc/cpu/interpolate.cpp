// Resampling along one dim: nearest, linear, cubic, and their antialiased forms; images and volumes go dim by dim.
//
// Every mode is a table of taps: output i is a weighted sum of a few input positions. The table is worked out once per
// call, in float for float32 and double for float64, with PyTorch's arithmetic, so that equal positions are chosen. The
// adjoint walks the same table the other way. Meta: ../core/meta_interpolate.cpp; interpolate itself:
// minigrad/ops/layers/interpolate.py.
#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "../core/op.h"
#include "../core/parallel.h"
#include "../core/reduce_dims.h"
#include "staged.h"

namespace mg::cpu {

namespace {

// Taps of output i: [start[i], start[i + 1]) of index and weight.
template <class S>
struct Taps {
  std::vector<int64_t> start{0}, index;
  std::vector<S> weight;
  void add(int64_t i, S w) {
    index.push_back(i);
    weight.push_back(w);
  }
  void close() { start.push_back(int64_t(index.size())); }
};

struct Rule {
  int64_t in, out;
  std::string_view mode;  // nearest, nearest-exact, linear, cubic
  bool align_corners;
  double scale;  // given by the user, 0 when not
  bool antialias;

  // Input elements per output element.
  template <class S>
  S step() const {
    if (align_corners) return out > 1 ? S(in - 1) / S(out - 1) : S(0);
    return scale > 0 ? S(1.0 / scale) : S(in) / S(out);
  }
};

template <class S>
S cubic_inner(S x, S a) {  // |x| <= 1
  return ((a + 2) * x - (a + 3)) * x * x + 1;
}
template <class S>
S cubic_outer(S x, S a) {  // 1 < |x| < 2
  return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
}

template <class S>
void nearest_taps(const Rule& r, Taps<S>& taps) {
  const bool exact = r.mode == "nearest-exact";
  const float step = Rule{r.in, r.out, r.mode, false, r.scale, false}.step<float>();
  for (int64_t i = 0; i < r.out; ++i) {
    int64_t at;
    if (exact)
      at = int64_t(std::floor((float(i) + 0.5f) * step));
    else if (r.out == r.in)
      at = i;
    else if (r.out == 2 * r.in)
      at = i / 2;
    else
      at = int64_t(std::floor(float(i) * step));
    taps.add(std::min(at, r.in - 1), 1);
    taps.close();
  }
}

template <class S>
void linear_taps(const Rule& r, Taps<S>& taps) {
  const S step = r.step<S>();
  for (int64_t i = 0; i < r.out; ++i, taps.close()) {
    if (r.in == r.out) {
      taps.add(i, 1);
      continue;
    }
    const S real = r.align_corners ? step * S(i) : std::max(step * (S(i) + S(0.5)) - S(0.5), S(0));
    const int64_t at = std::min(int64_t(real), r.in - 1);
    const S t = std::clamp(real - S(at), S(0), S(1));
    taps.add(at, 1 - t);
    taps.add(std::min(at + 1, r.in - 1), t);
  }
}

template <class S>
void cubic_taps(const Rule& r, Taps<S>& taps) {
  const S step = r.step<S>(), a = S(-0.75);
  for (int64_t i = 0; i < r.out; ++i, taps.close()) {
    const S real = r.align_corners ? step * S(i) : step * (S(i) + S(0.5)) - S(0.5);
    const int64_t at = std::min(int64_t(std::floor(real)), r.in - 1);
    const S t = std::clamp(real - S(at), S(0), S(1));
    const S weights[4] = {cubic_outer(t + 1, a), cubic_inner(t, a), cubic_inner(1 - t, a), cubic_outer(2 - t, a)};
    for (int k = 0; k < 4; ++k) taps.add(std::clamp<int64_t>(at - 1 + k, 0, r.in - 1), weights[k]);
  }
}

// The triangle or cubic filter, widened when shrinking, normalised to sum 1 (Pillow's rule).
template <class S>
void antialias_taps(const Rule& r, Taps<S>& taps) {
  const bool cubic = r.mode == "cubic";
  const S step = r.step<S>(), a = S(-0.5), half = cubic ? 2 : 1, support = step >= 1 ? half * step : half,
          inverse = step >= 1 ? 1 / step : 1;
  const auto filter = [&](S x) -> S {
    x = std::abs(x);
    if (!cubic) return x < 1 ? 1 - x : 0;
    return x < 1 ? cubic_inner(x, a) : x < 2 ? cubic_outer(x, a) : 0;
  };
  for (int64_t i = 0; i < r.out; ++i, taps.close()) {
    const S centre = step * (S(i) + S(0.5));
    const int64_t first = std::max<int64_t>(int64_t(centre - support + S(0.5)), 0);
    const int64_t last = std::min<int64_t>(int64_t(centre + support + S(0.5)), r.in);
    S total = 0;
    for (int64_t j = first; j < last; ++j) total += filter((S(j) - centre + S(0.5)) * inverse);
    for (int64_t j = first; j < last; ++j) {
      const S w = filter((S(j) - centre + S(0.5)) * inverse);
      taps.add(j, total != 0 ? w / total : w);
    }
  }
}

template <class S>
Taps<S> taps_of(const Rule& r) {
  Taps<S> taps;
  if (r.antialias)
    antialias_taps(r, taps);
  else if (r.mode == "linear")
    linear_taps(r, taps);
  else if (r.mode == "cubic")
    cubic_taps(r, taps);
  else
    nearest_taps(r, taps);
  return taps;
}

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

// The table read the other way: for each of n inputs, the outputs that it feeds, in order.
template <class T>
Taps<T> adjoint(const Taps<T>& t, int64_t n) {
  Taps<T> back;
  back.start.assign(size_t(n) + 1, 0);
  for (const int64_t i : t.index) ++back.start[size_t(i) + 1];
  for (int64_t i = 0; i < n; ++i) back.start[size_t(i) + 1] += back.start[size_t(i)];
  back.index.resize(t.index.size());
  back.weight.resize(t.index.size());
  std::vector<int64_t> next(back.start.begin(), back.start.end() - 1);
  for (int64_t i = 0; i + 1 < int64_t(t.start.size()); ++i)
    for (int64_t k = t.start[size_t(i)]; k < t.start[size_t(i) + 1]; ++k) {
      const size_t at = size_t(next[size_t(t.index[size_t(k)])]++);
      back.index[at] = i;
      back.weight[at] = t.weight[size_t(k)];
    }
  return back;
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

Rule rule_of(const Invocation& inv, int64_t in, int64_t out) {
  return {in, out, inv.args[3].str, inv.b(4), inv.has(5) ? inv.f(5) : 0.0, inv.b(6)};
}

// (input, dim, size, mode, align_corners, scale?, antialias)
void resample_cpu(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const TensorImpl& in = inv.in(0);
  const int64_t dim = inv.i(1) < 0 ? inv.i(1) + in.dim() : inv.i(1), size = inv.i(2);
  const DimView view(in.sizes, dim);
  const Rule rule = rule_of(inv, view.size, size);
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
  const Rule rule = rule_of(inv, size, view.size);
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
