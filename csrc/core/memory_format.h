// Memory formats: which order of the dims a tensor has in memory, and results that keep it. For meta functions, the
// kernels that read NHWC as it lies, and the engine.
#pragma once
#include "layout.h"
#include "meta.h"

namespace mg {

// Some order of the dims is dense: copies keep it (PyTorch's preserve_format), and so do gradients of leaves.
inline bool dense_in_some_order(const TensorImpl& t) {
  int order[kMaxDims], n = 0;
  for (int i = 0; i < t.dim(); ++i) {
    if (t.sizes[i] == 1) continue;
    int j = n++;
    for (; j > 0 && t.strides[order[j - 1]] > t.strides[i]; --j) order[j] = order[j - 1];
    order[j] = i;
  }
  int64_t step = 1;
  for (int j = 0; j < n; ++j) {
    if (t.strides[order[j]] != step) return false;
    step *= t.sizes[order[j]];
  }
  return true;
}

// The strides of torch.channels_last, or of channels_last_3d for 5 dims.
inline Dims channels_last_strides(const Dims& sizes) {
  Dims strides(sizes.size());
  int64_t step = sizes[1];
  strides[1] = 1;
  for (int d = sizes.size() - 1; d >= 2; --d) {
    strides[d] = step;
    step *= sizes[d];
  }
  strides[0] = step;
  return strides;
}
// Gives a 4-d or 5-d result these strides.
inline void make_channels_last(OutSpec& out) {
  out.strides = channels_last_strides(out.sizes);
  out.has_strides = true;
}
// Results that keep the memory format of an input of the same number of dims, as PyTorch's do.
inline void keep_channels_last(const TensorImpl& input, OutSpec& out) {
  if (is_channels_last(input.sizes, input.strides)) make_channels_last(out);
}
inline bool is_channels_last(const TensorImpl& t) { return is_channels_last(t.sizes, t.strides); }

}  // namespace mg
