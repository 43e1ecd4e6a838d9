// One spatial dim of a pooling op: how output positions map to ranges of input positions. Shared by the meta rules and
// the kernels.
#pragma once
#include <algorithm>
#include <cstdint>

namespace mg {

struct PoolAxis {
  int64_t size, kernel, stride, padding, dilation;
  bool ceil_mode;
  int64_t out = 0;  // set by the caller: output_size(), or the given size of an adaptive pool
  bool adaptive = false;

  // PyTorch's rule: with ceil_mode a last window may hang over the right border but must begin inside the input or its
  // left padding.
  int64_t output_size() const {
    const int64_t room = size + 2 * padding - dilation * (kernel - 1) - 1 + (ceil_mode ? stride - 1 : 0);
    if (room < 0) return 0;
    const int64_t n = room / stride + 1;
    return ceil_mode && (n - 1) * stride >= size + padding ? n - 1 : n;
  }
  // First position of window i (may lie in the padding) and one past its last.
  int64_t start(int64_t i) const { return adaptive ? i * size / out : i * stride - padding; }
  int64_t stop(int64_t i) const {
    if (adaptive) return ((i + 1) * size + out - 1) / out;
    return std::min(start(i) + dilation * (kernel - 1) + 1, size + padding);
  }
  // The same without padding; steps of `dilation` from first() stay on the window's grid.
  int64_t first(int64_t i) const {
    const int64_t s = start(i);
    return s >= 0 ? s : s + (-s + dilation - 1) / dilation * dilation;
  }
  int64_t last(int64_t i) const { return std::min(stop(i), size); }
};

}  // namespace mg
