// One pass over a parameter for each optimizer: read parameter, gradient and state once, write once. Chosen per ISA at run time.
#pragma once
#include <cstdint>

#include "../core/optim_steps.h"

namespace mg::cpu {

// at: parameter, gradient and the columns of state, null where there is none; n elements of each.
template <class T>
struct OptimLoops {
  void (*sgd)(T* const* at, int64_t n, const SgdStep& s);
  void (*adam)(T* const* at, int64_t n, const AdamStep& s);
  void (*rule[kRules])(T* const* at, int64_t n, const RuleStep& s);
};
struct OptimTable {
  OptimLoops<float> f32;
  OptimLoops<double> f64;
  template <class T>
  const OptimLoops<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float)) return f32;
    else return f64;
  }
};
const OptimTable& optim_table();

}  // namespace mg::cpu
