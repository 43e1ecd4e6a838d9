// The shape rules of advanced indexing, shared by the meta and the kernels of `index` and `index_put`.
#pragma once
#include "op.h"

namespace mg {

// x[i, :, j]: the index tensors broadcast to `joint`. Its dims stand in the result where the first index stood when all
// indices are neighbours, and in front when a full slice lies between two of them (NumPy's and PyTorch's rule).
struct IndexPlan {
  Dims joint;
  Dims kept;    // input dims without an index, in order
  Dims result;  // sizes of x[indices]
  int at = 0;   // position of the joint dims in the result
  bool any = false;
};

IndexPlan plan_index(const Op& op, const TensorImpl& input, const Value& indices);

}  // namespace mg
