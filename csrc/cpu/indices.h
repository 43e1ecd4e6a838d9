// Index tensors become checked, contiguous int64 arrays before anything is written.
#pragma once
#include "../core/op.h"

namespace mg::cpu {

// Contiguous int64 copy (or `index` itself), every value in [0, size), or in [-size, size) and then wrapped. IndexError
// otherwise.
Tensor checked_indices(const Op& op, const TensorImpl& index, int64_t size, int dim, bool wrap);

}  // namespace mg::cpu
