// What the linear algebra kernels (linalg_*.cu) share. Everything is computed in double or complex128, row-major, one block of threads a
// matrix (of a few large ones: the device a column) or one thread a vector. Decompositions are in linalg_decompose.h.
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
MG_DEVICE void add_product(double& x, double a, double b) { x += a * b; }
MG_DEVICE void add_product(complex128& x, complex128 a, complex128 b) {
  x.re += a.re * b.re - a.im * b.im;
  x.im += a.re * b.im + a.im * b.re;
}
MG_DEVICE double sum_of(double a, double b) { return a + b; }
MG_DEVICE complex128 sum_of(complex128 a, complex128 b) { return {a.re + b.re, a.im + b.im}; }
MG_DEVICE double scaled(double factor, double x) { return factor * x; }
MG_DEVICE complex128 scaled(double factor, complex128 x) { return {factor * x.re, factor * x.im}; }
MG_DEVICE double square_of(double x) { return x * x; }
MG_DEVICE double square_of(complex128 x) { return x.re * x.re + x.im * x.im; }
MG_DEVICE double largest_part(double x) { return fabs(x); }
MG_DEVICE double largest_part(complex128 x) { return fmax(fabs(x.re), fabs(x.im)); }
MG_DEVICE bool is_finite_number(double x) { return x - x == 0; }
MG_DEVICE bool is_finite_number(complex128 x) { return x.re - x.re == 0 && x.im - x.im == 0; }
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
MG_DEVICE double imaginary_of(double) { return 0; }
MG_DEVICE double imaginary_of(complex128 x) { return x.im; }
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

constexpr int kMostThreads = 256;

// The first place of the largest magnitude among column[i * step], from <= i < to; all threads of the block get it.
template <class W>
__device__ int64_t largest_of(const W* column, int64_t from, int64_t to, int64_t step) {
  MG_SHARED(double, value, [kMostThreads]);
  MG_SHARED(int64_t, place, [kMostThreads]);
  const int t = int(threadIdx.x), threads = int(blockDim.x);
  double best = -1;
  int64_t at = from;
  for (int64_t i = from + t; i < to; i += threads)
    if (const double v = magnitude_of(column[i * step]); v > best) best = v, at = i;
  value[t] = best, place[t] = at;
  __syncthreads();
  for (int half = threads / 2; half > 0; half /= 2) {
    if (t < half && (value[t + half] > value[t] || (value[t + half] == value[t] && place[t + half] < place[t])))
      value[t] = value[t + half], place[t] = place[t + half];
    __syncthreads();
  }
  const int64_t found = place[0];
  __syncthreads();
  return found;
}

// --- host side
inline unsigned threads_for_matrix(int64_t n) {  // a power of two: largest_of halves them
  unsigned threads = 32;
  while (threads < unsigned(kMostThreads) && int64_t(threads) < n * n / 4) threads *= 2;
  return threads;
}

inline DType working_type(DType d) { return is_complex(d) ? DType::Complex128 : DType::Float64; }
template <class F>
void dispatch_working(DType d, F&& f) {
  if (is_complex(d)) return f(complex128{});
  f(double{});
}

// Whether a factorization is worth launches for each column, so that all multiprocessors take part: one block would be alone with it.
inline bool by_whole_device(int64_t elements, int64_t matrices) { return elements >= 192 * 192 && matrices < 16; }

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

// The same numbers seen as the transposes of the matrices.
inline Tensor transposed(const Tensor& t) {
  Dims sizes = t.sizes(), strides = t->strides;
  const int d = sizes.size();
  std::swap(sizes[d - 2], sizes[d - 1]);
  std::swap(strides[d - 2], strides[d - 1]);
  return alias(*t, sizes, strides, t->offset);
}
inline Dims with_sizes(Dims batch, std::initializer_list<int64_t> more) {
  for (const int64_t n : more) batch.push_back(n);
  return batch;
}

template <class W>
__global__ void conjugate_kernel(W* x, int64_t count) {
  MG_GRID_LOOP(i, count) x[i] = conj_of(x[i]);
}
inline void conjugate(const Tensor& t) {  // contiguous, in the working type
  if (t.dtype() == DType::Complex128) launch_items(conjugate_kernel<complex128>, t.numel(), t.ptr<complex128>(), t.numel());
}

template <class W>
__global__ void eye_kernel(W* x, int64_t rows, int64_t columns, int64_t count) {
  MG_GRID_LOOP(i, count) x[i] = convert<W>(i / columns % rows == i % columns ? 1.0 : 0.0);
}
// Matrices with ones on the diagonal.
inline Tensor eyes(const Dims& batch, int64_t rows, int64_t columns, DType working, Device device) {
  const Tensor x = empty(with_sizes(batch, {rows, columns}), working, device);
  dispatch_working(working, [&](auto tag) {
    using W = decltype(tag);
    launch_items(eye_kernel<W>, x.numel(), x.ptr<W>(), rows, columns, x.numel());
  });
  return x;
}

struct LuFactors {
  Tensor lu, pivots, info;  // working type (*, m, n); int32 (*, min(m, n)); int32 (*)
};
LuFactors lu_factors(const TensorImpl& a);

// x (*, rows, cols), in the working type, becomes the solution of op(A) X = X for every matrix of its batch, to which the batch of A
// broadcasts. Right sides are the columns of x, or (left false) its rows, of the transposed system.
void lu_substitute(const TensorImpl& lu, const int32_t* pivots, const Dims& a_sizes, const Tensor& x, bool left, bool adjoint);

}  // namespace mg::cuda
