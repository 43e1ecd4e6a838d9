// One pass over a parameter for each optimizer: read parameter, gradient and state once, write once. Chosen per ISA at run time.
#pragma once
#include <cstdint>

#include "../core/optim_steps.h"

namespace mg::cpu {

struct OptimTable {
  void (*sgd32)(float* p, const float* g, float* buf, int64_t n, const SgdStep& s);
  void (*sgd64)(double* p, const double* g, double* buf, int64_t n, const SgdStep& s);
  void (*adam32)(float* p, const float* g, float* m, float* v, float* vmax, int64_t n, const AdamStep& s);
  void (*adam64)(double* p, const double* g, double* m, double* v, double* vmax, int64_t n, const AdamStep& s);
};
const OptimTable& optim_table();

}  // namespace mg::cpu
