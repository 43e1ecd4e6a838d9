// Cumulative ops along one dim, on a contiguous (outer, size, inner) copy. A row is sequential; work is shared over
// rows and column tiles. Floating sums and products run in double and are rounded once per element.
#include <cmath>

#include "../core/parallel.h"
#include "../core/reduce_dims.h"
#include "staged.h"

namespace mg::cpu {

namespace {

constexpr int64_t kTile = 256, kGrain = 16384;

DimView view_of(const Invocation& inv) {
  const TensorImpl& x = inv.in(0);
  return DimView(x.sizes, x.dim() == 0 ? 0 : wrap_dim(inv.i(1), x.dim(), inv.op.name.c_str()));
}

// f(offset of the first element, number of columns side by side)
template <class F>
void tiles(const DimView& v, F f) {
  if (v.outer * v.size * v.inner == 0) return;
  const int64_t n = (v.inner - 1) / kTile + 1, width = std::min(v.inner, kTile);
  parallel_for(0, v.outer * n, std::max<int64_t>(kGrain / (v.size * width), 1), [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) {
      const int64_t c = i % n * kTile;
      f(i / n * v.size * v.inner + c, std::min(kTile, v.inner - c));
    }
  });
}

template <class T, class A, class Step>
void accumulate(const DimView& v, const T* x, T* y, A start, Step step) {
  tiles(v, [&](int64_t at, int64_t n) {
    if (n == 1) {
      A a = start;
      for (int64_t r = 0; r < v.size; ++r) y[at + r * v.inner] = T(a = step(a, A(x[at + r * v.inner])));
      return;
    }
    A a[kTile];
    std::fill(a, a + n, start);
    for (int64_t r = 0; r < v.size; ++r) {
      const T* p = x + at + r * v.inner;
      T* q = y + at + r * v.inner;
      for (int64_t c = 0; c < n; ++c) q[c] = T(a[c] = step(a[c], A(p[c])));
    }
  });
}

double log_add_exp(double a, double b) {
  const double top = a > b || std::isnan(a) ? a : b, low = a > b || std::isnan(a) ? b : a;
  if (std::isinf(top) || std::isnan(top)) return top;
  return top + std::log1p(std::exp(low - top));
}

template <bool product>
void cumulative_cpu(Invocation& inv) {
  const DimView v = view_of(inv);
  const DType compute = is_floating(inv.compute) ? float_compute(inv.compute) : DType::Int64;
  const Tensor x = staged(inv.in(0), compute);
  const StagedOut out(inv.outs[0], compute);
  auto step = [](auto a, auto b) { return product ? a * b : a + b; };
  if (compute == DType::Int64)
    accumulate<uint64_t, uint64_t>(v, x.ptr<uint64_t>(), out.ptr<uint64_t>(), product, step);  // wraps
  else
    dispatch_float(compute, [&](auto tag) {
      using T = decltype(tag);
      accumulate<T, double>(v, x.ptr<T>(), out.ptr<T>(), product, step);
    });
  out.commit();
}

void logcumsumexp_cpu(Invocation& inv) {
  const DType compute = float_compute(inv.compute);
  const Tensor x = staged(inv.in(0), compute);
  const StagedOut out(inv.outs[0], compute);
  dispatch_float(compute, [&](auto tag) {
    using T = decltype(tag);
    accumulate<T, double>(view_of(inv), x.ptr<T>(), out.ptr<T>(), -INFINITY, log_add_exp);
  });
  out.commit();
}

// Among equals the last position; from the first NaN on, NaN (PyTorch's rules).
template <class T>
void running_extreme(const DimView& v, const T* x, T* value, int64_t* index, bool smallest) {
  tiles(v, [&](int64_t at, int64_t n) {
    for (int64_t c = 0; c < n; ++c) {
      T best = x[at + c];
      int64_t where = 0;
      for (int64_t r = 0; r < v.size; ++r) {
        const int64_t k = at + r * v.inner + c;
        const T e = x[k];
        if (e != e || (best == best && (smallest ? e <= best : e >= best))) best = e, where = r;
        value[k] = best;
        index[k] = where;
      }
    }
  });
}

template <bool smallest>
void cumulative_extreme_cpu(Invocation& inv) {
  const DType dtype = inv.in(0).dtype;
  const DType compute = is_floating(dtype) ? float_compute(dtype) : DType::Int64;
  const Tensor x = staged(inv.in(0), compute);
  const StagedOut value(inv.outs[0], compute), index(inv.outs[1], DType::Int64);
  const DimView v = view_of(inv);
  if (compute == DType::Int64)
    running_extreme(v, x.ptr<int64_t>(), value.ptr<int64_t>(), index.ptr<int64_t>(), smallest);
  else
    dispatch_float(compute, [&](auto tag) {
      using T = decltype(tag);
      running_extreme(v, x.ptr<T>(), value.ptr<T>(), index.ptr<int64_t>(), smallest);
    });
  value.commit();
  index.commit();
}

}  // namespace

MG_KERNEL("cumsum", CPU, cumulative_cpu<false>);
MG_KERNEL("cumprod", CPU, cumulative_cpu<true>);
MG_KERNEL("logcumsumexp", CPU, logcumsumexp_cpu);
MG_KERNEL("_cummax", CPU, cumulative_extreme_cpu<false>);
MG_KERNEL("_cummin", CPU, cumulative_extreme_cpu<true>);

}  // namespace mg::cpu
