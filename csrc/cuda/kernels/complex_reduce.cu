// Reductions and scans of complex tensors. What is linear over the reals (sum, mean, cumsum) or a sum over both parts (variance) runs the
// real kernel on the parts; truth and norms run it on a real tensor made first; products, logsumexp and their scans fold complex numbers.
#include <math.h>

#include "../../core/complex_parts.h"
#include "complex_math.h"
#include "reduce.h"
#include "scan.h"

namespace mg::cuda {
namespace {

template <class T>
__global__ void add_parts_kernel(T* a, const T* b, bool root, int64_t n) {
  MG_GRID_LOOP(i, n) a[i] = root ? sqrt(a[i] + b[i]) : a[i] + b[i];
}

// var(z) = var(re) + var(im)
template <bool root>
void spread(Invocation& inv) {
  const auto parts = variances_of_parts(inv);
  const int64_t n = parts[0].numel();
  if (parts[0].dtype() == DType::Float64) launch_items(add_parts_kernel<double>, n, parts[0].ptr<double>(), parts[1].ptr<double>(), root, n);
  else launch_items(add_parts_kernel<float>, n, parts[0].ptr<float>(), parts[1].ptr<float>(), root, n);
  copy_into(inv.outs[0], parts[0]);
}

template <class Z>
__global__ void moduli_kernel(decltype(Z::re)* out, const Z* in, int64_t n) {
  MG_GRID_LOOP(i, n) out[i] = hypot(in[i].re, in[i].im);
}

// _vector_norm(input, dim, keepdim, dtype, ord)
void norm(Invocation& inv) {
  const Tensor z = staged(inv.in(0), inv.compute), x = empty(z.sizes(), to_real(inv.compute), z.device());
  dispatch_complex(inv.compute, [&](auto tag) {
    using Z = decltype(tag);
    launch_items(moduli_kernel<Z>, z.numel(), x.ptr<decltype(Z::re)>(), static_cast<const Z*>(z.ptr<Z>()), z.numel());
  });
  norm_of_magnitudes(inv, x);
}

struct Plain {  // complex128 without constructors, as shared memory wants it
  double re, im;
  MG_DEVICE complex128 z() const { return {re, im}; }
  MG_DEVICE static Plain of(complex128 z) { return {z.re, z.im}; }
};

template <class S>
struct ProductRule {
  using A = Plain;
  S* out;
  __device__ A identity() const { return {1, 0}; }
  __device__ void add(A& a, const complex128* x, int n, int64_t) const {
    for (int k = 0; k < n; ++k) a = merge(a, A::of(x[k]));
  }
  __device__ static A merge(A a, A b) { return A::of(zmath::operator*(a.z(), b.z())); }
  __device__ void write(int64_t k, A a) const { out[k] = convert<S>(a.z()); }
};

// log(sum(exp(z))), shifted by the largest real part so that nothing overflows; one that is not finite is left out.
struct ShiftedSum {
  double top;
  Plain sum;
  int64_t count;
};
template <class S>
struct LogSumExpRule {
  using A = ShiftedSum;
  S* out;
  __device__ A identity() const { return {-__builtin_inf(), {0, 0}, 0}; }
  __device__ static double shift(double top) { return isfinite(top) ? top : 0.0; }
  __device__ static complex128 scaled(Plain a, double by) { return by == 0 ? a.z() : zmath::operator*(exp(by), a.z()); }
  __device__ void add(A& a, const complex128* x, int n, int64_t) const {
    for (int k = 0; k < n; ++k) a = merge(a, {x[k].re, Plain::of(zmath::exp({x[k].re - shift(x[k].re), x[k].im})), 1});
  }
  __device__ static A merge(A a, A b) {
    if (b.count == 0 || a.count == 0) return b.count == 0 ? a : b;
    const double top = a.top > b.top || b.top != b.top ? a.top : b.top, by = shift(top);
    return {top, Plain::of(zmath::operator+(scaled(a.sum, shift(a.top) - by), scaled(b.sum, shift(b.top) - by))), a.count + b.count};
  }
  __device__ void write(int64_t k, A a) const {
    const complex128 z = zmath::log(a.sum.z());
    out[k] = convert<S>(complex128{z.re + shift(a.top), z.im});
  }
};

template <template <class> class Rule>
void fold_lines(Invocation& inv) {
  const Tensor x = cast(inv.tensor(0), inv.compute);
  const StagedOut out(inv.outs[0], inv.compute);
  const ReducePlan plan(*x, reduce_mask(inv), inv.out().sizes);
  dispatch_complex(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    reduce<complex128, S>(*x, plan, Rule<S>{out.template ptr<S>()});
  });
  out.commit();
}

// cumsum (input, dim, dtype): both parts by the real kernel.
void cumsum(Invocation& inv) {
  const Tensor x = cast(inv.tensor(0), inv.compute);
  if (x.dim() == 0) return copy_into(inv.outs[0], x);
  const Tensor in = pairs(*x), work = empty(inv.out().sizes, inv.compute, x.device());
  Tensor out = pairs(*work);
  Arguments args(inv);
  args.values[0] = Value(in);
  args.values[1] = Value(wrap_dim(inv.i(1), x.dim(), public_name(inv.op)));
  args.values[2] = Value();
  run_real(inv.op, args, &out, in.dtype());
  copy_into(inv.outs[0], work);
}

template <class S, bool product>
struct ComplexScan {
  using A = Plain;
  using In = S;
  S* out;
  __device__ static A identity() { return product ? A{1, 0} : A{-__builtin_inf(), 0}; }
  __device__ static A make(S x, int64_t) { return A::of(convert<complex128>(x)); }
  __device__ static A merge(A a, A b) { return A::of(product ? zmath::operator*(a.z(), b.z()) : zmath::logaddexp(a.z(), b.z())); }
  __device__ void write(int64_t at, A a) const { out[at] = convert<S>(a.z()); }
};

template <bool product>
void scan_lines_of(Invocation& inv) {
  const Tensor x = staged(inv.in(0), inv.compute);
  const StagedOut out(inv.outs[0], inv.compute);
  dispatch_complex(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    scan(static_cast<const S*>(x.ptr<S>()), ComplexScan<S, product>{out.template ptr<S>()}, scan_lines(inv), x.device());
  });
  out.commit();
}

MG_CUDA_KERNEL_COMPLEX("sum", complex_sum);
MG_CUDA_KERNEL_COMPLEX("mean", complex_sum);
MG_CUDA_KERNEL_COMPLEX("_var", spread<false>);
MG_CUDA_KERNEL_COMPLEX("_std", spread<true>);
MG_CUDA_KERNEL_COMPLEX("any", complex_truth);
MG_CUDA_KERNEL_COMPLEX("all", complex_truth);
MG_CUDA_KERNEL_COMPLEX("count_nonzero", complex_truth);
MG_CUDA_KERNEL_COMPLEX("_vector_norm", norm);
MG_CUDA_KERNEL_COMPLEX("prod", fold_lines<ProductRule>);
MG_CUDA_KERNEL_COMPLEX("logsumexp", fold_lines<LogSumExpRule>);
MG_CUDA_KERNEL_COMPLEX("cumsum", cumsum);
MG_CUDA_KERNEL_COMPLEX("cumprod", scan_lines_of<true>);
MG_CUDA_KERNEL_COMPLEX("logcumsumexp", scan_lines_of<false>);

}  // namespace
}  // namespace mg::cuda
