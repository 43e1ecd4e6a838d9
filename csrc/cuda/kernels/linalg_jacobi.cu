// Singular values and Hermitian eigenvalues by one-sided Jacobi rotations: pairs of columns are turned until all are orthogonal; their
// lengths are then the singular values, the product of the rotations V. Simple, parallel, and as accurate as the matrix allows (Demmel and
// Veselic, Jacobi's method is more accurate than QR, SIAM J. Matrix Anal. Appl. 13, 1992). A Hermitian matrix is made positive by a shift.
//
// Legend: k columns of `length` numbers, stored as rows, each followed by its row of V^T (`width` numbers in all): a rotation turns both at
// once. A (*, m, n) with m >= n gives its columns, otherwise those of A^H. All matrices are scaled to a largest number of about 1.
#include "copy.h"
#include "linalg_decompose.h"
#include "warp.h"

namespace mg::cuda {
namespace {

constexpr int kSweeps = 40;       // 6 to 12 are usual
constexpr int64_t kOneBlock = simulated ? 20 : 96;  // more columns than that: a launch per round, a block per pair

struct Sum {
  template <class T>
  MG_DEVICE T operator()(T a, T b) const {
    return sum_of(a, b);
  }
};
struct Largest {
  MG_DEVICE double operator()(double a, double b) const { return fmax(a, b); }
};
struct Gram {
  double x, y, re, im;  // squared lengths, and x^H y
};
struct AddGrams {
  MG_DEVICE Gram operator()(Gram a, Gram b) const { return {a.x + b.x, a.y + b.y, a.re + b.re, a.im + b.im}; }
};
MG_DEVICE double number_of(double, Gram g) { return g.re; }
MG_DEVICE complex128 number_of(complex128, Gram g) { return {g.re, g.im}; }

// Round robin: in round r of `players` - 1 every two meet once; players is even.
struct Pair {
  int64_t first, second;
};
MG_DEVICE Pair pair_of(int64_t round, int64_t pair, int64_t players) {
  const int64_t others = players - 1, a = pair == 0 ? others : (round + pair) % others, b = (round - pair + others) % others;
  return a < b ? Pair{a, b} : Pair{b, a};
}

// Makes two rows orthogonal, by a warp or a whole block; true if they were not.
template <bool block, class W>
__device__ bool rotate(W* x, W* y, int64_t length, int64_t width) {
  const int64_t lane = block ? threadIdx.x : threadIdx.x % 32, lanes = block ? blockDim.x : 32;
  Gram g{};
  for (int64_t i = lane; i < length; i += lanes) {
    g.x += square_of(x[i]);
    g.y += square_of(y[i]);
    const W product = product_of(conj_of(x[i]), y[i]);
    g.re += real_of(product);
    g.im += imaginary_of(product);
  }
  if constexpr (block) g = block_reduce(g, AddGrams{});
  else g = shuffle_from(warp_reduce(g, AddGrams{}), 0);
  const double size = hypot(g.re, g.im);
  // A column that the others span shrinks by 1e16 a sweep, its direction mere rounding: it ends here, before 1 / size overflows.
  if (fmin(g.x, g.y) < 1e-200) return false;
  if (!(size > 2.2e-16 * (4 + sqrt(double(length))) * sqrt(g.x) * sqrt(g.y))) return false;
  const double zeta = (g.y - g.x) / (2 * size), t = copysign(1.0, zeta) / (fabs(zeta) + hypot(1.0, zeta));
  const double c = 1 / sqrt(1 + t * t), s = c * t;
  const W phase = scaled(1 / size, conj_of(number_of(W{}, g)));
  for (int64_t i = lane; i < width; i += lanes) {
    const W from = x[i], to = product_of(phase, y[i]);
    x[i] = sum_of(scaled(c, from), scaled(-s, to));
    y[i] = sum_of(scaled(s, from), scaled(c, to));
  }
  return true;
}

// One matrix per block, one pair per warp.
template <class W>
__global__ void jacobi_kernel(W* matrices, int32_t* info, int64_t k, int64_t length, int64_t width) {
  MG_SHARED(int, turned);
  W* rows = matrices + blockIdx.x * k * width;
  const int64_t players = k + k % 2, warps = blockDim.x / 32;
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    if (threadIdx.x == 0) turned = 0;
    __syncthreads();
    for (int64_t round = 0; round + 1 < players; ++round) {
      for (int64_t pair = threadIdx.x / 32; pair < players / 2; pair += warps) {
        const Pair p = pair_of(round, pair, players);
        if (p.second < k && rotate<false>(rows + p.first * width, rows + p.second * width, length, width) && threadIdx.x % 32 == 0)
          atomicOr(&turned, 1);
      }
      __syncthreads();
    }
    const bool done = turned == 0;
    __syncthreads();
    if (done) return;
  }
  if (threadIdx.x == 0 && info[blockIdx.x] == 0) info[blockIdx.x] = 1;
}

// One pair per block, one round of all matrices per launch.
template <class W>
__global__ void jacobi_round_kernel(W* matrices, int32_t* turned, int64_t round, int64_t k, int64_t length, int64_t width) {
  const int64_t players = k + k % 2, pairs = players / 2, matrix = blockIdx.x / pairs;
  const Pair p = pair_of(round, blockIdx.x % pairs, players);
  if (p.second >= k) return;
  W* rows = matrices + matrix * k * width;
  if (rotate<true>(rows + p.first * width, rows + p.second * width, length, width) && threadIdx.x == 0) atomicOr(turned, 1);
}

__global__ void not_converged_kernel(int32_t* info, int64_t count) {
  MG_GRID_LOOP(i, count) if (info[i] == 0) info[i] = 1;
}

// Scales each matrix by a power of two, and conjugates it if so told; one with infinities or NaN becomes 0. norm: Frobenius', of the result.
template <class W>
__global__ void scale_kernel(W* matrices, int64_t k, int64_t length, int64_t width, bool conjugated, double* scale, double* norm, int32_t* info) {
  W* a = matrices + blockIdx.x * k * width;
  double largest = 0;
  for (int64_t e = threadIdx.x; e < k * length; e += blockDim.x) {
    const W x = a[e / length * width + e % length];
    largest = fmax(largest, is_finite_number(x) ? largest_part(x) : std::numeric_limits<double>::infinity());
  }
  largest = block_reduce(largest, Largest{});
  const bool finite = is_finite_number(largest);
  const int exponent = finite && largest > 0 ? -ilogb(largest) : 0;
  const double factor = scalbn(1.0, exponent > 1000 ? 1000 : exponent);
  double squares = 0;
  for (int64_t e = threadIdx.x; e < k * length; e += blockDim.x) {
    W& place = a[e / length * width + e % length];
    const W x = finite ? scaled(factor, place) : W{};
    place = conjugated ? conj_of(x) : x;
    squares += square_of(x);
  }
  squares = block_reduce(squares, Sum{});
  if (threadIdx.x != 0) return;
  scale[blockIdx.x] = factor;
  norm[blockIdx.x] = sqrt(squares);
  info[blockIdx.x] = finite ? 0 : kNotFinite;
}

// The columns that follow a row's first `length` numbers: the identity.
template <class W>
__global__ void identity_behind_kernel(W* rows, int64_t k, int64_t length, int64_t width, int64_t count) {
  MG_GRID_LOOP(e, count) {
    const int64_t row = e / k, column = e % k;
    rows[row * width + length + column] = convert<W>(row % k == column ? 1.0 : 0.0);
  }
}

// Both triangles of a Hermitian matrix from one.
template <class W>
__global__ void hermitian_kernel(W* out, const W* a, int64_t n, bool upper, int64_t count) {
  MG_GRID_LOOP(e, count) {
    const int64_t j = e % n, i = e / n % n, mirrored = e - i * n - j + j * n + i;
    out[e] = i == j ? convert<W>(real_of(a[e])) : (j > i) == upper ? a[e] : conj_of(a[mirrored]);
  }
}
// Rows of columns of H + norm I.
template <class W>
__global__ void shifted_kernel(W* rows, const W* h, const double* norm, int64_t n, int64_t width, int64_t count) {
  MG_GRID_LOOP(e, count) {
    const int64_t j = e % n, row = e / n;
    rows[row * width + j] = sum_of(conj_of(h[e]), convert<W>(row % n == j ? norm[row / n] : 0.0));
  }
}

// Lengths of the rows, a warp each.
template <class W>
__global__ void length_kernel(const W* rows, const double* scale, double* values, int64_t k, int64_t length, int64_t width) {
  double squares = 0;
  for (int64_t i = threadIdx.x; i < length; i += 32) squares += square_of(rows[blockIdx.x * width + i]);
  squares = warp_reduce(squares, Sum{});
  if (threadIdx.x == 0) values[blockIdx.x] = sqrt(squares) / scale[blockIdx.x / k];
}
// Rayleigh's quotients v^H H v / v^H v, a warp each: they do not carry the shift's rounding.
template <class W>
__global__ void rayleigh_kernel(const W* rows, const W* h, const double* scale, double* values, int64_t n) {
  const W* v = rows + blockIdx.x * 2 * n + n;
  const W* a = h + blockIdx.x / n * n * n;
  double quotient = 0, squares = 0;
  for (int64_t i = 0; i < n; ++i) {
    W dot{};
    for (int64_t j = threadIdx.x; j < n; j += 32) add_product(dot, a[i * n + j], v[j]);
    quotient += real_of(product_of(conj_of(v[i]), dot));
  }
  for (int64_t i = threadIdx.x; i < n; i += 32) squares += square_of(v[i]);
  quotient = warp_reduce(quotient, Sum{});
  squares = warp_reduce(squares, Sum{});
  if (threadIdx.x == 0) values[blockIdx.x] = quotient / squares / scale[blockIdx.x / n];
}

// order[j]: the row with the j-th value; equal ones as they stand.
__global__ void order_kernel(const double* values, double* sorted, int32_t* order, int64_t k, bool descending, int64_t count) {
  MG_GRID_LOOP(e, count) {
    const double* own = values + e / k * k;
    const int64_t row = e % k;
    const double v = own[row];
    int64_t place = 0;
    for (int64_t r = 0; r < k; ++r) place += (descending ? own[r] > v : own[r] < v) || (own[r] == v && r < row);
    sorted[e - row + place] = v;
    order[e - row + place] = int32_t(row);
  }
}
// `length` numbers of every row from `from` on, in order; as columns if `turned`.
template <class W>
__global__ void gather_kernel(W* out, const W* rows, const int32_t* order, int64_t k, int64_t from, int64_t length, int64_t width, bool turned,
                              int64_t count) {
  MG_GRID_LOOP(e, count) {
    const int64_t matrix = e / (k * length), within = e % (k * length);
    const int64_t j = turned ? within % k : within / length, i = turned ? within / k : within % length;
    out[e] = rows[(matrix * k + order[matrix * k + j]) * width + from + i];
  }
}
// Columns of Q times the signs on R's diagonal (which stands in a).
template <class W>
__global__ void sign_kernel(W* q, const W* a, int64_t rows, int64_t columns, int64_t k, int64_t count) {
  MG_GRID_LOOP(e, count) {
    const int64_t column = e % columns, matrix = e / (rows * columns);
    if (column < k && real_of(a[(matrix * rows + column) * k + column]) < 0) q[e] = scaled(-1.0, q[e]);
  }
}

template <class T>
__global__ void spoil_kernel(T* x, const int32_t* info, int64_t each, int64_t count) {
  MG_GRID_LOOP(e, count) if (info[e / each] != 0) x[e] = convert<T>(std::numeric_limits<double>::quiet_NaN());
}

// A batch of matrices on their way through the rotations.
struct Rotation {
  Tensor rows, info, scale, norm;
  int64_t count, k, length, width;
  Dims batch;

