// QR by Householder's reflectors, as LAPACK leaves them (same signs), and products with them. The factorization takes one block a matrix (of
// a few large ones, the device a column), a product one thread a vector: it needs no other. Meta: ../../core/meta_linalg.cpp.
//
// Legend: A (*, m, n), k = min(m, n), tau (*, k).
#include "gemm_operands.h"
#include "linalg_decompose.h"
#include "warp.h"

namespace mg::cuda {
namespace {

// Euclidean norm as scale * sqrt(sum): no square over- or underflows.
struct Norm {
  double scale, sum;
  MG_DEVICE void add(double x) {
    const double v = fabs(x);
    if (v == 0) return;
    if (v > scale) {
      sum = 1 + sum * (scale / v) * (scale / v);
      scale = v;
    } else {
      sum += (v / scale) * (v / scale);
    }
  }
  MG_DEVICE void add(complex128 x) { add(x.re), add(x.im); }
};
struct MergeNorms {
  MG_DEVICE Norm operator()(Norm a, Norm b) const {
    if (b.scale == 0) return {a.scale, a.sum + b.sum};  // a sum without scale: 0, or NaN
    if (a.scale < b.scale) return {b.scale, b.sum + a.sum * (a.scale / b.scale) * (a.scale / b.scale)};
    return {a.scale, a.sum + b.sum * (b.scale / a.scale) * (b.scale / a.scale)};
  }
};

// The reflector that turns column k onto the diagonal, in place.
template <class W>
__device__ void reflect_column(W* a, W* tau, int64_t k, int64_t m, int64_t n) {
  Norm below{0, 0};
  for (int64_t i = k + 1 + threadIdx.x; i < m; i += blockDim.x) below.add(a[i * n + k]);
  below = block_reduce(below, MergeNorms{});
  const W alpha = a[k * n + k];
  const bool plain = below.scale == 0 && below.sum == 0 && imaginary_of(alpha) == 0;
  const double beta = -copysign(hypot(modulus_of(alpha), below.scale * sqrt(below.sum)), real_of(alpha));
  W factor = convert<W>(beta), divisor = alpha;
  subtract_product(factor, alpha, convert<W>(1.0));
  subtract_product(divisor, convert<W>(beta), convert<W>(1.0));
  __syncthreads();  // all have read the diagonal
  if (threadIdx.x == 0) tau[k] = plain ? W{} : scaled(1 / beta, factor);
  if (plain) return;
  for (int64_t i = k + 1 + threadIdx.x; i < m; i += blockDim.x) a[i * n + k] = quotient_of(a[i * n + k], divisor);
  if (threadIdx.x == 0) a[k * n + k] = convert<W>(beta);
}
// Column j turned by reflector k (adjoint).
template <class W>
MG_DEVICE void turn_column(W* a, W tau, int64_t k, int64_t j, int64_t m, int64_t n) {
  W dot = a[k * n + j];
  for (int64_t i = k + 1; i < m; ++i) add_product(dot, conj_of(a[i * n + k]), a[i * n + j]);
  dot = product_of(conj_of(tau), dot);
  subtract_product(a[k * n + j], dot, convert<W>(1.0));
  for (int64_t i = k + 1; i < m; ++i) subtract_product(a[i * n + j], a[i * n + k], dot);
}

// One block a matrix.
template <class W>
__global__ void reflectors_kernel(W* matrices, W* taus, int64_t m, int64_t n) {
  const int64_t steps = m < n ? m : n;
  W *a = matrices + blockIdx.x * m * n, *tau = taus + blockIdx.x * steps;
  for (int64_t k = 0; k < steps; ++k) {
    reflect_column(a, tau, k, m, n);
    __syncthreads();
    for (int64_t j = k + 1 + threadIdx.x; j < n; j += blockDim.x) turn_column(a, tau[k], k, j, m, n);
    __syncthreads();
  }
}
// The same by the whole device, two launches a column: 32 columns a block, whose rows of threads share their sums.
template <class W>
__global__ void reflect_column_kernel(W* matrices, W* taus, int64_t k, int64_t m, int64_t n) {
  reflect_column(matrices + blockIdx.x * m * n, taus + blockIdx.x * (m < n ? m : n), k, m, n);
}
constexpr int kRowsOfThreads = 8;
template <class W>
__global__ void turn_rest_kernel(W* matrices, const W* taus, int64_t k, int64_t m, int64_t n) {
  using Slot = typename Bare<W>::type;
  MG_SHARED(Slot, parts, [kRowsOfThreads][32]);
  W* a = matrices + blockIdx.y * m * n;
  const W tau = taus[blockIdx.y * (m < n ? m : n) + k];
  const int64_t j = k + 1 + int64_t(blockIdx.x) * 32 + threadIdx.x;
  W dot{};
  if (j < n) {
    if (threadIdx.y == 0) dot = a[k * n + j];
    for (int64_t i = k + 1 + threadIdx.y; i < m; i += kRowsOfThreads) add_product(dot, conj_of(a[i * n + k]), a[i * n + j]);
  }
  parts[threadIdx.y][threadIdx.x] = dot;
  __syncthreads();
  if (j >= n) return;
  dot = parts[0][threadIdx.x];
  for (int y = 1; y < kRowsOfThreads; ++y) dot = sum_of(dot, W(parts[y][threadIdx.x]));
  dot = product_of(conj_of(tau), dot);
  if (threadIdx.y == 0) subtract_product(a[k * n + j], dot, convert<W>(1.0));
  for (int64_t i = k + 1 + threadIdx.y; i < m; i += kRowsOfThreads) subtract_product(a[i * n + j], a[i * n + k], dot);
}

struct Reflection {
  int64_t rows, columns, given, count;  // of x; columns of the matrix with the reflectors; number of them
  bool left, adjoint;
};

// Each thread turns one vector, a column of x (left) or a row, by all reflectors.
template <class W>
__global__ void reflect_kernel(const W* matrices, const W* taus, W* out, Reflection s, int64_t vectors) {
  MG_GRID_LOOP(v, vectors) {
    const int64_t each = s.left ? s.columns : s.rows, matrix = v / each, own = v - matrix * each;
    const int64_t size = s.left ? s.rows : s.columns, step = s.left ? s.columns : 1;
    W* x = out + matrix * s.rows * s.columns + (s.left ? own : own * s.columns);
    const W* a = matrices + matrix * size * s.given;
    const bool forward = s.left == s.adjoint;  // Q^H x and x Q meet H_0 first
    for (int64_t at = 0; at < s.count; ++at) {
      const int64_t k = forward ? at : s.count - 1 - at;
      const W tau = taus[matrix * s.count + k];
      if (is_zero(tau)) continue;
      W dot = x[k * step];
      for (int64_t i = k + 1; i < size; ++i) {
        const W h = a[i * s.given + k];
        add_product(dot, s.left ? conj_of(h) : h, x[i * step]);
      }
      dot = product_of(s.adjoint ? conj_of(tau) : tau, dot);
      subtract_product(x[k * step], dot, convert<W>(1.0));
      for (int64_t i = k + 1; i < size; ++i) {
        const W h = a[i * s.given + k];
        subtract_product(x[i * step], s.left ? h : conj_of(h), dot);
      }
    }
  }
}

// The upper triangle of the first `rows` of each matrix's m rows.
template <class W>
__global__ void upper_kernel(W* out, const W* a, int64_t m, int64_t rows, int64_t n, int64_t count) {
  MG_GRID_LOOP(e, count) {
    const int64_t matrix = e / (rows * n), within = e - matrix * rows * n;
    out[e] = within % n >= within / n ? a[matrix * m * n + within] : W{};
  }
}

// _linalg_qr(input, mode) -> Q, R with mode 0 reduced, 1 complete, 2 R alone
void qr_cuda(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  const Tensor a = working_copy(in), tau = reflectors_of(a);
  const int64_t mode = inv.i(1), m = a.size(-2), n = a.size(-1), rows = mode == 1 ? m : std::min(m, n);
  const Dims batch = batch_dims(in.sizes);
  const Tensor r = empty(with_sizes(batch, {rows, n}), a.dtype(), in.device);
  dispatch_working(in.dtype, [&](auto tag) {
    using W = decltype(tag);
    launch_items(upper_kernel<W>, r.numel(), r.ptr<W>(), static_cast<const W*>(a.ptr<W>()), m, rows, n, r.numel());
  });
  copy_into(inv.outs[1], r);
  if (mode == 2) return;
  const Tensor q = eyes(batch, m, rows, a.dtype(), in.device);
  reflect(a, tau, q, true, false);
  copy_into(inv.outs[0], q);
}

// _geqrf(input) -> a, tau
void geqrf_cuda(Invocation& inv) {
  const Tensor a = working_copy(inv.in(0)), tau = reflectors_of(a);
  copy_into(inv.outs[0], a);
  copy_into(inv.outs[1], tau);
}

// _householder_product(input, tau) -> out
void householder_cuda(Invocation& inv) {
  const Tensor a = working_copy(inv.in(0)), tau = working_copy(inv.in(1));
  const Tensor q = eyes(batch_dims(a.sizes()), a.size(-2), a.size(-1), a.dtype(), a.device());
  reflect(a, tau, q, true, false);
  copy_into(inv.outs[0], q);
}

// _ormqr(input, tau, other, left, transpose) -> out: Q other, Q^H other, other Q, other Q^H
void ormqr_cuda(Invocation& inv) {
  const Tensor a = working_copy(inv.in(0)), tau = working_copy(inv.in(1)), x = working_copy(inv.in(2));
  reflect(a, tau, x, inv.b(3), inv.b(4));
  copy_into(inv.outs[0], x);
}

}  // namespace

Tensor reflectors_of(const Tensor& a) {
  const int64_t m = a.size(-2), n = a.size(-1);
  const Tensor tau = empty(with_sizes(batch_dims(a.sizes()), {std::min(m, n)}), a.dtype(), a.device());
  if (tau.numel() == 0) return tau;
  dispatch_working(a.dtype(), [&](auto tag) {
    using W = decltype(tag);
    const int64_t count = matrices(a.sizes());
    W *const data = a.ptr<W>(), *const factors = tau.ptr<W>();
    if (!by_whole_device(m * n, count)) return launch_blocks(reflectors_kernel<W>, count, threads_for_row(std::max(m, n)), 0, data, factors, m, n);
    for (int64_t k = 0; k < std::min(m, n); ++k) {
      launch_blocks(reflect_column_kernel<W>, count, threads_for_row(m - k), 0, data, factors, k, m, n);
      if (k + 1 == n) break;
      launch(turn_rest_kernel<W>, dim3(unsigned((n - k + 30) / 32), unsigned(count)), dim3(32, kRowsOfThreads), 0, current_stream(), data,
             static_cast<const W*>(factors), k, m, n);
    }
  });
  return tau;
}

void reflect(const Tensor& a, const Tensor& tau, const Tensor& x, bool left, bool adjoint) {
  const Reflection s{x.size(-2), x.size(-1), a.size(-1), tau.size(-1), left, adjoint};
  if (x.numel() == 0 || s.count == 0) return;
  const int64_t vectors = matrices(x.sizes()) * (left ? s.columns : s.rows);
  dispatch_working(a.dtype(), [&](auto tag) {
    using W = decltype(tag);
    launch_items(reflect_kernel<W>, vectors, static_cast<const W*>(a.ptr<W>()), static_cast<const W*>(tau.ptr<W>()), x.ptr<W>(), s, vectors);
  });
}

MG_CUDA_KERNEL("_linalg_qr", qr_cuda);
MG_CUDA_KERNEL("_geqrf", geqrf_cuda);
MG_CUDA_KERNEL("_householder_product", householder_cuda);
MG_CUDA_KERNEL("_ormqr", ormqr_cuda);
MG_CUDA_KERNEL_COMPLEX("_linalg_qr", qr_cuda);
MG_CUDA_KERNEL_COMPLEX("_geqrf", geqrf_cuda);
MG_CUDA_KERNEL_COMPLEX("_householder_product", householder_cuda);
MG_CUDA_KERNEL_COMPLEX("_ormqr", ormqr_cuda);

}  // namespace mg::cuda
