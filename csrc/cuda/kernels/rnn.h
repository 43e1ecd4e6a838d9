// What the forward and backward passes of the recurrent layers share (rnn.cu, rnn_backward.cu): the steps of (packed) sequences and rows of
// matrices as tensors.
#pragma once
#include "../../core/rnn_steps.h"
#include "matmul.h"

namespace mg::cuda {

// A contiguous tensor as a matrix of rows of `columns`.
inline Tensor as_matrix(const Tensor& t, int64_t columns) {
  return alias(*t, {columns == 0 ? 0 : t.numel() / columns, columns}, {columns, 1}, t->offset);
}
// Rows [row, row + rows), columns [column, column + columns) of a matrix.
inline Tensor part_of(const Tensor& m, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  return alias(*m, {rows, columns}, m.strides(), m->offset + row * m.strides()[0] + column * m.strides()[1]);
}
inline Tensor transposed(const TensorImpl& m) { return alias(m, {m.sizes[1], m.sizes[0]}, {m.strides[1], m.strides[0]}, m.offset); }

// to = [to +] a @ b
inline void multiply(const Tensor& a, const Tensor& b, const Tensor& to, bool add) {
  Addend addend;
  if (add) addend.t = to.get();
  matrix_product(*a, *b, to, addend);
}

// A result that kernels write contiguously.
struct RnnResult {
  Tensor out, work;
  explicit RnnResult(const Tensor& result)
      : out(result), work(result->contiguous ? result : empty(result.sizes(), result.dtype(), result.device())) {}
  void commit() const {
    if (!work.is(out)) copy_into(out, work);
  }
};

template <class F>
void dispatch_rnn(DType d, F&& f) {
  if (d == DType::Float64) return f(double{});
  f(float{});
}

}  // namespace mg::cuda
