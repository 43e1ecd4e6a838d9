// The matrix-product ops: matmul, mm, bmm, mv, dot, addmm, addmv, baddbmm, linear and _int_mm, of real and complex tensors. Turns tensors
// into gemm() problems (gemm.h), or gemv() ones (gemv.h) where there is a vector: operands are read where they lie, whatever their strides,
// batches and broadcasts.
//
// Legend: a (..., M, K) @ b (..., K, N) -> out (..., M, N). Meta: ../../core/meta_matmul.cpp.
#include "matmul.h"

#include "cublas_lt.h"
#include "gemm.h"
#include "gemv.h"

namespace mg::cuda {
namespace {

// One operand as a batch of matrices; a vector is a matrix of one row (a) or one column (b).
struct Matrix {
  const TensorImpl& t;
  int64_t rows, cols, rs, cs;
  Dims batch, batch_strides;
  Matrix(const TensorImpl& x, bool left) : t(x) {
    const int d = x.dim();
    const bool vector = d == 1;
    rows = vector ? (left ? 1 : x.sizes[0]) : x.sizes[d - 2];
    cols = vector ? (left ? x.sizes[0] : 1) : x.sizes[d - 1];
    rs = vector ? (left ? 0 : x.strides[0]) : x.strides[d - 2];
    cs = vector ? (left ? x.strides[0] : 0) : x.strides[d - 1];
    for (int i = 0; i + 2 < d; ++i) {
      batch.push_back(x.sizes[i]);
      batch_strides.push_back(x.strides[i]);
    }
  }
  template <class S>
  StridedOperand<S> operand(const char* base) const {
    return {reinterpret_cast<const S*>(base), rs, cs, std::abs(rs) < std::abs(cs)};
  }
};

// The last two strides of `strides`, for a result of which `left` and `right` say whether it has rows and columns.
struct Step {
  int64_t row, column;
  Step(const Dims& strides, bool has_rows, bool has_columns) {
    int d = strides.size();
    column = has_columns ? strides[--d] : 0;
    row = has_rows ? strides[--d] : 0;
  }
};
Dims without_last(Dims d, int count) {
  d.resize_uninitialized(d.size() - count);
  return d;
}

// The whole batch by cuBLASLt, if it is one stride from entry to entry.
template <class T>
bool fast_product(const Matrix& a, const Matrix& b, const Step& out_step, const Step& add_step, const Offsets<4>& offsets, char* const* base,
                  const Addend& d) {
  if (offsets.ndim != 1) return false;
  const auto matrix = [&](int k, int64_t rs, int64_t cs) {
    return LtMatrix{base[k], rs, cs, offsets.count == 1 ? 0 : offsets.strides[0][k] / int64_t(sizeof(T))};
  };
  LtProduct p{a.t.dtype, a.rows, b.cols, a.cols, offsets.count, matrix(1, a.rs, a.cs), matrix(2, b.rs, b.cs),
              matrix(0, out_step.row, out_step.column), matrix(3, add_step.row, add_step.column), d.alpha.re, d.beta.re};
  if (d.t == nullptr) p.add = {};
  return lt_product(p);
}

template <class T, class S, class SB>
void run(const Matrix& a, const Matrix& b, const TensorImpl& out, const Addend& d, bool has_rows, bool has_columns) {
  using Acc = gemm_sum_t<T>;
  const int last = int(has_rows) + int(has_columns);
  const Dims batch = without_last(out.sizes, last);
  const Step step(out.strides, has_rows, has_columns);
  Dims add_strides = out.strides;
  if (d.t != nullptr) add_strides = broadcast_strides(d.t->sizes, d.t->strides, out.sizes);
  const Step add_step(add_strides, has_rows, has_columns);
  LoopPlan plan(batch);
  plan.add(out.data(), batch, without_last(out.strides, last), int64_t(sizeof(T)));
  plan.add(a.t.data(), a.batch, a.batch_strides, int64_t(sizeof(S)));
  plan.add(b.t.data(), b.batch, b.batch_strides, int64_t(sizeof(SB)));
  plan.add(d.t == nullptr ? out.data() : d.t->data(), batch, without_last(add_strides, last), int64_t(sizeof(T)));
  plan.finish();
  with_offsets<4>(plan, [&](const Offsets<4>& offsets, char* const* base) {
    if constexpr (std::is_same_v<S, T> && (is_low_precision<T> || std::is_floating_point_v<T>))
      if (std::min(a.rows, b.cols) > 1 && fast_product<T>(a, b, step, add_step, offsets, base, d)) return;
    StridedResult<T, Acc> result{};
    result.out = reinterpret_cast<T*>(base[0]);
    result.rs = step.row, result.cs = step.column;
    result.add = d.t == nullptr ? nullptr : reinterpret_cast<const T*>(base[3]);
    result.ars = add_step.row, result.acs = add_step.column;
    result.alpha = d.template factor<Acc>(d.alpha), result.beta = d.template factor<Acc>(d.beta);
    const StridedOperand<S> left = a.operand<S>(base[1]);
    const StridedOperand<SB> right = b.operand<SB>(base[2]);
    if (gemv<Acc>(a.rows, b.cols, a.cols, offsets.count, left, right, result, offsets, out.device)) return;
    gemm<Acc>(a.rows, b.cols, a.cols, offsets.count, left, right, result, offsets, out.device);
  });
}

bool same_place(const TensorImpl& a, const TensorImpl& b) { return a.offset == b.offset && a.sizes == b.sizes && a.strides == b.strides; }

template <class F>
void dispatch_product(DType d, F&& f) {
  if (is_complex(d)) return dispatch_complex(d, f);
  if (is_floating(d)) return dispatch_floating(d, f);
  dispatch_integral(d, f);
}

void product_into(const TensorImpl& left, const TensorImpl& right, const Tensor& result, Addend d) {
  if (result.numel() == 0) return;
  if (d.t != nullptr && d.beta.re == 0 && d.beta.im == 0) d.t = nullptr;  // NaN in an addend that does not count does not count
  // out= may name one of the factors, or memory that the addend is read from in another order
  const bool direct = result->storage != left.storage && result->storage != right.storage &&
                      (d.t == nullptr || d.t->storage != result->storage || same_place(*d.t, *result));
  const Tensor out = direct ? result : empty(result.sizes(), result.dtype(), result.device());
  const bool has_rows = left.dim() > 1, has_columns = right.dim() > 1;
  dispatch_product(left.dtype, [&](auto tag) {
    using T = decltype(tag);
    run<T, T, T>(Matrix(left, true), Matrix(right, false), *out, d, has_rows, has_columns);
  });
  if (!direct) copy_into(result, out);
}

void matmul_cuda(Invocation& inv) { product_into(inv.in(0), inv.in(1), inv.outs[0], {}); }

// (input, a, b, beta, alpha)
void addmm_cuda(Invocation& inv) {
  product_into(inv.in(1), inv.in(2), inv.outs[0], {&inv.in(0), inv.args[4].as_complex(), inv.args[3].as_complex()});
}

void linear_cuda(Invocation& inv) {
  const TensorImpl& w = inv.in(1);
  if (w.dim() == 1) return product_into(inv.in(0), w, inv.outs[0], {});
  const Tensor weight_KN = alias(w, {w.sizes[1], w.sizes[0]}, {w.strides[1], w.strides[0]}, w.offset);
  Addend bias;
  if (inv.has(2)) bias.t = &inv.in(2);
  product_into(inv.in(0), *weight_KN, inv.outs[0], bias);
}

// Bytes, with sums of 32 bits.
void int_mm_cuda(Invocation& inv) {
  if (inv.out().numel == 0) return;
  const Matrix a(inv.in(0), true), b(inv.in(1), false);
  if (inv.in(0).dtype == DType::Int8) run<int32_t, int8_t, int8_t>(a, b, inv.out(), {}, true, true);
  else run<int32_t, uint8_t, int8_t>(a, b, inv.out(), {}, true, true);
}

}  // namespace

void matrix_product(const TensorImpl& left, const TensorImpl& right, const Tensor& result, const Addend& addend) {
  product_into(left, right, result, addend);
}

MG_CUDA_KERNEL("matmul", matmul_cuda);
MG_CUDA_KERNEL("mm", matmul_cuda);
MG_CUDA_KERNEL("bmm", matmul_cuda);
MG_CUDA_KERNEL("mv", matmul_cuda);
MG_CUDA_KERNEL("dot", matmul_cuda);
MG_CUDA_KERNEL("addmm", addmm_cuda);
MG_CUDA_KERNEL("addmv", addmm_cuda);
MG_CUDA_KERNEL("baddbmm", addmm_cuda);
MG_CUDA_KERNEL("linear", linear_cuda);
MG_CUDA_KERNEL("_int_mm", int_mm_cuda);
MG_CUDA_KERNEL_COMPLEX("matmul", matmul_cuda);
MG_CUDA_KERNEL_COMPLEX("mm", matmul_cuda);
MG_CUDA_KERNEL_COMPLEX("bmm", matmul_cuda);
MG_CUDA_KERNEL_COMPLEX("mv", matmul_cuda);
MG_CUDA_KERNEL_COMPLEX("dot", matmul_cuda);
MG_CUDA_KERNEL_COMPLEX("addmm", addmm_cuda);
MG_CUDA_KERNEL_COMPLEX("addmv", addmm_cuda);
MG_CUDA_KERNEL_COMPLEX("baddbmm", addmm_cuda);
MG_CUDA_KERNEL_COMPLEX("linear", linear_cuda);

}  // namespace mg::cuda
