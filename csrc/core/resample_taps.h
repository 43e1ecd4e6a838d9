// Resampling along one dim as a table of taps: output i is a weighted sum of a few input positions. Worked out once per call, in float
// for float32 and double for float64, with PyTorch's arithmetic, so that equal positions are chosen on every device. Used by the
// interpolate kernels of both devices.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

namespace mg::resample {

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

struct ResampleRule {
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
inline S cubic_inner(S x, S a) {  // |x| <= 1
  return ((a + 2) * x - (a + 3)) * x * x + 1;
}
template <class S>
inline S cubic_outer(S x, S a) {  // 1 < |x| < 2
  return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
}

template <class S>
void nearest_taps(const ResampleRule& r, Taps<S>& taps) {
  const bool exact = r.mode == "nearest-exact";
  const float step = ResampleRule{r.in, r.out, r.mode, false, r.scale, false}.step<float>();
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
void linear_taps(const ResampleRule& r, Taps<S>& taps) {
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
void cubic_taps(const ResampleRule& r, Taps<S>& taps) {
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
void antialias_taps(const ResampleRule& r, Taps<S>& taps) {
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
Taps<S> taps_of(const ResampleRule& r) {
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

}  // namespace mg::resample
