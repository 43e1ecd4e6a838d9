// What the forward and backward passes of the recurrent layers share (rnn.cu, rnn_backward.cu): the steps of (packed) sequences and rows of
// matrices as tensors.
#pragma once
#include <string_view>
#include <vector>

#include "matmul.h"

namespace mg::cuda {

enum class RnnKind { Tanh, Relu, Gru, Lstm };
inline RnnKind rnn_kind(std::string_view name) {
  return name == "lstm" ? RnnKind::Lstm : name == "gru" ? RnnKind::Gru : name == "rnn_relu" ? RnnKind::Relu : RnnKind::Tanh;
}
inline int64_t rnn_gates(RnnKind kind) { return kind == RnnKind::Lstm ? 4 : kind == RnnKind::Gru ? 3 : 1; }

// Step t holds the rows [start(t), start(t) + rows(t)) of a (B, ...) matrix; the sequences are sorted, longest first. batch_sizes is on
// the CPU.
struct Steps {
  int64_t count = 0, most = 0, total = 0;  // steps, rows of the largest, rows of all
  bool reverse = false, packed = false;    // not packed: `most` rows in every step
  std::vector<int64_t> sizes, starts;

  Steps(const TensorImpl& data, const TensorImpl* batch_sizes, bool reverse_) : reverse(reverse_), packed(batch_sizes != nullptr) {
    if (!packed) {
      count = data.sizes[0], most = data.sizes[1], total = count * most;
      return;
    }
    count = batch_sizes->numel;
    for (int64_t t = 0; t < count; ++t) {
      sizes.push_back(batch_sizes->ptr<int64_t>()[t * batch_sizes->strides[0]]);
      starts.push_back(total);
      total += sizes.back();
    }
    most = count == 0 ? 0 : sizes[0];
  }
  int64_t rows(int64_t t) const { return packed ? sizes[size_t(t)] : most; }
  int64_t start(int64_t t) const { return packed ? starts[size_t(t)] : t * most; }
  int64_t at(int64_t i) const { return reverse ? count - 1 - i : i; }  // the i-th step in the order of the recurrence
  int64_t before(int64_t t) const { return reverse ? t + 1 : t - 1; }
  // Rows of step t that go on from the step before; the others begin with the first state.
  int64_t carried(int64_t t) const {
    const int64_t p = before(t);
    return p < 0 || p >= count ? 0 : std::min(rows(p), rows(t));
  }
};

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
