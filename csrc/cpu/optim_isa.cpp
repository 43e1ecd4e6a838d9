// Optimizer steps; plain loops that the compiler vectorises for this file's instruction set.
#include <cmath>

#include "optim.h"

namespace mg::cpu::MG_ISA_NS {

template <class T>
static void sgd(T* __restrict p, const T* __restrict grad, T* __restrict buf, int64_t n, const SgdStep& s) {
  const T lr = T(s.lr), wd = T(s.weight_decay), mom = T(s.momentum), keep = T(1 - s.dampening), sign = s.maximize ? T(-1) : T(1);
  if (buf == nullptr) {
    for (int64_t i = 0; i < n; ++i) p[i] -= lr * (sign * grad[i] + wd * p[i]);
  } else {
    const T old = s.first ? T(0) : mom, fresh = s.first ? T(1) : keep;
    const T from_buf = s.nesterov ? mom : T(1), from_grad = s.nesterov ? T(1) : T(0);
    for (int64_t i = 0; i < n; ++i) {
      const T g = sign * grad[i] + wd * p[i];
      const T b = old * (s.first ? T(0) : buf[i]) + fresh * g;
      buf[i] = b;
      p[i] -= lr * (from_grad * g + from_buf * b);
    }
  }
}

template <class T, bool amsgrad>
static void adam_loop(T* __restrict p, const T* __restrict grad, T* __restrict m, T* __restrict v, T* __restrict vmax, int64_t n,
                      const AdamStep& s) {
  const T b1 = T(s.beta1), b2 = T(s.beta2), c1 = T(1 - s.beta1), c2 = T(1 - s.beta2), eps = T(s.eps), sign = s.maximize ? T(-1) : T(1);
  const T coupled = s.decoupled ? T(0) : T(s.weight_decay), shrink = s.decoupled ? T(1 - s.lr * s.weight_decay) : T(1);
  const T step = T(s.lr / s.bias1), inv_bias2 = T(1 / s.bias2_sqrt);
  for (int64_t i = 0; i < n; ++i) {
    const T w = p[i] * shrink;
    const T g = sign * grad[i] + coupled * p[i];
    const T mi = b1 * m[i] + c1 * g, vi = b2 * v[i] + c2 * g * g;
    m[i] = mi;
    v[i] = vi;
    T top = vi;
    if constexpr (amsgrad) vmax[i] = top = vi > vmax[i] ? vi : vmax[i];
    p[i] = w - step * mi / (std::sqrt(top) * inv_bias2 + eps);
  }
}

template <class T>
static void adam(T* p, const T* g, T* m, T* v, T* vmax, int64_t n, const AdamStep& s) {
  if (s.amsgrad) adam_loop<T, true>(p, g, m, v, vmax, n, s);
  else adam_loop<T, false>(p, g, m, v, vmax, n, s);
}

extern const OptimTable optim_table;
constinit const OptimTable optim_table = {sgd<float>, sgd<double>, adam<float>, adam<double>};

}  // namespace mg::cpu::MG_ISA_NS
