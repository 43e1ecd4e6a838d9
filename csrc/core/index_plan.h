// How the indexing ops lie in memory, shared by their meta functions and the kernels of all devices: index k names one slab, all positions
// of the dims that are not indexed.
#pragma once
#include "layout.h"
#include "op.h"

namespace mg {

// What happens where several values meet one target.
enum class Reduce : uint8_t { Assign, Add, Mul, Max, Min };
Reduce reduce_named(std::string_view name);  // sum, mean (which adds first), prod, amax, amin
struct ScatterRule {
  Reduce reduce = Reduce::Assign;
  bool include_self = true;  // false: what the target held does not count, where anything is written
  bool mean = false;         // divided by the number of values (integers round down)
  double scale = 1;          // Add: of the source
};

// --- one index tensor along one dim

// 0-d tensors take part as 1-d ones.
Tensor at_least_1d(const TensorImpl& t);
inline int wrapped(int64_t dim, const TensorImpl& t) { return int(dim < 0 ? dim + std::max(t.dim(), 1) : dim); }
inline int64_t size_at(const TensorImpl& t, int d) { return t.dim() ? t.sizes[d] : 1; }
// Unsigned: the stride of a dim of at most one element may be anything.
inline int64_t step_bytes(const TensorImpl& t, int d) {
  return t.dim() ? int64_t(uint64_t(t.strides[d]) * uint64_t(itemsize(t.dtype))) : 0;
}
// All dims of both tensors but d (their sizes agree there); finished.
LoopPlan plan_without(const TensorImpl& dst, const TensorImpl& src, int d);

// --- several index tensors: x[i, :, j]

// The index tensors broadcast to `joint`. Its dims stand in the result where the first index stood when all indices are neighbours, and
// in front when a full slice lies between two of them (NumPy's and PyTorch's rule).
struct IndexPlan {
  Dims joint;
  Dims kept;    // input dims without an index, in order
  Dims result;  // sizes of x[indices]
  int at = 0;   // position of the joint dims in the result
  bool any = false;
  int64_t joint_count() const;
  int64_t result_count() const;
};

IndexPlan plan_index(const Op& op, const TensorImpl& input, const Value& indices);

// An index tensor in the sizes of the joint dims, contiguous.
Tensor joint_index(const Tensor& index, const IndexPlan& plan);
// Values in the sizes of the result whose joint dims are linear: contiguous, or one number everywhere.
Tensor values_for(const Tensor& values, const IndexPlan& plan);
// The slabs: `t` is indexed; `dense` has the result's shape with linear joint dims. Operand 0 is the one that is written.
LoopPlan advanced_plan(const TensorImpl& t, const TensorImpl& dense, const IndexPlan& plan, bool write_dense);
// Bytes from one joint position of `dense` to the next.
int64_t joint_step(const TensorImpl& dense, const IndexPlan& plan);

}  // namespace mg
