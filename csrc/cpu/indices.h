// Index tensors become checked, contiguous int64 arrays before anything is written; so is the one value that an op fills with.
#pragma once
#include "../core/op.h"

namespace mg::cpu {

// Contiguous int64 copy (or `index` itself), every value in [0, size), or in [-size, size) and then wrapped. IndexError
// otherwise.
Tensor checked_indices(const Op& op, const TensorImpl& index, int64_t size, int dim, bool wrap);

// check_fits for an operand that is a 0-d tensor; numbers were checked by meta, which may not read tensors.
inline void check_tensor_fits(const Op& op, const Value& v, DType dtype) {
  if (!v.is_tensor() || is_complex(v.t->dtype)) return;
  const bool whole = !is_inexact(v.t->dtype);
  check_fits(op.name, whole ? Value(read_int(*v.t)) : Value(read_double(*v.t)), dtype);
}

}  // namespace mg::cpu