  Rotation(const Dims& sizes, DType working, Device device, int64_t columns, int64_t size, bool vectors)
      : count(matrices(sizes)), k(columns), length(size), width(size + (vectors ? columns : 0)), batch(batch_dims(sizes)) {
    rows = empty(with_sizes(batch, {k, width}), working, device);
    info = empty(batch, DType::Int32, device);
    scale = empty(batch, DType::Float64, device);
    norm = empty(batch, DType::Float64, device);
    if (vectors)
      dispatch_working(working, [&](auto tag) {
        using W = decltype(tag);
        launch_items(identity_behind_kernel<W>, count * k * k, rows.ptr<W>(), k, length, width, count * k * k);
      });
  }
  template <class W>
  void scale_matrices(W* a, int64_t wide, bool conjugated) const {
    launch_blocks(scale_kernel<W>, count, threads_for_row(k * length), 0, a, k, length, wide, conjugated, scale.ptr<double>(), norm.ptr<double>(),
                  info.ptr<int32_t>());
  }
  template <class W>
  void run() const {
    if (count == 0 || k < 2) return;
    if (k <= kOneBlock) {
      const unsigned warps = unsigned(std::min<int64_t>((k + 1) / 2, simulated ? 4 : 32));
      return launch_blocks(jacobi_kernel<W>, count, 32 * warps, 0, rows.ptr<W>(), info.ptr<int32_t>(), k, length, width);
    }
    const int64_t pairs = (k + 1) / 2;
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      const Tensor turned = empty({1}, DType::Int32, rows.device());
      fill(*turned, Value(int64_t(0)));
      for (int64_t round = 0; round < 2 * pairs - 1; ++round)
        launch_blocks(jacobi_round_kernel<W>, count * pairs, threads_for_row(length / 8), 0, rows.ptr<W>(), turned.ptr<int32_t>(), round, k, length,
                      width);
      if (read_int(*turned) == 0) return;  // waits
    }
    launch_items(not_converged_kernel, count, info.ptr<int32_t>(), count);
  }
  struct Order {
    Tensor values, rows;
  };
  Order sort(const Tensor& values, bool descending) const {
    Order order{empty(values.sizes(), DType::Float64, values.device()), empty(values.sizes(), DType::Int32, values.device())};
    launch_items(order_kernel, values.numel(), static_cast<const double*>(values.ptr<double>()), order.values.ptr<double>(),
                 order.rows.ptr<int32_t>(), k, descending, values.numel());
    return order;
  }
  template <class W>
  Tensor gather(const Order& order, int64_t from, int64_t size, bool turned) const {
    const Tensor out = empty(with_sizes(batch, {turned ? size : k, turned ? k : size}), rows.dtype(), rows.device());
    launch_items(gather_kernel<W>, out.numel(), out.ptr<W>(), static_cast<const W*>(rows.ptr<W>()),
                 static_cast<const int32_t*>(order.rows.ptr<int32_t>()), k, from, size, width, turned, out.numel());
    return out;
  }
};

