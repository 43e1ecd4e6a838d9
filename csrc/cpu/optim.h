// One pass over a parameter for each optimizer: read parameter, gradient and state once, write once. Chosen per ISA at run time.
#pragma once
#include <cstdint>

namespace mg::cpu {

struct SgdStep {
  double lr, momentum, dampening, weight_decay;
  bool nesterov, maximize, first;  // first: the momentum buffer is empty and takes the gradient as it is
};
struct AdamStep {
  double lr, beta1, beta2, eps, weight_decay;
  bool amsgrad, decoupled, maximize;  // decoupled: AdamW
  double bias1, bias2_sqrt;           // 1 - beta1^t and sqrt(1 - beta2^t)
};

struct OptimTable {
  void (*sgd32)(float* p, const float* g, float* buf, int64_t n, const SgdStep& s);
  void (*sgd64)(double* p, const double* g, double* buf, int64_t n, const SgdStep& s);
  void (*adam32)(float* p, const float* g, float* m, float* v, float* vmax, int64_t n, const AdamStep& s);
  void (*adam64)(double* p, const double* g, double* m, double* v, double* vmax, int64_t n, const AdamStep& s);
};
const OptimTable& optim_table();

}  // namespace mg::cpu
