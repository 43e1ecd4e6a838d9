// Cumulative ops along one dim: cumsum, cumprod, logcumsumexp, cummax, cummin. Sums and products of floats run in double and are rounded
// once per element, as on the CPU.
#include "scan.h"

namespace mg::cuda {
namespace {

template <class C, class T, bool product>
struct SumScan {
  using A = std::conditional_t<std::is_integral_v<C>, uint64_t, double>;  // integers wrap
  using In = T;
  T* out;
  __device__ static A identity() { return A(product); }
  __device__ static A make(T x, int64_t) { return A(convert<C>(x)); }
  __device__ static A merge(A a, A b) { return product ? a * b : a + b; }
  __device__ void write(int64_t at, A a) const { out[at] = convert<T>(C(a)); }
};

template <class C, class T>
struct LogScan {
  using A = double;
  using In = T;
  T* out;
  __device__ static A identity() { return -std::numeric_limits<double>::infinity(); }
  __device__ static A make(T x, int64_t) { return double(convert<C>(x)); }
  __device__ static A merge(A a, A b) {
    const double top = a > b || a != a ? a : b, low = a > b || a != a ? b : a;
    if (isinf(top) || top != top) return top;
    return low != low ? low : top + log1p(exp(low - top));
  }
  __device__ void write(int64_t at, A a) const { out[at] = convert<T>(C(a)); }
};

// Among equals the last position; from the first NaN on, NaN (PyTorch's rules).
template <class C>
struct Extreme {
  C value;
  int64_t at;  // -1: nothing yet
};
template <class C, class T, bool smallest>
struct ExtremeScan {
  using A = Extreme<std::conditional_t<std::is_integral_v<C>, int64_t, double>>;
  using In = T;
  T* value;
  int64_t* index;
  __device__ static A identity() { return {0, -1}; }
  __device__ static A make(T x, int64_t at) { return {static_cast<decltype(A::value)>(convert<C>(x)), at}; }
  __device__ static A merge(A a, A b) {
    if (a.at < 0 || b.at < 0) return a.at < 0 ? b : a;
    if (b.value != b.value) return b;
    if (a.value != a.value) return a;
    return (smallest ? b.value <= a.value : b.value >= a.value) ? b : a;
  }
  __device__ void write(int64_t at, A a) const {
    value[at] = convert<T>(C(a.value));
    index[at] = a.at;
  }
};

// f(T{}): the storage type: the input's own when it is floating and computed in, else float, double or int64.
template <class F>
void dispatch_scan(DType d, F&& f) {
  if (d == DType::Int64) return f(int64_t{});
  dispatch_floating(d, f);
}
DType scan_dtype(DType in, DType compute) {
  if (!is_floating(compute)) return DType::Int64;
  return in == compute ? in : float_compute(compute);
}

template <bool product>
void cumulative_cuda(Invocation& inv) {
  const DType dtype = scan_dtype(inv.in(0).dtype, inv.compute);
  const Tensor x = staged(inv.in(0), dtype);
  const StagedOut out(inv.outs[0], dtype);
  dispatch_scan(dtype, [&](auto tag) {
    using T = decltype(tag);
    scan(static_cast<const T*>(x.ptr<T>()), SumScan<compute_t<T>, T, product>{out.template ptr<T>()}, scan_lines(inv), x.device());
  });
  out.commit();
}

void logcumsumexp_cuda(Invocation& inv) {
  const DType dtype = scan_dtype(inv.in(0).dtype, inv.compute);
  const Tensor x = staged(inv.in(0), dtype);
  const StagedOut out(inv.outs[0], dtype);
  dispatch_floating(dtype, [&](auto tag) {
    using T = decltype(tag);
    scan(static_cast<const T*>(x.ptr<T>()), LogScan<compute_t<T>, T>{out.template ptr<T>()}, scan_lines(inv), x.device());
  });
  out.commit();
}

template <bool smallest>
void cumulative_extreme_cuda(Invocation& inv) {
  const DType dtype = scan_dtype(inv.in(0).dtype, inv.in(0).dtype);
  const Tensor x = staged(inv.in(0), dtype);
  const StagedOut value(inv.outs[0], dtype), index(inv.outs[1], DType::Int64);
  dispatch_scan(dtype, [&](auto tag) {
    using T = decltype(tag);
    scan(static_cast<const T*>(x.ptr<T>()), ExtremeScan<compute_t<T>, T, smallest>{value.template ptr<T>(), index.template ptr<int64_t>()},
         scan_lines(inv), x.device());
  });
  value.commit();
  index.commit();
}

MG_CUDA_KERNEL("cumsum", cumulative_cuda<false>);
MG_CUDA_KERNEL("cumprod", cumulative_cuda<true>);
MG_CUDA_KERNEL("logcumsumexp", logcumsumexp_cuda);
MG_CUDA_KERNEL("_cummax", cumulative_extreme_cuda<false>);
MG_CUDA_KERNEL("_cummin", cumulative_extreme_cuda<true>);

}  // namespace
}  // namespace mg::cuda
