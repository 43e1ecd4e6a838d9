// core/staged.h, and the choice of the loop for what was staged.
#pragma once
#include "../core/staged.h"

namespace mg::cpu {

// f(T{}) with T = float or double.
template <class F>
void dispatch_float(DType compute, F&& f) {
  if (compute == DType::Float64) return f(double{});
  return f(float{});
}

}  // namespace mg::cpu
