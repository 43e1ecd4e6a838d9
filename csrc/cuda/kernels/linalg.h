// Device code of the small dense factorizations and substitutions (linalg_factor.cu, linalg_solve.cu). Everything is computed in double or
// complex128, row-major, one block of threads a matrix or one thread a right side: plain kernels, for many small systems.
#pragma once
#include "../kernel.h"

namespace mg::cuda {

using Real = double;

MG_DEVICE double conj_of(double x) { return x; }
MG_DEVICE complex128 conj_of(complex128 x) { return {x.re, -x.im}; }
MG_DEVICE double product_of(double a, double b) { return a * b; }
MG_DEVICE complex128 product_of(complex128 a, complex128 b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
MG_DEVICE void subtract_product(double& x, double a, double b) { x -= a * b; }
MG_DEVICE void subtract_product(complex128& x, complex128 a, complex128 b) {
  x.re -= a.re * b.re - a.im * b.im;
  x.im -= a.re * b.im + a.im * b.re;
}
MG_DEVICE double quotient_of(double a, double b) { return a / b; }
MG_DEVICE complex128 quotient_of(complex128 a, complex128 b) {  // Smith's: squares of large numbers do not overflow
  const bool wide = fabs(b.re) >= fabs(b.im);
  const double big = wide ? b.re : b.im, small = wide ? b.im : b.re, ratio = big == 0 ? 0 : small / big, scale = 1 / (big + small * ratio);
  return wide ? complex128{(a.re + a.im * ratio) * scale, (a.im - a.re * ratio) * scale}
              : complex128{(a.re * ratio + a.im) * scale, (a.im * ratio - a.re) * scale};
}
MG_DEVICE double magnitude_of(double x) { return fabs(x); }
MG_DEVICE double magnitude_of(complex128 x) { return fabs(x.re) + fabs(x.im); }  // LAPACK's choice of pivots
MG_DEVICE double modulus_of(double x) { return fabs(x); }
MG_DEVICE double modulus_of(complex128 x) { return hypot(x.re, x.im); }
MG_DEVICE double real_of(double x) { return x; }
MG_DEVICE double real_of(complex128 x) { return x.re; }
MG_DEVICE bool is_zero(double x) { return x == 0; }
MG_DEVICE bool is_zero(complex128 x) { return x.re == 0 && x.im == 0; }

// One n x n matrix as it lies, transposed and/or conjugated.
template <class W>
struct MatrixOf {
  const W* p;
  int64_t n;
  bool transposed, conjugated;
  MG_DEVICE W operator()(int64_t i, int64_t j) const {
    const W v = transposed ? p[j * n + i] : p[i * n + j];
    return conjugated ? conj_of(v) : v;
  }
};

// x <- T^-1 x for the lower or upper triangle of `a`.
template <class W>
MG_DEVICE void substitute(W* x, int64_t step, const MatrixOf<W>& a, bool lower, bool unit) {
  for (int64_t at = 0; at < a.n; ++at) {
    const int64_t i = lower ? at : a.n - 1 - at;
    W sum = x[i * step];
    for (int64_t j = lower ? 0 : i + 1, end = lower ? i : a.n; j < end; ++j) subtract_product(sum, a(i, j), x[j * step]);
    x[i * step] = unit ? sum : quotient_of(sum, a(i, i));
  }
}

// --- host side
inline DType working_type(DType d) { return is_complex(d) ? DType::Complex128 : DType::Float64; }
template <class F>
void dispatch_working(DType d, F&& f) {
  if (is_complex(d)) return f(complex128{});
  f(double{});
}

// A contiguous copy in the working type, broadcast to `sizes`; kernels overwrite it.
inline Tensor working_copy(const TensorImpl& t, const Dims& sizes) {
  const Tensor copy = empty(sizes, working_type(t.dtype), t.device);
  copy_into(copy, alias(t, sizes, broadcast_strides(t.sizes, t.strides, sizes), t.offset));
  return copy;
}
inline Tensor working_copy(const TensorImpl& t) { return working_copy(t, t.sizes); }

// Number of matrices in front of the last two dims (`core`).
inline int64_t matrices(const Dims& sizes, int core = 2) {
  int64_t n = 1;
  for (int d = 0; d + core < sizes.size(); ++d) n *= sizes[d];
  return n;
}
inline Dims batch_dims(const Dims& sizes, int core = 2) {
  Dims batch = sizes;
  batch.resize_uninitialized(sizes.size() - core);
  return batch;
}

struct LuFactors {
  Tensor lu, pivots, info;  // working type (*, m, n); int32 (*, min(m, n)); int32 (*)
};
LuFactors lu_factors(const TensorImpl& a);

// x (*, rows, cols), in the working type, becomes the solution of op(A) X = X for every matrix of its batch, to which the batch of A
// broadcasts. Right sides are the columns of x, or (left false) its rows, of the transposed system.
void lu_substitute(const TensorImpl& lu, const int32_t* pivots, const Dims& a_sizes, const Tensor& x, bool left, bool adjoint);

}  // namespace mg::cuda
