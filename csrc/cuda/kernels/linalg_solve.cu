// Linear systems by LU (solve, inv, lu_solve), by a triangle, and by a Cholesky factor: one thread a right side (linalg.h). The batches of
// matrices and right sides broadcast; a matrix that several right sides share is factored once. Meta: ../../core/meta_linalg.cpp.
#include "linalg_sides.h"

namespace mg::cuda {
namespace {

// `transposed`: with the transpose of the factored matrix; `conjugated`: of its conjugate.
template <class W>
__global__ void lu_substitute_kernel(const W* lu, const int32_t* pivots, W* x, RightSides s, bool transposed, bool conjugated, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const RightSides::Place p = s.at(i);
    W* b = x + p.first;
    const int32_t* pivot = pivots + p.matrix * s.n;
    const MatrixOf<W> m{lu + p.matrix * s.n * s.n, s.n, transposed, conjugated};
    const auto swap_rows = [&](int64_t r) {
      const int64_t with = pivot[r] - 1;
      if (with < 0 || with >= s.n) return;
      const W kept = b[r * p.step];
      b[r * p.step] = b[with * p.step];
      b[with * p.step] = kept;
    };
    if (!transposed)
      for (int64_t r = 0; r < s.n; ++r) swap_rows(r);
    substitute(b, p.step, m, true, !transposed);   // L, or U^T
    substitute(b, p.step, m, false, transposed);   // U, or L^T
    if (transposed)
      for (int64_t r = s.n - 1; r >= 0; --r) swap_rows(r);
  }
}

template <class W>
__global__ void triangle_kernel(const W* a, W* x, RightSides s, bool upper, bool unit, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const RightSides::Place p = s.at(i);
    const bool transposed = !s.left;  // X A = B is A^T X^T = B^T
    substitute(x + p.first, p.step, MatrixOf<W>{a + p.matrix * s.n * s.n, s.n, transposed, false}, upper == transposed, unit);
  }
}

// L L^H x = b, or U^H U x = b.
template <class W>
__global__ void cholesky_solve_kernel(const W* a, W* x, RightSides s, bool upper, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const RightSides::Place p = s.at(i);
    const W* m = a + p.matrix * s.n * s.n;
    substitute(x + p.first, p.step, MatrixOf<W>{m, s.n, upper, upper}, true, false);
    substitute(x + p.first, p.step, MatrixOf<W>{m, s.n, !upper, !upper}, false, false);
  }
}

// 1 + the first zero on the diagonal, which a factor must not have.
template <class W>
__global__ void diagonal_info_kernel(const W* a, int32_t* info, int64_t n, int64_t count) {
  MG_GRID_LOOP(i, count) {
    int32_t failed = 0;
    for (int64_t d = n - 1; d >= 0; --d)
      if (is_zero(a[(i * n + d) * n + d])) failed = int32_t(d + 1);
    info[i] = failed;
  }
}

// _linalg_solve(A, B, left) -> result, LU, pivots, info
void solve_cuda(Invocation& inv) {
  const LuFactors f = lu_factors(inv.in(0));
  const Tensor x = working_copy(inv.in(1), inv.out().sizes);
  lu_substitute(*f.lu, f.pivots.ptr<int32_t>(), inv.in(0).sizes, x, inv.b(2), false);
  copy_into(inv.outs[0], x);
  copy_into(inv.outs[1], f.lu);
  copy_into(inv.outs[2], f.pivots);
  copy_into(inv.outs[3], f.info);
}

// _linalg_inv(input) -> inverse, info
void inv_cuda(Invocation& inv) {
  const LuFactors f = lu_factors(inv.in(0));
  const Tensor x = eyes(batch_dims(inv.in(0).sizes), inv.in(0).sizes.back(), inv.in(0).sizes.back(), f.lu.dtype(), f.lu.device());
  lu_substitute(*f.lu, f.pivots.ptr<int32_t>(), inv.in(0).sizes, x, true, false);
  copy_into(inv.outs[0], x);
  copy_into(inv.outs[1], f.info);
}

// _linalg_lu_solve(LU, pivots, B, left, adjoint) -> out
void lu_solve_cuda(Invocation& inv) {
  const Tensor lu = working_copy(inv.in(0)), pivots = staged(inv.in(1), DType::Int32), x = working_copy(inv.in(2), inv.out().sizes);
  lu_substitute(*lu, pivots.ptr<int32_t>(), inv.in(0).sizes, x, inv.b(3), inv.b(4));
  copy_into(inv.outs[0], x);
}

