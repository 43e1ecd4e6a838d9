// Pooling loops for one instruction set; pool_rows.h is the map.
#include "pool_rows.h"

#include "load_run.h"

namespace mg::cpu::MG_ISA_NS {

template <class T>
static void max_run(const T* x, const PoolRun& run, T* y, int64_t* index) {
  using I = typename Vec<T>::I;
  constexpr int L = Vec<T>::size;
  using Lane = simd::MG_ISA_NS::IntLane<T>;
  I lane;
  for (int i = 0; i < L; ++i) lane.set(i, Lane(i) * Lane(run.stride));
  for (int64_t i = 0; i < run.n; i += L) {
    const int n = run.n - i < L ? int(run.n - i) : L;
    const int64_t from = i * run.stride;
    Vec<T> top = load_run(x + run.starts[0] + from, run.stride, n);
    I best(Lane(run.starts[0] + from));
    for (int64_t r = 0; r < run.rows; ++r)
      for (int64_t k = 0; k < run.taps; ++k) {
        const int64_t at = run.starts[r] + from + k * run.dilation;
        const Vec<T> v = load_run(x + at, run.stride, n);
        const auto take = (v > top) | (v != v);
        top = select(take, v, top);
        best = select(take, I(Lane(at)), best);
      }
    best = best + lane;
    n == L ? top.store(y + i) : top.store(y + i, n);
    alignas(64) Lane places[L];
    best.store(places);
    for (int j = 0; j < n; ++j) index[i + j] = places[j];
  }
}

template <class T>
static void average_run(const T* x, const PoolRun& run, T divisor, T* y) {
  constexpr int L = Vec<T>::size;
  for (int64_t i = 0; i < run.n; i += L) {
    const int n = run.n - i < L ? int(run.n - i) : L;
    Vec<T> sum(T(0));
    for (int64_t r = 0; r < run.rows; ++r)
      for (int64_t k = 0; k < run.taps; ++k)
        sum = sum + load_run(x + run.starts[r] + i * run.stride + k * run.dilation, run.stride, n);
    sum = sum / Vec<T>(divisor);
    n == L ? sum.store(y + i) : sum.store(y + i, n);
  }
}

template <class T>
static void max_pixel(const T* x, const PoolPixel& pixel, T* y, int64_t* index) {
  using I = typename Vec<T>::I;
  using Lane = simd::MG_ISA_NS::IntLane<T>;
  constexpr int L = Vec<T>::size;
  for (int64_t i = 0; i < pixel.n; i += L) {
    const int n = pixel.n - i < L ? int(pixel.n - i) : L;
    Vec<T> top = load_run(x + pixel.at[0] * pixel.channels + i, 1, n);
    I best(Lane(pixel.at[0]));
    for (int64_t k = 1; k < pixel.count; ++k) {
      const Vec<T> v = load_run(x + pixel.at[k] * pixel.channels + i, 1, n);
      const auto take = (v > top) | (v != v);
      top = select(take, v, top);
      best = select(take, I(Lane(pixel.at[k])), best);
    }
    n == L ? top.store(y + i) : top.store(y + i, n);
    alignas(64) Lane places[L];
    best.store(places);
    for (int j = 0; j < n; ++j) index[i + j] = places[j];
  }
}

template <class T>
static void average_pixel(const T* x, const PoolPixel& pixel, T divisor, T* y) {
  constexpr int L = Vec<T>::size;
  for (int64_t i = 0; i < pixel.n; i += L) {
    const int n = pixel.n - i < L ? int(pixel.n - i) : L;
    Vec<T> sum(T(0));
    for (int64_t k = 0; k < pixel.count; ++k) sum = sum + load_run(x + pixel.at[k] * pixel.channels + i, 1, n);
    sum = sum / Vec<T>(divisor);
    n == L ? sum.store(y + i) : sum.store(y + i, n);
  }
}

template <class T>
static void spread_pixel(const T* g, const PoolPixel& pixel, T divisor, T* x) {
  constexpr int L = Vec<T>::size;
  for (int64_t i = 0; i < pixel.n; i += L) {
    const int n = pixel.n - i < L ? int(pixel.n - i) : L;
    const Vec<T> share = load_run(g + i, 1, n) / Vec<T>(divisor);
    for (int64_t k = 0; k < pixel.count; ++k) {
      T* p = x + pixel.at[k] * pixel.channels + i;
      const Vec<T> sum = load_run(static_cast<const T*>(p), 1, n) + share;
      n == L ? sum.store(p) : sum.store(p, n);
    }
  }
}

template <class T>
static constexpr PoolRowTable<T> rows() {
  return {max_run<T>, average_run<T>, max_pixel<T>, average_pixel<T>, spread_pixel<T>};
}
extern constinit const PoolRowTables pool_row_table = {rows<float>(), rows<double>()};

}  // namespace mg::cpu::MG_ISA_NS
