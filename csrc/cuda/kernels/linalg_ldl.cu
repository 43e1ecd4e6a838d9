// LDL^T (symmetric) and LDL^H (Hermitian) with the pivots of Bunch and Kaufman, in LAPACK's form (sytf2, hetf2: lower triangle, blocks of 1 or 2
// on D's diagonal, pivots < 0 for blocks of 2), one block of threads a matrix; and solutions with it, one thread a right side. Meta:
// ../../core/meta_linalg.cpp. Source: J. Bunch and L. Kaufman, Math. Comp. 31 (1977).
#include "faults.h"
#include "linalg_sides.h"
#include "warp.h"

namespace mg::cuda {
namespace {

struct Largest {
  MG_DEVICE double operator()(double a, double b) const { return fmax(a, b); }
};

template <class W>
MG_DEVICE W mirrored(W x, bool hermitian) {  // the element on the other side of the diagonal
  return hermitian ? conj_of(x) : x;
}
template <class W>
MG_DEVICE double diagonal_size(W x, bool hermitian) {
  return hermitian ? fabs(real_of(x)) : magnitude_of(x);
}
template <class W>
MG_DEVICE W difference_of(W a, W b) {
  return sum_of(a, scaled(-1.0, b));
}

struct Choice {
  int64_t with;  // the row and column that come to the pivot's place
  int size;      // of D's block; 0: the column is zero
};

// Of column k: keep the diagonal, take another one, or a block of 2.
template <class W>
__device__ Choice choose(const W* a, int64_t k, int64_t n, bool hermitian) {
  const double growth = (1 + sqrt(17.0)) / 8, own = diagonal_size(a[k * n + k], hermitian);
  const int64_t row = largest_of(a + k, k + 1, n, n);
  const double below = k + 1 < n ? magnitude_of(a[row * n + k]) : 0;
  if (!(fmax(own, below) > 0) || own != own) return {k, 0};
  if (own >= growth * below) return {k, 1};
  double most = 0;  // off the diagonal of row and column `row`
  for (int64_t j = k + threadIdx.x; j < n; j += blockDim.x)
    if (j != row) most = fmax(most, magnitude_of(j < row ? a[row * n + j] : a[j * n + row]));
  most = block_reduce(most, Largest{});
  if (own >= growth * below * (below / most)) return {k, 1};
  if (diagonal_size(a[row * n + row], hermitian) >= growth * most) return {row, 1};
  return {row, 2};
}

// Rows and columns `at` and `with` > `at` of the lower triangle from column k on change places.
template <class W>
__device__ void exchange(W* a, int64_t k, int64_t at, int64_t with, int64_t n, bool hermitian) {
  const auto swap = [](W& x, W& y, bool turned) {
    const W kept = x;
    x = mirrored(y, turned), y = mirrored(kept, turned);
  };
  for (int64_t i = at + threadIdx.x; i < n; i += blockDim.x) {
    if (i > with) swap(a[i * n + at], a[i * n + with], false);
    else if (i == with) a[with * n + at] = mirrored(a[with * n + at], hermitian);
    else if (i > at) swap(a[i * n + at], a[with * n + i], hermitian);
    else swap(a[at * n + at], a[with * n + with], false);
  }
  if (threadIdx.x == 0 && k < at) swap(a[at * n + k], a[with * n + k], false);
}

// Columns k and k + 1 times the inverse of D's block, for row j.
template <class W>
struct Two {
  W first, second;
};
template <class W>
MG_DEVICE Two<W> through_block(const W* a, int64_t k, int64_t j, int64_t n, bool hermitian) {
  const W off = a[(k + 1) * n + k], x = a[j * n + k], y = a[j * n + k + 1];
  const W left = quotient_of(a[(k + 1) * n + k + 1], off), right = quotient_of(a[k * n + k], mirrored(off, hermitian));
  const W scale = quotient_of(convert<W>(1.0), difference_of(product_of(left, right), convert<W>(1.0)));
  return {product_of(scale, quotient_of(difference_of(product_of(left, x), y), mirrored(off, hermitian))),
          product_of(scale, quotient_of(difference_of(product_of(right, y), x), off))};
}

template <class W>
__global__ void ldl_kernel(W* matrices, int32_t* pivots, int32_t* info, int64_t n, bool hermitian) {
  W* a = matrices + blockIdx.x * n * n;
  int32_t* pivot = pivots + blockIdx.x * n;
  int32_t failed = 0;
  if (hermitian)
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) a[i * n + i] = convert<W>(real_of(a[i * n + i]));
  __syncthreads();
  for (int64_t k = 0; k < n;) {
    const Choice c = choose(a, k, n, hermitian);
    const int size = c.size == 2 ? 2 : 1;
    if (c.size == 0 && failed == 0) failed = int32_t(k + 1);
    __syncthreads();
    if (c.with != k + size - 1) exchange(a, k, k + size - 1, c.with, n, hermitian);
    if (threadIdx.x == 0)
      for (int p = 0; p < size; ++p) pivot[k + p] = int32_t(size == 2 ? -(c.with + 1) : c.with + 1);
    __syncthreads();
    const int64_t first = k + size, width = n - first;
    const W top = a[k * n + k];
    for (int64_t e = threadIdx.x; e < width * width && c.size > 0; e += blockDim.x) {
      const int64_t i = first + e / width, j = first + e % width;
      if (j > i) continue;
      W& place = a[i * n + j];
      if (size == 1) {
        subtract_product(place, a[i * n + k], mirrored(quotient_of(a[j * n + k], top), hermitian));
      } else {
        const Two<W> t = through_block(a, k, j, n, hermitian);
        subtract_product(place, a[i * n + k], mirrored(t.first, hermitian));
        subtract_product(place, a[i * n + k + 1], mirrored(t.second, hermitian));
      }
      if (hermitian && i == j) place = convert<W>(real_of(place));
    }
    __syncthreads();
    for (int64_t j = first + threadIdx.x; j < n && c.size > 0; j += blockDim.x) {
      if (size == 1) {
        a[j * n + k] = quotient_of(a[j * n + k], top);
      } else {
        const Two<W> t = through_block(a, k, j, n, hermitian);
        a[j * n + k] = t.first, a[j * n + k + 1] = t.second;
      }
    }
    __syncthreads();
    k = first;
  }
  for (int64_t e = threadIdx.x; e < n * n; e += blockDim.x)
    if (e % n > e / n) a[e] = W{};
  if (threadIdx.x == 0) info[blockIdx.x] = failed;
}

// One right side b (n numbers, `step` apart) of one factored matrix.
template <class W>
struct LdlSolution {
  const W* a;
  const int32_t* pivot;
  W* b;
  int64_t n, step;
  bool hermitian;