// _linalg_solve_triangular(A, B, upper, left, unitriangular) -> out
void solve_triangular_cuda(Invocation& inv) {
  const Tensor a = working_copy(inv.in(0)), x = working_copy(inv.in(1), inv.out().sizes);
  if (x.numel() > 0) {
    const RightSides s = right_sides(a.sizes(), x, inv.b(3), inv.op.name.c_str());
    dispatch_working(inv.compute, [&](auto tag) {
      using W = decltype(tag);
      const int64_t count = s.batch.count * s.sides;
      launch_items(triangle_kernel<W>, count, static_cast<const W*>(a.ptr<W>()), x.ptr<W>(), s, inv.b(2), inv.b(4), count);
    });
  }
  copy_into(inv.outs[0], x);
}

void cholesky_substitute(const Tensor& factor, const Tensor& x, bool upper, const char* op) {
  if (x.numel() == 0) return;
  const RightSides s = right_sides(factor.sizes(), x, true, op);
  dispatch_working(factor.dtype(), [&](auto tag) {
    using W = decltype(tag);
    const int64_t count = s.batch.count * s.sides;
    launch_items(cholesky_solve_kernel<W>, count, static_cast<const W*>(factor.ptr<W>()), x.ptr<W>(), s, upper, count);
  });
}

// _cholesky_solve(factor, B, upper) -> out
void cholesky_solve_cuda(Invocation& inv) {
  const Tensor factor = working_copy(inv.in(0)), x = working_copy(inv.in(1), inv.out().sizes);
  cholesky_substitute(factor, x, inv.b(2), inv.op.name.c_str());
  copy_into(inv.outs[0], x);
}

// _cholesky_inverse(input, upper) -> out, info
void cholesky_inverse_cuda(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  const Tensor factor = working_copy(in), x = eyes(batch_dims(in.sizes), in.sizes.back(), in.sizes.back(), factor.dtype(), in.device), info = empty(batch_dims(in.sizes), DType::Int32, in.device);
  cholesky_substitute(factor, x, inv.b(1), inv.op.name.c_str());
  dispatch_working(in.dtype, [&](auto tag) {
    using W = decltype(tag);
    launch_items(diagonal_info_kernel<W>, info.numel(), static_cast<const W*>(factor.ptr<W>()), info.ptr<int32_t>(), in.sizes.back(), info.numel());
  });
  copy_into(inv.outs[0], x);
  copy_into(inv.outs[1], info);
}

}  // namespace

void lu_substitute(const TensorImpl& lu, const int32_t* pivots, const Dims& a_sizes, const Tensor& x, bool left, bool adjoint) {
  if (x.numel() == 0) return;
  const RightSides s = right_sides(a_sizes, x, left, "linalg.solve");
  dispatch_working(lu.dtype, [&](auto tag) {
    using W = decltype(tag);
    const int64_t count = s.batch.count * s.sides;
    launch_items(lu_substitute_kernel<W>, count, static_cast<const W*>(lu.ptr<W>()), pivots, x.ptr<W>(), s, left == adjoint, adjoint, count);
  });
}

MG_CUDA_KERNEL("_linalg_solve", solve_cuda);
MG_CUDA_KERNEL("_linalg_inv", inv_cuda);
MG_CUDA_KERNEL("_linalg_lu_solve", lu_solve_cuda);
MG_CUDA_KERNEL("_linalg_solve_triangular", solve_triangular_cuda);
MG_CUDA_KERNEL("_cholesky_solve", cholesky_solve_cuda);
MG_CUDA_KERNEL("_cholesky_inverse", cholesky_inverse_cuda);
MG_CUDA_KERNEL_COMPLEX("_linalg_solve", solve_cuda);
MG_CUDA_KERNEL_COMPLEX("_linalg_inv", inv_cuda);
MG_CUDA_KERNEL_COMPLEX("_linalg_lu_solve", lu_solve_cuda);
MG_CUDA_KERNEL_COMPLEX("_linalg_solve_triangular", solve_triangular_cuda);
MG_CUDA_KERNEL_COMPLEX("_cholesky_solve", cholesky_solve_cuda);
MG_CUDA_KERNEL_COMPLEX("_cholesky_inverse", cholesky_inverse_cuda);

}  // namespace mg::cuda