// The orthogonal columns `a` (length, k), in descending order, made unit vectors by a QR factorization, which also finds directions for
// columns of zeros and, if `full`, the rest of the space.
template <class W>
Tensor unit_columns(const Tensor& a, bool full) {
  const int64_t length = a.size(-2), k = a.size(-1), columns = full ? length : k;
  const Tensor tau = reflectors_of(a), q = eyes(batch_dims(a.sizes()), length, columns, a.dtype(), a.device());
  reflect(a, tau, q, true, false);
  if (k > 0) launch_items(sign_kernel<W>, q.numel(), q.ptr<W>(), static_cast<const W*>(a.ptr<W>()), length, columns, k, q.numel());
  return q;
}

// _linalg_svd(input, full_matrices, compute_uv) -> U, S, Vh, info
void svd_cuda(Invocation& inv) {
  const SingularValues s = singular_values(inv.in(0), inv.b(2), inv.b(1));
  copy_into(inv.outs[1], s.values);
  copy_into(inv.outs[3], s.info);
  if (!inv.b(2)) return;
  copy_into(inv.outs[0], s.u);
  copy_into(inv.outs[2], s.vh);
}

// _linalg_eigh(input, upper, compute_v) -> eigenvalues, eigenvectors, info
void eigh_cuda(Invocation& inv) {
  const Eigenvalues e = eigenvalues(inv.in(0), inv.b(1), inv.b(2));
  copy_into(inv.outs[0], e.values);
  copy_into(inv.outs[2], e.info);
  if (inv.b(2)) copy_into(inv.outs[1], transposed(e.rows));
}

}  // namespace