  __device__ W& at(int64_t i) const { return b[i * step]; }
  __device__ void exchange(int64_t i, int64_t with) const {
    const W kept = at(i);
    at(i) = at(with);
    at(with) = kept;
  }
  __device__ void forward() const {  // L and D
    for (int64_t k = 0; k < n;) {
      const int64_t size = pivot[k] > 0 ? 1 : 2;
      exchange(k + size - 1, (size == 1 ? pivot[k] : -pivot[k]) - 1);
      for (int64_t i = k + size; i < n; ++i)
        for (int64_t p = k; p < k + size; ++p) subtract_product(at(i), a[i * n + p], at(p));
      if (size == 1) {
        at(k) = quotient_of(at(k), a[k * n + k]);
      } else {
        const W off = a[(k + 1) * n + k], up = mirrored(off, hermitian);
        const W first = quotient_of(a[k * n + k], up), second = quotient_of(a[(k + 1) * n + k + 1], off);
        const W x = quotient_of(at(k), up), y = quotient_of(at(k + 1), off);
        const W below = difference_of(product_of(first, second), convert<W>(1.0));
        at(k) = quotient_of(difference_of(product_of(second, x), y), below);
        at(k + 1) = quotient_of(difference_of(product_of(first, y), x), below);
      }
      k += size;
    }
  }
  __device__ void backward() const {  // L^T or L^H
    for (int64_t k = n - 1; k >= 0;) {
      const int64_t size = pivot[k] > 0 ? 1 : 2, first = k + 1 - size;
      for (int64_t p = first; p <= k; ++p)
        for (int64_t i = k + 1; i < n; ++i) subtract_product(at(p), mirrored(a[i * n + p], hermitian), at(i));
      exchange(k, (size == 1 ? pivot[k] : -pivot[k]) - 1);
      k -= size;
    }
  }
};

// The first pivot that does not belong to a factorization, or n: 1x1 blocks have a positive one, 2x2 blocks two negative ones.
MG_DEVICE int64_t wrong_pivot(const int32_t* p, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const bool pair = p[i] < 0;
    if (p[i] == 0 || p[i] > n || -int64_t(p[i]) > n || (pair && (i + 1 == n || p[i + 1] != p[i]))) return i;
    i += pair;
  }
  return n;
}

