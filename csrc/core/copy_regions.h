// Ops that write one region of their result, described by a view op: shared by their meta and their kernels.
#pragma once
#include "op.h"

namespace mg {

inline bool skipped_by_cat(const TensorImpl& t) { return t.dim() == 1 && t.sizes[0] == 0; }

const Op& region_view(const Op& op);  // `_slice` for `_slice_backward` and `slice_scatter`, and so on
// What `view` shows of `base`; the view's own arguments stand at args[first], args[first + 1], …
Tensor region_of(const Op& view, const TensorImpl& base, const Value* args, int first);

}  // namespace mg