void spoil(const Tensor& x, const Tensor& info) {
  if (x.numel() == 0) return;
  dispatch_any(x.dtype(), [&](auto tag) {
    using T = decltype(tag);
    launch_items(spoil_kernel<T>, x.numel(), x.ptr<T>(), static_cast<const int32_t*>(info.ptr<int32_t>()), x.numel() / info.numel(), x.numel());
  });
}

SingularValues singular_values(const TensorImpl& a, bool vectors, bool full) {
  const int64_t m = a.sizes[a.dim() - 2], n = a.sizes.back(), k = std::min(m, n), length = std::max(m, n);
  const bool wide = m < n;
  const Rotation r(a.sizes, working_type(a.dtype), a.device, k, length, vectors);
  Dims part = r.rows.sizes();
  part[part.size() - 1] = length;
  const Tensor columns = alias(*r.rows, part, r.rows->strides, 0), given = alias(a);
  copy_into(columns, wide ? given : transposed(given));
  SingularValues out;
  out.info = r.info;
  dispatch_working(a.dtype, [&](auto tag) {
    using W = decltype(tag);
    r.scale_matrices(r.rows.ptr<W>(), r.width, wide);
    r.template run<W>();
    const Tensor lengths = empty(with_sizes(r.batch, {k}), DType::Float64, a.device);
    launch_blocks(length_kernel<W>, r.count * k, 32, 0, static_cast<const W*>(r.rows.ptr<W>()), static_cast<const double*>(r.scale.ptr<double>()),
                  lengths.ptr<double>(), k, length, r.width);
    const Rotation::Order order = r.sort(lengths, true);
    out.values = order.values;
    if (!vectors) return;
    Tensor q = unit_columns<W>(r.template gather<W>(order, 0, length, true), full);
    const Tensor v = r.template gather<W>(order, length, k, wide);
    conjugate(wide ? q : v);
    out.u = wide ? v : q;
    out.vh = wide ? to_contiguous(*transposed(q), q.dtype()) : v;
  });
  for (const Tensor* x : {&out.u, &out.values, &out.vh})
    if (x->defined()) spoil(*x, r.info);
  return out;
}

