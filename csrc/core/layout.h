// Shapes, strides, views and the loop plan that every kernel shares.
//
// A LoopPlan holds up to kMaxOperands strided operands over one common iteration space: broadcast dims have stride 0, neighbouring
// dims that every operand walks linearly are merged, and dims are ordered so that the LAST one is the fastest of operand 0 (the output).
// Strides here are in BYTES. A fully contiguous problem of any rank becomes ndim == 1.
#pragma once
#include "tensor.h"

namespace mg {

Dims contiguous_strides(const Dims& sizes);
bool is_contiguous(const Dims& sizes, const Dims& strides);
bool is_channels_last(const Dims& sizes, const Dims& strides);  // 4-d NHWC, PyTorch's rule
int64_t checked_numel(const Dims& sizes, const char* op);       // negative sizes and int64 overflow raise
bool broadcast_into(Dims& shape, const Dims& other);            // shape <- broadcast(shape, other); false if they do not fit
Dims broadcast_strides(const Dims& sizes, const Dims& strides, const Dims& shape);  // 0 where broadcast
int64_t wrap_dim(int64_t dim, int ndim, const char* op);        // IndexError outside [-ndim, ndim); 0-d accepts -1 and 0
// Strides of `t` seen as `shape` without copying; false when impossible (PyTorch's view rule). -1 already resolved.
bool view_strides(const TensorImpl& t, const Dims& shape, Dims& out);
Dims infer_shape(std::span<const int64_t> shape, int64_t numel, const char* op);  // resolves one -1
bool has_internal_overlap(const TensorImpl& t);                 // a stride-0 dim of size > 1 (expanded): not writable
void check_in_bounds(const Dims& sizes, const Dims& strides, int64_t offset, const TensorImpl& base, const char* op);

struct LoopPlan {
  static constexpr int kMaxOperands = 6;
  int ndim = 0, operands = 0;
  int64_t numel = 0;
  int64_t sizes[kMaxDims];
  int64_t strides[kMaxOperands][kMaxDims];  // bytes
  char* base[kMaxOperands];

  explicit LoopPlan(const Dims& shape);
  // Operand with its own shape broadcast to the plan's shape. Add the output first.
  void add(char* data, const Dims& op_sizes, const Dims& op_strides, int64_t item);
  void add(const TensorImpl& t) { add(t.data(), t.sizes, t.strides, itemsize(t.dtype)); }
  void add_scalar(const void* value);  // stride 0 everywhere
  void finish();                       // reorder and merge dims; call once after the last add
  // Number of inner rows (product of all sizes but the last) and operand pointers at row r.
  int64_t rows() const;
  void row_pointers(int64_t row, char** out) const;
  int64_t inner() const { return ndim ? sizes[ndim - 1] : 1; }
  int64_t inner_stride(int operand) const { return ndim ? strides[operand][ndim - 1] : 0; }
};

}  // namespace mg
