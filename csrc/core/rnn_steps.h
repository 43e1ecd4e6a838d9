// Recurrent layers on every device: which cell, and the steps of (packed) sequences.
#pragma once
#include <algorithm>
#include <string_view>
#include <vector>

#include "tensor.h"

namespace mg {

enum class RnnKind { Tanh, Relu, Gru, Lstm };
inline RnnKind rnn_kind(std::string_view name) {
  return name == "lstm" ? RnnKind::Lstm : name == "gru" ? RnnKind::Gru : name == "rnn_relu" ? RnnKind::Relu : RnnKind::Tanh;
}
inline int64_t rnn_gates(RnnKind kind) { return kind == RnnKind::Lstm ? 4 : kind == RnnKind::Gru ? 3 : 1; }

// Step t holds the rows [start(t), start(t) + rows(t)) of a (B, ...) matrix; the sequences are sorted, longest first. batch_sizes is on
// the CPU.
struct Steps {
  int64_t count = 0, most = 0, total = 0;  // steps, rows of the largest, rows of all
  bool reverse = false;
  bool packed = false;  // else `most` rows in every step
  std::vector<int64_t> sizes, starts;

  Steps(const TensorImpl& data, const TensorImpl* batch_sizes, bool reverse_) : reverse(reverse_) {
    if (batch_sizes == nullptr) {
      count = data.sizes[0];
      most = data.sizes[1];
      total = count * most;
      return;
    }
    packed = true;
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

}  // namespace mg