Eigenvalues eigenvalues(const TensorImpl& a, bool upper, bool vectors) {
  const int64_t n = a.sizes.back();
  const Rotation r(a.sizes, working_type(a.dtype), a.device, n, n, true);
  const Tensor given = working_copy(a), h = empty(a.sizes, given.dtype(), a.device);
  Eigenvalues out;
  out.info = r.info;
  dispatch_working(a.dtype, [&](auto tag) {
    using W = decltype(tag);
    launch_items(hermitian_kernel<W>, h.numel(), h.ptr<W>(), static_cast<const W*>(given.ptr<W>()), n, upper, h.numel());
    r.scale_matrices(h.ptr<W>(), n, false);
    launch_items(shifted_kernel<W>, h.numel(), r.rows.ptr<W>(), static_cast<const W*>(h.ptr<W>()),
                 static_cast<const double*>(r.norm.ptr<double>()), n, r.width, h.numel());
    r.template run<W>();
    const Tensor values = empty(with_sizes(r.batch, {n}), DType::Float64, a.device);
    launch_blocks(rayleigh_kernel<W>, r.count * n, 32, 0, static_cast<const W*>(r.rows.ptr<W>()), static_cast<const W*>(h.ptr<W>()),
                  static_cast<const double*>(r.scale.ptr<double>()), values.ptr<double>(), n);
    const Rotation::Order order = r.sort(values, false);
    out.values = order.values;
    if (vectors) out.rows = r.template gather<W>(order, n, n, false);
  });
  spoil(out.values, r.info);
  if (vectors) spoil(out.rows, r.info);
  return out;
}

MG_CUDA_KERNEL("_linalg_svd", svd_cuda);
MG_CUDA_KERNEL("_linalg_eigh", eigh_cuda);
MG_CUDA_KERNEL_COMPLEX("_linalg_svd", svd_cuda);
MG_CUDA_KERNEL_COMPLEX("_linalg_eigh", eigh_cuda);

}  // namespace mg::cuda
