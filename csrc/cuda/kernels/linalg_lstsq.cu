// The pseudoinverse and least squares, both from singular values: those up to a limit count as zero. (LAPACK's drivers differ in how they find
// the rank; here all but gels, which expects full rank, do it in this way.) Meta: ../../core/meta_linalg.cpp.
//
// Legend: A (*, m, n), B (*, m, s), X (*, n, s), pinv(A) (*, n, m), k = min(m, n).
#include <string_view>

#include "copy.h"
#include "linalg_decompose.h"
#include "matmul.h"

namespace mg::cuda {
namespace {

struct Limits {
  const double *absolute, *relative;  // one a matrix, or null
  double ratio;                       // for all, where they are null
};
// The reciprocals of the values above the limit, 0 for the others; their number.
__global__ void invert_kernel(const double* values, Limits limits, double* inverse, int64_t* rank, int64_t k, int64_t count) {
  MG_GRID_LOOP(i, count) {
    const double* own = values + i * k;
    double largest = 0;
    for (int64_t j = 0; j < k; ++j) largest = fmax(largest, fabs(own[j]));
    const double limit = limits.absolute == nullptr ? limits.ratio * largest : fmax(limits.absolute[i], limits.relative[i] * largest);
    int64_t counted = 0;
    for (int64_t j = 0; j < k; ++j) {
      const bool counts = fabs(own[j]) > limit;
      inverse[i * k + j] = counts ? 1 / own[j] : 0.0;
      counted += counts;
    }
    rank[i] = counted;
  }
}

// Column j of each matrix times factors[j].
template <class W>
__global__ void scale_columns_kernel(W* a, const double* factors, int64_t rows, int64_t k, int64_t count) {
  MG_GRID_LOOP(e, count) a[e] = scaled(factors[e / (rows * k) * k + e % k], a[e]);
}

// info: kNotFinite where the matrix is not finite; `rank` (null: need not be full) below k: 1 + rank.
template <class W>
__global__ void check_kernel(const W* b, int64_t each, const int64_t* rank, int64_t k, int32_t* info, int64_t count) {
  MG_GRID_LOOP(i, count) {
    bool finite = true;
    for (int64_t e = 0; e < each; ++e) finite = finite && is_finite_number(b[i * each + e]);
    if (!finite) info[i] = kNotFinite;
    else if (info[i] == 0 && rank != nullptr && rank[i] < k) info[i] = int32_t(rank[i] + 1);
  }
}

struct Inverted {
  Tensor factors, rank;  // double (*, k), int64 (*)
};
Inverted invert(const Tensor& values, const Limits& limits) {
  const Dims batch = batch_dims(values.sizes(), 1);
  Inverted out{empty(values.sizes(), DType::Float64, values.device()), empty(batch, DType::Int64, values.device())};
  launch_items(invert_kernel, out.rank.numel(), static_cast<const double*>(values.ptr<double>()), limits, out.factors.ptr<double>(),
               out.rank.ptr<int64_t>(), values.size(-1), out.rank.numel());
  return out;
}
void scale_columns(const Tensor& a, const Tensor& factors) {
  dispatch_working(a.dtype(), [&](auto tag) {
    using W = decltype(tag);
    launch_items(scale_columns_kernel<W>, a.numel(), a.ptr<W>(), static_cast<const double*>(factors.ptr<double>()), a.size(-2), a.size(-1),
                 a.numel());
  });
}
// A contiguous copy, broadcast to `sizes`.
Tensor spread(const TensorImpl& t, const Dims& sizes, DType dtype) {
  const Tensor out = empty(sizes, dtype, t.device);
  copy_into(out, alias(t, sizes, broadcast_strides(t.sizes, t.strides, sizes), t.offset));
  return out;
}

// A = U diag(values) Vh, of which a Hermitian A takes its eigenvalues and vectors.
SingularValues factors_of(const TensorImpl& a, bool hermitian) {
  if (!hermitian) return singular_values(a, true, false);
  const Eigenvalues e = eigenvalues(a, false, true);
  SingularValues s{to_contiguous(*transposed(e.rows), e.rows.dtype()), e.values, e.rows, e.info};
  conjugate(s.vh);
  return s;
}

// _linalg_pinv(input, atol, rtol, hermitian) -> out, info
void pinv_cuda(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  const SingularValues s = factors_of(in, inv.b(3));
  const Dims batch = batch_dims(in.sizes);
  const Tensor atol = spread(inv.in(1), batch, DType::Float64), rtol = spread(inv.in(2), batch, DType::Float64);
  const Inverted inverse = invert(s.values, {atol.ptr<double>(), rtol.ptr<double>(), 0});
  scale_columns(s.u, inverse.factors);
  const Tensor product = empty(in.sizes, s.u.dtype(), in.device);  // the adjoint of the result
  matrix_product(*s.u, *s.vh, product);
  conjugate(product);
  spoil(product, s.info);
  copy_into(inv.outs[0], transposed(product));
  copy_into(inv.outs[1], s.info);
}

// _linalg_lstsq(A, B, rcond, driver) -> solution, rank, singular_values, info
void lstsq_cuda(Invocation& inv) {
  const TensorImpl &a = inv.in(0), &given = inv.in(1), &out = inv.out();
  const std::string_view driver = inv.args[3].str;
  const Dims batch = batch_dims(out.sizes);
  const SingularValues s = singular_values(a, true, false);
  const Inverted inverse = invert(s.values, {nullptr, nullptr, driver == "gels" ? 0.0 : inv.f(2)});
  const Tensor b = working_copy(given, with_sizes(batch, {given.sizes[given.dim() - 2], given.sizes.back()}));
  const Tensor info = spread(*s.info, batch, DType::Int32), rank = spread(*inverse.rank, batch, DType::Int64);
  const int64_t k = s.values.size(-1), count = info.numel();
  dispatch_working(a.dtype, [&](auto tag) {
    using W = decltype(tag);
    launch_items(check_kernel<W>, count, static_cast<const W*>(b.ptr<W>()), count == 0 ? 0 : b.numel() / count,
                 static_cast<const int64_t*>(driver == "gels" ? rank.ptr<int64_t>() : nullptr), k, info.ptr<int32_t>(), count);
  });
  scale_columns(s.u, inverse.factors);
  conjugate(s.u);
  conjugate(s.vh);
  const Tensor seen = empty(with_sizes(batch, {k, out.sizes.back()}), b.dtype(), out.device), x = empty(out.sizes, b.dtype(), out.device);
  matrix_product(*transposed(s.u), *b, seen);  // S^-1 U^H B
  matrix_product(*transposed(s.vh), *seen, x);
  spoil(x, info);
  copy_into(inv.outs[0], x);
  const bool nothing = out.sizes.back() == 0 || k == 0;  // as LAPACK's drivers, which do not look at A then
  copy_into(inv.outs[3], info);
  copy_into(inv.outs[1], rank);
  const bool wants_values = driver == "gelsd" || driver == "gelss";
  if (wants_values) copy_into(inv.outs[2], spread(*s.values, with_sizes(batch, {k}), DType::Float64));
  if (!nothing) return;
  fill(*inv.outs[1], Value(int64_t(0)));
  if (wants_values) fill(*inv.outs[2], Value(0.0));
}

}  // namespace

MG_CUDA_KERNEL("_linalg_pinv", pinv_cuda);
MG_CUDA_KERNEL("_linalg_lstsq", lstsq_cuda);
MG_CUDA_KERNEL_COMPLEX("_linalg_pinv", pinv_cuda);
MG_CUDA_KERNEL_COMPLEX("_linalg_lstsq", lstsq_cuda);

}  // namespace mg::cuda
