// Which dims an op reduces, read from its boxed `dim` argument. Shared by the meta functions (which raise) and the
// kernels.
#pragma once
#include "layout.h"
#include "op.h"

namespace mg {

// Internal ops (`_var`) report under the name that the user called.
inline const char* public_name(const Op& op) { return op.name.c_str() + (op.name[0] == '_'); }

// Bit d is set when dim d is reduced. None and an empty list mean every dim (unless `empty_is_all` is false).
inline uint64_t reduce_mask(const char* op, const Value& dim, int ndim, bool empty_is_all = true) {
  const uint64_t all = ndim == 64 ? ~uint64_t(0) : (uint64_t(1) << ndim) - 1;
  if (dim.none()) return all;
  const int64_t one = dim.kind == Kind::Ints ? 0 : dim.as_int();
  const int64_t* list = dim.kind == Kind::Ints ? dim.ints : &one;
  const int n = dim.kind == Kind::Ints ? dim.len : 1;
  if (n == 0) return empty_is_all ? all : 0;
  uint64_t mask = 0;
  for (int i = 0; i < n; ++i) {
    const uint64_t bit = uint64_t(1) << wrap_dim(list[i], ndim, op);
    MG_CHECK((mask & bit) == 0, Runtime, op, ": dim ", list[i], " appears multiple times in the list of dims");
    mask |= bit;
  }
  return mask & all;  // a 0-d tensor accepts dim 0 and -1: nothing is left to reduce
}

// Of an op called with (input, dim, …), or (input): every dim.
inline uint64_t reduce_mask(const Invocation& inv, bool empty_is_all = true) {
  const Value none;
  return reduce_mask(public_name(inv.op), inv.op.args.size() > 1 ? inv.args[1] : none, inv.in(0).dim(), empty_is_all);
}

inline Dims reduced_shape(const Dims& sizes, uint64_t mask, bool keepdim) {
  Dims out;
  for (int d = 0; d < sizes.size(); ++d) {
    if (!(mask >> d & 1))
      out.push_back(sizes[d]);
    else if (keepdim)
      out.push_back(1);
  }
  return out;
}

// A contiguous tensor seen as (outer, size, inner) around one dim.
struct DimView {
  int64_t outer = 1, size = 1, inner = 1;
  DimView(const Dims& sizes, int64_t dim) {
    for (int d = 0; d < sizes.size(); ++d) (d < dim ? outer : d == dim ? size : inner) *= sizes[d];
  }
};

}  // namespace mg