template <class W>
__global__ void ldl_solve_kernel(const W* a, const int32_t* pivots, W* x, RightSides s, bool hermitian, FaultNote note, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const RightSides::Place p = s.at(i);
    const int32_t* pivot = pivots + p.matrix * s.n;
    if (const int64_t wrong = wrong_pivot(pivot, s.n); wrong < s.n) {
      note_fault(note, kIndexFault, pivot[wrong], s.n);
      continue;
    }
    const LdlSolution<W> solution{a + p.matrix * s.n * s.n, pivot, x + p.first, s.n, p.step, hermitian};
    solution.forward();
    solution.backward();
  }
}

// _linalg_ldl_factor(input, hermitian) -> LD, pivots, info
void ldl_factor_cuda(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  const int64_t n = in.sizes.back();
  const Dims batch = batch_dims(in.sizes);
  const Tensor a = working_copy(in), pivots = empty(with_sizes(batch, {n}), DType::Int32, in.device), info = empty(batch, DType::Int32, in.device);
  const bool hermitian = inv.b(1);
  dispatch_working(in.dtype, [&](auto tag) {
    using W = decltype(tag);
    launch_blocks(ldl_kernel<W>, matrices(in.sizes), threads_for_matrix(n), 0, a.ptr<W>(), pivots.ptr<int32_t>(), info.ptr<int32_t>(), n,
                  hermitian);
  });
  copy_into(inv.outs[0], a);
  copy_into(inv.outs[1], pivots);
  copy_into(inv.outs[2], info);
}

// _linalg_ldl_solve(LD, pivots, B, hermitian) -> out
void ldl_solve_cuda(Invocation& inv) {
  const Tensor a = working_copy(inv.in(0)), pivots = staged(inv.in(1), DType::Int32), x = working_copy(inv.in(2), inv.out().sizes);
  const bool hermitian = inv.b(3);
  if (x.numel() > 0) {
    const RightSides s = right_sides(a.sizes(), x, true, "linalg.ldl_solve");
    dispatch_working(inv.compute, [&](auto tag) {
      using W = decltype(tag);
      const int64_t count = s.batch.count * s.sides;
      launch_items(ldl_solve_kernel<W>, count, static_cast<const W*>(a.ptr<W>()), static_cast<const int32_t*>(pivots.ptr<int32_t>()), x.ptr<W>(),
                   s, hermitian, fault_note(inv.op), count);
    });
  }
  copy_into(inv.outs[0], x);
}

}  // namespace

MG_CUDA_KERNEL("_linalg_ldl_factor", ldl_factor_cuda);
MG_CUDA_KERNEL("_linalg_ldl_solve", ldl_solve_cuda);
MG_CUDA_KERNEL_COMPLEX("_linalg_ldl_factor", ldl_factor_cuda);
MG_CUDA_KERNEL_COMPLEX("_linalg_ldl_solve", ldl_solve_cuda);

}  // namespace mg::cuda
