// LU with partial pivoting, Cholesky, and what follows from them directly: determinants and the permutation behind LU's pivots. One block of
// threads a matrix (linalg.h); of a few large ones, the whole device a column. info is LAPACK's, checked in Python. Meta: ../../core/meta_linalg.cpp.
#include "linalg.h"

namespace mg::cuda {
namespace {

// Column k's largest number comes to the diagonal, and what is below is divided by it. info: 1 + the first column without a pivot.
template <class W>
__device__ void pivot_column(W* a, int32_t* pivots, int32_t* info, int64_t k, int64_t m, int64_t n) {
  const int64_t pivot = largest_of(a + k, k, m, n);
  for (int64_t j = threadIdx.x; j < n && pivot != k; j += blockDim.x) {
    const W swap = a[k * n + j];
    a[k * n + j] = a[pivot * n + j];
    a[pivot * n + j] = swap;
  }
  __syncthreads();
  const W top = a[k * n + k];
  for (int64_t i = k + 1 + threadIdx.x; i < m && !is_zero(top); i += blockDim.x) a[i * n + k] = quotient_of(a[i * n + k], top);
  if (threadIdx.x != 0) return;
  pivots[k] = int32_t(pivot + 1);
  if (k == 0) *info = 0;
  if (is_zero(top) && *info == 0) *info = int32_t(k + 1);
}
// What column and row k take from element e of the (m - k - 1) x (n - k - 1) rest.
template <class W>
MG_DEVICE void take_product(W* a, int64_t e, int64_t k, int64_t n) {
  const int64_t width = n - k - 1, i = k + 1 + e / width, j = k + 1 + e % width;
  subtract_product(a[i * n + j], a[i * n + k], a[k * n + j]);
}

// In place, one block a matrix.
template <class W>
__global__ void lu_kernel(W* matrices, int32_t* pivots, int32_t* info, int64_t m, int64_t n) {
  const int64_t steps = m < n ? m : n;
  W* a = matrices + blockIdx.x * m * n;
  if (threadIdx.x == 0) info[blockIdx.x] = 0;
  for (int64_t k = 0; k < steps; ++k) {
    pivot_column(a, pivots + blockIdx.x * steps, info + blockIdx.x, k, m, n);
    __syncthreads();
    for (int64_t e = threadIdx.x, count = (m - k - 1) * (n - k - 1); e < count; e += blockDim.x) take_product(a, e, k, n);
    __syncthreads();
  }
}
// The same by the whole device, two launches a column.
template <class W>
__global__ void lu_column_kernel(W* matrices, int32_t* pivots, int32_t* info, int64_t k, int64_t m, int64_t n) {
  pivot_column(matrices + blockIdx.x * m * n, pivots + blockIdx.x * (m < n ? m : n), info + blockIdx.x, k, m, n);
}
template <class W>
__global__ void lu_rest_kernel(W* matrices, int64_t k, int64_t m, int64_t n, int64_t count) {
  const int64_t each = (m - k - 1) * (n - k - 1);
  MG_GRID_LOOP(e, count) take_product(matrices + e / each * m * n, e % each, k, n);
}

// Column k of L in place. info: 1 + the first column whose pivot is not positive and finite; from there on nothing is done.
template <class W>
__device__ bool root_column(W* a, int32_t* info, int64_t k, int64_t n) {
  const double d = real_of(a[k * n + k]);
  const bool before = k > 0 && *info != 0, failed = before || !(d > 0) || d > std::numeric_limits<double>::max();
  __syncthreads();  // all have read both
  if (threadIdx.x == 0 && !before) *info = failed ? int32_t(k + 1) : 0;
  if (failed) return false;
  const double root = sqrt(d);
  for (int64_t i = k + threadIdx.x; i < n; i += blockDim.x) a[i * n + k] = i == k ? convert<W>(root) : quotient_of(a[i * n + k], convert<W>(root));
  return true;
}
template <class W>
MG_DEVICE void take_square(W* a, int64_t e, int64_t k, int64_t n) {
  const int64_t width = n - k - 1, i = k + 1 + e / width, j = k + 1 + e % width;
  if (j <= i) subtract_product(a[i * n + j], a[i * n + k], conj_of(a[j * n + k]));
}

// The lower triangle becomes L; above the diagonal stays what was there.
template <class W>
__global__ void cholesky_kernel(W* matrices, int32_t* info, int64_t n) {
  W* a = matrices + blockIdx.x * n * n;
  if (threadIdx.x == 0) info[blockIdx.x] = 0;
  for (int64_t k = 0; k < n; ++k) {
    if (!root_column(a, info + blockIdx.x, k, n)) break;
    __syncthreads();
    for (int64_t e = threadIdx.x, width = n - k - 1; e < width * width; e += blockDim.x) take_square(a, e, k, n);
    __syncthreads();
  }
}
template <class W>
__global__ void cholesky_column_kernel(W* matrices, int32_t* info, int64_t k, int64_t n) {
  root_column(matrices + blockIdx.x * n * n, info + blockIdx.x, k, n);
}
template <class W>
__global__ void cholesky_rest_kernel(W* matrices, const int32_t* info, int64_t k, int64_t n, int64_t count) {
  const int64_t each = (n - k - 1) * (n - k - 1);
  MG_GRID_LOOP(e, count) if (info[e / each] == 0) take_square(matrices + e / each * n * n, e % each, k, n);
}
template <class W>
__global__ void lower_kernel(W* a, int64_t n, int64_t count) {
  MG_GRID_LOOP(e, count) if (e % n > e / n % n) a[e] = W{};
}
template <class W>
void factor_cholesky(const Tensor& a, const Tensor& info) {
  const int64_t n = a.size(-1), count = matrices(a.sizes());
  if (!by_whole_device(n * n, count)) {
    launch_blocks(cholesky_kernel<W>, count, threads_for_matrix(n), 0, a.ptr<W>(), info.ptr<int32_t>(), n);
  } else {
    for (int64_t k = 0; k < n; ++k) {
      const int64_t rest = (n - k - 1) * (n - k - 1) * count;
      launch_blocks(cholesky_column_kernel<W>, count, kMostThreads, 0, a.ptr<W>(), info.ptr<int32_t>(), k, n);
      launch_items(cholesky_rest_kernel<W>, rest, a.ptr<W>(), static_cast<const int32_t*>(info.ptr<int32_t>()), k, n, rest);
    }
  }
  launch_items(lower_kernel<W>, a.numel(), a.ptr<W>(), n, a.numel());
}

// Conjugate transposes of square matrices, from one memory to another.
template <class W>
__global__ void adjoint_kernel(const W* from, W* to, int64_t n, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const int64_t within = i % (n * n);
    to[i] = conj_of(from[i - within + within % n * n + within / n]);
  }
}

template <class W>
__global__ void determinant_kernel(const W* lu, const int32_t* pivots, int64_t n, W* det, int64_t count) {
  MG_GRID_LOOP(i, count) {
    W product = convert<W>(1.0);
    for (int64_t d = 0; d < n; ++d) {
      const W v = lu[(i * n + d) * n + d];
      product = product_of(product, pivots[i * n + d] != d + 1 ? product_of(convert<W>(-1.0), v) : v);
    }
    det[i] = product;
  }
}
// As sign (of modulus 1, or 0; NaN counts as 0 for real ones) and logarithm of the modulus.
template <class W>
__global__ void log_determinant_kernel(const W* lu, const int32_t* pivots, int64_t n, W* sign, double* log_abs, int64_t count) {
  MG_GRID_LOOP(i, count) {
    W s = convert<W>(1.0);
    double sum = 0;
    for (int64_t d = 0; d < n; ++d) {
      const W v = lu[(i * n + d) * n + d];
      const double size = modulus_of(v);
      if constexpr (is_complex_element<W>) s = product_of(s, size == 0 ? W{} : W{v.re / size, v.im / size});
      else s *= double((v > 0) - (v < 0));
      if (pivots[i * n + d] != d + 1) s = product_of(convert<W>(-1.0), s);
      sum += log(size);
    }
    sign[i] = s;
    log_abs[i] = sum;
  }
}

__global__ void permutation_kernel(const int32_t* pivots, int64_t* order, int64_t steps, int64_t rows, int64_t count) {
  MG_GRID_LOOP(i, count) {
    int64_t* to = order + i * rows;
    for (int64_t r = 0; r < rows; ++r) to[r] = r;
    for (int64_t r = 0; r < steps; ++r) {
      const int64_t with = pivots[i * steps + r] - 1;
      if (with < 0 || with >= rows) continue;
      const int64_t swap = to[r];
      to[r] = to[with];
      to[with] = swap;
    }
  }
}

// _linalg_lu_factor(input) -> LU, pivots, info
void lu_factor_cuda(Invocation& inv) {
  const LuFactors f = lu_factors(inv.in(0));
  copy_into(inv.outs[0], f.lu);
  copy_into(inv.outs[1], f.pivots);
  copy_into(inv.outs[2], f.info);
}

// _linalg_cholesky(input, upper) -> L, info. The upper factor is the adjoint of the lower one of the matrix that the upper triangle means.
void cholesky_cuda(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  const bool upper = inv.b(1);
  const int64_t n = in.sizes.back();
  const Tensor given = working_copy(in), info = empty(batch_dims(in.sizes), DType::Int32, in.device);
  const Tensor turned = upper ? empty(in.sizes, given.dtype(), in.device) : given;
  dispatch_working(in.dtype, [&](auto tag) {
    using W = decltype(tag);
    if (upper) launch_items(adjoint_kernel<W>, given.numel(), static_cast<const W*>(given.ptr<W>()), turned.ptr<W>(), n, given.numel());
    factor_cholesky<W>(turned, info);
    if (upper) launch_items(adjoint_kernel<W>, given.numel(), static_cast<const W*>(turned.ptr<W>()), given.ptr<W>(), n, given.numel());
  });
  copy_into(inv.outs[0], given);
  copy_into(inv.outs[1], info);
}

// _linalg_det(input) -> out, LU, pivots
void det_cuda(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  const LuFactors f = lu_factors(in);
  const Tensor det = empty(batch_dims(in.sizes), f.lu.dtype(), in.device);
  dispatch_working(in.dtype, [&](auto tag) {
    using W = decltype(tag);
    launch_items(determinant_kernel<W>, det.numel(), static_cast<const W*>(f.lu.ptr<W>()), static_cast<const int32_t*>(f.pivots.ptr<int32_t>()),
                 in.sizes.back(), det.ptr<W>(), det.numel());
  });
  copy_into(inv.outs[0], det);
  copy_into(inv.outs[1], f.lu);
  copy_into(inv.outs[2], f.pivots);
}

// _linalg_slogdet(input) -> sign, logabsdet, LU, pivots
void slogdet_cuda(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  const LuFactors f = lu_factors(in);
  const Dims batch = batch_dims(in.sizes);
  const Tensor sign = empty(batch, f.lu.dtype(), in.device), log_abs = empty(batch, DType::Float64, in.device);
  dispatch_working(in.dtype, [&](auto tag) {
    using W = decltype(tag);
    launch_items(log_determinant_kernel<W>, sign.numel(), static_cast<const W*>(f.lu.ptr<W>()), static_cast<const int32_t*>(f.pivots.ptr<int32_t>()),
                 in.sizes.back(), sign.ptr<W>(), log_abs.ptr<double>(), sign.numel());
  });
  copy_into(inv.outs[0], sign);
  copy_into(inv.outs[1], log_abs);
  copy_into(inv.outs[2], f.lu);
  copy_into(inv.outs[3], f.pivots);
}

// _lu_permutation(pivots, rows) -> out: row i of L U is row out[i] of A.
void lu_permutation_cuda(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const Tensor pivots = staged(inv.in(0), DType::Int32);
  const StagedOut out(inv.outs[0], DType::Int64);
  const int64_t rows = inv.out().sizes.back(), count = inv.out().numel / rows;
  launch_items(permutation_kernel, count, static_cast<const int32_t*>(pivots.ptr<int32_t>()), out.ptr<int64_t>(), inv.in(0).sizes.back(), rows, count);
  out.commit();
}

}  // namespace

