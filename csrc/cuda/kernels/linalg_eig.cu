// Eigenvalues and vectors of general matrices: Hessenberg form by reflectors, then QR steps with Wilkinson's shift down to a triangle (the Schur
// form), whose vectors come by substitution. All in complex128, one block of threads a matrix: real matrices have complex eigenvalues, and
// one code is simpler than two. Sources: J. Francis, The QR transformation (1961); G. Golub and C. Van Loan, Matrix Computations, 7.4 to 7.6.
// Meta: ../../core/meta_linalg.cpp.
#include "linalg_decompose.h"
#include "matmul.h"
#include "warp.h"

namespace mg::cuda {
namespace {

using Z = complex128;

struct Sum {
  MG_DEVICE double operator()(double a, double b) const { return a + b; }
};
struct Largest {
  MG_DEVICE double operator()(double a, double b) const { return fmax(a, b); }
};
MG_DEVICE Z difference_of(Z a, Z b) { return {a.re - b.re, a.im - b.im}; }
MG_DEVICE Z root_of(Z a) {
  const double m = sqrt((fabs(a.re) + hypot(a.re, a.im)) / 2);
  if (m == 0) return {0, 0};
  return a.re >= 0 ? Z{m, a.im / (2 * m)} : Z{fabs(a.im) / (2 * m), copysign(m, a.im)};
}

// One matrix scaled by a power of two to a largest number of about 1; 0 if it is not finite. Returns Frobenius' norm.
__device__ double scale_matrix(Z* a, int64_t n, double* scale, int32_t* info) {
  double largest = 0;
  for (int64_t e = threadIdx.x; e < n * n; e += blockDim.x)
    largest = fmax(largest, is_finite_number(a[e]) ? largest_part(a[e]) : std::numeric_limits<double>::infinity());
  largest = block_reduce(largest, Largest{});
  const bool finite = is_finite_number(largest);
  const int exponent = finite && largest > 0 ? -ilogb(largest) : 0;
  const double factor = scalbn(1.0, exponent > 1000 ? 1000 : exponent);
  double squares = 0;
  for (int64_t e = threadIdx.x; e < n * n; e += blockDim.x) {
    a[e] = finite ? scaled(factor, a[e]) : Z{0, 0};
    squares += square_of(a[e]);
  }
  if (threadIdx.x == 0) {
    *scale = factor;
    *info = finite ? 0 : kNotFinite;
  }
  return sqrt(block_reduce(squares, Sum{}));  // whose barriers let all see all of `a`
}

// a <- Q^H a Q with zeros below the first subdiagonal, z <- Q. v: n numbers.
__device__ void to_hessenberg(Z* a, Z* z, Z* v, int64_t n) {
  for (int64_t e = threadIdx.x; e < n * n; e += blockDim.x) z[e] = {e / n == e % n ? 1.0 : 0.0, 0};
  __syncthreads();
  for (int64_t k = 0; k + 2 < n; ++k) {
    double squares = 0;
    for (int64_t i = k + 2 + threadIdx.x; i < n; i += blockDim.x) squares += square_of(a[i * n + k]);
    squares = block_reduce(squares, Sum{});
    if (squares == 0) continue;
    const Z alpha = a[(k + 1) * n + k];
    const double size = modulus_of(alpha), norm = sqrt(squares + size * size);
    const Z phase = size == 0 ? Z{1, 0} : scaled(1 / size, alpha);
    // v = column + phase * norm e, H = 1 - v v^H / (norm (norm + size)); the column becomes -phase * norm e
    for (int64_t i = k + 1 + threadIdx.x; i < n; i += blockDim.x) v[i] = i == k + 1 ? sum_of(alpha, scaled(norm, phase)) : a[i * n + k];
    const double factor = 1 / (norm * (norm + size));
    __syncthreads();
    for (int64_t j = k + threadIdx.x; j < n; j += blockDim.x) {
      Z dot{0, 0};
      for (int64_t i = k + 1; i < n; ++i) add_product(dot, conj_of(v[i]), a[i * n + j]);
      dot = scaled(factor, dot);
      for (int64_t i = k + 1; i < n; ++i) subtract_product(a[i * n + j], v[i], dot);
    }
    __syncthreads();
    for (int64_t r = threadIdx.x; r < 2 * n; r += blockDim.x) {
      Z* row = r < n ? a + r * n : z + (r - n) * n;
      Z dot{0, 0};
      for (int64_t j = k + 1; j < n; ++j) add_product(dot, row[j], v[j]);
      dot = scaled(factor, dot);
      for (int64_t j = k + 1; j < n; ++j) subtract_product(row[j], dot, conj_of(v[j]));
    }
    __syncthreads();
    for (int64_t i = k + 2 + threadIdx.x; i < n; i += blockDim.x) a[i * n + k] = {0, 0};
    __syncthreads();
  }
}

// The start of the last unreduced block that ends with row `last`: above it the subdiagonal is negligible.
__device__ int64_t block_start(const Z* h, int64_t last, int64_t n, double norm) {
  int64_t first = last;
  for (; first > 0; --first) {
    const double near = magnitude_of(h[first * n + first]) + magnitude_of(h[(first - 1) * n + first - 1]);
    if (magnitude_of(h[first * n + first - 1]) <= 1.1e-16 * (near == 0 ? norm : near)) break;
  }
  return first;
}

// Wilkinson's shift: the eigenvalue of the last 2 x 2 block that is nearer to its corner; now and then another one, against cycles.
__device__ Z shift_of(const Z* h, int64_t last, int64_t n, int step) {
  const Z a = h[(last - 1) * n + last - 1], b = h[(last - 1) * n + last], c = h[last * n + last - 1], d = h[last * n + last];
  if (step % 10 == 9) return sum_of(d, Z{0.75 * modulus_of(c), 0});
  const Z half = scaled(0.5, difference_of(a, d)), product = product_of(b, c);
  Z root = root_of(sum_of(product_of(half, half), product));
  if (half.re * root.re + half.im * root.im < 0) root = scaled(-1.0, root);
  const Z divisor = sum_of(half, root);
  return is_zero(divisor) ? d : difference_of(d, quotient_of(product, divisor));
}

// Rows k, k + 1 from the left, columns k, k + 1 from the right and of z: the rotation that turns (x, y) onto (r, 0).
__device__ void turn(Z* h, Z* z, int64_t k, int64_t from, int64_t last, int64_t n, Z x, Z y) {
  const double size = modulus_of(x), r = hypot(size, modulus_of(y));
  const double c = r == 0 ? 1 : size / r;
  const Z s = r == 0 ? Z{0, 0} : scaled(1 / r, size == 0 ? conj_of(y) : product_of(scaled(1 / size, x), conj_of(y)));
  __syncthreads();  // all have read x and y
  for (int64_t j = from + threadIdx.x; j < n; j += blockDim.x) {
    const Z p = h[k * n + j], q = h[(k + 1) * n + j];
    h[k * n + j] = sum_of(scaled(c, p), product_of(s, q));
    h[(k + 1) * n + j] = j == from && from < k ? Z{0, 0} : difference_of(scaled(c, q), product_of(conj_of(s), p));
  }
  __syncthreads();
  const int64_t rows = k + 2 < last ? k + 3 : last + 1;
  for (int64_t i = threadIdx.x; i < rows + n; i += blockDim.x) {
    Z* row = i < rows ? h + i * n : z + (i - rows) * n;
    const Z p = row[k], q = row[k + 1];
    row[k] = sum_of(scaled(c, p), product_of(conj_of(s), q));
    row[k + 1] = difference_of(scaled(c, q), product_of(s, p));
  }
  __syncthreads();
}

// A = z T z^H: `matrices` become T (below the diagonal: anything), z the Schur vectors.
__global__ void schur_kernel(Z* matrices, Z* vectors, Z* columns, double* scales, double* norms, int32_t* infos, int64_t n) {
  Z *h = matrices + blockIdx.x * n * n, *z = vectors + blockIdx.x * n * n;
  const double norm = scale_matrix(h, n, scales + blockIdx.x, infos + blockIdx.x);
  if (threadIdx.x == 0) norms[blockIdx.x] = norm;
  to_hessenberg(h, z, columns + blockIdx.x * n, n);
  int step = 0;
  for (int64_t last = n - 1; last > 0;) {
    const int64_t first = block_start(h, last, n, norm);
    __syncthreads();
    if (threadIdx.x == 0 && first > 0) h[first * n + first - 1] = {0, 0};
    if (first == last) {
      --last, step = 0;
      continue;
    }
    if (step++ == 300) {
      if (threadIdx.x == 0) infos[blockIdx.x] = int32_t(last + 1);
      return;
    }
    const Z shift = shift_of(h, last, n, step);
    for (int64_t k = first; k < last; ++k) {
      const Z x = k == first ? difference_of(h[k * n + k], shift) : h[k * n + k - 1];
      const Z y = h[(k + 1) * n + (k == first ? k : k - 1)];
      turn(h, z, k, k == first ? k : k - 1, last, n, x, y);
    }
  }
}

// Column j of x: the eigenvector of T for its j-th eigenvalue.
__global__ void triangle_vectors_kernel(const Z* triangles, const double* norms, Z* x, int64_t n, int64_t count) {
  MG_GRID_LOOP(e, count) {
    const int64_t matrix = e / n, j = e % n;
    const Z* t = triangles + matrix * n * n;
    Z* own = x + matrix * n * n + j;
    const double least = fmax(2.2e-16 * norms[matrix], 1e-290);
    for (int64_t i = j + 1; i < n; ++i) own[i * n] = {0, 0};
    own[j * n] = {1, 0};
    for (int64_t i = j - 1; i >= 0; --i) {
      Z sum{0, 0};
      for (int64_t m = i + 1; m <= j; ++m) add_product(sum, t[i * n + m], own[m * n]);
      Z gap = difference_of(t[j * n + j], t[i * n + i]);
      if (magnitude_of(gap) < least) gap = {least, 0};  // equal eigenvalues: the vectors then are, too, up to rounding
      own[i * n] = quotient_of(sum, gap);
      const double size = magnitude_of(own[i * n]);
      if (size > 1e100)
        for (int64_t m = i; m <= j; ++m) own[m * n] = scaled(1 / size, own[m * n]);
    }
  }
}

// Unit vectors whose largest number is real and positive; eigenvalues in the matrix's own scale. What belongs to a real matrix's real
// eigenvalue becomes real.
__global__ void finish_kernel(const Z* triangles, const double* scales, const double* norms, bool real, Z* values, Z* vectors, int64_t n,
                              int64_t count) {
  MG_GRID_LOOP(e, count) {
    const int64_t matrix = e / n, j = e % n;
    Z value = triangles[(matrix * n + j) * n + j];
    const bool on_axis = real && fabs(value.im) <= 2.2e-16 * double(n) * norms[matrix];
    if (on_axis) value.im = 0;
    values[e] = {value.re / scales[matrix], value.im / scales[matrix]};
    if (vectors == nullptr) continue;
    Z* own = vectors + matrix * n * n + j;
    double most = 0, squares = 0;
    int64_t at = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double size = modulus_of(own[i * n]);
      if (size > most) most = size, at = i;
    }
    const Z phase = most == 0 ? Z{1, 0} : conj_of(scaled(1 / most, own[at * n]));
    for (int64_t i = 0; i < n; ++i) {
      Z x = product_of(phase, scaled(most == 0 ? 1 : 1 / most, own[i * n]));
      if (i == at || on_axis) x.im = 0;
      own[i * n] = x;
      squares += square_of(x);
    }
    for (int64_t i = 0; i < n && squares > 0; ++i) own[i * n] = scaled(1 / sqrt(squares), own[i * n]);
  }
}

// _linalg_eig(input, compute_v) -> eigenvalues, eigenvectors, info
void eig_cuda(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  const bool with_vectors = inv.b(1);
  const int64_t n = in.sizes.back(), count = matrices(in.sizes);
  const Dims batch = batch_dims(in.sizes), each = with_sizes(batch, {n});
  const auto make = [&](const Dims& sizes, DType dtype) { return empty(sizes, dtype, in.device); };
  const Tensor t = make(in.sizes, DType::Complex128), z = make(in.sizes, DType::Complex128), column = make(each, DType::Complex128);
  const Tensor scale = make(batch, DType::Float64), norm = make(batch, DType::Float64), info = make(batch, DType::Int32);
  const Tensor values = make(each, DType::Complex128);
  copy_into(t, alias(in));
  launch_blocks(schur_kernel, count, threads_for_row(n), 0, t.ptr<Z>(), z.ptr<Z>(), column.ptr<Z>(), scale.ptr<double>(), norm.ptr<double>(),
                info.ptr<int32_t>(), n);
  const Z* const triangle = t.ptr<Z>();
  const double *const scales = scale.ptr<double>(), *const norms = norm.ptr<double>();
  Tensor vectors;
  if (with_vectors) {
    const Tensor x = make(in.sizes, DType::Complex128);
    launch_items(triangle_vectors_kernel, count * n, triangle, norms, x.ptr<Z>(), n, count * n);
    vectors = make(in.sizes, DType::Complex128);
    matrix_product(*z, *x, vectors);
  }
  launch_items(finish_kernel, count * n, triangle, scales, norms, !is_complex(in.dtype), values.ptr<Z>(), with_vectors ? vectors.ptr<Z>() : nullptr, n,
               count * n);
  spoil(values, info);
  copy_into(inv.outs[0], values);
  copy_into(inv.outs[2], info);
  if (!with_vectors) return;
  spoil(vectors, info);
  copy_into(inv.outs[1], vectors);
}

}  // namespace

MG_CUDA_KERNEL("_linalg_eig", eig_cuda);
MG_CUDA_KERNEL_COMPLEX("_linalg_eig", eig_cuda);

}  // namespace mg::cuda
