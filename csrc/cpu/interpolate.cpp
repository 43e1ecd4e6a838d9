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

template <class T>
void forward(const Taps<T>& taps, const DimView& x, int64_t out, const T* src, T* dst) {
  over_outer(x.outer, out * x.inner * 2, [&](int64_t o) {
    const T* from = src + o * x.size * x.inner;
    T* y = dst + o * out * x.inner;
    for (int64_t i = 0; i < out; ++i, y += x.inner) {
      const int64_t k0 = taps.start[size_t(i)], k1 = taps.start[size_t(i) + 1];
      if (x.inner == 1) {
        T sum = 0;
        for (int64_t k = k0; k < k1; ++k) sum += taps.weight[size_t(k)] * from[taps.index[size_t(k)]];
        *y = sum;
        continue;
      }
      std::fill_n(y, x.inner, T(0));
      for (int64_t k = k0; k < k1; ++k) {
        const T w = taps.weight[size_t(k)];
        const T* row = from + taps.index[size_t(k)] * x.inner;
        for (int64_t j = 0; j < x.inner; ++j) y[j] += w * row[j];
      }
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
    const Taps<T> taps = taps_of<T>(rule);
    over_outer(view.outer, (view.size * 2 + size) * view.inner, [&](int64_t o) {
      T* dx = out.ptr<T>() + o * size * view.inner;
      const T* from = grad.ptr<T>() + o * view.size * view.inner;
      std::fill_n(dx, size * view.inner, T(0));
      for (int64_t i = 0; i < view.size; ++i, from += view.inner)
        for (int64_t k = taps.start[size_t(i)]; k < taps.start[size_t(i) + 1]; ++k) {
          const T w = taps.weight[size_t(k)];
          T* row = dx + taps.index[size_t(k)] * view.inner;
          for (int64_t j = 0; j < view.inner; ++j) row[j] += w * from[j];
        }
    });
  });
  out.commit();
}

}  // namespace

MG_KERNEL("_resample", CPU, resample_cpu);
MG_KERNEL("_resample_backward", CPU, resample_backward_cpu);

}  // namespace mg::cpu