LuFactors lu_factors(const TensorImpl& a) {
  const int64_t m = a.sizes[a.dim() - 2], n = a.sizes.back();
  Dims batch = batch_dims(a.sizes), vectors = batch;
  vectors.push_back(std::min(m, n));
  LuFactors f{working_copy(a), empty(vectors, DType::Int32, a.device), empty(batch, DType::Int32, a.device)};
  dispatch_working(a.dtype, [&](auto tag) {
    using W = decltype(tag);
    const int64_t count = matrices(a.sizes);
    W* const lu = f.lu.ptr<W>();
    int32_t *const pivots = f.pivots.ptr<int32_t>(), *const info = f.info.ptr<int32_t>();
    if (!by_whole_device(m * n, count)) return launch_blocks(lu_kernel<W>, count, threads_for_matrix(std::max(m, n)), 0, lu, pivots, info, m, n);
    for (int64_t k = 0; k < std::min(m, n); ++k) {
      const int64_t rest = (m - k - 1) * (n - k - 1) * count;
      launch_blocks(lu_column_kernel<W>, count, kMostThreads, 0, lu, pivots, info, k, m, n);
      launch_items(lu_rest_kernel<W>, rest, lu, k, m, n, rest);
    }
  });
  return f;
}

MG_CUDA_KERNEL("_linalg_lu_factor", lu_factor_cuda);
MG_CUDA_KERNEL("_linalg_cholesky", cholesky_cuda);
MG_CUDA_KERNEL("_linalg_det", det_cuda);
MG_CUDA_KERNEL("_linalg_slogdet", slogdet_cuda);
MG_CUDA_KERNEL("_lu_permutation", lu_permutation_cuda);
MG_CUDA_KERNEL_COMPLEX("_linalg_lu_factor", lu_factor_cuda);
MG_CUDA_KERNEL_COMPLEX("_linalg_cholesky", cholesky_cuda);
MG_CUDA_KERNEL_COMPLEX("_linalg_det", det_cuda);
MG_CUDA_KERNEL_COMPLEX("_linalg_slogdet", slogdet_cuda);

}  // namespace mg::cuda
